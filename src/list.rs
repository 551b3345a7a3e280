//! The list: every file that a search finds, once, however the library changes meanwhile.
//!
//! A query comes in, rows for a [`Sheet`] leave. Paging by `skip` would lose files whenever others are deleted, so the
//! time of upload is the cursor: each page begins at the second in which the last one ended. Only where a single
//! second fills a page is that second walked by name, with pages that overlap, so that a gap shows. What ImageKit
//! promises of a list is checked, and a list that breaks it is an error rather than a short list. A short page is the
//! last one only if nothing new stands behind it.

use std::collections::HashSet;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use thiserror::Error;

use crate::api::class::summary;
use crate::api::{Api, Unanswered};
use crate::check::Sheet;
use crate::client::{Client, FileInfo, ListPage, Response, Sort};
use crate::id_set::IdSet;
use crate::report::ReportError;
use crate::stop::Reason;
use crate::throttle::Endpoint;

/// Rows by which the pages of one second overlap: as many files may be deleted between two of them unnoticed.
const MAX_OVERLAP: usize = 100;

/// Full pages of one second that bring nothing new, before the list is given up.
const MAX_IDLE_PAGES: u32 = 16;

/// More files behind a short page than this share of the longest one show that pages are not filled.
const MIN_SHARE: usize = 10;

/// How often fewer files behind a short page are asked for.
const MAX_CHASES: u32 = 3;

/// How often one second is walked, before the list is given up.
const MAX_WALKS: u32 = 8;

/// A search query, in ImageKit's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(String);

/// Why a text cannot be a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QueryError {
    /// An unset variable in a script would list the whole library, and perhaps delete it.
    #[error("the query is empty; to list the whole library, say so: --list 'type = \"file\"'")]
    Empty,
    /// Between the parentheses that are put around it, it would mean something else.
    #[error("the query's parentheses or quotes do not match; check what the shell made of it")]
    Unbalanced,
}

/// Why a list is not complete.
#[derive(Debug, Error)]
pub enum ListError {
    /// The run was stopped; the stop says why.
    #[error("the list was stopped")]
    Stopped,
    /// ImageKit refuses the query.
    #[error(
        "ImageKit refuses the query: {0}; see the searchQuery language in ImageKit's documentation"
    )]
    Refused(String),
    /// An answer is not what ImageKit promises: going on could lose files.
    #[error("the list cannot be completed: {0}")]
    Broken(String),
    /// The rows cannot be written.
    #[error(transparent)]
    Sheet(#[from] ReportError),
}

/// What was found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was uploaded.
    pub oldest: Option<Timestamp>,
    /// When the newest was.
    pub newest: Option<Timestamp>,
    /// Versions and folders that came although only files were asked for; they are left out.
    pub left_out: u64,
}

impl Query {
    /// Checks a query as far as ImageKit could not.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.trim().is_empty() {
            return Err(QueryError::Empty);
        }
        let (mut depth, mut quote) = (0_u32, None);
        for character in text.chars() {
            match (quote, character) {
                (None, '"' | '\'') => quote = Some(character),
                (Some(open), _) if open == character => quote = None,
                (None, '(') => depth += 1,
                (None, ')') => depth = depth.checked_sub(1).ok_or(QueryError::Unbalanced)?,
                _ => {}
            }
        }
        if depth > 0 || quote.is_some() {
            return Err(QueryError::Unbalanced);
        }
        Ok(Self(text.trim().to_owned()))
    }

    /// Its files, uploaded in this second or later.
    fn since(&self, second: Option<i64>) -> String {
        let files = format!("({}) AND type = \"file\"", self.0);
        match second {
            None => files,
            Some(second) => format!("{files} AND createdAt >= \"{}\"", time(second)),
        }
    }

    /// Its files, uploaded in this second.
    fn within(&self, second: i64) -> String {
        let end = time(second + 1);
        format!("{} AND createdAt < \"{end}\"", self.since(Some(second)))
    }
}

/// A second since 1970 as a query takes it: UTC, without a zone. `[docs]`
fn time(second: i64) -> String {
    let at = Timestamp::from_second(second).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// Lists all files that the query finds; `each` hears of what was found so far, after each page.
///
/// It ends early only if the line's stop is tripped, by a limit on time, say: one failing page is asked for again for
/// as long as that.
pub async fn run(
    query: &Query,
    api: &Rc<Api>,
    sheet: &mut Sheet,
    each: impl FnMut(&Listed),
) -> Result<Listed, ListError> {
    let mut lister = Lister {
        query,
        api,
        sheet,
        each,
        listed: IdSet::default(),
        started: Timestamp::now(),
        full: ListPage::MAX_LIMIT,
        longest: 0,
        chases: 0,
        found: Listed::default(),
    };
    lister.list().await?;
    Ok(lister.found)
}

struct Lister<'a, E> {
    query: &'a Query,
    api: &'a Rc<Api>,
    sheet: &'a mut Sheet,
    each: E,
    /// IDs that have a row: a file whose time of upload changes comes again.
    listed: IdSet,
    started: Timestamp,
    /// Rows of a page that more may follow.
    full: usize,
    /// The most rows that a page had.
    longest: usize,
    /// How often a few files stood behind a short page.
    chases: u32,
    found: Listed,
}

