//! What a run leaves beside its report: the page, the summary as JSON and the metrics, at every end of it.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use imagekit_bulk_delete::client::BaseUrl;
use imagekit_bulk_delete::html::{self, EndedRun};
use imagekit_bulk_delete::human::counted;
use imagekit_bulk_delete::job::{Ending, RunStats};
use imagekit_bulk_delete::report::Destination;
use imagekit_bulk_delete::source::Input;
use imagekit_bulk_delete::summary::{Asked, Summary, metrics};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::atomic_file::{AtomicFile, METRICS, OutputLost, PAGE, SUMMARY};
use super::exit;
use super::options::Cli;
use super::paths::Paths;
use crate::progress::Progress;

/// The contract says 15 s at the most.
const METRICS_EACH: Duration = Duration::from_secs(10);

/// Where a run's page, summary and metrics go.
#[derive(Debug)]
pub(crate) struct Exports<'a> {
    paths: &'a Paths,
    progress: &'a Progress,
    /// What the command line asked for.
    pub(crate) asked: Asked,
    /// Where the run sends its requests; `None` in a rehearsal.
    host: Option<String>,
    page: Option<AtomicFile>,
    summary: Option<AtomicFile>,
    metrics: Option<MetricsFile>,
    has_warned: Cell<bool>,
    is_written: Cell<bool>,
}

impl<'a> Exports<'a> {
    /// Checks, before anything is sent, that all can be written.
    pub(crate) fn open(cli: &Cli, paths: &'a Paths, progress: &'a Progress) -> Result<Self> {
        let open = |output: &Option<Destination>, kind| {
            let open = |output| AtomicFile::open(output, kind);
            output.as_ref().map(open).transpose()
        };
        let host = BaseUrl::parse(&cli.connection.base_url).ok();
        let host = host.filter(|_| !cli.safety.sandbox);
        let metrics = open(&paths.metrics, &METRICS)?;
        Ok(Self {
            paths,
            progress,
            asked: asked(cli)?,
            host: host.map(|host| host.as_str().to_owned()),
            page: open(&paths.html, &PAGE)?,
            summary: open(&paths.summary, &SUMMARY)?,
            metrics: metrics.map(|file| Arc::new(Mutex::new(Some(file)))),
            has_warned: Cell::new(false),
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
            let file = Arc::clone(file);
            let written = spawn_blocking(move || match &*locked(&file) {
                Some(file) => file.write(&text),
                None => Ok(()),
            });
            if let Ok(Err(error)) = written.await {
                self.warn_of_metrics(&error);
            }
        }
    }

    /// Writes the page of a run that has ended, if one was asked for; the run's exit code.
    pub(crate) fn write_page(&self, stats: &RunStats, ending: &Ending) -> u8 {
        let code = exit::of_run(ending, stats);
        let Some(page) = &self.page else { return code };
        let run = EndedRun {
            stats,
            stopped: ending.reason(),
            host: self.host.as_deref(),
        };
        match make_page(self.paths, page, Some(&run)) {
            Ok(notice) => {
                self.progress.notice(&notice);
                code
            }
            Err(error) => {
                let report = self.paths.report_name();
                self.progress.error(&format!(
                    "{error:#}\nthe report does not depend on it; make the page later with --html PATH --from-report {report}"
                ));
                exit::with_lost_output(code)
            }
        }
    }

    /// Metrics never stop a run; one warning is enough.
    fn warn_of_metrics(&self, error: &io::Error) {
        if !self.has_warned.replace(true) {
            self.progress.notice(&format!(
                "warning: cannot write the metrics for --metrics-file: {error}; the run continues"
            ));
        }
    }

    /// Writes metrics and summary of a run that has ended; its exit code. Both tell it, also where one of them is lost.
    pub(crate) fn write(&self, mut summary: Summary<'_>) -> u8 {
        self.is_written.set(true);
        let stats = summary.stats;
        let metrics_file = self.metrics.as_ref().and_then(|file| locked(file).take());
        let write_metrics = |code| match &metrics_file {
            Some(file) => file.write(&metrics(stats, Some(code))),
            None => Ok(()),
        };
        if let Err(error) = write_metrics(summary.exit_code) {
            summary.exit_code = self.lost("metrics for --metrics-file", &error, &summary);
        }
        let file = self.summary.as_ref();
        if let Err(error) = file.map_or(Ok(()), |file| file.write(&summary.json()?)) {
            summary.exit_code = self.lost("summary for --summary-json", &error, &summary);
            // If they are lost as well, that was said.
            let _ = write_metrics(summary.exit_code);
        }
        summary.exit_code
    }

    /// Says that an output is lost; the exit code from now on.
    fn lost(&self, what: &str, error: &io::Error, summary: &Summary<'_>) -> u8 {
        self.progress.error(&format!(
            "cannot write the {what}: {error}; the report does not depend on it"
        ));
        exit::with_lost_output(summary.exit_code)
    }

    /// Reports a run that ended before it began, unless an end was reported already. Another run that holds the report
    /// has these files, too.
    pub(crate) fn write_refusal(&self, stats: &RunStats, reason: &str, exit_code: u8) {
        if self.is_written.get() || exit_code == exit::LOCKED {
            return;
        }
        stats.end();
        self.write(Summary {
            asked: &self.asked,
            stats,
            ending: &Ending::Refused(reason.to_owned()),
            exit_code,
            report: None,
            resume_command: None,
        });
    }
}

/// The metrics' file; taken away for the last text, which none that is on its way may replace.
type MetricsFile = Arc<Mutex<Option<AtomicFile>>>;

fn locked(file: &Mutex<Option<AtomicFile>>) -> MutexGuard<'_, Option<AtomicFile>> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a page of a finished report; nothing is sent, and no key is needed.
pub(crate) fn page_from_report(paths: &Paths, progress: &Progress) -> Result<u8> {
    if let Some(html) = &paths.html {
        let page = AtomicFile::open(html, &PAGE)?;
        progress.notice(&make_page(paths, &page, None)?);
    }
    Ok(exit::SETTLED)
}

/// Makes the page of the report and writes it; what to say of it.
fn make_page(paths: &Paths, file: &AtomicFile, run: Option<&EndedRun<'_>>) -> Result<String> {
    let page = html::page(Path::new(&paths.report_name()), run)?;
    let name = paths.html.as_ref().unwrap_or(&Destination::Stdout);
    let written = file.write(&page.html).map_err(OutputLost);
    written.with_context(|| format!("cannot write the page {name}"))?;
    let records = counted(page.records, "record", "records");
    Ok(format!("page: {name} ({records})"))
}

/// What was typed, and what holds where nothing was. The key is no option, so it cannot be here.
fn asked(cli: &Cli) -> Result<Asked> {
    let inputs = match cli.look.list {
        Some(_) => Vec::new(),
        None => cli.inputs()?.iter().map(Input::name).collect(),
    };
    let option = |(place, raw): (String, Vec<OsString>)| {
        let mut values: Vec<Value> = raw
            .iter()
            .map(|raw| value(&raw.to_string_lossy()))
            .collect();
        let value = match values.len() {
            0 | 1 => values.pop()?,
            _ => Value::Array(values),
        };
        Some((place.strip_prefix("--")?.to_owned(), value))
    };
    let options = cli.values().into_iter().filter_map(option).collect();
    Ok(Asked { inputs, options })
}

fn value(text: &str) -> Value {
    let number = text.parse::<u64>().map(Value::from);
    let flag = || text.parse::<bool>().map(Value::from);
    number.or_else(|_| flag()).unwrap_or_else(|_| text.into())
}
