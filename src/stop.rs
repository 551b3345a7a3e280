//! The stop: one cloneable token that says that the run must end early, and why.
//!
//! Whoever finds the reason trips it; whoever waits selects on it. Requests in
//! the air are never cut by it.

use std::sync::Arc;

use tokio::sync::watch;

/// Why a run ended early. The order is the contract's: where several hold, the first decides the exit code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The report or the state cannot be written (exit 5).
    ReportBroken(String),
    /// ImageKit refused the key (exit 3).
    KeyRefused(String),
    /// What answers is not ImageKit (exit 3).
    NotImageKit(String),
    /// The host was never reached; nothing was sent (exit 2).
    Unreachable(String),
    /// The input broke while it was read (exit 6).
    InputBroken(String),
    /// A signal, by its number (exit 128 + number).
    Signal(i32),
    /// A limit that the user set was reached (exit 4).
    LimitReached(String),
}

impl Reason {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ReportBroken(_) => 5,
            Self::KeyRefused(_) | Self::NotImageKit(_) => 3,
            Self::Unreachable(_) => 2,
            Self::InputBroken(_) => 6,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            Self::LimitReached(_) => 4,
        }
    }
}

/// The token. Clones share one state.
#[derive(Debug, Clone)]
pub struct Stop {
    reason: Arc<watch::Sender<Option<Reason>>>,
}

impl Stop {
    /// A token that nobody has tripped.
    pub fn new() -> Self {
        Self {
            reason: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Ends the run early. A graver reason replaces a lesser one.
    pub fn trip(&self, reason: Reason) {
        self.reason.send_if_modified(|held| match held {
            Some(graver) if *graver <= reason => false,
            _ => {
                *held = Some(reason);
                true
            }
        });
    }

    /// The gravest reason so far; `None` while the run goes on.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.borrow().clone()
    }

    /// Whether the run must end.
    pub fn is_tripped(&self) -> bool {
        self.reason.borrow().is_some()
    }

    /// Completes when the token is tripped. Safe to drop and call again.
    pub async fn tripped(&self) {
        let mut receiver = self.reason.subscribe();
        // The sender lives as long as this token, so waiting cannot fail.
        let _ = receiver.wait_for(Option::is_some).await;
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}
