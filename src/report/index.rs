//! What earlier runs left: which IDs are settled, which are in doubt, which rows stand.
//!
//! Filled by reading the report, asked once for each record of the present input. The last row of
//! an ID counts; a `duplicate` row settles its record only. Many records may share an ID that cannot
//! be one (an empty cell), so `invalid` and `duplicate` rows are counted for each ID and used up one by one.

use std::collections::HashMap;

use super::read::Row;
use crate::id_set::{Flags, IdSet};
use crate::outcome::{Outcome, Status};
use crate::target::{Record, Rejected, Target};

/// What becomes of a record, by what is known of its ID.
#[derive(Debug)]
pub enum Admission {
    /// It is to be deleted.
    Send(Target),
    /// Its row is known without asking anybody.
    Decided(Box<Outcome>),
    /// Its row stands in the report already.
    Settled,
}

/// What a row of an earlier run tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// What became of the record.
    First,
    /// What became of the purge, after a row that told the rest.
    Amended,
}

/// All IDs that this run has to do with.
#[derive(Debug, Default)]
pub struct ResumeIndex {
    seen: IdSet,
    /// Counts of `duplicate` and `invalid` rows too large for the flags.
    many: HashMap<Box<str>, u64>,
    /// IDs with more than one row of their own: how many. A resumed run that was interrupted leaves them.
    again: HashMap<Box<str>, u64>,
    /// IDs with more than one row of this run: how many more. A purge is told by another row.
    amended: HashMap<Box<str>, u64>,
    /// URLs that only rows of earlier runs know.
    pub(super) urls: HashMap<Box<str>, Box<str>>,
    /// Rows may have been lost: whatever is not settled may have been deleted.
    pub(super) is_all_in_doubt: bool,
}

impl ResumeIndex {
    /// Hears of records that are admitted next; see [`IdSet::prefetch`].
    pub fn prefetch(&self, records: &[Record]) {
        self.seen.prefetch(records.iter().map(Record::file_id));
    }

