//! The ledger: what the server really has, did and was asked. The truth in every test.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::file::{File, spread};
use super::search::Search;

/// Requests beyond this are only counted.
const MAX_LOGGED: usize = 200_000;

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
    /// Files that were put; `None` stands for the properties that follow from the ID.
    put: HashMap<String, Option<Arc<File>>>,
    /// What IDs are that are no files.
    kinds: HashMap<String, &'static str>,
    /// The files that were put, by the time of their upload; made by the first search.
    listing: Option<BTreeMap<(i64, String), Arc<File>>>,
    /// IDs from which churn draws; made by the first of it.
    alive: Vec<String>,
    deleted: HashMap<String, u32>,
    requests: Vec<Request>,
    request_count: u64,
    in_flight: usize,
    max_in_flight: usize,
    purged: Vec<String>,
}

impl Ledger {
    pub(super) fn new(missing_one_in: Option<u64>, kinds: HashMap<String, &'static str>) -> Self {
        Self(Mutex::new(Inner {
            missing_one_in,
            put: HashMap::new(),
            kinds,
            listing: None,
            alive: Vec::new(),
            deleted: HashMap::new(),
            requests: Vec::new(),
            request_count: 0,
            in_flight: 0,
            max_in_flight: 0,
            purged: Vec::new(),
        }))
    }

    /// Puts a file into the library.
    pub fn put(&self, file_id: impl Into<String>) {
        self.inner().put(file_id.into(), None);
    }

    /// Puts a file with these properties into the library.
    pub fn put_file(&self, file: File) {
        self.inner().put(file.id.clone(), Some(Arc::new(file)));
    }

    /// Puts many files into the library.
    pub fn put_all<Id: Into<String>>(&self, file_ids: impl IntoIterator<Item = Id>) {
        let mut inner = self.inner();
        for file_id in file_ids {
            inner.put(file_id.into(), None);
        }
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

    /// How many of the requests that it remembers were answered with a status; 0 stands for no whole answer.
    pub fn answered_with(&self, status: u16) -> u64 {
        let inner = self.inner();
        let answered = inner
            .requests
            .iter()
            .filter(|request| request.status == status);
        answered.count() as u64
    }

    /// The most requests that were there at once.
    pub fn max_in_flight(&self) -> usize {
        self.inner().max_in_flight
    }

    /// URLs that it was asked to purge.
    pub fn purged(&self) -> Vec<String> {
        self.inner().purged.clone()
    }

    /// The file of an ID, if it is there.
    pub(super) fn file(&self, file_id: &str) -> Option<Arc<File>> {
        let inner = self.inner();
        inner.exists(file_id).then(|| inner.file(file_id))
    }

    /// The first files, as many as asked for, that a search finds and that are wanted, by the time of their upload.
    pub(super) fn search(
        &self,
        search: &Search,
        is_wanted: impl Fn(&File) -> bool,
        count: usize,
    ) -> Vec<Arc<File>> {
        let mut inner = self.inner();
        if let Some(ids) = search.ids() {
            let there = ids.into_iter().filter(|id| inner.exists(id));
            return there
                .map(|id| inner.file(id))
                .filter(|file| search.matches(file) && is_wanted(file))
                .collect();
        }
        let created = search.created();
        if created.is_empty() {
            return Vec::new();
        }
        let (first, end) = (
            (*created.start(), String::new()),
            (created.end().saturating_add(1), String::new()),
        );
        let in_time = inner.listing().range(first..end).map(|(_, file)| file);
        in_time
            .filter(|file| search.matches(file) && is_wanted(file))
            .take(count)
            .cloned()
            .collect()
    }

    /// Deletes this many files at random, and uploads as many.
    pub(super) fn churn(&self, count: usize, random: &mut fastrand::Rng) {
        let mut inner = self.inner();
        if inner.alive.is_empty() {
            inner.alive = inner.put.keys().cloned().collect();
            inner.alive.sort_unstable();
        }
        for _ in 0..count.min(inner.alive.len()) {
            let gone = random.usize(..inner.alive.len());
            let id = format!("{:024x}", random.u128(..) >> 32);
            let gone = std::mem::replace(&mut inner.alive[gone], id.clone());
            inner.delete(&gone);
            let file = File {
                created_at: Timestamp::now(),
                ..File::of(&id)
            };
            inner.put(id, Some(Arc::new(file)));
        }
    }

    /// Deletes a file; false if it was not there.
    pub(super) fn delete(&self, file_id: &str) -> bool {
        self.inner().delete(file_id)
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
        if inner.requests.len() < MAX_LOGGED {
            inner.requests.push(request);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, file_id: String, file: Option<Arc<File>>) {
        self.put.insert(file_id.clone(), file);
        if self.listing.is_some() {
            let file = self.file(&file_id);
            let key = (file.created_at.as_millisecond(), file_id);
            self.listing.get_or_insert_default().insert(key, file);
        }
    }

    fn delete(&mut self, file_id: &str) -> bool {
        if !self.exists(file_id) {
            return false;
        }
        if self.listing.is_some() {
            let key = (
                self.file(file_id).created_at.as_millisecond(),
                file_id.to_owned(),
            );
            self.listing.get_or_insert_default().remove(&key);
        }
        self.put.remove(file_id);
        *self.deleted.entry(file_id.to_owned()).or_default() += 1;
        true
    }

    fn file(&self, file_id: &str) -> Arc<File> {
        if let Some(Some(file)) = self.put.get(file_id) {
            return Arc::clone(file);
        }
        let kind = self.kinds.get(file_id).copied().unwrap_or("file");
        Arc::new(File {
            kind,
            ..File::of(file_id)
        })
    }

    fn listing(&mut self) -> &BTreeMap<(i64, String), Arc<File>> {
        if self.listing.is_none() {
            let files = self.put.keys().map(|id| {
                let file = self.file(id);
                ((file.created_at.as_millisecond(), id.clone()), file)
            });
            self.listing = Some(files.collect());
        }
        self.listing.get_or_insert_default()
    }

    fn exists(&self, file_id: &str) -> bool {
        if self.deleted.contains_key(file_id) {
            return false;
        }
        self.put.contains_key(file_id)
            || self
                .missing_one_in
                .is_some_and(|share| !spread(file_id).is_multiple_of(share))
    }
}
