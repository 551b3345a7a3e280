//! The view that the template fills in: what is said first, and in which words.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::chart::Chart;
use super::figures::{Figures, MAX_SHOWN, class};
use super::format::{Number, Time, number, share, time};
use super::{EndedRun, PageError};
use crate::human::{grouped, seconds, without_markup};
use crate::outcome::{ErrorCode, Outcome, Purge, Status};
use crate::summary::FailureGroup;

/// Statuses that a person must look at, the gravest first.
const TROUBLE: [Status; 3] = [Status::Unknown, Status::Failed, Status::Invalid];
const ABSENT: [Status; 2] = [Status::Gone, Status::NotFound];

/// Rows that need a look are unfolded up to this many.
const MAX_UNFOLDED: usize = 20;

/// Sorts and searches the rows; the page's policy names it by its hash.
const SCRIPT: &str = include_str!("page.js");

#[derive(Template)]
#[template(path = "page.html", config = "src/html/askama.toml")]
struct PageView<'a> {
    name: &'a str,
    made: Time,
    version: &'static str,
    script: &'static str,
    script_hash: String,
    figures: &'a Figures,
    run: Option<&'a EndedRun<'a>>,
    /// The report's state is still there, and the run that wrote it is not asking.
    has_state: bool,
    troubles: Vec<&'a Outcome>,
    /// `None` if nothing was sent.
    chart: Option<Chart>,
}

/// Fills the page in.
pub(super) fn render(
    name: &str,
    figures: &Figures,
    run: Option<&EndedRun<'_>>,
    has_state: bool,
) -> Result<String, PageError> {
    let view = PageView {
        name,
        made: Time(Timestamp::now()),
        version: env!("CARGO_PKG_VERSION"),
        script: SCRIPT,
        script_hash: STANDARD.encode(Sha256::digest(SCRIPT)),
        figures,
        run,
        has_state,
        troubles: figures.troubles(),
        chart: figures.over_time.chart(),
    };
    // The template engine cuts the last line's end.
    Ok(view.render()? + "\n")
}

impl PageView<'_> {
    fn records(&self) -> Number {
        Number(self.figures.records())
    }

    /// Why the run ended early.
    fn stopped(&self) -> Option<&str> {
        self.run?.stopped.as_deref()
    }

    /// How far a run came that ended early, as far as that is known.
    fn how_far(&self) -> Option<String> {
        let stats = self.run?.stats;
        let (in_doubt, records) = (grouped(stats.in_doubt()), grouped(stats.records()));
        match stats.not_begun().map(grouped) {
            Some(not_begun) => Some(format!(
                "Of {records} records, {in_doubt} are in doubt and {not_begun} were not begun."
            )),
            None if stats.in_doubt() == 0 => None,
            None => Some(format!("{in_doubt} more were sent and are in doubt.")),
        }
    }

    /// Whether nothing real was touched: a report without rows does not say it.
    fn is_rehearsal(&self) -> bool {
        self.figures.is_rehearsal || self.run.is_some_and(|run| run.stats.is_rehearsal())
    }

    /// How the first line is coloured.
    fn tone(&self) -> &'static str {
        match self.stopped() {
            None if self.figures.in_trouble() == 0 && !self.has_state => "good",
            _ => "bad",
        }
    }

    /// What the first sentence says, and the bar under it is made of: name, colour and count.
    fn parts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let parts: [(&str, &[Status]); 7] = [
            ("deleted", &[Status::Deleted]),
            ("not there", &ABSENT),
            ("unknown", &[Status::Unknown]),
            ("not deleted", &[Status::Failed]),
            ("invalid and not sent", &[Status::Invalid]),
            ("duplicates", &[Status::Duplicate]),
            ("excluded and not sent", &[Status::Excluded]),
        ];
        let part = |(name, statuses): (_, &[Status])| {
            (name, class(statuses[0]), self.figures.sum(statuses))
        };
        let parts = parts.map(part).into_iter();
        parts.filter(|(.., count)| *count > 0).collect()
    }

    /// Statuses with rows that a person must look at, and why, the gravest first.
    fn reasons(&self) -> Vec<(Status, Vec<&FailureGroup>)> {
        let found = |status: &Status| self.figures.count_of(*status) > 0;
        let statuses = TROUBLE.into_iter().filter(found);
        let reasons = |status| (status, self.figures.failures.groups(&[status]));
        statuses.map(reasons).collect()
    }

    /// Rows of a status whose reason found no place in a group.
    fn others(&self, status: Status) -> u64 {
        self.figures.failures.others(&[status])
    }

    fn absent(&self) -> Vec<&FailureGroup> {
        self.figures.failures.groups(&ABSENT)
    }

    fn is_mostly_absent(&self) -> bool {
        let sent = Status::ALL.into_iter().filter(|status| status.was_sent());
        let sent: u64 = sent.map(|status| self.figures.count_of(status)).sum();
        self.figures.count_of(Status::NotFound) * 2 > sent
    }

    /// Records that need a look and are not among the rows shown.
    fn not_shown(&self) -> u64 {
        self.figures.in_trouble() - self.troubles.len() as u64
    }

    /// What stands where a row's reason is looked for.
    fn message(row: &Outcome) -> String {
        match row.purge {
            Some(purge) if !purge.is_settled() => purge_meaning(purge).to_owned(),
            _ => shown(row.message.as_deref().unwrap_or_default(), row.error),
        }
    }
}

/// A message as it is shown: without markup, and in our words where there is none.
fn shown(message: &str, error: Option<ErrorCode>) -> String {
    match without_markup(message) {
        plain if plain.is_empty() => error.map_or("", reason).to_owned(),
        plain => plain,
    }
}

/// What can be done about rows of a status, where its meaning does not say so.
const fn remedy(status: Status) -> &'static str {
    match status {
        Status::Failed => "; --resume tries again",
        Status::Invalid => "; correct the list",
        _ => "",
    }
}

/// Why the rows of a group are not deleted, in words.
fn reason_of(group: &FailureGroup) -> &'static str {
    group.error.map_or("", reason)
}

/// An error code in words.
const fn reason(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::NotFound => "ImageKit does not have this file",
        ErrorCode::InvalidId => "This cannot be a file’s ID",
        ErrorCode::NotAFile => "This is a folder or a file version, not a file",
        ErrorCode::Rejected => "ImageKit refused the request",
        ErrorCode::ServerError => "ImageKit had an error of its own",
        ErrorCode::Timeout => "No answer came in time",
        ErrorCode::Connection => "The connection failed or broke",
        ErrorCode::BadResponse => "The answer could not be understood",
        ErrorCode::Duplicate => "The ID appeared in an earlier record",
        ErrorCode::Excluded => "An --except list protects it",
        ErrorCode::Interrupted => "The run ended before the answer came",
    }
}

const fn purge_class(purge: Purge) -> &'static str {
    match purge {
        Purge::Requested => "deleted",
        Purge::NoUrl => "absent",
        Purge::Failed | Purge::OverLimit => "unsettled",
    }
}

const fn purge_meaning(purge: Purge) -> &'static str {
    match purge {
        Purge::Requested => "ImageKit accepted the request",
        Purge::Failed => "refused, or no clear answer came; the CDN may still serve the file",
        Purge::NoUrl => "the file’s URL is not known",
        Purge::OverLimit => "the account’s purges are used up; the CDN may still serve the file",
    }
}
