//! Where everything goes: each output's name, filled in once by one reading of the clock, before anything is opened.
//!
//! Nothing may take the place of anything else that the command writes or reads.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use anyhow::{Result, bail};
use imagekit_bulk_delete::files::{self, with_suffix};
use imagekit_bulk_delete::report::{self, Destination};
use imagekit_bulk_delete::secret;
use jiff::Timestamp;

use super::options::{Cli, Look};
use super::process;

/// Where the outputs of one command go.
#[derive(Debug)]
pub(crate) struct Paths {
    /// The report, or what a check writes.
    pub(crate) report: Destination,
    pub(crate) html: Option<Destination>,
    pub(crate) summary: Option<Destination>,
    pub(crate) metrics: Option<Destination>,
    /// Where they would go without `--sandbox`.
    pub(crate) real: Option<Box<Self>>,
}

/// How names are filled in.
struct Names {
    now: Timestamp,
    is_sandbox: bool,
}

impl Paths {
    /// Names all outputs, and refuses a command that would write two things to one place, or over what it reads or
    /// what an older run left.
    pub(crate) fn resolve(cli: &Cli) -> Result<Self> {
        let mut names = Names {
            now: Timestamp::now(),
            is_sandbox: false,
        };
        let real = Self::named(cli, &names)?;
        if !cli.safety.sandbox {
            return Ok(real);
        }
        names.is_sandbox = true;
        let mut rehearsed = Self::named(cli, &names)?;
        rehearsed.real = Some(Box::new(real));
        Ok(rehearsed)
    }

    fn named(cli: &Cli, names: &Names) -> Result<Self> {
        let plain = |path: &Option<PathBuf>| path.as_deref().map(|path| names.plain(path));
        let paths = Self {
            report: match &cli.report.from_report {
                Some(report) => Destination::File(report.clone()),
                None => names.report(cli),
            },
            html: cli.report.html.as_deref().map(|html| names.dated(html)),
            summary: plain(&cli.display.summary_json),
            metrics: plain(&cli.display.metrics_file),
            real: None,
        };
        paths.check_stdout(cli)?;
        paths.check_clashes(cli)?;
        paths.check_folders(cli)?;
        Ok(paths)
    }

    /// The report's name for people, `-` for stdout.
    pub(crate) fn report_name(&self) -> String {
        match &self.report {
            Destination::Stdout => "-".into(),
            Destination::File(path) => path.to_string_lossy().into_owned(),
        }
    }

    /// What is written beside the report, by the option that names it.
    fn exports(&self) -> [(&'static str, Option<&Destination>); 3] {
        [
            ("--html", self.html.as_ref()),
            ("--summary-json", self.summary.as_ref()),
            ("--metrics-file", self.metrics.as_ref()),
        ]
    }

    /// Standard output carries one thing only, what was asked for with `-`.
    fn check_stdout(&self, cli: &Cli) -> Result<()> {
        if self.metrics == Some(Destination::Stdout) {
            bail!("--metrics-file needs a file that can be replaced, not stdout; give it a path");
        }
        let outputs = iter::once(("--report", Some(&self.report))).chain(self.exports());
        let mut askers = outputs.filter(|(_, output)| *output == Some(&Destination::Stdout));
        if let Some((first, _)) = askers.next() {
            if let Some((second, _)) = askers.next() {
                bail!("{first} - and {second} - both ask for stdout; give one of them a path");
            }
            process::check_stdout(first)?;
        }
        if self.report == Destination::Stdout && cli.report.resume {
            bail!(
                "--resume continues a report, and what went to stdout is not there any more; give --report a path"
            );
        }
        if self.report == Destination::Stdout && self.html.is_some() {
            bail!("--html is made from the report; give --report a path instead of -");
        }
        Ok(())
    }

    fn check_clashes(&self, cli: &Cli) -> Result<()> {
        let (outputs, inputs) = (self.written(cli), inputs(cli));
        for (number, (option, path)) in outputs.iter().enumerate() {
            let shown = path.display();
            if let Some((what, _)) = inputs.iter().find(|(_, input)| is_same(input, path)) {
                bail!(
                    "{shown} is {what}, and {option} would take its place; give {option} another path"
                );
            }
            let mut earlier = outputs[..number].iter();
            if let Some((other, _)) = earlier.find(|(_, other)| is_same(other, path)) {
                bail!("{option} and {other} name the same file; give one of them another");
            }
            let is_for_programs = ["--summary-json", "--metrics-file"].contains(option);
            if is_for_programs && report::is_report(path) {
                bail!(
                    "{shown} is a report, and {option} would take its place; give {option} another path"
                );
            }
        }
        Ok(())
    }

    /// Refuses what could not be created in its folder, while nothing is opened yet.
    fn check_folders(&self, cli: &Cli) -> Result<()> {
        if cli.look.dry_run && !cli.look.check {
            return Ok(());
        }
        for (option, path) in self.written(cli) {
            // What is there and is no file is not created.
            if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
                continue;
            }
            let target = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            let folder = files::folder(&target);
            if let Err(error) = tempfile::tempfile_in(folder) {
                let (folder, shown) = (folder.display(), path.display());
                bail!(
                    "cannot create {shown} in the folder {folder}: {error}; create the folder or make it writable, or give {option} another path"
                );
            }
        }
        Ok(())
    }

