//! The limiter of one endpoint: its pause, its slow restart after a pause, and its controller.

use std::time::Duration;

use tokio::time::Instant;

use super::SeenLimit;
use super::controller::{Controller, Documented};
use super::rate::{Rate, RateLimitHeaders};
use crate::backoff::Backoff;

/// A 429 never makes the run wait longer than this at a time, whatever it says.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// Nor shorter than this: a server that says "0 ms" would be hammered.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// Requests in flight right after a pause; each success allows one more, so that the requests held up by one 429 do not
/// all run into the next.
const FIRST_AFTER_A_PAUSE: usize = 2;

/// The first request to an endpoint goes alone: working reads prove nothing about deleting.
const FIRST_EVER: usize = 1;

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
    pub(super) const ALL: [Self; 5] = [
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
    pub const fn documented(self) -> (f64, f64) {
        match self {
            Self::Delete | Self::DeleteBatch | Self::Purge => (5.0, 20.0),
            Self::List | Self::Details => (40.0, 100.0),
        }
    }
}

#[derive(Debug)]
pub(super) struct EndpointLimiter {
    endpoint: Endpoint,
    controller: Controller,
    /// False with `--rate unlimited`: only pauses hold requests back.
    is_paced: bool,
    paused_until: Option<Instant>,
    /// Consecutive pauses without a stated end.
    endless_pauses: u32,
    in_flight: usize,
    ramp: Ramp,
}

/// Requests in flight since the last pause, and how many are allowed.
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

/// Why no request may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Until(Instant),
    UntilAnAnswer,
}

impl EndpointLimiter {
    pub(super) fn new(endpoint: Endpoint, rate: Rate, now: Instant) -> Self {
        let (per_second, burst) = endpoint.documented();
        let controller = match rate {
            Rate::Auto => Controller::new(Documented { per_second, burst }, now),
            Rate::PerSecond { .. } | Rate::Unlimited => Controller::follower(now),
        };
        Self {
            endpoint,
            controller,
            is_paced: rate != Rate::Unlimited,
            paused_until: None,
            endless_pauses: 0,
            in_flight: 0,
            ramp: Ramp {
                since: now,
                in_flight: 0,
                most: FIRST_EVER,
            },
        }
    }

    /// What holds the next request back, if anything; `not_before` applies to all endpoints.
    pub(super) fn held(&mut self, not_before: Option<Instant>, now: Instant) -> Option<Held> {
        if self.ramp.in_flight >= self.ramp.most {
            return Some(Held::UntilAnAnswer);
        }
        let by_controller = if self.is_paced {
            self.controller.not_before(now)
        } else {
            None
        };
        self.paused_until
            .max(not_before)
            .max(by_controller)
            .filter(|until| *until > now)
            .map(Held::Until)
    }

    /// A request is sent now.
    pub(super) fn left(&mut self, now: Instant) {
        self.in_flight += 1;
        self.ramp.in_flight += 1;
        self.controller.left(now);
    }

    /// The request sent at `sent` has ended, whatever the outcome.
    pub(super) fn landed(&mut self, sent: Instant) {
        self.in_flight -= 1;
        if sent >= self.ramp.since {
            self.ramp.in_flight = self.ramp.in_flight.saturating_sub(1);
        }
    }

    /// The request sent at `sent` was accepted.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant, limits: &RateLimitHeaders) {
        if sent >= self.ramp.since {
            self.ramp.most = self.ramp.most.saturating_add(1);
            self.endless_pauses = 0;
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
        // This one still counts.
        let others_in_flight = self.in_flight.saturating_sub(1) as u64;
        self.controller.refused(sent, now, limits, others_in_flight);
        let paused_already = self.paused_until.filter(|until| *until > now);
        let stated = limits.wait.filter(|wait| !wait.is_zero());
        let wait = match stated {
            Some(wait) => wait.clamp(MIN_PAUSE, MAX_PAUSE),
            None => self.unstated_wait(sent >= self.ramp.since),
        };
        let until = self.paused_until.max(Some(now + wait)).unwrap_or(now);
        self.paused_until = Some(until);
        self.ramp = Ramp {
            since: until,
            in_flight: 0,
            most: FIRST_AFTER_A_PAUSE,
        };
        Paused {
            by: until - paused_already.unwrap_or(now),
            has_end: stated.is_some(),
        }
    }

    /// 429s to requests that were in flight together count as one.
    fn unstated_wait(&mut self, is_another: bool) -> Duration {
        self.endless_pauses += u32::from(is_another || self.endless_pauses == 0);
        let backoff = Backoff::default();
        let least = backoff.ceiling(self.endless_pauses) / 2;
        backoff.delay(self.endless_pauses, Some(least), fastrand::f64())
    }

    /// When the current pause ends; `None` outside of a pause.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Requests per second allowed at present; infinite if nothing holds them back.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        if self.is_paced {
            self.controller.rate(now)
        } else {
            f64::INFINITY
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
