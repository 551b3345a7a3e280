//! A run's gauges in Prometheus' text format, for node_exporter's textfile collector.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::api::NO_ANSWER;
use crate::job::{Expected, RunStats};
use crate::outcome::Status;

const PREFIX: &str = "imagekit_bulk_delete";

/// The text of the file; `exit_code` is `None` while the run goes on.
pub fn metrics(stats: &RunStats, exit_code: Option<u8>) -> String {
    let one = |value: String| vec![(String::new(), value)];
    let some = |value: Option<String>| value.map_or_else(Vec::new, one);
    let records = Status::ALL.map(|status| {
        let label = format!("{{status=\"{}\"}}", status.as_str());
        (label, stats.count(status).to_string())
    });
    let requests = stats.requests_by_status().into_iter();
    let requests = requests.map(|(status, count)| {
        let label = format!("{{code=\"{}\"}}", code(status));
        (label, count.to_string())
    });
    let expected = match stats.expected() {
        Expected::Exact(total) => Some(total.to_string()),
        Expected::Estimate(_) | Expected::Unknown => None,
    };
    let sandbox = stats.is_rehearsal().then(|| "1".to_owned());
    let ended = exit_code.map(|_| unix_seconds(stats.ended_at()));
    let gauges = [
        (
            "records",
            "Records that have a row in the report, by status",
            records.into(),
        ),
        (
            "sandbox",
            "1 for a rehearsal in the sandbox; absent otherwise",
            some(sandbox),
        ),
        (
            "expected_records",
            "Records of the input, where they were counted",
            some(expected),
        ),
        (
            "requests",
            "Requests of this run, by HTTP status of the response",
            requests.collect(),
        ),
        (
            "throttled",
            "Requests of this run that the rate limit refused (429)",
            one(stats.throttled().to_string()),
        ),
        (
            "start_time_seconds",
            "When this run began, in seconds since 1970",
            one(unix_seconds(stats.started_at())),
        ),
        (
            "end_time_seconds",
            "When this run ended, in seconds since 1970; absent until then",
            some(ended),
        ),
        (
            "exit_code",
            "This run's exit code; absent until it ends",
            some(exit_code.map(|code| code.to_string())),
        ),
    ];
    gauges
        .into_iter()
        .map(|(name, help, samples)| gauge(name, help, &samples))
        .collect()
}

/// A gauge with its samples, each with its label; nothing where there is none.
fn gauge(name: &str, help: &str, samples: &[(String, String)]) -> String {
    let mut text = String::new();
    if !samples.is_empty() {
        let _ = writeln!(text, "# HELP {PREFIX}_{name} {help}.");
        let _ = writeln!(text, "# TYPE {PREFIX}_{name} gauge");
    }
    for (label, value) in samples {
        let _ = writeln!(text, "{PREFIX}_{name}{label} {value}");
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::RunKind;
    use crate::stop::Stop;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let stats = RunStats::new(RunKind::Real, Stop::new());
        let text = metrics(&stats, None);
        for line in [
            "# TYPE imagekit_bulk_delete_records gauge",
            "imagekit_bulk_delete_records{status=\"gone\"} 0",
            "imagekit_bulk_delete_throttled 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in {text}"
            );
        }
        assert!(!text.contains("exit_code"), "it goes on");
        let ended = metrics(&stats, Some(4));
        assert!(ended.contains("imagekit_bulk_delete_exit_code 4\n"));
    }
}
