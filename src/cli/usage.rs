//! What is printed instead of a run: help, or what is wrong with a command line.

use std::ffi::OsString;
use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use imagekit_bulk_delete::secret;

use super::options::LogFormat;
use crate::progress::Progress;

/// For somebody who passes the key on the command line.
const NO_KEY_OPTION: &str = "error: no option takes the private key itself, because others could read the command line; \
set IMAGEKIT_PRIVATE_KEY to it, or name a file that holds it with --private-key-file\n";

/// Prints help, or what is wrong with a command line. A key that was put where another value belongs is not repeated.
pub(crate) fn print(help_or_error: &clap::Error) -> io::Result<()> {
    if !help_or_error.use_stderr() {
        return help_or_error.print();
    }
    let rendered = help_or_error.render().to_string();
    let first = rendered.split("\n\n").next().unwrap_or_default();
    let text = match help_or_error.kind() {
        _ if is_about_a_key(help_or_error) => NO_KEY_OPTION.into(),
        ErrorKind::ArgumentConflict => {
            // clap's usage line would suggest another command, one that deletes perhaps.
            let separator = if first.contains('\n') { "\n" } else { "; " };
            format!("{first}{separator}leave out one of them\n")
        }
        _ if asks_for_json() => first.into(),
        _ if secret::is_in(&rendered) => rendered,
        _ => return help_or_error.print(),
    };
    if asks_for_json() {
        let words: Vec<&str> = text.split_whitespace().skip(1).collect();
        Progress::of_log(LogFormat::Json).error(&words.join(" "));
        return Ok(());
    }
    io::stderr().write_all(secret::scrub(&text).as_bytes())
}

/// Whether the log is to be JSON, by a command line that was not understood.
fn asks_for_json() -> bool {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let is_asked = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    typed.windows(2).any(is_asked) || typed.iter().any(|word| word == "--log-format=json")
}

/// Whether an option was tried that does not exist because it would hold the private key.
fn is_about_a_key(error: &clap::Error) -> bool {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return false;
    };
    error.kind() == ErrorKind::UnknownArgument && option.to_lowercase().contains("key")
}
