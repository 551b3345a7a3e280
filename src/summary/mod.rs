//! The summary: what a run came to, as the closing text, the JSON and the metrics.
//!
//! All of it is read from the run's one account, [`RunStats`]; nothing is counted here.

mod failures;
mod json;
mod metrics;
mod text;

pub use failures::{FailureGroup, Failures};
pub use json::Asked;
pub use metrics::metrics;

use crate::job::{Ending, RunStats};
use crate::outcome::Status;

/// What is known of a run that has ended.
#[derive(Debug)]
pub struct Summary<'a> {
    /// What was asked for.
    pub asked: &'a Asked,
    /// Its account.
    pub stats: &'a RunStats,
    /// How it ended.
    pub ending: &'a Ending,
    /// With which exit code.
    pub exit_code: u8,
    /// The report's name, `-` for stdout; `None` where none was left.
    pub report: Option<&'a str>,
    /// The command that continues with what is left; `None` where none can.
    pub resume_command: Option<String>,
}

impl Summary<'_> {
    /// Whether the same command with `--resume` has something to do.
    fn is_something_left(&self) -> bool {
        let unsettled = self.stats.count(Status::Failed) + self.stats.count(Status::Unknown);
        *self.ending != Ending::Completed || unsettled + self.stats.unsettled_purges() > 0
    }
}
