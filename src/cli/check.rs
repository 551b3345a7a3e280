//! The check: a dry run that asks ImageKit, by reads alone, which of the IDs exist.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use imagekit_bulk_delete::check::{self, Sheet, Totals};
use imagekit_bulk_delete::human::{bytes, counted, grouped};
use imagekit_bulk_delete::report::ResumeIndex;
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::target::Record;
use tokio::select;

use super::account::{Account, existing};
use super::dry_run::mention_what_is_not_written;
use super::exit;
use super::list::give_up;
use super::options::Cli;
use super::paths::Paths;
use super::prepare::{Inputs, check_caps, has_caps, limits, listen, open_sources, rehearse};
use crate::progress::Progress;

/// Asks for each distinct ID and writes what ImageKit says; the exit code.
pub(crate) async fn check(cli: &Cli, paths: &Paths, progress: &Progress) -> Result<u8> {
    if let Some(real) = &paths.real {
        rehearse(cli, real, progress)?;
    }
    let stop = Stop::new();
    // The sandbox serves as long as the account is held.
    let account = Account::open(cli, progress)?;
    let api = account.api(cli, &stop)?;
    let sources = open_sources(cli, progress)?;
    let mut inputs = Inputs::load(cli, sources, ResumeIndex::default(), progress).await?;
    let mut signals = listen()?;
    if has_caps(cli) {
        let (counted, stats) = select! {
            counted = inputs.count(cli) => counted?,
            number = signals.next() => return Ok(exit::of_reason(&Reason::Signal(number))),
        };
        check_caps(cli, &stats, 0)?;
        inputs = counted;
    }
    let Inputs { sources, index, .. } = inputs;
    let mut records = sources.stream()?;
    let excluded = Cell::new(0);
    let checked = (&mut records)
        .map(|records| records.map(|records| without_exceptions(records, &index, &excluded)));
    let mut sheet = Sheet::create(&paths.report, existing(cli))?;
    mention_what_is_not_written(cli, progress);
    let (limits, throttle) = (limits(cli), api.throttle());
    // Known even where a second signal leaves the check at once.
    let so_far = RefCell::new(Totals::default());
    let each = |totals: &Totals| so_far.borrow_mut().clone_from(totals);
    let totals = select! {
        biased;
        _ = signals.watch(&stop, progress, cli.speed.timeout) => None,
        never = limits.watch_time(&throttle, &stop) => match never {},
        never = progress.show_line(|| progress_line(&so_far.borrow())) => match never {},
        totals = check::run(checked, &api, cli.speed.concurrency, &mut sheet, each) => Some(totals),
    };
    progress.notice(&records.skipped().join("\n"));
    let checked = Checked {
        totals: totals.unwrap_or_else(|| so_far.take()),
        excluded: excluded.get(),
        name: paths.report.to_string(),
    };
    checked.finish(cli, sheet, &stop, progress)
}

/// The records that no list of `--except` names.
fn without_exceptions(
    mut records: Vec<Record>,
    index: &ResumeIndex,
    excluded: &Cell<u64>,
) -> Vec<Record> {
    let all = records.len();
    records.retain(|record| !index.is_excepted(record.file_id()));
    excluded.set(excluded.get() + (all - records.len()) as u64);
    records
}

fn progress_line(totals: &Totals) -> String {
    let (asked, there) = (grouped(totals.asked), grouped(totals.there));
    format!("{asked} asked for, {there} exist")
}

/// What a check found.
struct Checked {
    totals: Totals,
    /// Records that were not asked for.
    excluded: u64,
    /// The sheet's name once it is complete.
    name: String,
}

impl Checked {
    /// Tells it, and keeps a sheet of that alone; the exit code.
    fn finish(&self, cli: &Cli, mut sheet: Sheet, stop: &Stop, progress: &Progress) -> Result<u8> {
        if !stop.is_tripped()
            && let Err(error) = sheet.complete()
        {
            stop.trip(Reason::ReportBroken(error.to_string()));
        }
        if self.excluded > 0 {
            let excluded = counted(self.excluded, "record is", "records are");
            progress.notice(&format!("{excluded} excluded and not asked for"));
        }
        let asked = counted(self.totals.asked, "ID", "IDs");
        if let Some(reason) = stop.reason() {
            give_up(sheet, "check", progress);
            if let Reason::Unreachable(_) = reason {
                bail!("{reason}");
            }
            let stopped = format!("stopped: {reason}; nothing was deleted; checked {asked}");
            progress.must_know(self.describe(stopped).trim_end());
            return Ok(exit::of_reason(&reason));
        }
        let text = self.describe(format!("checked {asked} (nothing was deleted)"));
        progress.notice(&format!("{text}written to: {}", self.name));
        if self.totals.asked + self.totals.invalid + self.excluded == 0 {
            progress.must_know("warning: the input has no records");
        }
        let trouble = self.totals.invalid + self.totals.unclear;
        if trouble > 0 && cli.display.quiet {
            let trouble = counted(trouble, "record is", "records are");
            progress.error(&format!("{trouble} invalid or could not be checked"));
        }
        Ok(if trouble > 0 {
            exit::TROUBLE
        } else {
            exit::SETTLED
        })
    }

    fn describe(&self, mut text: String) -> String {
        let totals = &self.totals;
        if totals.asked > 0 {
            text.push_str(": ");
            write_found(&mut text, totals);
        }
        text.push('\n');
        for (count, what) in [
            (totals.unclear, "could not be checked"),
            (totals.invalid, "invalid"),
            (totals.duplicates, "duplicate"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{} {what}", grouped(count));
            }
        }
        for named in &totals.named {
            let _ = writeln!(text, "warning: {named}");
        }
        text
    }
}

fn write_found(text: &mut String, totals: &Totals) {
    if totals.there == 0 {
        text.push_str("none of these files exists");
        return;
    }
    let (there, asked) = (grouped(totals.there), grouped(totals.asked));
    let _ = write!(text, "{there} of {asked} exist, {}", bytes(totals.bytes));
    if let Some(day) = totals.oldest.as_deref().and_then(|made| made.get(..10)) {
        let _ = write!(text, ", oldest {day}");
    }
    if totals.not_files > 0 {
        let what = counted(
            totals.not_files,
            "is a folder or version",
            "are folders or versions",
        );
        let _ = write!(text, ", {what}");
    }
}
