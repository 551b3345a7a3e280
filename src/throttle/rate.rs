//! Pacing: `--rate` and `--burst`, kept by governor on tokio's clock.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// How fast requests may leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Starts from ImageKit's documented limit for each endpoint, and follows what the answers say.
    Auto,
    /// At most `per_second * T + burst` requests in any T seconds, over all endpoints.
    PerSecond {
        /// Requests a second.
        per_second: f64,
        /// Requests that may leave at once.
        burst: u32,
    },
    /// As fast as `--concurrency` allows.
    Unlimited,
}

/// What an answer's headers say about limits, as they came: zero and absurd values are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimitHeaders {
    /// Requests per interval.
    pub limit: Option<u64>,
    /// The interval.
    pub interval: Option<Duration>,
    /// How long to wait.
    pub wait: Option<Duration>,
}

impl RateLimitHeaders {
    /// Limit and interval, where both are usable.
    pub(super) fn window(&self) -> Option<(u64, Duration)> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        let interval = self.interval.filter(|interval| !interval.is_zero())?;
        Some((limit, interval))
    }
}

/// tokio's clock for governor, so that paused time works in tests.
#[derive(Debug, Clone)]
pub(super) struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

type Governor = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// The user's own limit, over all endpoints.
#[derive(Debug)]
pub(super) struct Cap(Option<Governor>);

impl Cap {
    pub(super) fn new(rate: Rate) -> Self {
        Self(match rate {
            Rate::Auto | Rate::Unlimited => None,
            Rate::PerSecond { per_second, burst } => Some(governor(per_second, burst)),
        })
    }

    /// Takes one request's share; otherwise returns when to try again.
    pub(super) fn try_acquire(&self, now: Instant) -> Option<Instant> {
        let governor = self.0.as_ref()?;
        let not_until = governor.check().err()?;
        let wait = not_until.wait_time_from(governor.clock().now());
        Some(now + wait.max(Duration::from_micros(1)))
    }
}

fn governor(per_second: f64, burst: u32) -> Governor {
    let period = Duration::from_secs_f64(1.0 / per_second).max(Duration::from_nanos(1));
    let quota = Quota::with_period(period).expect("a period is at least a nanosecond");
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct_with_clock(quota.allow_burst(burst), TokioClock(Instant::now()))
}
