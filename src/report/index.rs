//! The resume index: what earlier runs left of each ID, and the account of the rows that stand.
//!
//! Filled by reading the report, asked once for each record of the present input. The last row of an ID counts; a
//! `duplicate` or `invalid` row settles its record only. Many records may share an ID that cannot be one (an empty
//! cell), so such rows are counted for each ID and used up one by one.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;

use super::{Counts, Finished, PurgeCounts};
use crate::id_set::{Count, Flag, Flags, IdSet, Slot};
use crate::journal::SentId;
use crate::outcome::{Outcome, Purge, Status};
use crate::target::{Doubt, Origin, Record, Rejected, Target};

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

/// What the run would do with an ID that is counted before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It would be sent.
    ToSend,
    /// A list of exceptions protects it.
    Excluded,
    /// A row of an earlier run settles it.
    Settled,
    /// It was counted already.
    Duplicate,
}

/// All IDs that this run has to do with.
#[derive(Debug, Default)]
pub struct ResumeIndex {
    ids: IdSet,
    numbers: Numbers,
    /// Counts that are too large for an ID's flags.
    many: HashMap<Box<str>, [u64; 2]>,
    /// Rows that stand, the last one of each ID.
    counts: Counts,
    purges: PurgeCounts,
    /// Rows that a later one replaced.
    superseded: u64,
    /// IDs in doubt that have no `unknown` row to say so.
    in_doubt: HashMap<Box<str>, SentId>,
    /// URLs that only rows of earlier runs know.
    pub(super) urls: HashMap<Box<str>, Box<str>>,
    /// Rows may have been lost: whatever is not settled may have been deleted.
    pub(super) is_all_in_doubt: bool,
    /// Others put blank lines or BOMs between the rows.
    pub(super) is_untidy: bool,
}

impl ResumeIndex {
    /// The slots of records that are admitted or counted next; see [`IdSet::prefetch`].
    pub fn prefetch(&self, records: &[Record]) -> Vec<Slot> {
        let ids = records.iter().map(Record::file_id);
        let slots: Vec<Slot> = ids.map(|id| self.ids.slot_of(id)).collect();
        self.ids.prefetch(slots.iter().copied());
        slots
    }

    /// Admits a record that could be sent, by the slot of its ID: a first record of an ID that is not settled goes out.
    pub fn admit(&mut self, mut target: Target, slot: Slot) -> Admission {
        let file_id = target.file_id.as_str();
        let flags = self.ids.entry_at(slot);
        if !flags.is_seen() {
            flags.set_first(self.numbers.number(&target.origin));
            let status = own_row(flags.row()).map(|(status, _)| status);
            if status.is_some_and(Status::settles_id) {
                return Admission::Settled;
            }
            target.doubt = if self.is_all_in_doubt || status == Some(Status::Unknown) {
                Doubt::Ambiguous
            } else if self.in_doubt.is_empty() {
                Doubt::None
            } else {
                let kept = self.in_doubt.get(file_id);
                kept.map_or(Doubt::None, |sent| sent.doubt)
            };
            if flags.has(Flag::Excepted) {
                return Admission::Decided(Box::new(Outcome::excluded(target)));
            }
            if !self.urls.is_empty() && target.origin.url.is_none() {
                target.origin.url = self.urls.remove(file_id);
            }
            return Admission::Send(target);
        }
        let first = flags.first();
        if self.take_one(slot, file_id, Count::Single) {
            return Admission::Settled;
        }
        let first = first.and_then(|number| self.numbers.place(number));
        Admission::Decided(Box::new(Outcome::duplicate(target, first)))
    }

    /// Admits a record that is never sent.
    pub fn admit_rejected(&mut self, rejected: Rejected) -> Admission {
        let key = invalids(&rejected.file_id);
        if self.take_one(self.ids.slot_of(&key), &key, Count::Single) {
            return Admission::Settled;
        }
        Admission::Decided(Box::new(Outcome::rejected(rejected)))
    }

    /// Protects an ID: a record that names it is `excluded`, unless an earlier run settled it.
    pub fn except(&mut self, file_id: &str) {
        self.ids.entry(file_id).set(Flag::Excepted);
    }

