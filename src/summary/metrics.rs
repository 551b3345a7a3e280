//! A run's gauges in Prometheus' text format, for node_exporter's textfile collector.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::api::NO_ANSWER;
use crate::job::{Expected, RunStats};
use crate::outcome::Status;

const PREFIX: &str = "imagekit_bulk_delete";

/// The end of a run.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// With which exit code.
    pub exit_code: u8,
}

/// The text of the file; `end` is `None` while the run goes on.
pub fn metrics(stats: &RunStats, end: Option<End>) -> String {
    let mut text = String::new();
    let records = Status::ALL.map(|status| {
        let label = format!("{{status=\"{}\"}}", status.as_str());
        (label, stats.count(status).to_string())
    });
    let decided = "Records that have a row in the report, by status.";
    gauge(&mut text, "records", decided, records);
    let plain = |value: String| [(String::new(), value)];
    if stats.is_rehearsal() {
        let rehearsal = "1 where this is a rehearsal in the sandbox; absent otherwise.";
        gauge(&mut text, "sandbox", rehearsal, plain("1".into()));
    }
    if let Expected::Exact(total) = stats.expected() {
        let expected = "Records of the input, where they were counted.";
        gauge(
            &mut text,
            "expected_records",
            expected,
            plain(total.to_string()),
        );
    }
    let requests = stats
        .requests_by_status()
        .into_iter()
        .map(|(status, count)| {
            let label = format!("{{code=\"{}\"}}", code(status));
            (label, count.to_string())
        });
    let answered = "Requests of this run, by HTTP status of the answer.";
    gauge(&mut text, "requests", answered, requests);
    let refused = "Requests of this run that the rate limit refused (429).";
    gauge(
        &mut text,
        "throttled",
        refused,
        plain(stats.throttled().to_string()),
    );
    let began = "When this run began, in seconds since 1970.";
    gauge(
        &mut text,
        "start_time_seconds",
        began,
        plain(unix_seconds(stats.started_at())),
    );
    if let Some(End { exit_code }) = end {
        let ended = "When this run ended, in seconds since 1970; absent while it goes on.";
        gauge(
            &mut text,
            "end_time_seconds",
            ended,
            plain(unix_seconds(stats.ended_at())),
        );
        let code = "This run's exit code; absent while it goes on.";
        gauge(&mut text, "exit_code", code, plain(exit_code.to_string()));
    }
    text
}

fn gauge(
    text: &mut String,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, String)>,
) {
    let _ = writeln!(text, "# HELP {PREFIX}_{name} {help}");
    let _ = writeln!(text, "# TYPE {PREFIX}_{name} gauge");
    for (label, value) in samples {
        let _ = writeln!(text, "{PREFIX}_{name}{label} {value}");
    }
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
        let ended = metrics(&stats, Some(End { exit_code: 4 }));
        assert!(ended.contains("imagekit_bulk_delete_exit_code 4\n"));
    }
}
