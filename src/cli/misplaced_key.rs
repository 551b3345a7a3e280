//! A private key that was typed where something else belongs.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use clap::CommandFactory as _;
use imagekit_bulk_delete::secret;

use super::options::Cli;

/// Refuses a command line, or a variable behind one of its options, in which a value is a private key.
pub(crate) fn refuse() -> Result<()> {
    let command = Cli::command();
    // It was parsed before, so this cannot fail.
    let Ok(matches) = command.clone().try_get_matches_from(std::env::args_os()) else {
        return Ok(());
    };
    for argument in command.get_arguments() {
        let values = matches.try_get_raw(argument.get_id().as_str());
        if values
            .ok()
            .flatten()
            .is_some_and(|mut values| values.any(is_key))
        {
            let place = argument
                .get_long()
                .map_or("an input".into(), |long| format!("--{long}"));
            bail!(
                "there is a private key where {place} belongs; set IMAGEKIT_PRIVATE_KEY to it, or name a file that holds it with --private-key-file, and make a new key if others use this machine: they can read command lines"
            );
        }
    }
    Ok(())
}

/// Whether a value is a key, or holds one that is plainly no part of a path.
fn is_key(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    let is_key = secret::scrub(&text) == secret::REDACTED;
    (is_key || secret::scrub_exact(&text) != text) && !Path::new(value).exists()
}
