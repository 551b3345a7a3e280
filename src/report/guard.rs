//! The guard of a report's file: its rows reach the disk, and it is still where it was.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Flushes a report and sees that nobody took it away. Lives on another thread, as flushing takes long.
#[derive(Debug)]
pub struct Guard {
    file: File,
    path: PathBuf,
}

impl Guard {
    pub(super) fn new(file: File, path: &Path) -> Self {
        Self {
            file,
            path: path.into(),
        }
    }

    /// Flushes what was written, and fails if the file is no longer the one of that name.
    pub fn check(&self) -> io::Result<()> {
        self.file.sync_data()?;
        is_in_place(&self.file, &self.path)
    }
}

/// Whether the file still has a name: rows that are written to one that has none are lost.
pub(super) fn has_a_name(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() == 0 {
        return Err(gone());
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
        let guard = Guard::new(file.try_clone().unwrap(), &path);
        guard.check().unwrap();
        has_a_name(&file).unwrap();
        fs::rename(&path, folder.path().join("elsewhere.csv")).unwrap();
        assert!(guard.check().is_err(), "moved away");
        File::create(&path).unwrap();
        assert!(guard.check().is_err(), "replaced");
        has_a_name(&file).unwrap();
        fs::remove_file(folder.path().join("elsewhere.csv")).unwrap();
        assert!(has_a_name(&file).is_err());
    }
}
