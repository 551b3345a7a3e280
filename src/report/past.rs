//! What earlier runs left: which IDs are settled, which are in doubt, which rows stand.
//!
//! Filled by reading the report, asked once for each record of the present input. The last row of
//! an ID counts; a `duplicate` row settles its record only. Many records may share an ID that cannot
//! be one (an empty cell), so `invalid` and `duplicate` rows are counted for each ID and used up one by one.

use std::collections::HashMap;

use super::read::Row;
use crate::outcome::{Outcome, Status};
use crate::seen::{Marks, Seen};
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
pub struct Past {
    seen: Seen,
    /// Counts of `duplicate` and `invalid` rows too large for the marks.
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

impl Past {
    /// Hears of records that are admitted next; see [`Seen::foresee`].
    pub fn foresee(&self, records: &[Record]) {
        self.seen.foresee(records.iter().map(Record::file_id));
    }

    /// Hears of rows that are read next.
    pub(super) fn foresee_rows(&self, rows: &[Row<'_>]) {
        self.seen.foresee(rows.iter().map(|row| row.file_id));
    }

    /// Admits a record that could be sent: a first record of an ID that is not settled goes out.
    pub fn admit(&mut self, mut target: Target) -> Admission {
        let is_all_in_doubt = self.is_all_in_doubt;
        let marks = self.seen.entry(target.file_id.as_str());
        if marks.set(Marks::SEEN) {
            if marks.has(Marks::SETTLED) {
                return Admission::Settled;
            }
            target.doubt = marks.has(Marks::DOUBT) || is_all_in_doubt;
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
        let marks = self.seen.entry(file_id);
        (marks.set(Marks::COUNTED), !marks.has(Marks::SETTLED))
    }

    /// Whether an ID was among those that were counted before the run.
    pub fn was_counted(&self, file_id: &str) -> bool {
        let marks = self.seen.get(file_id).unwrap_or_default();
        marks.has(Marks::COUNTED)
    }

    /// Notes the rows that this run wrote.
    pub(super) fn note_written(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().filter(|outcome| is_own(outcome.status)) {
            self.seen.entry(&outcome.file_id).set(Marks::REDONE);
        }
    }

    /// Notes a row of this run that tells what became of the purge.
    pub(super) fn note_amended(&mut self, file_id: &str) {
        if !self.seen.entry(file_id).set(Marks::REDONE) {
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
        let marks = self.seen.entry(file_id);
        let is_first = marks.set(Marks::HAS_ROW);
        let was_settled = marks.has(Marks::SETTLED);
        marks.clear(Marks::SETTLED);
        marks.clear(Marks::DOUBT);
        if status.settles_id() {
            marks.set(Marks::SETTLED);
        } else if status == Status::Unknown {
            marks.set(Marks::DOUBT);
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

    /// Whether an ID that an interrupted run had in the air needs a row that says so: not if it is settled, or
    /// in doubt already.
    pub(super) fn needs_doubt(&self, file_id: &str) -> bool {
        let marks = self.seen.get(file_id).unwrap_or_default();
        !marks.has(Marks::SETTLED) && !marks.has(Marks::DOUBT)
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
            .has(Marks::REDONE)
    }

    /// Whether the record of an old row is gone from the present input. A `duplicate` or `invalid` row that
    /// was not used up is.
    pub(super) fn is_left_over(&mut self, file_id: &str, status: Status) -> bool {
        match status {
            Status::Duplicate => self.use_up(&duplicates(file_id)),
            Status::Invalid => self.use_up(&invalids(file_id)),
            _ => !self.seen.get(file_id).unwrap_or_default().has(Marks::SEEN),
        }
    }

    /// Whether each row stands for one record as it is: none is replaced by a later one, none has lost its record.
    pub(super) fn is_whole(&self) -> bool {
        let stands = |marks: Marks| {
            let is_own_row_right =
                !marks.has(Marks::HAS_ROW) || marks.has(Marks::SEEN) && !marks.has(Marks::REDONE);
            is_own_row_right && marks.count() == 0
        };
        self.again.is_empty()
            && self.amended.is_empty()
            && self.many.values().all(|rows| *rows == 0)
            && self.seen.marks().all(stands)
    }

    fn add_one(&mut self, key: &str) {
        let marks = self.seen.entry(key);
        if marks.count() < Marks::MOST_COUNTED {
            marks.set_count(marks.count() + 1);
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
            .map(Marks::count)
            .filter(|count| *count > 0)
        else {
            return false;
        };
        self.seen.entry(key).set_count(count - 1);
        true
    }
}

/// Whether a row with this status is the ID's own.
pub(super) const fn is_own(status: Status) -> bool {
    !matches!(status, Status::Duplicate | Status::Invalid)
}

/// Under the ID itself: its marks have room for the count.
fn duplicates(file_id: &str) -> String {
    file_id.to_owned()
}

/// Apart from an ID of the same text, which may be a file's in another row.
fn invalids(file_id: &str) -> String {
    format!("\0{file_id}")
}