    /// Files that the command will write, by the option that names them.
    fn written(&self, cli: &Cli) -> Vec<(&'static str, PathBuf)> {
        let mut written = Vec::new();
        if let (None, Destination::File(path)) = (&cli.report.from_report, &self.report) {
            written.extend([
                ("--report", path.clone()),
                ("the report's state", with_suffix(path, ".state")),
                (
                    "the report while it is incomplete",
                    with_suffix(path, ".part"),
                ),
            ]);
            if cli.report.overwrite {
                written.push(("the .bak of --overwrite", with_suffix(path, ".bak")));
            }
        }
        for (option, output) in self.exports() {
            if let Some(Destination::File(path)) = output {
                written.push((option, path.clone()));
            }
        }
        written
    }
}

impl Names {
    fn report(&self, cli: &Cli) -> Destination {
        if let Some(pattern) = &cli.report.report {
            return self.dated(pattern);
        }
        let kind = match &cli.look {
            Look { list: Some(_), .. } => "list",
            Look { check: true, .. } => "check",
            _ => "report",
        };
        self.plain(Path::new(&default_name(cli.input.first(), kind)))
    }

    /// A name in which `{date}` (`2026-11-24`) and `{datetime}` (`20261124T070846Z`) are filled in, UTC.
    fn dated(&self, pattern: &str) -> Destination {
        let name = pattern
            .replace("{date}", &self.now.strftime("%Y-%m-%d").to_string())
            .replace(
                "{datetime}",
                &self.now.strftime("%Y%m%dT%H%M%SZ").to_string(),
            );
        self.plain(Path::new(&name))
    }

    /// What the sandbox writes can never be taken for the real thing: it bears a mark.
    fn plain(&self, path: &Path) -> Destination {
        match path.to_str() {
            Some("-") => Destination::Stdout,
            _ if self.is_sandbox => Destination::File(sandboxed(path)),
            _ => Destination::File(path.to_owned()),
        }
    }
}

/// `old.csv.gz` makes `old.report.csv` in the working directory; stdin and no input the program's name.
fn default_name(first_input: Option<&PathBuf>, kind: &str) -> String {
    let stem = first_input
        .filter(|path| path.as_os_str() != "-")
        .and_then(|path| path.file_stem())
        .map(|stem| secret::scrub(&stem.to_string_lossy()).into_owned());
    let stem = stem.unwrap_or_else(|| env!("CARGO_PKG_NAME").into());
    format!("{}.{kind}.csv", stem.strip_suffix(".csv").unwrap_or(&stem))
}

/// `old.report.csv` becomes `old.report.sandbox.csv`.
fn sandboxed(path: &Path) -> PathBuf {
    let Some(extension) = path.extension() else {
        return with_suffix(path, ".sandbox");
    };
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".sandbox.");
    name.push(extension);
    path.with_file_name(name)
}

/// Files that the command reads, in words.
fn inputs(cli: &Cli) -> Vec<(&'static str, &PathBuf)> {
    let read: [(_, &[PathBuf]); 4] = [
        ("an input", &cli.input),
        (
            "the file of the key",
            cli.connection.private_key_file.as_slice(),
        ),
        ("the report that is read", cli.report.from_report.as_slice()),
        ("a list of exceptions", &cli.reading.except),
    ];
    let mut inputs = Vec::new();
    for (what, paths) in read {
        inputs.extend(paths.iter().map(|path| (what, path)));
    }
    inputs
}

/// Whether two paths name one file, or will once it is there.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().ok().filter(fs::Metadata::is_file);
    match (file(one), file(other)) {
        (None, None) => resolved(one) == resolved(other),
        (Some(one), Some(other)) => files::is_same(&one, &other),
        _ => false,
    }
}

/// The path of a file that need not be there, its folder's links followed.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_bear_the_sandboxs_mark() {
        let names = |is_sandbox| Names {
            now: Timestamp::UNIX_EPOCH,
            is_sandbox,
        };
        let file = |name: &str| Destination::File(name.into());
        for (is_sandbox, pattern, expected) in [
            (false, "r.{date}.csv", file("r.1970-01-01.csv")),
            (
                true,
                "a.b/r.{datetime}.csv",
                file("a.b/r.19700101T000000Z.sandbox.csv"),
            ),
            (true, "plain", file("plain.sandbox")),
            (true, "-", Destination::Stdout),
        ] {
            assert_eq!(names(is_sandbox).dated(pattern), expected, "{pattern}");
        }
        let name = |input: &str| default_name(Some(&input.into()), "report");
        assert_eq!(name("lists/old.csv.gz"), "old.report.csv");
        assert_eq!(name("-"), "imagekit-bulk-delete.report.csv");
        assert_eq!(
            default_name(None, "check"),
            "imagekit-bulk-delete.check.csv"
        );
    }
}
