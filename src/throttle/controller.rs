//! The controller behind `--rate auto`: finds the limit of one endpoint, stays just below it, and follows it when it
//! changes. Arithmetic only.
//!
//! Two things hold requests back. *Windows*, stated or inferred from long refusals: requests are spread evenly over a
//! short one, and counted in a long one. And a *rate* of our own for what no header states: another client uses a
//! share, the limit is a bucket, there are no headers.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
use super::own_rate::OwnRate;
use super::rate::RateLimitHeaders;
use super::sends::{LOOK_BACK, Sends};
use super::unstated::{Refusals, UnstatedWindow};
use super::window::{IsNew, LimitWindow};

/// A server that invents a new window with each answer must not fill the memory.
const MAX_WINDOWS: usize = 8;

/// How much lost time is made up for after a timer fires late.
const LATENESS: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(super) struct Controller {
    /// As ImageKit states them.
    windows: Vec<LimitWindow>,
    /// One that it does not state; none is looked for while it states some.
    unstated: UnstatedWindow,
    /// Requests sent lately: they count in a window that is stated later, too.
    earlier: Sends,
    rate: OwnRate,
    burst: u64,
    tokens: f64,
    refilled: Instant,
    last_left: Option<Instant>,
    /// When a 429 last came; those to requests sent before belong to it.
    refused: Option<Instant>,
    /// The refusals since a request was last accepted that no stated window explains.
    block: Option<Refusals>,
    jitter: Jitter,
}

/// A 429.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// When the request was sent.
    pub(super) sent: Instant,
    /// When the 429 came.
    pub(super) now: Instant,
    /// When a wait ends that it states, if it is longer than any short window.
    pub(super) stated_end: Option<Instant>,
    /// When the pause ends.
    pub(super) resumes: Instant,
}

