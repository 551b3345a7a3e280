//! How long decisions took: counts of durations at two significant digits, and bins of a logarithmic axis.

use std::collections::BTreeMap;
use std::time::Duration;

/// Where the bins of a decade begin; on the grid of two digits, so that no bin is cut by the rounding.
const BOUNDS: [u64; 6] = [10, 15, 20, 30, 50, 70];

/// Durations in milliseconds, cut to two significant digits: some hundred counts, whatever comes.
#[derive(Debug, Default)]
pub(super) struct Durations {
    counts: BTreeMap<u64, u64>,
    total: u64,
    longest: Duration,
}

/// A bin of the logarithmic axis, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DurationBin {
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) count: u64,
}

impl Durations {
    pub(super) fn add(&mut self, duration: Duration) {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        *self.counts.entry(cut(milliseconds)).or_default() += 1;
        self.total += 1;
        self.longest = self.longest.max(duration);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The longest, exact.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// What so many of a hundred do not exceed, at two digits; zero if there is none.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (milliseconds, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Duration::from_millis(*milliseconds);
            }
        }
        Duration::ZERO
    }

    /// All bins from the first to the last that hold something.
    pub(super) fn bins(&self) -> Vec<DurationBin> {
        let (Some((first, _)), Some((last, _))) =
            (self.counts.first_key_value(), self.counts.last_key_value())
        else {
            return Vec::new();
        };
        let mut bins = vec![bin_of(*first)];
        while let Some(bin) = bins.last().filter(|bin| bin.end <= *last) {
            bins.push(bin_of(bin.end));
        }
        for bin in &mut bins {
            bin.count = self
                .counts
                .range(bin.begin..bin.end)
                .map(|(_, count)| count)
                .sum();
        }
        bins
    }
}

fn cut(milliseconds: u64) -> u64 {
    let unit = decade(milliseconds);
    milliseconds / unit * unit
}

/// The power of ten by which a number has two digits before the point; 1 for less than 100.
fn decade(milliseconds: u64) -> u64 {
    10_u64.pow(milliseconds.checked_ilog10().unwrap_or(0).saturating_sub(1))
}

/// The empty bin around a duration.
fn bin_of(milliseconds: u64) -> DurationBin {
    let digits = |number: u64| BOUNDS.partition_point(|bound| *bound <= number) - 1;
    let (begin, end) = match milliseconds {
        0 => (0, 1),
        1 => (1, 2),
        2 => (2, 3),
        3..5 => (3, 5),
        5..7 => (5, 7),
        7..10 => (7, 10),
        _ => {
            let unit = decade(milliseconds);
            let index = digits(milliseconds / unit);
            let end = BOUNDS.get(index + 1).copied().unwrap_or(100);
            (BOUNDS[index] * unit, end.saturating_mul(unit))
        }
    };
    DurationBin {
        begin,
        end,
        count: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(milliseconds: impl IntoIterator<Item = u64>) -> Durations {
        let mut durations = Durations::default();
        for milliseconds in milliseconds {
            durations.add(Duration::from_millis(milliseconds));
        }
        durations
    }

    #[test]
    fn a_duration_falls_into_the_bin_that_begins_before_it() {
        for (milliseconds, begin, end) in [
            (0, 0, 1),
            (1, 1, 2),
            (4, 3, 5),
            (9, 7, 10),
            (10, 10, 15),
            (14, 10, 15),
            (15, 15, 20),
            (99, 70, 100),
            (100, 100, 150),
            (149, 100, 150),
            (699, 500, 700),
            (700, 700, 1_000),
            (60_000, 50_000, 70_000),
        ] {
            let bins = durations([milliseconds]).bins();
            let expected = DurationBin {
                begin,
                end,
                count: 1,
            };
            assert_eq!(bins, [expected], "{milliseconds}");
        }
    }

    #[test]
    fn bins_follow_each_other_without_a_gap_and_hold_all() {
        let durations = durations((0..100_000).chain([u64::MAX / 1_000]));
        let bins = durations.bins();
        for pair in bins.windows(2) {
            assert_eq!(pair[0].end, pair[1].begin);
        }
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), 100_001);
        assert!(durations.counts.len() < 600);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank_and_the_longest_is_exact() {
        let durations = durations(1..=100);
        assert_eq!(durations.percentile(50), Duration::from_millis(50));
        assert_eq!(durations.percentile(95), Duration::from_millis(95));
        assert_eq!(durations.longest(), Duration::from_millis(100));
        assert_eq!(Durations::default().percentile(50), Duration::ZERO);
    }
}
