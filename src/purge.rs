//! The purge: takes the URLs of deleted files out of the CDN's caches, which ImageKit does not do by itself.
//!
//! Targets come in before the deletion and get their URL, if their row did not tell it: afterwards nobody can
//! tell it any more. Outcomes come in after the deletion, and leave with what became of their purge. What a purge
//! meets never changes what is said of the deletion, and never stops other deletions.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::api::{Api, Unanswered};
use crate::client::{Client, FileInfo, Response, Sent};
use crate::lookup::{Known, Lookup, LookupError};
use crate::outcome::{Outcome, Purge};
use crate::target::{FileId, Reject, Rejected, Target};
use crate::throttle::Endpoint;

/// 429s in a row that name no end: taken for a used-up quota, as a rate limit would have let one through by then.
const MAX_ENDLESS_REFUSALS: u32 = 6;

/// After this many failed attempts in a row, and this long without one that did not fail, no more purges are tried:
/// all of their attempts would take hours, and deletions wait behind them.
const MAX_FAILURES: u32 = 48;
const MAX_FAILING: Duration = Duration::from_mins(1);

/// A 429 that asks for a longer wait than this is about a quota, not about a rate.
const MAX_PAUSE_OF_A_RATE: Duration = Duration::from_mins(5);

/// This many URLs are remembered, so that equal ones are purged once. Quotas are far below.
const MAX_KNOWN_URLS: usize = 10_000;
const MAX_KNOWN_BYTES: usize = 2048;

/// Before the purge's own words in a row's message.
const MARK: &str = "purge: ";

/// Purges URLs, and finds them out before.
#[derive(Debug)]
pub struct PurgeCache {
    api: Rc<Api>,
    lookup: Lookup,
    /// The key may read, as far as is known.
    can_read: Cell<bool>,
    /// What becomes of all further purges: none is asked for any more.
    closed: watch::Sender<Option<Purge>>,
    was_accepted: Cell<bool>,
    endless_refusals: Cell<u32>,
    /// Attempts that failed in a row, and since when.
    failing: Cell<Option<(u32, Instant)>>,
    /// URLs that this run asked for, and what came of them; `None` where no answer has come yet.
    earlier: RefCell<HashMap<Box<str>, watch::Sender<Option<Purged>>>>,
}

impl PurgeCache {
    /// Purges over `api`.
    pub fn new(api: Rc<Api>) -> Self {
        Self {
            lookup: Lookup::new(Rc::clone(&api)),
            api,
            can_read: Cell::new(true),
            closed: watch::Sender::new(None),
            was_accepted: Cell::new(false),
            endless_refusals: Cell::new(0),
            failing: Cell::new(None),
            earlier: RefCell::default(),
        }
    }

    /// Gives each target its URL, where its row did not and ImageKit knows it. What turns out to be a folder or a
    /// version is not to be deleted, and comes back apart.
    ///
    /// What cannot be found out does not hold the deletion up: its row will say `no_url`.
    pub async fn find_urls(&self, targets: Vec<Target>) -> (Vec<Target>, Vec<Rejected>) {
        let has_url = |target: &Target| target.origin.url.is_some();
        let (mut files, without): (Vec<_>, Vec<_>) = targets.into_iter().partition(has_url);
        let (mut rejected, known) = (Vec::new(), self.look_up(&without).await);
        let mut known = known.into_iter();
        for mut target in without {
            match known.next() {
                Some(Known::There(file)) if !file.is_file() => {
                    rejected.push(reject(target, &file));
                    continue;
                }
                Some(Known::There(file)) => target.origin.url = file.url.as_deref().map(looked_up),
                Some(Known::Missing | Known::Unclear(_)) | None => {}
            }
            files.push(target);
        }
        (files, rejected)
    }

    /// What is known of each target; of none, where nothing can be found out.
    async fn look_up(&self, targets: &[Target]) -> Vec<Known> {
        if targets.is_empty() || !self.can_read.get() {
            return Vec::new();
        }
        let file_ids: Vec<&FileId> = targets.iter().map(|target| &target.file_id).collect();
        let known = self.lookup.find(&file_ids).await;
        if let Err(LookupError::KeyRefused(why)) = &known
            && self.can_read.replace(false)
        {
            tracing::warn!(
                "the key may not read, so URLs cannot be looked up and will not be purged ({why})"
            );
        }
        known.unwrap_or_default()
    }

