//! The command line's side of the program: typed options in, an exit code out.
//!
//! [`options`] is what can be typed, [`run`] one run of it; the others are what a run needs from the
//! person and the machine: the account's key, the stats and the question before, signals meanwhile.
//! [`generate`] prints what packages ship beside the binary.

mod account;
mod atomic_file;
mod books;
mod check;
mod closing;
mod confirm;
mod disk;
mod dry_run;
mod generate;
mod help;
mod input_stats;
mod machines;
mod man;
mod options;
mod outputs;
mod page;
mod prepare;
mod resume_command;
mod run;
mod signals;
mod total;

pub(crate) use help::tell;
pub(crate) use options::{Cli, Display, LogFormat, ProgressMode};
pub(crate) use run::{exit_code_of, in_words, run};
