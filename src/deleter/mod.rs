//! The deleter: the life of one group of IDs, from its first request to one decision for each ID.
//!
//! A group comes in, and each ID leaves as an [`Outcome`] the moment it is decided. The only owner of what is
//! *ambiguous* about an ID. Requests are repeated in `api`; here is what each attempt means for the IDs that it named:
//! the intent on disk before it, the doubt after it.

mod batch;
mod classify;
mod decide;
mod inflight;
mod route;

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::api::class::{Arrival, Class, Transient};
use crate::api::{Api, Call, End, IsRetry};
use crate::client::{Client, Sent};
use crate::journal::{Intent, Journal};
use crate::outcome::{ErrorCode, Outcome};
use crate::stop::Reason;
use crate::target::{Doubt, Target};
use crate::throttle::{Endpoint, IsProbe};

use classify::One;
use decide::Final;
use inflight::{Batch, InFlight, Now};
use route::BatchRoute;

/// What was decided.
#[derive(Debug, Default)]
pub struct Decided {
    /// What is known of each ID, in the order of decision. An ID that a stop left has none where nothing may be claimed.
    pub outcomes: Vec<Outcome>,
    /// What stands on disk of them as perhaps in flight, to be held until the outcomes are recorded: a slot must not be
    /// used again before the rows that replace it stand.
    pub intents: Vec<Rc<Intent>>,
    /// What stands on disk of IDs that a stop left in doubt without an outcome, to be held until the run ends.
    pub in_doubt: Vec<Rc<Intent>>,
}

/// Where decisions go as they are made.
pub type Decisions = RefCell<Decided>;

/// Deletes groups of IDs.
#[derive(Debug)]
pub struct Deleter {
    api: Rc<Api>,
    journal: Option<Journal>,
    route: BatchRoute,
    /// IDs that were sent, and are neither decided nor known to be untouched.
    in_doubt: Cell<u64>,
}

/// Why a request is not sent after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsent {
    /// The host takes fewer IDs per request, as another response said meanwhile.
    TooLarge,
    /// In an outage a single call is to find out whether the API works again.
    ProbeSingly,
    Stopped,
}

impl Deleter {
    /// A deleter that sends through `api`, at most `batch_size` IDs per request, after `journal` holds the intent, if
    /// there is one. A batch size of 1 uses the single-file endpoint throughout.
    pub fn new(api: Rc<Api>, journal: Option<Journal>, batch_size: usize) -> Self {
        Self {
            api,
            journal,
            route: BatchRoute::new(batch_size),
            in_doubt: Cell::new(0),
        }
    }

    /// How many IDs a group should have now: `--batch-size`, or less where the host takes less.
    pub fn group_size(&self) -> usize {
        self.route.limit()
    }

    /// IDs that were sent and are neither decided nor known to be untouched.
    pub fn in_doubt(&self) -> u64 {
        self.in_doubt.get()
    }

    /// Settles one group; each decision is pushed as soon as it is made.
    ///
    /// A group of n IDs costs at most `3 * n * max_attempts` requests, 429s and outages not counted: every request
    /// belongs to a single call (n of them), to a batch that is halved when its attempts are used up (at most n - 1
    /// halvings), or to a batch that a response made smaller (at most n times).
    pub async fn settle(&self, targets: Vec<Target>, decisions: &Decisions) {
        let batch = Batch::new(targets, self.api.next_group());
        if batch.len() == 1 {
            self.settle_one(batch, decisions).await;
        } else {
            self.settle_batch(batch, decisions).await;
        }
    }

    /// Settles each ID of a batch by a single call, all at once as far as the throttle lets them.
    async fn settle_singly(&self, batch: Batch, decisions: &Decisions) {
        let Batch { ids, intent, .. } = batch;
        let singles = ids.into_iter().map(|id| Batch {
            ids: vec![id],
            group: self.api.next_group(),
            intent: intent.clone(),
        });
        let mut singles: FuturesUnordered<_> = singles
            .map(|single| self.settle_one(single, decisions))
            .collect();
        drop(intent);
        while singles.next().await.is_some() {}
    }

