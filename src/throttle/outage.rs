//! The outage: when the API as a whole fails, the run slows to probing. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

/// So many different groups must fail in a row: one bad group alone is no outage.
const GROUPS_IN_A_ROW: usize = 8;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Failures further apart do not belong together: an input that gives a line now and then is no outage. Longer than
/// any wait between two attempts.
const MAX_SILENCE: Duration = Duration::from_mins(10);

/// Watches failures in a row.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failing: Vec<u64>,
    /// Since when nothing has succeeded.
    since: Option<Instant>,
    last_failure: Option<Instant>,
    probe: Option<Probe>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    wait: Duration,
    next_try: Instant,
}

impl Outage {
    pub(super) fn succeeded(&mut self) {
        self.failing.clear();
        self.since = None;
        self.last_failure = None;
        self.probe = None;
    }

    /// A group's attempt failed; whether this is an outage now. `random` from 0 to 1 spreads the probes.
    pub(super) fn failed(&mut self, group: u64, now: Instant, random: f64) -> bool {
        self.unanswered(now);
        if !self.failing.contains(&group) && self.failing.len() < GROUPS_IN_A_ROW {
            self.failing.push(group);
        }
        if self.failing.len() == GROUPS_IN_A_ROW {
            let wait = self
                .probe
                .map_or(FIRST_WAIT, |probe| (probe.wait * 2).min(MAX_WAIT));
            let jittered = wait.mul_f64(1.0 - random / 4.0);
            // Requests that were in flight when it began come down together: they are one failure.
            if self.probe.is_none_or(|probe| probe.next_try <= now) {
                self.probe = Some(Probe {
                    wait,
                    next_try: now + jittered,
                });
            }
        }
        self.probe.is_some()
    }

    /// Something else than a success came: an endless 429, say.
    pub(super) fn unanswered(&mut self, now: Instant) {
        let is_stale = self
            .last_failure
            .is_some_and(|last| now.duration_since(last) > MAX_SILENCE);
        if is_stale {
            self.since = None;
        }
        self.since.get_or_insert(now);
        self.last_failure = Some(now);
    }

    /// When the next probe may leave; `None` outside of an outage.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.probe.map(|probe| probe.next_try)
    }

    /// Since when nothing has succeeded; `None` while things go well.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn eight_different_groups_in_a_row_are_an_outage_and_one_bad_group_is_none() {
        let now = Instant::now();
        let mut outage = Outage::default();
        for _ in 0..100 {
            assert!(!outage.failed(1, now, 0.0), "the same group over and over");
        }
        for group in 2..8 {
            assert!(!outage.failed(group, now, 0.0));
        }
        assert!(outage.failed(8, now, 0.0));
        outage.succeeded();
        assert!(
            !outage.failed(9, now, 0.0),
            "a success ends it and starts the count anew"
        );
    }

    #[test]
    fn failures_far_apart_do_not_belong_together() {
        let start = Instant::now();
        let mut outage = Outage::default();
        outage.failed(1, start, 0.0);
        let soon = start + MAX_SILENCE;
        outage.failed(2, soon, 0.0);
        assert_eq!(outage.since(), Some(start));
        let later = soon + MAX_SILENCE + FIRST_WAIT;
        outage.failed(3, later, 0.0);
        assert_eq!(outage.since(), Some(later));
    }

    #[test]
    fn probes_wait_longer_each_time_up_to_ten_seconds() {
        let mut now = Instant::now();
        let mut outage = Outage::default();
        assert!((0..8).any(|group| outage.failed(group, now, 0.0)));
        let mut waits = Vec::new();
        for _ in 0..7 {
            let next_try = outage.next_try().unwrap();
            waits.push((next_try - now).as_millis());
            outage.failed(99, now, 0.0);
            assert_eq!(
                outage.next_try(),
                Some(next_try),
                "what was in flight already changes nothing"
            );
            now = next_try;
            outage.failed(99, now, 0.0);
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }
}
