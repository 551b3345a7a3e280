//! A long window that no header states. Refusals that last for more than a second suggest one; that the same number of
//! requests was accepted before such refusals twice shows it, and that number is its limit. It is longer than the time
//! after which a request was refused, and no longer than that after which one was accepted: each wait for it tries the
//! middle. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

use super::own_rate::MEASURED;
use super::sends::{LOOK_BACK, Sends};
use super::window::{LimitWindow, MAX_GUARD};

/// Refusals in a row, until a request is accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusals {
    /// When the first came: what was sent before is out of any short window after a second.
    pub(super) begin: Instant,
    /// How long the limit is known to be used up: until the last refused request, or the end that a 429 stated.
    pub(super) end: Instant,
    /// Whether the window explains them.
    pub(super) is_explained: bool,
}

/// What is known of the window.
#[derive(Debug)]
pub(super) struct UnstatedWindow {
    window: Option<LimitWindow>,
    /// What was accepted before the last long refusals: once may be chance, the same number twice is a limit.
    suspected: u64,
    /// It is longer than this: a request was refused after it.
    longer_than: Duration,
    /// It is no longer than this: a request was accepted after it.
    at_most: Duration,
    /// When it last opened, or when the first request after a rest was sent.
    opened: Instant,
    last_left: Option<Instant>,
    /// Whether it holds a request back.
    is_holding: bool,
    /// When the request was sent that it had held back, until that is answered.
    trial: Option<Instant>,
}

impl UnstatedWindow {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: None,
            suspected: 0,
            longer_than: Duration::ZERO,
            at_most: Duration::ZERO,
            opened: now,
            last_left: None,
            is_holding: false,
            trial: None,
        }
    }

    /// The window; `None` if none is known, or if its limit may have been raised.
    pub(super) fn fresh(&self, now: Instant) -> Option<&LimitWindow> {
        self.window.as_ref().filter(|window| !window.is_stale(now))
    }

    /// When the next request fits; `None` if it fits now. `guard` lengthens the interval.
    pub(super) fn full_until(&mut self, guard: Duration, now: Instant) -> Option<Instant> {
        let window = self
            .window
            .as_mut()
            .filter(|window| !window.is_stale(now))?;
        let until = window.full_until(guard, now);
        self.is_holding |= until.is_some();
        until
    }

    /// A request is sent now, while the limit is used up or not.
    pub(super) fn left(&mut self, is_used_up: bool, now: Instant) {
        // Nothing that was sent before a rest explains a refusal after it.
        let last_left = self.last_left.replace(now);
        let is_rested = last_left.is_none_or(|left| now - left > MEASURED);
        if self.window.is_none() && is_rested && !is_used_up {
            self.opened = now;
        }
        if std::mem::take(&mut self.is_holding) {
            self.trial.get_or_insert(now);
        }
        if let Some(window) = &mut self.window {
            window.left(now);
        }
    }

    /// The request sent at `sent` was refused and belongs to `block`: learns of it if the window explains it.
    /// `earlier` are the requests sent before that were not refused.
    pub(super) fn refused(
        &mut self,
        sent: Instant,
        block: &mut Refusals,
        earlier: &Sends,
        now: Instant,
    ) {
        let Some(window) = &mut self.window else {
            return;
        };
        window.refused(sent);
        if block.is_explained || self.trial.is_some_and(|trial| trial <= sent) {
            let Some(oldest) = earlier.nth_last(window.limit, block.begin) else {
                return;
            };
            self.longer_than = self.longer_than.max(block.end - oldest);
            block.is_explained = self.longer_than <= self.at_most + self.at_most / MAX_GUARD;
            if !block.is_explained {
                self.window = None;
                self.trial = None;
                return;
            }
            let interval = window.interval.max(self.longer_than);
            *window = LimitWindow::new(window.limit, interval, earlier, now);
        } else if window.is_stale(now) {
            let begin = block.begin.checked_sub(window.interval);
            let count = earlier.between(begin.unwrap_or(self.opened), block.begin);
            block.is_explained = count >= window.limit;
            if block.is_explained {
                *window = LimitWindow::new(count, window.interval, earlier, now);
            }
        }
    }

    /// The request sent at `sent` was accepted, and ended `block`.
    pub(super) fn accepted(
        &mut self,
        sent: Instant,
        block: Option<Refusals>,
        earlier: &Sends,
        now: Instant,
    ) {
        match (&mut self.window, block) {
            (Some(window), Some(block)) if block.is_explained => {
                if let Some(oldest) = earlier.nth_last(window.limit, block.begin) {
                    self.at_most = sent - oldest;
                }
            }
            (_, Some(block)) if block.end > block.begin + MEASURED => {
                let open_for = block.begin.saturating_duration_since(self.opened);
                if open_for <= MEASURED {
                    return;
                }
                let limit = earlier.between(self.opened, block.begin).max(1);
                self.longer_than = block.end - self.opened;
                self.at_most = sent - self.opened;
                let before = std::mem::replace(&mut self.suspected, limit);
                // Requests older than `LOOK_BACK` are forgotten, so they cannot be counted.
                let is_confirmed =
                    open_for < LOOK_BACK && before.abs_diff(limit) <= limit / u64::from(MAX_GUARD);
                self.window =
                    is_confirmed.then(|| LimitWindow::new(limit, self.longer_than, earlier, now));
            }
            (Some(window), None) if self.trial == Some(sent) => self.at_most = window.interval,
            _ => return,
        }
        self.opened = sent;
        self.trial = None;
        if let Some(window) = &mut self.window {
            let middle = (self.longer_than + self.at_most.max(self.longer_than)) / 2;
            window.change_interval(middle, earlier, now);
        }
    }
}
