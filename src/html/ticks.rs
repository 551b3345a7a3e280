//! Where an axis is labelled, and how: times at round hours, minutes and seconds, durations at 1, 2 and 5.

use std::ops::RangeInclusive;

use jiff::Timestamp;

use super::chart::Span;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Steps between labels that people count in.
const STEPS: [i64; 24] = [
    100,
    200,
    500,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
];

/// Labels of a time axis, UTC.
#[derive(Debug)]
pub(super) struct Ticks {
    /// In milliseconds since 1970.
    pub(super) at: Vec<i64>,
    format: &'static str,
}

impl Ticks {
    /// At most so many labels, but at least two where there is room for them.
    pub(super) fn new(span: Span, most: u32) -> Self {
        let length = span.end - span.begin;
        let most = i64::from(most.max(2));
        let fits = |step: &i64| length / step < most;
        let mut step = STEPS.into_iter().find(fits).unwrap_or(28 * DAY);
        while !fits(&step) {
            step *= 2;
        }
        let first = span.begin.div_euclid(step) * step;
        let ticks = (0..).map(|index| first + index * step);
        let at = ticks
            .skip_while(|at| *at < span.begin)
            .take_while(|at| *at <= span.end)
            .collect();
        let format = match step {
            ..SECOND => "%H:%M:%S%.1f",
            SECOND..MINUTE => "%H:%M:%S",
            MINUTE..DAY if length <= DAY => "%H:%M",
            MINUTE..DAY => "%-d %b %H:%M",
            _ if length < 300 * DAY => "%-d %b",
            _ => "%Y-%m-%d",
        };
        Self { at, format }
    }

    pub(super) fn label(&self, at: i64) -> String {
        Timestamp::from_millisecond(at)
            .map(|timestamp| timestamp.strftime(self.format).to_string())
            .unwrap_or_default()
    }
}

/// Places of a logarithmic axis from one power of ten to the next: whole numbers, as the plotting library labels
/// no others where it is told to.
pub(super) const DECADE: i64 = 1_000;

/// Places at 1, 2 and 5 of each decade of milliseconds, or at 1 only where these are too many.
pub(super) fn decades(shown: RangeInclusive<i64>, most: u32) -> Vec<i64> {
    let places = |digits: &[i64]| -> Vec<i64> {
        let decades = (0..=20).map(|decade| decade * DECADE);
        decades
            .flat_map(|decade| digits.iter().map(move |digit| decade + digit))
            .filter(|place| shown.contains(place))
            .collect()
    };
    let all = places(&[0, 301, 699]);
    if all.len() <= most as usize {
        all
    } else {
        places(&[0])
    }
}

/// A duration at a place of the logarithmic axis: `20 ms`, `5 s`.
pub(super) fn duration_label(place: i64) -> String {
    let thousands = usize::try_from(place / (3 * DECADE)).unwrap_or(0);
    let digits = match place.rem_euclid(DECADE) {
        0 => 1,
        301 => 2,
        _ => 5,
    };
    let zeros = "0".repeat(usize::try_from(place / DECADE % 3).unwrap_or(0));
    let unit = ["ms", "s", "ks", "Ms", "Gs", "Ts", "Ps"].get(thousands);
    format!("{digits}{zeros} {}", unit.unwrap_or(&"s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_764_072_000_000;

    fn labels(length: i64, most: u32) -> Vec<String> {
        let span = Span {
            begin: NOON - 1,
            end: NOON + length,
        };
        let ticks = Ticks::new(span, most);
        ticks.at.iter().map(|at| ticks.label(*at)).collect()
    }

    #[test]
    fn times_are_labelled_where_people_count() {
        assert_eq!(
            labels(900, 5),
            [
                "12:00:00.0",
                "12:00:00.2",
                "12:00:00.4",
                "12:00:00.6",
                "12:00:00.8"
            ]
        );
        assert_eq!(
            labels(20 * SECOND, 5),
            ["12:00:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20"]
        );
        assert_eq!(labels(3 * HOUR, 4), ["12:00", "13:00", "14:00", "15:00"]);
        assert_eq!(
            labels(30 * HOUR, 4),
            ["25 Nov 12:00", "26 Nov 00:00", "26 Nov 12:00"]
        );
        assert_eq!(labels(3 * DAY, 4), ["26 Nov", "27 Nov", "28 Nov"]);
        assert!(labels(20_000 * DAY, 4).len() <= 4);
    }

    #[test]
    fn durations_are_labelled_at_one_two_and_five_or_at_one() {
        let labels = |shown, most| -> Vec<String> {
            decades(shown, most)
                .into_iter()
                .map(duration_label)
                .collect()
        };
        assert_eq!(
            labels(1_200..=2_800, 6),
            ["20 ms", "50 ms", "100 ms", "200 ms", "500 ms"]
        );
        assert_eq!(
            labels(0..=4_800, 6),
            ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]
        );
        assert_eq!(
            labels(5_000..=6_000, 6),
            ["100 s", "200 s", "500 s", "1 ks"]
        );
    }
}
