//! Our own rate, for limits that no header states. It doubles until a request is refused, falls back to what was
//! accepted in the second before that, and from just below grows slowly past it until the next refusal. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

use super::sends::Sends;

/// The shortest time between two doublings while nothing has been refused.
const DOUBLING: Duration = Duration::from_millis(200);

/// The limit is what was accepted in this span before a refusal: all of a window up to this length.
const MEASURED: Duration = Duration::from_secs(1);

/// How far below the measured limit the rate starts, as a share of it; after twice `PLATEAU` it is as far above.
const DEPTH: f64 = 0.12;

/// Seconds from a refusal until the measured limit is reached again.
const PLATEAU: f64 = 12.0;

/// The least share of the rate that a refusal leaves, as a short moment may mislead.
const MIN_KEPT: f64 = 0.85;

/// Requests per second: infinite where nothing but stated limits holds requests back.
#[derive(Debug)]
pub(super) struct OwnRate {
    per_second: f64,
    documented: f64,
    /// What the last refusal measured; `None` while the rate doubles.
    measured: Option<f64>,
    /// Seconds since the refusal during which the rate held requests back.
    calm: f64,
    grown: Instant,
    /// Whether the rate has held requests back since it last grew: only then may it grow.
    is_binding: bool,
    /// The requests accepted in the last `MEASURED`, by when they were sent.
    accepted: Sends,
    /// When the first request was sent that was accepted after the refusal before.
    free_since: Instant,
    block: Option<Block>,
}

/// A refusal, and further ones before a request was accepted again.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// When the refused request was sent.
    sent: Instant,
    begin: Instant,
    /// When the pause ends.
    end: Instant,
    is_over: bool,
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
            free_since: now,
            block: None,
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
            self.per_second = per_second;
            self.measured = Some(per_second);
            self.calm = PLATEAU;
        }
    }

    /// The request sent at `sent` was refused, no earlier refusal's in flight; none will be sent before `until`.
    pub(super) fn refused(&mut self, sent: Instant, now: Instant, until: Instant) {
        match &mut self.block {
            // The burst was too much, or somebody else's requests: that says nothing of the documented rate.
            _ if self.measured.is_none() && self.per_second <= self.documented => {}
            Some(block) if !block.is_over => block.end = until,
            _ => {
                self.block = Some(Block {
                    sent,
                    begin: now,
                    end: until,
                    is_over: false,
                });
            }
        }
    }

    /// The request sent at `sent` was accepted.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant) {
        match self.block {
            // It was in flight when another was refused.
            Some(block) if sent < block.begin => {
                if sent <= block.sent {
                    self.accepted.add(sent);
                }
                return;
            }
            Some(block) if !block.is_over => {
                self.step_back(block);
                self.block = Some(Block {
                    is_over: true,
                    ..block
                });
                self.free_since = sent;
                self.grown = now;
                self.is_binding = false;
            }
            _ => self.grow(sent, now),
        }
        self.accepted.add(sent);
        self.accepted.forget(sent, MEASURED);
    }

    /// Steps back from a refusal, now that it is known how long it blocked.
    #[expect(clippy::cast_precision_loss, reason = "a second's requests are few")]
    fn step_back(&mut self, block: Block) {
        self.accepted.forget(block.sent, MEASURED);
        let least = self.measured.map_or(0.0, |_| MIN_KEPT * self.per_second);
        // A longer block says that a longer window was used up: it grants less than its best second. Somebody else may
        // have used it, so that at most half is taken away.
        let free = block.begin - self.free_since;
        let lost = (block.end - block.begin).saturating_sub(MEASURED).min(free);
        let share = 1.0 - lost.div_duration_f64((free + lost).max(MEASURED));
        let measured = (self.accepted.count as f64).max(least) * share;
        let measured = measured.max(1.0 / MEASURED.as_secs_f64());
        self.measured = Some(measured);
        self.per_second = (1.0 - DEPTH) * measured;
        self.calm = 0.0;
    }

    fn grow(&mut self, sent: Instant, now: Instant) {
        match self.measured {
            Some(measured) => {
                if std::mem::take(&mut self.is_binding) {
                    self.calm += (now - self.grown).as_secs_f64().min(1.0);
                    self.per_second =
                        measured * (1.0 + DEPTH * (self.calm / PLATEAU - 1.0).powi(3));
                }
                self.grown = now;
            }
            None if self.is_binding && sent >= self.grown && now >= self.grown + DOUBLING => {
                self.per_second *= 2.0;
                self.grown = now;
                self.is_binding = false;
            }
            None => {}
        }
    }
}
