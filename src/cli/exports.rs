//! What a run leaves beside its report: the page, the summary as JSON and the metrics, at every end of it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command, CommandFactory};
use imagekit_bulk_delete::client::BaseUrl;
use imagekit_bulk_delete::html::{self, Run};
use imagekit_bulk_delete::human::grouped;
use imagekit_bulk_delete::job::{Ending, RunStats};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::secret;
use imagekit_bulk_delete::source::Input;
use imagekit_bulk_delete::summary::{Asked, End, Summary, metrics};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::atomic_file::{AtomicFile, Kind};
use super::exit;
use super::options::Cli;
use super::paths::Paths;
use crate::progress::Progress;

/// The contract says 15 s at the most.
const METRICS_EACH: Duration = Duration::from_secs(10);

/// Where a run's page, summary and metrics go.
#[derive(Debug)]
pub(crate) struct Exports<'a> {
    progress: &'a Progress,
    /// What the command line asked for.
    pub(crate) asked: Asked,
    page: Option<Page>,
    summary: Option<Sink>,
    metrics: Option<MetricsFile>,
    is_written: Cell<bool>,
}

#[derive(Debug)]
enum Sink {
    Stdout,
    File(AtomicFile),
}

impl<'a> Exports<'a> {
    /// Checks, before anything is sent, that all can be written.
    pub(crate) fn open(cli: &Cli, paths: &Paths, progress: &'a Progress) -> Result<Self> {
        let metrics = |path: &PathBuf| {
            let file = AtomicFile::prepare(path, Kind::Metrics)?;
            Ok::<_, anyhow::Error>(MetricsFile {
                path: path.clone(),
                file: Arc::new(file),
                is_over: Arc::default(),
                has_warned: Cell::new(false),
                progress: progress.clone(),
            })
        };
        Ok(Self {
            progress,
            asked: asked(cli)?,
            page: Page::of_run(cli, paths)?,
            summary: match &paths.summary {
                None => None,
                Some(Destination::Stdout) => Some(Sink::Stdout),
                Some(Destination::File(path)) => {
                    Some(Sink::File(AtomicFile::prepare(path, Kind::Summary)?))
                }
            },
            metrics: paths.metrics.as_ref().map(metrics).transpose()?,
            is_written: Cell::new(false),
        })
    }

    /// Keeps the metrics fresh until it is dropped.
    pub(crate) async fn keep(&self, stats: Rc<RunStats>) -> Infallible {
        let Some(file) = &self.metrics else {
            return std::future::pending().await;
        };
        let mut ticks = interval(METRICS_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let text = metrics(&stats, None);
            let (target, is_over) = (Arc::clone(&file.file), Arc::clone(&file.is_over));
            let written = spawn_blocking(move || write_unless_over(&target, &text, &is_over)).await;
            if let Ok(Err(error)) = written {
                file.warn(&error);
            }
        }
    }

    /// Writes the page of a run that has ended, if one was asked for; the run's exit code.
    pub(crate) fn write_page(&self, stats: &RunStats, ending: &Ending) -> u8 {
        let code = exit::of_run(ending, stats);
        let Some(page) = &self.page else { return code };
        let run = Run {
            stats,
            stopped: ending.reason(),
            host: page.host.as_deref(),
        };
        match page.make(Some(&run)) {
            Ok(notice) => {
                self.progress.notice(&notice);
                code
            }
            Err(error) => {
                let report = page.report.display();
                self.progress.error(&format!(
                    "{error:#}\nthe report is not touched by this; make the page from it with --html PATH --from-report {report}"
                ));
                exit::with_trouble(code)
            }
        }
    }

    /// Writes metrics and summary of a run that has ended; its exit code.
    pub(crate) fn write(&self, summary: &Summary<'_>) -> u8 {
        self.is_written.set(true);
        let end = End {
            exit_code: summary.exit_code,
        };
        if let Some(file) = &self.metrics
            && let Err(error) = file.write_last(&metrics(summary.stats, Some(end)))
        {
            file.warn(&error);
        }
        let json = || Ok(summary.json()?);
        let written: io::Result<()> = match &self.summary {
            None => Ok(()),
            Some(Sink::Stdout) => json().and_then(|json| print(&json)),
            Some(Sink::File(file)) => json().and_then(|json| file.write(&json)),
        };
        match written {
            Ok(()) => summary.exit_code,
            Err(error) => {
                self.progress.error(&format!(
                    "cannot write the summary for --summary-json: {error}"
                ));
                exit::with_trouble(summary.exit_code)
            }
        }
    }

