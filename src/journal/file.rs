//! The lock on a job: it is on the state file, because the report itself is replaced when it is made whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// The state file and its lock.
#[derive(Debug)]
pub(crate) struct StateFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    /// What it held when it was opened; `None` if it was not there.
    pub(crate) old: Option<Vec<u8>>,
}

impl StateFile {
    /// Creates or opens a state and locks it; `None` if another run holds it.
    pub(crate) fn lock(path: PathBuf) -> io::Result<Option<Self>> {
        loop {
            let old = match fs::read(&path) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The run that held it may have removed it, or written to it, before we had the lock.
            let is_same = fs::metadata(&path)
                .is_ok_and(|now| file.metadata().is_ok_and(|held| held.ino() == now.ino()));
            if is_same {
                let old = old.and_then(|_| fs::read(&path).ok());
                return Ok(Some(Self { file, path, old }));
            }
        }
    }

    /// Removes the state; the lock goes with it.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Puts back what was there before.
    pub(crate) fn restore(self, old: Option<&[u8]>) -> io::Result<()> {
        match old {
            Some(old) => {
                self.file.set_len(0)?;
                (&self.file).seek(SeekFrom::Start(0))?;
                (&self.file).write_all(old)
            }
            None => self.remove(),
        }
    }
}
