//! A private key that was typed where something else belongs, and names that look like one.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};
use imagekit_bulk_delete::secret;

use super::options::Cli;

/// Refuses a command line, or a variable behind one of its options, in which a value is a private key.
pub(crate) fn refuse(cli: &Cli) -> Result<()> {
    let has_key = |(_, values): &(String, Vec<OsString>)| values.iter().any(is_key);
    if let Some((place, _)) = cli.values().into_iter().find(has_key) {
        bail!(
            "there is a private key where {place} belongs; set IMAGEKIT_PRIVATE_KEY to it, or name a file that holds it with --private-key-file, and make a new key if others use this machine: they can read command lines"
        );
    }
    Ok(())
}

/// What to say of a value that begins as a key does, the name of a file as a rule: it is hidden like one. The key's own
/// file may have such a name, which no report holds.
pub(crate) fn warning(cli: &Cli) -> Option<String> {
    let is_hidden = |(place, values): &(String, Vec<OsString>)| {
        let mut values = values.iter();
        place != "--private-key-file" && values.any(|value| secret::is_in(&value.to_string_lossy()))
    };
    let (place, _) = cli.values().into_iter().find(is_hidden)?;
    Some(format!(
        "warning: a name given as {place} looks like a private key (private_...) and is shown as {}; rename the file to see it here and in the report",
        secret::REDACTED
    ))
}

/// Whether a value is a key, or holds one that is plainly no part of a path.
fn is_key(value: &OsString) -> bool {
    let text = value.to_string_lossy();
    let is_key = secret::scrub(&text) == secret::REDACTED;
    (is_key || secret::scrub_exact(&text) != text) && !Path::new(value).exists()
}
