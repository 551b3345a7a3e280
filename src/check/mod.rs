//! The check: asks ImageKit which IDs exist, by reads alone, and writes down what it says of each.
//!
//! Records come in, a row for each distinct ID leaves in the order of the input, and [`Totals`] at the end. The
//! rows are valid input for the run: `type` keeps versions and folders from being sent, `url` is what is purged.

mod sheet;

use std::cell::Cell;
use std::fmt::Display;
use std::pin::pin;
use std::rc::Rc;

use futures::{Stream, StreamExt};

pub use sheet::Sheet;

use crate::api::Api;
use crate::client::FileInfo;
use crate::id_set::IdSet;
use crate::job::{Backlog, Group, groups};
use crate::lookup::{Known, Lookup, LookupError};
use crate::report::Admission;
use crate::stop::Reason;
use crate::target::{Record, Target};

/// How many versions, folders and unclear IDs are named; the others are counted.
const MAX_NAMED: usize = 5;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Distinct IDs that were asked for.
    pub asked: u64,
    /// Those that exist.
    pub there: u64,
    /// Those that could not be checked.
    pub unclear: u64,
    /// Records that are never sent.
    pub invalid: u64,
    /// Records whose ID stood in an earlier one.
    pub duplicates: u64,
    /// Bytes of those that exist.
    pub bytes: u64,
    /// When the oldest was made, ISO 8601.
    pub oldest: Option<String>,
    /// Versions and folders among them: a version's ID belongs to the live file.
    pub not_files: u64,
    /// The first of what a person should look at, in words.
    pub named: Vec<String>,
}

impl Totals {
    fn add(&mut self, target: &Target, known: &Known) {
        self.asked += 1;
        match known {
            Known::There(file) => self.add_file(target, file),
            Known::Missing => {}
            Known::Unclear(why) => {
                self.unclear += 1;
                self.name(target, &format!("could not be checked: {why}"));
            }
        }
    }

    fn add_file(&mut self, target: &Target, file: &FileInfo) {
        self.there += 1;
        self.bytes = self.bytes.saturating_add(file.size.unwrap_or_default());
        if let Some(made) = &file.created_at
            && self.oldest.as_ref().is_none_or(|oldest| made < oldest)
        {
            self.oldest = Some(made.clone());
        }
        if !file.is_file() {
            self.not_files += 1;
            let kind = file.kind.as_deref().unwrap_or_default();
            self.name(target, &format!("is a {kind}, not a file"));
        }
    }

    fn name(&mut self, target: &Target, what: &str) {
        if self.named.len() < MAX_NAMED {
            let (id, origin) = (&target.file_id, &target.origin);
            self.named.push(format!(
                "{id} ({} line {}) {what}",
                origin.input, origin.line
            ));
        }
    }
}

/// Checks all records, up to `concurrency` groups of IDs at once, until they end or the stop of `api` is tripped.
///
/// `each` hears of the totals so far, for those who look at them. A row that cannot be written trips the stop as
/// [`Reason::ReportBroken`], a key that may not read as [`Reason::KeyRefused`].
pub async fn run<E: Display>(
    records: impl Stream<Item = Result<Vec<Record>, E>> + Unpin,
    api: &Rc<Api>,
    concurrency: usize,
    sheet: &mut Sheet,
    mut each: impl FnMut(&Totals),
) -> Totals {
    let (lookup, stop) = (Lookup::new(Rc::clone(api)), api.stop());
    let (invalid, duplicates) = (Cell::new(0), Cell::new(0));
    let mut seen = IdSet::default();
    let admit = |record| match record {
        Record::Target(target) if seen.insert(target.file_id.as_str()) => Admission::Send(target),
        Record::Target(_) => pass_over(&duplicates),
        Record::Rejected(_) => pass_over(&invalid),
    };
    let backlog = Backlog::default();
    let groups = groups(records, admit, Lookup::group_size, stop, &backlog);
    let found = groups
        .map(|group| look_up(group, &lookup))
        .buffered(concurrency);
    let mut found = pin!(found);
    let mut totals = Totals::default();
    while let Some(found) = found.next().await {
        match found {
            Ok(rows) => {
                if let Err(error) = sheet.write(&rows) {
                    stop.trip(Reason::ReportBroken(error.to_string()));
                    break;
                }
                for (target, known) in &rows {
                    totals.add(target, known);
                }
                totals.invalid = invalid.get();
                totals.duplicates = duplicates.get();
                each(&totals);
            }
            Err(LookupError::KeyRefused(words)) => stop.trip(Reason::KeyRefused(words)),
            Err(LookupError::Stopped) => {}
        }
    }
    totals.invalid = invalid.get();
    totals.duplicates = duplicates.get();
    totals
}

fn pass_over(records: &Cell<u64>) -> Admission {
    records.update(|count| count + 1);
    Admission::Settled
}

async fn look_up(group: Group, lookup: &Lookup) -> Result<Vec<(Target, Known)>, LookupError> {
    let file_ids: Vec<_> = group.targets.iter().map(|target| &target.file_id).collect();
    let known = lookup.find(&file_ids).await?;
    Ok(group.targets.into_iter().zip(known).collect())
}
