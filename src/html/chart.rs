//! The chart of decisions over time, counted while rows are read, as paths for the template to draw.
//!
//! The bars are one SVG that is stretched to whatever room there is; all text beside it is HTML, so that no label is
//! stretched or cut. Nothing that a report says goes into it but numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// Fewer bars than a chart has points across, and still enough to see where it stood still.
const MAX_BARS: i64 = 160;

/// A stretch without decisions that is shorter, in seconds, may be a run's own: at the slowest rate it sends one
/// request a minute.
const MIN_HOLE: i64 = 120;

/// A hole that is thinner than this many bars is none that a reader asks about.
const MIN_HOLE_BARS: i64 = 5;

/// What a bar tells apart, from its bottom to its top: classes of the page.
pub(super) const KINDS: [&str; 3] = ["deleted", "absent", "unsettled"];

/// Records of each kind.
type Bar = [u64; KINDS.len()];

/// Decisions by the second since 1970, and when the earliest of those was begun.
#[derive(Debug, Default)]
pub(super) struct Timeline(BTreeMap<i64, (Bar, i64)>);

/// The chart, in a box that is as wide as it has bars, and as high as the highest of them.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) bars: usize,
    /// What the highest bar holds.
    pub(super) most: u64,
    /// The bars of each kind: its class and its path.
    pub(super) paths: Vec<(&'static str, String)>,
    /// The time between two runs: from the left, and how wide, in percent.
    pub(super) holes: Vec<(i64, i64)>,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    /// The time that a bar stands for.
    pub(super) width: Duration,
}

impl Timeline {
    /// Counts a decision of a kind, and how long it took.
    pub(super) fn add(&mut self, at: Timestamp, took: Duration, kind: usize) {
        let second = at.as_second();
        let begun = second.saturating_sub_unsigned(took.as_secs());
        let (counts, since) = self.0.entry(second).or_insert(([0; KINDS.len()], begun));
        counts[kind] += 1;
        *since = begun.min(*since);
    }

    /// The chart; `None` if nothing was counted.
    pub(super) fn chart(&self) -> Option<Chart> {
        let (first, last) = (*self.0.keys().next()?, *self.0.keys().next_back()?);
        let width = (last - first) / MAX_BARS + 1;
        let mut bars: Vec<Bar> = Vec::new();
        for (second, (counts, _)) in &self.0 {
            let bar = usize::try_from((second - first) / width).ok()?;
            bars.resize(bar + 1, [0; KINDS.len()]);
            for (sum, count) in bars[bar].iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let most = bars.iter().map(|counts| counts.iter().sum()).max()?;
        let path = |kind| (KINDS[kind], path(&bars, kind, most));
        let paths = (0..KINDS.len()).map(path);
        let span = width * i64::try_from(bars.len()).ok()?;
        Some(Chart {
            most,
            paths: paths.filter(|(_, path)| !path.is_empty()).collect(),
            holes: self.holes(first, span, MIN_HOLE.max(width * MIN_HOLE_BARS)),
            begin: Timestamp::from_second(first).ok()?,
            end: Timestamp::from_second(first + span).ok()?,
            width: Duration::from_secs(width.unsigned_abs()),
            bars: bars.len(),
        })
    }

    /// Long stretches in which nothing was decided and nothing was under way.
    fn holes(&self, first: i64, span: i64, min: i64) -> Vec<(i64, i64)> {
        let mut holes = Vec::new();
        let (mut later, mut under_way_since) = (i64::MIN, i64::MAX);
        for (second, (_, begun)) in self.0.iter().rev() {
            let length = later.saturating_sub(*second);
            if length >= min && under_way_since > *second {
                holes.push(((second + 1 - first) * 100 / span, length * 100 / span));
            }
            (later, under_way_since) = (*second, under_way_since.min(*begun));
        }
        holes
    }
}

/// The bars of one kind, each on top of those before it.
fn path(bars: &[Bar], kind: usize, most: u64) -> String {
    let drawn = bars.iter().enumerate();
    let drawn = drawn.filter(|(_, counts)| counts[kind] > 0);
    let draw = |(left, counts): (usize, &Bar)| {
        let bottom = most - counts[..kind].iter().sum::<u64>();
        // However few they are, they are to be seen: one failure among thousands is what the reader looks for.
        let height = counts[kind].max(most / 64);
        format!("M{left}.1 {bottom}v-{height}h.8v{height}Z")
    };
    drawn.map(draw).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_is_as_high_as_the_chart_and_a_failure_is_never_too_small_to_see() {
        let mut timeline = Timeline::default();
        let mut add = |second, kind| {
            let at = Timestamp::from_second(second).unwrap();
            timeline.add(at, Duration::ZERO, kind);
        };
        (0..1_000).for_each(|_| add(0, 0));
        add(320, 2);
        add(320, 0);
        let chart = timeline.chart().unwrap();
        assert_eq!(
            (chart.bars, chart.most, chart.width.as_secs()),
            (107, 1_000, 3)
        );
        let paths = [
            (
                "deleted",
                "M0.1 1000v-1000h.8v1000ZM106.1 1000v-15h.8v15Z".to_owned(),
            ),
            ("unsettled", "M106.1 999v-15h.8v15Z".to_owned()),
        ];
        assert_eq!(chart.paths, paths);
        assert_eq!((chart.begin.as_second(), chart.end.as_second()), (0, 321));
    }
}
