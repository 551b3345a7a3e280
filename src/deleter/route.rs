//! Whether the batch route works: what tells a broken route from a broken API, and from one bad ID.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Batch attempts that must fail in a row before a single call that works says anything against the route.
const MIN_FAILURES: u32 = 3;

/// How often that must be seen, without a batch that works in between.
const MAX_STRIKES: u32 = 2;

/// For how long batches are then left alone, at first; each time twice as long.
const FIRST_REST: Duration = Duration::from_mins(1);
const MAX_REST: Duration = Duration::from_mins(30);

/// What is known of the batch route.
#[derive(Debug)]
pub(super) struct BatchRoute {
    /// The most IDs that the host takes in one request, as far as it said; 1 where it has no such route.
    limit: Cell<usize>,
    /// Attempts that failed in a row.
    failures: Cell<u32>,
    strikes: Cell<u32>,
    rest: Cell<Duration>,
    rests_until: Cell<Option<Instant>>,
    /// The last probe of an outage was a batch, so that the next is a single call.
    was_probed: Cell<bool>,
}

impl BatchRoute {
    pub(super) fn new(batch_size: usize) -> Self {
        Self {
            limit: Cell::new(batch_size.max(1)),
            failures: Cell::new(0),
            strikes: Cell::new(0),
            rest: Cell::new(FIRST_REST),
            rests_until: Cell::new(None),
            was_probed: Cell::new(false),
        }
    }

    /// How many IDs a request may name now.
    pub(super) fn limit(&self) -> usize {
        let is_resting = self
            .rests_until
            .get()
            .is_some_and(|until| Instant::now() < until);
        if is_resting { 1 } else { self.limit.get() }
    }

    /// The host takes this many.
    pub(super) fn learn_limit(&self, max: usize) {
        if max < self.limit.get() {
            self.limit.set(max);
            tracing::warn!("ImageKit accepts at most {max} IDs per request; using that");
        }
    }

    /// The host has no such route.
    pub(super) fn is_missing(&self) {
        if self.limit.replace(1) > 1 {
            tracing::warn!("this host cannot delete in batches; deleting one by one");
        }
    }

    /// A batch was answered, whatever was said of its IDs.
    pub(super) fn worked(&self) {
        self.failures.set(0);
        self.strikes.set(0);
        self.rest.set(FIRST_REST);
    }

    pub(super) fn failed(&self) {
        self.failures.set(self.failures.get() + 1);
    }

    /// A single call was answered: if batches fail all the while, it is their route that is broken.
    pub(super) fn single_worked(&self) {
        if self.failures.get() < MIN_FAILURES {
            return;
        }
        self.failures.set(0);
        self.strikes.set(self.strikes.get() + 1);
        if self.strikes.get() >= MAX_STRIKES && self.limit() > 1 {
            let rest = self.rest.get();
            self.rests_until.set(Some(Instant::now() + rest));
            self.rest.set((rest * 2).min(MAX_REST));
            tracing::warn!(
                "batch deletion fails while single calls work; deleting one by one for {} min",
                rest.as_secs() / 60
            );
        }
    }

    /// Whether a batch may be the next probe of an outage: a single call is one at least every other time.
    pub(super) fn may_probe(&self) -> bool {
        !self.was_probed.replace(true)
    }

    /// A single call is the probe.
    pub(super) fn probed_singly(&self) {
        self.was_probed.set(false);
    }
}
