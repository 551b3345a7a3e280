//! The stop: one cloneable token that says that the run must end early, and why.
//!
//! Whoever finds a reason trips it; whoever waits selects on it. Requests in flight are never cut short by it.

use std::rc::Rc;

use thiserror::Error;
use tokio::sync::watch;

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// The report or the state cannot be written (exit 5).
    #[error("{0}")]
    ReportBroken(String),
    /// ImageKit refused the key (exit 3).
    #[error(
        "ImageKit refused the key: {0}; check that it is the private key of this account and may delete"
    )]
    KeyRefused(String),
    /// What answers is not ImageKit (exit 3).
    #[error("the server is not ImageKit: {0}; check --base-url and the proxy")]
    NotImageKit(String),
    /// The host was never reached, in words; nothing was sent (exit 2).
    #[error("{0}; check --base-url, the network and the proxy")]
    Unreachable(String),
    /// The input broke while it was read (exit 6).
    #[error("the input broke: {0}")]
    InputBroken(String),
    /// A signal, by its number (exit 128 + number).
    #[error("{}", signal_name(*.0))]
    Signal(i32),
    /// A limit that the user set was reached (exit 4).
    #[error("{0}")]
    LimitReached(String),
}

impl Reason {
    /// The reason, with the host where that is not ImageKit's.
    pub(crate) fn with_host(self, host: &str) -> Self {
        match self {
            Self::NotImageKit(why) => Self::NotImageKit(format!("{host}: {why}")),
            other => other,
        }
    }

    /// How grave it is: where several reasons hold, the graver one decides, as the contract orders them.
    fn gravity(&self) -> u8 {
        match self {
            Self::ReportBroken(_) => 5,
            Self::KeyRefused(_) | Self::NotImageKit(_) => 4,
            Self::Unreachable(_) => 3,
            Self::InputBroken(_) => 2,
            Self::Signal(_) => 1,
            Self::LimitReached(_) => 0,
        }
    }
}

/// A signal as people know it.
fn signal_name(number: i32) -> String {
    match number {
        1 => "SIGHUP (its terminal or session ended)".into(),
        2 => "SIGINT (Ctrl-C)".into(),
        3 => "SIGQUIT (Ctrl-\\)".into(),
        15 => "SIGTERM".into(),
        _ => format!("signal {number}"),
    }
}

/// The token. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    reason: Rc<watch::Sender<Option<Reason>>>,
}

impl Stop {
    /// A token that nobody has tripped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run early. A graver reason replaces the one that holds; otherwise the first one stays.
    pub fn trip(&self, reason: Reason) {
        self.reason.send_if_modified(|held| {
            let gravity = reason.gravity();
            let is_news = held.as_ref().is_none_or(|held| gravity > held.gravity());
            if is_news {
                *held = Some(reason);
            }
            is_news
        });
    }

    /// The gravest reason so far, the first of those; `None` while the run goes on.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reasons: &[Reason]) -> Option<Reason> {
        let stop = Stop::new();
        for reason in reasons {
            stop.trip(reason.clone());
        }
        stop.reason()
    }

    #[test]
    fn of_equally_grave_reasons_the_first_stays_whatever_their_texts() {
        let limit = |text: &str| Reason::LimitReached(text.into());
        let pairs = [
            (Reason::Signal(15), Reason::Signal(2)),
            (Reason::Signal(2), Reason::Signal(15)),
            (limit("99 of 99 failed"), limit("100 of 100 failed")),
            (
                limit("no success for 10 min"),
                limit("--max-duration has passed"),
            ),
            (
                Reason::NotImageKit("a page".into()),
                Reason::KeyRefused("no".into()),
            ),
            (
                Reason::KeyRefused("no".into()),
                Reason::NotImageKit("a page".into()),
            ),
        ];
        for (first, second) in pairs {
            assert_eq!(after(&[first.clone(), second]), Some(first));
        }
    }

    #[test]
    fn a_graver_reason_replaces_a_lesser_one_and_never_the_other_way_round() {
        let gravest_first = [
            Reason::ReportBroken("disk full".into()),
            Reason::KeyRefused("no".into()),
            Reason::InputBroken("line 3".into()),
            Reason::Signal(1),
            Reason::LimitReached("--max-failures".into()),
        ];
        for (at, graver) in gravest_first.iter().enumerate() {
            for lesser in &gravest_first[at + 1..] {
                for order in [[lesser, graver], [graver, lesser]] {
                    assert_eq!(after(&order.map(Reason::clone)).as_ref(), Some(graver));
                }
            }
        }
        assert_eq!(after(&[]), None);
    }
}
