//! The program: from the command line to an exit code.

mod cli;
mod progress;

use std::process::ExitCode;

use cli::Cli;
use progress::Progress;

fn main() -> ExitCode {
    let mut cli = match Cli::read() {
        Ok(cli) => cli,
        Err(help_or_error) => {
            let code = u8::try_from(help_or_error.exit_code()).unwrap_or(2);
            // Nobody is left to tell if the terminal is gone.
            let _ = cli::print(&help_or_error);
            return ExitCode::from(code);
        }
    };
    match cli::run(&mut cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            Progress::new(&cli.display).error(&cli::describe(&error));
            ExitCode::from(cli::exit_code_of(&error))
        }
    }
}
