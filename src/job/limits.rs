//! The limits that a user sets on a run: how much may go wrong, and for how long it may take.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::time::Duration;

use tokio::select;
use tokio::time::sleep;

use super::stats::RunStats;
use crate::human::{grouped, seconds};
use crate::outcome::Status;
use crate::stop::{Reason, Stop};
use crate::throttle::Throttle;

/// A share is not judged before this many records are decided.
const MIN_DECIDED: u64 = 1000;

/// A number, or a share of what is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// Records.
    Count(u64),
    /// Percent of the decided records, from 0 to 100.
    Percent(f64),
}

impl Threshold {
    /// Whether `count` of `decided` records is more than this.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of counts far below 2^52"
    )]
    fn is_exceeded(self, count: u64, decided: u64) -> bool {
        match self {
            Self::Count(max) => count > max,
            Self::Percent(max) => {
                decided >= MIN_DECIDED && count as f64 * 100.0 > max * decided as f64
            }
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(max) => formatter.write_str(&grouped(*max)),
            Self::Percent(max) => write!(formatter, "{max}%"),
        }
    }
}

/// What ends a run early, resumable.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `--max-failures`: records that failed or are unknown.
    pub max_failures: Option<Threshold>,
    /// `--max-not-found`.
    pub max_not_found: Option<Threshold>,
    /// `--max-duration`: no new requests after it.
    pub max_duration: Option<Duration>,
    /// `--max-outage`: the longest time without one success.
    pub max_outage: Duration,
}

impl Limits {
    /// Trips the stop where these counts exceed a limit.
    pub(super) fn check(&self, stats: &RunStats, stop: &Stop) {
        if let Some(reason) = self.exceeded(stats) {
            stop.trip(reason);
        }
    }

    fn exceeded(&self, stats: &RunStats) -> Option<Reason> {
        let failures = stats.count(Status::Failed) + stats.count(Status::Unknown);
        let not_found = stats.count(Status::NotFound);
        let exceeds = |max: Option<Threshold>, count, what| {
            let decided = stats.rows();
            let max = max.filter(|max| max.is_exceeded(count, decided))?;
            let earlier = if stats.decided() < decided {
                " (earlier runs included)"
            } else {
                ""
            };
            let (count, decided) = (grouped(count), grouped(decided));
            Some(Reason::LimitReached(format!(
                "{count} of {decided} {what} {max}{earlier}; look at the report before you raise it"
            )))
        };
        exceeds(
            self.max_failures,
            failures,
            "failed or are unknown, more than --max-failures",
        )
        .or_else(|| {
            exceeds(
                self.max_not_found,
                not_found,
                "were not found, more than --max-not-found",
            )
        })
    }

    /// Trips the stop when time is up; never completes.
    pub async fn watch_time(&self, throttle: &Throttle, stop: &Stop) -> Infallible {
        let expires = async || match self.max_duration {
            Some(after) => {
                sleep(after).await;
                format!("reached --max-duration ({})", seconds(after))
            }
            None => pending().await,
        };
        let reason = select! {
            reason = expires() => reason,
            () = throttle.gave_up() => {
                let max = seconds(self.max_outage);
                let what = Some(throttle.failing()).filter(|what| !what.is_empty());
                let what = what.map(|what| format!(": {what}")).unwrap_or_default();
                format!("nothing succeeded for {max} (--max-outage){what}")
            }
        };
        stop.trip(Reason::LimitReached(reason));
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_judged_only_after_a_thousand() {
        assert!(!Threshold::Percent(5.0).is_exceeded(999, 999));
        assert!(!Threshold::Percent(5.0).is_exceeded(50, 1000));
        assert!(Threshold::Percent(5.0).is_exceeded(51, 1000));
        assert!(Threshold::Count(0).is_exceeded(1, 1));
    }
}
