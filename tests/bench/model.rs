//! A modelled server and a client in virtual time, so that minutes cost nothing and figures are exact: for
//! `tests/pace.rs` and for the table of `rates.rs`. The server's limits are the sandbox's own windows.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::future::join_all;
use imagekit_bulk_delete::sandbox::{LimitState, Window, pass};
use imagekit_bulk_delete::throttle::{Endpoint, Rate, RateLimitHeaders, Throttle};
use tokio::time::{Instant, sleep};

/// When the server says what its limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// Limit, interval and reset on every response.
    Always,
    /// Limit, interval and reset on a 429 only.
    On429,
    /// Only how long to wait, on a 429.
    WaitOn429,
    /// A bare 429.
    Never,
}

/// A server's limits, and the requests that it saw.
pub(crate) struct Server {
    windows: RefCell<Vec<Window>>,
    /// Other limits that hold from this moment on.
    change: RefCell<Option<(Duration, Vec<Window>)>>,
    headers: Headers,
    /// Limit and interval as the headers state them, where that is not what holds.
    pub(crate) stated_as: Option<(u64, Duration)>,
    pub(crate) start: Instant,
    pub(crate) asked: RefCell<Vec<Asked>>,
}

/// One request as the server saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Seconds since the server started.
    pub(crate) at: f64,
    pub(crate) is_refused: bool,
}

impl Server {
    pub(crate) fn new(windows: &[Window], headers: Headers) -> Self {
        Self {
            windows: RefCell::new(windows.to_vec()),
            change: RefCell::new(None),
            headers,
            stated_as: None,
            start: Instant::now(),
            asked: RefCell::default(),
        }
    }

    /// The same server, but with other limits after `at`.
    pub(crate) fn changing(self, at: Duration, windows: &[Window]) -> Self {
        self.change.replace(Some((at, windows.to_vec())));
        self
    }

    /// A request arrives: let through, or refused.
    pub(crate) fn ask(&self) -> Result<RateLimitHeaders, RateLimitHeaders> {
        let passed = self.pass();
        self.asked.borrow_mut().push(Asked {
            at: self.start.elapsed().as_secs_f64(),
            is_refused: passed.is_err(),
        });
        match passed {
            Ok(state) => Ok(self.pace(state.filter(|_| self.headers == Headers::Always))),
            Err(state) => Err(self.pace(Some(state))),
        }
    }

    /// Another client's request arrives; it is not counted among ours.
    pub(crate) fn pass(&self) -> Result<Option<LimitState>, LimitState> {
        let at = self.start.elapsed();
        if let Some((_, windows)) = self.change.borrow_mut().take_if(|(from, _)| at >= *from) {
            self.windows.replace(windows);
        }
        pass(&mut self.windows.borrow_mut(), Instant::now())
    }

    fn pace(&self, state: Option<LimitState>) -> RateLimitHeaders {
        let Some(state) = state.filter(|_| self.headers != Headers::Never) else {
            return RateLimitHeaders::default();
        };
        let (limit, interval) = self.stated_as.unwrap_or((state.limit, state.interval));
        let is_stated = self.headers != Headers::WaitOn429;
        let milliseconds = state.reset.as_micros().div_ceil(1000);
        RateLimitHeaders {
            limit: Some(limit).filter(|_| is_stated),
            interval: Some(interval).filter(|_| is_stated),
            wait: u64::try_from(milliseconds).ok().map(Duration::from_millis),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.borrow().len()
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused_since(0.0)
    }

    pub(crate) fn refused_since(&self, second: f64) -> usize {
        let asked = self.asked.borrow();
        let is_late = |asked: &&Asked| asked.at >= second && asked.is_refused;
        asked.iter().filter(is_late).count()
    }

    /// Requests let through from second `from` on, and before second `to`.
    pub(crate) fn let_through(&self, from: f64, to: f64) -> usize {
        let asked = self.asked.borrow();
        let counts = |asked: &&Asked| (from..to).contains(&asked.at) && !asked.is_refused;
        asked.iter().filter(counts).count()
    }
}

/// A client of so many requests at once; each round trip takes `round_trip`, a fifth more or less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) concurrency: usize,
    pub(crate) round_trip: Duration,
}

impl Client {
    pub(crate) fn auto(self) -> Throttle {
        self.throttle(Rate::Auto)
    }

    pub(crate) fn throttle(self, rate: Rate) -> Throttle {
        Throttle::new(rate, self.concurrency, Duration::from_mins(10))
    }

    /// Sends requests, each as often as it takes, until none is left; the seconds that took.
    pub(crate) async fn send(self, requests: u64, throttle: &Throttle, server: &Server) -> f64 {
        let left = Cell::new(requests);
        let start = Instant::now();
        let one_by_one = || async {
            while left.get() > 0 {
                left.set(left.get() - 1);
                loop {
                    let permit = throttle.permit(Endpoint::Delete).await;
                    sleep(self.way()).await;
                    let answer = server.ask();
                    sleep(self.way()).await;
                    match answer {
                        Ok(limits) => break permit.succeeded(&limits),
                        Err(limits) => permit.throttled(&limits),
                    }
                }
            }
        };
        join_all((0..self.concurrency).map(|_| one_by_one())).await;
        start.elapsed().as_secs_f64()
    }

    /// Half a round trip.
    fn way(self) -> Duration {
        self.round_trip.mul_f64(0.4 + 0.2 * fastrand::f64())
    }
}
