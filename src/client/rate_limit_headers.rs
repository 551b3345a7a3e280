//! What the headers of a response say about limits: how many requests, in what time, and how long to wait.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};

use crate::throttle::RateLimitHeaders;

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static INTERVAL: HeaderName = HeaderName::from_static("x-ratelimit-interval");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// No limit of ImageKit's is known to have a longer one; what claims to would hold the run for good. `[inferred]`
const MAX_INTERVAL: Duration = Duration::from_hours(24);

/// `X-RateLimit-Limit` requests per `X-RateLimit-Interval` milliseconds, `X-RateLimit-Reset` milliseconds to wait.
/// `[spec]`
pub(super) fn read(headers: &HeaderMap, retry_after: Option<Duration>) -> RateLimitHeaders {
    let reset = number(headers, &RESET).map(Duration::from_millis);
    RateLimitHeaders {
        limit: number(headers, &LIMIT),
        interval: number(headers, &INTERVAL)
            .map(Duration::from_millis)
            .filter(|interval| *interval <= MAX_INTERVAL),
        wait: reset.max(retry_after),
    }
}

/// `Retry-After`, in seconds or as a date; `None` for one that is past.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, &RETRY_AFTER).and_then(|text| until(text, Timestamp::now()))
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

/// A header's text, trimmed; `None` if it is not ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim())
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    whole(text(headers, name)?.parse().ok()?)
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
        let read = |pairs| read(&headers(pairs), None);
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
        let wait_of = |reset| super::read(&headers(&[("x-ratelimit-reset", reset)]), None).wait;
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
