//! Pacing: `--rate` and `--burst`, kept by governor on tokio's clock.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::Endpoint;

/// ImageKit's documented limit for deletions: 5 a second, in bursts of up to 20.
const DOCUMENTED: Rate = Rate::PerSecond {
    per_second: 5.0,
    burst: 20,
};

/// How fast requests may leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// ImageKit's documented limit, for each endpoint apart.
    Auto,
    /// At most `per_second * T + burst` in any T seconds, all endpoints together.
    PerSecond {
        /// Requests a second.
        per_second: f64,
        /// Requests that may leave at once.
        burst: u32,
    },
    /// As fast as the places in the air allow.
    Unlimited,
}

/// What an answer's headers say about limits, as they came: zero and absurd values are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Requests per interval.
    pub limit: Option<u64>,
    /// The interval.
    pub interval: Option<Duration>,
    /// How long to wait.
    pub wait: Option<Duration>,
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

pub(super) type Governor = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

#[derive(Debug)]
pub(super) enum Limiter {
    Unlimited,
    Common(Governor),
    ForEach([Governor; Endpoint::ALL.len()]),
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        match rate {
            Rate::Unlimited => Self::Unlimited,
            Rate::Auto => Self::ForEach(Endpoint::ALL.map(|_| governor(DOCUMENTED))),
            Rate::PerSecond { .. } => Self::Common(governor(rate)),
        }
    }

    /// Takes one request's share, or says when to ask again.
    pub(super) fn try_leave(&self, endpoint: Endpoint, now: Instant) -> Option<Instant> {
        let governor = match self {
            Self::Unlimited => return None,
            Self::Common(governor) => governor,
            Self::ForEach(governors) => &governors[endpoint as usize],
        };
        let not_until = governor.check().err()?;
        Some(
            now + not_until
                .wait_time_from(governor.clock().now())
                .max(Duration::from_micros(1)),
        )
    }
}

fn governor(rate: Rate) -> Governor {
    let (per_second, burst) = match rate {
        Rate::PerSecond { per_second, burst } => (per_second, burst),
        Rate::Auto | Rate::Unlimited => (f64::MAX, 1),
    };
    let period = Duration::from_secs_f64(1.0 / per_second).max(Duration::from_nanos(1));
    let quota = Quota::with_period(period).expect("a period is at least a nanosecond");
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct_with_clock(quota.allow_burst(burst), TokioClock(Instant::now()))
}
