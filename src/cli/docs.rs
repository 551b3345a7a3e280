//! What packages ship beside the binary: the man page and the completions, made from the options themselves.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::man;
use super::options::{Cli, Document};

/// Prints a document to stdout.
pub(crate) fn print(document: Document) -> Result<()> {
    let text = text_of(document)?;
    match io::stdout().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

fn text_of(document: Document) -> Result<String> {
    match document {
        Document::Man => man::page(Cli::command()).context("cannot write the man page"),
        Document::CompleteBash => completion(Shell::Bash).map(|script| files_first(&script)),
        Document::CompleteZsh => completion(Shell::Zsh),
        Document::CompleteFish => completion(Shell::Fish),
    }
}

/// Into memory first, since the generator panics where it cannot write.
fn completion(shell: Shell) -> Result<String> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    generate(shell, &mut command, name, &mut text);
    String::from_utf8(text).context("the completion is no text")
}

/// clap's script for bash offers the options where a word has not begun; an input is what is wanted there, and bash
/// completes files where the script offers nothing.
fn files_first(script: &str) -> String {
    let options = "COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )";
    let script = script.replace(" || ${COMP_CWORD} -eq 1 ]]", " ]]");
    match script.rsplit_once(options) {
        Some((before, after)) => format!("{before}COMPREPLY=(){after}"),
        None => script,
    }
}
