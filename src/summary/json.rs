//! The summary for machines: one JSON object, its names and meanings as the contract fixes them.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

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

/// Names and values in an order that a person reads well; "schema" comes first, by which a summary is known. Objects
/// within it are in the order of their names.
struct Object(Vec<(&'static str, Value)>);

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Summary<'_> {
    /// The summary as one JSON object with a line break behind it.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(&self.object())? + "\n")
    }

    /// The summary as fields of a log line.
    pub fn fields(&self) -> Value {
        json!(self.object())
    }

    fn object(&self) -> Object {
        let stats = self.stats;
        let limit = |seen: SeenLimit| {
            let interval = milliseconds(seen.interval);
            json!({"endpoint": seen.endpoint.as_str(), "limit": seen.limit, "interval_ms": interval})
        };
        let limits: Vec<Value> = stats.limits().into_iter().map(limit).collect();
        let count = |status: Status| (status.as_str(), stats.count(status).into());
        let counts = Object(Status::ALL.map(count).into());
        let count = |purge: Purge| (purge.as_str(), stats.purged(purge).into());
        let purges = || Object(Purge::ALL.map(count).into());
        Object(vec![
            ("schema", json!(SCHEMA)),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("sandbox", json!(stats.is_rehearsal())),
            ("started_at", json!(format!("{:.3}", stats.started_at()))),
            ("finished_at", json!(format!("{:.3}", stats.ended_at()))),
            ("duration_ms", json!(milliseconds(stats.elapsed()))),
            ("exit_code", json!(self.exit_code)),
            ("reason", json!(self.ending.reason())),
            ("records", json!(stats.records())),
            ("counts", json!(counts)),
            ("in_doubt", json!(stats.in_doubt())),
            ("not_begun", json!(stats.not_begun())),
            ("kept_rows", json!(stats.kept().rows)),
            ("requests", json!(stats.traffic().requests)),
            ("retries", json!(stats.traffic().retries)),
            ("throttled", json!(stats.throttled())),
            ("paused_ms", json!(milliseconds(stats.paused()))),
            ("limits", json!(limits)),
            ("purges", json!(stats.has_purges().then(purges))),
            ("report", json!(self.report)),
            ("inputs", json!(self.asked.inputs)),
            ("options", json!(self.asked.options)),
        ])
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
