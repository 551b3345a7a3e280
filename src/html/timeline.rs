//! The time axis: counts in bins of one width, which grows until all times fit into a bounded number of them.

use std::collections::BTreeMap;

/// Fewer points than a chart has across, and still enough to see a pause.
const MOST_BINS: i64 = 180;

/// Widths that people count in, in milliseconds; each divides the next, so that bins can be joined.
const WIDTHS: [i64; 16] = [
    100,
    500,
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    7_200_000,
    21_600_000,
    43_200_000,
    86_400_000,
    7 * 86_400_000,
];

/// Counts of `KINDS` kinds over time. Start and end need not be known beforehand.
#[derive(Debug)]
pub(super) struct Timeline<const KINDS: usize> {
    width: i64,
    bins: BTreeMap<i64, [u64; KINDS]>,
}

/// The counts of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bin<const KINDS: usize> {
    /// In milliseconds since 1970.
    pub(super) begin: i64,
    pub(super) counts: [u64; KINDS],
}

impl<const KINDS: usize> Timeline<KINDS> {
    pub(super) fn new() -> Self {
        Self {
            width: WIDTHS[0],
            bins: BTreeMap::new(),
        }
    }

    /// Counts one of a kind at a time in milliseconds since 1970.
    pub(super) fn add(&mut self, milliseconds: i64, kind: usize) {
        let bin = milliseconds.div_euclid(self.width);
        let is_new = !self.bins.contains_key(&bin);
        self.bins.entry(bin).or_insert([0; KINDS])[kind] += 1;
        while is_new && self.span() > MOST_BINS {
            self.widen();
        }
    }

    /// The width of a bin in milliseconds.
    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// Bins that hold something, in order.
    pub(super) fn bins(&self) -> impl Iterator<Item = Bin<KINDS>> + '_ {
        self.bins.iter().map(|(bin, counts)| Bin {
            begin: bin * self.width,
            counts: *counts,
        })
    }

    fn span(&self) -> i64 {
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
            let joined = self
                .bins
                .entry(bin.div_euclid(factor))
                .or_insert([0; KINDS]);
            for (sum, count) in joined.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(times: impl IntoIterator<Item = i64>) -> Timeline<1> {
        let mut timeline = Timeline::new();
        times.into_iter().for_each(|time| timeline.add(time, 0));
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
        let day = 86_400_000;
        for (last, width) in [
            (0, 100),
            (17_999, 100),
            (18_000, 500),
            (90_000, 1_000),
            (3_600_000, 30_000),
            (day, 600_000),
            (1_000 * day, 7 * day),
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
        assert_eq!(
            forwards[0],
            Bin {
                begin: -5_000,
                counts: [2]
            }
        );
    }
}
