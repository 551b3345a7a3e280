//! The tally: outcomes counted by status as they are recorded, and the failures among them kept by message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::failures::Failures;
use super::words::grouped;
use crate::outcome::{Outcome, Purge, Status};

/// Counts by status. Shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; Status::ALL.len()],
    purges: [AtomicU64; Purge::ALL.len()],
    failures: Mutex<Failures>,
}

/// What became of the purges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Purges {
    /// ImageKit took the request.
    pub requested: u64,
    /// Refused, or without a clear answer.
    pub failed: u64,
    /// The file's URL is not known.
    pub no_url: u64,
    /// The account's purges are used up.
    pub over_limit: u64,
}

impl From<[u64; Purge::ALL.len()]> for Purges {
    /// Counts in the order of [`Purge::ALL`].
    fn from(counts: [u64; Purge::ALL.len()]) -> Self {
        let count = |purge: Purge| counts[purge as usize];
        Self {
            requested: count(Purge::Requested),
            failed: count(Purge::Failed),
            no_url: count(Purge::NoUrl),
            over_limit: count(Purge::OverLimit),
        }
    }
}

impl Purges {
    /// Purges that a resume would try again.
    pub fn unsettled(&self) -> u64 {
        self.failed + self.over_limit
    }
}

impl Tally {
    /// A tally of rows by status.
    pub fn of(counts: [u64; Status::ALL.len()]) -> Self {
        Self {
            counts: counts.map(AtomicU64::new),
            ..Self::default()
        }
    }

    /// Counts outcomes that stand in the report.
    pub fn add(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.count_of(outcome.status)
                .fetch_add(1, Ordering::Relaxed);
            if outcome.status.is_trouble() {
                self.failures_mut().add(outcome);
            }
        }
        self.add_purged(outcomes);
    }

    /// Counts what became of purges whose rows were counted before.
    pub fn add_purged(&self, outcomes: &[Outcome]) {
        for purge in outcomes.iter().filter_map(|outcome| outcome.purge) {
            self.purges[purge as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts rows that an earlier run left settled.
    pub fn add_earlier(&self, status: Status, rows: u64) {
        self.count_of(status).fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows with this status.
    pub fn count(&self, status: Status) -> u64 {
        self.count_of(status).load(Ordering::Relaxed)
    }

    /// Rows of any status.
    pub fn total(&self) -> u64 {
        Status::ALL
            .into_iter()
            .map(|status| self.count(status))
            .sum()
    }

    /// Rows that say that something is left to look at.
    pub fn trouble(&self) -> u64 {
        let all = Status::ALL.into_iter();
        all.filter(|status| status.is_trouble())
            .map(|status| self.count(status))
            .sum()
    }

    /// Purges by what became of them, as far as this run's rows tell.
    pub fn purges(&self) -> Purges {
        Purges::from(std::array::from_fn(|purge| {
            self.purges[purge].load(Ordering::Relaxed)
        }))
    }

    /// This run's failures by message.
    pub fn failures(&self) -> Failures {
        self.failures_mut().clone()
    }

    /// Counts that are not zero, in words: `12 deleted, 1 gone`.
    pub fn in_words(&self) -> String {
        let words: Vec<String> = Status::ALL
            .into_iter()
            .filter(|status| self.count(*status) > 0)
            .map(|status| format!("{} {}", grouped(self.count(status)), status.as_str()))
            .collect();
        if words.is_empty() {
            "nothing".into()
        } else {
            words.join(", ")
        }
    }

    fn count_of(&self, status: Status) -> &AtomicU64 {
        &self.counts[status as usize]
    }

    fn failures_mut(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
