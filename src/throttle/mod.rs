//! The throttle: who may send now, one permit per request. The only owner of that waiting.
//!
//! Askers come in with an endpoint and get a [`Permit`]; what the answer said goes back with the permit.
//! governor keeps `--rate` and `--burst`; limits that responses state or that 429s suggest, pauses, the places in flight
//! and outages are arithmetic of our own, looked at again on each wake, so that requests already queued hold too.

mod controller;
mod endpoint;
mod jitter;
mod outage;
mod own_rate;
mod rate;
mod sends;
mod unstated;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::human::seconds;

pub use endpoint::Endpoint;
pub use rate::{Rate, RateLimitHeaders};

use endpoint::{EndpointLimiter, Wait};
use outage::Outage;
use rate::Cap;

/// Whether a failed attempt counts against `--max-attempts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountsAsAttempt {
    /// It does.
    Yes,
    /// It does not: the API as a whole is failing.
    No,
}

/// Whether the API as a whole is failing, so that a request finds out if it works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsProbe {
    /// It is an ordinary request.
    No,
    /// It is a probe.
    Yes,
}

/// Whether a failed attempt got a response at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GotResponse {
    /// None came.
    No,
    /// One came.
    Yes,
}

/// What everybody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A 429 makes an endpoint wait.
    Paused {
        /// Which.
        endpoint: Endpoint,
        /// Until when.
        until: Instant,
    },
    /// The API as a whole is failing.
    Outage {
        /// When the next probe leaves.
        next_try: Instant,
    },
}

/// A limit as ImageKit states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenLimit {
    /// Of which endpoint.
    pub endpoint: Endpoint,
    /// Requests per interval.
    pub limit: u64,
    /// The interval.
    pub interval: Duration,
}

/// Hands out permits, one for each request.
#[derive(Debug)]
pub struct Throttle {
    concurrency: usize,
    max_outage: Duration,
    /// What `--rate N` allows; infinite without it.
    max_per_second: f64,
    queues: [tokio::sync::Mutex<()>; Endpoint::ALL.len()],
    state: Mutex<State>,
    changed: Notify,
    /// Wakes whoever waits for the throttle to give up.
    failed: Notify,
}

#[derive(Debug)]
struct State {
    cap: Cap,
    limiters: [EndpointLimiter; Endpoint::ALL.len()],
    in_flight: usize,
    /// An answer of any kind has come; until then one request at a time is sent.
    was_answered: bool,
    outage: Outage,
    /// What failed last; empty if something has succeeded since.
    failing: String,
    /// 429s without a stated end came, and no success since.
    is_endless: bool,
    /// A failure came when nothing had succeeded for too long: only what always fails is left.
    is_hopeless: bool,
    throttled: u64,
    paused: Duration,
}

impl Throttle {
    /// A throttle for at most `concurrency` requests in flight; `max_outage` is the longest time without a
    /// success before [`gave_up`](Self::gave_up) completes.
    pub fn new(rate: Rate, concurrency: usize, max_outage: Duration) -> Self {
        Self {
            concurrency: concurrency.max(1),
            max_outage,
            max_per_second: match rate {
                Rate::PerSecond { per_second, .. } => per_second,
                Rate::Auto | Rate::Unlimited => f64::INFINITY,
            },
            queues: Default::default(),
            state: Mutex::new(State {
                cap: Cap::new(rate),
                limiters: Endpoint::ALL
                    .map(|endpoint| EndpointLimiter::new(endpoint, rate, Instant::now())),
                in_flight: 0,
                was_answered: false,
                outage: Outage::default(),
                failing: String::new(),
                is_endless: false,
                is_hopeless: false,
                throttled: 0,
                paused: Duration::ZERO,
            }),
            changed: Notify::new(),
            failed: Notify::new(),
        }
    }

