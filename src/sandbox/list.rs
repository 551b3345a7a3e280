//! The answer to `GET /v1/files`: which files, in which order, and how a script spoils both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

use super::field::folder;
use super::file::File;
use super::ledger::{Ledger, spread};
use super::script::ListTrouble;
use super::search::Search;

/// The most that a list answers at once, and what it answers where no limit is given. `[spec]`
const MAX_LIMIT: usize = 1000;

/// A list as it was asked for.
#[derive(Debug)]
pub(super) struct Listing {
    search: Search,
    kinds: Option<&'static [&'static str]>,
    folder: Option<String>,
    by: By,
    is_descending: bool,
    skip: usize,
    limit: usize,
    trouble: Option<ListTrouble>,
}

#[derive(Debug, Clone, Copy)]
enum By {
    Created,
    Name,
    Size,
    /// Width, height and relevance are the same for all files here.
    Nothing,
}

impl Listing {
    /// Reads the parameters; the error is ImageKit's message.
    pub(super) fn parse(
        query: &HashMap<String, String>,
        trouble: Option<ListTrouble>,
    ) -> Result<Self, String> {
        let given = |name: &str| query.get(name).map(String::as_str);
        let invalid = |name: &str| format!("Your request contains invalid {name} parameter.");
        let number = |name: &str, default: usize| match given(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| invalid(name)),
        };
        let limit = number("limit", MAX_LIMIT)?;
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(invalid("limit"));
        }
        let search = match given("searchQuery").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(
                Search::parse(&unless_ignored(text, trouble), Timestamp::now())
                    .map_err(|why| format!("Invalid search query - {why}"))?,
            ),
        };
        // With a searchQuery, type has no effect. [spec]
        let kinds: Option<&[&str]> = match (&search, given("type").unwrap_or("file")) {
            (Some(_), _) => None,
            (None, "all") => Some(&["file", "folder"]),
            (None, "file") => Some(&["file"]),
            (None, "folder") => Some(&["folder"]),
            (None, "file-version") => Some(&["file-version"]),
            (None, _) => return Err(invalid("type")),
        };
        let (by, is_descending) =
            order(given("sort").unwrap_or("ASC_CREATED")).ok_or_else(|| invalid("sort"))?;
        Ok(Self {
            search: search.unwrap_or(Search::All(Vec::new())),
            kinds,
            folder: given("path").map(folder),
            by,
            is_descending,
            skip: number("skip", 0)?,
            limit,
            trouble,
        })
    }

    /// The rows of the answer.
    pub(super) fn find(&self, ledger: &Ledger, unlisted: &HashSet<String>) -> Vec<Value> {
        let is_wanted = |file: &File| {
            self.kinds.is_none_or(|kinds| kinds.contains(&file.kind))
                && self
                    .folder
                    .as_ref()
                    .is_none_or(|folder| file.folder == *folder)
                && !unlisted.contains(&file.id)
        };
        // The library is in the order of upload already.
        let is_in_order = matches!(self.by, By::Created) && !self.is_descending;
        let count = match self.trouble {
            None if is_in_order => self.skip.saturating_add(self.limit),
            _ => usize::MAX,
        };
        let mut files = ledger.search(&self.search, is_wanted, count);
        self.sort(&mut files);
        let skip = match self.trouble {
            Some(ListTrouble::IgnoresSkip) => 0,
            _ => self.skip,
        };
        let page: Vec<Arc<File>> = files.into_iter().skip(skip).take(self.limit).collect();
        let rows = page.iter().map(|file| file.json(&self.time(file)));
        if self.trouble == Some(ListTrouble::RepeatsRows) {
            return rows
                .flat_map(|row| [row.clone(), row])
                .take(self.limit)
                .collect();
        }
        rows.collect()
    }

    fn sort(&self, files: &mut [Arc<File>]) {
        match (self.trouble, self.by) {
            (Some(ListTrouble::IgnoresSort), _) => files.sort_by_key(|file| spread(&file.id)),
            (_, By::Created) => files.sort_by_key(|file| file.created_at),
            (_, By::Name) => files.sort_by(|one, other| one.name.cmp(&other.name)),
            (_, By::Size) => files.sort_by_key(|file| file.size),
            (_, By::Nothing) => {}
        }
        let is_turned = self.trouble == Some(ListTrouble::Descending);
        if self.is_descending || is_turned {
            files.reverse();
        }
    }

    fn time(&self, file: &File) -> Value {
        match self.trouble {
            Some(ListTrouble::NoTimes) if spread(&file.id).is_multiple_of(10) => Value::Null,
            Some(ListTrouble::OtherTimeZone) => {
                let there = Offset::constant(-9).to_datetime(file.created_at);
                json!(format!("{there:.3}-09:00"))
            }
            _ => json!(format!("{:.3}", file.created_at)),
        }
    }
}

/// The query without what a script has the server pass over.
fn unless_ignored(query: &str, trouble: Option<ListTrouble>) -> String {
    match trouble {
        Some(ListTrouble::IgnoresTime) => query.replace("createdAt >= \"20", "createdAt >= \"10"),
        Some(ListTrouble::IgnoresType) => query.replace("type = \"file\"", "size >= 0"),
        _ => query.to_owned(),
    }
}

/// What files are sorted by, and whether the last comes first.
fn order(text: &str) -> Option<(By, bool)> {
    let (direction, field) = text.split_once('_')?;
    let by = match field {
        "CREATED" | "UPDATED" => By::Created,
        "NAME" => By::Name,
        "SIZE" => By::Size,
        "WIDTH" | "HEIGHT" | "RELEVANCE" => By::Nothing,
        _ => return None,
    };
    match direction {
        "ASC" => Some((by, false)),
        "DESC" => Some((by, true)),
        _ => None,
    }
}
