//! The controller behind `--rate auto`: finds the limit of one endpoint, stays just below it, and follows it when it
//! changes. Arithmetic only.
//!
//! Two things hold requests back. Our requests are counted in each *window* that ImageKit stated, and spread evenly
//! over short ones. And a *rate* of our own covers limits that no header stated (another client uses a share, the
//! limit is a bucket, there are no headers): it doubles from the documented limit until a request is refused, then
//! follows what the server grants.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
use super::own_rate::{Granted, OwnRate};
use super::rate::RateLimitHeaders;
use super::sends::Sends;
use super::window::Window;

/// A server that invents a new window with each answer must not fill the memory.
const MAX_WINDOWS: usize = 8;

/// Requests are spread evenly over windows up to this length, and once one is stated, requests already sent may be
/// refused for as long. In longer windows requests leave as fast as everything else allows.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// How far back earlier requests count in a newly stated window.
const LOOK_BACK: Duration = Duration::from_secs(15);

/// How much lost time is made up for after a timer fires late.
const LATENESS: Duration = Duration::from_millis(25);

/// The shortest time between two doublings while nothing is refused.
const DOUBLING: Duration = Duration::from_millis(200);

/// A refusal without a stated limit says nothing about the rate before this many requests were accepted.
const MIN_ACCEPTED: f64 = 2.0;

/// A window is lengthened by at most this fraction of it to allow for uneven round trips.
const MAX_GUARD: u32 = 16;

/// The longest that a limit makes a request wait.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// The documented limits of one endpoint, where the search starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Documented {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

#[derive(Debug)]
pub(super) struct Controller {
    windows: Vec<Window>,
    /// Requests sent lately: they count in a window that is stated later, too.
    earlier: Sends,
    rate: OwnRate,
    phase: Phase,
    burst: f64,
    tokens: f64,
    refilled: Instant,
    last_left: Option<Instant>,
    /// Whether the rate has held requests back since it last grew: only then may it grow.
    is_binding: bool,
    jitter: Jitter,
    cycle: Cycle,
    /// With `--rate N`: a refusal before this instant is the second in a row, and only that slows N down.
    follower: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has been refused yet.
    Discovering { doubled: Instant },
    /// The limit has been met at least once.
    Steady,
}

/// The time from one unexplained refusal to the next.
#[derive(Debug, Clone, Copy)]
struct Cycle {
    began: Instant,
    accepted: f64,
    /// When the last refusal came; refusals of requests sent before that belong to it.
    refused: Option<Instant>,
    /// When a window last explained a refusal.
    explained: Option<Instant>,
    /// Whether the last refusal is unexplained: the next acceptance then sets the rate.
    is_unexplained: bool,
}

impl Controller {
    pub(super) fn new(documented: Documented, now: Instant) -> Self {
        Self {
            windows: Vec::new(),
            earlier: Sends::over(LOOK_BACK),
            rate: OwnRate::new(documented.per_second, now),
            phase: Phase::Discovering { doubled: now },
            burst: documented.burst,
            tokens: documented.burst,
            refilled: now,
            last_left: None,
            is_binding: false,
            jitter: Jitter::default(),
            cycle: Cycle {
                began: now,
                accepted: 0.0,
                refused: None,
                explained: None,
                is_unexplained: false,
            },
            follower: None,
        }
    }

    /// A controller for `--rate N`, which holds nothing back until answers state a limit or refuse again and again.
    pub(super) fn follower(now: Instant) -> Self {
        let unlimited = Documented {
            per_second: f64::INFINITY,
            burst: 1.0,
        };
        Self {
            phase: Phase::Steady,
            follower: Some(now),
            ..Self::new(unlimited, now)
        }
    }

