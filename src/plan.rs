//! The plan: how many requests a run would take, and how long, under the limits that are known before. Arithmetic only.

use std::time::Duration;

use crate::throttle::{Endpoint, Rate};

/// What a run has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// IDs to delete.
    pub ids: u64,
    /// IDs per request.
    pub batch_size: u64,
    /// IDs whose URL must be found out before.
    pub lookups: u64,
    /// URLs to purge.
    pub purges: u64,
}

/// What a run would take, if no ID is missing and nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Requests of all kinds.
    pub requests: u64,
    /// The least time that the limits allow; `None` where none is known.
    pub time: Option<Duration>,
}

impl Plan {
    /// The plan for some work; `searched` is how many IDs a search finds at once.
    pub fn of(work: &Work, searched: u64, rate: Rate) -> Self {
        let deletions = if work.batch_size > 1 {
            Endpoint::DeleteBatch
        } else {
            Endpoint::Delete
        };
        let counts = [
            (deletions, work.ids.div_ceil(work.batch_size.max(1))),
            (Endpoint::List, work.lookups.div_ceil(searched.max(1))),
            (Endpoint::Purge, work.purges),
        ];
        let requests = counts.iter().map(|(_, count)| count).sum();
        let time = match rate {
            Rate::Unlimited => None,
            Rate::PerSecond { per_second, burst } => {
                Some(least_time(requests, per_second, f64::from(burst)))
            }
            Rate::Auto => counts
                .iter()
                .map(|(endpoint, count)| {
                    let (per_second, burst) = endpoint.documented();
                    least_time(*count, per_second, burst.into())
                })
                .max(),
        };
        Self { requests, time }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn least_time(requests: u64, per_second: f64, burst: f64) -> Duration {
    Duration::from_secs_f64(((requests as f64 - burst) / per_second).max(0.0))
}
