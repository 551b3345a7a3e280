//! The chart of decisions over time, counted while rows are read, as paths for the template to draw.
//!
//! The bars are one SVG that is stretched to whatever room there is; all text beside it is HTML, so that no label is
//! stretched or cut. Nothing that a report says goes into it but numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

/// Fewer bars than a chart has points across, and still enough to see where it stood still.
const MAX_BARS: i64 = 160;

/// The narrowest bar, in milliseconds.
const MIN_WIDTH: i64 = 125;

/// A stretch without decisions that is shorter, in milliseconds, may be a run's own: at the slowest rate it sends one
/// request a minute.
const MIN_HOLE: i64 = 120_000;

/// A hole that is thinner than this many bars is none that a reader asks about.
const MIN_HOLE_BARS: i64 = 5;

/// How much of the chart's height the least of what must not be overlooked takes.
const MIN_SEEN: f64 = 0.015;

/// What a bar tells apart, from its bottom to its top: classes of the page.
pub(super) const KINDS: [&str; 3] = ["deleted", "absent", "unsettled"];

/// Decisions over time. Start and end need not be known beforehand: bars grow twice as wide until all fit.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Of a bar, in milliseconds.
    width: i64,
    bars: BTreeMap<i64, Bar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bar {
    counts: [u64; KINDS.len()],
    /// When the earliest of them was begun, in milliseconds since 1970.
    since: i64,
}

/// The chart, its places in percent of its room.
#[derive(Debug)]
pub(super) struct Chart {
    /// Bars, and as many bars' room as it is wide.
    pub(super) bars: i64,
    /// The bars of each kind: its class and its path in a box of that width and a height of 100.
    pub(super) paths: Vec<(&'static str, String)>,
    /// The time between two runs: from the left, and how wide.
    pub(super) holes: Vec<(f64, f64)>,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    /// What the highest bar holds.
    pub(super) most: u64,
    /// The time that a bar stands for.
    pub(super) width: Duration,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self {
            width: MIN_WIDTH,
            bars: BTreeMap::new(),
        }
    }

    /// Counts a decision of a kind at a time in milliseconds since 1970, after so many milliseconds.
    pub(super) fn add(&mut self, at: i64, duration: i64, kind: usize) {
        let mut bar = Bar {
            counts: [0; KINDS.len()],
            since: at.saturating_sub(duration),
        };
        bar.counts[kind] = 1;
        self.join(at.div_euclid(self.width), bar);
        while self
            .ends()
            .is_some_and(|(first, last)| last - first >= MAX_BARS)
        {
            self.width *= 2;
            for (place, bar) in std::mem::take(&mut self.bars) {
                self.join(place.div_euclid(2), bar);
            }
        }
    }

    fn join(&mut self, place: i64, bar: Bar) {
        let joined = self.bars.entry(place).or_insert(Bar {
            counts: [0; KINDS.len()],
            ..bar
        });
        joined.since = joined.since.min(bar.since);
        for (sum, count) in joined.counts.iter_mut().zip(bar.counts) {
            *sum += count;
        }
    }

    /// The first place and the last.
    fn ends(&self) -> Option<(i64, i64)> {
        Some((*self.bars.keys().next()?, *self.bars.keys().next_back()?))
    }

