//! Roughly how many records there are, before they are read.

use super::Sources;
use super::bytes::Bytes;
use super::format::Compression;

impl Sources {
    /// Roughly how many records there are; `None` where an input is a pipe or compressed.
    pub fn rough_records(&self) -> Option<u64> {
        let sources = self.inputs.iter();
        sources.map(|source| rough_lines(&source.bytes)).sum()
    }
}

/// Lines by the length of the first of them.
fn rough_lines(bytes: &Bytes) -> Option<u64> {
    let file = bytes.file()?;
    let first = file.first().ok()?;
    if Compression::of(&first).is_some() {
        return None;
    }
    let lines = first.split(|byte| *byte == b'\n').count() as u64 - 1;
    Some(lines * file.len.saturating_sub(file.start) / (first.len() as u64).max(1))
}
