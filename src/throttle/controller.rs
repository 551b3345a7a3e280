//! The controller of `--rate auto`: finds the limit of one endpoint, stays just under it, follows it. Arithmetic only.
//!
//! Two things hold requests back. *Windows* that ImageKit stated: what we sent is counted in each, and short ones
//! are also spread evenly. And a *rate* of our own for limits that nobody stated: at first it doubles from the
//! documented limit until something is refused; later it follows what the server grants (another client has a share
//! of the limit, the limit is a bucket, there are no headers).

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
use super::own_rate::{Granted, OwnRate};
use super::rate::Pace;
use super::sends::Sends;
use super::window::Window;

/// A server that invents a new window with each answer must not fill the memory.
const MAX_WINDOWS: usize = 8;

/// Windows up to this are spread evenly, and what left before one was stated may be refused for as long; in longer
/// windows requests leave as fast as the others let them.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// How far back requests count in a window that is stated now.
const LOOK_BACK: Duration = Duration::from_secs(15);

/// How much time a late timer may make good.
const LATENESS: Duration = Duration::from_millis(25);

/// While nothing is refused the rate doubles at most this often.
const DOUBLING: Duration = Duration::from_millis(200);

/// A refusal that states no limit, before this many requests were let through, says nothing about the rate.
const MIN_ACCEPTED: f64 = 2.0;

/// The largest part of a window by which its interval is prolonged against uneven round trips.
const MAX_GUARD: u32 = 16;

/// No limit makes a request wait longer than this.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// One endpoint's limits, as documented before anything is learnt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Documented {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

#[derive(Debug)]
pub(super) struct Controller {
    windows: Vec<Window>,
    /// What was sent before a window was known; it counts there too.
    earlier: Sends,
    rate: OwnRate,
    phase: Phase,
    burst: f64,
    tokens: f64,
    refilled: Instant,
    last_left: Option<Instant>,
    /// The rate held requests back since the last answer: only then may it grow.
    is_binding: bool,
    jitter: Jitter,
    cycle: Cycle,
    /// With `--rate N`, which one refusal does not change: refused again before this, it does.
    follower: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was refused yet.
    Discovering { doubled: Instant },
    /// The limit was met at least once.
    Steady,
}

/// From one refusal that nothing explains to the next.
#[derive(Debug, Clone, Copy)]
struct Cycle {
    began: Instant,
    accepted: f64,
    /// When the last refusal came; requests that left before it belong to the same.
    refused: Option<Instant>,
    /// When a refusal was explained by a window, and what left before was still to blame for a while.
    explained: Option<Instant>,
    /// The last refusal has no explanation: the next acceptance sets the rate.
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

    /// A controller that holds nothing back by itself until it has learnt something: `--rate N` is the pace.
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

    /// Windows as ImageKit told them.
    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Requests a second as things are; infinite if nothing holds them back.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let stated = self
            .windows
            .iter()
            .map(|window| window.allowed(now) / window.interval.as_secs_f64());
        stated.fold(self.rate.per_second(), f64::min)
    }

    /// When the next request may leave; `None` if it may now.
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

    /// A request leaves now.
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

    /// A request that left at `sent` was let through.
    pub(super) fn accepted(&mut self, sent: Instant, now: Instant, pace: &Pace) {
        self.jitter.observe(now.duration_since(sent));
        let is_news = self.learn(pace, now).is_some_and(|update| update.is_news);
        self.cycle.accepted += 1.0;
        let is_after_refusal = self.cycle.refused.is_none_or(|refused| sent >= refused);
        match self.phase {
            Phase::Discovering { .. } if is_news => {
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

    /// A request that left at `sent` was refused by a 429; `in_flight` others are not answered yet.
    pub(super) fn refused(&mut self, sent: Instant, now: Instant, pace: &Pace, in_flight: u64) {
        self.jitter.observe(now.duration_since(sent));
        self.earlier.remove(sent);
        for window in &mut self.windows {
            window.refused(sent);
        }
        let update = self.learn(pace, now);
        if self.cycle.refused.is_some_and(|refused| sent < refused) {
            return;
        }
        if update.is_none() && self.is_discovering() && self.cycle.accepted < MIN_ACCEPTED {
            // It says that somebody used the limit up, not what it is: after the pause we begin as documented.
            return;
        }
        let is_explained = update.is_some_and(|update| {
            let window = &mut self.windows[update.window];
            let is_exceeded = window.begin_anew_if_exceeded(now, in_flight);
            let explained = self.cycle.explained;
            let is_soon = explained.is_some_and(|explained| now < explained + SHORT);
            let is_first = window.is_short() && self.phase.is_discovering();
            let is_explained = update.is_news || is_exceeded || is_soon || is_first;
            if (update.is_news || is_first) && window.is_short() {
                self.rate.set(f64::INFINITY);
            }
            is_explained
        });
        let pause = pace.wait.unwrap_or_default().min(MAX_WAIT);
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

    /// What the windows that are spread allow, in requests a second.
    fn short_rate(&self, now: Instant) -> f64 {
        let short = self.windows.iter().filter(|window| window.is_short());
        short
            .map(|window| window.allowed(now) / window.interval.as_secs_f64())
            .fold(f64::INFINITY, f64::min)
    }

    /// The rate at which requests are spread: the own one, or a short window's.
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

    /// Keeps what the headers tell; `None` where they tell nothing usable.
    fn learn(&mut self, pace: &Pace, now: Instant) -> Option<WindowUpdate> {
        let (limit, interval) = pace.window()?;
        if let Some(known) = self
            .windows
            .iter()
            .position(|window| window.interval == interval)
        {
            let is_news = self.windows[known].told(limit, now);
            return Some(WindowUpdate {
                window: known,
                is_news,
            });
        }
        if self.windows.len() == MAX_WINDOWS {
            return None;
        }
        self.windows
            .push(Window::new(limit, interval, &self.earlier, now));
        Some(WindowUpdate {
            window: self.windows.len() - 1,
            is_news: true,
        })
    }

    /// After a refusal that nothing explains, once it is known how long it blocked.
    fn step_back(&mut self, now: Instant) {
        if !std::mem::take(&mut self.cycle.is_unexplained) {
            return;
        }
        let granted = Granted {
            accepted: self.cycle.accepted,
            elapsed: now.duration_since(self.cycle.began),
            blocked: now.duration_since(self.cycle.refused.unwrap_or(now)),
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
    is_news: bool,
}
