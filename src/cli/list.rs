//! The list: asks ImageKit, by reads alone, which files a search finds, and writes them down as input for a run.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use imagekit_bulk_delete::check::Sheet;
use imagekit_bulk_delete::human::{bytes, counted, grouped, seconds};
use imagekit_bulk_delete::job::{Ending, RunStats};
use imagekit_bulk_delete::list::{self, ListError, Listed, Query};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::summary::Summary;
use tokio::select;

use super::account::{Account, existing};
use super::exit;
use super::exports::Exports;
use super::options::Cli;
use super::paths::Paths;
use super::prepare::{kind, limits, listen, rehearse};
use super::process;
use crate::progress::Progress;

/// Lists what `query` finds, and exports every end; the exit code.
pub(crate) async fn list(cli: &Cli, paths: &Paths, progress: &Progress, query: &str) -> Result<u8> {
    if let Some(real) = &paths.real {
        rehearse(cli, real, progress)?;
    }
    let exports = Exports::open(cli, paths, progress)?;
    let stop = Stop::new();
    let listing = Listing {
        cli,
        paths,
        progress,
        exports: &exports,
        stats: Rc::new(RunStats::new(kind(cli), stop.clone())),
        stop,
    };
    let ended = listing.run(query).await;
    if let Err(error) = &ended {
        exports.write_refusal(
            &listing.stats,
            &exit::in_words(error),
            exit::of_error(error),
        );
    }
    ended
}

struct Listing<'a> {
    cli: &'a Cli,
    paths: &'a Paths,
    progress: &'a Progress,
    exports: &'a Exports<'a>,
    stats: Rc<RunStats>,
    stop: Stop,
}

impl Listing<'_> {
    async fn run(&self, query: &str) -> Result<u8> {
        let query = Query::parse(query)?;
        // The sandbox serves as long as the account is held.
        let account = Account::open(self.cli, self.progress)?;
        let line = account.api(self.cli, &self.stop)?;
        self.stats.connect(Rc::clone(&line));
        let signals = listen()?;
        let mut sheet = Sheet::create(&self.paths.report, existing(self.cli))?;
        let so_far = Cell::new(Listed::default());
        let each = |found: &Listed| {
            so_far.set(*found);
            self.stats.set_listed(found.files);
        };
        let (limits, throttle) = (limits(self.cli), line.throttle());
        let timeout = self.cli.speed.timeout;
        let reserve = process::reserve_files();
        let ended = select! {
            biased;
            number = signals.watch(&self.stop, self.progress, timeout) => {
                self.stop.trip(Reason::Signal(number));
                Err(ListError::Stopped)
            }
            never = limits.watch_time(&throttle, &self.stop) => match never {},
            never = self.progress.show_line(|| progress_line(&so_far.get())) => match never {},
            never = self.exports.keep(Rc::clone(&self.stats)) => match never {},
            ended = list::run(&query, &line, &mut sheet, each) => ended,
        };
        drop(reserve);
        self.stats.end();
        self.finish(ended, sheet)
    }

    fn finish(&self, ended: Result<Listed, ListError>, mut sheet: Sheet) -> Result<u8> {
        let reason = match (ended, self.stop.reason()) {
            (Ok(found), _) => {
                sheet.complete().map_err(ListError::from)?;
                self.tell_complete(&found);
                return Ok(self.export(&Ending::Completed));
            }
            (Err(ListError::Stopped), Some(reason)) => reason,
            (Err(error), _) => {
                give_up(sheet, "list", self.progress);
                return Err(error.into());
            }
        };
        give_up(sheet, "list", self.progress);
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
        let requests = counted(self.stats.requests(), "request", "requests");
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
        let name = self.paths.report_name();
        let name = if name == "-" { "stdout" } else { &name };
        let _ = write!(text, "written to: {name}");
        if found.files == 0 {
            // What would be deleted next is nothing: a person must know.
            self.progress.must_know("the query finds no files");
        }
        self.progress.notice(&text);
    }

    fn export(&self, ending: &Ending) -> u8 {
        let report = self.paths.report_name();
        let is_left = *ending == Ending::Completed || self.paths.report == Destination::Stdout;
        self.exports.write(&Summary {
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
