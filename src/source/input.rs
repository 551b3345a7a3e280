//! Where records come from: a path, or standard input.

use std::path::PathBuf;

use crate::secret;

/// What a control character in a name is shown as.
const REPLACEMENT: &str = "\u{fffd}";

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, or anything else that can be opened by a path.
    File(PathBuf),
}

impl Input {
    /// The name in the report: the path as given, without keys and control characters, or `-`.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => {
                secret::scrub(&path.to_string_lossy()).replace(char::is_control, REPLACEMENT)
            }
        }
    }
}
