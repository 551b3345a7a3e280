//! The command line's side of the program: typed options in, an exit code out.
//!
//! [`options`] is what can be typed, [`run`] one command of it, [`paths`] where its outputs go and [`exit`] what it ends
//! with; the others are what a run needs from the person and the machine. [`docs`] prints what packages ship beside
//! the binary.

mod account;
mod atomic_file;
mod check;
mod confirm;
mod docs;
mod dry_run;
mod exit;
mod exports;
mod finish;
mod help;
mod input_stats;
mod list;
mod log;
mod man;
mod misplaced_key;
mod options;
mod paths;
mod prepare;
mod process;
mod resume_command;
mod run;
mod signals;
mod total;
mod usage;

pub(crate) use exit::{describe, of_error as exit_code_of};
pub(crate) use options::{Cli, Display, LogFormat, ProgressMode};
pub(crate) use run::run;
pub(crate) use usage::print;
