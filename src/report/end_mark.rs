//! The end mark: an extended attribute on a report whose job is settled, since it has no state beside it any more.
//!
//! It says how far the report's rows reach. A report without a state is trusted if it is as its end mark says, and
//! only then: else its state was deleted, or some of its rows. What does not keep such attributes (an old file
//! system, a copy made without them) costs certainty, never truth: a resume tells `gone` where it could have told
//! `not_found`.

use std::fs::File;
use std::io;

use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};

use crate::journal::Extent;

const NAME: &str = "user.imagekit-bulk-delete.end";

/// Puts the mark on a finished report; where the file system takes none there is none.
pub(super) fn set(file: &File, extent: Extent) {
    if let Ok(text) = serde_json::to_vec(&extent) {
        let _ = fsetxattr(file, NAME, &text, XattrFlags::empty());
    }
}

/// The mark of a report; `None` if there is none that can be read.
pub(super) fn get(file: &File) -> Option<Extent> {
    let mut text = [0; 256];
    let len = fgetxattr(file, NAME, &mut text).ok()?;
    serde_json::from_slice(text.get(..len)?).ok()
}

/// Takes the mark away before anything is sent, as the job goes on.
pub(super) fn remove(file: &File) -> io::Result<()> {
    match get(file) {
        Some(_) => Ok(fremovexattr(file, NAME)?),
        None => Ok(()),
    }
}