    /// What the row says at once, where nothing is asked: the URL is not known, or purging has ended.
    pub fn decide_unasked(&self, outcome: &mut Outcome) {
        if outcome.is_gone() {
            outcome.purge = match &outcome.origin.url {
                None => Some(Purge::NoUrl),
                Some(url) if self.was_requested(url) => None,
                Some(_) => *self.closed.borrow(),
            };
        }
    }

    /// Purges the URL of a file that is gone; `None` if a stop left it for a resume.
    ///
    /// Equal URLs are purged once: later rows get what came of the first.
    ///
    /// One whose answer was lost, to a broken connection or with a killed run, is asked for again. Whether ImageKit
    /// took it can only be found out by the request id that was in that answer, and a file that stays cached is worse
    /// than one more request of the quota. A killed run leaves as many as it had requests in flight at the most, since
    /// the row of an answered purge is written before anything else is done.
    pub async fn purge(&self, mut outcome: Outcome) -> Option<Outcome> {
        let url = purged_url(outcome.origin.url.as_deref()?);
        let earlier = self
            .earlier
            .borrow()
            .get(&*url)
            .map(watch::Sender::subscribe);
        let purged = match earlier {
            // An error is that of a purge which a stop left.
            Some(mut earlier) => earlier.wait_for(Option::is_some).await.ok()?.clone()?,
            None => self.purge_first(&url).await?,
        };
        outcome.purge = Some(purged.purge);
        outcome.purge_request_id = purged.request_id;
        outcome.message = message(outcome.message.as_deref(), purged.why.as_deref());
        Some(outcome)
    }

    fn was_requested(&self, url: &str) -> bool {
        let is_requested = |purged: &Purged| purged.purge == Purge::Requested;
        self.earlier
            .borrow()
            .get(&*purged_url(url))
            .is_some_and(|earlier| earlier.borrow().as_ref().is_some_and(is_requested))
    }

    async fn purge_first(&self, url: &str) -> Option<Purged> {
        if is_remembered(url, self.earlier.borrow().len()) {
            let sender = watch::Sender::new(None);
            self.earlier.borrow_mut().insert(url.into(), sender);
        }
        let mut purged = self.ask(url).await;
        let is_refused = purged.as_ref().is_some_and(|purged| purged.is_bad_url);
        if let Some(exact) = without_star(url).filter(|_| is_refused) {
            purged = self.ask(exact).await;
        }
        let mut earlier = self.earlier.borrow_mut();
        if purged.is_none() {
            earlier.remove(url);
        } else if let Some(waiting) = earlier.get(url) {
            waiting.send_replace(purged.clone());
        }
        purged
    }

    /// One URL's request; `None` if a stop came.
    async fn ask(&self, url: &str) -> Option<Purged> {
        let is_wanted = || self.closed.borrow().is_none();
        let (in_flight, landed) = (Cell::new(false), Notify::new());
        let send = async |client: &Client| {
            in_flight.set(true);
            let sent = client.purge(url).await;
            self.watch(&sent);
            in_flight.set(false);
            landed.notify_one();
            sent
        };
        let is_end = |response: &Response| self.is_end(response);
        let asked = select! {
            biased;
            asked = self.api.ask(Endpoint::Purge, is_wanted, is_end, send) => asked,
            () = self.closed_while_waiting(&in_flight, &landed) => Err(Unanswered::Unwanted),
        };
        Some(match asked {
            Ok(response) => self.read(&response),
            Err(Unanswered::KeyRefused(message)) => self.refused(message),
            Err(Unanswered::GivenUp(why)) => Purged::new(Purge::Failed, Some(why)),
            Err(Unanswered::Stopped) => return None,
            Err(Unanswered::Unwanted) => Purged::new((*self.closed.borrow())?, None),
        })
    }