/// A row of a page.
struct Row {
    file: FileInfo,
    created_at: Timestamp,
}

impl Row {
    fn second(&self) -> i64 {
        self.created_at.as_millisecond().div_euclid(1000)
    }
}

impl<E: FnMut(&Listed)> Lister<'_, E> {
    async fn list(&mut self) -> Result<(), ListError> {
        let mut since = None;
        loop {
            let page = ListPage {
                search: &self.query.since(since),
                sort: Sort::Created,
                skip: 0,
            };
            let rows = self.page(&page).await?;
            check_order(&rows, since)?;
            self.take(&rows)?;
            let is_last = self.is_last(&page, rows.len(), None).await?;
            let (false, Some(first), Some(last)) = (is_last, rows.first(), rows.last()) else {
                return Ok(());
            };
            since = Some(if first.second() == last.second() {
                self.list_second(last.second()).await?;
                last.second() + 1
            } else {
                last.second()
            });
        }
    }

    /// Whether nothing new stands behind a page of so many rows, but what was uploaded since the list began. That it is
    /// short is not enough: nobody says that pages are filled, and a server may give fewer rows than it was asked for.
    /// `[inferred]`
    async fn is_last(
        &mut self,
        page: &ListPage<'_>,
        rows: usize,
        walked: Option<&HashSet<String>>,
    ) -> Result<bool, ListError> {
        self.longest = self.longest.max(rows);
        if rows == 0 || rows >= self.full {
            return Ok(rows == 0);
        }
        let behind = ListPage {
            skip: page.skip + rows,
            ..*page
        };
        let behind = self.page(&behind).await?;
        let is_owed = |row: &&Row| {
            let id = &row.file.file_id;
            let is_known = match walked {
                Some(walked) => walked.contains(id),
                None => self.listed.get(id).is_some(),
            };
            !is_known && row.file.is_file() && row.created_at < self.started
        };
        let owed = behind.iter().filter(is_owed).count();
        if owed == 0 {
            return Ok(true);
        }
        if owed * MIN_SHARE >= self.longest {
            self.full = rows;
            return Ok(false);
        }
        // A few are the last ones of such a server, or were uploaded meanwhile by another clock, which may never end.
        self.chases += 1;
        if self.chases == MAX_CHASES + 1 {
            tracing::warn!(
                "files were still appearing behind the last page; list again to include them"
            );
        }
        Ok(self.chases > MAX_CHASES)
    }

    /// Rows by which the pages of one second overlap.
    fn overlap(&self) -> usize {
        MAX_OVERLAP.min(self.full / 2)
    }

    /// Lists a second that fills pages by itself.
    async fn list_second(&mut self, second: i64) -> Result<(), ListError> {
        for _ in 0..MAX_WALKS {
            if self.walk(second).await? {
                return Ok(());
            }
        }
        let at = time(second);
        Err(ListError::Broken(format!(
            "the files uploaded at {at} come in another order each time"
        )))
    }

    /// Walks one second by name; whether as many files were seen as there are.
    async fn walk(&mut self, second: i64) -> Result<bool, ListError> {
        let query = self.query.within(second);
        let (mut walked, mut skip, mut idle_pages) = (HashSet::new(), 0, 0);
        loop {
            let page = ListPage {
                search: &query,
                sort: Sort::Name,
                skip,
            };
            let rows = self.page(&page).await?;
            if let Some(row) = rows.iter().find(|row| row.second() != second) {
                return Err(out_of_order(row, second));
            }
            self.take(&rows)?;
            if rows.is_empty() && self.overlap() == 0 {
                return Ok(walked.len() >= skip);
            }
            let is_gap = |row: &Row| !walked.contains(&row.file.file_id);
            if skip > 0 && self.overlap() > 0 && rows.first().is_none_or(is_gap) {
                // More files were deleted than pages overlap: what moved up is behind.
                skip = skip.saturating_sub(self.full - self.overlap());
                continue;
            }
            let ids: HashSet<&str> = rows.iter().map(|row| &*row.file.file_id).collect();
            let (there, known) = (skip + ids.len(), walked.len());
            walked.extend(ids.into_iter().map(str::to_owned));
            if self.is_last(&page, rows.len(), Some(&walked)).await? {
                return Ok(walked.len() >= there);
            }
            idle_pages = if walked.len() == known {
                idle_pages + 1
            } else {
                0
            };
            if idle_pages >= MAX_IDLE_PAGES {
                let at = time(second);
                return Err(ListError::Broken(format!(
                    "the pages of files uploaded at {at} repeat themselves"
                )));
            }
            skip = there.saturating_sub(self.overlap());
        }
    }

    /// One page, asked for until there is one.
    async fn page(&self, page: &ListPage<'_>) -> Result<Vec<Row>, ListError> {
        loop {
            let send = async |client: &Client| client.list(page).await;
            match self.api.ask(Endpoint::List, || true, |_| false, send).await {
                Ok(response) => return rows(&response),
                Err(Unanswered::GivenUp(why)) => {
                    tracing::warn!("a page of the list got no response; asking again ({why})");
                }
                Err(Unanswered::Stopped | Unanswered::Unwanted) => return Err(ListError::Stopped),
                Err(Unanswered::KeyRefused(words)) => {
                    self.api.stop().trip(Reason::KeyRefused(words));
                    return Err(ListError::Stopped);
                }
            }
        }
    }

    /// Writes the rows that are new.
    fn take(&mut self, rows: &[Row]) -> Result<(), ListError> {
        let mut files = Vec::new();
        for row in rows {
            if !row.file.is_file() {
                // A version carries its file's ID, which may yet come.
                self.found.left_out += 1;
            } else if self.listed.insert(&row.file.file_id) {
                self.found.add(row);
                files.push(&row.file);
            }
        }
        self.sheet.write_files(&files)?;
        (self.each)(&self.found);
        Ok(())
    }
}

