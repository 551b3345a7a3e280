//! The check: a dry run that asks ImageKit, by reads alone, which of the IDs exist.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use futures::{Stream, StreamExt as _};
use imagekit_bulk_delete::api::Api;
use imagekit_bulk_delete::check::{self, Sheet, Totals};
use imagekit_bulk_delete::human::{bytes, counted, grouped};
use imagekit_bulk_delete::lookup::Lookup;
use imagekit_bulk_delete::report::ResumeIndex;
use imagekit_bulk_delete::source::SourceError;
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::target::Record;
use tokio::select;

use super::account::{Account, existing};
use super::exit;
use super::options::Cli;
use super::paths::Paths;
use super::prepare::{
    check_caps, count, has_caps, limits, listen, load_exceptions, open_sources, urls,
};
use super::signals::Signals;
use crate::progress::Progress;

/// Asks for each distinct ID and writes what ImageKit says; the exit code.
pub(crate) async fn check(cli: &Cli, paths: &Paths, progress: &Progress) -> Result<u8> {
    let stop = Stop::new();
    // The sandbox serves as long as the account is held.
    let account = Account::open(cli, progress)?;
    let api = account.api(cli, &stop)?;
    let mut sources = open_sources(cli, progress)?;
    let (mut index, _) = load_exceptions(cli, ResumeIndex::default(), progress).await?;
    let mut signals = listen()?;
    if has_caps(cli) {
        let counted = select! {
            counted = count(sources, index, urls(cli)) => counted?,
            number = signals.next() => return Ok(exit::of_reason(&Reason::Signal(number))),
        };
        check_caps(cli, &counted.stats, 0)?;
        (sources, index) = (*counted.sources, *counted.index);
    }
    let mut records = sources.stream()?;
    let excluded = Cell::new(0);
    let checked = (&mut records)
        .map(|records| records.map(|records| without_exceptions(records, &index, &excluded)));
    let mut sheet = Sheet::create(&paths.report, existing(cli))?;
    super::dry_run::mention_what_is_not_written(cli, progress);
    let asked = ask(cli, progress, api, checked, signals, &stop, &mut sheet).await;
    let Some(totals) = asked else {
        return Ok(stop
            .reason()
            .map_or(exit::TROUBLE, |reason| exit::of_reason(&reason)));
    };
    if let Some(reason @ Reason::Unreachable(_)) = stop.reason() {
        // As a run whose host was never reached: nothing is left that the next try would be refused for.
        sheet.discard().context("cannot take the sheet away")?;
        bail!("{reason}");
    }
    if excluded.get() > 0 {
        let excluded = counted(excluded.get(), "record is", "records are");
        progress.notice(&format!("{excluded} excluded and not asked for"));
    }
    for notice in records.skipped() {
        progress.notice(&notice);
    }
    progress.notice(in_words(&totals, stop.reason().as_ref(), sheet.name()).trim_end());
    if totals.asked + totals.invalid + excluded.get() == 0 && !stop.is_tripped() {
        progress.must_know("warning: the input has no records");
    }
    let trouble = totals.invalid + totals.unclear;
    if trouble > 0 && cli.display.quiet {
        let trouble = counted(trouble, "record is", "records are");
        progress.error(&format!("{trouble} invalid or could not be checked"));
    }
    Ok(match stop.reason() {
        Some(reason) => exit::of_reason(&reason),
        None if trouble > 0 => exit::TROUBLE,
        None => exit::SETTLED,
    })
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

/// Asks; `None` if a second signal made it leave at once.
async fn ask(
    cli: &Cli,
    progress: &Progress,
    api: Rc<Api>,
    records: impl Stream<Item = Result<Vec<Record>, SourceError>> + Unpin,
    signals: Signals,
    stop: &Stop,
    sheet: &mut Sheet,
) -> Option<Totals> {
    let speed = &cli.speed;
    let throttle = api.throttle();
    let lookup = Lookup::new(api);
    let limits = limits(cli);
    let counts = Cell::new((0, 0));
    let each = |totals: &Totals| counts.set((totals.asked, totals.there));
    select! {
        biased;
        _ = signals.watch(stop, progress, speed.timeout) => None,
        never = limits.watch_time(&throttle, stop) => match never {},
        never = progress.show_line(|| progress_line(counts.get())) => match never {},
        totals = check::run(records, &lookup, speed.concurrency, stop, sheet, each) => Some(totals),
    }
}

fn progress_line((asked, there): (u64, u64)) -> String {
    format!("{} asked for, {} exist", grouped(asked), grouped(there))
}

fn in_words(totals: &Totals, stopped: Option<&Reason>, sheet: &str) -> String {
    let asked = counted(totals.asked, "ID", "IDs");
    let (mut text, separator) = match stopped {
        None => (format!("checked {asked} (nothing was deleted)"), ": "),
        Some(reason) => (format!("stopped: {reason}; nothing was deleted"), "\n"),
    };
    if totals.asked > 0 {
        text.push_str(separator);
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
    let _ = writeln!(text, "written to: {sheet}");
    text
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
