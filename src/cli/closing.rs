//! The end of a run: the report made whole, what happened told, the exit code said.

use anyhow::{Result, anyhow};
use imagekit_bulk_delete::html::RunFacts;
use imagekit_bulk_delete::report::{self, Finished, Report};
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::summary::{Ending, Purges, Summary, Tally, Told};
use jiff::Timestamp;

use super::books::Books;
use super::machines::Machines;
use super::options::Cli;
use super::page::Page;
use super::resume_command::resume_command;
use crate::progress::{Progress, Sight};

/// The report's name where it has none.
const STDOUT: &str = "-";

/// What stands of a run when its report is closed.
struct Closed {
    ending: Ending,
    /// Counts of the whole report; `None` where it was not read anew.
    finished: Option<Finished>,
    /// The report's name, `-` for stdout; `None` where none is left.
    report: Option<String>,
    is_resumable: bool,
    is_purging: bool,
    records: u64,
    odd_ids: u64,
}

/// Who is told how a run ended.
pub(crate) struct Audience<'a> {
    pub(crate) cli: &'a Cli,
    pub(crate) progress: &'a Progress,
    pub(crate) machines: &'a Machines<'a>,
    pub(crate) page: Option<&'a Page>,
}

/// Makes the report whole, tells what happened, and says the exit code.
pub(crate) fn close(
    audience: &Audience<'_>,
    books: Books<'_>,
    stop: &Stop,
    sight: &Sight,
) -> Result<u8> {
    let stopped = stop.reason();
    if let Some(reason @ Reason::Unreachable(_)) = stopped {
        audience.machines.tell(
            &summary(
                audience,
                sight,
                &unreachable(&reason, sight),
                &sight.tally,
                Told::Yes,
            ),
            sight,
        );
        books.opened.report.discard()?;
        return Err(anyhow!("{reason}"));
    }
    let closed = finish(books, stopped);
    let page = audience.page.map_or(Told::Yes, |page| {
        page.write_after(&facts(&closed.ending, sight), audience.progress)
    });
    Ok(tell(audience, sight, &closed, page))
}

/// Tells what there is to tell of a run that is left with requests in flight: the report stays as it is.
pub(crate) fn leave(
    audience: &Audience<'_>,
    books: &mut Books<'_>,
    number: i32,
    sight: &Sight,
) -> u8 {
    let (_, released) = books.opened.report.leave();
    if let Err(error) = released {
        audience.progress.error(&error.to_string());
    }
    let closed = Closed {
        ending: Ending::Stopped(stop_reason(sight, number)),
        finished: None,
        report: Some(name(&books.opened.report)),
        is_resumable: books.opened.report.is_resumable(),
        is_purging: books.opened.report.is_purging(),
        records: sight.passed.records(),
        odd_ids: books.odd_ids,
    };
    audience
        .progress
        .notice("left at once; what was in flight is settled by --resume");
    tell(audience, sight, &closed, Told::Yes)
}

/// A graver reason than the signal stays the reason.
fn stop_reason(sight: &Sight, number: i32) -> Reason {
    let signal = Reason::Signal(number);
    sight
        .stop
        .reason()
        .map_or(signal.clone(), |reason| reason.min(signal))
}

/// A run whose host was never reached leaves no report.
fn unreachable(reason: &Reason, sight: &Sight) -> Closed {
    Closed {
        ending: Ending::Stopped(reason.clone()),
        finished: None,
        report: None,
        is_resumable: false,
        is_purging: false,
        records: sight.passed.records(),
        odd_ids: 0,
    }
}

fn name(report: &Report) -> String {
    if report.is_resumable() {
        report.name().to_owned()
    } else {
        STDOUT.to_owned()
    }
}

