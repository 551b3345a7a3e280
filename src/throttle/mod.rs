//! The throttle: who may send now, one turn a request. The only owner of that waiting.
//!
//! Askers come in with an endpoint and get a [`Turn`]; what the answer said goes back with the turn.
//! governor keeps `--rate` and `--burst`; pauses told by a 429, the places in the air and outages are
//! arithmetic of our own, looked at again on each wake, so that requests already queued hold too.

mod outage;
mod pace;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub use pace::{Pace, Rate};

use crate::backoff::Backoff;
use outage::Outage;
use pace::Limiter;

/// A 429 never makes the run wait longer than this at a time, whatever it says.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Nor shorter: a server that says "0 ms" would be asked without end.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// A server that invents a new window with each answer must not fill the memory.
const MOST_SEEN_LIMITS: usize = 16;

/// What a request asks of ImageKit; limits are kept for each apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `DELETE /v1/files/{fileId}`.
    Delete,
    /// `POST /v1/files/batch/deleteByFileIds`.
    DeleteBatch,
}

impl Endpoint {
    const ALL: [Self; 2] = [Self::Delete, Self::DeleteBatch];

    /// The endpoint's name in logs and summaries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::DeleteBatch => "delete_batch",
        }
    }
}

/// Whether a failed attempt counts against `--max-attempts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It does.
    Yes,
    /// It does not: the API as a whole is failing.
    No,
}

/// Whether a failed attempt got an answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// An answer came.
    Answer,
    /// None came.
    Nothing,
}

/// What everybody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A 429 told an endpoint to wait.
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

/// A limit as ImageKit told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenLimit {
    /// Of which endpoint.
    pub endpoint: Endpoint,
    /// Requests per interval.
    pub limit: u64,
    /// The interval.
    pub interval: Duration,
}

/// Gives turns.
#[derive(Debug)]
pub struct Throttle {
    concurrency: usize,
    max_outage: Duration,
    queues: [tokio::sync::Mutex<()>; Endpoint::ALL.len()],
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    in_air: usize,
    /// An answer of any kind has come; until then one request at a time is sent.
    was_answered: bool,
    outage: Outage,
    /// 429s without a stated end came, and no success since.
    is_endless: bool,
    pauses: [Pause; Endpoint::ALL.len()],
    throttled: u64,
    paused: Duration,
    seen: Vec<SeenLimit>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    until: Option<Instant>,
    /// Pauses in a row without a stated end.
    in_a_row: u32,
}

enum Gate {
    Open,
    At(Instant),
    Full,
}

impl Throttle {
    /// A throttle for at most `concurrency` requests in the air; `max_outage` is the longest time without a
    /// success before [`gave_up`](Self::gave_up) completes.
    pub fn new(rate: Rate, concurrency: usize, max_outage: Duration) -> Self {
        Self {
            concurrency: concurrency.max(1),
            max_outage,
            queues: Default::default(),
            state: Mutex::new(State {
                limiter: Limiter::new(rate),
                in_air: 0,
                was_answered: false,
                outage: Outage::default(),
                is_endless: false,
                pauses: Default::default(),
                throttled: 0,
                paused: Duration::ZERO,
                seen: Vec::new(),
            }),
            changed: Notify::new(),
        }
    }

