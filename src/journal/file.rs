//! The state file: created whole or not at all, locked, looked at before it is trusted, and put back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

use super::header::{self, Block, ROOM};

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
            if path.symlink_metadata().is_err() {
                if let Some(file) = create(&path, new)? {
                    return Ok(Self {
                        file,
                        path,
                        old: None,
                    });
                }
                continue;
            }
            let Some(file) = open(&path)? else {
                continue;
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(StateError::Locked),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // Whoever held it may have removed it, or written to it, before the lock was ours: read from here on.
            if is_in_place(&file, &path) {
                let mut locked = Self {
                    file,
                    path,
                    old: None,
                };
                locked.old = Some(locked.read()?);
                return Ok(locked);
            }
        }
        Err(StateError::Locked)
    }

    /// The same file and the same lock, and what was there.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            path: self.path.clone(),
            old: self.old.clone(),
        })
    }

    /// What it holds now.
    fn read(&self) -> io::Result<Vec<u8>> {
        let (mut file, mut content) = (&self.file, Vec::new());
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Removes the state; the lock goes with it.
    pub(crate) fn remove(self) -> io::Result<()> {
        if is_in_place(&self.file, &self.path) {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Puts back what was there before, to the byte.
    pub(crate) fn restore(self) -> io::Result<()> {
        match &self.old {
            Some(old) if *old == self.read()? => Ok(()),
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
    if path.symlink_metadata().is_ok()
        && let Some(file) = open(path)?
        && let Err(TryLockError::WouldBlock) = file.try_lock()
    {
        return Err(StateError::Locked);
    }
    Ok(())
}

/// Reads a state of ours without locking it; `None` if there is none.
pub(crate) fn peek(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whether the file is still the one of this name.
pub(crate) fn is_in_place(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(named)) => identity(held) == identity(named),
        _ => false,
    }
}

/// Opens a state; `None` if it went away meanwhile. Anything that is not surely ours is left alone, and not waited for.
fn open(path: &Path) -> Result<Option<File>, StateError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error.into()),
        Err(_) => return Err(StateError::Foreign),
    };
    let metadata = file.metadata()?;
    let mut block = Vec::new();
    if metadata.is_file() && metadata.nlink() <= 1 {
        Read::by_ref(&mut file)
            .take(ROOM as u64)
            .read_to_end(&mut block)?;
        file.seek(SeekFrom::Start(0))?;
        if header::decode(&block) != Block::Foreign {
            return Ok(Some(file));
        }
    }
    Err(StateError::Foreign)
}

/// Creates a state with its content and its lock already on it; `None` if another run was faster.
fn create(path: &Path, content: &[u8]) -> Result<Option<File>, StateError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::Builder::new()
        .prefix(".state-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(content)?;
    new.as_file().sync_data()?;
    new.as_file().lock()?;
    match new.persist_noclobber(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error.error.into()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::super::header::{Job, StateHeader};
    use super::super::unbegun;
    use super::*;

    fn state(run: u64) -> Vec<u8> {
        unbegun(&StateHeader {
            run,
            ..StateHeader::new(Job::default(), 512)
        })
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
