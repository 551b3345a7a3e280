//! What the headers of a response say: about limits (how many requests, in what time, how long to wait), and its ID.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use crate::throttle::RateLimitHeaders;

/// No limit of ImageKit's is known to have a longer one; what claims to would hold the run for good. `[inferred]`
const MAX_INTERVAL: Duration = Duration::from_hours(24);

/// What is read of a response's headers.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    pub(super) request_id: Option<&'a str>,
    /// `Retry-After`, in seconds or as a date; `None` for one that is past.
    pub(super) retry_after: Option<Duration>,
    pub(super) limits: RateLimitHeaders,
}

/// `X-RateLimit-Limit` requests per `X-RateLimit-Interval` milliseconds, `X-RateLimit-Reset` milliseconds to wait.
/// `[spec]`
pub(super) fn read(headers: &HeaderMap) -> Headers<'_> {
    let [limit, interval, reset, retry_after, request_id] = texts(
        headers,
        [
            "x-ratelimit-limit",
            "x-ratelimit-interval",
            "x-ratelimit-reset",
            "retry-after",
            "x-ik-requestid",
        ],
    );
    let millis = |text| number(text).map(Duration::from_millis);
    let retry_after = retry_after.and_then(|text| until(text, Timestamp::now()));
    Headers {
        request_id,
        retry_after,
        limits: RateLimitHeaders {
            limit: number(limit),
            interval: millis(interval).filter(|interval| *interval <= MAX_INTERVAL),
            wait: millis(reset).max(retry_after),
        },
    }
}

fn until(text: &str, now: Timestamp) -> Option<Duration> {
    if let Some(milliseconds) = text
        .parse()
        .ok()
        .and_then(|seconds: f64| whole(seconds * 1000.0))
    {
        return Some(Duration::from_millis(milliseconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Duration::try_from(date.timestamp().duration_since(now)).ok()
}

/// The first of each of these headers as text, trimmed; `None` if it is missing or not ASCII. An answer has few headers,
/// so that looking at each once costs less than a search for each name.
fn texts<'a, const N: usize>(headers: &'a HeaderMap, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    for (name, value) in headers {
        if let Some(place) = names.iter().position(|known| name == known) {
            values[place].get_or_insert(value);
        }
    }
    values.map(|value| Some(value?.to_str().ok()?.trim()))
}

fn number(text: Option<&str>) -> Option<u64> {
    whole(text?.parse().ok()?)
}

/// Rounded up, so that a wait is never cut short; `None` below 0. What is too large for any wait is the largest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of what is not below 0 stops at the largest number"
)]
fn whole(number: f64) -> Option<u64> {
    (number >= 0.0).then(|| number.ceil() as u64)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn limits_are_read_as_milliseconds_and_nonsense_is_nothing() {
        let read = |pairs| read(&headers(pairs)).limits;
        let limits = read(&[
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-interval", "1000"),
            ("x-ratelimit-reset", "250"),
        ]);
        assert_eq!(limits.limit, Some(5));
        assert_eq!(limits.interval, Some(Duration::from_secs(1)));
        assert_eq!(limits.wait, Some(Duration::from_millis(250)));
        let absurd = read(&[
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-interval", "99999999999999"),
        ]);
        assert_eq!(absurd.interval, None);
        let wait_of = |reset| {
            let headers = headers(&[("x-ratelimit-reset", reset)]);
            super::read(&headers).limits.wait
        };
        for (reset, wait) in [
            ("2500.5", 2501),
            ("1e3", 1000),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(wait_of(reset), Some(Duration::from_millis(wait)));
        }
        assert_eq!(wait_of("nan"), None);
        assert_eq!(
            read(&[("x-ratelimit-reset", "-1"), ("x-ratelimit-limit", "abc")]),
            RateLimitHeaders::default()
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_second(784_111_770).unwrap();
        let read = |value| until(value, now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), None);
        assert_eq!(read("soon"), None);
    }
}
