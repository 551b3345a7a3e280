//! What was sent and how it was answered, counted for whoever shows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::IsRetry;
use crate::client::Sent;
use crate::throttle::Endpoint;

/// Stands among the statuses for a request that got no answer.
pub const NO_ANSWER: u16 = 0;

/// What was sent so far. Shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    retries: AtomicU64,
    singles: AtomicU64,
    /// A server cannot make this grow past the thousand statuses that HTTP has.
    by_status: Mutex<BTreeMap<u16, u64>>,
}

impl Traffic {
    /// Requests sent, of any kind.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that named an ID again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Requests that deleted one ID by the single-file endpoint.
    pub fn singles(&self) -> u64 {
        self.singles.load(Ordering::Relaxed)
    }

    /// Requests that have come down, by HTTP status; [`NO_ANSWER`] for those without one.
    pub fn by_status(&self) -> BTreeMap<u16, u64> {
        self.counts().clone()
    }

    /// Requests that have come down, whatever came of them.
    pub fn landed(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Counts a request that leaves now.
    pub(super) fn sent(&self, endpoint: Endpoint, is_retry: IsRetry) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.retries
            .fetch_add(u64::from(is_retry == IsRetry::Yes), Ordering::Relaxed);
        self.singles
            .fetch_add(u64::from(endpoint == Endpoint::Delete), Ordering::Relaxed);
    }

    /// Counts what came of it.
    pub(super) fn answered(&self, sent: &Sent) {
        let status = sent.as_ref().map_or(NO_ANSWER, |response| response.status);
        *self.counts().entry(status).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<u16, u64>> {
        self.by_status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
