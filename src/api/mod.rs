//! The one loop that repeats a request, for deletions, reads and purges alike: permit, send, classify, backoff.
//!
//! A `Call` comes in: what is asked, and what each attempt means for whoever asks. How it ended leaves. On the way
//! every request waits for its permit and is counted, and what came of it goes back to the throttle.

pub(crate) mod class;
mod traffic;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::client::{Client, Response, SendError, Sent};
use crate::stop::{Reason, Stop};
use crate::throttle::{CountsAsAttempt, Endpoint, GotResponse, IsProbe, Permit, Throttle};

pub use traffic::{NO_ANSWER, Traffic};

use class::{Class, Transient};

/// How often a host is tried that was never reached, before the run is given up.
const TRIES_TO_REACH: u32 = 3;

/// Whether a request named the same IDs, or URL, before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsRetry {
    No,
    Yes,
}

/// What is asked, and what its attempts mean for whoever asks.
pub(crate) trait Call {
    /// What a final response says.
    type Answer;
    /// Why it is not sent after all, once its permit has come.
    type Unsent;

    /// Whose limits hold for it.
    fn endpoint(&self) -> Endpoint;

    /// What fails together, which sets an outage apart from one bad group.
    fn group(&self) -> u64;

    /// The permit has come: the last moment to prepare, or to do without.
    fn begin(&mut self, probe: IsProbe) -> Result<IsRetry, Self::Unsent>;

    /// Sends it once.
    async fn send(&self, client: &Client) -> Sent;

    /// What came of that.
    fn classify(&self, sent: &Sent) -> Class<Self::Answer>;

    /// Hears of each attempt once it has ended, before any wait.
    fn ended(&mut self, sent: &Sent, class: &Class<Self::Answer>);

    /// How many attempts it gets, by how this one failed; `max` is `--max-attempts`.
    fn max_attempts(&self, _: Transient, max: u32) -> u32 {
        max
    }
}

/// How a call ended.
pub(crate) enum End<C: Call> {
    /// A response decided.
    Final(C::Answer, Response),
    /// The attempts are used up; this came of the last.
    GivenUp(Sent),
    /// It was not sent after all.
    Unsent(C::Unsent),
    /// The run was stopped, or cannot go on; the stop was tripped unless `KeyRefused` says otherwise.
    Stopped,
    /// ImageKit refused the key for this: in its words. Whether that ends the run is the caller's to say.
    KeyRefused(String),
}

/// Access to one account: a client, used when the throttle lets it.
#[derive(Debug)]
pub struct Api {
    client: Client,
    throttle: Arc<Throttle>,
    backoff: Backoff,
    stop: Stop,
    max_attempts: u32,
    traffic: RefCell<Traffic>,
    next_group: Cell<u64>,
    was_answered: Cell<bool>,
    failed_connections: Cell<u32>,
    /// Since when this machine is short of something.
    short_since: Cell<Option<Instant>>,
    /// Calls that wait for their next attempt.
    backing_off: Cell<usize>,
    backoff_began: Notify,
}

impl Api {
    /// Sends with `client` when `throttle` lets it, up to `max_attempts` attempts for each call.
    pub fn new(client: Client, throttle: Arc<Throttle>, stop: Stop, max_attempts: u32) -> Self {
        Self {
            client,
            throttle,
            backoff: Backoff::default(),
            stop,
            max_attempts,
            traffic: RefCell::default(),
            next_group: Cell::new(0),
            was_answered: Cell::new(false),
            failed_connections: Cell::new(0),
            short_since: Cell::new(None),
            backing_off: Cell::new(0),
            backoff_began: Notify::new(),
        }
    }

    /// What holds its requests back.
    pub fn throttle(&self) -> Arc<Throttle> {
        Arc::clone(&self.throttle)
    }

    /// What was sent so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic.borrow().clone()
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// A number for what fails together.
    pub(crate) fn next_group(&self) -> u64 {
        self.next_group.replace(self.next_group.get() + 1)
    }

