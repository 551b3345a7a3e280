//! The limiter of one endpoint: its pauses, its slow restart after them, and its controller.

use std::time::Duration;

use tokio::time::Instant;

use super::SeenLimit;
use super::controller::{Controller, Refusal};
use super::own_rate::MEASURED;
use super::rate::{Rate, RateLimitHeaders};
use crate::backoff::Backoff;

/// A 429 never makes the run wait longer than this at a time, whatever it says.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// Nor shorter than this: a server that says "0 ms" would be hammered.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// The API calls that ImageKit limits, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `DELETE /v1/files/{fileId}`.
    Delete,
    /// `POST /v1/files/batch/deleteByFileIds`.
    DeleteBatch,
    /// `GET /v1/files`.
    List,
    /// `GET /v1/files/{fileId}/details`.
    Details,
    /// `POST /v1/files/purge`.
    Purge,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 5] = [
        Self::Delete,
        Self::DeleteBatch,
        Self::List,
        Self::Details,
        Self::Purge,
    ];

    /// The endpoint's name in logs and summaries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::DeleteBatch => "delete_batch",
            Self::List => "list",
            Self::Details => "details",
            Self::Purge => "purge",
        }
    }

    /// Requests a second and the burst that ImageKit documents; deletions and purges are writes. `[one source]`
    pub const fn documented(self) -> (f64, u32) {
        match self {
            Self::Delete | Self::DeleteBatch | Self::Purge => (5.0, 20),
            Self::List | Self::Details => (40.0, 100),
        }
    }
}

#[derive(Debug)]
pub(super) struct EndpointLimiter {
    endpoint: Endpoint,
    controller: Controller,
    rate: Rate,
    paused_until: Option<Instant>,
    /// When a 429 first came; `None` once a request was accepted after it.
    failing_since: Option<Instant>,
    ramp: Ramp,
}

/// Requests in flight since the last pause, and how many are allowed. It starts with one: working reads prove nothing
/// about deleting, and the requests held up by one 429 must not all run into the next.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    since: Instant,
    in_flight: usize,
    most: usize,
}

/// What a 429 did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paused {
    /// By how much it extended the pause.
    pub(super) by: Duration,
    /// Whether the 429 said when the pause ends.
    pub(super) has_end: bool,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Until(Instant),
    ForAnAnswer,
}

impl EndpointLimiter {
    pub(super) fn new(endpoint: Endpoint, rate: Rate, now: Instant) -> Self {
        let (per_second, burst) = match rate {
            Rate::Auto => endpoint.documented(),
            Rate::PerSecond { .. } | Rate::Unlimited => (f64::INFINITY, 1),
        };
        Self {
            endpoint,
            controller: Controller::new(per_second, burst, now),
            rate,
            paused_until: None,
            failing_since: None,
            ramp: Ramp {
                since: now,
                in_flight: 0,
                most: 1,
            },
        }
    }

    /// What the next request waits for, if anything; `not_before` applies to all endpoints.
    pub(super) fn check(&mut self, not_before: Option<Instant>, now: Instant) -> Result<(), Wait> {
        if self.ramp.in_flight >= self.ramp.most {
            return Err(Wait::ForAnAnswer);
        }
        let by_controller = match self.rate {
            Rate::Unlimited => None,
            Rate::Auto | Rate::PerSecond { .. } => self.controller.not_before(MAX_PAUSE, now),
        };
        let until = self.paused_until.max(not_before).max(by_controller);
        match until.filter(|until| *until > now) {
            Some(until) => Err(Wait::Until(until)),
            None => Ok(()),
        }
    }

    /// A request is sent now.
    pub(super) fn left(&mut self, now: Instant) {
        self.ramp.in_flight += 1;
        self.controller.left(now);
    }

    /// The request sent at `sent` has ended, whatever the outcome.
    pub(super) fn landed(&mut self, sent: Instant) {
        if sent >= self.ramp.since {
            self.ramp.in_flight = self.ramp.in_flight.saturating_sub(1);
        }
    }

    /// The request sent at `sent` was accepted.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant, limits: &RateLimitHeaders) {
        if sent >= self.ramp.since {
            self.failing_since = None;
            self.ramp.most = match self.rate {
                // The controller spreads them.
                Rate::Auto => usize::MAX,
                Rate::PerSecond { .. } | Rate::Unlimited => self.ramp.most.saturating_add(1),
            };
        }
        self.controller.accepted(sent, now, limits);
    }

    /// The request sent at `sent` was refused by a 429.
    pub(super) fn refused(
        &mut self,
        sent: Instant,
        now: Instant,
        limits: &RateLimitHeaders,
    ) -> Paused {
        let is_first = self.failing_since.is_none();
        // 429s to requests that were in flight together count as one.
        let is_next = is_first || sent >= self.ramp.since;
        let stated = limits.wait.filter(|wait| !wait.is_zero());
        let already = self.paused_until(now);
        let wait = match stated {
            Some(wait) => wait.clamp(MIN_PAUSE, MAX_PAUSE),
            None if is_next => self.unstated_wait(now).max(MIN_PAUSE),
            // It belongs to the pause that holds already.
            None if already.is_some() => Duration::ZERO,
            None => MIN_PAUSE,
        };
        self.failing_since.get_or_insert(now);
        let until = already.unwrap_or(now).max(now + wait);
        self.paused_until = Some(until);
        if is_next || already.is_some() {
            self.ramp.since = until;
            self.ramp.in_flight = 0;
        }
        if is_next {
            let is_spread = is_first && self.rate == Rate::Auto;
            self.ramp.most = if is_spread { usize::MAX } else { 1 };
        }
        let refusal = Refusal {
            sent,
            now,
            stated_end: stated.filter(|wait| *wait > MEASURED).map(|_| until),
            resumes: until,
        };
        self.controller.refused(refusal, limits);
        Paused {
            by: until - already.unwrap_or(now),
            has_end: stated.is_some(),
        }
    }

    /// How long to wait after a 429 that does not say: half the time for which 429s have come.
    fn unstated_wait(&self, now: Instant) -> Duration {
        let backoff = Backoff::default();
        let least = backoff.delay(1, Some(backoff.ceiling(1) / 2), fastrand::f64());
        let gone_on = self
            .failing_since
            .map_or(Duration::ZERO, |since| now - since);
        least.max(gone_on / 2).min(backoff.ceiling(u32::MAX))
    }

    /// When the current pause ends; `None` outside of a pause.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Requests per second allowed at present; infinite if nothing holds them back.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        match self.rate {
            Rate::Unlimited => f64::INFINITY,
            Rate::Auto | Rate::PerSecond { .. } => self.controller.rate(now),
        }
    }

    /// The limits that ImageKit has stated.
    pub(super) fn seen_limits(&self) -> impl Iterator<Item = SeenLimit> + '_ {
        self.controller.windows().iter().map(|window| SeenLimit {
            endpoint: self.endpoint,
            limit: window.limit,
            interval: window.interval,
        })
    }
}
