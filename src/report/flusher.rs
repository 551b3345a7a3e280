//! The guard of a report's file: its rows reach the disk, and it is still where it was and as long as it was.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Flushes a report and sees that nobody took it away or cut it. Lives on another thread, as flushing takes long.
#[derive(Debug)]
pub struct Flusher {
    file: File,
    path: PathBuf,
    /// Bytes that were written.
    len: Arc<AtomicU64>,
}

impl Flusher {
    pub(super) fn new(file: File, path: &Path, len: Arc<AtomicU64>) -> Self {
        Self {
            file,
            path: path.into(),
            len,
        }
    }

    /// Flushes what was written, and fails if the file is no longer the one of that name or has lost some of it.
    pub fn check(&self) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        self.file.sync_data()?;
        is_in_place(&self.file, &self.path)?;
        holds(&self.file, len)
    }
}

/// Whether the file still has a name, without which its rows are lost, and all that was written to it: a rotation
/// of logs that copies and truncates takes rows away.
pub(super) fn holds(file: &File, len: u64) -> io::Result<()> {
    let held = file.metadata()?;
    if held.nlink() == 0 {
        return Err(gone());
    }
    if held.len() < len {
        return Err(io::Error::other("it was cut while the run went on"));
    }
    Ok(())
}

/// Whether the file is still the one of this name.
pub(super) fn is_in_place(file: &File, path: &Path) -> io::Result<()> {
    let held = file.metadata()?;
    let is_same = fs::metadata(path)
        .is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
    if is_same { Ok(()) } else { Err(gone()) }
}

fn gone() -> io::Error {
    io::Error::other("it was removed or replaced while the run went on")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_in_place() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("r.csv");
        let file = File::create(&path).unwrap();
        let guard = Flusher::new(file.try_clone().unwrap(), &path, Arc::default());
        guard.check().unwrap();
        holds(&file, 0).unwrap();
        fs::rename(&path, folder.path().join("elsewhere.csv")).unwrap();
        assert!(guard.check().is_err(), "moved away");
        File::create(&path).unwrap();
        assert!(guard.check().is_err(), "replaced");
        holds(&file, 0).unwrap();
        fs::remove_file(folder.path().join("elsewhere.csv")).unwrap();
        assert!(holds(&file, 0).is_err());
    }

    #[test]
    fn a_file_that_was_cut_does_not_hold_what_was_written() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("r.csv");
        fs::write(&path, "a row\n").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        let guard = Flusher::new(file.try_clone().unwrap(), &path, Arc::new(6.into()));
        guard.check().unwrap();
        file.set_len(5).unwrap();
        assert!(guard.check().unwrap_err().to_string().contains("cut"));
        assert!(holds(&file, 6).is_err());
    }
}
