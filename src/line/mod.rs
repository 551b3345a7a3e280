//! The line to ImageKit: one client, used when the throttle lets it.
//!
//! Requests come in, exchanges leave; on the way each waits for its turn and is counted, and what came of it
//! goes back to the throttle. `Line::ask` also repeats what can be repeated without doubt: reads and purges.
//! Deletions have a loop of their own, in `deleter`.

mod traffic;
pub(crate) mod verdict;

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::client::{Client, Exchange, Response, SendError};
use crate::stop::{Reason, Stop};
use crate::throttle::{Counted, Endpoint, Heard, Throttle, Turn};

pub use traffic::{NO_ANSWER, Traffic};

use verdict::Verdict;

/// How often a host is tried that was never reached, before the run is given up.
const TRIES_TO_REACH: u32 = 3;

/// Whether a request named the same before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It is the first.
    First,
    /// It is a retry.
    Again,
}

/// Why a read or a purge has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The run was stopped.
    Stopped,
    /// Meanwhile another answer made it needless to ask.
    Unwanted,
    /// ImageKit refused the key for this: in its words.
    KeyRefused(String),
    /// The attempts are used up: what came of the last.
    GivenUp(String),
}

/// What came of one request.
pub(crate) struct Exchanged<F> {
    pub(crate) exchange: Exchange,
    pub(crate) verdict: Verdict<F>,
    /// Whether it counts against `--max-attempts`, if it failed.
    pub(crate) counted: Counted,
}

/// One client, used when the throttle lets it.
#[derive(Debug)]
pub struct Line {
    client: Client,
    throttle: Arc<Throttle>,
    backoff: Backoff,
    stop: Stop,
    max_attempts: u32,
    traffic: Arc<Traffic>,
    next_group: Cell<u64>,
    was_answered: Cell<bool>,
    failed_connections: Cell<u32>,
}

impl Line {
    /// A line that sends with `client` when `throttle` lets it, and repeats up to `max_attempts` attempts.
    pub fn new(client: Client, throttle: Arc<Throttle>, stop: Stop, max_attempts: u32) -> Self {
        Self {
            client,
            throttle,
            backoff: Backoff::default(),
            stop,
            max_attempts,
            traffic: Arc::default(),
            next_group: Cell::new(0),
            was_answered: Cell::new(false),
            failed_connections: Cell::new(0),
        }
    }

    /// What holds its requests back.
    pub fn throttle(&self) -> Arc<Throttle> {
        Arc::clone(&self.throttle)
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// A number for what is asked together, by which an outage is told from one bad group.
    pub(crate) fn next_group(&self) -> u64 {
        self.next_group.replace(self.next_group.get() + 1)
    }

    /// Waits for a turn; `None` if a stop came.
    pub(crate) async fn turn(&self, endpoint: Endpoint) -> Option<Turn<'_>> {
        select! {
            biased;
            () = self.stop.tripped() => None,
            turn = self.throttle.turn(endpoint) => Some(turn),
        }
    }

    /// One exchange, which is counted, and of which the throttle hears.
    pub(crate) async fn exchange<F>(
        &self,
        turn: Turn<'_>,
        group: u64,
        trial: Trial,
        classify: impl Fn(&Exchange) -> Verdict<F>,
        sent: impl Future<Output = Exchange>,
    ) -> Exchanged<F> {
        self.traffic.sent(turn.endpoint(), trial);
        let exchange = sent.await;
        self.traffic.answered(&exchange);
        self.watch_reachability(&exchange);
        let verdict = classify(&exchange);
        let counted = match (&verdict, &exchange) {
            (Verdict::Throttled, Ok(response)) => {
                turn.throttled(&response.pace);
                Counted::No
            }
            (Verdict::Final(_), Ok(response)) => {
                turn.succeeded(&response.pace);
                Counted::Yes
            }
            // The run cannot go on: nothing is let through because of it.
            (Verdict::Abort(..), _) => Counted::Yes,
            (_, Ok(_)) => turn.failed(group, Heard::Answer),
            (_, Err(_)) => turn.failed(group, Heard::Nothing),
        };
        Exchanged {
            exchange,
            verdict,
            counted,
        }
    }

