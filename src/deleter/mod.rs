//! The deleter: the life of one group of IDs, from its first request to one decision for each ID.
//!
//! A group comes in, a stream of [`Settled`] leaves: each ID the moment it is decided.
//! The only loop that retries, and the only owner of what is *ambiguous* about an ID.
//! Each attempt goes the same way: a turn from the throttle, the intent on disk, one
//! exchange, then its classification.

mod batch;
mod classify;
mod part;
mod truth;

use std::cell::Cell;
use std::rc::Rc;

use futures::channel::mpsc;
use futures::stream::{self, FuturesUnordered, LocalBoxStream};
use futures::{FutureExt, StreamExt};

use crate::client::{Exchange, Response};
use crate::journal::{Intent, Journal};
use crate::line::verdict::{Arrival, Transient, Verdict};
use crate::line::{Exchanged, Line, Trial};
use crate::outcome::{ErrorCode, Outcome};
use crate::stop::Reason;
use crate::target::{FileId, Target};
use crate::throttle::{Counted, Endpoint};

use classify::One;
use part::Part;
use truth::Final;

/// How many 5xx answers a batch gets before it is halved: an answer, unlike a lost one, is likely about its IDs.
const SERVER_ERRORS_A_BATCH: u32 = 3;

/// What the deleter gives back for an ID.
#[derive(Debug)]
pub enum Settled {
    /// It is decided.
    Decided {
        /// What is known of it.
        outcome: Outcome,
        /// What stands on disk as perhaps in the air, to be held until the outcome is recorded: its slot must
        /// not be used again before the row that replaces it stands. `None` for what was never sent.
        intent: Option<Rc<Intent>>,
    },
    /// A stop left it untouched: nothing may be claimed, and no row is due.
    Released(Target),
}

/// Deletes groups of IDs.
#[derive(Debug)]
pub struct Deleter {
    line: Rc<Line>,
    journal: Journal,
    /// The most IDs that the host takes in one request, as far as it told; 1 where it has no batch route.
    batch_limit: Cell<usize>,
}

enum Next<F> {
    Final(F, Response),
    Again,
    GivenUp,
    /// The host takes fewer IDs a request than this part has, as another answer told meanwhile.
    TooLarge,
    Stopped,
}

/// Why a request was not sent.
enum Unsent {
    TooLarge,
    Stopped,
}

impl Deleter {
    /// A deleter that sends over `line`, `batch_size` IDs a request at the most, after `journal` holds the intent.
    /// A batch size of 1 uses the single-file endpoint throughout.
    pub fn new(line: Rc<Line>, journal: Journal, batch_size: usize) -> Self {
        Self {
            line,
            journal,
            batch_limit: Cell::new(batch_size.max(1)),
        }
    }

    /// How many IDs a group should have now: `--batch-size`, or less where the host takes less.
    pub fn group_size(&self) -> usize {
        self.batch_limit.get()
    }

