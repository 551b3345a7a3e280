//! The summary for machines: one JSON object, its names and meanings as the contract fixes them.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Purges, Summary};
use crate::outcome::Status;
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

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    version: &'static str,
    started_at: String,
    finished_at: String,
    #[serde(serialize_with = "milliseconds")]
    duration_ms: Duration,
    exit_code: u8,
    reason: Option<String>,
    records: u64,
    #[serde(serialize_with = "in_this_order")]
    counts: [(&'static str, u64); Status::ALL.len()],
    kept_rows: u64,
    requests: u64,
    retries: u64,
    throttled: u64,
    #[serde(serialize_with = "milliseconds")]
    paused_ms: Duration,
    limits: Vec<Told>,
    purges: Option<Purges>,
    report: Option<&'a str>,
    inputs: &'a [String],
    options: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Told {
    endpoint: &'static str,
    limit: u64,
    #[serde(serialize_with = "milliseconds")]
    interval_ms: Duration,
}

impl Summary<'_> {
    /// The summary as one JSON object with a line break behind it.
    pub fn json(&self, asked: &Asked) -> serde_json::Result<String> {
        let finished_at = self.started_at + self.elapsed;
        let counts = Status::ALL.map(|status| (status.as_str(), self.tally.count(status)));
        let limit = |seen: &SeenLimit| Told {
            endpoint: seen.endpoint.as_str(),
            limit: seen.limit,
            interval_ms: seen.interval,
        };
        let json = Json {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            started_at: format!("{:.3}", self.started_at),
            finished_at: format!("{finished_at:.3}"),
            duration_ms: self.elapsed,
            exit_code: self.exit_code(),
            reason: self.reason(),
            records: self.records,
            counts,
            kept_rows: self.kept_rows,
            requests: self.requests,
            retries: self.retries,
            throttled: self.throttled,
            paused_ms: self.paused,
            limits: self.limits.iter().map(limit).collect(),
            purges: self.purges,
            report: self.report,
            inputs: &asked.inputs,
            options: &asked.options,
        };
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn in_this_order<S: Serializer>(counts: &[(&str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().copied())
}