    /// Waits before a retry; false if a stop came.
    pub(crate) async fn wait(&self, tries: u32, hint: Option<Duration>) -> bool {
        let delay = self.backoff.delay(tries, hint, fastrand::f64());
        select! {
            biased;
            () = self.stop.tripped() => false,
            () = sleep(delay) => true,
        }
    }

    /// Asks until there is an answer that is neither a 429 nor may pass. `is_wanted` is looked at when the turn has
    /// come, `is_end` says of a 429 whether it is an answer all the same, as that of a used-up quota is.
    pub(crate) async fn ask(
        &self,
        endpoint: Endpoint,
        is_wanted: impl Fn() -> bool,
        is_end: impl Fn(&Response) -> bool,
        send: impl AsyncFn(&Client) -> Exchange,
    ) -> Result<Response, Unanswered> {
        let (group, mut tries, mut trial) = (self.next_group(), 0, Trial::First);
        loop {
            let turn = self.turn(endpoint).await.ok_or(Unanswered::Stopped)?;
            if !is_wanted() {
                return Err(Unanswered::Unwanted);
            }
            let sending = send(&self.client);
            let Exchanged {
                exchange,
                verdict,
                counted,
            } = self
                .exchange(turn, group, trial, verdict::harmless, sending)
                .await;
            log(endpoint, &exchange);
            trial = Trial::Again;
            match (verdict, exchange) {
                (Verdict::Final(()), Ok(response)) => return Ok(response),
                (Verdict::Throttled, Ok(response)) if is_end(&response) => return Ok(response),
                (Verdict::Throttled | Verdict::Final(()), _) => {}
                (Verdict::Abort(Reason::KeyRefused(told), _), _) => {
                    return Err(Unanswered::KeyRefused(told));
                }
                (Verdict::Abort(reason, _), _) => {
                    self.stop.trip(reason);
                    return Err(Unanswered::Stopped);
                }
                (Verdict::Transient(_), exchange) => {
                    tries += u32::from(counted == Counted::Yes);
                    if tries >= self.max_attempts {
                        return Err(Unanswered::GivenUp(in_words(&exchange)));
                    }
                    let hint = exchange.ok().and_then(|response| response.retry_after);
                    if counted == Counted::Yes && !self.wait(tries, hint).await {
                        return Err(Unanswered::Stopped);
                    }
                }
            }
        }
    }

    /// A host that was never reached at all is given up soon: it is a typing error more often than an outage.
    fn watch_reachability(&self, exchange: &Exchange) {
        match exchange {
            Err(SendError::NeverLeft(why)) if !self.was_answered.get() => {
                self.failed_connections
                    .set(self.failed_connections.get() + 1);
                if self.failed_connections.get() >= TRIES_TO_REACH {
                    self.stop.trip(Reason::Unreachable(why.to_string()));
                }
            }
            Err(SendError::NeverLeft(_)) => {}
            Ok(_) | Err(SendError::Timeout(_) | SendError::Broken(_)) => {
                self.was_answered.set(true);
            }
        }
    }
}

fn in_words(exchange: &Exchange) -> String {
    match exchange {
        Ok(response) => verdict::told(response),
        Err(error) => error.to_string(),
    }
}

fn log(endpoint: Endpoint, exchange: &Exchange) {
    match exchange {
        Ok(response) => tracing::debug!(
            endpoint = endpoint.as_str(),
            status = response.status,
            request_id = response.request_id.as_deref(),
            "answered"
        ),
        Err(error) => tracing::debug!(endpoint = endpoint.as_str(), %error, "not answered"),
    }
}
