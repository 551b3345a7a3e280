//! The limiter of one endpoint: its pause, its slow restart after a pause, and its controller.

use std::time::Duration;

use tokio::time::Instant;

use super::SeenLimit;
use super::controller::Controller;
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
    /// Pauses in a row after which nothing was accepted.
    failed_pauses: u32,
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
            failed_pauses: 0,
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
            self.failed_pauses = 0;
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
        // 429s to requests that were in flight together count as one.
        self.failed_pauses += u32::from(sent >= self.ramp.since || self.failed_pauses == 0);
        let stated = limits.wait.filter(|wait| !wait.is_zero());
        let wait = stated
            .unwrap_or_else(|| self.unstated_wait())
            .clamp(MIN_PAUSE, MAX_PAUSE);
        let already = self.paused_until.filter(|until| *until > now);
        let until = already.unwrap_or(now).max(now + wait);
        self.paused_until = Some(until);
        let is_spread = self.rate == Rate::Auto && self.failed_pauses == 1;
        self.ramp = Ramp {
            since: until,
            in_flight: 0,
            most: if is_spread { usize::MAX } else { 1 },
        };
        self.controller.refused(sent, now, limits, until);
        Paused {
            by: until - already.unwrap_or(now),
            has_end: stated.is_some(),
        }
    }

    fn unstated_wait(&self) -> Duration {
        let backoff = Backoff::default();
        let least = backoff.ceiling(self.failed_pauses) / 2;
        backoff.delay(self.failed_pauses, Some(least), fastrand::f64())
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
