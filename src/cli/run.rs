//! One command from typed options to an exit code: opens everything, asks, runs the job, tells how it ended.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, bail};
use imagekit_bulk_delete::job::{InputCount, Job, RunStats, Settings};
use imagekit_bulk_delete::report::{self, OpenError, Opened, ReportSettings};
use imagekit_bulk_delete::source::{ExceptLists, RecordStream};
use imagekit_bulk_delete::stop::{Reason, Stop};
use tokio::select;

use super::account::{self, Account};
use super::check;
use super::confirm::Terminal;
use super::docs;
use super::dry_run;
use super::exit;
use super::exports::{self, Exports};
use super::finish::Finish;
use super::log;
use super::misplaced_key;
use super::options::Cli;
use super::paths::Paths;
use super::prepare::{
    Inputs, kind, limits, listen, open_sources, rehearse, require_input, required_terminal,
};
use super::process;
use super::signals::Signals;
use super::total;
use crate::progress::Progress;

/// Runs what was asked for; the error is one of set-up, before anything was deleted.
pub(crate) fn run(cli: &mut Cli) -> Result<u8> {
    if let Some(document) = cli.display.generate {
        return docs::print(document).map(|()| exit::SETTLED);
    }
    misplaced_key::refuse(cli)?;
    let runtime = process::start_runtime()?;
    let shortage = process::fit_open_files(cli)?;
    let code = runtime.block_on(dispatch(cli, shortage));
    // A reader that waits for stdin or a terminal must not hold the end up.
    runtime.shutdown_background();
    code
}

async fn dispatch(cli: &Cli, shortage: Option<String>) -> Result<u8> {
    let progress = Progress::new(&cli.display);
    log::start(cli, &progress);
    for warning in [shortage, misplaced_key::warning(cli)]
        .into_iter()
        .flatten()
    {
        progress.notice(&warning);
    }
    if let Some(address) = cli.safety.sandbox_listen {
        return account::serve_sandbox(address).await;
    }
    let paths = Paths::resolve(cli)?;
    if cli.report.from_report.is_some() {
        exports::page_from_report(&paths, &progress)
    } else if cli.look.check {
        check::check(cli, &paths, &progress).await
    } else if cli.look.dry_run {
        dry_run::dry_run(cli, &paths, &progress).await
    } else {
        list_or_delete(cli, &paths, &progress).await
    }
}

/// Every end is exported for other programs, also that of a run that never began.
async fn list_or_delete(cli: &Cli, paths: &Paths, progress: &Progress) -> Result<u8> {
    if let Some(real) = &paths.real {
        rehearse(cli, real, progress)?;
    }
    let exports = Exports::open(cli, paths, progress)?;
    let stop = Stop::new();
    let run = Run {
        cli,
        paths,
        progress,
        exports: &exports,
        stats: Rc::new(RunStats::new(kind(cli), stop.clone())),
        stop,
    };
    let ended = match &cli.look.list {
        Some(query) => run.list(query).await,
        None => run.delete().await,
    };
    match &ended {
        Ok(code) => {
            exports.write_refusal(&run.stats, "ended by a signal before it began", *code);
        }
        Err(error) => {
            exports.write_refusal(&run.stats, &exit::describe(error), exit::of_error(error));
        }
    }
    ended
}

/// A run that deletes or lists.
pub(super) struct Run<'a> {
    pub(super) cli: &'a Cli,
    pub(super) paths: &'a Paths,
    pub(super) progress: &'a Progress,
    pub(super) exports: &'a Exports<'a>,
    pub(super) stats: Rc<RunStats>,
    pub(super) stop: Stop,
}

impl Run<'_> {
    async fn delete(&self) -> Result<u8> {
        let Self { cli, progress, .. } = *self;
        // Whether a person can be asked is known before anything is opened.
        require_input(cli)?;
        let terminal = self.terminal()?;
        // What can be refused is refused before there is a report.
        let account = Account::open(cli, progress)?;
        let api = account.api(cli, &self.stop)?;
        let sources = open_sources(cli, progress)?;
        let mut signals = listen()?;
        let mut opened = self.open_report(&account)?;
        let (index, due) = (
            std::mem::take(&mut opened.index),
            opened.pending_purges.left(),
        );
        let ready = select! {
            ready = async {
                let inputs = Inputs::load(cli, sources, index, progress).await?;
                inputs.approve(cli, &account, due, terminal).await
            } => ready,
            number = signals.next() => {
                let reason = Reason::Signal(number);
                progress.must_know(&format!("stopped: {reason}; nothing was deleted"));
                opened.report.discard(&opened.index)?;
                return Ok(exit::of_reason(&reason));
            }
        };
        let begun = ready.and_then(|(inputs, total)| {
            self.stats.expect(total::of_run(cli, total, progress));
            opened.index = inputs.index;
            Ok((inputs.sources.stream()?, inputs.except, total.is_some()))
        });
        let (records, except, is_counted) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                opened.report.discard(&opened.index)?;
                return Err(error);
            }
        };
        self.stats.connect(Rc::clone(&api));
        let settings = Settings {
            batch_size: cli.speed.batch_size,
            concurrency: cli.speed.concurrency,
            limits: limits(cli),
            input: if is_counted {
                InputCount::Counted
            } else {
                InputCount::Uncounted
            },
        };
        let job = Job::new(opened, api, settings, Rc::clone(&self.stats));
        self.go(job, records, except, signals).await
    }

    /// Where the question is asked; `None` if nothing is asked.
    fn terminal(&self) -> Result<Option<Terminal>> {
        if self.cli.safety.yes || self.cli.safety.sandbox {
            return Ok(None);
        }
        let is_missing = |path: &PathBuf| path.as_os_str() != "-" && !path.exists();
        let inputs = &self.cli.input;
        required_terminal().map(Some).or_else(|error| {
            if inputs.iter().any(is_missing) {
                open_sources(self.cli, self.progress)?;
            }
            if self.cli.report.html.is_some() && inputs.iter().any(|path| report::is_report(path)) {
                bail!("{error}; to make a page of a report, use --from-report");
            }
            Err(error)
        })
    }

    fn open_report(&self, account: &Account) -> Result<Opened, OpenError> {
        let opened = report::open(&ReportSettings {
            destination: &self.paths.report,
            existing: account::existing(self.cli),
            owner: &account.owner(),
            batch_size: self.cli.speed.batch_size,
            max_purges: self.cli.cache.max_purges(),
        })?;
        self.progress.notice(&opened.notices.join("\n"));
        Ok(opened)
    }

    async fn go(
        &self,
        mut job: Job,
        mut records: RecordStream,
        mut except: ExceptLists,
        signals: Signals,
    ) -> Result<u8> {
        let (cli, progress, stats) = (self.cli, self.progress, &self.stats);
        let reserve = process::reserve_files();
        let left_at_once = select! {
            biased;
            number = signals.watch(&self.stop, progress, cli.speed.timeout) => Some(number),
            never = progress.show(stats) => match never {},
            never = self.exports.keep(Rc::clone(stats)) => match never {},
            () = job.run(&mut records) => None,
        };
        drop(reserve);
        job.note_exceptions(&mut except);
        progress.notice(&records.skipped().join("\n"));
        let finish = Finish {
            cli,
            paths: self.paths,
            progress,
            exports: self.exports,
            stats,
        };
        match left_at_once {
            Some(number) => Ok(finish.leave(&mut job, number)),
            None => finish.close(job),
        }
    }
}
