//! The record of pauses: when 429s made the run wait, for whoever draws it afterwards.
//!
//! It only looks back: nothing here decides who may send. Its memory is bounded; beyond that, neighbouring pauses
//! are merged.

use std::time::Duration;

use jiff::Timestamp;

use super::Endpoint;

/// More than a chart has points across.
const MAX_PAUSES: usize = 512;

/// A period in which 429s made an endpoint wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Which endpoint waited.
    pub endpoint: Endpoint,
    /// When its first 429 came.
    pub begin: Timestamp,
    /// When the wait was to end.
    pub end: Timestamp,
    /// How long it waited; less than the period's length where pauses were merged.
    pub waited: Duration,
    /// Number of 429s in it.
    pub refusals: u64,
}

/// The pauses of a run, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Pauses(Vec<Pause>);

impl Pauses {
    /// Records a 429 that extended the wait `by` this much: zero if the wait was longer already.
    pub(super) fn note(&mut self, endpoint: Endpoint, now: Timestamp, by: Duration) {
        let latest = self
            .0
            .iter_mut()
            .rfind(|pause| pause.endpoint == endpoint && pause.end > now);
        if let Some(pause) = latest {
            pause.end = later(pause.end, by);
            pause.waited += by;
            pause.refusals += 1;
            return;
        }
        self.0.push(Pause {
            endpoint,
            begin: now,
            end: later(now, by),
            waited: by,
            refusals: 1,
        });
        if self.0.len() > MAX_PAUSES {
            self.join_closest();
        }
    }

    /// All pauses up to `now`, without the wait that is still to come.
    pub(super) fn until(&self, now: Timestamp) -> Vec<Pause> {
        let mut pauses = self.0.clone();
        for pause in &mut pauses {
            let to_come = Duration::try_from(pause.end.duration_since(now)).unwrap_or_default();
            pause.waited = pause.waited.saturating_sub(to_come);
            pause.end = pause.end.min(now).max(pause.begin);
        }
        pauses
    }

    /// Merges the two neighbouring pauses of one endpoint that give the shortest period.
    fn join_closest(&mut self) {
        let next = |index: usize| {
            let endpoint = self.0[index].endpoint;
            let rest = self.0.iter().skip(index + 1);
            let offset = rest.take_while(|pause| pause.endpoint != endpoint).count();
            Some(index + 1 + offset).filter(|next| *next < self.0.len())
        };
        let closest = (0..self.0.len())
            .filter_map(|index| Some((index, next(index)?)))
            .min_by_key(|(first, second)| self.0[*second].end.duration_since(self.0[*first].begin));
        if let Some((first, second)) = closest {
            let joined = self.0.remove(second);
            let pause = &mut self.0[first];
            pause.end = joined.end;
            pause.waited += joined.waited;
            pause.refusals += joined.refusals;
        }
    }
}

fn later(timestamp: Timestamp, by: Duration) -> Timestamp {
    timestamp.checked_add(by).unwrap_or(timestamp)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_764_000_000_000 + milliseconds).unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_429_within_a_pause_prolongs_it_and_one_after_it_begins_another() {
        let mut pauses = Pauses::default();
        pauses.note(Endpoint::Delete, at(0), SECOND);
        pauses.note(Endpoint::DeleteBatch, at(100), SECOND);
        pauses.note(Endpoint::Delete, at(400), Duration::ZERO);
        pauses.note(Endpoint::Delete, at(500), Duration::from_millis(500));
        pauses.note(Endpoint::Delete, at(1500), SECOND);
        let told: Vec<_> = pauses.until(at(9000));
        assert_eq!(told.len(), 3);
        assert_eq!((told[0].begin, told[0].end), (at(0), at(1500)));
        assert_eq!(
            (told[0].waited, told[0].refusals),
            (Duration::from_millis(1500), 3)
        );
        assert_eq!((told[2].begin, told[2].refusals), (at(1500), 1));
        let cut = pauses.until(at(1700));
        assert_eq!((cut[0].end, cut[0].waited), (told[0].end, told[0].waited));
        assert_eq!(
            (cut[2].end, cut[2].waited),
            (at(1700), Duration::from_millis(200))
        );
    }

    #[test]
    fn any_number_of_pauses_keeps_its_sums_in_bounded_memory() {
        let mut pauses = Pauses::default();
        for number in 0..5_000_u32 {
            let endpoint = Endpoint::ALL[number as usize % 2];
            pauses.note(endpoint, at(i64::from(number) * 3_000), SECOND);
        }
        let told = pauses.until(at(100_000_000));
        assert!(told.len() <= MAX_PAUSES);
        assert_eq!(told.iter().map(|pause| pause.refusals).sum::<u64>(), 5_000);
        let waited: Duration = told.iter().map(|pause| pause.waited).sum();
        assert_eq!(waited, 5_000 * SECOND);
        assert!(told.is_sorted_by_key(|pause| pause.begin));
        // Even strides stay even: no stretch swallows the day.
        let longest = told.iter().map(|p| p.end.duration_since(p.begin)).max();
        assert!(longest.unwrap().as_secs() < 200, "{longest:?}");
    }
}
