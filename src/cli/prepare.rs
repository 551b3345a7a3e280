//! What comes before the first request: inputs opened, records counted, caps checked, the question asked.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, anyhow, bail};
use imagekit_bulk_delete::check::Sheet;
use imagekit_bulk_delete::client::BaseUrl;
use imagekit_bulk_delete::human::{counted, grouped};
use imagekit_bulk_delete::job::{Limits, RunKind};
use imagekit_bulk_delete::report::{self, Destination, ResumeIndex};
use imagekit_bulk_delete::source::{ExceptLists, SourceError, Sources};
use tokio::task::spawn_blocking;

use super::account::{self, Account};
use super::confirm::{Question, Terminal};
use super::exports::Exports;
use super::input_stats::{self, InputStats, Urls};
use super::options::Cli;
use super::paths::Paths;
use super::signals::Signals;
use crate::progress::Progress;

/// The inputs, to be read from the start, and what is known of their IDs.
pub(crate) struct Inputs {
    pub(crate) sources: Sources,
    /// What earlier runs left, and which IDs are protected.
    pub(crate) index: ResumeIndex,
    /// The lists of `--except`.
    pub(crate) except: ExceptLists,
}

/// The terminal to ask on, where one must be asked.
pub(crate) fn required_terminal() -> Result<Terminal> {
    Terminal::open().ok_or_else(|| {
        anyhow!("there is no terminal to ask for confirmation on; add --yes to delete without being asked")
    })
}

/// Listens for signals from now on.
pub(crate) fn listen() -> Result<Signals> {
    Signals::listen().context("cannot listen for signals")
}

/// Refuses a command without an input, unless that is piped in.
pub(crate) fn require_input(cli: &Cli) -> Result<()> {
    if cli.input.is_empty() && std::io::stdin().is_terminal() {
        bail!(
            "no input; name a CSV file, as in `imagekit-bulk-delete old-files.csv`, or pipe IDs in; --help explains"
        );
    }
    Ok(())
}

/// Opens the inputs and says how they are read.
pub(crate) fn open_sources(cli: &Cli, progress: &Progress) -> Result<Sources> {
    require_input(cli)?;
    let sources = Sources::open(&cli.inputs()?, &cli.reading.options()?)?;
    progress.notice(&sources.notices().join("\n"));
    Ok(sources)
}

impl Inputs {
    /// Reads the lists of `--except` into the index, on a thread of its own; nothing is sent before.
    pub(crate) async fn load(
        cli: &Cli,
        sources: Sources,
        mut index: ResumeIndex,
        progress: &Progress,
    ) -> Result<Self> {
        let lists = cli.exceptions()?;
        let loading = spawn_blocking(move || {
            let except = ExceptLists::load(&lists, |id| index.except(id));
            except.map(|except| (index, except))
        });
        let (index, except) = loading.await.context("reading --except failed")??;
        progress.notice(&except.notices().join("\n"));
        Ok(Self {
            sources,
            index,
            except,
        })
    }

    /// Reads them once, on a thread of its own: a signal is heard meanwhile, even if a pipe gives nothing.
    pub(crate) async fn count(self, cli: &Cli) -> Result<(Self, InputStats)> {
        let urls = if cli.cache.purge_cache {
            Urls::Counted
        } else {
            Urls::Left
        };
        let counting = spawn_blocking(move || -> Result<_, SourceError> {
            let Self {
                mut sources,
                mut index,
                except,
            } = self;
            sources.spool()?;
            let mut records = sources.stream()?;
            let stats = input_stats::collect(&mut records, &mut index, urls)?;
            let sources = records.into_sources();
            let inputs = Self {
                sources: sources.expect("they are handed back at the end"),
                index,
                except,
            };
            Ok((inputs, stats))
        });
        Ok(counting.await.context("counting the records failed")??)
    }

    /// Counts, checks the caps and asks, where that is wanted; nothing is sent before. `due` purges are left from
    /// earlier runs. With it how many records there are, if they were counted.
    pub(crate) async fn approve(
        self,
        cli: &Cli,
        account: &Account,
        due: usize,
        terminal: Option<Terminal>,
    ) -> Result<(Self, Option<u64>)> {
        if terminal.is_none() && !has_caps(cli) {
            return Ok((self, None));
        }
        let (inputs, stats) = self.count(cli).await?;
        check_caps(cli, &stats, due)?;
        if let Some(terminal) = terminal
            && stats.to_send > 0
        {
            let question = Question {
                stats: &stats,
                inputs: &inputs.sources.names(),
                host: account.connection.base_url.as_str(),
                key: &account.key.masked(),
                is_purging: cli.cache.purge_cache,
            };
            let refused = terminal.refused(&question).await;
            if let Some(why) = refused.context("cannot ask on the terminal; add --yes")? {
                bail!("{why}; nothing was deleted");
            }
        }
        Ok((inputs, Some(stats.records)))
    }
}

/// Whether records must be counted before anything is sent.
pub(crate) fn has_caps(cli: &Cli) -> bool {
    cli.safety.max_delete.is_some()
        || cli.safety.expect_count.is_some()
        || cli.cache.max_purges().is_some()
}

/// Refuses what the caps do not allow; `due` purges are left from earlier runs.
pub(crate) fn check_caps(cli: &Cli, stats: &InputStats, due: usize) -> Result<()> {
    if let Some(most) = cli.safety.max_delete.filter(|most| stats.to_send > *most) {
        bail!(
            "{} would be sent, more than --max-delete {}; nothing was sent: check the list, or raise --max-delete",
            counted(stats.to_send, "ID", "IDs"),
            grouped(most)
        );
    }
    if let Some(expected) = cli
        .safety
        .expect_count
        .filter(|expected| stats.distinct != *expected)
    {
        let found = counted(stats.distinct, "distinct valid ID", "distinct valid IDs");
        let expected = grouped(expected);
        bail!(
            "the input holds {found}, not {expected} as --expect-count says; nothing was sent: check the list"
        );
    }
    let purges = stats.to_send - stats.equal_urls + due as u64;
    if let Some(most) = cli.cache.max_purges().filter(|most| purges > *most) {
        bail!(
            "more than {} URLs would be purged (--max-purges); nothing was sent; raise it if your plan's monthly quota allows it",
            grouped(most)
        );
    }
    Ok(())
}

/// Against what the command goes.
pub(super) fn kind(cli: &Cli) -> RunKind {
    if cli.safety.sandbox {
        RunKind::Rehearsal
    } else {
        RunKind::Real
    }
}

/// What would refuse the real command refuses its rehearsal.
pub(super) fn rehearse(cli: &Cli, real: &Paths, progress: &Progress) -> Result<()> {
    let existing = account::existing(cli);
    if !cli.look.check {
        Exports::open(cli, real, progress)?;
    }
    if cli.look.check || cli.look.list.is_some() {
        return Ok(Sheet::rehearse(&real.report, existing)?);
    }
    if !cli.safety.yes && Terminal::open().is_none() {
        progress.notice("warning: without --sandbox this command needs --yes, because there is no terminal to ask on");
    }
    if let Destination::File(report) = &real.report {
        let host = BaseUrl::parse(&cli.connection.base_url)?;
        report::rehearse(report, existing, host.as_str())?;
    }
    Ok(())
}

/// What the options say of ending early.
pub(super) fn limits(cli: &Cli) -> Limits {
    Limits {
        max_failures: cli.safety.max_failures,
        max_not_found: cli.safety.max_not_found,
        max_duration: cli.safety.max_duration,
        max_outage: cli.speed.max_outage,
    }
}
