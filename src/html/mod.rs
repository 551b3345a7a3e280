//! The page: a report to look at, as one HTML file that needs nothing else.
//!
//! A report's path goes in, and what the run that wrote it knows besides; a page comes out. [`Figures`] reads the
//! rows in one pass and bounded memory, the charts draw numbers only, and the template escapes all text: IDs and
//! messages are whatever a server or an input said.

mod chart;
mod durations;
mod figures;
mod ink;
mod page;
mod reasons;
mod ticks;
mod timeline;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

pub use figures::Figures;

use crate::throttle::Pause;

/// What a run knows that its report does not say.
#[derive(Debug)]
pub struct RunFacts {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Why it ended early; `None` if it completed.
    pub stopped: Option<String>,
    /// Requests sent.
    pub requests: u64,
    /// Requests that named an ID again.
    pub retries: u64,
    /// 429s.
    pub throttled: u64,
    /// Time for which ImageKit made it wait.
    pub paused: Duration,
    /// When that was.
    pub pauses: Vec<Pause>,
}

/// A finished page.
#[derive(Debug)]
pub struct Page {
    /// The file's text.
    pub html: String,
    /// Rows that it tells of.
    pub records: u64,
}

/// There is no page.
#[derive(Debug, Error)]
pub enum PageError {
    /// The report cannot be read, or is none of ours.
    #[error("no page can be made from {path}: {source}", path = path.display())]
    Report {
        /// The report.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A chart cannot be drawn: a fault of this program.
    #[error("a chart of the page cannot be drawn: {0}; please report this as a bug")]
    Chart(String),
    /// The template cannot be filled in: a fault of this program.
    #[error("the page cannot be filled in: {0}; please report this as a bug")]
    Template(#[from] askama::Error),
}

/// Makes a page of a report; `run` is what the run that wrote it knows, if it is that run which asks.
pub fn page(report: &Path, run: Option<&RunFacts>) -> Result<Page, PageError> {
    let figures = Figures::read(report).map_err(|source| PageError::Report {
        path: report.into(),
        source,
    })?;
    let name = report.file_name().unwrap_or(report.as_os_str());
    Ok(Page {
        html: page::render(&name.to_string_lossy(), &figures, run)?,
        records: figures.records(),
    })
}
