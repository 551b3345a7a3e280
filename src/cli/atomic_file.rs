//! A file that is replaced in one step: whoever reads it sees all of the old text or all of the new.
//!
//! Other people's files are left alone: only what this program wrote before, or an empty file, is replaced; a link is
//! followed only if nobody else has put it there. What cannot be replaced, such as a device or a pipe, is opened
//! before the run and written to.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use imagekit_bulk_delete::files::{first_bytes, folder, is_planted, through_links};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::secret;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use tempfile::{Builder, NamedTempFile};
use thiserror::Error;

/// Who reads a pipe gets this long to make room in it, and is asked this often.
const PATIENCE: Duration = Duration::from_secs(5);
const ROOM_EACH: Duration = Duration::from_millis(5);

/// It could be opened, and cannot be written (exit 5).
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct OutputLost(pub(crate) io::Error);

/// What is written.
#[derive(Debug)]
pub(crate) struct Export {
    /// The option that names the file.
    option: &'static str,
    /// How each text of this kind begins, in any case, and what it is called.
    mark: &'static str,
    name: &'static str,
    /// Who may read it: others, as far as the umask lets them, where a collector has a user of its own.
    mode: u32,
    /// Whether it may go into a pipe.
    is_stream: bool,
}

/// The page of `--html`, for its owner alone, as a report.
pub(crate) const PAGE: Export = Export {
    option: "--html",
    mark: "<!doctype html>",
    name: "HTML page",
    mode: 0o600,
    is_stream: false,
};

/// The summary of `--summary-json`.
pub(crate) const SUMMARY: Export = Export {
    option: "--summary-json",
    mark: "{\n  \"schema\":",
    name: "summary of this program",
    mode: 0o666,
    is_stream: true,
};

/// The metrics of `--metrics-file`.
pub(crate) const METRICS: Export = Export {
    option: "--metrics-file",
    mark: "# HELP imagekit_bulk_delete_",
    name: "metrics file of this program",
    mode: 0o666,
    is_stream: true,
};

/// Where a text is written as a whole, again and again.
#[derive(Debug)]
pub(crate) enum AtomicFile {
    Stdout,
    /// What cannot be replaced: a pipe, a device, what a shell handed over open.
    Stream(File),
    Replaced {
        path: PathBuf,
        /// Of a new file, as far as the umask lets it.
        mode: u32,
        /// The permissions of the file that is there: they stay as they are.
        old: Option<Permissions>,
    },
}

impl AtomicFile {
    /// Checks that a text can be written there, in a folder that is known to take new files; opens what cannot be
    /// replaced.
    pub(crate) fn open(output: &Destination, export: &Export) -> Result<Self> {
        let Destination::File(path) = output else {
            return Ok(Self::Stdout);
        };
        let (shown, option) = (path.display(), export.option);
        Self::find(path, export)
            .with_context(|| format!("cannot write {shown}; give {option} another path"))
    }

    fn find(path: &Path, export: &Export) -> Result<Self> {
        let path = follow(path)?;
        let old = fs::metadata(&path).ok();
        let is_replaced = |there: &Metadata| there.is_file() && !is_descriptor(&path);
        if let Some(there) = old.as_ref().filter(|there| !is_replaced(there)) {
            let is_stream = is_descriptor(&path) && there.is_file()
                || there.file_type().is_fifo()
                || there.file_type().is_char_device();
            if !(is_stream && export.is_stream) {
                bail!("it is not a regular file");
            }
            return Ok(Self::Stream(open_stream(&path)?));
        }
        if let Some(old) = &old {
            check_is_ours(&path, old, export)?;
        }
        Ok(Self::Replaced {
            path,
            mode: export.mode,
            old: old.map(|old| old.permissions()),
        })
    }

    /// Writes a text there, in place of what was there before, without the keys that it may hold.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let text = secret::scrub(text);
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
            Self::Stream(stream) => write_while_read(stream, text.as_bytes()),
            Self::Replaced { path, mode, old } => {
                replace(path, *mode, old.as_ref(), text.as_bytes())
                    .map_err(|error| without_path(&error))
            }
        }
    }
}

fn replace(path: &Path, mode: u32, old: Option<&Permissions>, bytes: &[u8]) -> io::Result<()> {
    let mut file = beside(path, mode)?;
    if let Some(old) = old {
        file.as_file().set_permissions(old.clone())?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Without the temporary file's name, which nobody knows.
fn without_path(error: &io::Error) -> io::Error {
    let text = error.to_string();
    let (what, _) = text.split_once(" at path ").unwrap_or((&text, ""));
    io::Error::new(error.kind(), what)
}

/// A pipe that nobody reads must not hold up the end of the run.
fn open_stream(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new()
        .append(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path);
    opened.map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::NXIO) => io::Error::other("nothing reads from this pipe"),
        _ => error,
    })
}

/// The path behind links: a link stays a link, what it names is what is replaced.
fn follow(path: &Path) -> Result<PathBuf> {
    for path in through_links(path) {
        let link = path.symlink_metadata().ok().filter(Metadata::is_symlink);
        let Some(link) = link.filter(|_| !is_descriptor(&path)) else {
            return Ok(path);
        };
        if ![geteuid().as_raw(), 0].contains(&link.uid()) {
            let shown = path.display();
            bail!("{shown} is a link that another user has put there");
        }
    }
    bail!("there are too many links")
}

/// A file that the caller handed over open, such as a shell's `>(program)`: it is written to, never replaced.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc")
}

/// Only what was written by an earlier run is replaced: a slip of the keyboard, or somebody's link, must not cost
/// anything else.
fn check_is_ours(path: &Path, metadata: &Metadata, export: &Export) -> Result<()> {
    if is_planted(path, metadata) {
        bail!("it belongs to another user");
    }
    let Export { mark, name, .. } = export;
    let begin = first_bytes(&File::open(path)?, mark.len()).context("it cannot be read")?;
    if !begin.is_empty() && !begin.eq_ignore_ascii_case(mark.as_bytes()) {
        bail!("it exists and is not a {name}");
    }
    Ok(())
}

/// Writes as long as somebody makes room; not for ever.
fn write_while_read(mut stream: &File, mut bytes: &[u8]) -> io::Result<()> {
    let mut progressed = Instant::now();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => {
                bytes = &bytes[count..];
                progressed = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(_) if progressed.elapsed() < PATIENCE => sleep(ROOM_EACH),
            Err(_) => {
                let why = "nothing reads from this pipe any more";
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
        }
    }
    Ok(())
}

/// A temporary file that can take a file's place; by its name nobody takes it for one.
fn beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    Builder::new()
        .prefix(&prefix)
        .suffix(".tmp")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder(path))
}
