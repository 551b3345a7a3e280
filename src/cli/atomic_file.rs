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
    /// Checks that a text can be written there, and leaves nothing behind; opens what cannot be replaced.
    pub(crate) fn prepare(path: &Path, kind: Kind) -> Result<Self> {
        let (shown, option) = (path.display(), kind.option());
        let target = Target::find(path, kind)
            .with_context(|| format!("cannot write {shown}; give {option} another path"))?;
        if let Target::Replace(replaced) = &target {
            replaced.temporary().map(drop).with_context(|| {
                let folder = folder_of(&replaced.path).display();
                format!("cannot write {shown}: no file can be created in {folder}; give {option} another path")
            })?;
        }
        Ok(Self(target))
    }

    /// Writes a text there, in place of what was there before, without the keys that it may hold.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let text = secret::scrub(text);
        match &self.0 {
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
        let Ok(metadata) = fs::metadata(&path) else {
            return Ok(Self::Replace(Replaced {
                path,
                mode: kind.mode(),
                old: None,
            }));
        };
        let is_replaced = metadata.is_file() && !is_descriptor(&path);
        if is_replaced {
            check_is_ours(&path, &metadata, kind)?;
            return Ok(Self::Replace(Replaced {
                path,
                mode: kind.mode(),
                old: Some(metadata.permissions()),
            }));
        }
        if kind == Kind::Page || !can_be_written_to(metadata.file_type()) {
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const PAGE: &str = "<!doctype html>\n<p>";

    #[test]
    fn a_text_is_replaced_and_nothing_else_is_left() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.html");
        let file = AtomicFile::prepare(&path, Kind::Page).unwrap();
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            0,
            "checking leaves nothing"
        );
        file.write("one").unwrap();
        file.write("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_and_what_it_names_keeps_its_mode() {
        let folder = TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, PAGE).unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        let file = AtomicFile::prepare(&link, Kind::Page).unwrap();
        file.write("new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let null = AtomicFile::prepare(Path::new("/dev/null"), Kind::Metrics).unwrap();
        assert!(matches!(null.0, Target::Stream(_)));
        null.write("gone").unwrap();
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let folder = TempDir::new().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        symlink(&one, &other).unwrap();
        symlink(&other, &one).unwrap();
        assert!(AtomicFile::prepare(&one, Kind::Summary).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_known_before() {
        for path in ["/nowhere/at/all.json", "/tmp"] {
            assert!(AtomicFile::prepare(Path::new(path), Kind::Summary).is_err());
        }
    }
}