    /// Hears of rows that are read next.
    pub(super) fn prefetch_rows(&self, rows: &[Row<'_>]) {
        self.seen.prefetch(rows.iter().map(|row| row.file_id));
    }

    /// Admits a record that could be sent: a first record of an ID that is not settled goes out.
    pub fn admit(&mut self, mut target: Target) -> Admission {
        let is_all_in_doubt = self.is_all_in_doubt;
        let flags = self.seen.entry(target.file_id.as_str());
        if flags.set(Flags::SEEN) {
            if flags.has(Flags::SETTLED) {
                return Admission::Settled;
            }
            target.doubt = flags.has(Flags::DOUBT) || is_all_in_doubt;
            if !self.urls.is_empty() && target.origin.url.is_none() {
                target.origin.url = self.urls.remove(target.file_id.as_str());
            }
            return Admission::Send(target);
        }
        if self.use_up(&duplicates(target.file_id.as_str())) {
            return Admission::Settled;
        }
        Admission::Decided(Box::new(Outcome::duplicate(target)))
    }

    /// Admits a record that is never sent.
    pub fn admit_rejected(&mut self, rejected: Rejected) -> Admission {
        if self.use_up(&invalids(&rejected.file_id)) {
            return Admission::Settled;
        }
        Admission::Decided(Box::new(Outcome::rejected(rejected)))
    }

    /// Counts an ID before the run: whether it is new among the counted, and whether it would be sent.
    pub fn count(&mut self, file_id: &str) -> (bool, bool) {
        let flags = self.seen.entry(file_id);
        (flags.set(Flags::COUNTED), !flags.has(Flags::SETTLED))
    }

    /// Whether an ID was among those that were counted before the run.
    pub fn was_counted(&self, file_id: &str) -> bool {
        let flags = self.seen.get(file_id).unwrap_or_default();
        flags.has(Flags::COUNTED)
    }

    /// Notes the rows that this run wrote.
    pub(super) fn note_written(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().filter(|outcome| outcome.status.is_own()) {
            self.seen.entry(&outcome.file_id).set(Flags::REDONE);
        }
    }

    /// Notes a row of this run that tells what became of the purge.
    pub(super) fn note_amended(&mut self, file_id: &str) {
        if !self.seen.entry(file_id).set(Flags::REDONE) {
            *self.amended.entry(file_id.into()).or_default() += 1;
        }
    }

    /// Whether a row of this run is replaced by a later one; to be asked in the order of the file.
    pub(super) fn is_amended_later(&mut self, file_id: &str) -> bool {
        match self.amended.get_mut(file_id) {
            Some(rows) if *rows > 0 => {
                *rows -= 1;
                true
            }
            _ => false,
        }
    }

    /// Takes in a row of an earlier run; rows come in the order of the file.
    pub(super) fn load(&mut self, file_id: &str, status: Status) -> Told {
        match status {
            Status::Duplicate => self.add_one(&duplicates(file_id)),
            Status::Invalid => self.add_one(&invalids(file_id)),
            _ => return self.load_own(file_id, status),
        }
        Told::First
    }

    fn load_own(&mut self, file_id: &str, status: Status) -> Told {
        let flags = self.seen.entry(file_id);
        let is_first = flags.set(Flags::HAS_ROW);
        let was_settled = flags.has(Flags::SETTLED);
        flags.clear(Flags::SETTLED);
        flags.clear(Flags::DOUBT);
        if status.settles_id() {
            flags.set(Flags::SETTLED);
        } else if status == Status::Unknown {
            flags.set(Flags::DOUBT);
        }
        if !is_first {
            *self.again.entry(file_id.into()).or_insert(1) += 1;
        }
        if was_settled && status.settles_id() {
            Told::Amended
        } else {
            Told::First
        }
    }

    /// Whether an ID that an interrupted run had in flight needs a row that says so: not if it is settled, or
    /// in doubt already.
    pub(super) fn needs_doubt(&self, file_id: &str) -> bool {
        let flags = self.seen.get(file_id).unwrap_or_default();
        !flags.has(Flags::SETTLED) && !flags.has(Flags::DOUBT)
    }

    /// Whether an old row of an ID's own is still the one that counts; to be asked in the order of the file.
    pub(super) fn counts_still(&mut self, file_id: &str) -> bool {
        if let Some(rows) = self.again.get_mut(file_id)
            && *rows > 1
        {
            *rows -= 1;
            return false;
        }
        !self
            .seen
            .get(file_id)
            .unwrap_or_default()
            .has(Flags::REDONE)
    }

    /// Whether the record of an old row is gone from the present input. A `duplicate` or `invalid` row that
    /// was not used up is.
    pub(super) fn is_left_over(&mut self, file_id: &str, status: Status) -> bool {
        match status {
            Status::Duplicate => self.use_up(&duplicates(file_id)),
            Status::Invalid => self.use_up(&invalids(file_id)),
            _ => !self.seen.get(file_id).unwrap_or_default().has(Flags::SEEN),
        }
    }

    /// Whether each row stands for one record as it is: none is replaced by a later one, none has lost its record.
    pub(super) fn is_compact(&self) -> bool {
        let stands = |flags: Flags| {
            let is_own_row_right =
                !flags.has(Flags::HAS_ROW) || flags.has(Flags::SEEN) && !flags.has(Flags::REDONE);
            is_own_row_right && flags.count() == 0
        };
        self.again.is_empty()
            && self.amended.is_empty()
            && self.many.values().all(|rows| *rows == 0)
            && self.seen.flags().all(stands)
    }

    fn add_one(&mut self, key: &str) {
        let flags = self.seen.entry(key);
        if flags.count() < Flags::MAX_COUNT {
            flags.set_count(flags.count() + 1);
        } else {
            *self.many.entry(key.into()).or_default() += 1;
        }
    }

    /// Uses up one of the counted rows; false if there is none left.
    fn use_up(&mut self, key: &str) -> bool {
        if let Some(more) = self.many.get_mut(key)
            && *more > 0
        {
            *more -= 1;
            return true;
        }
        let Some(count) = self
            .seen
            .get(key)
            .map(Flags::count)
            .filter(|count| *count > 0)
        else {
            return false;
        };
        self.seen.entry(key).set_count(count - 1);
        true
    }
}

/// Under the ID itself: its flags have room for the count.
fn duplicates(file_id: &str) -> String {
    file_id.to_owned()
}

/// Apart from an ID of the same text, which may be a file's in another row.
fn invalids(file_id: &str) -> String {
    format!("\0{file_id}")
}
