//! A run's gauges in Prometheus' text format, for node_exporter's textfile collector.

use jiff::Timestamp;

use crate::api::NO_ANSWER;
use crate::job::RunStats;
use crate::outcome::Status;

const PREFIX: &str = "imagekit_bulk_delete";

/// The text of the file; `exit_code` is `None` while the run goes on.
pub fn metrics(stats: &RunStats, exit_code: Option<u8>) -> String {
    let records =
        Status::ALL.map(|status| labelled("status", status.as_str(), stats.count(status)));
    let records = gauge(
        "records",
        "Records that have a row in the report, by status",
        records,
    );
    let requests = stats.traffic().by_status.into_iter();
    let requests = requests.map(|(status, count)| labelled("code", &code(status), count));
    let requests = gauge(
        "requests",
        "Requests of this run, by HTTP status of the response",
        requests,
    );
    records + &requests + &plain_gauges(stats, exit_code)
}

/// Gauges of one value each, those that there is a value for.
fn plain_gauges(stats: &RunStats, exit_code: Option<u8>) -> String {
    let gauges = [
        (
            "sandbox: 1 for a rehearsal in the sandbox; absent otherwise",
            stats.is_rehearsal().then(|| "1".into()),
        ),
        (
            "expected_records: Records of the input, where they were counted",
            stats.total().map(|total| total.to_string()),
        ),
        (
            "throttled: Requests of this run that the rate limit refused (429)",
            Some(stats.throttled().to_string()),
        ),
        (
            "start_time_seconds: When this run began, in seconds since 1970",
            Some(unix_seconds(stats.started_at())),
        ),
        (
            "end_time_seconds: When this run ended, likewise; absent until then",
            exit_code.map(|_| unix_seconds(stats.ended_at())),
        ),
        (
            "exit_code: This run's exit code; absent until it ends",
            exit_code.map(|code| code.to_string()),
        ),
    ];
    let gauges = gauges
        .into_iter()
        .filter_map(|(gauge, value)| Some((gauge.split_once(": ")?, value?)));
    gauges
        .map(|((name, help), value)| gauge(name, help, [format!(" {value}")]))
        .collect()
}

fn labelled(label: &str, value: &str, count: u64) -> String {
    format!("{{{label}=\"{value}\"}} {count}")
}

/// A gauge with its samples: what stands behind its name.
fn gauge(name: &str, help: &str, samples: impl IntoIterator<Item = String>) -> String {
    let samples = samples
        .into_iter()
        .map(|sample| format!("{PREFIX}_{name}{sample}\n"));
    let samples: String = samples.collect();
    format!("# HELP {PREFIX}_{name} {help}.\n# TYPE {PREFIX}_{name} gauge\n{samples}")
}

fn code(status: u16) -> String {
    if status == NO_ANSWER {
        "none".into()
    } else {
        status.to_string()
    }
}

fn unix_seconds(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}
