//! The list: asks ImageKit, by reads alone, which files a search finds, and writes them down as input for a run.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use imagekit_bulk_delete::check::Sheet;
use imagekit_bulk_delete::human::{bytes, counted, grouped, seconds};
use imagekit_bulk_delete::job::Ending;
use imagekit_bulk_delete::list::{self, ListError, Listed, Query};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::stop::Reason;
use imagekit_bulk_delete::summary::Summary;
use tokio::select;

use super::account::{Account, existing};
use super::exit;
use super::prepare::{limits, listen};
use super::process;
use super::run::Run;
use crate::progress::Progress;

impl Run<'_> {
    /// Lists what `query` finds; the exit code.
    pub(super) async fn list(&self, query: &str) -> Result<u8> {
        let query = Query::parse(query)?;
        // The sandbox serves as long as the account is held.
        let account = Account::open(self.cli, self.progress)?;
        let api = account.api(self.cli, &self.stop)?;
        self.stats.connect(Rc::clone(&api));
        let signals = listen()?;
        let mut sheet = Sheet::create(&self.paths.report, existing(self.cli))?;
        let so_far = Cell::new(Listed::default());
        let each = |found: &Listed| {
            so_far.set(*found);
            self.stats.set_listed(found.files);
        };
        let (limits, throttle) = (limits(self.cli), api.throttle());
        let timeout = self.cli.speed.timeout;
        let reserve = process::reserve_files();
        let ended = select! {
            biased;
            _ = signals.watch(&self.stop, self.progress, timeout) => Err(ListError::Stopped),
            never = limits.watch_time(&throttle, &self.stop) => match never {},
            never = self.progress.show_line(|| progress_line(&so_far.get())) => match never {},
            never = self.exports.keep(Rc::clone(&self.stats)) => match never {},
            ended = list::run(&query, &api, &mut sheet, each) => ended,
        };
        drop(reserve);
        self.stats.end();
        let ended = ended.and_then(|found| Ok(sheet.complete().map(|()| found)?));
        self.finish_list(ended, sheet)
    }

    fn finish_list(&self, ended: Result<Listed, ListError>, sheet: Sheet) -> Result<u8> {
        let error = match ended {
            Ok(found) => {
                self.tell_complete(&found);
                return Ok(self.export(&Ending::Completed));
            }
            Err(error) => error,
        };
        give_up(sheet, "list", self.progress);
        let (ListError::Stopped, Some(reason)) = (&error, self.stop.reason()) else {
            return Err(error.into());
        };
        if let Reason::Unreachable(_) = reason {
            return Err(anyhow!("{reason}"));
        }
        let took = seconds(self.stats.elapsed());
        self.progress.must_know(&format!(
            "stopped after {took}: {reason}; nothing was deleted"
        ));
        Ok(self.export(&Ending::Stopped(reason)))
    }

    fn tell_complete(&self, found: &Listed) {
        let took = seconds(self.stats.elapsed());
        let requests = counted(self.stats.traffic().requests, "request", "requests");
        let mut text = format!(
            "listed: {}, {} in {took}, with {requests}; nothing was deleted\n",
            counted(found.files, "file", "files"),
            bytes(found.bytes)
        );
        if let (Some(oldest), Some(newest)) = (found.oldest, found.newest) {
            let _ = writeln!(text, "uploaded from {oldest:.0} to {newest:.0}");
        }
        if found.left_out > 0 {
            let left_out = grouped(found.left_out);
            let _ = writeln!(
                text,
                "warning: {left_out} rows were versions or folders and were left out"
            );
        }
        let _ = write!(text, "written to: {}", self.paths.report);
        if found.files == 0 {
            // What would be deleted next is nothing: a person must know.
            self.progress.must_know("the query finds no files");
        }
        self.progress.notice(&text);
    }

    fn export(&self, ending: &Ending) -> u8 {
        let report = self.paths.report_name();
        let is_left = *ending == Ending::Completed || self.paths.report == Destination::Stdout;
        self.exports.write(Summary {
            asked: &self.exports.asked,
            stats: &self.stats,
            ending,
            exit_code: exit::of_run(ending, &self.stats),
            report: is_left.then_some(&report),
            resume_command: None,
        })
    }
}

/// An incomplete list or check never has the name of a complete one, and an empty one is none.
pub(super) fn give_up(sheet: Sheet, what: &str, progress: &Progress) {
    if sheet.rows() == 0 {
        // One that stays is replaced by the next try.
        let _ = sheet.discard();
        return;
    }
    let rows = counted(sheet.rows(), "row", "rows");
    let place = sheet.path().map(|path| path.display().to_string());
    let place = place.unwrap_or_else(|| "stdout".into());
    progress.must_know(&format!(
        "the {what} is not complete: {rows} so far are in {place}"
    ));
}

fn progress_line(found: &Listed) -> String {
    let files = counted(found.files, "file", "files");
    format!("{files} listed, {}", bytes(found.bytes))
}