impl Listed {
    fn add(&mut self, row: &Row) {
        let at = row.created_at;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(row.file.size.unwrap_or_default());
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
    }
}

fn rows(response: &Response) -> Result<Vec<Row>, ListError> {
    if response.status >= 300 {
        return Err(ListError::Refused(summary(response)));
    }
    let files = response.files_of_list();
    let files =
        files.ok_or_else(|| ListError::Broken("a response is not a list of files".into()))?;
    files.into_iter().map(row).collect()
}

fn row(file: FileInfo) -> Result<Row, ListError> {
    let text = file.created_at.as_deref();
    let Some(created_at) = text.and_then(timestamp) else {
        return Err(ListError::Broken(format!(
            "the file {} has no createdAt that can be read ({})",
            file.file_id,
            text.unwrap_or("none")
        )));
    };
    Ok(Row { file, created_at })
}

/// A time in any zone; without one it is UTC.
fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let at: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(at).ok()
    })
}

/// Nothing is older than what was asked for or came before, to the second: that is as fine as a query can ask.
fn check_order(rows: &[Row], since: Option<i64>) -> Result<(), ListError> {
    let mut latest = since.unwrap_or(i64::MIN);
    for row in rows {
        if row.second() < latest {
            return Err(out_of_order(row, latest));
        }
        latest = row.second();
    }
    Ok(())
}

fn out_of_order(row: &Row, expected: i64) -> ListError {
    let (id, at) = (&row.file.file_id, time(row.second()));
    ListError::Broken(format!(
        "it is not sorted by createdAt as asked for: {id} of {at} came where files of {} belong",
        time(expected)
    ))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_wrapped_only_if_it_means_the_same_inside() {
        let query = Query::parse(" name : \"a(\" OR (size > 1) ").unwrap();
        assert_eq!(
            query.since(None),
            "(name : \"a(\" OR (size > 1)) AND type = \"file\""
        );
        assert_eq!(
            query.within(1_700_000_000),
            "(name : \"a(\" OR (size > 1)) AND type = \"file\" AND createdAt >= \"2023-11-14T22:13:20\" \
             AND createdAt < \"2023-11-14T22:13:21\""
        );
        for empty in ["", "  \n"] {
            assert_eq!(Query::parse(empty), Err(QueryError::Empty));
        }
        for unbalanced in [
            "size > 1) OR (size > 0",
            "(size > 1",
            "name : \"a",
            "a)",
            "name : 'a\"",
        ] {
            assert_eq!(Query::parse(unbalanced), Err(QueryError::Unbalanced));
        }
    }

    #[test]
    fn times_of_any_zone_are_the_same_moment() {
        let expected = timestamp("2024-06-15T12:00:00.250Z").unwrap();
        for text in [
            "2024-06-15T14:00:00.250+02:00",
            "2024-06-15T12:00:00.250",
            "2024-06-15 12:00:00.250Z",
            "2024-06-15T03:00:00.250-09:00",
            "2024-06-15T14:00:00.25+0200",
            "2024-06-15t12:00:00.25z",
        ] {
            assert_eq!(timestamp(text), Some(expected), "{text}");
        }
        assert_eq!(timestamp("yesterday"), None);
    }
}
