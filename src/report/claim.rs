//! Other files that go to `--report`: created under the same lock, and by the same rules for a file that is there.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::open::{Existing, OpenError, Place, set_aside, sync_folder, take_away, with_suffix};
use crate::journal::{Job, StateFile, StateHeader};

/// A new file, created under the lock of its name as a report is: for what else is written to `--report`. The lock is
/// given up when this is dropped.
#[derive(Debug)]
pub struct Claimed {
    /// The file, empty, readable by its owner alone.
    pub file: File,
    path: PathBuf,
    backup: Option<PathBuf>,
    /// Where it belongs once it is complete, if it is not there already.
    end: Option<PathBuf>,
    state: Option<StateFile>,
}

/// Creates a file under the same lock and the same rules for a file that is there as a report; there is nothing to
/// resume in it.
pub fn claim(path: &Path, existing: Existing) -> Result<Claimed, OpenError> {
    let place = Place::of(path)?;
    let header = StateHeader::new(Job::default(), 0);
    let state = place.lock(&header)?;
    match place.create(existing) {
        Ok((file, backup)) => Ok(Claimed {
            file,
            path: place.path,
            backup,
            end: None,
            state: Some(state),
        }),
        Err(error) => {
            if state.old.is_none() {
                let _ = state.remove();
            }
            Err(error)
        }
    }
}

/// As [`claim`], but the file has `.part` behind its name, and one that is there stays, until
/// [`complete`](Claimed::complete). A `.part` that begins with `header` is what an earlier run left, and is replaced.
pub fn claim_part(path: &Path, existing: Existing, header: &str) -> Result<Claimed, OpenError> {
    let place = Place::of(path)?;
    let state = place.lock(&StateHeader::new(Job::default(), 0))?;
    let create = || {
        if existing != Existing::Overwrite && place.path.symlink_metadata().is_ok() {
            return Err(OpenError::Exists(place.name.clone()));
        }
        let part = Place {
            path: with_suffix(&place.path, ".part"),
            name: format!("{}.part", place.name),
        };
        remove_ours(&part, header)?;
        let (file, _) = part.create(Existing::Refuse)?;
        Ok((file, part.path))
    };
    match create() {
        Ok((file, path)) => Ok(Claimed {
            file,
            path,
            backup: None,
            end: Some(place.path),
            state: Some(state),
        }),
        Err(error) => {
            state.restore().map_err(place.io())?;
            Err(error)
        }
    }
}

/// Takes away what an incomplete run left, and nothing else.
fn remove_ours(place: &Place, header: &str) -> Result<(), OpenError> {
    let Ok(metadata) = place.path.symlink_metadata() else {
        return Ok(());
    };
    let begin = || -> io::Result<Vec<u8>> {
        let mut begin = Vec::new();
        let file = File::open(&place.path)?;
        file.take(header.len() as u64).read_to_end(&mut begin)?;
        Ok(begin)
    };
    if !metadata.is_file() || !header.as_bytes().starts_with(&begin().map_err(place.io())?) {
        return Err(OpenError::NotOurs(place.name.clone()));
    }
    fs::remove_file(&place.path).map_err(place.io())
}

impl Claimed {
    /// Where the file is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the file is complete: it is on the disk, and under its own name.
    pub fn complete(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(end) = &self.end {
            if end.symlink_metadata().is_ok() {
                set_aside(end)?;
            }
            fs::rename(&self.path, end)?;
            sync_folder(end)?;
            self.end = None;
        }
        Ok(())
    }

    /// Takes the file away again and puts back the one whose place it took.
    pub fn discard(mut self) -> io::Result<()> {
        take_away(&self.path, self.backup.as_deref())?;
        self.state.take().map_or(Ok(()), StateFile::restore)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // What is under the name of an incomplete file is as it was, and so is its state.
        let _ = match (&self.end, self.state.take()) {
            (_, None) => Ok(()),
            (Some(_), Some(state)) => state.restore(),
            (None, Some(state)) => state.remove(),
        };
    }
}
