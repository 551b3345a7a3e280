//! Rate limits: the windows that ImageKit may have; nobody outside knows which kind it is.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A limit on requests.
#[derive(Debug, Clone)]
pub struct Window {
    limit: u64,
    interval: Duration,
    kind: WindowKind,
    /// When a fixed window began first, or when a bucket will be full again; unset before the first request.
    at: Option<Instant>,
    /// Requests that count against the limit, but of a bucket.
    taken: VecDeque<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum WindowKind {
    Fixed,
    Sliding,
    Bucket { burst: u32 },
}

/// What an answer's headers say of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitState {
    /// Requests per interval.
    pub limit: u64,
    /// The interval.
    pub interval: Duration,
    /// When the window has room again.
    pub reset: Duration,
}

impl Window {
    /// `limit` requests in each interval, counted anew when it is over.
    pub fn fixed(limit: u64, interval: Duration) -> Self {
        Self::new(limit, interval, WindowKind::Fixed)
    }

    /// `limit` requests in any interval.
    pub fn sliding(limit: u64, interval: Duration) -> Self {
        Self::new(limit, interval, WindowKind::Sliding)
    }

    /// `per_second` requests a second, and `burst` saved up.
    pub fn bucket(per_second: u32, burst: u32) -> Self {
        let second = Duration::from_secs(1);
        Self::new(per_second.into(), second, WindowKind::Bucket { burst })
    }

    fn new(limit: u64, interval: Duration, kind: WindowKind) -> Self {
        Self {
            limit,
            interval,
            kind,
            at: None,
            taken: VecDeque::new(),
        }
    }

    /// How long a request must wait; zero if it may pass now.
    fn wait(&mut self, now: Instant) -> Duration {
        let at = *self.at.get_or_insert(now);
        let max_age = match self.kind {
            WindowKind::Bucket { burst } => {
                let full_again = at.max(now) + self.refill();
                return full_again.saturating_duration_since(now + self.refill() * burst);
            }
            WindowKind::Sliding => self.interval.saturating_sub(Duration::from_nanos(1)),
            WindowKind::Fixed => {
                let into = now.duration_since(at).as_nanos() % self.interval.as_nanos().max(1);
                Duration::from_nanos(u64::try_from(into).unwrap_or_default())
            }
        };
        let age = |taken: &Instant| now.duration_since(*taken);
        while self.taken.front().is_some_and(|taken| age(taken) > max_age) {
            self.taken.pop_front();
        }
        match (self.taken.front(), self.kind) {
            _ if (self.taken.len() as u64) < self.limit => Duration::ZERO,
            (Some(first), WindowKind::Sliding) => self.interval.saturating_sub(age(first)),
            _ => self.interval.saturating_sub(max_age),
        }
    }

    fn take(&mut self, now: Instant) {
        match self.kind {
            WindowKind::Bucket { .. } => {
                self.at = self.at.map(|at| at.max(now) + self.refill());
            }
            WindowKind::Fixed | WindowKind::Sliding => self.taken.push_back(now),
        }
    }

    /// The time in which a bucket gets one request more.
    fn refill(&self) -> Duration {
        self.interval / u32::try_from(self.limit).unwrap_or(u32::MAX).max(1)
    }

    fn state(&self, reset: Duration) -> LimitState {
        LimitState {
            limit: self.limit,
            interval: self.interval,
            reset,
        }
    }
}

/// Lets a request pass through all windows, or tells of the one that it exceeds.
pub fn pass(windows: &mut [Window], now: Instant) -> Result<Option<LimitState>, LimitState> {
    let waits = windows.iter_mut().map(|window| {
        let wait = window.wait(now);
        window.state(wait)
    });
    if let Some(exceeded) = waits
        .filter(|state| !state.reset.is_zero())
        .max_by_key(|state| state.reset)
    {
        return Err(exceeded);
    }
    for window in windows.iter_mut() {
        window.take(now);
    }
    Ok(windows.first().map(|window| window.state(Duration::ZERO)))
}
