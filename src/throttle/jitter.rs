//! How unevenly requests arrive, estimated from round trips as TCP does for its time-outs (RFC 6298). Arithmetic only.

use std::time::Duration;

/// Smoothed mean and deviation of round-trip times.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Jitter {
    mean: Option<f64>,
    deviation: f64,
}

impl Jitter {
    pub(super) fn observe(&mut self, round_trip: Duration) {
        let round_trip = round_trip.as_secs_f64();
        let mean = *self.mean.get_or_insert(round_trip);
        // A hung request says nothing of the others.
        let error = (round_trip - mean).clamp(-mean, mean);
        self.deviation += (error.abs() - self.deviation) / 8.0;
        self.mean = Some(mean + error / 8.0);
    }

    /// How much to lengthen a window so that a fast request does not overtake a slow one into the same interval.
    pub(super) fn guard(&self) -> Duration {
        Duration::from_millis(2) + Duration::from_secs_f64(3.0 * self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_follows_how_uneven_the_round_trips_are() {
        let mut jitter = Jitter::default();
        for _ in 0..100 {
            jitter.observe(Duration::from_millis(50));
        }
        assert_eq!(jitter.guard(), Duration::from_millis(2));
        for round in 0..1000 {
            jitter.observe(Duration::from_millis(if round % 2 == 0 { 40 } else { 60 }));
        }
        let guard = jitter.guard().as_millis();
        assert!((28..=36).contains(&guard), "{guard} ms for 10 ms each way");
        jitter.observe(Duration::from_mins(1));
        assert!(
            jitter.guard() < Duration::from_millis(60),
            "one hung request is not the rule"
        );
    }
}
