//! How fast something goes just now, and how long the rest will take. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

/// How many seconds a count is watched before its speed is shown.
const MIN_SECONDS: f64 = 3.0;

/// What grows by how much a second: an average in which a moment counts the less, the longer ago it is.
#[derive(Debug)]
pub(super) struct Speed {
    /// The number of seconds after which a moment counts e times less.
    memory: f64,
    looked: Instant,
    count: u64,
    /// Too low by as much as `weight` is below 1.
    average: f64,
    weight: f64,
}

impl Speed {
    pub(super) fn new(now: Instant, memory: Duration) -> Self {
        Self {
            memory: memory.as_secs_f64(),
            looked: now,
            count: 0,
            average: 0.0,
            weight: 0.0,
        }
    }

    /// Takes in what the count is now.
    #[expect(clippy::cast_precision_loss, reason = "a speed to look at")]
    pub(super) fn look(&mut self, now: Instant, count: u64) {
        let seconds = now.duration_since(self.looked).as_secs_f64();
        if seconds > 0.0 {
            let share = 1.0 - (-seconds / self.memory).exp();
            let speed = count.saturating_sub(self.count) as f64 / seconds;
            self.average += share * (speed - self.average);
            self.weight += share * (1.0 - self.weight);
        }
        self.pass_over(now, count);
    }

    /// Lets time go by that tells nothing: a pause is no slow run.
    pub(super) fn pass_over(&mut self, now: Instant, count: u64) {
        (self.looked, self.count) = (now, count);
    }

    /// `None` while there is too little to go by.
    pub(super) fn per_second(&self) -> Option<f64> {
        let min_weight = 1.0 - (-MIN_SECONDS / self.memory).exp();
        (self.weight >= min_weight).then(|| self.average / self.weight)
    }
}

/// How long `left` will take at this speed; `None` where nobody knows.
#[expect(clippy::cast_precision_loss, reason = "an estimate to look at")]
pub(super) fn time_for(left: u64, per_second: f64) -> Option<Duration> {
    (per_second > 0.01).then(|| Duration::from_secs_f64((left as f64 / per_second).min(1e9)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The speed after ten looks a second at these counts, one for each second.
    fn speed(counts: impl IntoIterator<Item = u64>) -> Option<f64> {
        let start = Instant::now();
        let mut speed = Speed::new(start, Duration::from_secs(15));
        let mut last = 0;
        for (second, count) in (0..).zip(counts) {
            for tenth in 1..=10 {
                let now = start + Duration::from_millis(second * 1000 + tenth * 100);
                speed.look(now, last + (count - last) * tenth / 10);
            }
            last = count;
        }
        speed.per_second()
    }

    fn is_about(value: f64, expected: f64) -> bool {
        (value - expected).abs() < expected * 0.05
    }

    #[test]
    fn the_speed_is_that_of_late() {
        assert_eq!(speed([500, 1000]), None, "too little to go by");
        let steady = (1..=5).map(|second| second * 500);
        assert!(is_about(speed(steady).unwrap(), 500.0));
        let slower = (1..=160).map(|second: u64| 500 * second.min(100) + 10 * second);
        assert!(is_about(speed(slower).unwrap(), 19.15));
        let standing = (1..=400).map(|second: u64| second.min(20));
        assert_eq!(time_for(100, speed(standing).unwrap()), None);
        assert_eq!(time_for(5000, 500.0), Some(Duration::from_secs(10)));
    }

    #[test]
    fn time_that_is_passed_over_does_not_count() {
        let start = Instant::now();
        let mut speed = Speed::new(start, Duration::from_secs(15));
        for second in 1..=40 {
            let now = start + Duration::from_secs(second);
            if second <= 10 {
                speed.look(now, second * 500);
            } else {
                speed.pass_over(now, 5000);
            }
        }
        assert!(is_about(speed.per_second().unwrap(), 500.0));
    }
}
