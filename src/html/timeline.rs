//! The time axis: counts in bins of one width, which grows until all times fit into a bounded number of them.

use std::collections::BTreeMap;

/// Fewer points than a chart has across, and still enough to see a pause.
const MAX_BINS: i64 = 180;

/// The narrowest bin, in milliseconds.
const MIN_WIDTH: i64 = 100;

/// Widths that people count in, from a tenth of a second to a week, in units of [`MIN_WIDTH`]; each divides the
/// next, so that bins can be joined.
const WIDTHS: [i64; 16] = [
    1, 5, 10, 50, 100, 300, 600, 3_000, 6_000, 18_000, 36_000, 72_000, 216_000, 432_000, 864_000,
    6_048_000,
];

/// A hole that is shorter than this, in milliseconds, may be a run's own: at the slowest rate it sends one a minute.
const MIN_HOLE: i64 = 120_000;

/// A hole that is thinner than this many bins is none that a reader asks about.
const MIN_HOLE_BINS: i64 = 5;

/// Counts of `KINDS` kinds over time. Start and end need not be known beforehand.
#[derive(Debug)]
pub(super) struct Timeline<const KINDS: usize> {
    /// In units of [`MIN_WIDTH`].
    width: i64,
    bins: BTreeMap<i64, Counts<KINDS>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts<const KINDS: usize> {
    counts: [u64; KINDS],
    /// When the earliest of them was begun.
    since: i64,
}

/// The counts of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bin<const KINDS: usize> {
    /// In milliseconds since 1970.
    pub(super) begin: i64,
    pub(super) counts: [u64; KINDS],
}

/// A stretch of time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: i64,
    pub(super) end: i64,
}

impl<const KINDS: usize> Timeline<KINDS> {
    pub(super) fn new() -> Self {
        Self {
            width: WIDTHS[0],
            bins: BTreeMap::new(),
        }
    }

    /// Counts one of a kind that ended at a time in milliseconds since 1970, after so many milliseconds.
    pub(super) fn add(&mut self, ended: i64, duration: i64, kind: usize) {
        let bin = ended.div_euclid(self.width());
        let is_new = !self.bins.contains_key(&bin);
        let since = ended.saturating_sub(duration);
        let counts = self.bins.entry(bin).or_insert(Counts::none(since));
        counts.counts[kind] += 1;
        counts.since = counts.since.min(since);
        while is_new && self.length() > MAX_BINS {
            self.widen();
        }
    }

    /// The width of a bin in milliseconds.
    pub(super) fn width(&self) -> i64 {
        self.width * MIN_WIDTH
    }

    /// Bins that hold something, in order.
    pub(super) fn bins(&self) -> impl Iterator<Item = Bin<KINDS>> + '_ {
        self.bins.iter().map(|(bin, counts)| Bin {
            begin: bin * self.width(),
            counts: counts.counts,
        })
    }

    /// From the first bin to the last; `None` if nothing was counted.
    pub(super) fn span(&self) -> Option<Span> {
        let (first, last) = (self.bins.keys().next()?, self.bins.keys().next_back()?);
        Some(Span {
            begin: first * self.width(),
            end: (last + 1) * self.width(),
        })
    }

    /// Long stretches in which nothing ended and nothing was under way: the time between two runs.
    pub(super) fn holes(&self) -> Vec<Span> {
        let mut holes = Vec::new();
        let mut since = i64::MAX;
        let mut later: Option<i64> = None;
        for (bin, counts) in self.bins.iter().rev() {
            if let Some(later) = later {
                let hole = Span {
                    begin: (bin + 1) * self.width(),
                    end: later * self.width(),
                };
                let is_wide = later - bin > MIN_HOLE_BINS && hole.end - hole.begin >= MIN_HOLE;
                if is_wide && since >= hole.begin {
                    holes.push(hole);
                }
            }
            later = Some(*bin);
            since = since.min(counts.since);
        }
        holes.reverse();
        holes
    }

    /// Bins from the first to the last.
    fn length(&self) -> i64 {
        match (self.bins.first_key_value(), self.bins.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last - first + 1,
            _ => 0,
        }
    }

    fn widen(&mut self) {
        let wider = WIDTHS.into_iter().find(|width| *width > self.width);
        let wider = wider.unwrap_or(self.width * 2);
        let factor = wider / self.width;
        self.width = wider;
        for (bin, counts) in std::mem::take(&mut self.bins) {
            let bin = bin.div_euclid(factor);
            let joined = self.bins.entry(bin).or_insert(Counts::none(counts.since));
            joined.since = joined.since.min(counts.since);
            for (sum, count) in joined.counts.iter_mut().zip(counts.counts) {
                *sum += count;
            }
        }
    }
}

impl<const KINDS: usize> Counts<KINDS> {
    const fn none(since: i64) -> Self {
        Self {
            counts: [0; KINDS],
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn timeline(times: impl IntoIterator<Item = i64>) -> Timeline<1> {
        let mut timeline = Timeline::new();
        times.into_iter().for_each(|time| timeline.add(time, 0, 0));
        timeline
    }

    #[test]
    fn each_width_divides_the_next() {
        for pair in WIDTHS.windows(2) {
            assert_eq!(pair[1] % pair[0], 0, "{pair:?}");
        }
    }

    #[test]
    fn bins_grow_until_all_times_fit_and_lose_none() {
        for (last, width) in [
            (0, 100),
            (17_999, 100),
            (18_000, 500),
            (90_000, 1_000),
            (3_600_000, 30_000),
            (DAY, 600_000),
            (1_000 * DAY, 7 * DAY),
        ] {
            let step = (last / 1_000).max(1);
            let times: Vec<i64> = (0..=last)
                .step_by(usize::try_from(step).unwrap_or(1))
                .collect();
            let timeline = timeline(times.iter().copied());
            let bins: Vec<_> = timeline.bins().collect();
            assert!(bins.len() <= 180, "{last}");
            assert_eq!(timeline.width(), width, "{last}");
            let sum: u64 = bins.iter().map(|bin| bin.counts[0]).sum();
            assert_eq!(sum, times.len() as u64);
        }
    }

    #[test]
    fn any_two_times_fit() {
        let bins: Vec<_> = timeline([i64::MIN / 4, i64::MAX / 4]).bins().collect();
        assert_eq!(bins.len(), 2);
    }

    #[test]
    fn the_order_of_times_does_not_matter_and_years_before_1970_count() {
        let times = [-5_000, 40_000, 1, 40_001, -4_999, 90_000];
        let forwards: Vec<_> = timeline(times).bins().collect();
        let backwards: Vec<_> = timeline(times.into_iter().rev()).bins().collect();
        assert_eq!(forwards, backwards);
        let first = Bin {
            begin: -5_000,
            counts: [2],
        };
        assert_eq!(forwards[0], first);
    }

    #[test]
    fn a_hole_is_between_runs_unless_something_was_under_way_in_it() {
        let run = |begin: i64| (0..100).map(move |second| begin + second * 1_000);
        let mut two_runs = timeline(run(0).chain(run(DAY)));
        let width = two_runs.width();
        let hole = Span {
            begin: width,
            end: DAY,
        };
        assert_eq!(two_runs.holes(), [hole]);
        two_runs.add(DAY + 50_000, DAY, 0);
        assert_eq!(two_runs.holes(), []);
        assert_eq!(timeline(run(0)).holes(), []);
        // One request a minute is a slow run, not many of them.
        let slow = timeline((0..30).map(|minute| minute * 60_000));
        assert_eq!(slow.holes(), []);
    }
}
