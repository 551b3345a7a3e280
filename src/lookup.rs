//! The look-up: what ImageKit knows of IDs, by reads alone.
//!
//! IDs come in, a [`Known`] for each leaves, in their order. A search finds most of a hundred at once; the details
//! call is the arbiter for what it does not return, because a search may lag behind.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use futures::StreamExt;
use futures::stream;

use crate::api::class::summary;
use crate::api::{Api, Unanswered};
use crate::client::{Client, FileInfo, Response};
use crate::target::FileId;
use crate::throttle::Endpoint;

/// IDs a search. How long a query may be is not documented; a hundred IDs make some 3 kB.
const MAX_IDS: usize = 100;

/// Bytes of IDs a search, where they are longer than ImageKit's.
const MAX_BYTES: usize = 2600;

/// Details asked for at once, as far as the throttle lets them.
const DETAILS_AT_ONCE: usize = 16;

/// What is known of an ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is there.
    There(Box<FileInfo>),
    /// It is not there.
    Missing,
    /// Nobody could tell: why, for people.
    Unclear(String),
}

/// Why a look-up ends without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupError {
    /// The run was stopped.
    Stopped,
    /// The key may not read: in ImageKit's words.
    KeyRefused(String),
}

/// Looks IDs up.
#[derive(Debug)]
pub struct Lookup {
    api: Rc<Api>,
    /// The host searches by ID, as far as is known.
    is_searchable: Cell<bool>,
    /// Of a search without a response.
    has_warned: Cell<bool>,
}

impl Lookup {
    /// Asks over `api`.
    pub fn new(api: Rc<Api>) -> Self {
        Self {
            api,
            is_searchable: Cell::new(true),
            has_warned: Cell::new(false),
        }
    }

    /// How many IDs are best looked up together.
    pub const fn group_size() -> usize {
        MAX_IDS
    }

    /// What is known of each ID, in the order of the IDs.
    pub async fn find(&self, file_ids: &[&FileId]) -> Result<Vec<Known>, LookupError> {
        let mut found = HashMap::new();
        for group in searches(file_ids) {
            self.search(&group, &mut found).await?;
        }
        stream::iter(file_ids)
            .map(|file_id| {
                let known = found.remove(file_id.as_str());
                async {
                    match known {
                        Some(file) => Ok(Known::There(Box::new(file))),
                        None => self.ask_details(file_id).await,
                    }
                }
            })
            .buffered(DETAILS_AT_ONCE)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }

    async fn search(
        &self,
        file_ids: &[&FileId],
        found: &mut HashMap<String, FileInfo>,
    ) -> Result<(), LookupError> {
        let send = async |client: &Client| client.find(file_ids).await;
        let is_wanted = || self.is_searchable.get();
        let asked = self.api.ask(Endpoint::List, is_wanted, |_| false, send);
        match asked.await {
            Ok(response) => match response.files().filter(|_| response.status < 300) {
                Some(files) => take_in(found, files),
                None => self.give_up_searching(&response),
            },
            Err(Unanswered::GivenUp(why)) => {
                if !self.has_warned.replace(true) {
                    tracing::warn!("a search got no response; looking up each file ({why})");
                }
            }
            Err(Unanswered::Unwanted) => {}
            Err(Unanswered::Stopped) => return Err(LookupError::Stopped),
            Err(Unanswered::KeyRefused(words)) => return Err(LookupError::KeyRefused(words)),
        }
        Ok(())
    }

    fn give_up_searching(&self, response: &Response) {
        self.is_searchable.set(false);
        let (status, why) = (response.status, response.message().unwrap_or("no message"));
        tracing::warn!(
            "this host does not search by ID; looking up each file (status {status}: {why})"
        );
    }

    async fn ask_details(&self, file_id: &FileId) -> Result<Known, LookupError> {
        let send = async |client: &Client| client.details(file_id).await;
        let asked = self.api.ask(Endpoint::Details, || true, |_| false, send);
        match asked.await {
            Ok(response) if response.status == 404 => Ok(Known::Missing),
            Ok(response) => Ok(match response.file().filter(|_| response.status < 300) {
                Some(file) if file.file_id == file_id.as_str() => Known::There(Box::new(file)),
                Some(_) => Known::Unclear("ImageKit answered with another file".into()),
                None => Known::Unclear(summary(&response)),
            }),
            Err(Unanswered::GivenUp(why)) => Ok(Known::Unclear(why)),
            Err(Unanswered::Stopped | Unanswered::Unwanted) => Err(LookupError::Stopped),
            Err(Unanswered::KeyRefused(words)) => Err(LookupError::KeyRefused(words)),
        }
    }
}

/// Groups of IDs that fit a query each; what cannot be searched for is in none.
fn searches<'a>(file_ids: &[&'a FileId]) -> Vec<Vec<&'a FileId>> {
    let mut groups: Vec<Vec<&FileId>> = Vec::new();
    let mut bytes = 0;
    for file_id in file_ids.iter().filter(|id| Client::is_searchable(id)) {
        bytes += file_id.as_str().len();
        match groups.last_mut() {
            Some(group) if group.len() < MAX_IDS && bytes <= MAX_BYTES => group.push(file_id),
            _ => {
                bytes = file_id.as_str().len();
                groups.push(vec![file_id]);
            }
        }
    }
    groups
}

/// A search may return a file's versions too, which carry the file's own ID: the file itself counts. `[spec]`
fn take_in(found: &mut HashMap<String, FileInfo>, files: Vec<FileInfo>) {
    for file in files {
        match found.get(&file.file_id) {
            Some(known) if known.is_file() || !file.is_file() => {}
            _ => drop(found.insert(file.file_id.clone(), file)),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> Vec<FileId> {
        texts
            .iter()
            .map(|text| FileId::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn a_search_holds_a_hundred_ids_or_less_where_they_are_long() {
        let normal: Vec<String> = (0..250).map(|n| format!("{n:024x}")).collect();
        let normal = ids(&normal.iter().map(String::as_str).collect::<Vec<_>>());
        let sizes = |ids: &[FileId]| -> Vec<usize> {
            searches(&ids.iter().collect::<Vec<_>>())
                .iter()
                .map(Vec::len)
                .collect()
        };
        assert_eq!(sizes(&normal), [100, 100, 50]);
        let long = "x".repeat(256);
        assert_eq!(sizes(&ids(&[long.as_str(); 25])), [10, 10, 5]);
        assert_eq!(sizes(&ids(&["a", "b\"", "c\\d", "e"])), [2]);
    }

    #[test]
    fn the_file_itself_counts_before_its_versions() {
        let info = |kind: &str| FileInfo {
            file_id: "a".into(),
            kind: Some(kind.into()),
            ..FileInfo::default()
        };
        for order in [["file-version", "file"], ["file", "file-version"]] {
            let mut found = HashMap::new();
            take_in(&mut found, order.map(info).into());
            assert_eq!(found["a"].kind.as_deref(), Some("file"), "{order:?}");
        }
    }
}
