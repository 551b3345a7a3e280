//! The answer to `GET /v1/files`: which files, and in which order.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::field::folder;
use super::file::File;
use super::ledger::Ledger;
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
    pub(super) fn parse(query: &HashMap<String, String>) -> Result<Self, String> {
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
                Search::parse(text, Timestamp::now())
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
        })
    }

    /// The rows of the answer.
    pub(super) fn find(&self, ledger: &Ledger) -> Vec<Value> {
        let is_wanted = |file: &File| {
            self.kinds.is_none_or(|kinds| kinds.contains(&file.kind))
                && self
                    .folder
                    .as_ref()
                    .is_none_or(|folder| file.folder == *folder)
        };
        // The library is in the order of upload already.
        let is_in_order = matches!(self.by, By::Created) && !self.is_descending;
        let count = if is_in_order {
            self.skip.saturating_add(self.limit)
        } else {
            usize::MAX
        };
        let mut files = ledger.search(&self.search, is_wanted, count);
        match self.by {
            By::Created => files.sort_by_key(|file| file.created_at),
            By::Name => files.sort_by(|one, other| one.name.cmp(&other.name)),
            By::Size => files.sort_by_key(|file| file.size),
            By::Nothing => {}
        }
        if self.is_descending {
            files.reverse();
        }
        let page = files.iter().skip(self.skip).take(self.limit);
        page.map(|file| file.json()).collect()
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