    /// Whether an ID is protected.
    pub fn is_excepted(&self, file_id: &str) -> bool {
        let flags = self.ids.get(file_id).unwrap_or_default();
        flags.has(Flag::Excepted)
    }

    /// Whether the input, as far as it was read, has this ID.
    pub fn is_in_input(&self, file_id: &str) -> bool {
        let flags = self.ids.get(file_id).unwrap_or_default();
        flags.is_seen() || flags.has(Flag::Counted)
    }

    /// Counts the ID of a slot before the run.
    pub fn count(&mut self, slot: Slot) -> Counted {
        let flags = self.ids.entry_at(slot);
        if !flags.set(Flag::Counted) {
            return Counted::Duplicate;
        }
        match own_row(flags.row()) {
            Some((status, _)) if status.settles_id() => Counted::Settled,
            _ if flags.has(Flag::Excepted) => Counted::Excluded,
            _ => Counted::ToSend,
        }
    }

    /// Whether an ID was among those that were counted before the run.
    pub fn was_counted(&self, slot: Slot) -> bool {
        let flags = self.ids.get_at(slot).unwrap_or_default();
        flags.has(Flag::Counted)
    }

    /// Takes in rows of earlier runs, in the order of the file.
    pub(super) fn load_all(&mut self, rows: &[LoadedRow]) {
        let ids = rows.iter().map(|row| &row.file_id);
        let slots: Vec<Slot> = ids.map(|id| self.ids.slot_of(id)).collect();
        let rows = || rows.iter().zip(slots.iter().copied());
        // One right after the other, so that they wait for memory together.
        for (_, slot) in rows().filter(|(row, _)| row.status.is_own()) {
            self.ids.entry_at(slot);
        }
        for (row, slot) in rows() {
            if row.status.is_own() {
                self.replace_own(slot, &row.file_id, row.status, row.purge);
            } else {
                self.load_single(slot, &row.file_id, row.status);
            }
        }
    }

    /// Takes in a row that settles one record.
    fn load_single(&mut self, slot: Slot, file_id: &str, status: Status) {
        self.counts[status as usize] += 1;
        if status == Status::Invalid {
            let key = invalids(file_id);
            let slot = self.ids.slot_of(&key);
            self.ids.entry_at(slot).set(Flag::Invalid);
            self.add_one(slot, &key, Count::Single);
        } else {
            self.add_one(slot, file_id, Count::Single);
        }
    }