    /// Repeats a call until it has a final response, its attempts are used up, or the run is stopped.
    pub(crate) async fn call<C: Call>(&self, call: &mut C) -> End<C> {
        let mut failures = 0;
        loop {
            let Some(permit) = self.permit(call.endpoint()).await else {
                return End::Stopped;
            };
            let is_retry = match call.begin(permit.probe()) {
                Ok(is_retry) => is_retry,
                Err(unsent) => return End::Unsent(unsent),
            };
            let (sent, class, counted) = self.attempt(permit, call, is_retry).await;
            let delay = match class {
                Class::Final(answer) => match sent {
                    Ok(response) => return End::Final(answer, response),
                    Err(_) => return End::GivenUp(sent),
                },
                Class::Throttled => continue,
                Class::Abort(Reason::KeyRefused(words), _) => return End::KeyRefused(words),
                Class::Abort(reason, _) => {
                    self.stop.trip(reason.with_host(self.client.host()));
                    return End::Stopped;
                }
                Class::Shortage => self.backoff.delay(1, None, fastrand::f64()),
                Class::Transient(transient) => {
                    failures += u32::from(counted == CountsAsAttempt::Yes);
                    if failures >= call.max_attempts(transient, self.max_attempts) {
                        return End::GivenUp(sent);
                    }
                    if counted == CountsAsAttempt::No {
                        continue;
                    }
                    let hint = sent.ok().and_then(|response| response.retry_after);
                    self.backoff.delay(failures, hint, fastrand::f64())
                }
            };
            if !self.waited(delay).await {
                return End::Stopped;
            }
        }
    }

    /// Waits for a permit; `None` if a stop came.
    async fn permit(&self, endpoint: Endpoint) -> Option<Permit<'_>> {
        if self.stop.is_tripped() {
            return None;
        }
        if let Some(permit) = self.throttle.try_permit(endpoint) {
            return Some(permit);
        }
        select! {
            biased;
            () = self.stop.tripped() => None,
            permit = self.throttle.permit(endpoint) => Some(permit),
        }
    }

    /// One request, which is counted, and of which the throttle hears.
    async fn attempt<C: Call>(
        &self,
        permit: Permit<'_>,
        call: &mut C,
        is_retry: IsRetry,
    ) -> (Sent, Class<C::Answer>, CountsAsAttempt) {
        self.traffic.borrow_mut().sent(is_retry);
        let sent = call.send(&self.client).await;
        self.traffic.borrow_mut().answered(call.endpoint(), &sent);
        self.watch_reachability(&sent);
        let class = call.classify(&sent);
        let counted = match (&class, &sent) {
            (Class::Throttled | Class::Final(_), Ok(response)) if response.status == 429 => {
                permit.throttled(&response.limits);
                CountsAsAttempt::No
            }
            (Class::Final(_), Ok(response)) => {
                permit.succeeded(&response.limits);
                CountsAsAttempt::Yes
            }
            // The run cannot go on, or it is this machine's own fault: nothing is learnt from it.
            (Class::Abort(..) | Class::Shortage | Class::Throttled, _) => CountsAsAttempt::No,
            (_, Ok(_)) => permit.failed(call.group(), GotResponse::Yes, || self.failure(&sent)),
            (_, Err(_)) => permit.failed(call.group(), GotResponse::No, || self.failure(&sent)),
        };
        call.ended(&sent, &class);
        (sent, class, counted)
    }

    /// What fails where everything fails like this.
    fn failure(&self, sent: &Sent) -> String {
        let host = self.client.host();
        match sent {
            Ok(Response {
                status: status @ 400..,
                ..
            }) => {
                format!("{host} answers only with errors (HTTP {status})")
            }
            Ok(Response { status, .. }) => {
                format!("{host} sends only responses that cannot be used (HTTP {status})")
            }
            Err(error) => format!("{host} is not answering ({error})"),
        }
    }

    /// How many calls wait for their next attempt.
    pub(crate) fn backing_off(&self) -> usize {
        self.backing_off.get()
    }

    /// Completes when another call begins to wait for its next attempt, from now on.
    pub(crate) fn backoff_began(&self) -> Notified<'_> {
        self.backoff_began.notified()
    }

    /// False if a stop came.
    async fn waited(&self, delay: Duration) -> bool {
        self.backing_off.update(|calls| calls + 1);
        self.backoff_began.notify_waiters();
        let is_over = select! {
            biased;
            () = self.stop.tripped() => false,
            () = sleep(delay) => true,
        };
        self.backing_off.update(|calls| calls - 1);
        is_over
    }

    /// A host that was never reached at all is given up soon: it is a typing error more often than an outage. A
    /// shortage of this machine ends the run once it has lasted as long as an outage may.
    fn watch_reachability(&self, sent: &Sent) {
        if let Err(error @ SendError::Shortage(_)) = sent {
            let now = Instant::now();
            let since = self.short_since.get().unwrap_or_else(|| {
                tracing::warn!("{error}; nothing is lost: retrying until --max-outage has passed");
                now
            });
            self.short_since.set(Some(since));
            if now.duration_since(since) >= self.throttle.max_outage() {
                self.stop
                    .trip(Reason::LimitReached(format!("{error} (--max-outage)")));
            }
            return;
        }
        self.short_since.set(None);
        match sent {
            Err(SendError::NeverLeft(why)) if !self.was_answered.get() => {
                let failed = self.failed_connections.get() + 1;
                self.failed_connections.set(failed);
                if failed >= TRIES_TO_REACH {
                    let host = self.client.host();
                    self.stop.trip(Reason::Unreachable(format!(
                        "{host} cannot be reached: {why}"
                    )));
                }
            }
            Ok(_) | Err(SendError::Timeout(_) | SendError::Broken(_)) => {
                self.was_answered.set(true);
            }
            Err(_) => {}
        }
    }

    /// Asks what decides nothing of a file, a read or a purge, until there is a response that is neither a 429 nor
    /// may pass. `is_wanted` is looked at when the permit has come, `is_end` says of a 429 whether it is a response
    /// all the same, as that of a used-up quota is.
    pub(crate) async fn ask(
        &self,
        endpoint: Endpoint,
        is_wanted: impl Fn() -> bool,
        is_end: impl Fn(&Response) -> bool,
        send: impl AsyncFn(&Client) -> Sent,
    ) -> Result<Response, Unanswered> {
        let mut question = Question {
            endpoint,
            group: self.next_group(),
            is_wanted,
            is_end,
            send,
            is_retry: IsRetry::No,
        };
        match self.call(&mut question).await {
            End::Final((), response) => Ok(response),
            End::GivenUp(Ok(response)) => Err(Unanswered::GivenUp(class::summary(&response))),
            End::GivenUp(Err(error)) => Err(Unanswered::GivenUp(error.to_string())),
            End::Unsent(()) => Err(Unanswered::Unwanted),
            End::Stopped => Err(Unanswered::Stopped),
            End::KeyRefused(words) => Err(Unanswered::KeyRefused(words)),
        }
    }
}

