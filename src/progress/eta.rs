//! The forecast: how fast the run goes and how long it will take. Arithmetic only.
//!
//! What was done in the last minute says how fast it goes, but not faster than the limit that holds lets it: a
//! burst at the start promises too much. Time in which ImageKit makes the run wait does not count, or a pause
//! would look like a slow run; nor does the time until the first groups have come through, in which requests are
//! sent and nothing is decided yet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So far back is looked, in time that counts.
const LOOK_BACK: Duration = Duration::from_mins(1);

/// Samples no denser than this.
const SAMPLE_EACH: Duration = Duration::from_secs(1);

/// The rate of requests is that of the last moments, which is what the limit beside it is held against.
const RECENT: Duration = Duration::from_secs(5);

/// Before so many seconds nothing is said.
const MIN_SECONDS: f64 = 3.0;

/// What is seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// Records decided by this run.
    pub(super) decided: u64,
    /// Records that were taken in and are not decided yet.
    pub(super) underway: u64,
    /// Requests that were answered or failed.
    pub(super) landed: u64,
    /// Requests that named one ID each.
    pub(super) singles: u64,
    /// Whether ImageKit makes the run wait.
    pub(super) is_waiting: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Time that counted until then.
    counted: Duration,
    decided: u64,
    landed: u64,
    singles: u64,
}

/// How fast it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed {
    /// Records a second; `None` while there is too little to go by.
    pub(super) records: Option<f64>,
    /// Requests a second, in the last seconds.
    pub(super) requests: f64,
    /// Whether most requests of the last seconds named one ID each, after others that named more.
    pub(super) is_one_by_one: bool,
}

#[derive(Debug)]
pub(super) struct Forecast {
    samples: VecDeque<Sample>,
    latest: Sample,
    looked: Instant,
    /// When as many were decided as were under way: from then on it counts what is decided.
    warm: Option<Sample>,
}

impl Forecast {
    pub(super) fn new(now: Instant) -> Self {
        let begin = Sample {
            counted: Duration::ZERO,
            decided: 0,
            landed: 0,
            singles: 0,
        };
        Self {
            samples: VecDeque::from([begin]),
            latest: begin,
            looked: now,
            warm: None,
        }
    }

    /// Takes in what is seen now.
    pub(super) fn look(&mut self, now: Instant, seen: Seen) {
        let passed = now.duration_since(self.looked);
        self.looked = now;
        self.latest.decided = seen.decided;
        self.latest.landed = seen.landed;
        self.latest.singles = seen.singles;
        if !seen.is_waiting {
            self.latest.counted += passed;
        }
        if self.warm.is_none() && seen.decided > 0 && seen.decided >= seen.underway {
            self.warm = Some(self.latest);
        }
        let newest = self
            .samples
            .back()
            .map_or(Duration::ZERO, |sample| sample.counted);
        if self.latest.counted >= newest + SAMPLE_EACH {
            self.samples.push_back(self.latest);
        }
        // One that is older than the look-back stays, to look back to.
        while let Some(second) = self.samples.get(1)
            && second.counted + LOOK_BACK <= self.latest.counted
        {
            self.samples.pop_front();
        }
    }

    /// The speed; `most_requests` says how many requests a second may leave, by how many records a request
    /// settles. `None` while there is too little to go by.
    pub(super) fn speed(&self, most_requests: impl Fn(f64) -> f64) -> Option<Speed> {
        let all = self.since(self.samples.front()?);
        let records = self.warm.map(|warm| match self.samples.front() {
            Some(oldest) if oldest.counted > warm.counted => self.since(oldest),
            _ => self.since(&warm),
        });
        let records = records
            .filter(|since| since.seconds >= MIN_SECONDS)
            .map(|since| {
                let records_a_request = since.decided / since.landed.max(1.0);
                let most = most_requests(records_a_request);
                let by_limit = most * records_a_request.max(f64::MIN_POSITIVE);
                (since.decided / since.seconds).min(by_limit)
            });
        let recent = self.since(self.recent()?);
        (all.seconds >= MIN_SECONDS).then(|| Speed {
            records,
            requests: recent.landed / recent.seconds.max(1.0),
            is_one_by_one: recent.singles * 2.0 > recent.landed
                && self.latest.landed > self.latest.singles,
        })
    }

    /// The newest sample that is old enough to tell the rate of the last seconds; the oldest if none is.
    fn recent(&self) -> Option<&Sample> {
        let is_old = |sample: &&Sample| sample.counted + RECENT <= self.latest.counted;
        let mut old = self.samples.iter().rev().filter(is_old);
        old.next().or_else(|| self.samples.front())
    }

    #[expect(clippy::cast_precision_loss, reason = "a speed to look at")]
    fn since(&self, sample: &Sample) -> Since {
        let latest = &self.latest;
        let decided = latest.decided.saturating_sub(sample.decided);
        let landed = latest.landed.saturating_sub(sample.landed);
        let singles = latest.singles.saturating_sub(sample.singles);
        Since {
            seconds: self
                .latest
                .counted
                .saturating_sub(sample.counted)
                .as_secs_f64(),
            decided: decided as f64,
            landed: landed as f64,
            singles: singles as f64,
        }
    }
}