    /// A permit, if one request may leave at once and nobody waits before it.
    pub fn try_permit(&self, endpoint: Endpoint) -> Option<Permit<'_>> {
        let _nobody_waits = self.queues[endpoint as usize].try_lock().ok()?;
        let sent = self.try_acquire(endpoint).ok()?;
        Some(self.permit_of(endpoint, sent))
    }

    /// The longest time without one success.
    pub fn max_outage(&self) -> Duration {
        self.max_outage
    }

    /// Waits until one request may leave. First come, first served for each endpoint; dropping the future
    /// gives up the place in the queue.
    pub async fn permit(&self, endpoint: Endpoint) -> Permit<'_> {
        let _first_in_line = self.queues[endpoint as usize].lock().await;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.try_acquire(endpoint) {
                Ok(sent) => return self.permit_of(endpoint, sent),
                Err(Wait::ForAnAnswer) => changed.await,
                Err(Wait::Until(instant)) => select! {
                    () = sleep_until(instant) => {}
                    () = changed => {}
                },
            }
        }
    }

    fn try_acquire(&self, endpoint: Endpoint) -> Result<Instant, Wait> {
        self.state()
            .try_acquire(endpoint, self.concurrency, Instant::now())
    }

    fn permit_of(&self, endpoint: Endpoint, sent: Instant) -> Permit<'_> {
        Permit {
            throttle: self,
            endpoint,
            sent,
        }
    }

    /// What everybody waits for just now; `None` if requests leave.
    pub fn waiting(&self) -> Option<Waiting> {
        let state = self.state();
        if let Some(next_try) = state.outage.next_try() {
            return Some(Waiting::Outage { next_try });
        }
        let now = Instant::now();
        Endpoint::ALL.into_iter().find_map(|endpoint| {
            let until = state.limiters[endpoint as usize].paused_until(now)?;
            Some(Waiting::Paused { endpoint, until })
        })
    }

    /// Requests a second that may leave for an endpoint as things are; infinite if nothing holds them back.
    pub fn rate(&self, endpoint: Endpoint) -> f64 {
        let by_limiter = self.state().limiters[endpoint as usize].rate(Instant::now());
        by_limiter.min(self.max_per_second)
    }

    /// Completes when `max_outage` has passed without one success: in an outage, under 429s, or where only what
    /// always fails is left. An end that a 429 states is waited for. Safe to drop and call again.
    pub async fn gave_up(&self) {
        loop {
            let mut failed = std::pin::pin!(self.failed.notified());
            failed.as_mut().enable();
            let (is_hopeless, since) = {
                let state = self.state();
                (state.is_hopeless, state.failing_since())
            };
            // One that lies beyond all time never comes.
            let deadline = since.and_then(|since| since.checked_add(self.max_outage));
            match deadline {
                _ if is_hopeless => return,
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => select! {
                    () = sleep_until(deadline) => {}
                    () = failed => {}
                },
                None => failed.await,
            }
        }
    }

    /// What failed last, in words; empty if something has succeeded since.
    pub fn failing(&self) -> String {
        self.state().failing.clone()
    }

    /// Limits as ImageKit states them.
    pub fn seen_limits(&self) -> Vec<SeenLimit> {
        let state = self.state();
        state
            .limiters
            .iter()
            .flat_map(EndpointLimiter::seen_limits)
            .collect()
    }

    /// 429s so far.
    pub fn throttled_count(&self) -> u64 {
        self.state().throttled
    }

    /// For how long endpoints were paused by 429s, up to now.
    pub fn paused(&self) -> Duration {
        let (state, now) = (self.state(), Instant::now());
        let to_come = state
            .limiters
            .iter()
            .filter_map(|limiter| limiter.paused_until(now));
        let to_come: Duration = to_come.map(|until| until - now).sum();
        state.paused.saturating_sub(to_come)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One request leaves now, or what it waits for.
    fn try_acquire(
        &mut self,
        endpoint: Endpoint,
        concurrency: usize,
        now: Instant,
    ) -> Result<Instant, Wait> {
        let next_probe = self.outage.next_try();
        let is_normal = self.was_answered && next_probe.is_none();
        if self.in_flight >= if is_normal { concurrency } else { 1 } {
            return Err(Wait::ForAnAnswer);
        }
        let limiter = &mut self.limiters[endpoint as usize];
        limiter.check(next_probe, now)?;
        if let Some(instant) = self.cap.try_acquire(now) {
            return Err(Wait::Until(instant));
        }
        limiter.left(now);
        self.in_flight += 1;
        Ok(now)
    }

    fn failing_since(&self) -> Option<Instant> {
        let is_failing = self.is_endless || self.outage.next_try().is_some();
        self.outage.since().filter(|_| is_failing)
    }

    fn succeed(&mut self, endpoint: Endpoint, sent: Instant, limits: &RateLimitHeaders) {
        self.was_answered = true;
        self.is_endless = false;
        if self.outage.next_try().is_some() {
            tracing::warn!("ImageKit answers again");
        }
        self.failing.clear();
        self.outage.succeeded();
        self.limiters[endpoint as usize].accepted(sent, Instant::now(), limits);
    }

    fn pause(&mut self, endpoint: Endpoint, sent: Instant, limits: &RateLimitHeaders) {
        let now = Instant::now();
        self.was_answered = true;
        self.throttled += 1;
        let paused = self.limiters[endpoint as usize].refused(sent, now, limits);
        self.paused += paused.by;
        let pause_ms = u64::try_from(paused.by.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(endpoint = endpoint.as_str(), pause_ms, "paused by a 429");
        self.outage.unanswered(now);
        if !paused.has_end {
            self.is_endless = true;
            self.failing = "only refusals by the rate limit (429) came".into();
        }
    }

    /// A failure came now: whether nothing has succeeded for too long.
    fn note_failure(&mut self, now: Instant, max_outage: Duration) {
        let failing = self.outage.since().map(|since| now.duration_since(since));
        self.is_hopeless |= failing.is_some_and(|failing| failing >= max_outage);
    }
}

/// One place in flight, given back on drop. [`succeeded`](Self::succeeded), [`throttled`](Self::throttled) or
/// [`failed`](Self::failed) says how the request ended; a permit that is just dropped says nothing of the API.
#[derive(Debug)]
pub struct Permit<'a> {
    throttle: &'a Throttle,
    endpoint: Endpoint,
    sent: Instant,
}