    /// Tells of a run that ended before it began, unless an end was told already. Another run that holds the report
    /// has these files, too.
    pub(crate) fn write_refusal(&self, stats: &RunStats, reason: &str, exit_code: u8) {
        if self.is_written.get() || exit_code == exit::LOCKED {
            return;
        }
        stats.end();
        self.write(&Summary {
            asked: &self.asked,
            stats,
            ending: &Ending::Refused(reason.to_owned()),
            exit_code,
            report: None,
            resume_command: None,
        });
    }
}

/// A page that was asked for.
#[derive(Debug)]
struct Page {
    /// Its name for people.
    name: String,
    sink: Sink,
    /// What it is made from.
    report: PathBuf,
    /// Where the run sends its requests; `None` in a rehearsal, and where there is no run.
    host: Option<String>,
}

/// Makes a page of a finished report; nothing is sent, and no key is needed.
pub(crate) fn page_from_report(paths: &Paths, progress: &Progress) -> Result<u8> {
    if let Some(page) = Page::open(paths)? {
        progress.notice(&page.make(None)?);
    }
    Ok(exit::SETTLED)
}

impl Page {
    fn of_run(cli: &Cli, paths: &Paths) -> Result<Option<Self>> {
        let host = || {
            Some(
                BaseUrl::parse(&cli.connection.base_url)
                    .ok()?
                    .as_str()
                    .to_owned(),
            )
        };
        let page = Self::open(paths)?;
        Ok(page.map(|page| Self {
            host: host().filter(|_| !cli.safety.sandbox),
            ..page
        }))
    }

    fn open(paths: &Paths) -> Result<Option<Self>> {
        let (Some(html), Destination::File(report)) = (&paths.html, &paths.report) else {
            return Ok(None);
        };
        let (name, sink) = match html {
            Destination::Stdout => ("stdout".into(), Sink::Stdout),
            Destination::File(path) => {
                let file = AtomicFile::prepare(path, Kind::Page)?;
                (path.to_string_lossy().into_owned(), Sink::File(file))
            }
        };
        Ok(Some(Self {
            name,
            sink,
            report: report.clone(),
            host: None,
        }))
    }

    /// Makes and writes it; what to say of it.
    fn make(&self, run: Option<&Run<'_>>) -> Result<String> {
        let page = html::page(&self.report, run)?;
        let written = match &self.sink {
            Sink::File(file) => file.write(&page.html),
            Sink::Stdout => print(&page.html),
        };
        written.with_context(|| format!("cannot write the page {}", self.name))?;
        let records = grouped(page.records);
        Ok(format!("page: {} ({records} records)", self.name))
    }
}

/// Where the metrics go.
#[derive(Debug)]
struct MetricsFile {
    path: PathBuf,
    file: Arc<AtomicFile>,
    /// Held while something is written: what is on its way at the end must not replace the last text.
    is_over: Arc<Mutex<bool>>,
    has_warned: Cell<bool>,
    progress: Progress,
}

impl MetricsFile {
    fn write_last(&self, text: &str) -> io::Result<()> {
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        *is_over = true;
        self.file.write(text)
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

fn write_unless_over(file: &AtomicFile, text: &str, is_over: &Mutex<bool>) -> io::Result<()> {
    let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_over { Ok(()) } else { file.write(text) }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(secret::scrub(text).as_bytes())?;
    stdout.flush()
}

/// What was typed, and what holds where nothing was. The key is no option, so it cannot be here.
fn asked(cli: &Cli) -> Result<Asked> {
    let inputs = match cli.look.list {
        Some(_) => Vec::new(),
        None => cli.inputs()?.iter().map(Input::name).collect(),
    };
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
            let raw = matches.try_get_raw(id).ok()??;
            let mut values: Vec<Value> = raw.map(|raw| value(&raw.to_string_lossy())).collect();
            match values.len() {
                0 | 1 => values.pop()?,
                _ => Value::Array(values),
            }
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
