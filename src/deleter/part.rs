//! What the deleter knows of the IDs in its hands: attempts, doubt, the last answer.

use std::rc::Rc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Settled;
use super::truth::{self, Doubt, Final};
use crate::client::{Exchange, Response};
use crate::journal::Intent;
use crate::line::verdict::{Arrival, Transient};
use crate::outcome::{ErrorCode, Outcome, Status};
use crate::target::{FileId, Target};

/// One ID on its way to a decision.
#[derive(Debug)]
pub(super) struct Pending {
    target: Target,
    attempts: u32,
    first_attempt: Option<Instant>,
    /// An attempt of this run was ambiguous.
    doubt: bool,
    error: Option<ErrorCode>,
    last: Answer,
    /// The last that failed: a later one may have told of other IDs only.
    failed: Option<Box<Answer>>,
}

/// What is kept of an answer, or of its absence.
#[derive(Debug, Clone, Default)]
struct Answer {
    http_status: Option<u16>,
    request_id: Option<Box<str>>,
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

impl Pending {
    fn new(target: Target) -> Self {
        Self {
            target,
            attempts: 0,
            first_attempt: None,
            doubt: false,
            error: None,
            last: Answer::default(),
            failed: None,
        }
    }

    pub(super) fn file_id(&self) -> &FileId {
        &self.target.file_id
    }

    /// The ID may have been deleted without anybody saying so.
    pub(super) fn set_doubt(&mut self) {
        self.doubt = true;
    }

    fn note(&mut self, exchange: &Exchange) {
        match exchange {
            Ok(response) => self.note_response(response),
            Err(error) => {
                self.last.request_id = None;
                self.last.message = Some(error.to_string().into());
            }
        }
    }

    fn note_response(&mut self, response: &Response) {
        self.last.http_status = Some(response.status);
        self.last.request_id.clone_from(&response.request_id);
        self.last.message = response.message().map(Into::into);
    }

    /// The outcome that the last answer and the doubt allow.
    fn decide(self, last: Final) -> Outcome {
        let doubt = if self.doubt || self.target.doubt {
            Doubt::Ambiguous
        } else {
            Doubt::None
        };
        let status = truth::status(last, doubt);
        let error = match last {
            Final::Deleted => None,
            Final::Missing => Some(ErrorCode::NotFound),
            Final::Refused => Some(ErrorCode::Rejected),
            Final::Exhausted => Some(self.error.unwrap_or(ErrorCode::Interrupted)),
        };
        let message = message(status, last, self.last.message);
        Outcome {
            file_id: self.target.file_id.as_str().into(),
            origin: self.target.origin,
            status,
            http_status: self.last.http_status,
            error,
            attempts: self.attempts,
            duration: self
                .first_attempt
                .map(|first| first.elapsed())
                .unwrap_or_default(),
            finished_at: Timestamp::now(),
            request_id: self.last.request_id,
            message,
            purge: None,
            purge_request_id: None,
        }
    }
}

fn message(status: Status, last: Final, told: Option<Box<str>>) -> Option<Box<str>> {
    match (status, last) {
        (Status::Deleted, _) => None,
        (Status::Gone, _) => Some(
            "not there any more; an earlier attempt without a clear answer may have deleted it"
                .into(),
        ),
        (Status::Unknown, Final::Refused) => Some(
            format!(
                "{} (an earlier attempt without a clear answer may have deleted it)",
                told.as_deref().unwrap_or("refused")
            )
            .into(),
        ),
        _ => told.or_else(|| Some("no answer that can be read".into())),
    }
}

/// IDs that share one request.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pendings: Vec<Pending>,
    /// A number for those that go together, by which an outage is told from one bad group.
    pub(super) group: u64,
    /// Stands on disk while one of them may be in the air, or in doubt.
    pub(super) intent: Option<Rc<Intent>>,
}

impl Part {
    pub(super) fn new(targets: Vec<Target>, group: u64) -> Self {
        Self {
            pendings: targets.into_iter().map(Pending::new).collect(),
            group,
            intent: None,
        }
    }