/// What was done since a sample was taken.
#[derive(Debug, Clone, Copy)]
struct Since {
    seconds: f64,
    decided: f64,
    landed: f64,
    singles: f64,
}

/// How long `left` records will take at this speed; `None` where nobody knows.
#[expect(clippy::cast_precision_loss, reason = "an estimate to look at")]
pub(super) fn time_for(left: u64, speed: &Speed) -> Option<Duration> {
    let records = speed.records.filter(|records| *records > 0.0)?;
    Some(Duration::from_secs_f64((left as f64 / records).min(1e9)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Looks once a second at what `at` says.
    fn look(
        forecast: &mut Forecast,
        start: Instant,
        seconds: u64,
        at: impl Fn(u64) -> (u64, bool),
    ) {
        for second in 1..=seconds {
            let (batches, is_waiting) = at(second);
            forecast.look(
                start + Duration::from_secs(second),
                Seen {
                    decided: batches * 100,
                    underway: 100,
                    landed: batches,
                    singles: 0,
                    is_waiting,
                },
            );
        }
    }

    fn is_about(value: f64, expected: f64) -> bool {
        (value - expected).abs() < expected * 0.03
    }

    #[test]
    fn the_burst_at_the_start_does_not_promise_too_much() {
        let start = Instant::now();
        let mut forecast = Forecast::new(start);
        assert_eq!(forecast.speed(|_| 5.0), None, "nothing is known yet");
        look(&mut forecast, start, 4, |second| (20 + 5 * second, false));
        let speed = forecast.speed(|_| 5.0).unwrap();
        assert!(is_about(speed.records.unwrap(), 500.0), "{speed:?}");
        assert_eq!(time_for(5000, &speed).unwrap().as_secs(), 10);
    }

    #[test]
    fn a_pause_is_no_slowness() {
        let start = Instant::now();
        let mut forecast = Forecast::new(start);
        look(&mut forecast, start, 40, |second| {
            (5 * second.min(10), second > 10)
        });
        let speed = forecast.speed(|_| f64::INFINITY).unwrap();
        assert!(is_about(speed.records.unwrap(), 500.0), "{speed:?}");
    }

    #[test]
    fn the_last_minute_counts_and_memory_does_not_grow() {
        let start = Instant::now();
        let mut forecast = Forecast::new(start);
        look(&mut forecast, start, 10_000, |second| {
            (5 * second.min(9900) + second.saturating_sub(9900), false)
        });
        let speed = forecast.speed(|_| f64::INFINITY).unwrap();
        assert!(is_about(speed.records.unwrap(), 100.0), "{speed:?}");
        assert!(forecast.samples.len() < 65);
    }

    #[test]
    fn the_time_until_the_first_come_through_does_not_count() {
        let start = Instant::now();
        let mut forecast = Forecast::new(start);
        for second in 1..=20 {
            // For ten seconds requests only name what is missing; then each settles a batch.
            let decided = if second <= 10 {
                second
            } else {
                500 * (second - 10)
            };
            let seen = Seen {
                decided,
                underway: 450,
                landed: 5 * second,
                singles: 0,
                is_waiting: false,
            };
            forecast.look(start + Duration::from_secs(second), seen);
            if second <= 10 {
                let speed = forecast.speed(|_| 5.0);
                assert_eq!(speed.and_then(|speed| speed.records), None);
            }
        }
        let speed = forecast.speed(|_| 5.0).unwrap();
        assert!(is_about(speed.records.unwrap(), 500.0), "{speed:?}");
    }

    #[test]
    fn requests_a_second_are_those_of_the_last_seconds_and_single_calls_are_noticed() {
        let start = Instant::now();
        let mut forecast = Forecast::new(start);
        for second in 1..=30_u64 {
            // Fifty batches a second, then five single calls.
            let singles = 5 * second.saturating_sub(20);
            let seen = Seen {
                decided: 5_000 * second.min(20) + singles,
                underway: 0,
                landed: 50 * second.min(20) + singles,
                singles,
                is_waiting: false,
            };
            forecast.look(start + Duration::from_secs(second), seen);
            if second == 20 {
                let speed = forecast.speed(|_| f64::INFINITY).unwrap();
                assert!(
                    is_about(speed.requests, 50.0) && !speed.is_one_by_one,
                    "{speed:?}"
                );
            }
        }
        let speed = forecast.speed(|_| f64::INFINITY).unwrap();
        assert!(
            is_about(speed.requests, 5.0) && speed.is_one_by_one,
            "{speed:?}"
        );
    }

    #[test]
    fn nothing_done_is_no_forecast() {
        let start = Instant::now();
        let mut forecast = Forecast::new(start);
        look(&mut forecast, start, 10, |_| (0, false));
        let speed = forecast.speed(|_| f64::INFINITY).unwrap();
        assert_eq!(time_for(100, &speed), None);
        look(&mut forecast, start, 200, |second| (second.min(20), false));
        let speed = forecast.speed(|_| f64::INFINITY).unwrap();
        assert_eq!(time_for(100, &speed), None, "it stands still");
    }
}
