//! The script: how the server behaves, in the domain's words.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use super::ledger::Library;
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
    /// Nothing is done; `Retry-After` in whole seconds.
    Text503 {
        /// Seconds.
        retry_after: Option<u32>,
    },
    /// Nothing is done; this status with a message.
    Status(u16),
    /// A 429 whose `X-RateLimit-Reset` is this text.
    TooMany {
        /// The header's value; `None` leaves it out.
        reset: Option<String>,
    },
    /// All is done; 200 and text that is not JSON.
    Garbage200,
}

/// When limits are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHeaders {
    /// With every answer.
    Always,
    /// With a 429.
    OnlyOn429,
    /// Never.
    Never,
}

/// How the batch endpoint tells of files that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchMissing {
    /// 404 with `missingFileIds`.
    List,
    /// 404 without.
    Bare,
    /// 404 that names IDs that were not sent.
    Strangers,
    /// The route does not exist.
    NoRoute,
}

/// How the batch endpoint tells of an ID that it has trouble with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchTrouble {
    /// 207 with `errors`; the file is not deleted.
    Error207,
    /// 207 with `errors`, though the file is deleted.
    ErrorButDeleted,
    /// 200 with `errors`; the file is not deleted.
    Error200,
    /// In neither list; the file is not deleted.
    Neither,
    /// In both lists; the file is not deleted.
    Both,
}

/// How the server behaves.
#[derive(Debug)]
#[must_use]
pub struct Script {
    pub(super) key: String,
    pub(super) request_ids: &'static str,
    pub(super) library: Library,
    pub(super) latency: Range<Duration>,
    pub(super) delete_windows: Vec<Window>,
    pub(super) batch_windows: Vec<Window>,
    pub(super) read_windows: Vec<Window>,
    pub(super) limit_headers: LimitHeaders,
    pub(super) batch_limit: usize,
    pub(super) batch_missing: BatchMissing,
    pub(super) batch_trouble: Option<(BatchTrouble, u64)>,
    pub(super) poison: HashSet<String>,
    pub(super) malformed: HashSet<String>,
    pub(super) random_faults: Vec<(Fault, f64)>,
    pub(super) faults_at: HashMap<u64, Fault>,
    pub(super) faults_for: HashMap<String, Vec<Fault>>,
    pub(super) outage: Option<(u64, Duration)>,
    pub(super) everything: Option<(u16, &'static str, String)>,
    pub(super) revoke_key_after: Option<u64>,
    pub(super) echoes_key: bool,
    pub(super) purge_quota: Option<usize>,
    pub(super) purge_refusal: (u16, String),
    pub(super) kinds: HashMap<String, &'static str>,
    pub(super) unlisted: HashSet<String>,
    pub(super) refuses_search: bool,
    pub(super) refuses_reads: bool,
    pub(super) seed: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            key: KEY.into(),
            request_ids: "look-alike-",
            library: Library::Listed,
            latency: Duration::ZERO..Duration::ZERO,
            delete_windows: Vec::new(),
            batch_windows: Vec::new(),
            read_windows: Vec::new(),
            limit_headers: LimitHeaders::OnlyOn429,
            batch_limit: 100,
            batch_missing: BatchMissing::List,
            batch_trouble: None,
            poison: HashSet::new(),
            malformed: HashSet::new(),
            random_faults: Vec::new(),
            faults_at: HashMap::new(),
            faults_for: HashMap::new(),
            outage: None,
            everything: None,
            revoke_key_after: None,
            echoes_key: false,
            purge_quota: None,
            purge_refusal: (403, "Your monthly purge limit is used up.".into()),
            kinds: HashMap::new(),
            unlisted: HashSet::new(),
            refuses_search: false,
            refuses_reads: false,
            seed: 7,
        }
    }
}

impl Script {
    /// A server without limits and faults, whose library is what the ledger is given.
    pub fn plain() -> Self {
        Self::default()
    }

    /// What `--sandbox` runs against: every ID but one in twenty exists, the documented limits hold, and some
    /// answers are lost or fail, early ones by number so that a small file shows them too.
    pub fn rehearsal() -> Self {
        let script = Self {
            request_ids: REHEARSAL_PREFIX,
            ..Self::plain()
        };
        script
            .missing_one_in(20)
            .latency(Duration::from_millis(30)..Duration::from_millis(60))
            .limit(Window::bucket(5, 20))
            .fault_at(
                1,
                Fault::TooMany {
                    reset: Some("400".into()),
                },
            )
            .fault_at(5, Fault::Html500)
            .fault_at(7, Fault::ResetAfter)
            .fault(Fault::Text503 { retry_after: None }, 0.01)
            .fault(Fault::ResetAfter, 0.01)
            .seed(5)
    }

