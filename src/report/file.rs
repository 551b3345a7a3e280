//! The file of a report: its rows reach the disk, and it and its state are still what and where they were.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::open::Place;
use crate::files::is_in_place;
use crate::journal::StateFile;

/// A report's file, and the state beside it with the lock. A second thread flushes it, as that takes long.
#[derive(Debug)]
pub struct ReportFile {
    pub(super) file: File,
    pub(super) place: Place,
    /// Bytes that were written.
    pub(super) len: AtomicU64,
    pub(super) state: Arc<StateFile>,
}

impl ReportFile {
    /// Flushes what was written, and fails if the file or its state was removed or replaced, or rows were lost.
    pub fn flush(&self) -> io::Result<()> {
        let written = self.len.load(Ordering::Acquire);
        self.file.sync_data()?;
        if self.held()? < written {
            return Err(cut());
        }
        if !is_in_place(&self.file, &self.place.path) {
            return Err(gone());
        }
        if self.state.is_in_place() {
            return Ok(());
        }
        let name = self.state.path.file_name().unwrap_or_default();
        Err(io::Error::other(format!(
            "{}, its lock, was removed or replaced during the run; all rows are on disk",
            name.to_string_lossy()
        )))
    }

    /// Fails unless the file ends behind the last row that was written: a rotation of logs that copies and truncates
    /// takes rows away, and a stray `>>` adds what is none.
    pub(super) fn check_end(&self) -> io::Result<()> {
        let written = self.len.load(Ordering::Acquire);
        match self.held()? {
            held if held < written => Err(cut()),
            held if held > written => Err(io::Error::other(
                "something else wrote to it during the run; take that out again, then continue with --resume",
            )),
            _ => Ok(()),
        }
    }

    /// Bytes that the file holds; without a name its rows are lost.
    fn held(&self) -> io::Result<u64> {
        let file = self.file.metadata()?;
        if file.nlink() == 0 {
            return Err(gone());
        }
        Ok(file.len())
    }
}

fn cut() -> io::Error {
    io::Error::other("it was cut during the run")
}

fn gone() -> io::Error {
    io::Error::other("it was removed or replaced during the run")
}
