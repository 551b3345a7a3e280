//! Signals: the first one asks for an orderly stop, the second leaves at once, and Ctrl-\ (SIGQUIT) does so as the first.

use std::io;
use std::time::Duration;

use imagekit_bulk_delete::human::seconds;
use imagekit_bulk_delete::stop::{Reason, Stop};
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::progress::Progress;

/// Listens for SIGHUP, SIGINT, SIGQUIT and SIGTERM.
#[derive(Debug)]
pub(crate) struct Signals {
    /// `None` where it was ignored from the start, as under nohup: it stays so.
    hangup: Option<Signal>,
    interrupt: Signal,
    /// Its default action would leave the terminal as the progress has set it, without echo.
    quit: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen; from now on none of them ends the process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: if is_hangup_ignored() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The number of the next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        let kind = select! {
            _ = hear(self.hangup.as_mut()) => SignalKind::hangup(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        kind.as_raw_value()
    }

    /// Trips the stop at the first signal and completes at the second, or at SIGQUIT, with its number.
    pub(crate) async fn watch(
        mut self,
        stop: &Stop,
        progress: &Progress,
        timeout: Duration,
    ) -> i32 {
        let number = self.next().await;
        stop.trip(Reason::Signal(number));
        if number == SignalKind::quit().as_raw_value() {
            return number;
        }
        let most = seconds(timeout);
        progress.notice(&format!(
            "stopping: waiting for the requests in flight, at most {most}\n(Ctrl-C again leaves at once)"
        ));
        self.next().await
    }
}

async fn hear(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// As Linux tells it: a mask in hexadecimal, SIGHUP its lowest bit. Elsewhere it is heard.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}