impl Permit<'_> {
    /// Whether it finds out if the API works again.
    pub fn probe(&self) -> IsProbe {
        if self.throttle.state().outage.next_try().is_some() {
            IsProbe::Yes
        } else {
            IsProbe::No
        }
    }

    /// The API works: any answer of its own but a 429 and a 5xx.
    pub fn succeeded(self, limits: &RateLimitHeaders) {
        self.throttle
            .state()
            .succeed(self.endpoint, self.sent, limits);
    }

    /// A 429.
    pub fn throttled(self, limits: &RateLimitHeaders) {
        let mut state = self.throttle.state();
        state.pause(self.endpoint, self.sent, limits);
        state.note_failure(Instant::now(), self.throttle.max_outage);
        drop(state);
        self.throttle.failed.notify_waiters();
    }

    /// A 5xx, a time-out, a broken connection; `group` is the group of IDs that it was about, `what` says what fails,
    /// in the words of a log.
    pub fn failed(
        self,
        group: u64,
        response: GotResponse,
        what: impl FnOnce() -> String,
    ) -> CountsAsAttempt {
        let now = Instant::now();
        let mut state = self.throttle.state();
        state.was_answered |= response == GotResponse::Yes;
        let was_outage = state.outage.next_try().is_some();
        if self.endpoint == Endpoint::Purge && !was_outage {
            // Purges may fail while all else works: that is no outage of the API, and holds no deletion up.
            return CountsAsAttempt::Yes;
        }
        state.failing = what();
        let is_outage = state.outage.failed(group, now, fastrand::f64());
        state.note_failure(now, self.throttle.max_outage);
        if is_outage && !was_outage {
            let (what, max) = (&state.failing, seconds(self.throttle.max_outage));
            tracing::warn!(
                "{what}; trying one request at a time for up to {max} (--max-outage); check --base-url if this is not a passing fault"
            );
        }
        drop(state);
        self.throttle.failed.notify_waiters();
        if is_outage {
            CountsAsAttempt::No
        } else {
            CountsAsAttempt::Yes
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        state.in_flight -= 1;
        state.limiters[self.endpoint as usize].landed(self.sent);
        drop(state);
        self.throttle.changed.notify_waiters();
    }
}
