//! Purges that earlier runs left to be done, and URLs that only their rows still know.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{Row, Rows};
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
        let most = max_purges.map_or(0, |most| {
            usize::try_from(most)
                .unwrap_or(usize::MAX)
                .saturating_add(1)
        });
        Self {
            most,
            ..Self::default()
        }
    }

    /// Takes in a row; the last one of an ID counts.
    pub(super) fn load(&mut self, row: &Row<'_>) {
        if self.most == 0 || !row.status.is_own() {
            return;
        }
        self.places.remove(row.file_id);
        self.urls.remove(row.file_id);
        let Some(url) = row.url().filter(|url| !url.is_empty()) else {
            return;
        };
        match row.status {
            Status::Deleted | Status::Gone
                if !row.purge.is_some_and(Purge::is_settled) && self.places.len() < self.most =>
            {
                self.places.insert(row.file_id.into(), row.begin);
            }
            Status::Failed | Status::Unknown => self.keep_url(row.file_id, url),
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
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for PendingPurges {
    type Item = io::Result<Outcome>;

    fn next(&mut self) -> Option<io::Result<Outcome>> {
        let begin = self.places.next()?;
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        match Rows::from(file, begin, ONE_ROW) {
            Ok(mut rows) => rows.next(),
            Err(error) => Some(Err(error)),
        }
    }
}
