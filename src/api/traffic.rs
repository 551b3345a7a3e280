//! What was sent and how it was answered, counted for whoever shows it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::IsRetry;
use crate::client::Sent;
use crate::throttle::Endpoint;

/// Stands among the statuses for a request that got no answer.
pub const NO_ANSWER: u16 = 0;

/// What was sent so far.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: Cell<u64>,
    retries: Cell<u64>,
    singles: Cell<u64>,
    /// A server cannot make this grow past the thousand statuses that HTTP has.
    by_status: RefCell<BTreeMap<u16, u64>>,
}

impl Traffic {
    /// Requests sent, of any kind.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Requests that named an ID again.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.get()
    }

    /// Requests that deleted one ID by the single-file endpoint.
    pub(crate) fn singles(&self) -> u64 {
        self.singles.get()
    }

    /// Requests that have come down, by HTTP status; [`NO_ANSWER`] for those without one.
    pub(crate) fn by_status(&self) -> BTreeMap<u16, u64> {
        self.by_status.borrow().clone()
    }

    /// Requests that have come down, whatever came of them.
    pub(crate) fn landed(&self) -> u64 {
        self.by_status.borrow().values().sum()
    }

    /// Counts a request that leaves now.
    pub(super) fn sent(&self, endpoint: Endpoint, is_retry: IsRetry) {
        let add = |count: &Cell<u64>, is_one| count.update(|count| count + u64::from(is_one));
        add(&self.requests, true);
        add(&self.retries, is_retry == IsRetry::Yes);
        add(&self.singles, endpoint == Endpoint::Delete);
    }

    /// Counts what came of it.
    pub(super) fn answered(&self, sent: &Sent) {
        let status = sent.as_ref().map_or(NO_ANSWER, |response| response.status);
        *self.by_status.borrow_mut().entry(status).or_default() += 1;
    }
}