    /// The windows that ImageKit has stated.
    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Requests per second allowed at present; infinite if nothing holds them back.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let stated = self
            .windows
            .iter()
            .map(|window| window.allowed(now) / window.interval.as_secs_f64());
        stated.fold(self.rate.per_second(), f64::min)
    }

    /// When the next request may be sent; `None` if it may be sent now.
    pub(super) fn not_before(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let spread = self.spread_rate(now);
        let by_rate = (self.tokens < 1.0 - 1e-9).then(|| {
            now + Duration::from_secs_f64(((1.0 - self.tokens) / spread).min(1e6))
                .max(Duration::from_micros(1))
        });
        self.is_binding |= by_rate.is_some() && self.rate.per_second() <= spread;
        let guard = self.jitter.guard();
        let is_discovering = self.is_discovering();
        let by_windows = self
            .windows
            .iter_mut()
            // The documented burst may be more than a short window grants.
            .filter(|window| !(is_discovering && window.is_short()))
            .filter_map(|window| window.full_until(now, guard.min(window.interval / MAX_GUARD)))
            .max();
        let longest = self.last_left.map(|left| left + MAX_WAIT);
        by_rate
            .max(by_windows)
            .map(|until| longest.map_or(until, |longest| until.min(longest)))
            .filter(|until| *until > now)
    }

    /// A request is sent now.
    pub(super) fn left(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.last_left = Some(now);
        self.earlier.add(now);
        self.earlier.forget(now, LOOK_BACK);
        for window in &mut self.windows {
            window.left(now);
        }
    }

    /// The request sent at `sent` was accepted.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant, limits: &RateLimitHeaders) {
        self.jitter.observe(now.duration_since(sent));
        let is_new = self.learn(limits, now).is_some_and(|update| update.is_new);
        self.cycle.accepted += 1.0;
        let is_after_refusal = self.cycle.refused.is_none_or(|refused| sent >= refused);
        match self.phase {
            Phase::Discovering { .. } if is_new => {
                let stated = self.short_rate(now);
                self.rate.set(self.rate.per_second().min(stated));
            }
            Phase::Discovering { doubled } => {
                if self.is_binding && sent >= doubled && now >= doubled + DOUBLING {
                    self.rate.set(2.0 * self.rate.per_second());
                    self.phase = Phase::Discovering { doubled: now };
                    self.is_binding = false;
                }
            }
            Phase::Steady if is_after_refusal => {
                self.step_back(now);
                self.rate.grow(std::mem::take(&mut self.is_binding), now);
            }
            Phase::Steady => {}
        }
    }

    /// The request sent at `sent` was refused by a 429; `in_flight` others are still unanswered.
    pub(super) fn refused(
        &mut self,
        sent: Instant,
        now: Instant,
        limits: &RateLimitHeaders,
        in_flight: u64,
    ) {
        self.jitter.observe(now.duration_since(sent));
        self.earlier.remove(sent);
        for window in &mut self.windows {
            window.refused(sent);
        }
        let update = self.learn(limits, now);
        if self.cycle.refused.is_some_and(|refused| sent < refused) {
            return;
        }
        if update.is_none() && self.is_discovering() && self.cycle.accepted < MIN_ACCEPTED {
            // Somebody used up the limit, whatever it is: after the pause we start from the documented one.
            return;
        }
        let is_explained = update.is_some_and(|update| {
            let window = &mut self.windows[update.window];
            let is_exceeded = window.begin_anew_if_exceeded(now, in_flight);
            let explained = self.cycle.explained;
            let is_soon = explained.is_some_and(|explained| now < explained + SHORT);
            let is_first = window.is_short() && self.phase.is_discovering();
            let is_explained = update.is_new || is_exceeded || is_soon || is_first;
            if (update.is_new || is_first) && window.is_short() {
                self.rate.set(f64::INFINITY);
            }
            is_explained
        });
        let pause = limits.wait.unwrap_or_default().min(MAX_WAIT);
        let again_before = self.follower.as_mut();
        let is_forgiven = again_before
            .is_some_and(|before| now >= std::mem::replace(before, now + pause + LOOK_BACK));
        self.cycle.refused = Some(now);
        self.cycle.is_unexplained = !is_explained && !is_forgiven;
        self.phase = Phase::Steady;
        self.burst = 1.0;
        self.tokens = 0.0;
        if is_forgiven {
            self.cycle.accepted = 0.0;
            self.cycle.began = now + pause;
        }
        if is_explained {
            let is_over = |explained: &Instant| now >= *explained + SHORT;
            self.cycle.explained = self.cycle.explained.filter(|at| !is_over(at)).or(Some(now));
            self.cycle.accepted = 0.0;
            self.cycle.began = now;
        }
    }

    fn is_discovering(&self) -> bool {
        self.phase.is_discovering()
    }

    /// Requests per second that the short windows allow.
    fn short_rate(&self, now: Instant) -> f64 {
        let short = self.windows.iter().filter(|window| window.is_short());
        short
            .map(|window| window.allowed(now) / window.interval.as_secs_f64())
            .fold(f64::INFINITY, f64::min)
    }

    /// The rate at which requests are spread: our own, or a short window's.
    fn spread_rate(&self, now: Instant) -> f64 {
        let guard = self.jitter.guard();
        self.windows
            .iter()
            .filter(|window| window.is_short())
            .map(|window| {
                let span = window.interval + guard.min(window.interval / MAX_GUARD);
                window.allowed(now) / span.as_secs_f64()
            })
            .fold(self.rate.per_second(), f64::min)
    }

    fn refill(&mut self, now: Instant) {
        let rate = self.spread_rate(now);
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        if rate.is_finite() {
            let most = self.burst.max(1.0 + rate * LATENESS.as_secs_f64());
            self.tokens = (self.tokens + passed * rate).min(most);
        } else {
            self.tokens = self.burst.max(1.0);
        }
    }

    /// Learns the window that the headers state; `None` if they state nothing usable.
    fn learn(&mut self, limits: &RateLimitHeaders, now: Instant) -> Option<WindowUpdate> {
        let (limit, interval) = limits.window()?;
        if let Some(known) = self
            .windows
            .iter()
            .position(|window| window.interval == interval)
        {
            let is_new = self.windows[known].update(limit, now);
            return Some(WindowUpdate {
                window: known,
                is_new,
            });
        }
        if self.windows.len() == MAX_WINDOWS {
            return None;
        }
        self.windows
            .push(Window::new(limit, interval, &self.earlier, now));
        Some(WindowUpdate {
            window: self.windows.len() - 1,
            is_new: true,
        })
    }

    /// Steps back from an unexplained refusal, once it is known how long it blocked.
    fn step_back(&mut self, now: Instant) {
        if !std::mem::take(&mut self.cycle.is_unexplained) {
            return;
        }
        let granted = Granted {
            accepted: self.cycle.accepted,
            elapsed: now.duration_since(self.cycle.began),
            blocked: now.duration_since(self.cycle.refused.unwrap_or(now)),
            is_shared: !self.windows.is_empty(),
        };
        let before = self.rate.per_second().min(self.short_rate(now));
        if self.rate.step_back(granted, before, now) {
            self.cycle.began = now;
            self.cycle.accepted = 0.0;
        }
    }
}

impl Phase {
    fn is_discovering(self) -> bool {
        matches!(self, Self::Discovering { .. })
    }
}

#[derive(Debug, Clone, Copy)]
struct WindowUpdate {
    window: usize,
    is_new: bool,
}
