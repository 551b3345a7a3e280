//! Our own rate, for limits that no header states: it closes in on what the server grants, stays just below that,
//! and probes for more at ever longer intervals. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

/// The share of the granted rate that is used after a refusal.
const STEP_BACK: f64 = 0.97;

/// The same where another client needs room, and already the settled rate was refused, no probe above it.
const STEP_ASIDE: f64 = 0.92;

/// The largest share of the rate that one refusal takes away, as a short moment may mislead.
const MAX_STEP: f64 = 0.3;

/// A shorter time says too little about what is granted.
const MIN_MEASURED: Duration = Duration::from_secs(1);

/// Seconds in which the rate approaches the refused one, and the shortest plateau before more is tried.
const SETTLING: f64 = 2.0;

/// The plateau doubles each time that a refused rate is confirmed, up to this many seconds.
const MAX_PLATEAU: f64 = 20.0;

/// Refused rates that differ by less than this share confirm one another.
const SAME: f64 = 0.15;

/// What the server granted between two refusals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    /// Requests that were accepted.
    pub(super) accepted: f64,
    /// The time between the refusals, the pause included.
    pub(super) elapsed: Duration,
    /// The time from the refusal until a request was accepted again.
    pub(super) blocked: Duration,
    /// The limit is known and was not used up by us alone: another client has a share of it.
    pub(super) is_shared: bool,
}

/// Requests per second; infinite where the windows alone decide.
#[derive(Debug)]
pub(super) struct OwnRate {
    now: f64,
    /// Where the rate starts after a refusal, and where it settles.
    low: f64,
    high: Option<f64>,
    /// Seconds since the refusal during which the rate held requests back.
    calm: f64,
    plateau: f64,
    grown: Instant,
}

impl OwnRate {
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        Self {
            now: per_second,
            low: per_second,
            high: None,
            calm: 0.0,
            plateau: SETTLING,
            grown: now,
        }
    }

    /// Requests per second.
    pub(super) fn per_second(&self) -> f64 {
        self.now
    }

    /// Replaces the rate until the next refusal.
    pub(super) fn set(&mut self, per_second: f64) {
        self.now = per_second;
    }

    /// An unexplained refusal at `before` requests per second; returns whether `granted` was long enough to go by.
    pub(super) fn step_back(&mut self, granted: Granted, before: f64, now: Instant) -> bool {
        let mean = granted.accepted / granted.elapsed.as_secs_f64().max(0.05);
        let before = match self.high {
            _ if before.is_infinite() => mean,
            // The rate went on doubling until the refusal came back: the limit is not far above the mean.
            None => before.min(2.0 * mean),
            Some(_) => before,
        };
        let was_settled = self.calm <= self.plateau;
        let step_back = if granted.is_shared && was_settled {
            STEP_ASIDE
        } else {
            STEP_BACK
        };
        self.low = mean.clamp(before * (1.0 - MAX_STEP), before) * step_back;
        let is_measured = granted.elapsed >= MIN_MEASURED;
        if is_measured {
            let is_confirmed = self
                .high
                .is_some_and(|high| (before / high - 1.0).abs() < SAME);
            self.plateau = if is_confirmed {
                (2.0 * self.plateau).min(MAX_PLATEAU)
            } else {
                SETTLING
            };
            // A short block means that the rate was slightly too high; a long one, that a long window was used up,
            // which grants the mean.
            let nearness = (-granted.blocked.as_secs_f64() / SETTLING).exp();
            let high = mean + (before - mean).max(0.0) * nearness;
            self.high = Some((high * step_back).max(self.low));
        }
        self.high = Some(self.high.unwrap_or(before).max(self.low));
        self.now = self.low;
        self.calm = 0.0;
        self.grown = now;
        is_measured
    }

    /// A request was accepted; the rate grows only if it `is_binding`, which means that it held requests back.
    pub(super) fn grow(&mut self, is_binding: bool, now: Instant) {
        let passed = now.duration_since(self.grown).as_secs_f64().min(1.0);
        self.grown = now;
        if let Some(high) = self.high.filter(|_| is_binding && self.now.is_finite()) {
            self.calm += passed;
            let settled = high - (high - self.low) * (-self.calm / SETTLING).exp();
            self.now = settled * growth(self.calm / self.plateau - 1.0);
        }
    }
}

/// The share of a known limit to try after this many plateaus of probing: 110 % after one, 180 % after two.
pub(super) fn growth(plateaus: f64) -> f64 {
    1.0 + 0.1 * plateaus.max(0.0).powi(3)
}
