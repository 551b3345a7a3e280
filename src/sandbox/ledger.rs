//! The ledger: what the server really has, did and was asked. The truth in every test.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::file::{File, spread};
use super::search::{Search, Value};

/// Requests beyond this are only counted.
const MAX_LOGGED: usize = 200_000;

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
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

#[derive(Debug, Default)]
struct Inner {
    /// Every ID exists but one in this many; `None` if only those exist that were put.
    missing_one_in: Option<u64>,
    /// Files that were put; `None` stands for the properties that follow from the ID.
    put: HashMap<String, Option<Arc<File>>>,
    /// The files that were put, by the time of their upload; made by the first search.
    listing: Option<BTreeMap<(i64, String), Arc<File>>>,
    deleted: HashSet<String>,
    requests: Vec<LoggedRequest>,
    request_count: u64,
    purged: Vec<String>,
}

impl Ledger {
    pub(super) fn new(missing_one_in: Option<u64>) -> Self {
        Self(Mutex::new(Inner {
            missing_one_in,
            ..Inner::default()
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
        self.inner().deleted.contains(file_id)
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
    pub fn requests(&self) -> Vec<LoggedRequest> {
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

    /// URLs that it was asked to purge.
    pub fn purged(&self) -> Vec<String> {
        self.inner().purged.clone()
    }

    /// The file of an ID, if it is there.
    pub(super) fn file(&self, file_id: &str) -> Option<Arc<File>> {
        let inner = self.inner();
        inner.exists(file_id).then(|| inner.file(file_id))
    }

    /// The first files, as many as asked for, that a search finds, by the time of their upload.
    pub(super) fn search(&self, search: &Search, count: usize) -> Vec<Arc<File>> {
        let mut inner = self.inner();
        if let Some(ids) = search.ids() {
            let ids = ids.iter().filter_map(Value::text);
            let there = ids.filter(|id| inner.exists(id)).map(|id| inner.file(id));
            return there.filter(|file| search.matches(file)).collect();
        }
        let since = search.since().saturating_mul(1000);
        let files = inner.listing().range((since, String::new())..);
        let found = files.map(|(_, file)| file);
        let found = found.filter(|file| search.matches(file));
        found.take(count).cloned().collect()
    }

    /// Deletes a file; false if it was not there.
    pub fn delete(&self, file_id: &str) -> bool {
        self.inner().delete(file_id)
    }

    pub(super) fn purge(&self, url: &str) -> usize {
        let mut inner = self.inner();
        inner.purged.push(url.to_owned());
        inner.purged.len()
    }

    /// Counts a request, and gives its number, from 1.
    pub(super) fn count_request(&self) -> u64 {
        let mut inner = self.inner();
        inner.request_count += 1;
        inner.request_count
    }

    pub(super) fn log(&self, request: LoggedRequest) {
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
            let uploaded = self.file(file_id).created_at.as_millisecond();
            let key = (uploaded, file_id.to_owned());
            self.listing.get_or_insert_default().remove(&key);
        }
        self.put.remove(file_id);
        self.deleted.insert(file_id.to_owned())
    }

    fn file(&self, file_id: &str) -> Arc<File> {
        if let Some(Some(file)) = self.put.get(file_id) {
            return Arc::clone(file);
        }
        Arc::new(File::of(file_id))
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
        if self.deleted.contains(file_id) {
            return false;
        }
        self.put.contains_key(file_id)
            || self
                .missing_one_in
                .is_some_and(|share| !spread(file_id).is_multiple_of(share))
    }
}