    /// Takes this key instead of the sandbox's own.
    pub fn key(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    /// Every ID exists, but one in so many, chosen by the ID alone.
    pub fn missing_one_in(mut self, share: u64) -> Self {
        self.library = Library::AllButOneIn(share);
        self
    }

    /// Answers take this long.
    pub fn latency(mut self, latency: Range<Duration>) -> Self {
        self.latency = latency;
        self
    }

    /// Limits single deletions and batches, each for itself. Several limits hold together.
    pub fn limit(mut self, window: Window) -> Self {
        self.delete_windows.push(window.clone());
        self.batch_windows.push(window);
        self
    }

    /// Limits reads.
    pub fn limit_reads(mut self, window: Window) -> Self {
        self.read_windows.push(window);
        self
    }

    /// When limits are told; with a 429 by default.
    pub fn limit_headers(mut self, when: LimitHeaders) -> Self {
        self.limit_headers = when;
        self
    }

    /// The most IDs in a batch; 100 by default.
    pub fn batch_limit(mut self, most: usize) -> Self {
        self.batch_limit = most;
        self
    }

    /// How a batch tells of missing files.
    pub fn batch_missing(mut self, how: BatchMissing) -> Self {
        self.batch_missing = how;
        self
    }

    /// One ID in so many gives a batch this trouble, chosen by the ID alone.
    pub fn batch_trouble(mut self, trouble: BatchTrouble, one_in: u64) -> Self {
        self.batch_trouble = Some((trouble, one_in));
        self
    }

    /// Any request that names this ID is answered 500.
    pub fn poison(mut self, file_id: &str) -> Self {
        self.poison.insert(file_id.into());
        self
    }

    /// Any request that names this ID is answered 400.
    pub fn malformed(mut self, file_id: &str) -> Self {
        self.malformed.insert(file_id.into());
        self
    }

    /// A share of all requests, from 0 to 1, meets this fault.
    pub fn fault(mut self, fault: Fault, share: f64) -> Self {
        self.random_faults.push((fault, share));
        self
    }

    /// The nth request, from 1, meets this fault.
    pub fn fault_at(mut self, request: u64, fault: Fault) -> Self {
        self.faults_at.insert(request, fault);
        self
    }

    /// Requests that name this ID meet these faults, one after the other.
    pub fn faults_for(mut self, file_id: &str, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults_for
            .insert(file_id.into(), faults.into_iter().collect());
        self
    }

    /// From the nth request on everything is answered 503, for so long.
    pub fn outage(mut self, from_request: u64, lasting: Duration) -> Self {
        self.outage = Some((from_request, lasting));
        self
    }

    /// Everything is answered with this: a portal's page, say.
    pub fn everything(
        mut self,
        status: u16,
        content_type: &'static str,
        body: impl Into<String>,
    ) -> Self {
        self.everything = Some((status, content_type, body.into()));
        self
    }

    /// The key is refused behind the nth request.
    pub fn revoke_key_after(mut self, requests: u64) -> Self {
        self.revoke_key_after = Some(requests);
        self
    }

    /// Errors echo the key.
    pub fn echo_key(mut self) -> Self {
        self.echoes_key = true;
        self
    }

    /// So many purges are taken, no more.
    pub fn purge_quota(mut self, most: usize) -> Self {
        self.purge_quota = Some(most);
        self
    }

    /// How a purge over the quota is refused; a 403 by default.
    pub fn purge_refusal(mut self, status: u16, message: &str) -> Self {
        self.purge_refusal = (status, message.into());
        self
    }

    /// What this ID is when it is read: `folder` or `file-version`.
    pub fn kind(mut self, file_id: &str, kind: &'static str) -> Self {
        self.kinds.insert(file_id.into(), kind);
        self
    }

    /// A search does not know this file yet; its details do.
    pub fn unlisted(mut self, file_id: &str) -> Self {
        self.unlisted.insert(file_id.into());
        self
    }

    /// A search is answered 400.
    pub fn without_search(mut self) -> Self {
        self.refuses_search = true;
        self
    }

    /// The key may delete and purge, not read.
    pub fn without_reads(mut self) -> Self {
        self.refuses_reads = true;
        self
    }

    /// The seed of random faults and latency.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
