//! The command that continues what a run left.

/// This very command, with `--resume`; `--overwrite` would throw away what is to be gone on with. `pattern` is the
/// report as it was asked for, `report` what it is: on another day a `{date}` would begin another one.
pub(crate) fn resume_command(pattern: Option<&str>, report: &str) -> String {
    let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    in_words(typed, pattern.unwrap_or_default(), report)
}

fn in_words(typed: impl Iterator<Item = String>, pattern: &str, report: &str) -> String {
    let typed: Vec<String> = typed.collect();
    let is_rehearsal = typed.iter().any(|word| word == "--sandbox");
    let dated = |word: String| match word.strip_suffix(pattern) {
        Some(option @ ("" | "-o" | "--report=")) if pattern.contains('{') => {
            // The sandbox puts its mark into the name again.
            format!("{option}{}", without_mark(report, is_rehearsal))
        }
        _ => word,
    };
    let mut words: Vec<String> = typed
        .into_iter()
        .filter(|word| word != "--overwrite")
        .map(dated)
        .map(quoted)
        .collect();
    if !words.iter().any(|word| word == "--resume") {
        words.insert(1.min(words.len()), "--resume".into());
    }
    words.join(" ")
}

fn without_mark(report: &str, is_rehearsal: bool) -> String {
    match report.rsplit_once(".sandbox") {
        Some((before, after)) if is_rehearsal && !after.contains('/') => format!("{before}{after}"),
        _ => report.to_owned(),
    }
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=,%@+".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(typed: &str, pattern: &str, report: &str) -> String {
        in_words(typed.split('|').map(str::to_owned), pattern, report)
    }

    #[test]
    fn the_same_command_goes_on_with_the_same_report() {
        let pattern = "old.{date}.csv";
        let report = "old.2026-11-24.csv";
        for (typed, expected) in [
            ("x|--yes|a.csv", "x --resume --yes a.csv"),
            ("x|--resume|a b.csv", "x --resume 'a b.csv'"),
            ("x|--overwrite|a.csv", "x --resume a.csv"),
            (
                "x|-o|old.{date}.csv|a.csv",
                "x --resume -o old.2026-11-24.csv a.csv",
            ),
            (
                "x|--report=old.{date}.csv|a.csv",
                "x --resume --report=old.2026-11-24.csv a.csv",
            ),
            (
                "x|--html|page.{date}.html|-oold.{date}.csv",
                "x --resume --html 'page.{date}.html' -oold.2026-11-24.csv",
            ),
        ] {
            assert_eq!(command(typed, pattern, report), expected);
        }
        assert_eq!(
            command("x|a.csv", "", "a.report.csv"),
            "x --resume a.csv",
            "nothing was typed"
        );
        assert_eq!(
            command(
                "x|--sandbox|-o|r.{date}.csv",
                "r.{date}.csv",
                "r.2026-11-24.sandbox.csv"
            ),
            "x --resume --sandbox -o r.2026-11-24.csv"
        );
        assert_eq!(
            command(
                "x|-o|a.sandbox/r.{date}.csv",
                "a.sandbox/r.{date}.csv",
                "a.sandbox/r.1.csv"
            ),
            "x --resume -o a.sandbox/r.1.csv"
        );
    }
}
