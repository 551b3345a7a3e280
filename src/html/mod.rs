//! The page: a report to look at, as one HTML file that needs nothing else.
//!
//! A report's path goes in, and what the run that wrote it knows besides; a page comes out. `figures` counts
//! the rows, `chart` draws numbers only, and the template escapes all text: IDs and messages are
//! whatever a server or an input said. A script of our own sorts and searches; the page is whole without it, and its
//! policy allows no other.

mod chart;
mod figures;
mod format;
mod page;

use std::io;
use std::path::Path;

use thiserror::Error;

use crate::files::with_suffix;
use crate::job::RunStats;

/// What a run knows that its report does not say.
#[derive(Debug)]
pub struct EndedRun<'a> {
    /// Its account.
    pub stats: &'a RunStats,
    /// Why it ended early; `None` if it completed.
    pub stopped: Option<String>,
    /// Where the files were deleted; `None` in a rehearsal.
    pub host: Option<&'a str>,
}

/// A finished page.
#[derive(Debug)]
pub struct Page {
    /// The file's text.
    pub html: String,
    /// Rows that it shows the figures of.
    pub records: u64,
}

/// There is no page.
#[derive(Debug, Error)]
pub enum PageError {
    /// The report cannot be read, is damaged, or is none of ours.
    #[error("no page can be made{from}: {source}; give --from-report the path of a whole report")]
    Report {
        /// From which report, if the cause does not say it.
        from: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The template cannot be filled in: a fault of this program.
    #[error("the page cannot be filled in: {0}; please report this as a bug")]
    Template(#[from] askama::Error),
}

/// Makes a page of a report; `run` is what the run that wrote it knows, if it is that run which asks.
pub fn page(report: &Path, run: Option<&EndedRun<'_>>) -> Result<Page, PageError> {
    let figures = figures::Figures::read(report).map_err(|source| {
        let shown = report.display().to_string();
        let is_named = source.to_string().contains(&shown);
        let from = if is_named {
            String::new()
        } else {
            format!(" from {shown}")
        };
        PageError::Report { from, source }
    })?;
    let name = report.file_name().unwrap_or(report.as_os_str());
    let has_state = run.is_none() && with_suffix(report, ".state").exists();
    Ok(Page {
        html: page::render(&name.to_string_lossy(), &figures, run, has_state)?,
        records: figures.records(),
    })
}
