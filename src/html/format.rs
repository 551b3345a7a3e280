//! How figures read on the page: numbers, shares and times.

use std::borrow::Borrow;
use std::fmt;

use jiff::Timestamp;

use crate::human::grouped;

/// A number for people, with its bare value for whoever reads the page by machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        let shown = grouped(*number);
        write!(formatter, "<data value=\"{number}\">{shown}</data>")
    }
}

/// It is markup of our own, with nothing but digits in it.
impl askama::filters::HtmlSafe for Number {}

/// A time for people, UTC to the second, with its exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(timestamp) = self;
        let shown = timestamp.strftime("%Y-%m-%d %H:%M:%S");
        write!(
            formatter,
            "<time datetime=\"{timestamp:.3}\">{shown}</time>"
        )
    }
}

/// It is markup of our own, with nothing but a time in it.
impl askama::filters::HtmlSafe for Time {}

/// A number as the template holds it, by value or by reference.
pub(super) fn number(number: impl Borrow<u64>) -> Number {
    Number(*number.borrow())
}

/// A time, likewise.
pub(super) fn time(timestamp: impl Borrow<Timestamp>) -> Time {
    Time(*timestamp.borrow())
}

/// A share in percent. Neither nothing nor everything is said of what is neither.
pub(super) fn share(part: u64, whole: u64) -> String {
    let thousandths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole.max(1));
    match thousandths {
        0 if part > 0 => "< 0.1 %".into(),
        1000 if part < whole => "> 99.9 %".into(),
        _ => format!("{}.{} %", thousandths / 10, thousandths % 10),
    }
}

/// The width of a bar in time: `0.5 s`, `10 min`, `1 day`.
pub(super) fn width(milliseconds: i64) -> String {
    const DAY: i64 = 86_400_000;
    match milliseconds {
        ..1_000 => format!("0.{} s", milliseconds / 100),
        1_000..60_000 => format!("{} s", milliseconds / 1_000),
        60_000..3_600_000 => format!("{} min", milliseconds / 60_000),
        3_600_000..DAY => format!("{} h", milliseconds / 3_600_000),
        DAY => "1 day".into(),
        _ => format!("{} days", milliseconds / DAY),
    }
}

/// A message without markup: the title of a page, or what stands between its tags.
pub(super) fn without_markup(message: &str) -> String {
    let is_tag =
        |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || "!/?".contains(c));
    if !message
        .match_indices('<')
        .any(|(at, _)| is_tag(&message[at + 1..]))
    {
        return message.to_owned();
    }
    let lower = message.to_ascii_lowercase();
    let title = lower
        .split_once("<title>")
        .map(|(before, _)| before.len() + "<title>".len());
    let text = title.map_or(message, |begin| {
        let end = lower[begin..]
            .find('<')
            .map_or(message.len(), |end| begin + end);
        &message[begin..end]
    });
    let mut pieces = text.split('<');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        if is_tag(piece) {
            plain.push(' ');
            plain.push_str(piece.split_once('>').map_or("", |(_, after)| after));
        } else {
            plain.push('<');
            plain.push_str(piece);
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_say_nothing_or_everything_of_what_is_neither() {
        for (part, whole, text) in [
            (0, 0, "0.0 %"),
            (0, 7, "0.0 %"),
            (1, 3, "33.3 %"),
            (1, 1_000_000, "< 0.1 %"),
            (999_999, 1_000_000, "> 99.9 %"),
            (7, 7, "100.0 %"),
            (u64::MAX, u64::MAX, "100.0 %"),
        ] {
            assert_eq!(share(part, whole), text);
        }
    }

    #[test]
    fn widths_and_numbers_read_well() {
        let widths = [100, 5_000, 600_000, 43_200_000, 86_400_000, 604_800_000].map(width);
        assert_eq!(
            widths,
            ["0.1 s", "5 s", "10 min", "12 h", "1 day", "7 days"]
        );
        assert_eq!(
            Number(1234).to_string(),
            "<data value=\"1234\">1,234</data>"
        );
    }

    #[test]
    fn a_message_keeps_its_words_and_loses_its_tags() {
        for (message, plain) in [
            ("no tags, 1 < 2, <é>", "no tags, 1 < 2, <é>"),
            (
                "<html><head><TITLE>502 Bad Gateway</TITLE></head><body>x",
                "502 Bad Gateway",
            ),
            ("<!doctype html><title>cut o", "cut o"),
            (
                "HTTP 503: <h1>Service</h1><p>Unavailable",
                "HTTP 503: Service Unavailable",
            ),
            ("broken <a href=", "broken"),
        ] {
            assert_eq!(without_markup(message), plain);
        }
    }
}
