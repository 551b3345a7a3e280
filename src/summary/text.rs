//! The closing text: what happened, what was not done, what to type next. Short when all is well.

use std::fmt::Write as _;
use std::time::Duration;

use super::{FailureGroup, Summary};
use crate::human::{counted, grouped, limit, nonzero, seconds};
use crate::job::Ending;
use crate::outcome::{Purge, Status};
use crate::secret;
use crate::target::Origin;

/// A shorter pause would read as none.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// This many kinds of failure are named; the report has all.
const MAX_FAILURES: usize = 5;

impl Summary<'_> {
    /// The closing text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_ending(&mut text);
        self.write_counts(&mut text);
        self.write_failures(&mut text);
        self.write_traffic(&mut text);
        self.write_warnings(&mut text);
        self.write_kept(&mut text);
        self.write_next(&mut text);
        text
    }

    /// What a person must know even with `--quiet`; `None` if all is well.
    pub fn quiet_text(&self) -> Option<String> {
        let mut text = String::new();
        match self.ending {
            Ending::Completed if self.exit_code != 0 => {
                self.write_trouble(&mut text);
                self.write_failures(&mut text);
            }
            Ending::Completed if self.stats.records() == 0 => {
                text.push_str("warning: the input has no records; nothing was sent\n");
            }
            Ending::Completed => {}
            Ending::Stopped(_) | Ending::Refused(_) => self.write_ending(&mut text),
        }
        self.write_not_found(&mut text);
        if text.is_empty() {
            return None;
        }
        self.write_next(&mut text);
        Some(text)
    }

    fn write_ending(&self, text: &mut String) {
        let took = seconds(self.stats.elapsed());
        if let Some(reason) = self.ending.reason() {
            let _ = writeln!(text, "stopped after {took}: {reason}");
            let _ = writeln!(text, "{}", self.how_far());
            return;
        }
        let records = counted(self.stats.records(), "record", "records");
        let _ = write!(text, "done: {records} in {took}");
        match self.stats.trouble() {
            0 => text.push('\n'),
            _ => drop(writeln!(text, ", {}", self.trouble())),
        }
    }

    /// The kinds of trouble that there are: `3 failed, 2 invalid`.
    fn trouble(&self) -> String {
        let kinds = Status::ALL.into_iter().filter(|status| status.is_trouble());
        nonzero(kinds.map(|status| (self.stats.count(status), status.as_str())))
    }

    /// How far it came: what has a row, what was sent and has none, what was not begun.
    fn how_far(&self) -> String {
        let decided = grouped(self.stats.rows());
        let in_doubt = match self.stats.in_doubt() {
            0 => String::new(),
            ids if self.resume_command.is_none() => format!(", {} in doubt", grouped(ids)),
            ids => format!(", {} in doubt (--resume finds out)", grouped(ids)),
        };
        if let (Some(total), Some(not_begun)) = (self.stats.total(), self.stats.not_begun()) {
            let (total, not_begun) = (grouped(total), grouped(not_begun));
            format!("{decided} of {total} records decided{in_doubt}, {not_begun} not begun")
        } else {
            let decided = counted(self.stats.rows(), "record", "records");
            format!("{decided} decided{in_doubt}; the rest was not counted")
        }
    }

    fn write_trouble(&self, text: &mut String) {
        let records = counted(self.stats.records(), "record", "records");
        if self.stats.trouble() > 0 {
            let _ = writeln!(text, "{records}, {}", self.trouble());
        }
        let purges = self.stats.unsettled_purges();
        if purges > 0 {
            let purges = counted(purges, "purge", "purges");
            let _ = writeln!(text, "{purges} did not go through");
        }
    }

    fn write_counts(&self, text: &mut String) {
        for status in Status::ALL {
            let count = self.stats.count(status);
            if count > 0 {
                let _ = writeln!(text, "{:>14}  {}", grouped(count), status.as_str());
            }
        }
        if self.stats.has_purges() {
            let _ = writeln!(text, "purges: {}", self.purges());
        }
    }

    fn purges(&self) -> String {
        let words = [
            (Purge::Requested, "requested"),
            (Purge::Failed, "failed"),
            (Purge::NoUrl, "without a URL"),
            (Purge::OverLimit, "over the limit"),
        ];
        let counts = words.map(|(purge, word)| (self.stats.purged(purge), word));
        match nonzero(counts) {
            none if none.is_empty() => "none yet".into(),
            purges => purges,
        }
    }

    fn write_failures(&self, text: &mut String) {
        let failures = self.stats.failures();
        let groups = failures.largest_first();
        if groups.is_empty() {
            return;
        }
        text.push_str("what went wrong:\n");
        for group in groups.iter().take(MAX_FAILURES) {
            write_group(text, group);
        }
        let more = groups.iter().skip(MAX_FAILURES).map(|group| group.count);
        let more = more.sum::<u64>() + failures.others(&Status::ALL);
        if more > 0 {
            let more = grouped(more);
            let _ = writeln!(text, "{more:>14}  with other messages; see the report");
        }
    }

    fn write_traffic(&self, text: &mut String) {
        let stats = self.stats;
        let traffic = stats.traffic();
        let noun = |count, one, many| (count, if count == 1 { one } else { many });
        let counts = [
            noun(traffic.requests, "request", "requests"),
            noun(traffic.retries, "retry", "retries"),
            (stats.throttled(), "refused by the rate limit (429)"),
        ];
        let paused = match stats.paused() {
            short if short < MIN_PAUSE => String::new(),
            paused => format!(", paused {}", seconds(paused)),
        };
        if traffic.requests > 0 {
            let _ = writeln!(text, "{}{paused}", nonzero(counts));
        }
        for seen in &self.stats.limits() {
            let endpoint = seen.endpoint.as_str();
            let _ = writeln!(
                text,
                "limit seen: {} ({endpoint})",
                limit(seen.limit, seen.interval)
            );
        }
    }

    fn write_warnings(&self, text: &mut String) {
        if self.stats.records() == 0 && *self.ending == Ending::Completed {
            text.push_str("warning: the input has no records\n");
        }
        self.write_not_found(text);
        for list in &*self.stats.unnamed_lists() {
            let _ = writeln!(text, "warning: --except {list} names nothing in this input");
        }
        let odd_ids = self.stats.odd_ids();
        if odd_ids > 0 {
            let what = counted(odd_ids, "ID does", "IDs do");
            let _ = writeln!(text, "warning: {what} not look like ImageKit's");
        }
    }

    fn write_not_found(&self, text: &mut String) {
        let sent = Status::ALL.into_iter().filter(|status| status.was_sent());
        let sent: u64 = sent.map(|status| self.stats.count(status)).sum();
        if self.stats.count(Status::NotFound) * 2 > sent {
            text.push_str(
                "warning: over half of the IDs were not found; is this list for the account of this key?\n",
            );
        }
    }

    fn write_kept(&self, text: &mut String) {
        let kept = self.stats.kept();
        if kept.rows == 0 {
            return;
        }
        let rows = counted(kept.rows, "row", "rows");
        let unsettled = match kept.unsettled {
            0 => String::new(),
            unsettled => format!(", {} of them failed or unknown", grouped(unsettled)),
        };
        let _ = writeln!(
            text,
            "kept: {rows} of earlier runs whose IDs are not in this input{unsettled}"
        );
    }

    fn write_next(&self, text: &mut String) {
        if let Some(report) = self.report {
            let report = if report == "-" { "stdout" } else { report };
            let _ = writeln!(text, "report: {}", report.replace('\n', " "));
        }
        let command = self.resume_command.as_deref();
        let _ = match command.filter(|_| self.is_something_left()) {
            None => Ok(()),
            // It would not be the command any more.
            Some(command) if secret::is_in(command) => {
                writeln!(
                    text,
                    "to continue with what is left, run the same command with --resume"
                )
            }
            Some(command) => writeln!(text, "to continue with what is left:\n  {command}"),
        };
    }
}

fn write_group(text: &mut String, group: &FailureGroup) {
    let code = group.error.map_or("", |error| error.as_str());
    let (count, status) = (grouped(group.count), group.status.as_str());
    let message = &group.message;
    let separator = if message.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "{count:>14}  {status}, {code}{separator}{message}");
    for example in group.examples.iter().take(1) {
        let Origin { input, line, .. } = &example.origin;
        let _ = match &*example.file_id {
            "" => writeln!(text, "{:14}  e.g. {input} line {line}", ""),
            file_id => writeln!(text, "{:14}  e.g. {file_id} ({input} line {line})", ""),
        };
    }
}