    /// Takes in rows that this run wrote.
    pub(super) fn note_written(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if outcome.status.is_own() {
                let slot = self.ids.slot_of(&outcome.file_id);
                self.replace_own(slot, &outcome.file_id, outcome.status, outcome.purge);
            } else {
                self.counts[outcome.status as usize] += 1;
            }
        }
    }

    /// Counts rows of a run whose IDs have one row at the most.
    pub(super) fn count_written(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.counts[outcome.status as usize] += 1;
        }
    }

    fn replace_own(&mut self, slot: Slot, file_id: &str, status: Status, purge: Option<Purge>) {
        let flags = self.ids.entry_at(slot);
        let old = own_row(flags.row());
        flags.set_row(row_number(status, purge));
        self.counts[status as usize] += 1;
        if let Some(purge) = purge {
            self.purges[purge as usize] += 1;
        }
        let Some((old_status, old_purge)) = old else {
            return;
        };
        self.counts[old_status as usize] -= 1;
        if let Some(purge) = old_purge {
            self.purges[purge as usize] -= 1;
        }
        self.superseded += 1;
        self.add_one(slot, file_id, Count::Superseded);
        if status.settles_id() {
            if !self.in_doubt.is_empty() {
                self.in_doubt.remove(file_id);
            }
        } else if old_status == Status::Unknown && status != Status::Unknown {
            // Its row says so no longer.
            self.keep_doubt(SentId::in_doubt(file_id));
        }
    }

    /// Keeps an ID in doubt that has no row to say so; not if it is settled.
    pub(super) fn keep_doubt(&mut self, sent: SentId) {
        if !self.status(&sent.file_id).is_some_and(Status::settles_id) {
            self.in_doubt.insert(sent.file_id.as_str().into(), sent);
        }
    }

    /// IDs in doubt that have no row to say so.
    pub(super) fn in_doubt(&self) -> Vec<SentId> {
        let says_so = |status: Status| status.settles_id() || status == Status::Unknown;
        let left = self.in_doubt.values();
        left.filter(|sent| !self.status(&sent.file_id).is_some_and(says_so))
            .cloned()
            .collect()
    }

    /// Whether an ID that an interrupted run had in flight needs a row that says so: not if it is settled, or has
    /// such a row.
    pub(super) fn needs_doubt(&self, file_id: &str) -> bool {
        let status = self.status(file_id);
        !status.is_some_and(|status| status.settles_id() || status == Status::Unknown)
    }

    pub(super) fn status(&self, file_id: &str) -> Option<Status> {
        let flags = self.ids.get(file_id)?;
        own_row(flags.row()).map(|(status, _)| status)
    }

    /// Whether a later row of the same ID replaced this one; to be asked once for each row, in the order of the file.
    pub(super) fn is_superseded(&mut self, file_id: &str) -> bool {
        self.take_one(self.ids.slot_of(file_id), file_id, Count::Superseded)
    }

    /// Whether the report holds more than one row for each decided record.
    pub(super) fn needs_compaction(&self) -> bool {
        self.superseded > 0 || self.is_untidy
    }

    /// Rows that stand and are not done again, by status.
    pub(crate) fn settled(&self) -> Counts {
        let is_settled = |status: Status| status.settles_id() || !status.is_own();
        let counts = self.counts;
        Status::ALL.map(|status| counts[status as usize] * u64::from(is_settled(status)))
    }

    /// The rows that stand.
    pub(super) fn account(&self) -> Finished {
        Finished {
            counts: self.counts,
            purges: self.purges,
            ..Finished::default()
        }
    }

    /// The rows that stand, those apart whose record is no longer in the input, which was read to its end.
    pub(super) fn account_of_input(&self) -> Finished {
        let mut account = self.account();
        for flags in self.ids.flags() {
            if let Some((status, _)) = own_row(flags.row())
                && !flags.is_seen()
            {
                account.keep(status, 1);
            }
            let single = if flags.has(Flag::Invalid) {
                Status::Invalid
            } else {
                Status::Duplicate
            };
            account.keep(single, flags.count(Count::Single));
        }
        for (key, [_, rows]) in &self.many {
            let single = if key.starts_with('\0') {
                Status::Invalid
            } else {
                Status::Duplicate
            };
            account.keep(single, *rows);
        }
        account
    }

    fn add_one(&mut self, slot: Slot, key: &str, count: Count) {
        let flags = self.ids.entry_at(slot);
        let value = flags.count(count);
        if value < Flags::MAX_COUNT {
            flags.set_count(count, value + 1);
        } else {
            self.many.entry(key.into()).or_default()[count as usize] += 1;
        }
    }

    /// Uses up one of a count; false if there is none left.
    fn take_one(&mut self, slot: Slot, key: &str, count: Count) -> bool {
        if !self.many.is_empty()
            && let Some(counts) = self.many.get_mut(key)
            && counts[count as usize] > 0
        {
            counts[count as usize] -= 1;
            return true;
        }
        let left = self.ids.get_at(slot).map_or(0, |flags| flags.count(count));
        if left > 0 {
            self.ids.entry_at(slot).set_count(count, left - 1);
        }
        left > 0
    }
}

/// A row of an earlier run, as far as it is taken in.
#[derive(Debug)]
pub(super) struct LoadedRow {
    pub(super) file_id: CompactString,
    pub(super) status: Status,
    pub(super) purge: Option<Purge>,
}

/// Numbers the records of all inputs, so that few bits say where an ID stood first.
#[derive(Debug, Default)]
struct Numbers {
    /// The inputs, in order, each with the number before its first line.
    inputs: Vec<(u64, Arc<str>)>,
    /// The largest number so far.
    last: u64,
}

impl Numbers {
    /// The number of the record that is admitted now.
    fn number(&mut self, origin: &Origin) -> u64 {
        let before = match self.inputs.last() {
            Some((before, input)) if is_same_input(input, &origin.input) => *before,
            _ => {
                self.inputs.push((self.last, Arc::clone(&origin.input)));
                self.last
            }
        };
        let number = before.saturating_add(origin.line);
        self.last = self.last.max(number);
        number
    }

