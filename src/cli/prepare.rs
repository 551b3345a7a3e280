//! What comes before the first request: inputs opened, records counted, caps checked, the question asked.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, anyhow, bail};
use imagekit_bulk_delete::report::Past;
use imagekit_bulk_delete::source::Sources;

use super::account::Account;
use super::census::{self, Census};
use super::confirm::{Question, Terminal};
use super::options::Cli;
use crate::progress::Progress;

/// Whether the run may begin.
pub(crate) enum Readiness {
    /// It may; so many records there are, if they were counted.
    Go { total: Option<u64> },
    /// It was left with this exit code.
    Left(u8),
}

/// The terminal to ask on, where one must be asked.
pub(crate) fn required_terminal() -> Result<Terminal> {
    Terminal::open().ok_or_else(|| {
        anyhow!("there is no terminal to ask on, and deleting is for good; add --yes to delete without being asked")
    })
}

/// Opens the inputs and says how they are read.
pub(crate) fn open_sources(cli: &Cli, progress: &Progress) -> Result<Sources> {
    if cli.input.is_empty() && std::io::stdin().is_terminal() {
        bail!(
            "no input; name a CSV file, or pipe IDs in, as in `imagekit-bulk-delete old-files.csv`"
        );
    }
    let sources = Sources::open(&cli.inputs()?, &cli.reading.options()?)?;
    sources
        .notices()
        .iter()
        .for_each(|notice| progress.notice(notice));
    Ok(sources)
}

/// Counts, checks the caps and asks, where that is wanted; nothing is sent before.
pub(crate) async fn make_ready(
    cli: &Cli,
    account: &Account,
    sources: &mut Sources,
    past: &mut Past,
    terminal: Option<Terminal>,
) -> Result<Readiness> {
    let has_caps = cli.safety.max_delete.is_some() || cli.safety.expect_count.is_some();
    if terminal.is_none() && !has_caps {
        return Ok(Readiness::Go { total: None });
    }
    sources.spool()?;
    let census = census::take(sources, past)?;
    check_caps(cli, &census)?;
    if let Some(terminal) = terminal
        && census.to_send > 0
    {
        let question = Question {
            ids: census.to_send,
            inputs: &sources.names(),
            host: account.connection.base_url.as_str(),
            key: &account.key.masked(),
        };
        if !terminal
            .confirms(&question)
            .await
            .context("cannot ask on the terminal; add --yes")?
        {
            bail!("declined; nothing was deleted");
        }
    }
    Ok(Readiness::Go {
        total: Some(census.records),
    })
}

fn check_caps(cli: &Cli, census: &Census) -> Result<()> {
    if let Some(most) = cli.safety.max_delete.filter(|most| census.to_send > *most) {
        bail!(
            "{} IDs would be sent, more than --max-delete {most}; nothing was sent",
            census.to_send
        );
    }
    if let Some(expected) = cli
        .safety
        .expect_count
        .filter(|expected| census.distinct != *expected)
    {
        let found = census.distinct;
        bail!(
            "the input holds {found} distinct valid IDs, not {expected} as --expect-count says; nothing was sent"
        );
    }
    Ok(())
}
