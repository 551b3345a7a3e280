//! A run's gauges in Prometheus' text format, for node_exporter's textfile collector.
//!
//! Counts come in, text leaves; who writes it where is not decided here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::line::NO_ANSWER;
use crate::outcome::Status;
use crate::summary::Tally;

const PREFIX: &str = "imagekit_bulk_delete";

/// What is known of a run.
#[derive(Debug)]
pub struct Metrics<'a> {
    /// Records by status.
    pub tally: &'a Tally,
    /// Requests by HTTP status, as [`Traffic::by_status`](crate::line::Traffic::by_status) counts them.
    pub requests: BTreeMap<u16, u64>,
    /// 429s.
    pub throttled: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When and how it ended; `None` while it goes on.
    pub end: Option<End>,
}

/// The end of a run.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// With which exit code.
    pub exit_code: u8,
}

impl Metrics<'_> {
    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let records = Status::ALL.map(|status| {
            let label = format!("{{status=\"{}\"}}", status.as_str());
            (label, self.tally.count(status).to_string())
        });
        gauge(
            &mut text,
            "records",
            "Records decided in this run or settled before, by status.",
            records,
        );
        let requests = self.requests.iter().map(|(status, count)| {
            let label = format!("{{code=\"{}\"}}", code(*status));
            (label, count.to_string())
        });
        gauge(
            &mut text,
            "requests",
            "Requests of this run, by HTTP status of the answer.",
            requests,
        );
        let plain = |value: String| [(String::new(), value)];
        gauge(
            &mut text,
            "throttled",
            "Requests of this run that the rate limit refused (429).",
            plain(self.throttled.to_string()),
        );
        gauge(
            &mut text,
            "start_time_seconds",
            "When this run began, in seconds since 1970.",
            plain(unix_seconds(self.started_at)),
        );
        if let Some(End { at, exit_code }) = self.end {
            let ended = "When this run ended, in seconds since 1970; absent while it goes on.";
            gauge(
                &mut text,
                "end_time_seconds",
                ended,
                plain(unix_seconds(at)),
            );
            let code = "This run's exit code; absent while it goes on.";
            gauge(&mut text, "exit_code", code, plain(exit_code.to_string()));
        }
        text
    }
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

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let tally = Tally::of([3, 1, 0, 0, 0, 0, 0, 0]);
        let metrics = Metrics {
            tally: &tally,
            requests: BTreeMap::from([(NO_ANSWER, 1), (204, 3)]),
            throttled: 0,
            started_at: Timestamp::UNIX_EPOCH,
            end: None,
        };
        let text = metrics.text();
        for line in [
            "# TYPE imagekit_bulk_delete_records gauge",
            "imagekit_bulk_delete_records{status=\"deleted\"} 3",
            "imagekit_bulk_delete_records{status=\"gone\"} 0",
            "imagekit_bulk_delete_requests{code=\"none\"} 1",
            "imagekit_bulk_delete_requests{code=\"204\"} 3",
            "imagekit_bulk_delete_throttled 0",
            "imagekit_bulk_delete_start_time_seconds 0.000",
        ] {
            assert!(
                text.lines().any(|told| told == line),
                "{line} is not in {text}"
            );
        }
        assert!(!text.contains("exit_code"), "it goes on");
        let at = Timestamp::UNIX_EPOCH;
        let ended = Metrics {
            end: Some(End { at, exit_code: 4 }),
            ..metrics
        };
        assert!(ended.text().contains("imagekit_bulk_delete_exit_code 4\n"));
    }
}