    /// Completes once purging has ended and this request is not in flight, where an answer may yet come.
    async fn closed_while_waiting(&self, in_flight: &Cell<bool>, landed: &Notify) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as this does, so waiting cannot fail.
        let _ = closed.wait_for(Option::is_some).await;
        while in_flight.get() {
            landed.notified().await;
        }
    }

    fn read(&self, response: &Response) -> Purged {
        let message = response.message().unwrap_or("no message").to_owned();
        match response.status {
            200..=299 => {
                self.was_accepted.set(true);
                self.endless_refusals.set(0);
                Purged {
                    request_id: response.purge_request_id().map(Into::into),
                    ..Purged::new(Purge::Requested, None)
                }
            }
            402 | 429 => self.close(Purge::OverLimit, message),
            403 => self.refused(message),
            _ if is_about_a_quota(&message) => self.close(Purge::OverLimit, message),
            status => Purged {
                is_bad_url: status == 400,
                ..Purged::new(Purge::Failed, Some(message))
            },
        }
    }

    /// Where none goes through for long the rest is left to a resume.
    fn watch(&self, sent: &Sent) {
        let is_failure = sent
            .as_ref()
            .map_or(true, |response| response.status >= 500);
        if !is_failure {
            self.failing.set(None);
            return;
        }
        let (earlier, since) = self.failing.get().unwrap_or_else(|| (0, Instant::now()));
        self.failing.set(Some((earlier + 1, since)));
        if earlier + 1 >= MAX_FAILURES && since.elapsed() >= MAX_FAILING {
            self.close(Purge::Failed, "none goes through".to_owned());
        }
    }

    /// A 403 ends the purging, not the deleting. After a purge was accepted, one that does not speak of the key can hardly
    /// be about it. `[inferred]`
    fn refused(&self, message: String) -> Purged {
        let is_quota =
            is_about_a_quota(&message) || self.was_accepted.get() && !is_about_the_key(&message);
        let purge = if is_quota {
            Purge::OverLimit
        } else {
            Purge::Failed
        };
        self.close(purge, message)
    }

    /// No more purges are asked for; those that wait for a retry or a pause need not wait any longer.
    fn close(&self, purge: Purge, why: String) -> Purged {
        let is_first = self.closed.send_if_modified(|closed| {
            let is_first = closed.is_none();
            closed.get_or_insert(purge);
            is_first
        });
        if is_first {
            tracing::warn!("ImageKit accepts no more purges; deletions continue ({why})");
        }
        Purged::new(purge, Some(why))
    }

    /// Whether a 429 is about the quota and not about the rate: how ImageKit reports a used-up quota is not documented.
    fn is_end(&self, response: &Response) -> bool {
        let wait = response.limits.wait.unwrap_or_default();
        let refusals = if wait.is_zero() {
            self.endless_refusals.get() + 1
        } else {
            0
        };
        self.endless_refusals.set(refusals);
        refusals >= MAX_ENDLESS_REFUSALS
            || wait > MAX_PAUSE_OF_A_RATE
            || response
                .message()
                .is_some_and(|message| is_about_a_quota(&without_words_of_the_rate(message)))
    }
}

fn reject(target: Target, found: &FileInfo) -> Rejected {
    let kind = found.kind.as_deref().unwrap_or_default();
    Rejected {
        file_id: target.file_id.as_str().into(),
        origin: target.origin,
        reason: Reject::FoundNotAFile(kind.into()),
    }
}

/// What is asked for to purge a file's URL.
///
/// A URL from ImageKit carries `updatedAt`, and a purge takes URLs exactly: as it stands it would leave the file
/// itself and its other versions in the caches. With `*` in place of the query all of them go, and transformations by
/// query; ImageKit does the same after a rename. Any other URL is the user's own. `[spec]`
pub fn purged_url(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        Some((path, query)) if query.split('&').any(|part| part.starts_with("updatedAt=")) => {
            Cow::Owned(format!("{path}*"))
        }
        _ => Cow::Borrowed(url),
    }
}

