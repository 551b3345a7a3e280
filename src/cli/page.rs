//! The page of `--html`: where it goes, whether it can go there, and its writing.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use imagekit_bulk_delete::html::{self, RunFacts};
use imagekit_bulk_delete::report::{self, Destination};
use imagekit_bulk_delete::summary::{Told, grouped};
use jiff::Timestamp;

use super::account;
use super::atomic_file::{AtomicFile, Readers};
use super::options::Cli;
use crate::progress::Progress;

/// What every page begins with.
const DOCTYPE: &str = "<!doctype html>";

/// A page that was asked for.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its name for people.
    name: String,
    /// `None` is stdout.
    file: Option<AtomicFile>,
    /// What it is made from.
    report: PathBuf,
}

/// Makes a page of a finished report; nothing is sent, and no key is needed.
pub(crate) fn from_report(cli: &Cli, report: &Path, progress: &Progress) -> Result<u8> {
    if let Some(page) = Page::wanted(cli, report)? {
        progress.notice(&page.make(None)?);
    }
    Ok(0)
}

impl Page {
    /// The page that a run is to write at its end; told before it begins if it could not be.
    pub(crate) fn of_run(cli: &Cli, report: &Destination) -> Result<Option<Self>> {
        let report = match report {
            Destination::File(report) => report,
            Destination::Stdout if cli.report.html.is_none() => return Ok(None),
            Destination::Stdout => {
                bail!("--html is made from the report; give --report a path instead of -")
            }
        };
        Self::wanted(cli, report)
    }

    fn wanted(cli: &Cli, report: &Path) -> Result<Option<Self>> {
        let path = match cli.report.html.as_deref() {
            None => return Ok(None),
            Some("-") => {
                return Ok(Some(Self {
                    name: "stdout".into(),
                    file: None,
                    report: report.into(),
                }));
            }
            Some(pattern) => PathBuf::from(report::expand(pattern, Timestamp::now())),
        };
        let path = account::rehearsed(cli, path);
        let name = path.to_string_lossy().into_owned();
        check_is_page(&path)?;
        let file = AtomicFile::prepare(&path, Readers::Owner)
            .with_context(|| format!("cannot write the page {name}; give --html another path"))?;
        Ok(Some(Self {
            name,
            file: Some(file),
            report: report.into(),
        }))
    }

    /// Writes the page of a run that has ended. The report is fine whatever comes of it.
    pub(crate) fn write_after(&self, facts: &RunFacts, progress: &Progress) -> Told {
        match self.make(Some(facts)) {
            Ok(told) => {
                progress.notice(&told);
                Told::Yes
            }
            Err(error) => {
                let report = self.report.display();
                progress.error(&format!(
                    "{error:#}\nthe report is not touched by this; make the page from it with --html PATH --from-report {report}"
                ));
                Told::No
            }
        }
    }

    /// Makes and writes it; what to tell of it.
    fn make(&self, facts: Option<&RunFacts>) -> Result<String> {
        let page = html::page(&self.report, facts)?;
        let written = match &self.file {
            Some(file) => file.write(&page.html),
            None => print(&page.html),
        };
        written.with_context(|| format!("cannot write the page {}", self.name))?;
        Ok(format!(
            "page: {} ({} records)",
            self.name,
            grouped(page.records)
        ))
    }
}

fn print(html: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(html.as_bytes())?;
    stdout.flush()
}

/// Only a page is replaced: a slip of the keyboard must not cost an input, a report or a device.
fn check_is_page(path: &Path) -> Result<()> {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    if !metadata.is_file() {
        bail!("--html {shown} is no regular file; give it the path of a file, or - for stdout");
    }
    let mut first = Vec::new();
    File::open(path)
        .and_then(|file| file.take(DOCTYPE.len() as u64).read_to_end(&mut first))
        .with_context(|| format!("cannot read {shown}, which the page would replace"))?;
    if !first.is_empty() && !first.eq_ignore_ascii_case(DOCTYPE.as_bytes()) {
        bail!("{shown} is there and is no HTML page; give --html another path");
    }
    Ok(())
}
