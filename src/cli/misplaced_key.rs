//! A private key that was typed where something else belongs, and names that look like one.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Result, bail};
use clap::CommandFactory as _;
use imagekit_bulk_delete::secret;

use super::options::Cli;

/// Refuses a command line, or a variable behind one of its options, in which a value is a private key.
pub(crate) fn refuse() -> Result<()> {
    if let Some((place, _)) = values().into_iter().find(|(_, value)| is_key(value)) {
        bail!(
            "there is a private key where {place} belongs; set IMAGEKIT_PRIVATE_KEY to it, or name a file that holds it with --private-key-file, and make a new key if others use this machine: they can read command lines"
        );
    }
    Ok(())
}

/// What to say of a value that begins as a key does, the name of a file as a rule: it is hidden like one. The key's own
/// file may have such a name, which no report holds.
pub(crate) fn warning() -> Option<String> {
    let is_hidden = |(place, value): &(String, OsString)| {
        place != "--private-key-file" && secret::is_in(&value.to_string_lossy())
    };
    let (place, _) = values().into_iter().find(is_hidden)?;
    Some(format!(
        "warning: a name given as {place} looks like a private key (private_...) and is shown as {}; rename the file to see it here and in the report",
        secret::REDACTED
    ))
}

/// All that was typed, and what stands in variables behind options, with the place where it belongs.
fn values() -> Vec<(String, OsString)> {
    let command = Cli::command();
    // It was parsed before, so this cannot fail.
    let Ok(matches) = command.clone().try_get_matches_from(std::env::args_os()) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for argument in command.get_arguments() {
        let place = argument.get_long();
        let place = place.map_or("an input".into(), |long| format!("--{long}"));
        let values = matches.try_get_raw(argument.get_id().as_str());
        let values = values.ok().flatten().into_iter().flatten();
        all.extend(values.map(|value| (place.clone(), value.to_owned())));
    }
    all
}

/// Whether a value is a key, or holds one that is plainly no part of a path.
fn is_key(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    let is_key = secret::scrub(&text) == secret::REDACTED;
    (is_key || secret::scrub_exact(&text) != text) && !Path::new(value).exists()
}
