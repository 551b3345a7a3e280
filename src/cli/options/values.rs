//! What stands behind an option: text comes in, a typed value leaves, or an error that says how to write it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use imagekit_bulk_delete::job::Threshold;
use imagekit_bulk_delete::source::DELIMITERS;
use jiff::SignedDuration;
use tracing::level_filters::LevelFilter;

/// `--rate` as typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    Auto,
    PerSecond(f64),
    Unlimited,
}

/// Long enough for anybody, and far from where clocks overflow.
const MAX_DURATION: Duration = Duration::from_hours(87_600);

/// `30s`, `10m`, `1h30m`, or a bare number of seconds; never zero.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let signed: SignedDuration = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text
            .parse()
            .map_err(|_| anyhow!("not a duration; write it like 30s, 10m or 1h30m"))?,
    };
    let duration = Duration::try_from(signed)
        .ok()
        .filter(|duration| !duration.is_zero());
    let duration = duration.ok_or_else(|| anyhow!("must be more than zero"))?;
    if duration > MAX_DURATION {
        bail!("must be 10 years (87600h) at the most");
    }
    Ok(duration)
}

/// `--report` and `--html`: a name in which nothing but `{date}` and `{datetime}` is to be filled in.
pub(super) fn pattern(text: &str) -> Result<String> {
    let words = text.split('{').skip(1);
    let words = words.filter_map(|rest| rest.split_once('}').map(|(word, _)| word));
    for word in words.filter(|word| !["", "date", "datetime"].contains(word)) {
        if word.chars().all(|c| c.is_alphanumeric() || c == '_') {
            bail!("{{{word}}} is not filled in; only {{date}} and {{datetime}} are");
        }
    }
    Ok(text.to_owned())
}

/// The most IDs that ImageKit takes in one request. `[spec]`
pub(super) const MAX_BATCH_SIZE: usize = 100;

/// More requests in flight than this help nobody.
pub(super) const MAX_CONCURRENCY: usize = 1024;

/// `--batch-size` and `--concurrency`: a whole number from 1 to `MAX`.
pub(super) fn up_to<const MAX: usize>(text: &str) -> Result<usize> {
    let number = text.parse().ok();
    let number = number.filter(|number| (1..=MAX).contains(number));
    number.ok_or_else(|| anyhow!("must be from 1 to {MAX}"))
}

/// A whole number, from 0 on.
pub(super) fn count(text: &str) -> Result<u64> {
    text.parse().map_err(|_| anyhow!("must be a whole number"))
}

/// Where the sandbox serves.
pub(super) fn address(text: &str) -> Result<SocketAddr> {
    text.parse()
        .map_err(|_| anyhow!("write it like 127.0.0.1:8080"))
}

/// A number that is not zero.
pub(super) fn at_least_one(text: &str) -> Result<u32> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| anyhow!("must be a whole number from 1"))
}

/// How much is logged.
pub(super) fn log_level() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
        .try_map(|level| level.parse::<LevelFilter>())
}

/// One ASCII character, or the name of one.
pub(super) fn delimiter(text: &str) -> Result<u8> {
    if let Some((byte, _)) = DELIMITERS.iter().find(|(_, name)| *name == text) {
        return Ok(*byte);
    }
    match (text, text.as_bytes()) {
        ("\\t", _) => Ok(b'\t'),
        (_, [byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => bail!("must be one ASCII character, or comma, semicolon, tab or pipe"),
    }
}

/// Requests a second: one an hour.
const SLOWEST: f64 = 1.0 / 3600.0;

/// `auto`, `unlimited`, or a number of requests a second (`5`, `5/s`) or a minute (`300/m`).
pub(super) fn pace(text: &str) -> Result<Pace> {
    match text {
        "auto" => return Ok(Pace::Auto),
        "unlimited" => return Ok(Pace::Unlimited),
        _ => {}
    }
    let (number, per) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some(_) => bail!("write it like 5, 5/s, 300/m, auto or unlimited"),
    };
    let number: f64 = number
        .parse()
        .context("write it like 5, 5/s, 300/m, auto or unlimited")?;
    let per_second = number / per;
    if !(SLOWEST..=1e6).contains(&per_second) {
        bail!("must be from 0.0167/m (one an hour) to 1000000/s, or unlimited");
    }
    Ok(Pace::PerSecond(per_second))
}

/// `100`, or `5%`.
pub(super) fn threshold(text: &str) -> Result<Threshold> {
    match text.strip_suffix('%') {
        None => Ok(Threshold::Count(
            text.parse().context("write it like 100 or 5%")?,
        )),
        Some(percent) => {
            let percent: f64 = percent.parse().context("write it like 100 or 5%")?;
            if !(0.0..=100.0).contains(&percent) {
                bail!("must be from 0% to 100%");
            }
            Ok(Threshold::Percent(percent))
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn rates_durations_shares_and_delimiters_read_as_written() {
        assert_eq!(pace("5").unwrap(), Pace::PerSecond(5.0));
        assert_eq!(pace("5/s").unwrap(), Pace::PerSecond(5.0));
        assert_eq!(pace("30/m").unwrap(), Pace::PerSecond(0.5));
        assert_eq!(pace("auto").unwrap(), Pace::Auto);
        for bad in ["0", "-1", "nan", "5/h", "fast", "inf"] {
            assert!(pace(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        assert!(duration("0s").is_err() && duration("-5s").is_err() && duration("soon").is_err());
        assert_eq!(threshold("5%").unwrap(), Threshold::Percent(5.0));
        assert_eq!(threshold("12").unwrap(), Threshold::Count(12));
        assert!(threshold("101%").is_err() && threshold("x").is_err());
        assert_eq!(delimiter("tab").unwrap(), b'\t');
        assert_eq!(delimiter(";").unwrap(), b';');
        assert_eq!(delimiter("semicolon").unwrap(), b';');
        assert_eq!(delimiter("comma").unwrap(), b',');
        assert_eq!(delimiter("pipe").unwrap(), b'|');
        assert!(delimiter("ab").is_err() && delimiter("\"").is_err());
    }
}
