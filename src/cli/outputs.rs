//! What a run writes, and where: nothing may take the place of anything else that it writes or reads.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use imagekit_bulk_delete::report::{self, Destination};
use jiff::Timestamp;

use super::account;
use super::options::Cli;

/// Refuses a command that would write two things to one place, or over what it reads or what an older run told.
pub(crate) fn check(cli: &Cli) -> Result<()> {
    check_stdout(cli)?;
    let (outputs, inputs) = (outputs(cli), inputs(cli));
    for (number, (option, path)) in outputs.iter().enumerate() {
        let shown = path.display();
        if let Some((what, _)) = inputs.iter().find(|(_, input)| is_same(input, path)) {
            bail!(
                "{shown} is {what}, and {option} would take its place; give {option} another path"
            );
        }
        if let Some((other, _)) = outputs[..number]
            .iter()
            .find(|(_, other)| is_same(other, path))
        {
            bail!("{option} and {other} name the same file; give one of them another");
        }
        let is_for_machines = ["--summary-json", "--metrics-file"].contains(option);
        if is_for_machines && report::is_report(path) {
            bail!(
                "{shown} is a report, and {option} would take its place; give {option} another path"
            );
        }
    }
    Ok(())
}

/// Standard output carries one thing only, what was asked for with `-`.
fn check_stdout(cli: &Cli) -> Result<()> {
    let is_stdout = |path: &PathBuf| path.as_os_str() == "-";
    let options = [
        ("--report", cli.report.report.as_deref() == Some("-")),
        ("--html", cli.report.html.as_deref() == Some("-")),
        (
            "--summary-json",
            cli.display.summary_json.as_ref().is_some_and(is_stdout),
        ),
    ];
    let mut askers = options.iter().filter(|(_, asks)| *asks);
    if let (Some((first, _)), Some((second, _))) = (askers.next(), askers.next()) {
        bail!("{first} - and {second} - both ask for stdout; give one of them a path");
    }
    if cli.report.resume && cli.report.report.as_deref() == Some("-") {
        bail!(
            "--resume goes on with a report, and what went to stdout is not there any more; give --report a path"
        );
    }
    if cli.display.metrics_file.as_ref().is_some_and(is_stdout) {
        bail!("--metrics-file needs a file that can be replaced, not stdout; give it a path");
    }
    Ok(())
}

/// Files that the run will write, by the option that names them.
fn outputs(cli: &Cli) -> Vec<(&'static str, PathBuf)> {
    let mut outputs = Vec::new();
    let first_input = cli
        .input
        .first()
        .map_or("-".into(), |path| path.to_string_lossy());
    let destination = if cli.look.check {
        super::check::destination(cli, &first_input)
    } else {
        account::destination(cli, &first_input)
    };
    if let (None, Destination::File(path)) = (&cli.report.from_report, destination) {
        if cli.report.overwrite {
            let backup = report::with_suffix(&path, ".bak");
            outputs.push(("the .bak of --overwrite", backup));
        }
        let state = report::with_suffix(&path, ".state");
        outputs.extend([("--report", path), ("the report's state", state)]);
    }
    let html = cli
        .report
        .html
        .as_deref()
        .map(|pattern| report::expand(pattern, Timestamp::now()).into());
    let (json, metrics) = (&cli.display.summary_json, &cli.display.metrics_file);
    let named = [
        ("--html", html),
        ("--summary-json", json.clone()),
        ("--metrics-file", metrics.clone()),
    ];
    for (option, path) in named {
        if let Some(path) = path.filter(|path| path.as_os_str() != "-") {
            outputs.push((option, account::rehearsed(cli, path)));
        }
    }
    outputs
}

/// Files that the run reads, in words.
fn inputs(cli: &Cli) -> Vec<(&'static str, PathBuf)> {
    let inputs = cli.input.iter().map(|path| ("an input", path.clone()));
    let key = cli
        .connection
        .private_key_file
        .iter()
        .map(|path| ("the file of the key", path.clone()));
    let report = cli
        .report
        .from_report
        .iter()
        .map(|path| ("the report that is read", path.clone()));
    inputs.chain(key).chain(report).collect()
}

/// Whether two paths name one file, or will once it is there.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = path.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((metadata.dev(), metadata.ino()))
    };
    match (identity(one), identity(other)) {
        (None, None) => settled(one) == settled(other),
        (one, other) => one == other,
    }
}

/// The path of a file that need not be there, its folder's links followed.
fn settled(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path,
    }
}