    /// Settles one group: a stream of each ID's decision, as soon as it is known.
    ///
    /// A group of n IDs costs at most `3 * n * max_attempts` requests, 429s and outages not counted: every
    /// request belongs to a single call (n of them), to a batch that is halved when its attempts are used up
    /// (at most n - 1 halvings), or to a batch that an answer made smaller (at most n times).
    pub fn settle(&self, targets: Vec<Target>) -> LocalBoxStream<'_, Settled> {
        let part = Part::new(targets, self.line.next_group());
        if part.len() == 1 {
            return stream::once(self.settle_one(part)).boxed_local();
        }
        let (settled, receiver) = mpsc::unbounded();
        let work = async move { self.settle_part(part, &settled).await };
        stream::select(receiver, work.into_stream().filter_map(async |()| None)).boxed_local()
    }

    /// Settles each ID of a part by a single call, all at once as far as the throttle lets them.
    async fn settle_singly(&self, part: Part, settled: &mpsc::UnboundedSender<Settled>) {
        let Part {
            pendings, intent, ..
        } = part;
        let mut singles: FuturesUnordered<_> = pendings
            .into_iter()
            .map(|pending| {
                self.settle_one(Part {
                    pendings: vec![pending],
                    group: self.line.next_group(),
                    intent: intent.clone(),
                })
            })
            .collect();
        while let Some(one) = singles.next().await {
            give(settled, one);
        }
    }

    async fn settle_one(&self, mut part: Part) -> Settled {
        let mut tries = 0;
        let last = loop {
            match self
                .attempt(Endpoint::Delete, &mut part, &mut tries, classify::one)
                .await
            {
                Next::Again | Next::TooLarge => {}
                Next::Final(One::Deleted, _) => break Final::Deleted,
                Next::Final(One::Missing, _) => break Final::Missing,
                Next::Final(One::Refused, _) => break Final::Refused,
                Next::GivenUp => break Final::Exhausted,
                Next::Stopped => {
                    let pending = part.take_only();
                    return part.interrupted(pending);
                }
            }
        };
        let pending = part.take_only();
        part.decided(pending, last)
    }

    /// One attempt and, where it is worth another, the wait before that.
    async fn attempt<F>(
        &self,
        endpoint: Endpoint,
        part: &mut Part,
        tries: &mut u32,
        classify: fn(&Exchange) -> Verdict<F>,
    ) -> Next<F> {
        let exchanged = match self.exchange(endpoint, part, classify).await {
            Ok(exchanged) => exchanged,
            Err(Unsent::TooLarge) => return Next::TooLarge,
            Err(Unsent::Stopped) => return Next::Stopped,
        };
        let Exchanged {
            exchange,
            verdict,
            counted,
        } = exchanged;
        part.note(&exchange);
        match &verdict {
            Verdict::Transient(transient) => part.fail(*transient),
            Verdict::Abort(_, arrival @ Arrival::Possible) => {
                part.fail(Transient {
                    error: ErrorCode::BadResponse,
                    arrival: *arrival,
                });
            }
            Verdict::Final(_) | Verdict::Throttled | Verdict::Abort(_, Arrival::Nothing) => {}
        }
        match (verdict, exchange) {
            (Verdict::Final(answer), Ok(response)) => Next::Final(answer, response),
            (Verdict::Transient(transient), exchange) => {
                self.withdraw_if_free(part);
                let hint = exchange.ok().and_then(|response| response.retry_after);
                *tries += u32::from(counted == Counted::Yes);
                if *tries >= self.most_tries(endpoint, transient) {
                    return Next::GivenUp;
                }
                if counted == Counted::Yes && !self.line.wait(*tries, hint).await {
                    return Next::Stopped;
                }
                Next::Again
            }
            (Verdict::Abort(reason, _), _) => {
                self.line.stop().trip(reason);
                self.withdraw_if_free(part);
                Next::Stopped
            }
            (Verdict::Throttled | Verdict::Final(_), _) => {
                self.withdraw_if_free(part);
                Next::Again
            }
        }
    }

    /// A turn, the intent, one exchange.
    async fn exchange<F>(
        &self,
        endpoint: Endpoint,
        part: &mut Part,
        classify: fn(&Exchange) -> Verdict<F>,
    ) -> Result<Exchanged<F>, Unsent> {
        let turn = self.line.turn(endpoint).await.ok_or(Unsent::Stopped)?;
        if endpoint == Endpoint::DeleteBatch && part.len() > self.group_size() {
            return Err(Unsent::TooLarge);
        }
        self.intend(part)?;
        let trial = if part.was_attempted() {
            Trial::Again
        } else {
            Trial::First
        };
        part.begin_attempt();
        let sent = self.send(endpoint, part);
        let exchanged = self.line.exchange(turn, part.group, trial, classify, sent);
        Ok(exchanged.await)
    }

    async fn send(&self, endpoint: Endpoint, part: &Part) -> Exchange {
        let file_ids: Vec<&FileId> = part.pendings.iter().map(part::Pending::file_id).collect();
        let exchange = match (endpoint, file_ids.as_slice()) {
            (Endpoint::Delete, [file_id]) => self.line.client().delete(file_id).await,
            _ => self.line.client().delete_batch(&file_ids).await,
        };
        log(endpoint, part, &exchange);
        exchange
    }

    /// Puts the IDs on disk before they are sent, unless they stand there already.
    fn intend(&self, part: &mut Part) -> Result<(), Unsent> {
        if part.intent.is_none() {
            match self.journal.intend(&part.targets()) {
                Ok(intent) => part.intent = Some(Rc::new(intent)),
                Err(error) => {
                    self.line
                        .stop()
                        .trip(Reason::ReportBroken(error.to_string()));
                    return Err(Unsent::Stopped);
                }
            }
        }
        Ok(())
    }

    /// Takes the intent off the disk where no attempt of this run can have deleted anything, so that a
    /// crash during the wait leaves no doubt that is none.
    fn withdraw_if_free(&self, part: &mut Part) {
        if !part.is_free_of_doubt() {
            return;
        }
        if let Some(Ok(intent)) = part.intent.take().map(Rc::try_unwrap)
            && let Err(error) = intent.withdraw()
        {
            self.line
                .stop()
                .trip(Reason::ReportBroken(error.to_string()));
        }
    }

    fn most_tries(&self, endpoint: Endpoint, transient: Transient) -> u32 {
        match (endpoint, transient.error) {
            (Endpoint::DeleteBatch, ErrorCode::ServerError) => {
                self.line.max_attempts().min(SERVER_ERRORS_A_BATCH)
            }
            _ => self.line.max_attempts(),
        }
    }
}

fn give(settled: &mpsc::UnboundedSender<Settled>, one: Settled) {
    // The receiver is polled together with the sender's future, so it is there.
    let _ = settled.unbounded_send(one);
}

/// Each attempt with all its IDs, so that any of them can be followed.
fn log(endpoint: Endpoint, part: &Part, exchange: &Exchange) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (endpoint, group, attempt) = (endpoint.as_str(), part.group, part.attempts());
    let file_ids = part.file_ids();
    match exchange {
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
