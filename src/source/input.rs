//! Where records come from: a path, or standard input.

use std::path::PathBuf;

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, or anything else that can be opened by a path.
    File(PathBuf),
}

impl Input {
    /// The name in the report: the path as given, or `-`.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}