    /// The chart; `None` if nothing was counted.
    pub(super) fn chart(&self) -> Option<Chart> {
        let (first, last) = self.ends()?;
        let time = |place: i64| Timestamp::from_millisecond(place.saturating_mul(self.width)).ok();
        let sums = self.bars.values().map(|bar| bar.counts.iter().sum());
        let most = sums.max().unwrap_or(0);
        Some(Chart {
            bars: last - first + 1,
            paths: self.paths(first, most),
            holes: self.holes(first, last),
            begin: time(first)?,
            end: time(last + 1)?,
            most,
            width: Duration::from_millis(self.width.unsigned_abs()),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts to look at")]
    fn paths(&self, first: i64, most: u64) -> Vec<(&'static str, String)> {
        let mut paths = KINDS.map(|kind| (kind, String::new()));
        for (place, bar) in &self.bars {
            let mut floor = 0.0;
            for (count, (kind, path)) in bar.counts.iter().zip(&mut paths) {
                let height = *count as f64 / most as f64;
                // One failure among thousands is what the reader looks for.
                let is_small = *kind == "unsettled" && *count > 0;
                let ceiling = floor + height.max(if is_small { MIN_SEEN } else { 0.0 });
                if *count > 0 {
                    let (left, bottom, top) = (
                        place - first,
                        (1.0 - floor) * 100.0,
                        (1.0 - ceiling) * 100.0,
                    );
                    let _ = write!(path, "M{left}.1 {bottom:.1}V{top:.1}h.8V{bottom:.1}Z");
                }
                floor = ceiling;
            }
        }
        paths
            .into_iter()
            .filter(|(_, path)| !path.is_empty())
            .collect()
    }

    /// Long stretches in which nothing was decided and nothing was under way.
    #[expect(clippy::cast_precision_loss, reason = "places to look at")]
    fn holes(&self, first: i64, last: i64) -> Vec<(f64, f64)> {
        let percent = |bars: i64| bars as f64 * 100.0 / (last - first + 1) as f64;
        let mut holes = Vec::new();
        let (mut since, mut later) = (i64::MAX, last);
        for (place, bar) in self.bars.iter().rev() {
            let (begin, bars) = (place + 1, later - place - 1);
            let is_wide = bars >= MIN_HOLE_BARS && bars.saturating_mul(self.width) >= MIN_HOLE;
            if is_wide && since >= begin.saturating_mul(self.width) {
                holes.push((percent(begin - first), percent(bars)));
            }
            since = since.min(bar.since);
            later = *place;
        }
        holes
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn timeline(times: impl IntoIterator<Item = i64>) -> Timeline {
        let mut timeline = Timeline::new();
        times.into_iter().for_each(|time| timeline.add(time, 0, 0));
        timeline
    }

    #[test]
    fn bars_grow_until_all_times_fit_and_lose_none_in_whatever_order() {
        for last in [0, 20_000, 3_600_000, DAY, 1_000 * DAY, i64::MAX / 4] {
            let step = usize::try_from((last / 1_000).max(1)).unwrap();
            let times: Vec<i64> = (-5..=last).step_by(step).collect();
            let forwards = timeline(times.iter().copied());
            let backwards = timeline(times.iter().rev().copied());
            assert_eq!(forwards.bars, backwards.bars, "{last}");
            assert!(forwards.bars.len() <= 160, "{last}");
            let sum: u64 = forwards.bars.values().map(|bar| bar.counts[0]).sum();
            assert_eq!(sum, times.len() as u64);
        }
    }

    #[test]
    fn the_highest_bar_is_as_high_as_the_chart_and_a_failure_is_never_too_small_to_see() {
        let mut timeline = timeline([0; 1_000]);
        timeline.add(250, 0, 2);
        timeline.add(250, 0, 0);
        let chart = timeline.chart().unwrap();
        assert_eq!((chart.bars, chart.most), (3, 1_000));
        let paths = [
            (
                "deleted",
                "M0.1 100.0V0.0h.8V100.0ZM2.1 100.0V99.9h.8V100.0Z".to_owned(),
            ),
            ("unsettled", "M2.1 99.9V98.4h.8V99.9Z".to_owned()),
        ];
        assert_eq!(chart.paths, paths);
        let length = chart.end.as_millisecond() - chart.begin.as_millisecond();
        assert_eq!(length, 375);
    }

    #[test]
    fn a_hole_is_between_runs_unless_something_was_under_way_in_it() {
        let run = |begin: i64| (0..100).map(move |second| begin + second * 1_000);
        let holes = |timeline: &Timeline| timeline.chart().unwrap().holes.len();
        let mut two_runs = timeline(run(0).chain(run(DAY)));
        assert_eq!(holes(&two_runs), 1);
        two_runs.add(DAY + 50_000, DAY, 0);
        assert_eq!(holes(&two_runs), 0);
        assert_eq!(holes(&timeline(run(0))), 0);
        // One request a minute is a slow run, not many of them.
        assert_eq!(holes(&timeline((0..30).map(|minute| minute * 60_000))), 0);
    }
}