    /// Some of this part's IDs as a part of their own, under the same intent.
    pub(super) fn with(&self, pendings: Vec<Pending>) -> Self {
        Self {
            pendings,
            group: self.group,
            intent: self.intent.clone(),
        }
    }

    /// An ID of this part, decided. The intent stands until the row does.
    pub(super) fn decided(&self, pending: Pending, last: Final) -> Settled {
        let outcome = pending.decide(last);
        tracing::debug!(
            file_id = &*outcome.file_id,
            status = outcome.status.as_str(),
            group = self.group,
            attempts = outcome.attempts,
            request_id = outcome.request_id.as_deref(),
            "decided"
        );
        Settled::Decided {
            outcome,
            intent: self.intent.clone(),
        }
    }

    /// What a stop leaves of an ID: a row that says `unknown` if this run may have deleted it, else the
    /// untouched target.
    pub(super) fn interrupted(&self, mut pending: Pending) -> Settled {
        if !pending.doubt {
            return Settled::Released(pending.target);
        }
        let failed = pending.failed.take();
        pending.last = failed.map_or_else(Answer::of_a_stop, |failed| *failed);
        self.decided(pending, Final::Exhausted)
    }

    /// The ID of a part that has one.
    pub(super) fn take_only(&mut self) -> Pending {
        self.pendings.pop().expect("a single call has one ID")
    }

    pub(super) fn len(&self) -> usize {
        self.pendings.len()
    }

    pub(super) fn targets(&self) -> Vec<&Target> {
        self.pendings
            .iter()
            .map(|pending| &pending.target)
            .collect()
    }

    /// Its IDs in one text, for the log.
    pub(super) fn file_ids(&self) -> String {
        let file_ids: Vec<&str> = self
            .pendings
            .iter()
            .map(|pending| pending.file_id().as_str())
            .collect();
        file_ids.join(" ")
    }

    /// The most attempts that any of its IDs has behind it.
    pub(super) fn attempts(&self) -> u32 {
        self.pendings
            .iter()
            .map(|pending| pending.attempts)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn was_attempted(&self) -> bool {
        self.pendings.iter().any(|pending| pending.attempts > 0)
    }

    pub(super) fn begin_attempt(&mut self) {
        let now = Instant::now();
        for pending in &mut self.pendings {
            pending.attempts += 1;
            pending.first_attempt.get_or_insert(now);
        }
    }

    pub(super) fn note(&mut self, exchange: &Exchange) {
        self.pendings
            .iter_mut()
            .for_each(|pending| pending.note(exchange));
    }

    pub(super) fn fail(&mut self, transient: Transient) {
        for pending in &mut self.pendings {
            pending.error = Some(transient.error);
            pending.doubt |= transient.arrival == Arrival::Possible;
            pending.failed = Some(Box::new(pending.last.clone()));
        }
    }

    /// Whether nobody could have deleted any of them in this run.
    pub(super) fn is_free_of_doubt(&self) -> bool {
        self.pendings.iter().all(|pending| !pending.doubt)
    }

    /// Takes the IDs for which `chosen` holds out of this part.
    pub(super) fn take(&mut self, chosen: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let all = std::mem::take(&mut self.pendings);
        let (taken, left) = all.into_iter().partition(chosen);
        self.pendings = left;
        taken
    }

    /// Parts of at most `most` IDs.
    pub(super) fn chunks(mut self, most: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        while self.len() > most {
            let rest = self.pendings.split_off(most);
            let chunk = std::mem::replace(&mut self.pendings, rest);
            parts.push(self.with(chunk));
        }
        parts.push(self);
        parts
    }

    /// Two smaller parts: IDs that do not look like ImageKit's apart from the others, as they are the likelier
    /// cause of trouble; else two halves.
    pub(super) fn split(mut self) -> Vec<Self> {
        let odd = self.take(|pending| !pending.file_id().looks_like_imagekit());
        if !odd.is_empty() && self.len() > 0 {
            let odd = self.with(odd);
            return vec![self, odd];
        }
        self.pendings.extend(odd);
        let half = self.len().div_ceil(2);
        self.chunks(half)
    }
}
