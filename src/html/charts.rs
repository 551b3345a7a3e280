//! The chart of decisions over time: where its bars, labels, pauses and holes stand, for the template to draw.
//!
//! The bars are one SVG that is stretched to whatever room there is; all text beside it is HTML, so that no label is
//! stretched or cut. Nothing that a report says goes into it but numbers.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts and times to look at, far below 2^52"
)]

use std::fmt::Write as _;

use jiff::Timestamp;

use super::figures::Kind;
use super::timeline::{Bin, Span, Timeline};
use crate::human::grouped;
use crate::throttle::Pause;

/// The SVG's own measures.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 200.0;

/// How much of the chart's height the least of what must not be overlooked takes.
const MIN_SEEN: f64 = 0.015;

/// Labels of the time axis at most; on a phone every other one is left out.
const MAX_TIMES: i64 = 6;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Steps between labels that people count in, in units of 100 ms: from 0.1 s to 28 days.
const STEPS: [i64; 24] = [
    1, 2, 5, 10, 20, 50, 100, 150, 300, 600, 1_200, 3_000, 6_000, 9_000, 18_000, 36_000, 72_000,
    108_000, 216_000, 432_000, 864_000, 1_728_000, 6_048_000, 24_192_000,
];

/// The chart, in percent of its room where nothing else is said.
#[derive(Debug)]
pub(super) struct Chart {
    /// The bars of each kind: its class and its path.
    pub(super) bars: Vec<(&'static str, String)>,
    pub(super) times: Vec<Label>,
    /// From the bottom.
    pub(super) counts: Vec<Label>,
    pub(super) pauses: Vec<Stretch>,
    /// The time between two runs.
    pub(super) holes: Vec<Stretch>,
}

/// A label of an axis.
#[derive(Debug, PartialEq)]
pub(super) struct Label {
    pub(super) at: f64,
    pub(super) text: String,
}

/// Something that lasts.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) at: f64,
    pub(super) width: f64,
}

impl Chart {
    /// Decisions a second over a span of time, with the pauses of the run.
    pub(super) fn new(
        timeline: &Timeline<{ Kind::ALL.len() }>,
        span: Span,
        pauses: &[Pause],
    ) -> Self {
        let length = (span.end - span.begin).max(1) as f64;
        let share = |at: i64| (at.clamp(span.begin, span.end) - span.begin) as f64 / length;
        let stretch = |begin: i64, end: i64| Stretch {
            at: share(begin) * 100.0,
            width: (share(end) - share(begin)) * 100.0,
        };
        let seconds = timeline.width() as f64 / 1_000.0;
        let largest = timeline.bins().map(|bin| bin.counts.iter().sum::<u64>());
        let top = largest.max().unwrap_or(1) as f64 / seconds * 1.08;
        let pause =
            |pause: &Pause| stretch(pause.begin.as_millisecond(), pause.end.as_millisecond());
        let hole = |hole: Span| stretch(hole.begin, hole.end);
        Self {
            bars: bars(timeline, &share, top * seconds),
            times: times(span, &share),
            counts: counts(top),
            pauses: pauses.iter().map(pause).collect(),
            holes: timeline.holes().into_iter().map(hole).collect(),
        }
    }
}

/// A path for each kind. `top` is the count of a bar as high as the chart.
fn bars(
    timeline: &Timeline<{ Kind::ALL.len() }>,
    share: &dyn Fn(i64) -> f64,
    top: f64,
) -> Vec<(&'static str, String)> {
    let mut paths = [const { String::new() }; Kind::ALL.len()];
    let gap = timeline.width() / 12;
    for Bin { begin, counts } in timeline.bins() {
        let left = share(begin + gap) * WIDTH;
        let right = share(begin + timeline.width() - gap) * WIDTH;
        let mut floor = 0.0;
        for kind in Kind::ALL {
            let height = counts[kind as usize] as f64 / top;
            if height == 0.0 {
                continue;
            }
            // One failure among thousands is what the reader looks for.
            let is_trouble = kind == Kind::Unsettled;
            let ceiling = floor + height.max(if is_trouble { MIN_SEEN } else { 0.0 });
            let (bottom, up) = ((1.0 - floor) * HEIGHT, (1.0 - ceiling) * HEIGHT);
            let path = &mut paths[kind as usize];
            let _ = write!(
                path,
                "M{left:.1} {bottom:.1}V{up:.1}H{right:.1}V{bottom:.1}Z"
            );
            floor = ceiling;
        }
    }
    let classes = ["deleted", "absent", "unsettled"];
    let drawn = classes.into_iter().zip(paths);
    drawn.filter(|(_, path)| !path.is_empty()).collect()
}

