//! What a run leaves for machines: the summary as JSON and the metrics, at every end of it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command, CommandFactory};
use imagekit_bulk_delete::metrics::{End, Metrics};
use imagekit_bulk_delete::summary::{Asked, Ending, Summary, Tally};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::account::sandboxed;
use super::atomic_file::{AtomicFile, Readers};
use super::options::Cli;
use super::run::LOCKED;
use crate::progress::{Progress, Sight};

/// The contract says 15 s at the most.
const METRICS_EACH: Duration = Duration::from_secs(10);

/// The exit code of a run that went well, but could not tell so.
const NOT_TOLD: u8 = 1;

/// Where a run's summary and metrics go.
#[derive(Debug)]
pub(crate) struct Machines<'a> {
    progress: &'a Progress,
    asked: Asked,
    json: Option<Destination>,
    metrics: Option<MetricsFile>,
    opened_at: Timestamp,
    is_told: Cell<bool>,
}

#[derive(Debug)]
enum Destination {
    Stdout,
    File(AtomicFile),
}

impl<'a> Machines<'a> {
    /// Checks, before anything is sent, that all can be written.
    pub(crate) fn open(cli: &Cli, progress: &'a Progress) -> Result<Self> {
        let named = |path: &Path| {
            if cli.safety.sandbox {
                sandboxed(path)
            } else {
                path.into()
            }
        };
        let json = match cli.display.summary_json.as_deref() {
            None => None,
            Some(path) if is_stdout(path) => Some(Destination::Stdout),
            Some(path) => {
                let path = named(path);
                let file = AtomicFile::prepare(&path, Readers::Others).with_context(|| {
                    let path = path.display();
                    format!("cannot write the summary to {path}; nothing was sent: give another --summary-json")
                })?;
                Some(Destination::File(file))
            }
        };
        let metrics = cli.display.metrics_file.as_deref().map(named);
        Ok(Self {
            progress,
            asked: asked(cli)?,
            json,
            metrics: metrics.map(|path| MetricsFile {
                path,
                is_over: Arc::default(),
                has_warned: Cell::new(false),
                progress: progress.clone(),
            }),
            opened_at: Timestamp::now(),
            is_told: Cell::new(false),
        })
    }

    /// Keeps the metrics fresh until it is dropped.
    pub(crate) async fn keep(&self, sight: Sight) -> Infallible {
        let Some(file) = &self.metrics else {
            return std::future::pending().await;
        };
        let mut ticks = interval(METRICS_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let text = metrics(&sight, None).text();
            let (path, is_over) = (file.path.clone(), Arc::clone(&file.is_over));
            let put = spawn_blocking(move || put_unless_over(&path, &text, &is_over)).await;
            if let Ok(Err(error)) = put {
                file.warn(&error);
            }
        }
    }

    /// Tells how a run that had begun ended; gives its exit code.
    pub(crate) fn tell(&self, summary: &Summary<'_>, sight: &Sight) -> u8 {
        // The report was counted anew: its records are told, not those that earlier runs had.
        let ended = |end| Metrics {
            tally: summary.tally,
            ..metrics(sight, Some(end))
        };
        self.put_metrics(|end| ended(end).text(), summary.exit_code());
        self.put_json(summary)
    }

    /// Tells of a run that ended before it began, unless an end was told already. Another run that holds the
    /// report has these files, too.
    pub(crate) fn tell_refusal(&self, reason: &str, exit_code: u8) {
        if self.is_told.get() || exit_code == LOCKED {
            return;
        }
        let tally = Tally::default();
        let ending = Ending::Refused {
            exit_code,
            reason: reason.to_owned(),
        };
        let refused = |end| Metrics {
            tally: &tally,
            requests: std::collections::BTreeMap::new(),
            throttled: 0,
            started_at: self.opened_at,
            end: Some(end),
        };
        self.put_metrics(|end| refused(end).text(), exit_code);
        self.put_json(&Summary::refused(ending, &tally, self.opened_at));
    }

    fn put_metrics(&self, text: impl Fn(End) -> String, exit_code: u8) {
        let at = Timestamp::now();
        if let Some(file) = &self.metrics
            && let Err(error) = file.put_last(&text(End { at, exit_code }))
        {
            file.warn(&error);
        }
    }

    fn put_json(&self, summary: &Summary<'_>) -> u8 {
        self.is_told.set(true);
        let json = || Ok(summary.json(&self.asked)?);
        let put = match &self.json {
            None => Ok(()),
            Some(Destination::Stdout) => json().and_then(|json| print(&json)),
            Some(Destination::File(file)) => json().and_then(|json| file.write(&json)),
        };
        let exit_code = summary.exit_code();
        match put {
            Ok(()) => exit_code,
            Err(error) => {
                self.progress.error(&format!(
                    "cannot write the summary for --summary-json: {error}"
                ));
                exit_code.max(NOT_TOLD)
            }
        }
    }
}

/// Where the metrics go.
#[derive(Debug)]
struct MetricsFile {
    path: PathBuf,
    /// Held while something is written: what is on its way at the end must not replace the last text.
    is_over: Arc<Mutex<bool>>,
    has_warned: Cell<bool>,
    progress: Progress,
}

impl MetricsFile {
    fn put_last(&self, text: &str) -> io::Result<()> {
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        *is_over = true;
        put(&self.path, text)
    }

    /// Metrics never stop a run; one warning is enough.
    fn warn(&self, error: &io::Error) {
        if self.has_warned.replace(true) {
            return;
        }
        let path = self.path.display();
        self.progress.notice(&format!(
            "warning: cannot write the metrics to {path}: {error}; the run goes on"
        ));
    }
}

fn metrics(sight: &Sight, end: Option<End>) -> Metrics<'_> {
    Metrics {
        tally: &sight.tally,
        requests: sight.traffic.by_status(),
        throttled: sight.throttle.throttled_count(),
        started_at: sight.started.at,
        end,
    }
}

fn put_unless_over(path: &Path, text: &str, is_over: &Mutex<bool>) -> io::Result<()> {
    let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_over { Ok(()) } else { put(path, text) }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    AtomicFile::prepare(path, Readers::Others)?.write(text)
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What was typed, and what holds where nothing was. The key is no option, so it cannot be here.
fn asked(cli: &Cli) -> Result<Asked> {
    let inputs = cli
        .inputs()?
        .iter()
        .map(imagekit_bulk_delete::source::Input::name)
        .collect();
    let command = Cli::command();
    let options = command
        .clone()
        .try_get_matches_from(std::env::args_os())
        .map(|matches| options(&command, &matches))
        .unwrap_or_default();
    Ok(Asked { inputs, options })
}

fn options(command: &Command, matches: &ArgMatches) -> Map<String, Value> {
    let option = |argument: &clap::Arg| {
        let name = argument.get_long()?;
        let id = argument.get_id().as_str();
        let value = if argument.get_action().takes_values() {
            let raw = matches.try_get_raw(id).ok()??.next()?;
            value(&raw.to_string_lossy())
        } else {
            Value::Bool(matches.try_get_one::<bool>(id).ok()?.copied()?)
        };
        Some((name.to_owned(), value))
    };
    command.get_arguments().filter_map(option).collect()
}

fn value(text: &str) -> Value {
    text.parse::<u64>()
        .map_or_else(|_| text.into(), Value::from)
}