    async fn settle_one(&self, batch: Batch, decisions: &Decisions) {
        let mut single = Deletion {
            deleter: self,
            endpoint: Endpoint::Delete,
            batch,
            classify: classify::one,
        };
        let last = match self.api.call(&mut single).await {
            End::Final(One::Deleted, _) => Some(Final::Deleted),
            End::Final(One::Missing, _) => Some(Final::Missing),
            End::Final(One::Refused, _) => Some(Final::Refused),
            End::GivenUp(_) => Some(Final::Exhausted),
            End::Unsent(_) | End::Stopped => None,
            End::KeyRefused(words) => {
                self.api.stop().trip(Reason::KeyRefused(words));
                None
            }
        };
        let mut batch = single.batch;
        let ids = mem::take(&mut batch.ids);
        match last {
            Some(last) => self.decide(&batch, ids, last, decisions),
            None => self.interrupt(&batch, ids, decisions),
        }
    }

    /// Decides IDs of a batch. Its intent stands until their rows do.
    fn decide(&self, batch: &Batch, ids: Vec<InFlight>, last: Final, decisions: &Decisions) {
        if ids.is_empty() {
            return;
        }
        if batch.intent.is_some() {
            let left = self.in_doubt.get().saturating_sub(ids.len() as u64);
            self.in_doubt.set(left);
        }
        let now = Now::read();
        let mut decisions = decisions.borrow_mut();
        decisions.intents.extend(batch.intent.clone());
        let outcomes = ids.into_iter().map(|id| id.decide(last, now));
        decisions.outcomes.extend(outcomes.inspect(|outcome| {
            tracing::debug!(
                file_id = &*outcome.file_id,
                status = outcome.status.as_str(),
                group = batch.group,
                attempts = outcome.attempts,
                request_id = outcome.request_id.as_deref(),
                "decided"
            );
        }));
    }

    /// What a stop leaves of IDs: a row that says `unknown` of those that this run may have deleted. Of others nothing
    /// is claimed; where there is a weak doubt it stays on disk with the intent.
    fn interrupt(&self, batch: &Batch, ids: Vec<InFlight>, decisions: &Decisions) {
        let (ambiguous, others): (Vec<_>, Vec<_>) = ids
            .into_iter()
            .partition(|id| id.doubt() == Doubt::Ambiguous);
        if others.iter().any(|id| id.doubt() == Doubt::Weak) {
            let mut decisions = decisions.borrow_mut();
            decisions.in_doubt.extend(batch.intent.clone());
        }
        let ambiguous = ambiguous.into_iter().map(InFlight::when_it_failed);
        self.decide(batch, ambiguous.collect(), Final::Exhausted, decisions);
    }

    /// Puts the IDs on disk before they are sent, unless they stand there already.
    fn intend(&self, batch: &mut Batch) -> Result<(), Unsent> {
        if batch.intent.is_none() {
            let journal = self.journal.as_ref();
            match journal.map_or(Ok(Intent::none()), |journal| {
                journal.intend(&batch.targets())
            }) {
                Ok(intent) => batch.intent = Some(Rc::new(intent)),
                Err(error) => {
                    self.report_broken(&error);
                    return Err(Unsent::Stopped);
                }
            }
            self.in_doubt.set(self.in_doubt.get() + batch.len() as u64);
        }
        Ok(())
    }

    /// Takes the intent off the disk where no attempt of this run can have deleted anything, so that a crash during
    /// the wait leaves no doubt that is none.
    fn withdraw_if_free(&self, batch: &mut Batch) {
        if !batch.is_free_of_doubt() {
            return;
        }
        let Some(intent) = batch.intent.take() else {
            return;
        };
        self.in_doubt
            .set(self.in_doubt.get().saturating_sub(batch.len() as u64));
        if let Ok(intent) = Rc::try_unwrap(intent)
            && let Err(error) = intent.withdraw()
        {
            self.report_broken(&error);
        }
    }

