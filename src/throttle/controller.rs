//! The controller of `--rate auto`: finds the limit of one endpoint, stays just under it, follows it. Arithmetic only.
//!
//! Two things hold requests back. *Windows* that ImageKit told are kept by counting what we sent; short ones
//! are also spread evenly. And a *rate* of our own covers what nobody told: at first it doubles from the
//! documented limit until something is learnt; later, each refusal that no window explains (another client takes
//! its share, the limit is a bucket, there are no headers) sets it to just below what was really let
//! through since the refusal before, and it grows again, slowly at first.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
use super::rate::Pace;
use super::sends::Sends;
use super::window::Window;

/// A server that invents a new window with each answer must not fill the memory.
const MAX_WINDOWS: usize = 8;

/// Windows up to this are spread evenly; in longer ones requests leave as fast as the others let them.
const SHORT: Duration = Duration::from_secs(2);

/// In a longer window requests leave so much faster than its limit would have it on the average, and then wait:
/// a run that ends within the window ends sooner, and others are not shut out for most of it.
const OVERSHOOT: f64 = 2.5;

/// What was sent so long ago counts in a window that is told now.
const LOOK_BACK: Duration = Duration::from_secs(15);

/// What a timer may be late is made good again, and no more.
const LATENESS: Duration = Duration::from_millis(25);

/// While nothing is refused the rate doubles at most this often.
const DOUBLING: Duration = Duration::from_millis(200);

/// A refusal that tells no limit, before so many were let through, tells nothing of the rate.
const MIN_ACCEPTED: f64 = 2.0;

/// After a refusal that nothing explains: this part of what was let through.
const STEP_BACK: f64 = 0.95;

/// But at least this part of the rate before, as one short moment may mislead: less where ImageKit told nothing
/// that speaks for the rate.
const MIN_STEP: f64 = 0.4;
const MIN_STEP_KNOWN: f64 = 0.75;

/// After a window was told at last, what had left before may be refused for so long.
const SETTLING: Duration = Duration::from_secs(1);

/// How fast the rate grows again: by the square of the seconds since the refusal.
const GROWTH: f64 = 0.002;

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
    /// Requests a second; infinite where the windows alone decide.
    rate: f64,
    phase: Phase,
    burst: f64,
    tokens: f64,
    refilled: Instant,
    last_left: Option<Instant>,
    /// The rate held requests back since the last answer: only then may it grow.
    is_binding: bool,
    jitter: Jitter,
    cycle: Cycle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was refused yet.
    Discovering { doubled: Instant, is_told: bool },
    /// The limit was met at least once.
    Steady { grown: Instant },
}

/// From one refusal to the next; what was let through in between is what the server grants.
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
            rate: documented.per_second,
            phase: Phase::Discovering {
                doubled: now,
                is_told: false,
            },
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
        }
    }

    /// A controller that holds nothing back by itself until it has learnt something: `--rate N` is the pace.
    pub(super) fn follower(now: Instant) -> Self {
        let unlimited = Documented {
            per_second: f64::INFINITY,
            burst: 1.0,
        };
        Self {
            phase: Phase::Steady { grown: now },
            ..Self::new(unlimited, now)
        }
    }

    /// Windows as ImageKit told them.
    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Requests a second as things are; infinite if nothing holds them back.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let told = self
            .windows
            .iter()
            .map(|window| window.allowed(now) / window.interval.as_secs_f64());
        told.fold(self.rate, f64::min)
    }

    /// When the next request may leave; `None` if it may now.
    pub(super) fn not_before(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let spread = self.spread_rate(now);
        let by_rate = (self.tokens < 1.0 - 1e-9).then(|| {
            now + Duration::from_secs_f64(((1.0 - self.tokens) / spread).min(1e6))
                .max(Duration::from_micros(1))
        });
        self.is_binding |= by_rate.is_some() && self.rate <= spread;
        let guard = self.jitter.guard();
        let by_windows = if self.is_discovering() {
            None
        } else {
            self.windows
                .iter_mut()
                .filter_map(|window| window.full_until(now, guard.min(window.interval / 25)))
                .max()
        };
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
        match &mut self.phase {
            Phase::Discovering { is_told, .. } if is_news => {
                *is_told = true;
                self.rate = self.told_rate(now);
            }
            Phase::Discovering {
                doubled,
                is_told: false,
            } => {
                if self.is_binding && sent >= *doubled && now >= *doubled + DOUBLING {
                    self.rate *= 2.0;
                    *doubled = now;
                    self.is_binding = false;
                }
            }
            Phase::Steady { .. } if is_after_refusal => {
                self.step_back(now);
                self.grow(now);
            }
            Phase::Discovering { is_told: true, .. } | Phase::Steady { .. } => {}
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
            let is_soon = self
                .cycle
                .explained
                .is_some_and(|explained| now < explained + window.interval.clamp(SETTLING, SHORT));
            let is_explained =
                update.is_news || is_exceeded || is_soon || self.phase.is_discovering();
            if is_explained && window.interval <= SHORT {
                self.rate = f64::INFINITY;
            } else if is_explained {
                let told = window.allowed(now) / window.interval.as_secs_f64();
                self.rate = self.rate.min(told * OVERSHOOT);
            }
            is_explained
        });
        self.cycle.refused = Some(now);
        self.cycle.is_unexplained = !is_explained;
        self.phase = Phase::Steady { grown: now };
        self.burst = 1.0;
        self.tokens = 0.0;
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

    fn told_rate(&self, now: Instant) -> f64 {
        self.windows
            .iter()
            .map(|window| window.allowed(now) / window.interval.as_secs_f64())
            .fold(f64::INFINITY, f64::min)
    }

    /// The rate at which requests are spread: the own one, or a short window's.
    fn spread_rate(&self, now: Instant) -> f64 {
        let guard = self.jitter.guard();
        self.windows
            .iter()
            .filter(|window| window.interval <= SHORT)
            .map(|window| {
                let span = window.interval + guard.min(window.interval / 25);
                window.allowed(now) / span.as_secs_f64()
            })
            .fold(self.rate, f64::min)
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

    /// After a refusal that nothing explains: the rate becomes a little less than what was let through since
    /// the refusal before. That holds for a bucket, for a window and for a share of either.
    fn step_back(&mut self, now: Instant) {
        if !std::mem::take(&mut self.cycle.is_unexplained) {
            return;
        }
        let elapsed = now.duration_since(self.cycle.began).as_secs_f64().max(0.05);
        let granted = self.cycle.accepted / elapsed;
        let before = self.rate.min(self.told_rate(now));
        let before = if before.is_finite() {
            before.max(granted)
        } else {
            granted
        };
        let least = if self.windows.is_empty() {
            MIN_STEP
        } else {
            MIN_STEP_KNOWN
        };
        self.rate = (granted * STEP_BACK).clamp(before * least, before * STEP_BACK);
        self.cycle.began = now;
        self.cycle.accepted = 0.0;
        self.phase = Phase::Steady { grown: now };
    }

    fn grow(&mut self, now: Instant) {
        let Phase::Steady { grown } = &mut self.phase else {
            return;
        };
        let passed = now.duration_since(*grown).as_secs_f64().min(1.0);
        *grown = now;
        if std::mem::take(&mut self.is_binding) {
            let calm = now.duration_since(self.cycle.began).as_secs_f64();
            self.rate *= (2.0 * GROWTH * calm.min(60.0) * passed).exp();
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
