//! The summary for machines: one JSON object, its names and meanings as the contract fixes them.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::Summary;
use crate::outcome::{Purge, Status};
use crate::throttle::SeenLimit;

/// Grows when a name or a meaning changes.
const SCHEMA: u32 = 1;

/// What the command line asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The inputs' names; `-` is stdin.
    pub inputs: Vec<String>,
    /// Options by their long names; never the key.
    pub options: Map<String, Value>,
}

/// Counts by name, in this order.
struct Counts<const N: usize>([(&'static str, u64); N]);

impl<const N: usize> Serialize for Counts<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0)
    }
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    version: &'static str,
    sandbox: bool,
    started_at: String,
    finished_at: String,
    #[serde(serialize_with = "milliseconds")]
    duration_ms: Duration,
    exit_code: u8,
    reason: Option<String>,
    records: u64,
    counts: Counts<{ Status::ALL.len() }>,
    in_doubt: u64,
    not_begun: Option<u64>,
    kept_rows: u64,
    requests: u64,
    retries: u64,
    throttled: u64,
    #[serde(serialize_with = "milliseconds")]
    paused_ms: Duration,
    limits: Vec<LimitSeen>,
    purges: Option<Counts<{ Purge::ALL.len() }>>,
    report: Option<&'a str>,
    inputs: &'a [String],
    options: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct LimitSeen {
    endpoint: &'static str,
    limit: u64,
    #[serde(serialize_with = "milliseconds")]
    interval_ms: Duration,
}

impl Summary<'_> {
    /// The summary as one JSON object with a line break behind it.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(&self.document())? + "\n")
    }

    /// The summary as fields of a log line.
    pub fn fields(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self.document())
    }

    fn document(&self) -> Json<'_> {
        let asked = self.asked;
        let stats = self.stats;
        let limit = |seen: SeenLimit| LimitSeen {
            endpoint: seen.endpoint.as_str(),
            limit: seen.limit,
            interval_ms: seen.interval,
        };
        let purges = || Counts(Purge::ALL.map(|purge| (purge.as_str(), stats.purged(purge))));
        Json {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            sandbox: stats.is_rehearsal(),
            started_at: format!("{:.3}", stats.started_at()),
            finished_at: format!("{:.3}", stats.ended_at()),
            duration_ms: stats.elapsed(),
            exit_code: self.exit_code,
            reason: self.ending.reason(),
            records: stats.records(),
            counts: Counts(Status::ALL.map(|status| (status.as_str(), stats.count(status)))),
            in_doubt: stats.in_doubt(),
            not_begun: stats.not_begun(),
            kept_rows: stats.kept().rows,
            requests: stats.requests(),
            retries: stats.retries(),
            throttled: stats.throttled(),
            paused_ms: stats.paused(),
            limits: stats.limits().into_iter().map(limit).collect(),
            purges: stats.has_purges().then(purges),
            report: self.report,
            inputs: &asked.inputs,
            options: &asked.options,
        }
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
