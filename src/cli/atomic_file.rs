//! A file that is replaced in one step: whoever reads it sees all of the old text or all of the new.
//!
//! Other people's files are left alone: only what this program wrote before, or an empty file, is replaced; a link is
//! followed only if nobody else has put it there. What cannot be replaced, such as a device or a pipe, is opened
//! before the run and written to.

use std::fs::{self, File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use tempfile::{Builder, NamedTempFile};

/// More links than this lead in a circle.
const MAX_LINKS: usize = 40;

/// Who reads a pipe gets this long to make room in it.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Others in a folder with this bit may not touch one's files there.
const STICKY: u32 = 0o1000;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The page of `--html`, for its owner alone, as a report.
    Page,
    /// The summary of `--summary-json`.
    Summary,
    /// The metrics of `--metrics-file`.
    Metrics,
}

/// Where a text is written as a whole, again and again.
#[derive(Debug)]
pub(crate) struct AtomicFile(Target);

#[derive(Debug)]
enum Target {
    Stdout,
    Replace(Replaced),
    Stream(File),
}

#[derive(Debug)]
struct Replaced {
    path: PathBuf,
    /// Of a new file, as far as the umask lets it.
    mode: u32,
    /// The permissions of the file that is there: they stay as they are.
    old: Option<Permissions>,
}

impl AtomicFile {
    /// Checks that a text can be written there, in a folder that is known to take new files; opens what cannot be
    /// replaced.
    pub(crate) fn open(output: &Destination, kind: Kind) -> Result<Self> {
        let Destination::File(path) = output else {
            return Ok(Self(Target::Stdout));
        };
        let (shown, option) = (path.display(), kind.option());
        let target = Target::find(path, kind)
            .with_context(|| format!("cannot write {shown}; give {option} another path"))?;
        Ok(Self(target))
    }

    /// Writes a text there, in place of what was there before, without the keys that it may hold.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let text = secret::scrub(text);
        match &self.0 {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
            Target::Stream(stream) => write_while_read(stream, text.as_bytes()),
            Target::Replace(replaced) => {
                let mut file = replaced.temporary()?;
                file.write_all(text.as_bytes())?;
                file.as_file().sync_all()?;
                file.persist(&replaced.path)?;
                Ok(())
            }
        }
    }
}

impl Kind {
    fn option(self) -> &'static str {
        match self {
            Self::Page => "--html",
            Self::Summary => "--summary-json",
            Self::Metrics => "--metrics-file",
        }
    }

    /// How each text of this kind begins, in any case, and what it is called.
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Page => ("<!doctype html>", "HTML page"),
            Self::Summary => ("{\n  \"schema\":", "summary of this program"),
            Self::Metrics => (
                "# HELP imagekit_bulk_delete_",
                "metrics file of this program",
            ),
        }
    }

    /// Who may read it: others, as far as the umask lets them, where a collector has a user of its own.
    fn mode(self) -> u32 {
        match self {
            Self::Page => 0o600,
            Self::Summary | Self::Metrics => 0o666,
        }
    }
}

impl Target {
    fn find(path: &Path, kind: Kind) -> Result<Self> {
        let path = follow(path)?;
        let old = fs::metadata(&path).ok();
        let is_replaced = |there: &Metadata| there.is_file() && !is_descriptor(&path);
        let Some(there) = old.as_ref().filter(|there| !is_replaced(there)) else {
            if let Some(old) = &old {
                check_is_ours(&path, old, kind)?;
            }
            let old = old.map(|old| old.permissions());
            return Ok(Self::Replace(Replaced {
                path,
                mode: kind.mode(),
                old,
            }));
        };
        if kind == Kind::Page || !can_be_written_to(there.file_type()) {
            bail!("it is not a regular file");
        }
        // A pipe that nobody reads must not hold up the end of the run.
        let stream = OpenOptions::new()
            .append(true)
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
            .open(&path)
            .map_err(|error| match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::NXIO) => io::Error::other("nothing reads from this pipe"),
                _ => error,
            })?;
        Ok(Self::Stream(stream))
    }
}

fn can_be_written_to(kind: FileType) -> bool {
    kind.is_file() || kind.is_fifo() || kind.is_char_device()
}

/// The path behind links: a link stays a link, what it names is what is replaced.
fn follow(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let link = fs::symlink_metadata(&path)
            .ok()
            .filter(Metadata::is_symlink);
        let Some(link) = link.filter(|_| !is_descriptor(&path)) else {
            return Ok(path);
        };
        let owner = link.uid();
        if owner != geteuid().as_raw() && owner != 0 {
            bail!(
                "{} is a link that another user has put there",
                path.display()
            );
        }
        let named = fs::read_link(&path)?;
        path = folder_of(&path).join(named);
    }
    bail!("there are too many links")
}

/// A file that the caller handed over open, such as a shell's `>(program)`: it is written to, never replaced.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc")
}

/// Only what was written by an earlier run is replaced: a slip of the keyboard, or somebody's link, must not cost
/// anything else.
fn check_is_ours(path: &Path, metadata: &Metadata, kind: Kind) -> Result<()> {
    let folder_mode = fs::metadata(folder_of(path)).map_or(0, |folder| folder.mode());
    if folder_mode & STICKY != 0 && metadata.uid() != geteuid().as_raw() {
        bail!("it belongs to another user");
    }
    let (mark, name) = kind.mark();
    let mut begin = Vec::new();
    File::open(path)?
        .take(mark.len() as u64)
        .read_to_end(&mut begin)
        .context("it cannot be read")?;
    if !begin.is_empty() && !begin.eq_ignore_ascii_case(mark.as_bytes()) {
        bail!("it exists and is not a {name}");
    }
    Ok(())
}

/// Writes as long as somebody makes room; not for ever.
fn write_while_read(mut stream: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut polled = [PollFd::new(&stream, PollFlags::OUT)];
                if poll(&mut polled, Some(&PATIENCE))? == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "nothing reads from this pipe any more",
                    ));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Replaced {
    /// Beside the file, so that it can take its place; by its name nobody takes it for one.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        let file = Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(self.mode))
            .tempfile_in(folder_of(&self.path))?;
        if let Some(old) = &self.old {
            file.as_file().set_permissions(old.clone())?;
        }
        Ok(file)
    }
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
