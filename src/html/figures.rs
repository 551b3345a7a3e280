//! The figures of a page: one pass over a report's rows, whatever their number, in bounded memory.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::durations::Durations;
use super::reasons::Reasons;
use super::timeline::Timeline;
use crate::outcome::{Outcome, Purge, REHEARSAL_PREFIX, Status};
use crate::report::Rows;

/// Attempts from which on IDs are counted together.
pub(super) const MANY_ATTEMPTS: usize = 11;

/// Unsettled IDs that are remembered, to notice when a later row tells of one again.
const MOST_REMEMBERED: usize = 50_000;

/// What a chart tells apart, from the bottom of a bar to its top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deleted,
    /// `not_found` and `gone`.
    Absent,
    /// `failed` and `unknown`.
    Unsettled,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Deleted, Self::Absent, Self::Unsettled];

    /// `None` for a record that is never sent.
    fn of(status: Status) -> Option<Self> {
        match status {
            Status::Deleted => Some(Self::Deleted),
            Status::NotFound | Status::Gone => Some(Self::Absent),
            Status::Failed | Status::Unknown => Some(Self::Unsettled),
            Status::Invalid | Status::Duplicate | Status::Excluded => None,
        }
    }
}

/// What the rows of a report come to.
#[derive(Debug)]
pub struct Figures {
    pub(super) statuses: [u64; Status::ALL.len()],
    pub(super) purges: [u64; Purge::ALL.len()],
    /// When the first and the last row were decided.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    pub(super) over_time: Timeline<{ Kind::ALL.len() }>,
    pub(super) durations: Durations,
    /// IDs by requests that named them; the last place is for that many and more.
    pub(super) attempts: [u64; MANY_ATTEMPTS + 1],
    pub(super) reasons: Reasons,
    /// The rows are of the look-alike.
    pub(super) is_rehearsal: bool,
    /// Something that is no row followed the last one.
    pub(super) is_cut: bool,
    /// The job was resumed and is not complete: an ID that was tried again has more than one row.
    pub(super) is_unfinished: bool,
    unsettled: HashSet<u64>,
    hasher: RandomState,
}

impl Figures {
    /// Reads a report of ours; any other file is an error of kind `InvalidData`.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut figures = Self::none();
        let mut rows = Rows::open(path)?;
        for row in &mut rows {
            figures.add(&row?);
        }
        figures.is_cut = rows.is_cut();
        Ok(figures)
    }

    /// Records that have a row.
    pub fn records(&self) -> u64 {
        self.statuses.iter().sum()
    }

    fn none() -> Self {
        Self {
            statuses: Default::default(),
            purges: Default::default(),
            span: None,
            over_time: Timeline::new(),
            durations: Durations::default(),
            attempts: Default::default(),
            reasons: Reasons::default(),
            is_rehearsal: false,
            is_cut: false,
            is_unfinished: false,
            unsettled: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.statuses[outcome.status as usize] += 1;
        if let Some(purge) = outcome.purge {
            self.purges[purge as usize] += 1;
        }
        let at = outcome.finished_at;
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        if let Some(kind) = Kind::of(outcome.status) {
            self.over_time.add(at.as_millisecond(), kind as usize);
        }
        if outcome.attempts > 0 {
            self.durations.add(outcome.duration);
            self.attempts[MANY_ATTEMPTS.min(outcome.attempts as usize)] += 1;
        }
        if !matches!(
            outcome.status,
            Status::Deleted | Status::Duplicate | Status::Excluded
        ) {
            self.reasons.add(outcome);
        }
        self.watch_for_later_rows(outcome);
        self.is_rehearsal |= outcome
            .request_id
            .as_deref()
            .is_some_and(|id| id.starts_with(REHEARSAL_PREFIX));
    }

    /// Only an unsettled ID is tried again. One in a million million might be mistaken for another.
    fn watch_for_later_rows(&mut self, outcome: &Outcome) {
        let Some(kind) = Kind::of(outcome.status).filter(|_| !self.is_unfinished) else {
            return;
        };
        let is_unsettled = kind == Kind::Unsettled && self.unsettled.len() < MOST_REMEMBERED;
        if !is_unsettled && self.unsettled.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(&outcome.file_id);
        self.is_unfinished = self.unsettled.contains(&hash);
        if is_unsettled {
            self.unsettled.insert(hash);
        }
    }

    pub(super) fn count(&self, status: Status) -> u64 {
        self.statuses[status as usize]
    }

    /// The sum over statuses.
    pub(super) fn sum(&self, statuses: &[Status]) -> u64 {
        statuses.iter().map(|status| self.count(*status)).sum()
    }

    /// Purges that are still to be done.
    pub(super) fn purges_due(&self) -> u64 {
        let due = Purge::ALL.into_iter().filter(|purge| !purge.is_settled());
        due.map(|purge| self.purges[purge as usize]).sum()
    }
}
