//! What was sent and how it was answered, counted for whoever shows it.

use std::collections::BTreeMap;

use super::IsRetry;
use crate::client::Sent;
use crate::throttle::Endpoint;

/// Stands among the statuses for a request that got no answer.
pub const NO_ANSWER: u16 = 0;

/// What was sent so far.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Requests sent, of any kind.
    pub requests: u64,
    /// Requests that named an ID again.
    pub retries: u64,
    /// Requests that were answered or failed, by endpoint.
    by_endpoint: [u64; Endpoint::ALL.len()],
    /// Requests that were answered or failed, by HTTP status; [`NO_ANSWER`] for those without one. A server cannot make
    /// this grow past the thousand statuses that HTTP has.
    pub by_status: BTreeMap<u16, u64>,
}

impl Traffic {
    /// Requests that were answered or failed.
    pub fn ended(&self) -> u64 {
        self.by_endpoint.iter().sum()
    }

    /// Those to an endpoint.
    pub fn ended_at(&self, endpoint: Endpoint) -> u64 {
        self.by_endpoint[endpoint as usize]
    }

    /// Counts a request that leaves now.
    pub(super) fn sent(&mut self, is_retry: IsRetry) {
        self.requests += 1;
        self.retries += u64::from(is_retry == IsRetry::Yes);
    }

    /// Counts what came of it.
    pub(super) fn answered(&mut self, endpoint: Endpoint, sent: &Sent) {
        self.by_endpoint[endpoint as usize] += 1;
        let status = sent.as_ref().map_or(NO_ANSWER, |response| response.status);
        *self.by_status.entry(status).or_default() += 1;
    }
}
