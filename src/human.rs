//! Numbers, durations and limits as people read them, decided once for all views.

use std::time::Duration;

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as people read it, in powers of a thousand: `512 B`, `4.2 GB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "a number to look at")]
    let mut shown = number as f64;
    while shown >= 999.95 && unit + 1 < UNITS.len() {
        shown /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{shown:.1} {}", UNITS[unit])
    }
}

/// A number and what it counts: `1 request`, `12 requests`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    let what = if number == 1 { one } else { many };
    format!("{} {what}", grouped(number))
}

/// What counts more than nothing: `2 failed, 1 invalid`; empty if nothing does.
pub fn nonzero<'a>(counts: impl IntoIterator<Item = (u64, &'a str)>) -> String {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let words = counts.map(|(count, what)| format!("{} {what}", grouped(count)));
    words.collect::<Vec<_>>().join(", ")
}

/// A duration as people read it: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        1..10 if duration.subsec_nanos() == 0 => format!("{whole} s"),
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{whole} s"),
        60..3600 if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// A limit without its endpoint: `5/s`, `250/10 s`.
pub fn limit(limit: u64, interval: Duration) -> String {
    let per = match interval.as_millis() {
        1000 => "s".into(),
        60_000 => "min".into(),
        3_600_000 => "h".into(),
        milliseconds if milliseconds % 1000 == 0 => format!("{} s", milliseconds / 1000),
        milliseconds => format!("{milliseconds} ms"),
    };
    format!("{}/{per}", grouped(limit))
}

/// Whether a character turns the direction of the text behind it, so that a person reads something else than there is.
pub const fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A message without markup: the title of an HTML page, or what stands between its tags.
pub fn without_markup(message: &str) -> String {
    let is_tag =
        |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || "!/?".contains(c));
    let mut pieces = title(message).unwrap_or(message).split('<');
    let mut words = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        if is_tag(piece) {
            words.push(' ');
            words.push_str(piece.split_once('>').map_or("", |(_, after)| after));
        } else {
            words.push('<');
            words.push_str(piece);
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let begin = tag + lower[tag..].find('>')? + 1;
    let title = page[begin..].split('<').next()?;
    (!title.trim().is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_durations_and_limits_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_200_000_000), "4.2 GB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(100_000), "100,000");
        assert_eq!(counted(1, "retry", "retries"), "1 retry");
        assert_eq!(counted(0, "retry", "retries"), "0 retries");
        assert_eq!(seconds(Duration::from_millis(340)), "0.3 s");
        assert_eq!(seconds(Duration::from_secs(1)), "1 s");
        assert_eq!(seconds(Duration::from_secs(59)), "59 s");
        assert_eq!(seconds(Duration::from_mins(1)), "1 min");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!(seconds(Duration::from_secs(7805)), "2 h 10 min");
        assert_eq!(limit(5, Duration::from_secs(1)), "5/s");
        assert_eq!(limit(2500, Duration::from_secs(10)), "2,500/10 s");
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
            ("<title id=t>\nSign\nin</title><p>here", "Sign in"),
            ("<title></title><h1>Service</h1>Down", "Service Down"),
            ("<?xml version='1.0'?><Code>Slow</Code>", "Slow"),
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
