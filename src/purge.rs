//! The purge: takes the URLs of deleted files out of the CDN's caches, which ImageKit does not do by itself.
//!
//! Targets come in before the deletion and get their URL, if their row did not tell it: afterwards nobody can
//! tell it any more. Outcomes come in after the deletion, and leave with what became of their purge. What a purge
//! meets never changes what is said of the deletion, and never stops other deletions.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::{Client, Exchange, Response};
use crate::line::{Line, Unanswered};
use crate::lookup::{Known, Lookup, LookupError};
use crate::outcome::{Outcome, Purge};
use crate::target::{FileId, Target};
use crate::throttle::Endpoint;

/// 429s in a row that name no end: taken for a used-up quota, as a rate limit would have let one through by then.
const ENDLESS_REFUSALS: u32 = 6;

/// After so many failed attempts in a row, and so long without one that did not fail, no more purges are tried: all of
/// their attempts would take hours, and deletions wait behind them.
const MOST_FAILURES: u32 = 48;
const LONGEST_FAILING: Duration = Duration::from_mins(1);

/// A 429 that asks for a longer wait than this is about a quota, not about a rate.
const LONGEST_PAUSE_OF_A_RATE: Duration = Duration::from_hours(1);

/// Before the purge's own words in a row's message.
const MARK: &str = "purge: ";

/// Purges URLs, and finds them out before.
#[derive(Debug)]
pub struct PurgeCache {
    line: Rc<Line>,
    lookup: Lookup,
    /// The key may read, as far as is known.
    can_read: Cell<bool>,
    /// What becomes of all further purges: none is asked for any more.
    closed: Cell<Option<Purge>>,
    was_accepted: Cell<bool>,
    endless_refusals: Cell<u32>,
    /// Attempts that failed in a row, and since when.
    failures: Cell<u32>,
    failing_since: Cell<Option<Instant>>,
    /// None has gone through for long: those that wait need not wait for their turn.
    is_hopeless: watch::Sender<bool>,
}

impl PurgeCache {
    /// Purges over `line`.
    pub fn new(line: Rc<Line>) -> Self {
        Self {
            lookup: Lookup::new(Rc::clone(&line)),
            line,
            can_read: Cell::new(true),
            closed: Cell::new(None),
            was_accepted: Cell::new(false),
            endless_refusals: Cell::new(0),
            failures: Cell::new(0),
            failing_since: Cell::new(None),
            is_hopeless: watch::Sender::new(false),
        }
    }

    /// Gives each target its URL, where its row did not and ImageKit knows it.
    ///
    /// What cannot be found out does not hold the deletion up: its row will say `no_url`.
    pub async fn find_urls(&self, targets: &mut [Target]) {
        let mut without: Vec<&mut Target> = targets
            .iter_mut()
            .filter(|target| target.origin.url.is_none())
            .collect();
        if without.is_empty() || !self.can_read.get() {
            return;
        }
        let file_ids: Vec<FileId> = without
            .iter()
            .map(|target| target.file_id.clone())
            .collect();
        match self.lookup.find(&file_ids.iter().collect::<Vec<_>>()).await {
            Ok(known) => {
                for (target, known) in without.iter_mut().zip(known) {
                    if let Known::There(file) = known {
                        target.origin.url = file.url.map(Into::into);
                    }
                }
            }
            Err(LookupError::KeyRefused(told)) => {
                self.can_read.set(false);
                tracing::warn!(
                    told,
                    "the key may not read, so URLs cannot be found out and will not be purged"
                );
            }
            Err(LookupError::Stopped) => {}
        }
    }

    /// What the row says at once, where nothing is asked: the URL is not known, or purging has ended.
    pub fn decide_unasked(&self, outcome: &mut Outcome) {
        if outcome.is_gone() {
            outcome.purge = match outcome.origin.url {
                None => Some(Purge::NoUrl),
                Some(_) => self.closed.get(),
            };
        }
    }

    /// Purges the URL of a file that is gone; `None` if a stop left it for a resume.
    pub async fn purge(&self, mut outcome: Outcome) -> Option<Outcome> {
        let url = outcome.origin.url.clone()?;
        let is_wanted = || self.closed.get().is_none();
        let send = async |client: &Client| {
            let exchange = client.purge(&url).await;
            self.watch(&exchange);
            exchange
        };
        let is_end = |response: &Response| self.is_end(response);
        let asked = select! {
            biased;
            asked = self.line.ask(Endpoint::Purge, is_wanted, is_end, send) => asked,
            () = self.hopeless() => Err(Unanswered::Unwanted),
        };
        let purged = match asked {
            Ok(response) => self.read(&response),
            Err(Unanswered::KeyRefused(told)) => self.refused(told),
            Err(Unanswered::GivenUp(why)) => Purged::not(Purge::Failed, why),
            Err(Unanswered::Stopped) => return None,
            Err(Unanswered::Unwanted) => {
                outcome.purge = self.closed.get();
                return Some(outcome);
            }
        };
        outcome.purge = Some(purged.purge);
        outcome.purge_request_id = purged.request_id;
        outcome.message = message(outcome.message.as_deref(), purged.why.as_deref());
        Some(outcome)
    }

