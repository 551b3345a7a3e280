//! What the progress looks at, and what it makes of the numbers there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use imagekit_bulk_delete::line::Traffic;
use imagekit_bulk_delete::stop::Stop;
use imagekit_bulk_delete::summary::Tally;
use imagekit_bulk_delete::throttle::Throttle;
use jiff::Timestamp;
use tokio::time::Instant;

/// All that shows how a run goes, shared with those who do the work.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) tally: Arc<Tally>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) stop: Stop,
    pub(crate) passed: Arc<Passed>,
    pub(crate) expected: Arc<Expected>,
    /// Rows that earlier runs left settled; the tally has them from the start.
    pub(crate) earlier: u64,
    pub(crate) started: Started,
}

/// The moment when the run began, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    pub(crate) at: Timestamp,
    pub(crate) instant: Instant,
}

/// Records that were read.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    records: AtomicU64,
    settled: AtomicU64,
}

/// How many records there will be.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Counted, perhaps only while the run goes on already.
    exact: OnceLock<u64>,
    /// By the size of the files.
    rough: Option<u64>,
}

/// The total as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
    Exact(u64),
    Rough(u64),
    Unknown,
}

impl Started {
    pub(crate) fn now() -> Self {
        Self {
            at: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

impl Passed {
    /// Notes one more record.
    pub(crate) fn add(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the record's row stands already.
    pub(crate) fn add_settled(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// Records read so far.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }
}

impl Expected {
    /// What is expected where nothing was counted yet; `rough` is an estimate.
    pub(crate) fn roughly(rough: Option<u64>) -> Self {
        Self {
            exact: OnceLock::new(),
            rough,
        }
    }

    /// The records were counted.
    pub(crate) fn count(&self, records: u64) {
        // Who counted first counted the same.
        let _ = self.exact.set(records);
    }

    /// The count; `None` while there is none.
    pub(crate) fn exact(&self) -> Option<u64> {
        self.exact.get().copied()
    }
}

impl Sight {
    /// Records that have their row: those that flew by because they had it before, and those decided now.
    pub(crate) fn done(&self) -> u64 {
        self.decided() + self.passed.settled()
    }

    /// Records that this run decided.
    pub(super) fn decided(&self) -> u64 {
        self.tally.total().saturating_sub(self.earlier)
    }

    /// Records that were taken in and are not decided yet.
    pub(super) fn underway(&self) -> u64 {
        self.passed.records().saturating_sub(self.done())
    }

    /// The total; an estimate that was passed is none any more.
    pub(super) fn total(&self) -> Total {
        let read = self.passed.records();
        match (self.expected.exact(), self.expected.rough) {
            (Some(exact), _) => Total::Exact(exact.max(read)),
            (None, Some(rough)) if rough >= read => Total::Rough(rough),
            (None, _) => Total::Unknown,
        }
    }

    /// Records that still have to be decided, without those that will only fly by; `None` if nobody knows.
    pub(super) fn left(&self) -> Option<u64> {
        let (Total::Exact(total) | Total::Rough(total)) = self.total() else {
            return None;
        };
        let will_fly_by = self.earlier.saturating_sub(self.passed.settled());
        Some(
            total
                .saturating_sub(self.done())
                .saturating_sub(will_fly_by),
        )
    }
}
