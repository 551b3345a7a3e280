//! The state file: created whole or not at all, locked, looked at before it is trusted, and put back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

use super::header::{self, Block, ROOM};
use crate::files::{first_bytes, folder, is_in_place};

/// How often another run may take the state away while we open it.
const MAX_TRIES: u32 = 1000;

/// Why a state cannot be had; nothing was changed.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// Another run holds it.
    #[error("another run holds it")]
    Locked,
    /// A file of that name that is none of ours: something else, a link, a folder, a device or a pipe.
    #[error("it is not a state file of this program")]
    Foreign,
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The state file and its lock, which lasts as long as a handle does.
#[derive(Debug)]
pub(crate) struct StateFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    /// What it held when it was locked; `None` if it was not there.
    pub(crate) old: Option<Vec<u8>>,
}

impl StateFile {
    /// Opens and locks the state of that path, or creates it with this content.
    pub(crate) fn lock(path: PathBuf, new: &[u8]) -> Result<Self, StateError> {
        for _ in 0..MAX_TRIES {
            let (file, old) = match open(&path)? {
                // Its last holder may have written to it, or removed it, before the lock was ours: read from here on.
                Some(file) => {
                    try_lock(&file)?;
                    let old = read(&file)?;
                    (file, Some(old))
                }
                None => match create(&path, new)? {
                    Some(file) => (file, None),
                    None => continue,
                },
            };
            if is_in_place(&file, &path) {
                return Ok(Self { file, path, old });
            }
        }
        Err(StateError::Locked)
    }

    /// Whether it, and with it the lock, is still in its place: else a second run could begin.
    pub(crate) fn is_in_place(&self) -> bool {
        is_in_place(&self.file, &self.path)
    }

    /// Removes the state; the lock is of no use then.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.is_in_place() {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Puts back what was there before, to the byte.
    pub(crate) fn restore(&self) -> io::Result<()> {
        match &self.old {
            Some(old) if *old == read(&self.file)? => Ok(()),
            Some(old) => {
                // Not emptied before: where the disk is full or files are limited, what is right already stays.
                self.file.write_all_at(old, 0)?;
                self.file.set_len(old.len() as u64)
            }
            None => self.remove(),
        }
    }
}

/// Fails where [`StateFile::lock`] would, and changes nothing.
pub(crate) fn check_lock(path: &Path) -> Result<(), StateError> {
    open(path)?.as_ref().map_or(Ok(()), try_lock)
}

/// Reads a state of ours without locking it; `None` if there is none.
pub(crate) fn peek(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let file = open(path)?;
    Ok(file.as_ref().map(read).transpose()?)
}

/// All of a file.
pub(super) fn read(file: &File) -> io::Result<Vec<u8>> {
    first_bytes(file, usize::MAX)
}

fn try_lock(file: &File) -> Result<(), StateError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StateError::Locked,
        TryLockError::Error(error) => error.into(),
    })
}

/// Opens a state; `None` if it is not there. Anything that is not surely ours is left alone, and not waited for.
fn open(path: &Path) -> Result<Option<File>, StateError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                ErrorKind::PermissionDenied => Err(error.into()),
                _ if path.symlink_metadata().is_err() => Err(error.into()),
                _ => Err(StateError::Foreign),
            };
        }
    };
    let metadata = file.metadata()?;
    let may_be_ours = metadata.is_file() && metadata.nlink() <= 1;
    if may_be_ours && header::decode(&first_bytes(&file, ROOM)?) != Block::Foreign {
        Ok(Some(file))
    } else {
        Err(StateError::Foreign)
    }
}

/// Creates a state with its content and its lock already on it; `None` if another run was faster.
fn create(path: &Path, content: &[u8]) -> Result<Option<File>, StateError> {
    let mut new = tempfile::Builder::new()
        .prefix(".state-")
        .tempfile_in(folder(path))?;
    new.write_all(content)?;
    new.as_file().sync_data()?;
    new.as_file().lock()?;
    match new.persist_noclobber(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error.error.into()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::super::header::{Owner, StateHeader};
    use super::super::unbegun;
    use super::*;

    fn state(run: u64) -> Vec<u8> {
        let header = StateHeader {
            run,
            ..StateHeader::new(Owner::default(), 512)
        };
        unbegun(&header).unwrap()
    }

    #[test]
    fn whoever_gets_the_lock_reads_what_its_last_holder_left() {
        const TURNS: u64 = 1000;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("r.csv.state");
        fs::write(&path, state(0)).unwrap();
        // Changed by the holder of the lock alone.
        let turn = AtomicU64::new(0);
        let take_turns = || {
            loop {
                let locked = match StateFile::lock(path.clone(), &[]) {
                    Ok(locked) => locked,
                    Err(StateError::Locked) => continue,
                    Err(error) => panic!("{error}"),
                };
                let now = turn.load(Ordering::SeqCst);
                assert_eq!(locked.old, Some(state(now)), "turn {now}");
                if now == TURNS {
                    return;
                }
                locked.file.write_all_at(&state(now + 1), 0).unwrap();
                turn.store(now + 1, Ordering::SeqCst);
            }
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(take_turns);
            }
        });
    }
}
