//! Backoff: arithmetic only, from the number of a retry and a hint to a delay. No clock, no I/O.

use std::time::Duration;

/// The longest that a server's hint is followed.
const MAX_HINT: Duration = Duration::from_mins(5);

/// Exponential backoff with full jitter: a delay is drawn evenly from zero to a ceiling that doubles.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Default for Backoff {
    /// 0.5 s, doubling to 30 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The delay before a retry, counted from 1. `hint` is the server's own wish (`Retry-After`): the least
    /// that is waited, up to 5 minutes. `random` is drawn from 0 to 1.
    pub fn delay(&self, retry: u32, hint: Option<Duration>, random: f64) -> Duration {
        let jittered = self.ceiling(retry).mul_f64(random.clamp(0.0, 1.0));
        jittered.max(hint.unwrap_or_default().min(MAX_HINT))
    }

    /// The longest delay before a retry, counted from 1.
    pub fn ceiling(&self, retry: u32) -> Duration {
        let doublings = retry.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_half_a_second_to_thirty() {
        let ceilings: Vec<f64> = (1..=8)
            .map(|retry| Backoff::default().ceiling(retry).as_secs_f64())
            .collect();
        assert_eq!(ceilings, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(
            Backoff::default().ceiling(u32::MAX),
            Duration::from_secs(30)
        );
    }

    #[test]
    fn jitter_is_full_and_a_hint_is_the_least() {
        let delay = |hint, random| Backoff::default().delay(3, hint, random);
        assert_eq!(delay(None, 0.0), Duration::ZERO);
        assert_eq!(delay(None, 0.5), Duration::from_secs(1));
        assert_eq!(delay(None, 1.0), Duration::from_secs(2));
        assert_eq!(
            delay(Some(Duration::from_secs(7)), 1.0),
            Duration::from_secs(7)
        );
        assert_eq!(
            delay(Some(Duration::from_secs(1)), 1.0),
            Duration::from_secs(2)
        );
        assert_eq!(
            delay(Some(Duration::from_hours(24)), 0.0),
            Duration::from_mins(5)
        );
    }
}
