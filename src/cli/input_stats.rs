//! Statistics of the input: what an input holds, counted before anything is sent.

use std::collections::{HashSet, VecDeque};

use imagekit_bulk_delete::purge::{is_remembered, purged_url};
use imagekit_bulk_delete::report::{Counted, ResumeIndex};
use imagekit_bulk_delete::source::{RecordStream, SourceError};
use imagekit_bulk_delete::target::{Record, Rejected, Target};

/// So many first and last IDs, and invalid records, are shown.
const SHOWN: usize = 3;

/// What an input holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct InputStats {
    /// Records of any kind.
    pub(crate) records: u64,
    /// Distinct IDs that could be sent.
    pub(crate) distinct: u64,
    /// Distinct IDs that an earlier run settled.
    pub(crate) settled: u64,
    /// Distinct IDs that a list of exceptions protects.
    pub(crate) excluded: u64,
    /// Distinct IDs that would be sent.
    pub(crate) to_send: u64,
    /// Of those, IDs whose record does not tell the URL.
    pub(crate) without_url: u64,
    /// Of those, IDs whose URL is purged for an earlier one already.
    pub(crate) equal_urls: u64,
    urls: HashSet<Box<str>>,
    /// Records whose ID stood in an earlier one.
    pub(crate) duplicates: u64,
    /// Records that are never sent.
    pub(crate) invalid: u64,
    /// The first of those, in words.
    pub(crate) first_invalid: Vec<String>,
    /// IDs to be sent that do not look like ImageKit's.
    pub(crate) odd: u64,
    /// The first IDs that would be sent.
    pub(crate) first: Vec<String>,
    /// The last ones, as far as they are not among the first.
    pub(crate) last: VecDeque<String>,
}

/// Whether URLs are counted: only a run that purges needs it, and each costs a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urls {
    /// For a run that purges.
    Counted,
    /// For any other.
    Left,
}

/// Reads all inputs to their end, on two threads: one finds records, the other looks their IDs up.
pub(crate) fn collect(
    records: &mut RecordStream,
    index: &mut ResumeIndex,
    urls: Urls,
) -> Result<InputStats, SourceError> {
    let mut stats = InputStats::default();
    while let Some(records) = records.blocking_next() {
        let records = records?;
        let slots = index.prefetch(&records);
        stats.records += records.len() as u64;
        for (record, slot) in records.into_iter().zip(slots) {
            match record {
                Record::Target(target) => stats.add(&target, index.count(slot), urls),
                Record::Rejected(rejected) => stats.add_invalid(&rejected),
            }
        }
    }
    Ok(stats)
}

impl InputStats {
    fn add(&mut self, target: &Target, counted: Counted, urls: Urls) {
        match counted {
            Counted::Duplicate => {
                self.duplicates += 1;
                return;
            }
            Counted::Settled => self.settled += 1,
            Counted::Excluded => self.excluded += 1,
            Counted::ToSend => {
                self.to_send += 1;
                if urls == Urls::Counted {
                    self.add_url(target.origin.url.as_deref());
                }
                self.odd += u64::from(!target.file_id.looks_like_imagekit());
                self.show(target.file_id.as_str());
            }
        }
        self.distinct += 1;
    }

    fn add_url(&mut self, url: Option<&str>) {
        match url {
            None => self.without_url += 1,
            Some(url) => self.equal_urls += u64::from(!self.is_new_url(url)),
        }
    }

    fn is_new_url(&mut self, url: &str) -> bool {
        let url = purged_url(url);
        if self.urls.contains(&*url) {
            return false;
        }
        if is_remembered(&url, self.urls.len()) {
            self.urls.insert(url.into());
        }
        true
    }

    fn add_invalid(&mut self, rejected: &Rejected) {
        self.invalid += 1;
        if self.first_invalid.len() < SHOWN {
            let origin = &rejected.origin;
            self.first_invalid.push(format!(
                "{} line {}: {}",
                origin.input, origin.line, rejected.reason
            ));
        }
    }

    fn show(&mut self, id: &str) {
        if self.first.len() < SHOWN {
            self.first.push(id.into());
        } else if self.last.len() < SHOWN {
            self.last.push_back(id.into());
        } else {
            // The oldest one's room is used again: this happens for each of millions.
            self.last.rotate_left(1);
            if let Some(last) = self.last.back_mut() {
                last.clear();
                last.push_str(id);
            }
        }
    }
}