/// Labels at round hours, minutes and seconds, UTC.
fn times(span: Span, share: &dyn Fn(i64) -> f64) -> Vec<Label> {
    let length = span.end - span.begin;
    let steps = STEPS.into_iter().map(|step| step * 100);
    let mut step = steps
        .filter(|step| length / step < MAX_TIMES)
        .min()
        .unwrap_or(28 * DAY);
    while length / step >= MAX_TIMES {
        step *= 2;
    }
    let format = match step {
        ..SECOND => "%H:%M:%S%.1f",
        SECOND..MINUTE => "%H:%M:%S",
        MINUTE..DAY if length <= DAY => "%H:%M",
        MINUTE..DAY => "%-d %b %H:%M",
        _ if length < 300 * DAY => "%-d %b",
        _ => "%Y-%m-%d",
    };
    let first = span.begin.div_euclid(step) * step;
    let ticks = (0..=MAX_TIMES + 1).map(|index| first + index * step);
    let ticks = ticks.filter(|at| (span.begin..=span.end).contains(at));
    let label = |at: i64| {
        let timestamp = Timestamp::from_millisecond(at).ok()?;
        Some(Label {
            at: share(at) * 100.0,
            text: timestamp.strftime(format).to_string(),
        })
    };
    ticks.filter_map(label).collect()
}

/// Labels at 1, 2 or 5 times a power of ten, up to five of them above zero.
fn counts(top: f64) -> Vec<Label> {
    let unit = 10_f64.powf((top / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * unit);
    let step = steps.into_iter().find(|step| top / step <= 5.0);
    let step = step.unwrap_or(10.0 * unit);
    let label = |index: u32| {
        let count = f64::from(index) * step;
        (count <= top).then(|| Label {
            at: count / top * 100.0,
            text: count_label(count, step),
        })
    };
    (0..=5).filter_map(label).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label of an axis that begins at zero"
)]
fn count_label(count: f64, step: f64) -> String {
    if step >= 1.0 || count == 0.0 {
        return grouped(count.round() as u64);
    }
    let digits = (-step.log10()).ceil() as usize;
    format!("{count:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_764_072_000_000;

    fn texts(labels: &[Label]) -> Vec<&str> {
        labels.iter().map(|label| label.text.as_str()).collect()
    }

    #[test]
    fn times_are_labelled_where_people_count() {
        let assert_labels = |length: i64, expected: &[&str]| {
            let span = Span {
                begin: NOON - 1,
                end: NOON + length,
            };
            assert_eq!(texts(&times(span, &|_| 0.0)), expected);
        };
        assert_labels(
            900,
            &[
                "12:00:00.0",
                "12:00:00.2",
                "12:00:00.4",
                "12:00:00.6",
                "12:00:00.8",
            ],
        );
        assert_labels(
            20 * SECOND,
            &["12:00:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20"],
        );
        assert_labels(3 * HOUR, &["12:00", "13:00", "14:00", "15:00"]);
        assert_labels(
            30 * HOUR,
            &[
                "25 Nov 12:00",
                "25 Nov 18:00",
                "26 Nov 00:00",
                "26 Nov 06:00",
                "26 Nov 12:00",
                "26 Nov 18:00",
            ],
        );
        assert_labels(3 * DAY, &["26 Nov", "27 Nov", "28 Nov"]);
    }

    #[test]
    fn however_long_it_took_labels_are_few() {
        for exponent in 0..44 {
            let span = Span {
                begin: NOON,
                end: NOON + (1 << exponent),
            };
            let labels = times(span, &|_| 0.0).len();
            assert!(labels <= 6, "{labels} labels of {} ms", 1_i64 << exponent);
        }
    }

    #[test]
    fn counts_are_labelled_at_one_two_and_five() {
        for (top, expected) in [
            (0.02, &["0", "0.005", "0.010", "0.015", "0.020"][..]),
            (1.08, &["0", "0.5", "1.0"]),
            (9.0, &["0", "2", "4", "6", "8"]),
            (5_400.0, &["0", "2,000", "4,000"]),
            (21_000.0, &["0", "5,000", "10,000", "15,000", "20,000"]),
        ] {
            assert_eq!(texts(&counts(top)), expected, "{top}");
        }
    }
}
