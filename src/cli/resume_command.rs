//! The command that goes on with what a run left.

/// This very command, with `--resume`; `--overwrite` would throw away what is to be gone on with.
pub(crate) fn resume_command() -> String {
    let mut words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|word| word != "--overwrite")
        .map(quoted)
        .collect();
    if !words.iter().any(|word| word == "--resume") {
        words.insert(1.min(words.len()), "--resume".into());
    }
    words.join(" ")
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
