//! What else goes to `--report`, a list or a check: written under the same lock, with `.part` behind its name until it
//! is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::open::{Existing, OpenError, Place, set_aside};
use crate::files::{is_in_place, sync_folder};
use crate::journal::{self, Owner, StateFile, StateHeader};

/// A new file under the lock of the name that it will have, readable by its owner alone.
#[derive(Debug)]
pub(crate) struct Claimed {
    file: File,
    /// How many bytes were written to it.
    written: u64,
    /// Where it is now: until it is complete, with `.part` behind its name.
    pub(crate) path: PathBuf,
    end: PathBuf,
    state: StateFile,
}

/// Creates a file that is to have this name; one that is there stays until then. A `.part` that begins with `header` is
/// what an earlier run left, and is replaced.
pub(crate) fn claim(path: &Path, existing: Existing, header: &str) -> Result<Claimed, OpenError> {
    let place = Place::of(path)?;
    let part = place.part();
    let state = place.lock(&StateHeader::new(Owner::default(), 0))?;
    let create = || {
        check(&place, existing, header)?;
        part.remove_ours(header)?;
        part.create_new().map_err(part.io())
    };
    match create() {
        Ok(file) => Ok(Claimed {
            file,
            written: 0,
            path: part.path,
            end: place.path,
            state,
        }),
        Err(error) => {
            state.restore().map_err(place.io())?;
            Err(error)
        }
    }
}

/// Fails where [`claim`] would, and changes nothing.
pub(crate) fn rehearse_claim(
    path: &Path,
    existing: Existing,
    header: &str,
) -> Result<(), OpenError> {
    let place = Place::of(path)?;
    journal::check_lock(&place.state_path()).map_err(|error| place.state_error(error))?;
    check(&place, existing, header)
}

fn check(place: &Place, existing: Existing, header: &str) -> Result<(), OpenError> {
    if existing != Existing::Overwrite && place.path.symlink_metadata().is_ok() {
        return Err(OpenError::SheetExists(place.name.clone()));
    }
    place.part().is_ours(header).map(drop)
}

impl Claimed {
    /// Says that the file is complete: it is on the disk, and under its own name.
    pub(crate) fn complete(&mut self) -> io::Result<()> {
        self.check()?;
        self.file.sync_all()?;
        if self.end.symlink_metadata().is_ok() {
            set_aside(&self.end)?;
        }
        fs::rename(&self.path, &self.end)?;
        self.path.clone_from(&self.end);
        sync_folder(&self.end)
    }

    /// Writes more of it; the kernel has it when this returns.
    pub(crate) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all(text)?;
        self.written += text.len() as u64;
        Ok(())
    }

    /// Fails where somebody else has changed, replaced or removed the file.
    fn check(&self) -> io::Result<()> {
        if is_in_place(&self.file, &self.path) && self.file.metadata()?.len() == self.written {
            return Ok(());
        }
        Err(io::Error::other(
            "the file was changed, replaced or removed while it was written",
        ))
    }

    /// Takes the file away again, if it is still the one that was created.
    pub(crate) fn discard(self) -> io::Result<()> {
        if is_in_place(&self.file, &self.path) {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // The lock's file is as it was: that of a report which has this name, or none.
        let _ = self.state.restore();
    }
}
