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
    fn a_number_keeps_its_bare_value() {
        let number = Number(1234).to_string();
        assert_eq!(number, "<data value=\"1234\">1,234</data>");
    }
}
