//! A rate of our own, for limits that no header states: it closes in on the rate that the server grants, stays
//! just below it, and tries a little more at ever longer intervals. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

/// After a refusal: this share of what was granted.
const STEP_BACK: f64 = 0.97;

/// A refusal takes away at most this share of the rate, as one short moment may mislead.
const MAX_STEP: f64 = 0.3;

/// A shorter time says too little of what is granted.
const MIN_MEASURED: Duration = Duration::from_secs(1);

/// Seconds in which the rate comes close to the one that was refused, and before more than that is tried.
const SETTLING: f64 = 2.0;

/// Each time that the refused rate is confirmed, twice as many seconds pass before more is tried, up to this.
const MAX_PLATEAU: f64 = 20.0;

/// Two refused rates that differ by less confirm one another.
const SAME: f64 = 0.15;

/// What the server granted between two refusals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    /// Requests that were let through.
    pub(super) accepted: f64,
    /// The time between the refusals, the pause included.
    pub(super) elapsed: Duration,
    /// The time from the refusal until a request was let through again.
    pub(super) blocked: Duration,
}

/// Requests a second; infinite until something was refused that no window explains.
#[derive(Debug)]
pub(super) struct OwnRate {
    now: f64,
    /// Where it starts after a refusal, and where it settles.
    low: f64,
    high: Option<f64>,
    /// Seconds since the refusal in which requests waited for the rate.
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

    /// Requests a second.
    pub(super) fn per_second(&self) -> f64 {
        self.now
    }

    /// Replaces it, until the next refusal.
    pub(super) fn set(&mut self, per_second: f64) {
        self.now = per_second;
    }

    /// A refusal that nothing explains, at `before` requests a second; whether `granted` was long enough to go by.
    pub(super) fn step_back(&mut self, granted: Granted, before: f64, now: Instant) -> bool {
        let mean = granted.accepted / granted.elapsed.as_secs_f64().max(0.05);
        let before = match self.high {
            _ if before.is_infinite() => mean,
            // The first search went on doubling until the refusal came back: the limit is not far above the mean.
            None => before.min(2.0 * mean),
            Some(_) => before,
        };
        self.low = mean.clamp(before * (1.0 - MAX_STEP), before) * STEP_BACK;
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
            // After a short block the rate was too high by little; after a long one a long window was used up, and
            // the mean is what it grants.
            let nearness = (-granted.blocked.as_secs_f64() / SETTLING).exp();
            let high = mean + (before - mean).max(0.0) * nearness;
            self.high = Some((high * STEP_BACK).max(self.low));
        }
        self.high = Some(self.high.unwrap_or(before).max(self.low));
        self.now = self.low;
        self.calm = 0.0;
        self.grown = now;
        is_measured
    }

    /// A request was let through; `is_binding` says that requests have waited for the rate.
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

/// The share of a known limit that is tried: 110 % one plateau after it was reached, 180 % after two.
pub(super) fn growth(plateaus: f64) -> f64 {
    1.0 + 0.1 * plateaus.max(0.0).powi(3)
}
