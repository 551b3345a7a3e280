//! What the deleter knows of the IDs in its hands: attempts, doubt, the last response.

use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::decide::{self, Final};
use crate::api::class::{Arrival, Transient};
use crate::client::Sent;
use crate::journal::Intent;
use crate::outcome::{ErrorCode, Outcome, Status};
use crate::target::{Doubt, FileId, Target};

/// One ID on its way to a decision.
#[derive(Debug)]
pub(super) struct InFlight {
    target: Target,
    attempts: u32,
    first_attempt: Option<Instant>,
    /// What attempts of this run left.
    doubt: Doubt,
    error: Option<ErrorCode>,
    last: Answer,
    /// The last that failed: a later one may have been about other IDs only.
    failed: Option<Box<Answer>>,
}

/// When IDs were decided, on both clocks: read once for all that share a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    at: Timestamp,
    instant: Instant,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            at: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

/// What is kept of a response, or of its absence.
#[derive(Debug, Clone, Default)]
struct Answer {
    http_status: Option<u16>,
    request_id: Option<Arc<str>>,
    message: Option<Box<str>>,
}

impl Answer {
    /// No attempt failed, and yet none said what became of the ID.
    fn of_a_stop() -> Self {
        Self {
            message: Some("stopped before it was settled; it may be deleted".into()),
            ..Self::default()
        }
    }
}

impl InFlight {
    fn new(target: Target) -> Self {
        Self {
            target,
            attempts: 0,
            first_attempt: None,
            doubt: Doubt::None,
            error: None,
            last: Answer::default(),
            failed: None,
        }
    }

    pub(super) const fn doubt(&self) -> Doubt {
        self.doubt
    }

    pub(super) fn file_id(&self) -> &FileId {
        &self.target.file_id
    }

    fn note(&mut self, sent: &Sent) {
        match sent {
            Ok(response) => {
                self.last.http_status = Some(response.status);
                self.last.request_id.clone_from(&response.request_id);
                self.last.message = response.message().map(Into::into);
            }
            Err(error) => {
                self.last.request_id = None;
                self.last.message = Some(error.to_string().into());
            }
        }
    }

    fn fail(&mut self, transient: Transient) {
        self.error = Some(transient.error);
        if transient.arrival == Arrival::Possible {
            self.doubt = Doubt::Ambiguous;
        }
        self.failed = Some(Box::new(self.last.clone()));
    }

    /// With the last response that failed in place of one that was about other IDs.
    pub(super) fn when_it_failed(mut self) -> Self {
        let failed = self.failed.take();
        self.last = failed.map_or_else(Answer::of_a_stop, |failed| *failed);
        self
    }

    /// The outcome that the last response and the doubt allow.
    pub(super) fn decide(self, last: Final, now: Now) -> Outcome {
        let doubt = self.doubt.max(self.target.doubt);
        let status = decide::status(last, doubt);
        let error = match last {
            Final::Deleted => None,
            Final::Missing => Some(ErrorCode::NotFound),
            Final::Refused => Some(ErrorCode::Rejected),
            Final::Exhausted => Some(self.error.unwrap_or(ErrorCode::Interrupted)),
        };
        Outcome {
            file_id: self.target.file_id.into_text(),
            origin: self.target.origin,
            status,
            http_status: self.last.http_status,
            error,
            attempts: self.attempts,
            duration: self
                .first_attempt
                .map(|first| now.instant.duration_since(first))
                .unwrap_or_default(),
            finished_at: now.at,
            request_id: self.last.request_id,
            message: message(status, last, self.last.message),
            purge: None,
            purge_request_id: None,
        }
    }
}

fn message(status: Status, last: Final, words: Option<Box<str>>) -> Option<Box<str>> {
    match (status, last) {
        (Status::Deleted, _) => None,
        (Status::Gone, _) => Some(
            "the file does not exist; an earlier attempt without a clear response may have deleted it"
                .into(),
        ),
        (Status::Unknown, Final::Refused) => {
            let words = words.as_deref().unwrap_or("refused");
            Some(
                format!("{words} (an earlier attempt without a clear response may have deleted it)")
                    .into(),
            )
        }
        _ => words.or_else(|| Some("no readable response".into())),
    }
}

/// IDs that share one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ids: Vec<InFlight>,
    /// What fails together: the parts of one batch are one group.
    pub(super) group: u64,
    /// Stands on disk while one of them may be in flight, or in doubt.
    pub(super) intent: Option<Rc<Intent>>,
}

impl Batch {
    pub(super) fn new(targets: Vec<Target>, group: u64) -> Self {
        Self {
            ids: targets.into_iter().map(InFlight::new).collect(),
            group,
            intent: None,
        }
    }

    /// Some of this batch's IDs as a batch of their own, under the same intent.
    pub(super) fn with(&self, ids: Vec<InFlight>) -> Self {
        Self {
            ids,
            group: self.group,
            intent: self.intent.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn targets(&self) -> Vec<&Target> {
        self.ids.iter().map(|id| &id.target).collect()
    }

    /// Its IDs in one text, for the log.
    pub(super) fn file_ids(&self) -> String {
        self.ids().collect::<Vec<_>>().join(" ")
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(|id| id.file_id().as_str())
    }

    /// The most attempts that any of its IDs has behind it.
    pub(super) fn attempts(&self) -> u32 {
        let attempts = self.ids.iter().map(|id| id.attempts);
        attempts.max().unwrap_or_default()
    }

    pub(super) fn begin_attempt(&mut self) {
        let now = Instant::now();
        for id in &mut self.ids {
            id.attempts += 1;
            id.first_attempt.get_or_insert(now);
        }
    }

    pub(super) fn note(&mut self, sent: &Sent) {
        self.ids.iter_mut().for_each(|id| id.note(sent));
    }

    pub(super) fn fail(&mut self, transient: Transient) {
        self.ids.iter_mut().for_each(|id| id.fail(transient));
    }

    /// They may have been deleted without anybody saying so.
    pub(super) fn doubt(&mut self, doubt: Doubt) {
        for id in &mut self.ids {
            id.doubt = id.doubt.max(doubt);
        }
    }

    /// Whether nobody could have deleted any of them in this run.
    pub(super) fn is_free_of_doubt(&self) -> bool {
        self.ids.iter().all(|id| id.doubt == Doubt::None)
    }

    /// Takes the IDs for which `chosen` holds out of this batch.
    pub(super) fn take(&mut self, chosen: impl Fn(&InFlight) -> bool) -> Vec<InFlight> {
        self.ids.extract_if(.., |id| chosen(id)).collect()
    }

    /// Takes the first IDs, `count` at the most.
    pub(super) fn take_first(&mut self, count: usize) -> Self {
        let rest = self.ids.split_off(count.min(self.len()));
        let first = std::mem::replace(&mut self.ids, rest);
        self.with(first)
    }

    /// Batches of at most `max` IDs.
    pub(super) fn chunks(mut self, max: usize) -> Vec<Self> {
        let mut chunks = Vec::new();
        while self.len() > max {
            chunks.push(self.take_first(max));
        }
        chunks.push(self);
        chunks
    }

    /// Two smaller batches: IDs that do not look like ImageKit's apart from the others, as they are the likelier
    /// cause of trouble; else two halves.
    pub(super) fn split(mut self) -> Vec<Self> {
        let odd = self.take(|id| !id.file_id().looks_like_imagekit());
        if !odd.is_empty() && self.len() > 0 {
            let odd = self.with(odd);
            return vec![self, odd];
        }
        self.ids.extend(odd);
        let half = self.len().div_ceil(2);
        self.chunks(half)
    }
}