/// Why a read or a purge has no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The run was stopped.
    Stopped,
    /// Meanwhile another response made it needless to ask.
    Unwanted,
    /// ImageKit refused the key for this: in its words.
    KeyRefused(String),
    /// The attempts are used up: what came of the last.
    GivenUp(String),
}

/// A read or a purge.
struct Question<W, E, S> {
    endpoint: Endpoint,
    group: u64,
    is_wanted: W,
    is_end: E,
    send: S,
    is_retry: IsRetry,
}

impl<W, E, S> Call for Question<W, E, S>
where
    W: Fn() -> bool,
    E: Fn(&Response) -> bool,
    S: AsyncFn(&Client) -> Sent,
{
    type Answer = ();
    type Unsent = ();

    fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    fn group(&self) -> u64 {
        self.group
    }

    fn begin(&mut self, _: IsProbe) -> Result<IsRetry, ()> {
        if (self.is_wanted)() {
            Ok(std::mem::replace(&mut self.is_retry, IsRetry::Yes))
        } else {
            Err(())
        }
    }

    async fn send(&self, client: &Client) -> Sent {
        (self.send)(client).await
    }

    fn classify(&self, sent: &Sent) -> Class<()> {
        match (class::harmless(sent), sent) {
            (Class::Throttled, Ok(response)) if (self.is_end)(response) => Class::Final(()),
            (class, _) => class,
        }
    }

    fn ended(&mut self, sent: &Sent, _: &Class<()>) {
        let endpoint = self.endpoint.as_str();
        match sent {
            Ok(response) => tracing::debug!(
                endpoint,
                status = response.status,
                request_id = response.request_id.as_deref(),
                "answered"
            ),
            Err(error) => tracing::debug!(endpoint, %error, "not answered"),
        }
    }
}
