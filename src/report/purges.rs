//! Purges that earlier runs left to be done, and URLs that only their rows still know.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{Placed, Reader};
use crate::outcome::{Outcome, Purge, Status};

/// Bytes that hold most rows.
const ONE_ROW: usize = 1024;

/// What the rows of earlier runs tell of purges; empty unless this run purges.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// One more than may be done is enough to know that it is too many.
    most: usize,
    /// Rows of files that are gone and whose purge is due: where they begin.
    places: HashMap<Box<str>, u64>,
    /// URLs of IDs that are not settled; a file that is gone by now has no other.
    urls: HashMap<Box<str>, Box<str>>,
}

impl Tracker {
    pub(super) fn new(max_purges: Option<u64>) -> Self {
        let most = max_purges.map_or(0, |most| most.saturating_add(1));
        Self {
            most: most.try_into().unwrap_or(usize::MAX),
            ..Self::default()
        }
    }

    /// Takes in a row; the last one of an ID counts.
    pub(super) fn load(&mut self, placed: &Placed<'_>) {
        let (row, status) = (placed.row, placed.row.status());
        if self.most == 0 || !status.is_own() {
            return;
        }
        let file_id = row.file_id();
        self.places.remove(file_id);
        self.urls.remove(file_id);
        let Some(url) = row.url() else { return };
        match status {
            Status::Deleted | Status::Gone
                if !row.purge().is_some_and(Purge::is_settled) && self.places.len() < self.most =>
            {
                self.places.insert(file_id.into(), placed.begin);
            }
            Status::Failed | Status::Unknown => self.keep_url(file_id, url),
            _ => {}
        }
    }

    pub(super) fn keep_url(&mut self, file_id: &str, url: &str) {
        if self.urls.len() < self.most {
            self.urls.insert(file_id.into(), url.into());
        }
    }

    pub(super) fn finish(self, path: &Path) -> (PendingPurges, HashMap<Box<str>, Box<str>>) {
        let mut places: Vec<u64> = self.places.into_values().collect();
        places.sort_unstable();
        let due = PendingPurges {
            path: path.into(),
            places: places.into_iter(),
        };
        (due, self.urls)
    }
}

/// Rows whose purge is due, read one by one when their time comes.
#[derive(Debug, Default)]
pub struct PendingPurges {
    path: PathBuf,
    places: std::vec::IntoIter<u64>,
}

impl PendingPurges {
    /// How many are left.
    pub fn left(&self) -> usize {
        self.places.len()
    }
}

impl Iterator for PendingPurges {
    type Item = io::Result<Outcome>;

    fn next(&mut self) -> Option<io::Result<Outcome>> {
        let begin = self.places.next()?;
        let read = || {
            let mut reader = Reader::at(File::open(&self.path)?, begin, ONE_ROW)?;
            let row = reader.next()?.and_then(|placed| placed.row.outcome());
            row.ok_or_else(|| io::Error::other("an earlier row can no longer be read"))
        };
        Some(read())
    }
}
