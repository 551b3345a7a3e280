//! Rate limits: the windows that ImageKit may have; nobody outside knows which kind it is.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A limit on requests.
#[derive(Debug, Clone)]
pub struct Window {
    limit: u64,
    interval: Duration,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Fixed {
        begin: Option<Instant>,
        used: u64,
    },
    Sliding {
        taken: VecDeque<Instant>,
    },
    Bucket {
        burst: f64,
        level: f64,
        at: Option<Instant>,
    },
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
        Self {
            limit,
            interval,
            kind: Kind::Fixed {
                begin: None,
                used: 0,
            },
        }
    }

    /// `limit` requests in any interval.
    pub fn sliding(limit: u64, interval: Duration) -> Self {
        Self {
            limit,
            interval,
            kind: Kind::Sliding {
                taken: VecDeque::new(),
            },
        }
    }

    /// `per_second` requests a second, and `burst` saved up.
    pub fn bucket(per_second: u32, burst: u32) -> Self {
        let kind = Kind::Bucket {
            burst: f64::from(burst),
            level: f64::from(burst),
            at: None,
        };
        Self {
            limit: per_second.into(),
            interval: Duration::from_secs(1),
            kind,
        }
    }

    /// How long a request must wait; zero if it may pass now.
    #[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        match &mut self.kind {
            Kind::Fixed { begin, used } => {
                let began = *begin.get_or_insert(now);
                let passed = now.duration_since(began);
                if passed >= self.interval {
                    let whole = passed.as_nanos() / self.interval.as_nanos().max(1);
                    *begin = Some(
                        began
                            + self
                                .interval
                                .saturating_mul(u32::try_from(whole).unwrap_or(u32::MAX)),
                    );
                    *used = 0;
                }
                if *used < self.limit {
                    Duration::ZERO
                } else {
                    began + self.interval - now
                }
            }
            Kind::Sliding { taken } => {
                while taken
                    .front()
                    .is_some_and(|first| now.duration_since(*first) >= self.interval)
                {
                    taken.pop_front();
                }
                match taken.front() {
                    Some(first) if taken.len() as u64 >= self.limit => *first + self.interval - now,
                    _ => Duration::ZERO,
                }
            }
            Kind::Bucket { burst, level, at } => {
                let per_second = self.limit as f64 / self.interval.as_secs_f64();
                let passed = now.duration_since(*at.get_or_insert(now)).as_secs_f64();
                *at = Some(now);
                *level = (*level + passed * per_second).min(*burst);
                if *level >= 1.0 {
                    Duration::ZERO
                } else {
                    Duration::from_secs_f64((1.0 - *level) / per_second)
                }
            }
        }
    }

    pub(super) fn take(&mut self, now: Instant) {
        match &mut self.kind {
            Kind::Fixed { used, .. } => *used += 1,
            Kind::Sliding { taken } => taken.push_back(now),
            Kind::Bucket { level, .. } => *level -= 1.0,
        }
    }

    fn told(&self, reset: Duration) -> LimitState {
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
        window.told(wait)
    });
    if let Some(exceeded) = waits
        .filter(|told| !told.reset.is_zero())
        .max_by_key(|told| told.reset)
    {
        return Err(exceeded);
    }
    for window in windows.iter_mut() {
        window.take(now);
    }
    Ok(windows.first().map(|window| window.told(Duration::ZERO)))
}
