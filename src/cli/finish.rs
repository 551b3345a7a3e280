//! The end of a run: the report closed, what happened reported everywhere from one account, the exit code chosen.

use anyhow::{Result, anyhow};
use imagekit_bulk_delete::job::{Ending, Job, RunStats};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::stop::Reason;
use imagekit_bulk_delete::summary::Summary;

use super::exit;
use super::exports::Exports;
use super::options::Cli;
use super::paths::Paths;
use super::resume_command::resume_command;
use crate::progress::Progress;

/// Where the end of a run is reported.
pub(crate) struct Finish<'a> {
    pub(crate) cli: &'a Cli,
    pub(crate) paths: &'a Paths,
    pub(crate) progress: &'a Progress,
    pub(crate) exports: &'a Exports<'a>,
    pub(crate) stats: &'a RunStats,
}

impl Finish<'_> {
    /// Makes the report whole and tells what happened; the exit code. A run whose host was never reached leaves no
    /// report and is an error.
    pub(crate) fn close(&self, job: Job) -> Result<u8> {
        let ending = job.close()?;
        if let Ending::Stopped(reason @ Reason::Unreachable(_)) = &ending {
            self.exports.write(Summary {
                asked: &self.exports.asked,
                stats: self.stats,
                ending: &ending,
                exit_code: exit::of_reason(reason),
                report: None,
                resume_command: None,
            });
            return Err(anyhow!("{reason}"));
        }
        let code = self.exports.write_page(self.stats, &ending);
        Ok(self.tell(&ending, code))
    }

    /// Tells what there is to tell of a run that is left with requests in flight: the report stays as it is.
    pub(crate) fn leave(&self, job: &mut Job, number: i32) -> u8 {
        let (ending, released) = job.leave(Reason::Signal(number));
        if let Err(error) = released {
            self.progress.error(&error.to_string());
        }
        if self.paths.report != Destination::Stdout {
            self.progress
                .notice("left at once; --resume finds out what became of the requests in flight");
        }
        self.tell(&ending, exit::of_run(&ending, self.stats))
    }

    fn tell(&self, ending: &Ending, exit_code: u8) -> u8 {
        let report = self.paths.report_name();
        let resume = || resume_command(self.cli.report.report.as_deref(), &report);
        let is_resumable = self.paths.report != Destination::Stdout;
        let summary = Summary {
            asked: &self.exports.asked,
            stats: self.stats,
            ending,
            exit_code,
            report: Some(&report),
            resume_command: is_resumable.then(resume),
        };
        self.progress.summary(&summary);
        self.exports.write(summary)
    }
}