impl Controller {
    /// A controller that starts at `per_second` after `burst` requests at once. With an infinite rate, only stated
    /// windows hold requests back.
    pub(super) fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        Self {
            windows: Vec::new(),
            unstated: UnstatedWindow::new(now),
            earlier: Sends::over(LOOK_BACK),
            rate: OwnRate::new(per_second, now),
            burst: burst.into(),
            tokens: burst.into(),
            refilled: now,
            last_left: None,
            refused: None,
            block: None,
            jitter: Jitter::default(),
        }
    }

    /// The windows that ImageKit has stated.
    pub(super) fn windows(&self) -> &[LimitWindow] {
        &self.windows
    }

    /// Requests per second allowed at present; infinite if nothing holds them back.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let fresh = self.windows.iter().filter(|window| !window.is_stale(now));
        fresh
            .chain(self.unstated.fresh(now))
            .map(|window| window.per_second(Duration::ZERO))
            .fold(self.rate.per_second(), f64::min)
    }

    /// When the next request may be sent; `None` if it may be sent now. A limit makes none wait for more than
    /// `max_wait` after the one before.
    pub(super) fn not_before(&mut self, max_wait: Duration, now: Instant) -> Option<Instant> {
        let spread = self.spread_rate(now);
        self.refill(spread, now);
        let by_rate = (self.tokens < 1.0 - 1e-9).then(|| {
            let wait = Duration::from_secs_f64(((1.0 - self.tokens) / spread).min(1e6));
            self.refilled + wait.max(Duration::from_micros(1))
        });
        if by_rate.is_some() && self.rate.per_second() <= spread {
            self.rate.bind();
        }
        let (guard, burst) = (self.jitter.guard(), self.burst);
        let by_windows = self
            .windows
            .iter_mut()
            .filter(|window| !window.is_stale(now))
            // The documented burst may be more than a short window grants.
            .filter(|window| !window.is_short() || window.limit >= burst)
            .filter_map(|window| window.not_before(guard, now))
            .max();
        let by_windows = by_windows.max(self.unstated.full_until(guard, now));
        let longest = self.last_left.map(|left| left + max_wait);
        by_rate
            .max(by_windows)
            .map(|until| longest.map_or(until, |longest| until.min(longest)))
            .filter(|until| *until > now)
    }

    /// A request is sent now.
    pub(super) fn left(&mut self, now: Instant) {
        self.refill(self.spread_rate(now), now);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.last_left = Some(now);
        self.earlier.add(now);
        self.earlier.forget(now, LOOK_BACK);
        for window in &mut self.windows {
            window.left(now);
        }
        self.unstated.left(self.block.is_some(), now);
    }

    /// The request sent at `sent` was accepted.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant, limits: &RateLimitHeaders) {
        self.jitter.observe(now.duration_since(sent));
        self.learn(limits, now);
        if self.refused.is_some_and(|refused| sent < refused) {
            // It was in flight when another was refused.
            return self.rate.accepted_late(sent);
        }
        let block = self.block.take();
        if self.looks_for_a_window() {
            self.unstated.accepted(sent, block, &self.earlier, now);
        }
        self.rate.accepted(sent, now);
    }

    /// A request was refused by a 429.
    pub(super) fn refused(&mut self, refusal: Refusal, limits: &RateLimitHeaders) {
        let Refusal { sent, now, .. } = refusal;
        self.jitter.observe(now.duration_since(sent));
        self.earlier.remove(sent);
        for window in &mut self.windows {
            window.refused(sent);
        }
        let is_explained = match self.learn(limits, now) {
            Some((_, IsNew::Yes)) => true,
            Some((window, IsNew::No)) => !window.is_short() && window.explains_refusal(now),
            None => false,
        };
        if self.refused.is_some_and(|refused| sent < refused) {
            // It was in flight when another was refused.
            return;
        }
        self.refused = Some(now);
        if !is_explained {
            self.block(refusal);
        }
        if self.earlier.count == 0 {
            // Somebody used up the limit, whatever it is: the burst is still to come.
            self.tokens += 1.0;
        } else {
            self.tokens = 1.0;
            self.refilled = refusal.resumes;
        }
    }

    /// A refusal that no stated window explains.
    fn block(&mut self, refusal: Refusal) {
        let Refusal { sent, now, .. } = refusal;
        let looks = self.looks_for_a_window();
        let is_first = self.block.is_none();
        let block = self.block.get_or_insert(Refusals {
            begin: now,
            end: sent,
            is_explained: false,
        });
        block.end = block.end.max(refusal.stated_end.unwrap_or(sent));
        if looks {
            self.unstated.refused(sent, block, &self.earlier, now);
        }
        if is_first && !block.is_explained {
            self.rate.refused(sent, now);
        }
    }

    /// Whether an unstated window may hold requests back: a rate that the user set is never second-guessed.
    fn looks_for_a_window(&self) -> bool {
        self.windows.is_empty() && self.rate.per_second().is_finite()
    }

    /// The rate at which requests are spread: our own, or a short window's.
    fn spread_rate(&self, now: Instant) -> f64 {
        let guard = self.jitter.guard();
        let short = |window: &&LimitWindow| window.is_short() && !window.is_stale(now);
        self.windows
            .iter()
            .filter(short)
            .map(|window| window.per_second(guard))
            .fold(self.rate.per_second(), f64::min)
    }

    fn refill(&mut self, rate: f64, now: Instant) {
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = self.refilled.max(now);
        let most = 1.0 + rate * LATENESS.as_secs_f64();
        if rate.is_infinite() {
            self.tokens = self.tokens.max(1.0);
        } else if self.tokens < most {
            self.tokens = (self.tokens + passed * rate).min(most);
        }
    }

    /// The window that the headers state, and whether they tell anything new of it; `None` if they state nothing usable.
    fn learn(
        &mut self,
        limits: &RateLimitHeaders,
        now: Instant,
    ) -> Option<(&mut LimitWindow, IsNew)> {
        let (limit, interval) = limits.window()?;
        let known = self.windows.iter().position(|w| w.interval == interval);
        let (index, is_new) = match known {
            Some(index) => (index, self.windows[index].update(limit, now)),
            None if self.windows.len() == MAX_WINDOWS => return None,
            None => {
                let window = LimitWindow::new(limit, interval, &self.earlier, now);
                self.windows.push(window);
                (self.windows.len() - 1, IsNew::Yes)
            }
        };
        let window = &mut self.windows[index];
        if is_new == IsNew::Yes && window.is_short() {
            self.rate.set(window.per_second(Duration::ZERO));
        }
        Some((window, is_new))
    }
}
