//! The command that continues what a run left.

/// This very command, with `--resume`; `--overwrite` would throw away what is to be continued. `pattern` is the
/// report as it was asked for, `report` what it is: on another day a `{date}` would begin another one.
pub(crate) fn resume_command(pattern: Option<&str>, report: &str) -> String {
    let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let typed: Vec<String> = typed.collect();
    let pattern = pattern.unwrap_or_default();
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
