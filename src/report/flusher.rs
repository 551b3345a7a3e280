//! The flusher of a report: its rows reach the disk, and it and its state are still what and where they were.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::journal;

/// Flushes a report and sees that nobody took it or its state away or cut it. Lives on another thread, as flushing
/// takes long.
#[derive(Debug)]
pub struct Flusher {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Bytes that were written.
    pub(super) len: Arc<AtomicU64>,
    pub(super) state: File,
    pub(super) state_path: PathBuf,
}

impl Flusher {
    /// Flushes what was written, and fails if one of the files is no longer that of its name, or lost some of it.
    pub fn check(&self) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        self.file.sync_data()?;
        is_in_place(&self.file, &self.path)?;
        holds(&self.file, len)?;
        holds_lock(&self.state, &self.state_path)
    }
}

/// Whether the state, and with it the lock on the job, is still in its place: a second run could begin else.
pub(super) fn holds_lock(state: &File, path: &Path) -> io::Result<()> {
    if journal::is_in_place(state, path) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    let text = format!(
        "{}, its lock, was removed or replaced during the run; all rows are on disk",
        name.to_string_lossy()
    );
    Err(io::Error::other(text))
}

/// Whether the file still has a name, without which its rows are lost, and all that was written to it: a rotation
/// of logs that copies and truncates takes rows away.
pub(super) fn holds(file: &File, len: u64) -> io::Result<()> {
    let held = file.metadata()?;
    if held.nlink() == 0 {
        return Err(gone());
    }
    if held.len() < len {
        return Err(io::Error::other("it was cut during the run"));
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
    io::Error::other("it was removed or replaced during the run")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn flusher(folder: &tempfile::TempDir, file: &File, len: u64) -> Flusher {
        let state_path = folder.path().join("r.csv.state");
        Flusher {
            file: file.try_clone().unwrap(),
            path: folder.path().join("r.csv"),
            len: Arc::new(len.into()),
            state: File::create(&state_path).unwrap(),
            state_path,
        }
    }

    #[test]
    fn a_state_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = File::create(folder.path().join("r.csv")).unwrap();
        let flusher = flusher(&folder, &file, 0);
        flusher.check().unwrap();
        fs::remove_file(&flusher.state_path).unwrap();
        assert!(
            flusher
                .check()
                .unwrap_err()
                .to_string()
                .contains("r.csv.state")
        );
        fs::write(&flusher.state_path, "").unwrap();
        assert!(flusher.check().is_err());
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_in_place() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("r.csv");
        let file = File::create(&path).unwrap();
        let flusher = flusher(&folder, &file, 0);
        flusher.check().unwrap();
        holds(&file, 0).unwrap();
        fs::rename(&path, folder.path().join("elsewhere.csv")).unwrap();
        assert!(flusher.check().is_err(), "moved away");
        File::create(&path).unwrap();
        assert!(flusher.check().is_err(), "replaced");
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
        let flusher = flusher(&folder, &file, 6);
        flusher.check().unwrap();
        file.set_len(5).unwrap();
        assert!(flusher.check().unwrap_err().to_string().contains("cut"));
        assert!(holds(&file, 6).is_err());
    }
}
