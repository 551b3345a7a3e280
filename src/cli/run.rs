//! One run from typed options to an exit code: opens everything, asks, runs the job, sums up.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use futures::StreamExt;
use imagekit_bulk_delete::check::SheetError;
use imagekit_bulk_delete::deleter::Deleter;
use imagekit_bulk_delete::job::{self, Purging, Step};
use imagekit_bulk_delete::line::Line;
use imagekit_bulk_delete::outcome::{Outcome, Status};
use imagekit_bulk_delete::purge::PurgeCache;
use imagekit_bulk_delete::report::{
    self, AppendError, Counts, Destination, Flusher, OpenError, Opened, PendingPurges, Report,
    Request,
};
use imagekit_bulk_delete::source::{SourceError, Sources};
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::summary::{Tally, grouped, seconds};
use imagekit_bulk_delete::target::Record;
use imagekit_bulk_delete::throttle::Throttle;
use tokio::select;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::level_filters::LevelFilter;

use super::account::{self, Account};
use super::books::Books;
use super::check;
use super::closing::{self, Audience};
use super::disk;
use super::dry_run;
use super::generate;
use super::machines::Machines;
use super::options::{Cli, LogFormat, LogLevel};
use super::outputs;
use super::page::{self, Page};
use super::prepare::{Readiness, listen, make_ready, open_sources, required_terminal};
use super::signals::Signals;
use super::total;
use crate::progress::{Progress, Sight, Started};

/// Another run holds the report (contract: Exit codes); `EX_TEMPFAIL` of sysexits.h.
pub(super) const LOCKED: u8 = 75;
const USAGE: u8 = 2;
const INPUT_BROKE: u8 = 6;
const REPORT_BROKEN: u8 = 5;

/// Runs what was asked for; the error is one of set-up, before anything was deleted.
pub(crate) fn run(cli: &Cli) -> Result<u8> {
    if let Some(document) = cli.display.generate {
        return generate::print(document).map(|()| 0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let progress = Progress::new(&cli.display);
        start_log(cli, &progress);
        outputs::check(cli)?;
        match (cli.safety.sandbox_listen, &cli.report.from_report) {
            (Some(address), _) => super::account::serve_sandbox(address, &progress).await,
            (None, Some(report)) => page::from_report(cli, report, &progress),
            (None, None) if cli.look.check => check::check(cli, &progress).await,
            (None, None) if cli.look.dry_run => dry_run::dry_run(cli, &progress).await,
            (None, None) => delete_and_tell(cli, &progress).await,
        }
    });
    // A reader that waits for stdin or a terminal must not hold the end up.
    runtime.shutdown_background();
    code
}

