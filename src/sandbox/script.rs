//! The script: how the server behaves, in the domain's words.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::answer::Answer;
use super::ledger::{Ledger, LoggedRequest};
use super::limits::Window;
use crate::outcome::REHEARSAL_PREFIX;

/// The key that a server without another one takes.
pub(super) const KEY: &str = "private_sandbox_look_alike_only";

/// A fault on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset and nothing was done.
    ResetBefore,
    /// All is done, then the connection is reset: a lost answer.
    ResetAfter,
    /// Nothing is done and no answer comes.
    HangBefore,
    /// All is done and no answer comes.
    HangAfter,
    /// All is done, and the answer breaks off in its middle.
    HalfBody,
    /// Nothing is done; a page says so.
    Html500,
    /// All is done, and a 500 says otherwise.
    Json500After,
    /// Nothing is done; a text says that the service is unavailable.
    Text503,
    /// Nothing is done; this status with a message.
    Status(u16),
    /// A 429 whose `X-RateLimit-Reset` is this text, if it has one.
    TooMany(Option<&'static str>),
    /// All is done; 200 and text that is not JSON.
    Garbage200,
}

/// Answers in the server's place, where it does at all: a test's own idea of ImageKit.
pub type Instead = Box<dyn FnMut(&LoggedRequest, &Ledger) -> Option<Answer> + Send>;

/// How the server behaves.
pub struct Script {
    /// The key that it accepts.
    pub key: String,
    /// What its request IDs start with.
    pub request_ids: &'static str,
    /// Every ID exists but one in this many, chosen by the ID alone; `None` if only those exist that the ledger is
    /// given.
    pub missing_one_in: Option<u64>,
    /// How long answers take.
    pub latency: Range<Duration>,
    /// Limits on deletions, single ones and batches each for themselves. Several hold together.
    pub limits: Vec<Window>,
    /// Limits on reads.
    pub read_limits: Vec<Window>,
    /// What a request meets before the server carries it out.
    pub instead: Instead,
    /// Faults, and the share of all requests, from 0 to 1, that meet each.
    pub random_faults: Vec<(Fault, f64)>,
    /// The fault that the nth request, from 1, meets.
    pub faults_at: HashMap<u64, Fault>,
    /// The faults that requests that name an ID meet, one after the other.
    pub faults_for: HashMap<String, Vec<Fault>>,
    /// How many made-up files a search finds from the start.
    pub listed: u64,
    /// The seed of random faults and latency.
    pub seed: u64,
}

impl Script {
    /// A server without limits and faults, whose library is what the ledger is given.
    pub fn plain() -> Self {
        Self {
            key: KEY.into(),
            request_ids: "look-alike-",
            missing_one_in: None,
            latency: Duration::ZERO..Duration::ZERO,
            limits: Vec::new(),
            read_limits: Vec::new(),
            instead: Box::new(|_, _| None),
            random_faults: Vec::new(),
            faults_at: HashMap::new(),
            faults_for: HashMap::new(),
            listed: 0,
            seed: 7,
        }
    }

    /// What `--sandbox` runs against: every ID but one in twenty exists, the documented limits hold, and some
    /// answers are lost or fail, early ones by number so that a small file shows them too.
    pub fn rehearsal() -> Self {
        Self {
            request_ids: REHEARSAL_PREFIX,
            missing_one_in: Some(20),
            latency: Duration::from_millis(30)..Duration::from_millis(60),
            limits: vec![Window::bucket(5, 20)],
            read_limits: vec![Window::bucket(40, 100)],
            listed: 2500,
            faults_at: HashMap::from([
                (1, Fault::TooMany(Some("400"))),
                (5, Fault::Html500),
                (7, Fault::ResetAfter),
            ]),
            random_faults: vec![(Fault::Text503, 0.01), (Fault::ResetAfter, 0.01)],
            seed: 5,
            ..Self::plain()
        }
    }
}
