//! Lists of IDs that must never be deleted: read as any input is, each with a header of its own.

use thiserror::Error;

use super::{Input, Options, SourceError, Sources};
use crate::target::{FileId, Record};

/// Why a list of exceptions cannot be used. Nothing is deleted then: a guard that lets everything pass is none.
#[derive(Debug, Error)]
#[error("--except: {0}")]
pub struct ExceptError(String);

impl From<SourceError> for ExceptError {
    fn from(error: SourceError) -> Self {
        Self(match error {
            SourceError::Broken {
                input,
                line,
                source,
            } => format!("{input} line {line}: {source}; correct the list, nothing was sent"),
            SourceError::Column { input, .. } => format!(
                "{input} has several columns and none is named fileId, file_id, id or _id; rename the one of the IDs, or give one ID per line"
            ),
            other => other.to_string(),
        })
    }
}

/// Lists of exceptions that were read.
#[derive(Debug, Default)]
pub struct ExceptLists {
    lists: Vec<Sources>,
    notices: Vec<String>,
}

impl ExceptLists {
    /// Reads all lists and hands each ID to `protect`; a row that is a version or a folder protects its ID too.
    pub fn load(inputs: &[Input], mut protect: impl FnMut(&str)) -> Result<Self, ExceptError> {
        let mut loaded = Self::default();
        for input in inputs {
            let mut list = Sources::open(std::slice::from_ref(input), &Options::default())?;
            list.spool()?;
            let (mut ids, mut odd, mut unusable) = (0_u64, 0_u64, 0_u64);
            for record in list.records() {
                match id_of(&record?) {
                    Some(id) => {
                        ids += 1;
                        odd += u64::from(!id.looks_like_imagekit());
                        protect(id.as_str());
                    }
                    None => unusable += 1,
                }
            }
            if ids == 0 {
                let list = list.names();
                return Err(ExceptError(format!(
                    "{list} holds no ID and would protect nothing; leave the option out if nothing is to be kept"
                )));
            }
            loaded.note(&list, ids, [odd, unusable]);
            loaded.lists.push(list);
        }
        Ok(loaded)
    }

    fn note(&mut self, list: &Sources, ids: u64, [odd, unusable]: [u64; 2]) {
        let notices = list.notices().iter();
        self.notices
            .extend(notices.map(|notice| format!("--except: {notice}")));
        let mut notice = format!("--except: {} protects {ids} IDs", list.names());
        for (count, what) in [
            (odd, "of them do not look like ImageKit's"),
            (unusable, "other records cannot be IDs"),
        ] {
            if count > 0 {
                notice = format!("{notice}; {count} {what}");
            }
        }
        self.notices.push(notice);
    }

    /// What a person should know of how the lists were read.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The names of lists none of whose IDs is in the input. They are read once more, as far as it takes; one that
    /// cannot be read any more is not accused.
    pub fn unnamed(&mut self, is_in_input: impl Fn(&str) -> bool) -> Vec<String> {
        let mut unnamed = Vec::new();
        for list in &mut self.lists {
            let is_named = list.records().any(|record| {
                record.map_or(true, |record| {
                    id_of(&record).is_some_and(|id| is_in_input(id.as_str()))
                })
            });
            if !is_named {
                unnamed.push(list.names());
            }
        }
        unnamed
    }
}

fn id_of(record: &Record) -> Option<FileId> {
    FileId::parse(record.file_id()).ok()
}
