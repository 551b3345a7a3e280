//! Standard output: it carries one thing only, what was asked for with `-`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::options::Cli;

/// Refuses a command in which two things ask for stdout.
pub(crate) fn check(cli: &Cli) -> Result<()> {
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
    if cli.display.metrics_file.as_ref().is_some_and(is_stdout) {
        bail!("--metrics-file needs a file that can be replaced, not stdout; give it a path");
    }
    Ok(())
}