    fn read(&self, response: &Response) -> Purged {
        let told = response.message().unwrap_or("no message").to_owned();
        match response.status {
            200..=299 => {
                self.was_accepted.set(true);
                self.endless_refusals.set(0);
                Purged {
                    purge: Purge::Requested,
                    request_id: response.purge_request_id().map(Into::into),
                    why: None,
                }
            }
            402 | 403 => self.refused(told),
            429 => self.close(Purge::OverLimit, told),
            _ if is_about_a_quota(&told) => self.close(Purge::OverLimit, told),
            _ => Purged::not(Purge::Failed, told),
        }
    }

    /// Where none goes through for long the rest is left to a resume.
    fn watch(&self, exchange: &Exchange) {
        let is_failure = exchange
            .as_ref()
            .map_or(true, |response| response.status >= 500);
        if !is_failure {
            self.failures.set(0);
            self.failing_since.set(None);
            return;
        }
        let since = self.failing_since.get().unwrap_or_else(Instant::now);
        self.failing_since.set(Some(since));
        self.failures.set(self.failures.get() + 1);
        if self.failures.get() >= MOST_FAILURES && since.elapsed() >= LONGEST_FAILING {
            self.close(Purge::Failed, "none goes through".to_owned());
            self.is_hopeless.send_replace(true);
        }
    }

    async fn hopeless(&self) {
        // The sender lives as long as this does, so waiting cannot fail.
        let _ = self.is_hopeless.subscribe().wait_for(|is_so| *is_so).await;
    }

    /// A 403 ends the purging, not the deleting. After a purge was taken it can hardly be about the key. `[inferred]`
    fn refused(&self, told: String) -> Purged {
        let is_quota = is_about_a_quota(&told) || self.was_accepted.get();
        self.close(
            if is_quota {
                Purge::OverLimit
            } else {
                Purge::Failed
            },
            told,
        )
    }

    fn close(&self, purge: Purge, why: String) -> Purged {
        if self.closed.replace(Some(purge)).is_none() {
            tracing::warn!(
                why,
                state = purge.as_str(),
                "ImageKit takes no more purges; deleting goes on"
            );
        }
        Purged::not(purge, why)
    }

    /// Whether a 429 is about the quota and not about the rate: how a used-up quota is told is not documented.
    fn is_end(&self, response: &Response) -> bool {
        let is_endless = response.pace.wait.is_none_or(|wait| wait.is_zero());
        let refusals = if is_endless {
            self.endless_refusals.get() + 1
        } else {
            0
        };
        self.endless_refusals.set(refusals);
        refusals >= ENDLESS_REFUSALS
            || response
                .pace
                .wait
                .is_some_and(|wait| wait > LONGEST_PAUSE_OF_A_RATE)
            || response.message().is_some_and(is_about_a_quota)
    }
}

/// What came of one purge.
struct Purged {
    purge: Purge,
    request_id: Option<Box<str>>,
    why: Option<String>,
}

impl Purged {
    fn not(purge: Purge, why: String) -> Self {
        Self {
            purge,
            request_id: None,
            why: Some(why),
        }
    }
}

/// Whether a refusal speaks of a quota; the rate limit's own words do not count. `[inferred]`
fn is_about_a_quota(message: &str) -> bool {
    let message = message.to_lowercase();
    let speaks_of = |word: &str| message.contains(word);
    !speaks_of("rate limit")
        && [
            "quota", "limit", "exceed", "exhaust", "upgrade", "used up", "monthly",
        ]
        .into_iter()
        .any(speaks_of)
}

/// The deletion's message, if it has one, and what the purge met; what an earlier try met is left out.
fn message(of_the_deletion: Option<&str>, why: Option<&str>) -> Option<Box<str>> {
    let own = of_the_deletion
        .and_then(|message| message.split(MARK).next())
        .map(|message| message.trim_end_matches("; "))
        .filter(|message| !message.is_empty());
    match (own, why) {
        (None, None) => None,
        (Some(own), None) => Some(own.into()),
        (None, Some(why)) => Some(format!("{MARK}{why}").into()),
        (Some(own), Some(why)) => Some(format!("{own}; {MARK}{why}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_told_from_a_rate_limit_and_from_a_bad_url() {
        for quota in [
            "You have exhausted your monthly purge limit.",
            "Purge quota exceeded",
            "Upgrade your plan to purge more URLs",
        ] {
            assert!(is_about_a_quota(quota), "{quota}");
        }
        for other in [
            "rate limit exceeded",
            "The URL is not valid for cache purging.",
            "Your account cannot be authenticated.",
        ] {
            assert!(!is_about_a_quota(other), "{other}");
        }
    }

    #[test]
    fn the_deletions_message_stays_and_an_earlier_purges_goes() {
        assert_eq!(message(None, None), None);
        assert_eq!(message(None, Some("no")).as_deref(), Some("purge: no"));
        assert_eq!(message(Some("purge: no"), None), None);
        assert_eq!(
            message(Some("not there any more; purge: no"), Some("yes")).as_deref(),
            Some("not there any more; purge: yes")
        );
        assert_eq!(
            message(Some("not there any more"), None).as_deref(),
            Some("not there any more")
        );
    }
}
