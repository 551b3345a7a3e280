//! What help and the man page say beside the options: ways to use it, and what the exit codes mean.

/// The end of the short help.
pub(super) const MORE: &str = "--help explains each in full, with examples and the exit codes";

/// What it is for, and the command.
pub(super) const EXAMPLES: &str = "\
Try it out; nothing real is touched: imagekit-bulk-delete --sandbox export.csv
Delete the files in a list, after confirmation: imagekit-bulk-delete --private-key-file key.txt --column fileId export.csv
Delete what another program lists, 1000 files at most: grep -v keep ids.txt | imagekit-bulk-delete --yes --max-delete 1000 --report deleted.csv
Continue where the last run ended, for whatever reason: imagekit-bulk-delete --yes --resume export.csv
Run from cron, with one report per day: imagekit-bulk-delete --yes --resume --private-key-file key.txt --report old.{date}.csv old.csv";

/// The contract's exit codes.
pub(super) const EXIT_CODES: &str = "\
0: every record is settled
1: the run completed; some records are failed, unknown or invalid, or a purge failed
2: usage or set-up error, or declined: nothing was deleted
3: ImageKit refused the key, or the server is not ImageKit: resumable
4: hit --max-failures, --max-not-found, --max-duration or --max-outage: resumable
5: the report or another output cannot be written, or rows do not add up: resumable
6: the input broke while it was read: resumable
75: another run holds the report
129, 130, 143: stopped by SIGHUP, Ctrl-C, SIGTERM: resumable";

/// The lines of a text, each a name and what it means.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(": "))
}

/// The end of the long help.
pub(super) fn after_long_help() -> String {
    let examples = pairs(EXAMPLES).map(|(what, command)| format!("  {what}:\n    {command}\n"));
    let codes = pairs(EXIT_CODES).map(|(code, meaning)| format!("\n  {code:<13}  {meaning}"));
    let (examples, codes): (String, String) = (examples.collect(), codes.collect());
    format!("Examples:\n{examples}\nExit codes:{codes}")
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
