//! Whether the disk can hold the report: looked at before anything is sent.

use imagekit_bulk_delete::files::folder;
use imagekit_bulk_delete::human::bytes;
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::source::Sources;

/// A row is rarely shorter: ID, status, time, request id, line and input take that much.
const MIN_ROW_BYTES: u64 = 100;

/// A warning where the report plainly does not fit; `None` where it may, or nobody can tell.
pub(crate) fn warning(destination: &Destination, sources: &Sources) -> Option<String> {
    let Destination::File(path) = destination else {
        return None;
    };
    let needed = sources.rough_records()?.saturating_mul(MIN_ROW_BYTES);
    let disk = rustix::fs::statvfs(folder(path)).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < needed).then(|| {
        format!(
            "warning: the report needs about {}, and its disk has {} free; make room, or put it elsewhere with --report",
            bytes(needed),
            bytes(free)
        )
    })
}
