//! Our own rate, for limits that no header states. It grows to twice what a second has accepted until a request is
//! refused, falls back to what was accepted in the second before that, and from just below grows slowly past it until
//! the next refusal. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

use super::sends::Sends;

/// The limit is what was accepted in this span before a refusal: all of a window up to this length.
pub(super) const MEASURED: Duration = Duration::from_secs(1);

/// How far below the measured limit the rate starts, as a share of it; after twice `PLATEAU` it is as far above.
const DEPTH: f64 = 0.12;

/// Seconds from a refusal until the measured limit is reached again.
const PLATEAU: f64 = 12.0;

/// The least share of the rate that a refusal leaves, as a short moment may mislead.
const MIN_KEPT: f64 = 0.85;

/// The shortest time between two doublings while nothing has been refused.
const DOUBLING: Duration = Duration::from_millis(200);

/// Requests per second: infinite where nothing but stated limits holds requests back.
#[derive(Debug)]
pub(super) struct OwnRate {
    per_second: f64,
    documented: f64,
    /// What the last refusal measured; `None` until one does.
    measured: Option<f64>,
    /// Seconds since the last refusal during which the rate held requests back.
    calm: f64,
    grown: Instant,
    /// Whether the rate has held requests back since it last grew: only then may it grow.
    is_binding: bool,
    /// The requests accepted in the last `MEASURED`, by when they were sent.
    accepted: Sends,
    last: Measurement,
}

/// The refusal that measured the limit.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    /// When the request was sent.
    sent: Instant,
    /// Requests accepted in the `MEASURED` before.
    accepted: u64,
    /// The rate before.
    per_second: f64,
}

impl OwnRate {
    pub(super) fn new(documented: f64, now: Instant) -> Self {
        Self {
            per_second: documented,
            documented,
            measured: None,
            calm: 0.0,
            grown: now,
            is_binding: false,
            accepted: Sends::over(MEASURED),
            last: Measurement {
                sent: now,
                accepted: 0,
                per_second: 0.0,
            },
        }
    }

    /// Requests per second.
    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// It holds a request back.
    pub(super) fn bind(&mut self) {
        self.is_binding = true;
    }

    /// A header states that this is the limit.
    pub(super) fn set(&mut self, per_second: f64) {
        if self.per_second.is_finite() {
            self.measured = Some(per_second);
            self.calm = PLATEAU;
            self.follow_curve();
        }
    }

    /// The request sent at `sent` was refused, and no window explains it.
    pub(super) fn refused(&mut self, sent: Instant, now: Instant) {
        if self.measured.is_none() && self.per_second <= self.documented {
            // The burst was too much, or somebody else's requests: that says nothing of the documented rate.
            return;
        }
        self.accepted.forget(sent, MEASURED);
        self.last = Measurement {
            sent,
            accepted: self.accepted.count,
            per_second: self.measured.map_or(0.0, |_| self.per_second),
        };
        self.calm = 0.0;
        self.grown = now;
        self.measure();
    }

    /// The request sent at `sent` was accepted, and was in flight when another was refused.
    pub(super) fn accepted_late(&mut self, sent: Instant) {
        if sent <= self.last.sent {
            self.last.accepted += 1;
            self.measure();
        }
    }

    /// The request sent at `sent` was accepted.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant) {
        self.accepted.add(sent);
        self.accepted.forget(sent, MEASURED);
        if self.measured.is_some() {
            if std::mem::take(&mut self.is_binding) {
                self.calm += (now - self.grown).as_secs_f64().min(1.0);
                self.follow_curve();
            }
            self.grown = now;
        } else if self.is_binding && sent >= self.grown && now >= self.grown + DOUBLING {
            self.per_second *= 2.0;
            self.grown = now;
            self.is_binding = false;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a second's requests are few")]
    fn measure(&mut self) {
        let accepted = self.last.accepted.max(1) as f64;
        self.measured = Some(accepted.max(MIN_KEPT * self.last.per_second));
        self.follow_curve();
    }

    fn follow_curve(&mut self) {
        if let Some(measured) = self.measured {
            self.per_second = measured * (1.0 + DEPTH * (self.calm / PLATEAU - 1.0).powi(3));
        }
    }
}
