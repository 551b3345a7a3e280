//! The census: what an input holds, counted before anything is sent.

use imagekit_bulk_delete::report::Past;
use imagekit_bulk_delete::source::{SourceError, Sources};
use imagekit_bulk_delete::target::Record;

/// What an input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Records of any kind.
    pub(crate) records: u64,
    /// Distinct IDs that could be sent.
    pub(crate) distinct: u64,
    /// Distinct IDs that no earlier run settled.
    pub(crate) to_send: u64,
}

/// Reads all inputs once; they must be re-readable afterwards.
pub(crate) fn take(sources: &mut Sources, past: &mut Past) -> Result<Census, SourceError> {
    let mut census = Census::default();
    for record in sources.records() {
        census.records += 1;
        let Record::Target(target) = record? else {
            continue;
        };
        let (is_new, is_to_send) = past.count(target.file_id.as_str());
        census.distinct += u64::from(is_new);
        census.to_send += u64::from(is_new && is_to_send);
    }
    Ok(census)
}
