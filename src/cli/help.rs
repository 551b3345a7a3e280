//! What help and the man page say beside the options: ways to use it, and what the exit codes mean; and how help and
//! errors of the command line are printed.

use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use imagekit_bulk_delete::secret;

/// The end of the short help.
pub(super) const MORE: &str = "--help explains each in full, with examples and the exit codes";

/// What it is for, and the command.
pub(super) const EXAMPLES: &[(&str, &str)] = &[
    (
        "Try it out; nothing real is touched",
        "imagekit-bulk-delete --sandbox export.csv",
    ),
    (
        "Delete the files in a list, after confirmation",
        "imagekit-bulk-delete --private-key-file key.txt --column fileId export.csv",
    ),
    (
        "Delete what another program lists, 1000 files at most",
        "grep -v keep ids.txt | imagekit-bulk-delete --yes --max-delete 1000 --report deleted.csv",
    ),
    (
        "Continue where the last run ended, for whatever reason",
        "imagekit-bulk-delete --yes --resume export.csv",
    ),
    (
        "Run from cron, with one report per day",
        "imagekit-bulk-delete --yes --resume --private-key-file key.txt --report old.{date}.csv old.csv",
    ),
];

/// The contract's exit codes.
pub(super) const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "every record is settled"),
    (
        "1",
        "the run completed; some records are failed, unknown or invalid, or a purge failed",
    ),
    (
        "2",
        "usage or set-up error, or declined: nothing was deleted",
    ),
    (
        "3",
        "ImageKit refused the key, or the server is not ImageKit: resumable",
    ),
    (
        "4",
        "hit --max-failures, --max-not-found, --max-duration or --max-outage: resumable",
    ),
    (
        "5",
        "the report cannot be written, or does not add up: resumable",
    ),
    ("6", "the input broke while it was read: resumable"),
    ("75", "another run holds the report"),
    (
        "129, 130, 143",
        "stopped by SIGHUP, Ctrl-C, SIGTERM: resumable",
    ),
];

/// For somebody who passes the key on the command line.
const NO_KEY_OPTION: &str = "error: no option takes the private key itself, because others could read the command line; \
set IMAGEKIT_PRIVATE_KEY to it, or name a file that holds it with --private-key-file\n";

/// The end of the long help.
pub(super) fn after_long_help() -> String {
    let examples: String = EXAMPLES
        .iter()
        .map(|(what, command)| format!("  {what}:\n    {command}\n"))
        .collect();
    let codes: String = EXIT_CODES
        .iter()
        .map(|(code, meaning)| format!("\n  {code:<13}  {meaning}"))
        .collect();
    format!("Examples:\n{examples}\nExit codes:{codes}")
}

/// Prints help, or what is wrong with a command line. A key that was put where another value belongs is not repeated.
pub(crate) fn print(help_or_error: &clap::Error) -> io::Result<()> {
    if is_about_a_key(help_or_error) {
        return io::stderr().write_all(NO_KEY_OPTION.as_bytes());
    }
    let text = help_or_error.render().to_string();
    if help_or_error.kind() == ErrorKind::ArgumentConflict {
        // clap's usage line would suggest another command, one that deletes perhaps.
        let conflict = text.split("\n\n").next().unwrap_or_default();
        let separator = if conflict.contains('\n') { "\n" } else { "; " };
        let text = format!("{conflict}{separator}leave out the one or the other\n");
        return io::stderr().write_all(secret::scrub(&text).as_bytes());
    }
    if help_or_error.use_stderr() && secret::is_in(&text) {
        return io::stderr().write_all(secret::scrub(&text).as_bytes());
    }
    help_or_error.print()
}

/// Whether an option was tried that does not exist because it would hold the private key.
fn is_about_a_key(error: &clap::Error) -> bool {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return false;
    };
    error.kind() == ErrorKind::UnknownArgument && option.to_lowercase().contains("key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_help_fits_its_width() {
        for line in after_long_help().lines() {
            assert!(line.len() <= 100, "clap would break it: {line}");
        }
    }
}
