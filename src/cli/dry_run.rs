//! The dry run: reads all the input as the run would, and says what the run would do; nothing is sent.

use std::fmt::Write as _;

use anyhow::Result;
use imagekit_bulk_delete::human::{self, grouped, seconds};
use imagekit_bulk_delete::lookup::Lookup;
use imagekit_bulk_delete::plan::{Plan, Work};
use imagekit_bulk_delete::report::{self, Destination, PendingPurges, ResumeIndex};
use imagekit_bulk_delete::stop::Reason;
use imagekit_bulk_delete::target::ID_FORMAT;
use imagekit_bulk_delete::throttle::Rate;
use tokio::select;

use super::exit;
use super::input_stats::InputStats;
use super::options::Cli;
use super::paths::Paths;
use super::prepare::{Inputs, check_caps, listen, open_sources};
use crate::progress::Progress;

/// Reads, counts, checks the caps and tells; the exit code.
pub(crate) async fn dry_run(cli: &Cli, paths: &Paths, progress: &Progress) -> Result<u8> {
    let sources = open_sources(cli, progress)?;
    let (index, due) = earlier(cli, &paths.report, progress)?;
    let inputs = Inputs::load(cli, sources, index, progress).await?;
    let mut signals = listen()?;
    let (mut inputs, stats) = select! {
        counted = inputs.count(cli) => counted?,
        number = signals.next() => return Ok(exit::of_reason(&Reason::Signal(number))),
    };
    progress.notice(&inputs.sources.skipped().notices().join("\n"));
    check_caps(cli, &stats, due.left())?;
    let rate = cli.speed.rate()?;
    mention_what_is_not_written(cli, progress);
    progress.notice(plan_text(cli, &stats, due.left() as u64, rate).trim_end());
    for list in inputs.except.unnamed(|id| inputs.index.is_in_input(id)) {
        progress.notice(&format!(
            "warning: --except {list} names nothing in this input"
        ));
    }
    let InputStats {
        invalid, records, ..
    } = stats;
    if invalid > 0 && cli.display.quiet {
        let records = human::counted(records, "record", "records");
        progress.error(&format!("{records}, {} invalid", grouped(invalid)));
    }
    Ok(if invalid > 0 {
        exit::TROUBLE
    } else {
        exit::SETTLED
    })
}

/// What tells of a run has nothing to tell of.
pub(super) fn mention_what_is_not_written(cli: &Cli, progress: &Progress) {
    let display = &cli.display;
    let asked = [
        ("--html", cli.report.html.is_some()),
        ("--summary-json", display.summary_json.is_some()),
        ("--metrics-file", display.metrics_file.is_some()),
    ];
    for (option, _) in asked.iter().filter(|(_, is_asked)| *is_asked) {
        progress.notice(&format!("{option}: nothing is written by a dry run"));
    }
}

/// What earlier runs left, where the run would go on from them; looked at only.
fn earlier(
    cli: &Cli,
    destination: &Destination,
    progress: &Progress,
) -> Result<(ResumeIndex, PendingPurges)> {
    let nothing = (ResumeIndex::default(), PendingPurges::default());
    let Destination::File(path) = destination else {
        return Ok(nothing);
    };
    if !path.exists() {
        return Ok(nothing);
    }
    if cli.report.resume {
        return Ok(report::inspect(
            path,
            cli.cache.max_purges(),
            cli.safety.sandbox,
        )?);
    }
    if !cli.report.overwrite {
        progress.notice(&format!(
            "{} exists: the run needs --resume to continue it, or --overwrite to start a new job",
            path.display()
        ));
    }
    Ok(nothing)
}

fn plan_text(cli: &Cli, stats: &InputStats, due: u64, rate: Rate) -> String {
    let mut text = String::from("dry run: nothing was sent\n");
    let rows = [
        ("records", stats.records),
        ("to delete", stats.to_send),
        ("settled earlier", stats.settled),
        ("excluded", stats.excluded),
        ("duplicate", stats.duplicates),
        ("invalid", stats.invalid),
        ("odd IDs", stats.odd),
    ];
    for (index, (name, count)) in rows.into_iter().enumerate() {
        if index < 2 || count > 0 {
            let _ = writeln!(text, "  {name:<16}{:>12}", grouped(count));
        }
    }
    if stats.odd > 0 {
        let _ = writeln!(
            text,
            "odd IDs are not {ID_FORMAT} like ImageKit's; they would be sent unchanged"
        );
    }
    write_examples(&mut text, stats);
    write_plan(&mut text, cli, stats, due, rate);
    text
}

fn write_examples(text: &mut String, stats: &InputStats) {
    for invalid in &stats.first_invalid {
        let _ = writeln!(text, "invalid: {invalid}");
    }
    if stats.invalid > stats.first_invalid.len() as u64 {
        let more = stats.invalid - stats.first_invalid.len() as u64;
        let _ = writeln!(text, "invalid: and {} more", grouped(more));
    }
    if !stats.first.is_empty() {
        let _ = writeln!(text, "first: {}", stats.first.join(", "));
    }
    if !stats.last.is_empty() {
        let last: Vec<&str> = stats.last.iter().map(String::as_str).collect();
        let _ = writeln!(text, "last: {}", last.join(", "));
    }
}

fn write_plan(text: &mut String, cli: &Cli, stats: &InputStats, due: u64, rate: Rate) {
    let is_purging = cli.cache.purge_cache;
    let work = Work {
        ids: stats.to_send,
        batch_size: cli.speed.batch_size as u64,
        lookups: if is_purging { stats.without_url } else { 0 },
        purges: if is_purging {
            stats.to_send - stats.equal_urls + due
        } else {
            0
        },
    };
    let plan = Plan::of(&work, Lookup::group_size() as u64, rate);
    let requests = human::counted(plan.requests, "request", "requests");
    let _ = write!(text, "the run would send {requests}");
    let limit = match rate {
        Rate::Auto => "at ImageKit's documented limits (--rate auto)".into(),
        Rate::PerSecond {
            per_second, burst, ..
        } if per_second < 1.0 => {
            let per_minute = (per_second * 6000.0).round() / 100.0;
            format!("at {per_minute}/min with a burst of {burst}")
        }
        Rate::PerSecond {
            per_second, burst, ..
        } => {
            let per_second = (per_second * 100.0).round() / 100.0;
            format!("at {per_second}/s with a burst of {burst}")
        }
        Rate::Unlimited => String::new(),
    };
    let _ = match plan.time {
        Some(time) if time.is_zero() => writeln!(text, " in less than a second {limit}"),
        Some(time) => writeln!(text, " in at least {} {limit}", seconds(time)),
        None => writeln!(text, " as fast as ImageKit answers (--rate unlimited)"),
    };
    if is_purging {
        let _ = writeln!(
            text,
            "up to {} of them purge URLs from the CDN",
            grouped(work.purges)
        );
    }
}
