//! The figures of a page, counted from a report's rows: as many of these as are shown are kept, and their IDs in a set.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;

use super::chart::{KINDS, Timeline};
use crate::id_set::IdSet;
use crate::outcome::{Outcome, Purge, REHEARSAL_PREFIX, Status};
use crate::report::Rows;
use crate::summary::Failures;

/// Rows that the page shows one by one.
pub(super) const MAX_SHOWN: usize = 5_000;

/// Inputs that are named.
const MAX_INPUTS: usize = 10;

/// How grave it is that a row needs a look, the gravest first; `None` if it needs none.
fn gravity(outcome: &Outcome) -> Option<usize> {
    match outcome.status {
        Status::Unknown => Some(0),
        Status::Failed => Some(1),
        Status::Invalid => Some(3),
        // The file is gone, its purge is not done.
        _ => outcome
            .purge
            .is_some_and(|purge| !purge.is_settled())
            .then_some(2),
    }
}

/// How the page colours what became of a record.
pub(super) const fn class(status: Status) -> &'static str {
    match status {
        Status::Deleted => "deleted",
        Status::NotFound | Status::Gone => "absent",
        Status::Failed | Status::Unknown => "unsettled",
        Status::Invalid | Status::Duplicate | Status::Excluded => "unsent",
    }
}

/// What the rows of a report come to.
#[derive(Debug, Default)]
pub(super) struct Figures {
    statuses: [u64; Status::ALL.len()],
    purges: [u64; Purge::ALL.len()],
    /// When the first and the last row were decided.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    pub(super) over_time: Timeline,
    pub(super) failures: Failures,
    /// Rows that need a look, by how grave it is, the first of each.
    troubles: [Vec<Outcome>; 4],
    /// The inputs' names, as far as they are kept.
    pub(super) inputs: Vec<Arc<str>>,
    pub(super) has_more_inputs: bool,
    /// The rows are of the look-alike.
    pub(super) is_rehearsal: bool,
    /// The last row is torn.
    pub(super) is_torn: bool,
    /// Rows that a later one of the same ID replaces, and that are not counted: the run has not ended in order.
    pub(super) superseded: u64,
}

impl Figures {
    /// Reads a report of ours; any other file, and one that is damaged, is an error of kind `InvalidData`.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut own_rows = OwnRows::default();
        let mut read = 0;
        let figures = Self::count(path, usize::MAX, |outcome| {
            read += 1;
            own_rows.add(outcome);
            true
        })?;
        if own_rows.again.is_empty() {
            return Ok(figures);
        }
        // The report of a run that goes on, or that was killed.
        let is_torn = figures.is_torn;
        let mut figures = Self::count(path, read, |outcome| own_rows.is_last(outcome))?;
        figures.is_torn = is_torn;
        if own_rows.again.values().any(|rows| *rows != 1) {
            return Err(io::Error::other(
                "it was replaced while it was read; try again",
            ));
        }
        Ok(figures)
    }

    /// Counts those of the first rows that `counts` says yes to.
    fn count(
        path: &Path,
        max_rows: usize,
        mut counts: impl FnMut(&Outcome) -> bool,
    ) -> io::Result<Self> {
        let mut figures = Self::default();
        let mut rows = Rows::open(path)?;
        for row in rows.by_ref().take(max_rows) {
            let outcome = row?;
            if counts(&outcome) {
                figures.add(&outcome);
            } else {
                figures.superseded += 1;
            }
        }
        figures.is_torn = rows.is_cut();
        Ok(figures)
    }

    fn add(&mut self, outcome: &Outcome) {
        self.statuses[outcome.status as usize] += 1;
        if let Some(purge) = outcome.purge {
            self.purges[purge as usize] += 1;
        }
        let at = outcome.finished_at;
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        let kind = KINDS.iter().position(|kind| *kind == class(outcome.status));
        if let Some(kind) = kind {
            self.over_time.add(at, outcome.duration, kind);
        }
        if !matches!(outcome.status, Status::Deleted | Status::Duplicate) {
            self.failures.add(outcome);
        }
        if let Some(gravity) = gravity(outcome) {
            let rows = &mut self.troubles[gravity];
            if rows.len() < MAX_SHOWN {
                rows.push(outcome.clone());
            }
        }
        self.add_input(&outcome.origin.input);
        let request_id = outcome.request_id.as_deref().unwrap_or_default();
        self.is_rehearsal |= request_id.starts_with(REHEARSAL_PREFIX);
    }

    fn add_input(&mut self, input: &Arc<str>) {
        if self.inputs.contains(input) {
            return;
        }
        if self.inputs.len() < MAX_INPUTS {
            self.inputs.push(Arc::clone(input));
        } else {
            self.has_more_inputs = true;
        }
    }

    /// Records that have a row.
    pub(super) fn records(&self) -> u64 {
        self.statuses.iter().sum()
    }

    pub(super) fn count_of(&self, status: Status) -> u64 {
        self.statuses[status as usize]
    }

    /// The sum over statuses.
    pub(super) fn sum(&self, statuses: &[Status]) -> u64 {
        statuses.iter().map(|status| self.count_of(*status)).sum()
    }

    /// Records whose URL was to be purged.
    pub(super) fn purges(&self) -> u64 {
        self.purges.iter().sum()
    }

    pub(super) fn purged(&self, purge: Purge) -> u64 {
        self.purges[purge as usize]
    }

    /// Purges that are still to be done.
    pub(super) fn purges_due(&self) -> u64 {
        let due = Purge::ALL.into_iter().filter(|purge| !purge.is_settled());
        due.map(|purge| self.purged(purge)).sum()
    }

    /// Records that need a look.
    pub(super) fn in_trouble(&self) -> u64 {
        let own = Status::ALL.into_iter().filter(|status| status.is_trouble());
        own.map(|status| self.count_of(status)).sum::<u64>() + self.purges_due()
    }

    /// The rows of those, the gravest first, as many as are shown.
    pub(super) fn troubles(&self) -> Vec<&Outcome> {
        self.troubles.iter().flatten().take(MAX_SHOWN).collect()
    }
}

/// Which IDs have more than one row of their own.
#[derive(Debug, Default)]
struct OwnRows {
    seen: IdSet,
    again: HashMap<CompactString, u64>,
}

impl OwnRows {
    fn add(&mut self, outcome: &Outcome) {
        if outcome.status.is_own() && !self.seen.insert(&outcome.file_id) {
            *self.again.entry(outcome.file_id.clone()).or_insert(1) += 1;
        }
    }

    /// Whether a row is the last of its ID; to be asked in the order of the file.
    fn is_last(&mut self, outcome: &Outcome) -> bool {
        match self.again.get_mut(&outcome.file_id) {
            Some(rows) if outcome.status.is_own() && *rows > 1 => {
                *rows -= 1;
                false
            }
            _ => true,
        }
    }
}