/// Whether a run that knows this many URLs remembers one more, so that it is purged once: memory is bounded.
pub fn is_remembered(url: &str, known: usize) -> bool {
    known < MAX_KNOWN_URLS && url.len() <= MAX_KNOWN_BYTES
}

/// A looked-up URL as it is kept, so that it is known as one by a resume too.
fn looked_up(url: &str) -> Box<str> {
    match purged_url(url) {
        Cow::Owned(_) => url.into(),
        Cow::Borrowed(_) => format!("{}*", url.split('?').next().unwrap_or(url)).into(),
    }
}

/// The URL of a file for which a `*` was refused; `None` if it has none, or stands for a whole folder.
fn without_star(url: &str) -> Option<&str> {
    let exact = url.strip_suffix('*')?;
    let name = exact.rsplit('/').next()?;
    name.contains('.').then_some(exact)
}

/// What came of one purge.
#[derive(Debug, Clone)]
struct Purged {
    purge: Purge,
    request_id: Option<Box<str>>,
    why: Option<String>,
    /// ImageKit took it for no URL that it can purge.
    is_bad_url: bool,
}

impl Purged {
    fn new(purge: Purge, why: Option<String>) -> Self {
        Self {
            purge,
            request_id: None,
            why,
            is_bad_url: false,
        }
    }
}

/// Whether a refusal speaks of a quota.
fn is_about_a_quota(message: &str) -> bool {
    const WORDS: [&str; 10] = [
        "quota",
        "quotas",
        "limit",
        "limits",
        "count",
        "exceeded",
        "exhausted",
        "upgrade",
        "used",
        "monthly",
    ];
    let message = message.to_lowercase();
    message
        .split(|character: char| !character.is_alphabetic())
        .any(|word| WORDS.contains(&word))
}

/// Whether a refusal speaks of the key or its account. `[spec]`
fn is_about_the_key(message: &str) -> bool {
    let message = message.to_lowercase();
    ["authenticated", "api key", "disabled"]
        .iter()
        .any(|words| message.contains(words))
}

/// A 429's message without the plain words of the rate limit, which ends by itself.
fn without_words_of_the_rate(message: &str) -> String {
    message.to_lowercase().replace("rate limit exceeded", "")
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
            "Could not purge the cache because of rate limits on purge API",
            "The purge request count has exceeded the quota",
            "Rate limit exceeded: 1000 purges a month are used up",
        ] {
            assert!(
                is_about_a_quota(&without_words_of_the_rate(quota)),
                "{quota}"
            );
        }
        assert!(is_about_a_quota("rate limit exceeded"), "of a 400 or 403");
        for other in [
            "rate limit exceeded",
            "Rate limit exceeded.",
            "The URL is not valid for cache purging.",
            "Your account cannot be authenticated.",
            "Your request is missing URL parameter.",
        ] {
            assert!(
                !is_about_a_quota(&without_words_of_the_rate(other)),
                "{other}"
            );
        }
    }

    #[test]
    fn a_url_of_imagekits_is_purged_with_all_its_queries_and_any_other_as_it_stands() {
        let file = "https://ik.imagekit.io/a/b.jpg";
        for (url, purged) in [
            (
                format!("{file}?updatedAt=1700000000000"),
                format!("{file}*"),
            ),
            (format!("{file}?tr=w-9&updatedAt=17"), format!("{file}*")),
            (format!("{file}?v=2"), format!("{file}?v=2")),
            (
                format!("{file}?notupdatedAt=1"),
                format!("{file}?notupdatedAt=1"),
            ),
            (
                "https://ik.imagekit.io/a/b/*".into(),
                "https://ik.imagekit.io/a/b/*".into(),
            ),
            (file.into(), file.into()),
        ] {
            assert_eq!(purged_url(&url), purged);
        }
        assert_eq!(*looked_up(file), format!("{file}*"));
        assert_eq!(*looked_up(&format!("{file}?a=b")), format!("{file}*"));
        assert_eq!(without_star(&format!("{file}*")), Some(file));
        assert_eq!(without_star("https://ik.imagekit.io/a/b/*"), None);
        assert_eq!(without_star(file), None);
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