fn finish(books: Books<'_>, mut stopped: Option<Reason>) -> Closed {
    let Books {
        opened,
        passed,
        odd_ids,
        ..
    } = books;
    let mut index = opened.index;
    let records = passed.records();
    let report = Some(name(&opened.report));
    let (is_resumable, is_purging) = (opened.report.is_resumable(), opened.report.is_purging());
    let ending = match &stopped {
        None => report::Ending::Completed { records },
        Some(Reason::KeyRefused(_)) => report::Ending::KeyRefused,
        Some(Reason::ReportBroken(_)) => report::Ending::Broken,
        Some(_) => report::Ending::Stopped,
    };
    let finished = match opened.report.finish(&mut index, ending) {
        (finished, Ok(())) => Some(finished).filter(|_| stopped.is_none()),
        (_, Err(error)) => {
            let broken = Reason::ReportBroken(error.to_string());
            stopped = Some(stopped.map_or(broken.clone(), |reason| reason.min(broken)));
            None
        }
    };
    Closed {
        ending: stopped.map_or(Ending::Completed, Ending::Stopped),
        finished,
        report,
        is_resumable,
        is_purging,
        records,
        odd_ids,
    }
}

fn tell(audience: &Audience<'_>, sight: &Sight, closed: &Closed, page: Told) -> u8 {
    let whole = closed.finished.map(|finished| Tally::of(finished.counts));
    let tally = whole.as_ref().unwrap_or(&sight.tally);
    let summary = summary(audience, sight, closed, tally, page);
    audience.progress.summary(&summary);
    audience.machines.tell(&summary, sight)
}

fn summary<'a>(
    audience: &Audience<'_>,
    sight: &Sight,
    closed: &'a Closed,
    tally: &'a Tally,
    page: Told,
) -> Summary<'a> {
    Summary {
        tally,
        failures: sight.tally.failures(),
        ending: closed.ending.clone(),
        records: match closed.ending {
            Ending::Completed => closed.records,
            _ => sight.expected.exact().unwrap_or_else(|| sight.done()),
        },
        done: sight.done(),
        total: sight.expected.exact(),
        kept_rows: closed.finished.map_or(0, |finished| finished.kept_rows),
        kept_unsettled: closed
            .finished
            .map_or(0, |finished| finished.kept_unsettled),
        odd_ids: closed.odd_ids,
        requests: sight.traffic.requests(),
        retries: sight.traffic.retries(),
        throttled: sight.throttle.throttled_count(),
        paused: sight.throttle.paused(),
        started_at: sight.started.at,
        elapsed: sight.started.instant.elapsed(),
        limits: sight.throttle.seen_limits(),
        purges: purges(closed, sight),
        page,
        report: closed.report.as_deref(),
        resume_command: command_to_go_on(audience.cli, closed),
    }
}

/// `None` where nothing can be gone on with.
fn command_to_go_on(cli: &Cli, closed: &Closed) -> Option<String> {
    let report = closed.report.as_deref().filter(|_| closed.is_resumable)?;
    Some(resume_command(cli.report.report.as_deref(), report))
}

/// What the report tells of purges, of earlier runs' too; `None` where there is nothing to tell.
fn purges(closed: &Closed, sight: &Sight) -> Option<Purges> {
    let purges = match &closed.finished {
        Some(finished) => Purges::from(finished.purges),
        None => sight.tally.purges(),
    };
    (closed.is_purging || purges != Purges::default()).then_some(purges)
}

/// What the run knows that its report does not say, for the page.
fn facts(ending: &Ending, sight: &Sight) -> RunFacts {
    RunFacts {
        began: sight.started.at,
        ended: Timestamp::now(),
        stopped: match ending {
            Ending::Completed => None,
            Ending::Stopped(reason) => Some(reason.to_string()),
            Ending::Refused { reason, .. } => Some(reason.clone()),
        },
        requests: sight.traffic.requests(),
        retries: sight.traffic.retries(),
        throttled: sight.throttle.throttled_count(),
        paused: sight.throttle.paused(),
        pauses: sight.throttle.pauses(),
    }
}