    /// The input and the line of a number.
    fn place(&self, number: u64) -> Option<(&str, u64)> {
        let later = self.inputs.partition_point(|(before, _)| *before < number);
        let (before, input) = self.inputs.get(later.checked_sub(1)?)?;
        Some((input, number - before))
    }
}

fn is_same_input(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl Finished {
    /// Tells rows apart whose record is no longer in the input.
    fn keep(&mut self, status: Status, rows: u64) {
        self.counts[status as usize] -= rows;
        self.kept.rows += rows;
        if matches!(status, Status::Failed | Status::Unknown) {
            self.kept.unsettled += rows;
        }
    }
}

/// Under another name than an ID of the same text, which may be a file's in another row.
fn invalids(file_id: &str) -> String {
    format!("\0{file_id}")
}

/// An ID's own row as a number that fits its flags; 0 is none.
fn row_number(status: Status, purge: Option<Purge>) -> u64 {
    let of_purge = purge.map_or(0, |purge| purge as u64 + 1);
    match status {
        Status::Invalid | Status::Duplicate => 0,
        Status::NotFound => 1,
        Status::Failed => 2,
        Status::Unknown => 3,
        Status::Excluded => 4,
        Status::Deleted => 5 + of_purge,
        Status::Gone => 10 + of_purge,
    }
}

/// What such a number stands for.
fn own_row(number: u64) -> Option<(Status, Option<Purge>)> {
    let purge = |number: u64| {
        Purge::ALL
            .into_iter()
            .find(|purge| *purge as u64 + 1 == number)
    };
    Some(match number {
        1 => (Status::NotFound, None),
        2 => (Status::Failed, None),
        3 => (Status::Unknown, None),
        4 => (Status::Excluded, None),
        5..=9 => (Status::Deleted, purge(number - 5)),
        10..=14 => (Status::Gone, purge(number - 10)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_an_ids_own_has_a_number() {
        for status in Status::ALL.into_iter().filter(|status| status.is_own()) {
            let is_gone = matches!(status, Status::Deleted | Status::Gone);
            let purges = Purge::ALL.into_iter().filter(|_| is_gone).map(Some);
            for purge in purges.chain([None]) {
                let number = row_number(status, purge);
                assert!(number <= Flags::MAX_ROW);
                assert_eq!(own_row(number), Some((status, purge)));
            }
        }
        assert_eq!(own_row(0), None);
    }

    #[test]
    fn a_number_tells_input_and_line() {
        let mut numbers = Numbers::default();
        let places = [
            ("a", 1),
            ("a", 7),
            ("b", 2),
            ("a", 3),
            ("a", 1 << 40),
            ("c", 1),
        ];
        let given = places.map(|(input, line)| {
            numbers.number(&Origin {
                line,
                input: input.into(),
                url: None,
            })
        });
        assert_eq!(given.map(|number| numbers.place(number)), places.map(Some));
    }

    #[test]
    fn the_account_is_of_the_last_rows_however_many_there_were() {
        let mut index = ResumeIndex::default();
        let row = |file_id: &str, status, purge| LoadedRow {
            file_id: file_id.into(),
            status,
            purge,
        };
        for _ in 0..40 {
            index.load_all(&[
                row("a", Status::Failed, None),
                row("b", Status::Duplicate, None),
                row("", Status::Invalid, None),
            ]);
        }
        index.load_all(&[
            row("a", Status::Deleted, Some(Purge::Failed)),
            row("a", Status::Deleted, Some(Purge::Requested)),
        ]);
        let account = index.account();
        let count = |account: &Finished, status| account.counts[status as usize];
        assert_eq!(count(&account, Status::Deleted), 1);
        assert_eq!(count(&account, Status::Failed), 0);
        assert_eq!(account.purges, [1, 0, 0, 0]);
        let superseded = (0..50).filter(|_| index.is_superseded("a")).count();
        assert_eq!(superseded, 41);
        let account = index.account_of_input();
        assert_eq!((account.kept.rows, account.kept.unsettled), (81, 0));
        assert_eq!(account.counts, Counts::default());
    }
}