    /// Waits until one request may leave. First come, first served for each endpoint; dropping the future
    /// gives the place up, dropping the turn unused says that nothing left.
    pub async fn turn(&self, endpoint: Endpoint) -> Turn<'_> {
        let queue = &self.queues[endpoint as usize];
        if let Ok(_nobody_waits) = queue.try_lock()
            && let Gate::Open = self
                .state()
                .try_leave(endpoint, self.concurrency, Instant::now())
        {
            return Turn {
                throttle: self,
                endpoint,
            };
        }
        let _first_in_line = queue.lock().await;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let gate = self
                .state()
                .try_leave(endpoint, self.concurrency, Instant::now());
            match gate {
                Gate::Open => {
                    return Turn {
                        throttle: self,
                        endpoint,
                    };
                }
                Gate::Full => changed.await,
                Gate::At(instant) => select! {
                    () = sleep_until(instant) => {}
                    () = changed => {}
                },
            }
        }
    }

    /// What everybody waits for just now; `None` if requests leave.
    pub fn waiting(&self) -> Option<Waiting> {
        let state = self.state();
        if let Some(next_try) = state.outage.next_try() {
            return Some(Waiting::Outage { next_try });
        }
        let now = Instant::now();
        let paused = |endpoint: &Endpoint| {
            let until = state.pauses[*endpoint as usize]
                .until
                .filter(|until| *until > now)?;
            Some(Waiting::Paused {
                endpoint: *endpoint,
                until,
            })
        };
        Endpoint::ALL.iter().find_map(paused)
    }

    /// Completes when `max_outage` has passed without one success, in an outage or under 429s without a stated
    /// end. Safe to drop and call again.
    pub async fn gave_up(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let deadline = self
                .state()
                .failing_since()
                .map(|since| since + self.max_outage);
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => select! {
                    () = sleep_until(deadline) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Limits as ImageKit told them.
    pub fn seen_limits(&self) -> Vec<SeenLimit> {
        self.state().seen.clone()
    }

    /// 429s so far.
    pub fn throttled_count(&self) -> u64 {
        self.state().throttled
    }

    /// For how long some endpoint was paused by 429s.
    pub fn paused(&self) -> Duration {
        self.state().paused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn try_leave(&mut self, endpoint: Endpoint, concurrency: usize, now: Instant) -> Gate {
        let is_probing = self.outage.next_try().is_some();
        let most = if self.was_answered && !is_probing {
            concurrency
        } else {
            1
        };
        if self.in_air >= most {
            return Gate::Full;
        }
        let paused = self.pauses[endpoint as usize].until;
        if let Some(instant) = paused
            .max(self.outage.next_try())
            .filter(|instant| *instant > now)
        {
            return Gate::At(instant);
        }
        if let Some(instant) = self.limiter.try_leave(endpoint, now) {
            return Gate::At(instant);
        }
        self.in_air += 1;
        Gate::Open
    }

    fn failing_since(&self) -> Option<Instant> {
        let is_failing = self.is_endless || self.outage.next_try().is_some();
        self.outage.since().filter(|_| is_failing)
    }

    fn succeed(&mut self, endpoint: Endpoint, pace: &Pace) {
        self.was_answered = true;
        self.is_endless = false;
        self.outage.succeeded();
        self.pauses[endpoint as usize].in_a_row = 0;
        self.learn(endpoint, pace);
    }

    fn pause(&mut self, endpoint: Endpoint, pace: &Pace, now: Instant) {
        self.was_answered = true;
        self.throttled += 1;
        self.learn(endpoint, pace);
        let pause = &mut self.pauses[endpoint as usize];
        let paused_already = pause.until.filter(|until| *until > now);
        let wait = if let Some(wait) = pace.wait.filter(|wait| !wait.is_zero()) {
            wait.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
        } else {
            self.is_endless = true;
            self.outage.unanswered(now);
            // Answers to requests that left together are one refusal.
            pause.in_a_row += u32::from(paused_already.is_none());
            let backoff = Backoff::default();
            backoff.delay(
                pause.in_a_row,
                Some(backoff.ceiling(pause.in_a_row) / 2),
                fastrand::f64(),
            )
        };
        let until = pause.until.max(Some(now + wait)).unwrap_or(now);
        self.paused += until - paused_already.unwrap_or(now);
        pause.until = Some(until);
    }

    fn learn(&mut self, endpoint: Endpoint, pace: &Pace) {
        let (Some(limit @ 1..), Some(interval)) = (
            pace.limit,
            pace.interval.filter(|interval| !interval.is_zero()),
        ) else {
            return;
        };
        let is_this = |seen: &SeenLimit| seen.endpoint == endpoint && seen.interval == interval;
        match self.seen.iter().position(is_this) {
            Some(known) => self.seen[known].limit = limit,
            None if self.seen.len() < MOST_SEEN_LIMITS => {
                self.seen.push(SeenLimit {
                    endpoint,
                    limit,
                    interval,
                });
            }
            None => {}
        }
    }
}

/// One place in the air. Exactly one of its methods is called when the exchange has ended.
#[derive(Debug)]
pub struct Turn<'a> {
    throttle: &'a Throttle,
    endpoint: Endpoint,
}

impl Turn<'_> {
    /// The API works: any answer of its own but a 429 and a 5xx.
    pub fn succeeded(self, pace: &Pace) {
        self.throttle.state().succeed(self.endpoint, pace);
    }

    /// A 429.
    pub fn throttled(self, pace: &Pace) {
        self.throttle
            .state()
            .pause(self.endpoint, pace, Instant::now());
    }

    /// A 5xx, a time-out, a broken connection; `group` is the group of IDs that it was about.
    pub fn failed(self, group: u64, heard: Heard) -> Counted {
        let mut state = self.throttle.state();
        state.was_answered |= heard == Heard::Answer;
        if state.outage.failed(group, Instant::now(), fastrand::f64()) {
            Counted::No
        } else {
            Counted::Yes
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.throttle.state().in_air -= 1;
        self.throttle.changed.notify_waiters();
    }
}
