//! The closing text: what happened, what was not done, what to type next. Short when all is well.

use std::fmt::Write as _;

use super::words::{counted, grouped, limit, seconds};
use super::{Ending, Group, Summary};
use crate::outcome::Status;

/// So many kinds of failure are told; the report has all.
const FAILURES_TOLD: usize = 5;

/// So much of a message fits beside its count.
const MESSAGE_CHARACTERS: usize = 100;

impl Summary<'_> {
    /// The closing text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_ending(&mut text);
        self.write_counts(&mut text);
        self.write_failures(&mut text);
        self.write_traffic(&mut text);
        self.write_warnings(&mut text);
        self.write_next(&mut text);
        text
    }

    /// What is said where nothing but errors is: `None` if all is well.
    pub fn error_text(&self) -> Option<String> {
        if self.exit_code() == 0 {
            return None;
        }
        let mut text = String::new();
        if self.ending == Ending::Completed {
            self.write_trouble(&mut text);
            self.write_failures(&mut text);
        } else {
            self.write_ending(&mut text);
        }
        self.write_next(&mut text);
        Some(text)
    }

    fn write_ending(&self, text: &mut String) {
        let records = counted(self.records, "record", "records");
        let took = seconds(self.elapsed);
        let Some(reason) = self.reason() else {
            let _ = write!(text, "done: {records} in {took}");
            if self.tally.trouble() > 0 {
                let trouble = grouped(self.tally.trouble());
                let _ = write!(text, ", {trouble} of them failed, unknown or invalid");
            }
            text.push('\n');
            return;
        };
        let _ = writeln!(text, "stopped after {took}: {reason}");
        let _ = writeln!(text, "{}", self.progress());
    }

    /// How far it came: what is settled, what may have happened, what was not begun.
    fn progress(&self) -> String {
        let unknown = self.tally.count(Status::Unknown);
        let done = grouped(self.done.saturating_sub(unknown));
        let unknown = match unknown {
            0 => String::new(),
            unknown => format!(", {} unknown", grouped(unknown)),
        };
        match self.total.filter(|total| *total >= self.done) {
            Some(total) => {
                let (left, total) = (grouped(total - self.done), grouped(total));
                format!("{done} of {total} records are done{unknown}, {left} not begun")
            }
            None => format!("{done} records are done{unknown}, the rest was not begun"),
        }
    }

    fn write_trouble(&self, text: &mut String) {
        let (trouble, records) = (grouped(self.tally.trouble()), grouped(self.records));
        let _ = writeln!(
            text,
            "{trouble} of {records} records failed, are unknown or invalid"
        );
        let purges = self.purges.map_or(0, |purges| purges.unsettled());
        if purges > 0 {
            let _ = writeln!(
                text,
                "{} did not go through",
                counted(purges, "purge", "purges")
            );
        }
    }

    fn write_counts(&self, text: &mut String) {
        for status in Status::ALL {
            let count = self.tally.count(status);
            if count > 0 {
                let _ = writeln!(text, "{:>14}  {}", grouped(count), status.as_str());
            }
        }
        if let Some(purges) = self.purges {
            let (requested, no_url) = (grouped(purges.requested), grouped(purges.no_url));
            let (failed, over) = (grouped(purges.failed), grouped(purges.over_limit));
            let _ = writeln!(
                text,
                "purges: {requested} requested, {failed} failed, {no_url} without a URL, {over} over the limit"
            );
        }
    }

    fn write_failures(&self, text: &mut String) {
        let groups = self.failures.largest_first();
        if groups.is_empty() {
            return;
        }
        text.push_str("what went wrong:\n");
        for group in groups.iter().take(FAILURES_TOLD) {
            write_group(text, group);
        }
        let more = groups.iter().skip(FAILURES_TOLD).map(|group| group.count);
        let more = more.sum::<u64>() + self.failures.others();
        if more > 0 {
            let _ = writeln!(
                text,
                "{:>14}  with other messages; the report has them",
                grouped(more)
            );
        }
    }

    fn write_traffic(&self, text: &mut String) {
        let requests = counted(self.requests, "request", "requests");
        let retries = counted(self.retries, "retry", "retries");
        let throttled = grouped(self.throttled);
        let _ = write!(
            text,
            "{requests}, {retries}, {throttled} refused by the rate limit (429)"
        );
        if !self.paused.is_zero() {
            let _ = write!(text, ", paused {}", seconds(self.paused));
        }
        text.push('\n');
        for seen in &self.limits {
            let _ = writeln!(
                text,
                "limit seen: {} ({})",
                limit(seen),
                seen.endpoint.as_str()
            );
        }
    }

    fn write_warnings(&self, text: &mut String) {
        if self.tally.count(Status::NotFound) * 2 > self.tally.total() {
            text.push_str(
                "warning: over half of the IDs were not found; is this list for the account of this key?\n",
            );
        }
        if self.odd_ids > 0 {
            let odd_ids = grouped(self.odd_ids);
            let (noun, verb) = if self.odd_ids == 1 {
                ("ID", "does")
            } else {
                ("IDs", "do")
            };
            let _ = writeln!(
                text,
                "warning: {odd_ids} {noun} {verb} not look like ImageKit's"
            );
        }
        if self.kept_rows > 0 {
            let kept = counted(self.kept_rows, "row", "rows");
            let unsettled = match self.kept_unsettled {
                0 => String::new(),
                unsettled => format!(", {} of them failed or unknown", grouped(unsettled)),
            };
            let _ = writeln!(
                text,
                "kept: {kept} of earlier runs without a record in this input{unsettled}"
            );
        }
    }

    fn write_next(&self, text: &mut String) {
        if let Some(report) = self.report {
            let report = if report == "-" { "stdout" } else { report };
            let _ = writeln!(text, "report: {report}");
        }
        if let Some(command) = self
            .resume_command
            .as_deref()
            .filter(|_| self.is_something_left())
        {
            let _ = writeln!(text, "to go on with what is left:\n  {command}");
        }
    }
}

fn shortened(message: &str) -> String {
    if message.chars().count() <= MESSAGE_CHARACTERS {
        return message.to_owned();
    }
    let shown: String = message.chars().take(MESSAGE_CHARACTERS - 1).collect();
    format!("{}…", shown.trim_end())
}

fn write_group(text: &mut String, group: &Group) {
    let code = group.error.map_or("", |error| error.as_str());
    let (count, status) = (grouped(group.count), group.status.as_str());
    let message = shortened(&group.message);
    let separator = if message.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "{count:>14}  {status}, {code}{separator}{message}");
    let (example, origin) = (&group.example, &group.origin);
    let _ = writeln!(
        text,
        "{:14}  e.g. {example} ({} line {})",
        "", origin.input, origin.line
    );
}
