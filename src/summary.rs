//! The summary: counts outcomes as they are recorded, and is the closing text and the exit code.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::outcome::{Outcome, Purge, Status};
use crate::stop::Reason;

/// Counts by status. Shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; Status::ALL.len()],
}

impl Tally {
    /// A tally of rows by status.
    pub fn of(counts: [u64; Status::ALL.len()]) -> Self {
        Self {
            counts: counts.map(AtomicU64::new),
        }
    }

    /// Counts outcomes that stand in the report.
    pub fn add(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.count_of(outcome.status)
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts rows that an earlier run left settled.
    pub fn add_earlier(&self, status: Status, rows: u64) {
        self.count_of(status).fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows with this status.
    pub fn count(&self, status: Status) -> u64 {
        self.count_of(status).load(Ordering::Relaxed)
    }

    /// Rows of any status.
    pub fn total(&self) -> u64 {
        Status::ALL
            .into_iter()
            .map(|status| self.count(status))
            .sum()
    }

    /// Counts that are not zero, in words: `12 deleted, 1 gone`.
    pub fn in_words(&self) -> String {
        let words: Vec<String> = Status::ALL
            .into_iter()
            .filter(|status| self.count(*status) > 0)
            .map(|status| format!("{} {}", grouped(self.count(status)), status.as_str()))
            .collect();
        if words.is_empty() {
            "nothing".into()
        } else {
            words.join(", ")
        }
    }

    fn count_of(&self, status: Status) -> &AtomicU64 {
        &self.counts[status as usize]
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Summary<'a> {
    /// Counts by status.
    pub tally: &'a Tally,
    /// Why it ended early; `None` if it completed.
    pub stopped: Option<Reason>,
    /// Records of the input, each of which has a row when the run completed.
    pub records: u64,
    /// Rows of earlier runs whose record is no longer in the input.
    pub kept_rows: u64,
    /// Rows by what became of their purge.
    pub purges: [u64; Purge::ALL.len()],
    /// IDs of records that do not look like ImageKit's.
    pub odd_ids: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that named an ID again.
    pub retries: u64,
    /// 429s.
    pub throttled: u64,
    /// Time for which ImageKit made the run wait.
    pub paused: Duration,
    /// From start to end.
    pub elapsed: Duration,
    /// Limits as ImageKit told them.
    pub limits: Vec<String>,
    /// The report's name.
    pub report: &'a str,
    /// The command that goes on with what is left; `None` where none can.
    pub resume_command: Option<String>,
}

impl Summary<'_> {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match &self.stopped {
            Some(reason) => reason.exit_code(),
            None if self.unsettled() > 0 || self.tally.count(Status::Invalid) > 0 => 1,
            None if self.unpurged() > 0 => 1,
            None => 0,
        }
    }

    /// Files that are gone and whose purge failed, or is over the limit.
    fn unpurged(&self) -> u64 {
        self.purges[Purge::Failed as usize] + self.purges[Purge::OverLimit as usize]
    }

    fn unsettled(&self) -> u64 {
        self.tally.count(Status::Failed) + self.tally.count(Status::Unknown)
    }

    /// The closing text: what happened, where the report is, what to type next.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_ending(&mut text);
        for status in Status::ALL
            .into_iter()
            .filter(|status| self.tally.count(*status) > 0)
        {
            let _ = writeln!(
                text,
                "  {:<10} {:>12}",
                status.as_str(),
                grouped(self.tally.count(status))
            );
        }
        self.write_purges(&mut text);
        let _ = writeln!(
            text,
            "{} requests, {} retries, {} refused by the rate limit (429), paused {}, took {}",
            grouped(self.requests),
            grouped(self.retries),
            grouped(self.throttled),
            seconds(self.paused),
            seconds(self.elapsed),
        );
        for limit in &self.limits {
            let _ = writeln!(text, "limit seen: {limit}");
        }
        self.write_warnings(&mut text);
        self.write_next(&mut text);
        text
    }

    fn write_purges(&self, text: &mut String) {
        let words: Vec<String> = Purge::ALL
            .into_iter()
            .zip(self.purges)
            .filter(|(_, count)| *count > 0)
            .map(|(purge, count)| format!("{} {}", grouped(count), purge.as_str()))
            .collect();
        if !words.is_empty() {
            let _ = writeln!(text, "purges: {}", words.join(", "));
        }
    }

    fn write_ending(&self, text: &mut String) {
        let _ = match &self.stopped {
            None => writeln!(text, "done: {} records", grouped(self.records)),
            Some(reason) => writeln!(text, "stopped: {reason}"),
        };
    }

    fn write_warnings(&self, text: &mut String) {
        let missing = self.tally.count(Status::NotFound);
        if missing * 2 > self.tally.total() {
            let _ = writeln!(
                text,
                "warning: over half of the IDs were not found; is this list for the account of this key?"
            );
        }
        if self.odd_ids > 0 {
            let _ = writeln!(
                text,
                "warning: {} IDs do not look like ImageKit's",
                grouped(self.odd_ids)
            );
        }
        if self.kept_rows > 0 {
            let _ = writeln!(
                text,
                "{} rows of earlier runs have no record in this input; they were kept",
                grouped(self.kept_rows)
            );
        }
    }

    fn write_next(&self, text: &mut String) {
        let _ = writeln!(text, "report: {}", self.report);
        if let Some(command) = &self.resume_command
            && (self.stopped.is_some() || self.unsettled() + self.unpurged() > 0)
        {
            let _ = writeln!(text, "to go on with what is left:\n  {command}");
        }
    }
}

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as people read it, in powers of a thousand: `512 B`, `4.2 GB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "a number to look at")]
    let mut shown = number as f64;
    while shown >= 999.95 && unit + 1 < UNITS.len() {
        shown /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{shown:.1} {}", UNITS[unit])
    }
}

/// A duration as people read it: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_200_000_000), "4.2 GB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(100_000), "100,000");
        assert_eq!(seconds(Duration::from_millis(340)), "0.3 s");
        assert_eq!(seconds(Duration::from_secs(59)), "59 s");
        assert_eq!(seconds(Duration::from_secs(7805)), "2 h 10 min");
    }
}
