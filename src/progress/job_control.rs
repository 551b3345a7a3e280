//! The terminal while lines change on it: what is typed does not show, and Ctrl-Z leaves it as it was.

use std::io;

use rustix::process::{self, Signal};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::select;
use tokio::signal::unix::{self, SignalKind, signal};

/// Turns off the echo of what is typed, which would tear the lines, until it is dropped.
pub(super) struct JobControl {
    has_hidden: bool,
    stops: Option<unix::Signal>,
    continues: Option<unix::Signal>,
}

impl JobControl {
    pub(super) fn begin() -> Self {
        let listen = |number: Signal| signal(SignalKind::from_raw(number.as_raw())).ok();
        Self {
            has_hidden: set_echo(false),
            stops: listen(Signal::TSTP),
            continues: listen(Signal::CONT),
        }
    }

    /// Completes at Ctrl-Z: what is drawn must go before [`stop`](Self::stop).
    pub(super) async fn interrupted(&mut self) {
        loop {
            select! {
                Some(()) = async { self.stops.as_mut()?.recv().await } => return,
                Some(()) = async { self.continues.as_mut()?.recv().await } => {
                    // The shell has set the terminal as it likes it.
                    self.has_hidden |= set_echo(false);
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Stops this process until it is continued; does nothing where no shell could continue it.
    pub(super) fn stop(&mut self) {
        self.show();
        // SIGTSTP is caught here, so this takes another signal that stops a process by default.
        let _ = process::kill_process(process::getpid(), Signal::TTOU);
        self.has_hidden = set_echo(false);
    }

    fn show(&mut self) {
        if std::mem::take(&mut self.has_hidden) {
            set_echo(true);
        }
    }
}

impl Drop for JobControl {
    fn drop(&mut self) {
        self.show();
    }
}

/// Sets the echo of the terminal, and returns whether that changed anything. In the background it is left alone: the
/// system would stop this process for trying.
fn set_echo(is_on: bool) -> bool {
    let terminal = io::stderr();
    if !tcgetpgrp(&terminal).is_ok_and(|group| group == process::getpgrp()) {
        return false;
    }
    let Ok(mut modes) = tcgetattr(&terminal) else {
        return false;
    };
    if modes.local_modes.contains(LocalModes::ECHO) == is_on {
        return false;
    }
    modes.local_modes.set(LocalModes::ECHO, is_on);
    tcsetattr(&terminal, OptionalActions::Now, &modes).is_ok()
}