    fn report_broken(&self, error: &impl std::fmt::Display) {
        let reason = Reason::ReportBroken(error.to_string());
        self.api.stop().trip(reason);
    }
}

/// One deletion of one or many IDs, repeated until it is answered.
struct Deletion<'a, A> {
    deleter: &'a Deleter,
    endpoint: Endpoint,
    batch: Batch,
    classify: fn(&Sent) -> Class<A>,
}

impl<A> Call for Deletion<'_, A> {
    type Answer = A;
    type Unsent = Unsent;

    fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    fn group(&self) -> u64 {
        self.batch.group
    }

    fn begin(&mut self, probe: IsProbe) -> Result<IsRetry, Unsent> {
        let route = &self.deleter.route;
        match self.endpoint {
            Endpoint::DeleteBatch if self.batch.len() > route.limit() => {
                return Err(Unsent::TooLarge);
            }
            Endpoint::DeleteBatch if probe == IsProbe::Yes && !route.may_probe() => {
                return Err(Unsent::ProbeSingly);
            }
            Endpoint::DeleteBatch => {}
            _ => route.probed_singly(),
        }
        self.deleter.intend(&mut self.batch)?;
        let is_retry = match self.batch.attempts() {
            0 => IsRetry::No,
            _ => IsRetry::Yes,
        };
        self.batch.begin_attempt();
        Ok(is_retry)
    }

    async fn send(&self, client: &Client) -> Sent {
        match (self.endpoint, self.batch.ids.as_slice()) {
            (Endpoint::Delete, [id]) => client.delete(id.file_id()).await,
            (_, ids) => {
                let file_ids: Vec<_> = ids.iter().map(InFlight::file_id).collect();
                client.delete_batch(&file_ids).await
            }
        }
    }

    fn classify(&self, sent: &Sent) -> Class<A> {
        (self.classify)(sent)
    }

    fn ended(&mut self, sent: &Sent, class: &Class<A>) {
        log(self.endpoint, &self.batch, sent);
        self.note_route(class);
        self.batch.note(sent);
        match class {
            Class::Final(_) => return,
            Class::Transient(transient) => self.batch.fail(*transient),
            Class::Abort(_, Arrival::Possible) => self.batch.fail(Transient {
                error: ErrorCode::BadResponse,
                arrival: Arrival::Possible,
            }),
            Class::Throttled | Class::Shortage | Class::Abort(_, Arrival::Nothing) => {}
        }
        self.deleter.withdraw_if_free(&mut self.batch);
    }

    /// A 5xx, unlike a lost response, is likely about the IDs of a batch: it is halved sooner.
    fn max_attempts(&self, transient: Transient, max: u32) -> u32 {
        const MAX_SERVER_ERRORS: u32 = 3;
        match (self.endpoint, transient.error) {
            (Endpoint::DeleteBatch, ErrorCode::ServerError) => max.min(MAX_SERVER_ERRORS),
            _ => max,
        }
    }
}

impl<A> Deletion<'_, A> {
    fn note_route(&self, class: &Class<A>) {
        let route = &self.deleter.route;
        match (self.endpoint, class) {
            (Endpoint::DeleteBatch, Class::Final(_)) => route.worked(),
            (Endpoint::DeleteBatch, Class::Transient(_)) => route.failed(),
            (Endpoint::Delete, Class::Final(_)) => route.single_worked(),
            _ => {}
        }
    }
}

/// Each attempt with all its IDs, so that any of them can be followed.
fn log(endpoint: Endpoint, batch: &Batch, sent: &Sent) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (endpoint, group, attempt) = (endpoint.as_str(), batch.group, batch.attempts());
    let file_ids = batch.file_ids();
    match sent {
        Ok(response) => tracing::debug!(
            endpoint,
            group,
            attempt,
            status = response.status,
            request_id = response.request_id.as_deref(),
            file_ids,
            "answered"
        ),
        Err(error) => {
            tracing::debug!(endpoint, group, attempt, %error, file_ids, "not answered");
        }
    }
}
