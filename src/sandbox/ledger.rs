//! The ledger: what the server really has, did and was asked. The truth in every test.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// So many requests are kept one by one; beyond that only counts grow.
const MOST_LOGGED: usize = 200_000;

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it arrived.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// Its path and query, as they came.
    pub path: String,
    /// The IDs that it named.
    pub file_ids: Vec<String>,
    /// The status that it was answered with; 0 where no whole answer was given.
    pub status: u16,
}

/// What the server has, did and was asked.
#[derive(Debug)]
pub struct Ledger(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Every ID exists but one in this many; `None` if only those exist that were put.
    missing_one_in: Option<u64>,
    put: HashSet<String>,
    deleted: HashMap<String, u32>,
    requests: Vec<Request>,
    request_count: u64,
    by_status: BTreeMap<u16, u64>,
    in_flight: usize,
    max_in_flight: usize,
    purged: Vec<String>,
}

impl Ledger {
    pub(super) fn new(missing_one_in: Option<u64>) -> Self {
        Self(Mutex::new(Inner {
            missing_one_in,
            put: HashSet::new(),
            deleted: HashMap::new(),
            requests: Vec::new(),
            request_count: 0,
            by_status: BTreeMap::new(),
            in_flight: 0,
            max_in_flight: 0,
            purged: Vec::new(),
        }))
    }

    /// Puts a file into the library.
    pub fn put(&self, file_id: impl Into<String>) {
        self.inner().put.insert(file_id.into());
    }

    /// Puts many files into the library.
    pub fn put_all<Id: Into<String>>(&self, file_ids: impl IntoIterator<Item = Id>) {
        self.inner()
            .put
            .extend(file_ids.into_iter().map(Into::into));
    }

    /// Whether the server has the file now.
    pub fn exists(&self, file_id: &str) -> bool {
        self.inner().exists(file_id)
    }

    /// Whether a request deleted the file.
    pub fn was_deleted(&self, file_id: &str) -> bool {
        self.inner().deleted.contains_key(file_id)
    }

    /// How many files were deleted.
    pub fn deleted_count(&self) -> usize {
        self.inner().deleted.len()
    }

    /// Requests of any kind, those without an answer too.
    pub fn request_count(&self) -> u64 {
        self.inner().request_count
    }

    /// The requests in the order of their arrival; the first 200,000 of them.
    pub fn requests(&self) -> Vec<Request> {
        self.inner().requests.clone()
    }

    /// How many requests were answered with a status; 0 stands for no whole answer.
    pub fn answered_with(&self, status: u16) -> u64 {
        self.inner()
            .by_status
            .get(&status)
            .copied()
            .unwrap_or_default()
    }

    /// The most requests that were there at once.
    pub fn max_in_flight(&self) -> usize {
        self.inner().max_in_flight
    }

    /// URLs that were asked to be purged.
    pub fn purged(&self) -> Vec<String> {
        self.inner().purged.clone()
    }

    /// Deletes a file; false if it was not there.
    pub(super) fn delete(&self, file_id: &str) -> bool {
        let mut inner = self.inner();
        if !inner.exists(file_id) {
            return false;
        }
        inner.put.remove(file_id);
        *inner.deleted.entry(file_id.to_owned()).or_default() += 1;
        true
    }

    pub(super) fn delete_all<'a>(&self, file_ids: impl Iterator<Item = &'a String>) {
        for file_id in file_ids {
            self.delete(file_id);
        }
    }

    pub(super) fn purge(&self, url: &str) -> usize {
        let mut inner = self.inner();
        inner.purged.push(url.to_owned());
        inner.purged.len()
    }

    /// Notes an arrival and gives its number, from 1.
    pub(super) fn arrive(&self) -> u64 {
        let mut inner = self.inner();
        inner.in_flight += 1;
        inner.max_in_flight = inner.max_in_flight.max(inner.in_flight);
        inner.request_count += 1;
        inner.request_count
    }

    pub(super) fn leave(&self) {
        self.inner().in_flight -= 1;
    }

    pub(super) fn log(&self, request: Request) {
        let mut inner = self.inner();
        *inner.by_status.entry(request.status).or_default() += 1;
        if inner.requests.len() < MOST_LOGGED {
            inner.requests.push(request);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn exists(&self, file_id: &str) -> bool {
        if self.deleted.contains_key(file_id) {
            return false;
        }
        self.put.contains(file_id)
            || self
                .missing_one_in
                .is_some_and(|share| !spread(file_id).is_multiple_of(share))
    }
}

/// A number that depends on the ID alone, evenly spread (FNV-1a, then mixed).
pub(super) fn spread(file_id: &str) -> u64 {
    let hash = file_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 17
}