/// An error and its causes, as far as it does not name them itself.
pub(crate) fn in_words(error: &Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// The exit code of an error of set-up.
pub(crate) fn exit_code_of(error: &Error) -> u8 {
    let report = error.downcast_ref::<OpenError>();
    let sheet = error.downcast_ref::<SheetError>();
    if report.is_some_and(OpenError::is_locked) {
        LOCKED
    } else if report.is_some_and(OpenError::is_unwritable)
        || sheet.is_some_and(SheetError::is_unwritable)
    {
        REPORT_BROKEN
    } else if error
        .downcast_ref::<SourceError>()
        .is_some_and(SourceError::is_break)
    {
        INPUT_BROKE
    } else {
        USAGE
    }
}

fn start_log(cli: &Cli, progress: &Progress) {
    let level = match cli.display.log_level {
        _ if cli.display.quiet && cli.display.log_level == LogLevel::Warn => LevelFilter::ERROR,
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(progress.clone())
        .with_target(false);
    match cli.display.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Machines hear of every end, that of a run that never began too.
async fn delete_and_tell(cli: &Cli, progress: &Progress) -> Result<u8> {
    let machines = Machines::open(cli, progress)?;
    let ended = delete(cli, progress, &machines).await;
    match &ended {
        Ok(code) => machines.tell_refusal("ended by a signal before it began", *code),
        Err(error) => machines.tell_refusal(&in_words(error), exit_code_of(error)),
    }
    ended
}

async fn delete(cli: &Cli, progress: &Progress, machines: &Machines<'_>) -> Result<u8> {
    // Whether a person can be asked is known before anything is opened.
    let terminal = if cli.safety.yes || cli.safety.sandbox {
        None
    } else {
        Some(required_terminal()?)
    };
    let account = Account::open(cli, progress)?;
    // What can be refused is refused before there is a report.
    let stop = Stop::new();
    let line = account.line(cli, &stop)?;
    let sources = open_sources(cli, progress)?;
    let mut signals = listen()?;
    let destination = account::destination(cli, sources.first_name());
    let page = Page::of_run(cli, &destination)?;
    if let Some(warning) = disk::warning(&destination, &sources) {
        progress.notice(&warning);
    }
    let mut opened = open_report(cli, progress, &account, &destination)?;
    let index = std::mem::take(&mut opened.index);
    let ready = select! {
        ready = make_ready(cli, &account, sources, index, opened.pending_purges.len(), terminal) => ready,
        number = signals.next() => Ok(Readiness::Left(Reason::Signal(number).exit_code())),
    };
    match ready {
        Ok(Readiness::Go {
            sources,
            index,
            total,
        }) => {
            opened.index = *index;
            Run {
                cli,
                progress,
                machines,
                stop,
                line,
                total,
                page,
            }
            .go(*sources, opened, signals)
            .await
        }
        Ok(Readiness::Left(code)) => opened.report.discard().map(|()| code).map_err(Error::from),
        Err(error) => {
            opened.report.discard()?;
            Err(error)
        }
    }
}

fn open_report(
    cli: &Cli,
    progress: &Progress,
    account: &Account,
    destination: &Destination,
) -> Result<Opened, OpenError> {
    let opened = report::open(&Request {
        destination,
        existing: account::existing(cli),
        job: &account.job(),
        batch_size: cli.speed.batch_size(),
        max_purges: cli.cache.max_purges(),
    })?;
    opened
        .notices
        .iter()
        .for_each(|notice| progress.notice(notice));
    Ok(opened)
}

/// A run for which everything is opened.
struct Run<'a> {
    cli: &'a Cli,
    progress: &'a Progress,
    machines: &'a Machines<'a>,
    stop: Stop,
    line: Rc<Line>,
    total: Option<u64>,
    page: Option<Page>,
}

impl Run<'_> {
    async fn go(&self, sources: Sources, mut opened: Opened, signals: Signals) -> Result<u8> {
        let (cli, stop) = (self.cli, &self.stop);
        let journal = opened.report.journal();
        let deleter = Deleter::new(Rc::clone(&self.line), journal, cli.speed.batch_size());
        let purge = || PurgeCache::new(Rc::clone(&self.line));
        let purging = Purging {
            cache: cli.cache.purge_cache.then(purge),
            due: std::mem::take(&mut opened.pending_purges),
        };
        let mut books = Books::new(opened, self.progress, self.total.map(|_| stop.clone()));
        let sight = Sight {
            tally: Arc::default(),
            traffic: self.line.traffic(),
            throttle: self.line.throttle(),
            stop: stop.clone(),
            passed: Arc::clone(&books.passed),
            expected: total::expected(cli, self.total, &sources, self.progress),
            earlier: books.opened.settled.iter().sum(),
            started: Started::now(),
        };
        add_earlier(&sight.tally, &books.opened.settled);

        let mut guards = self.guards(&books.opened.report, stop, &sight.throttle)?;
        let left_at_once = select! {
            biased;
            number = signals.watch(stop, self.progress, cli.speed.timeout) => Some(number),
            never = self.progress.show(sight.clone()) => match never {},
            never = self.machines.keep(sight.clone()) => match never {},
            () = self.delete(sources, &deleter, purging, &mut books, stop, &sight) => None,
        };
        guards.abort_all();
        self.progress.clear();
        let audience = Audience {
            cli,
            progress: self.progress,
            machines: self.machines,
            page: self.page.as_ref(),
        };
        match left_at_once {
            Some(number) => Ok(closing::leave(&audience, &mut books, number, &sight)),
            None => closing::close(&audience, books, stop, &sight),
        }
    }

    async fn delete(
        &self,
        sources: Sources,
        deleter: &Deleter,
        purging: Purging<PendingPurges>,
        books: &mut Books<'_>,
        stop: &Stop,
        sight: &Sight,
    ) {
        let books = RefCell::new(books);
        let admit = |record| books.borrow_mut().admit(record);
        let record = |step, outcomes: &[Outcome]| -> Result<(), AppendError> {
            let recorded = books.borrow_mut().record(step, outcomes);
            let outcomes = match &recorded {
                Ok(()) => outcomes,
                Err(error) => &outcomes[..error.rows],
            };
            match step {
                Step::Decided => {
                    sight.tally.add(outcomes);
                    self.check_limits(&sight.tally, stop);
                }
                Step::Purged => sight.tally.add_purged(outcomes),
            }
            recorded
        };
        let prefetch = |records: &Result<Vec<Record>, SourceError>| {
            if let Ok(records) = records {
                books.borrow().opened.index.prefetch(records);
            }
        };
        job::run(
            sources.stream().inspect(prefetch),
            admit,
            deleter,
            purging,
            self.cli.speed.concurrency(),
            stop,
            record,
        )
        .await;
    }

    /// What runs beside the job: flushing, and the limits on time.
    fn guards(
        &self,
        report: &Report,
        stop: &Stop,
        throttle: &Arc<Throttle>,
    ) -> Result<JoinSet<()>> {
        let mut guards = JoinSet::new();
        if let Some(flusher) = report.flusher().context("cannot keep the report flushed")? {
            guards.spawn(flush_each_second(Arc::new(flusher), stop.clone()));
        }
        if let Some(longest) = self.cli.safety.max_duration {
            let stop = stop.clone();
            guards.spawn(async move {
                sleep(longest).await;
                stop.trip(Reason::LimitReached(format!(
                    "--max-duration {} is over",
                    seconds(longest)
                )));
            });
        }
        let (stop, throttle, longest) = (
            stop.clone(),
            Arc::clone(throttle),
            self.cli.speed.max_outage,
        );
        guards.spawn(async move {
            throttle.gave_up().await;
            stop.trip(outage_is_too_long(longest));
        });
        Ok(guards)
    }

    fn check_limits(&self, tally: &Tally, stop: &Stop) {
        let failures = tally.count(Status::Failed) + tally.count(Status::Unknown);
        let missing = tally.count(Status::NotFound);
        let limits = [
            (
                "--max-failures",
                "failed or are unknown",
                self.cli.safety.max_failures,
                failures,
            ),
            (
                "--max-not-found",
                "were not found",
                self.cli.safety.max_not_found,
                missing,
            ),
        ];
        for (option, what, share, count) in limits {
            if let Some(share) = share.filter(|share| share.is_exceeded(count, tally.total())) {
                let text = format!(
                    "{} of {} {what}, more than {option} {share}",
                    grouped(count),
                    grouped(tally.total())
                );
                stop.trip(Reason::LimitReached(text));
            }
        }
    }
}

/// Why a run stops that nothing answered for so long.
pub(crate) fn outage_is_too_long(longest: Duration) -> Reason {
    let text = format!("nothing succeeded for {} (--max-outage)", seconds(longest));
    Reason::LimitReached(text)
}

fn add_earlier(tally: &Tally, settled: &Counts) {
    for status in Status::ALL {
        tally.add_earlier(status, settled[status as usize]);
    }
}

/// Rows survive a power cut to within a second. Flushing takes long, so it has a thread of its own.
async fn flush_each_second(flusher: Arc<Flusher>, stop: Stop) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let flusher = Arc::clone(&flusher);
        if let Ok(Err(error)) = spawn_blocking(move || flusher.check()).await {
            stop.trip(Reason::ReportBroken(error.to_string()));
            return;
        }
    }
}
