//! The summary: what a run came to, as the closing text, the JSON and the exit code.
//!
//! [`counts`](Tally) and [`failures`](Failures) are filled as outcomes are recorded; `text` and `json` only read.

mod counts;
mod failures;
mod json;
mod text;
mod words;

use std::time::Duration;

use jiff::Timestamp;

pub use counts::{Purges, Tally};
pub use failures::{Failures, Group};
pub use json::Asked;
pub use words::{bytes, counted, grouped, limit, seconds};

use crate::outcome::Status;
use crate::stop::Reason;
use crate::throttle::SeenLimit;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every record was read and decided.
    Completed,
    /// It ended early.
    Stopped(Reason),
    /// It never began: nothing was deleted.
    Refused {
        /// The exit code of the contract.
        exit_code: u8,
        /// Why, for people.
        reason: String,
    },
}

/// Whether a page of the report was written, where one was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was, or none was asked for.
    Yes,
    /// It could not be.
    No,
}

/// What a run came to.
#[derive(Debug)]
pub struct Summary<'a> {
    /// Counts by status: what the report holds for the records of this input.
    pub tally: &'a Tally,
    /// This run's failures by message.
    pub failures: Failures,
    /// How it ended.
    pub ending: Ending,
    /// Records of the input: all of them where they were counted, else those that are decided. All of them have a
    /// row when the run completed.
    pub records: u64,
    /// Records that are decided, in this run or before.
    pub done: u64,
    /// Records of the whole input; `None` where they were not counted.
    pub total: Option<u64>,
    /// Rows of earlier runs whose record is no longer in the input.
    pub kept_rows: u64,
    /// Those of them that are `failed` or `unknown`.
    pub kept_unsettled: u64,
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
    /// When it began.
    pub started_at: Timestamp,
    /// From start to end.
    pub elapsed: Duration,
    /// Limits as ImageKit told them.
    pub limits: Vec<SeenLimit>,
    /// Purges; `None` without `--purge-cache`.
    pub purges: Option<Purges>,
    /// Whether the page was written.
    pub page: Told,
    /// The report's name, `-` for stdout; `None` where none was left.
    pub report: Option<&'a str>,
    /// The command that goes on with what is left; `None` where none can.
    pub resume_command: Option<String>,
}

impl<'a> Summary<'a> {
    /// The summary of a run that never began.
    pub fn refused(ending: Ending, tally: &'a Tally, started_at: Timestamp) -> Self {
        Self {
            tally,
            failures: Failures::default(),
            ending,
            records: 0,
            done: 0,
            total: None,
            kept_rows: 0,
            kept_unsettled: 0,
            odd_ids: 0,
            requests: 0,
            retries: 0,
            throttled: 0,
            paused: Duration::ZERO,
            started_at,
            elapsed: Duration::ZERO,
            limits: Vec::new(),
            purges: None,
            page: Told::Yes,
            report: None,
            resume_command: None,
        }
    }

    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        let is_purge_left = self.purges.is_some_and(|purges| purges.unsettled() > 0);
        match &self.ending {
            Ending::Stopped(reason) => reason.exit_code(),
            Ending::Refused { exit_code, .. } => *exit_code,
            Ending::Completed if self.tally.trouble() > 0 || is_purge_left => 1,
            Ending::Completed if self.page == Told::No => 1,
            Ending::Completed => 0,
        }
    }

    /// Why it ended early; `None` if it completed.
    pub fn reason(&self) -> Option<String> {
        match &self.ending {
            Ending::Completed => None,
            Ending::Stopped(reason) => Some(reason.to_string()),
            Ending::Refused { reason, .. } => Some(reason.clone()),
        }
    }

    /// Whether the same command with `--resume` has something to do.
    fn is_something_left(&self) -> bool {
        let unsettled = self.tally.count(Status::Failed) + self.tally.count(Status::Unknown);
        let purges = self.purges.map_or(0, |purges| purges.unsettled());
        self.ending != Ending::Completed || unsettled + purges > 0
    }
}
