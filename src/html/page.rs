//! The view that the template fills in: what is said first, and in which words.

use std::cmp::Reverse;

use askama::Template;
use jiff::Timestamp;

use super::chart::{self, Chart, Size, Span};
use super::durations::DurationBin;
use super::figures::{Figures, Kind, MANY_ATTEMPTS};
use super::ink::Ink;
use super::reasons::Group;
use super::timeline::Bin;
use super::words::{Number, Time, duration, number, share, time, width};
use super::{PageError, RunFacts};
use crate::human::{grouped, seconds};
use crate::outcome::{Purge, Status};
use crate::throttle::Pause;

/// Statuses that a person must look at, the gravest first.
const UNSETTLED: [Status; 3] = [Status::Failed, Status::Unknown, Status::Invalid];
const ABSENT: [Status; 2] = [Status::NotFound, Status::Gone];

#[derive(Template)]
#[template(path = "page.html", config = "src/html/askama.toml")]
struct View<'a> {
    name: &'a str,
    made: Time,
    version: &'static str,
    figures: &'a Figures,
    run: Option<&'a RunFacts>,
    /// `None` if nothing was sent.
    charts: Option<Charts>,
}

/// Each drawn for a wide page and for a narrow one.
struct Charts {
    over_time: [(&'static str, Chart); 2],
    latency: Option<Chart>,
}

/// A line of a table of counts.
struct Line {
    name: String,
    class: &'static str,
    count: u64,
    share: String,
    meaning: &'static str,
}

/// Fills the page in.
pub(super) fn render(
    name: &str,
    figures: &Figures,
    run: Option<&RunFacts>,
) -> Result<String, PageError> {
    let view = View {
        name,
        made: Time(Timestamp::now()),
        version: env!("CARGO_PKG_VERSION"),
        figures,
        run,
        charts: Charts::draw(figures, run).map_err(PageError::Chart)?,
    };
    // The template engine cuts the last line's end.
    Ok(view.render()? + "\n")
}

impl Charts {
    fn draw(figures: &Figures, run: Option<&RunFacts>) -> Result<Option<Self>, String> {
        let Some(span) = time_span(figures, run) else {
            return Ok(None);
        };
        let pauses = run.map_or(&[][..], |run| &run.pauses);
        let over_time = |size| chart::over_time(size, span, &figures.over_time, pauses);
        let bins = figures.durations.bins();
        let latency = || chart::latency(Size(420, 230), &bins);
        Ok(Some(Self {
            over_time: [
                ("wide", over_time(Size(880, 250))?),
                ("narrow", over_time(Size(400, 230))?),
            ],
            latency: (!bins.is_empty()).then(latency).transpose()?,
        }))
    }
}

/// What the time axis must show; `None` if nothing was decided by asking.
fn time_span(figures: &Figures, run: Option<&RunFacts>) -> Option<Span> {
    let mut bins = figures.over_time.bins();
    let first = bins.next()?;
    let last = bins.last().unwrap_or(first);
    let mut span = Span {
        begin: first.begin,
        end: last.begin + figures.over_time.width(),
    };
    if let Some(run) = run {
        span.begin = span.begin.min(run.began.as_millisecond());
        span.end = span.end.max(run.ended.as_millisecond());
    }
    Some(span)
}

impl View<'_> {
    fn records(&self) -> Number {
        Number(self.figures.records())
    }

    /// Records that a person must look at.
    fn to_look_at(&self) -> u64 {
        self.figures.sum(&UNSETTLED) + self.figures.purges_due()
    }

    /// Why the run ended early.
    fn stopped(&self) -> Option<&str> {
        self.run?.stopped.as_deref()
    }

    fn pauses(&self) -> &[Pause] {
        self.run.map_or(&[], |run| &run.pauses)
    }

    /// How the first line is coloured.
    fn tone(&self) -> &'static str {
        match self.stopped() {
            None if self.to_look_at() == 0 => "good",
            _ => "bad",
        }
    }

    fn statuses(&self) -> Vec<Line> {
        let line = |status: Status| Line {
            name: status.as_str().into(),
            class: class(status),
            count: self.figures.count(status),
            share: share(self.figures.count(status), self.figures.records()),
            meaning: meaning(status),
        };
        Status::ALL.into_iter().map(line).collect()
    }

    /// What the first sentence tells, and the bar under it is made of.
    fn parts(&self) -> Vec<Line> {
        let whole = self.figures.records();
        let part = |(name, statuses): (&str, &[Status])| Line {
            name: name.into(),
            class: class(statuses[0]),
            count: self.figures.sum(statuses),
            share: share(self.figures.sum(statuses), whole),
            meaning: "",
        };
        let parts: [(&str, &[Status]); 6] = [
            ("deleted", &[Status::Deleted]),
            ("not there", &ABSENT),
            ("failed or unknown", &[Status::Failed, Status::Unknown]),
            ("invalid and not sent", &[Status::Invalid]),
            ("duplicates", &[Status::Duplicate]),
            ("excluded", &[Status::Excluded]),
        ];
        let parts = parts.into_iter().map(part);
        parts.filter(|part| part.count > 0).collect()
    }

    fn purges(&self) -> Vec<Line> {
        let whole = self.figures.purges.iter().sum();
        let line = |purge: Purge| {
            let count = self.figures.purges[purge as usize];
            Line {
                name: purge.as_str().into(),
                class: match purge {
                    Purge::Requested => "deleted",
                    Purge::NoUrl => "absent",
                    Purge::Failed | Purge::OverLimit => "unsettled",
                },
                count,
                share: share(count, whole),
                meaning: purge_meaning(purge),
            }
        };
        let lines = Purge::ALL.into_iter().map(line);
        lines.filter(|_| whole > 0).collect()
    }

    fn attempts(&self) -> Vec<Line> {
        let whole = self.figures.durations.total();
        let line = |(attempts, count): (usize, &u64)| Line {
            name: match attempts {
                MANY_ATTEMPTS => format!("{attempts} or more"),
                _ => attempts.to_string(),
            },
            class: "deleted",
            count: *count,
            share: share(*count, whole),
            meaning: "",
        };
        let lines = self.figures.attempts.iter().enumerate().map(line);
        lines.filter(|line| line.count > 0).collect()
    }

    fn latency(&self) -> Option<&Chart> {
        self.charts.as_ref()?.latency.as_ref()
    }

    fn unsettled(&self) -> Vec<&Group> {
        self.figures.reasons.of(&UNSETTLED)
    }

    /// What is said most often of them, if one thing is.
    fn main_reason(&self) -> Option<(&'static str, &str)> {
        let mut groups = self.unsettled();
        groups.sort_by_key(|group| Reverse(group.count));
        let how_often = match groups[..] {
            [_] => "Why",
            [first, second, ..] if first.count > second.count => "Most often",
            _ => return None,
        };
        let message = groups[0].message.as_str();
        (!message.is_empty()).then_some((how_often, message))
    }

    fn other_unsettled(&self) -> u64 {
        self.figures.reasons.others(&UNSETTLED)
    }

    fn absent(&self) -> Vec<&Group> {
        self.figures.reasons.of(&ABSENT)
    }

    fn is_mostly_absent(&self) -> bool {
        self.figures.count(Status::NotFound) * 2 > self.figures.records()
    }

    fn time_bins(&self) -> Vec<(String, Bin<{ Kind::ALL.len() }>)> {
        let format = match self.figures.over_time.width() {
            ..1_000 => "%Y-%m-%d %H:%M:%S%.1f",
            _ => "%Y-%m-%d %H:%M:%S",
        };
        let begin = |bin: &Bin<_>| Timestamp::from_millisecond(bin.begin).ok();
        let bins = self.figures.over_time.bins();
        bins.filter_map(|bin| Some((begin(&bin)?.strftime(format).to_string(), bin)))
            .collect()
    }

    fn duration_bins(&self) -> Vec<(String, DurationBin)> {
        let words = |milliseconds| duration(std::time::Duration::from_millis(milliseconds));
        let bins = self.figures.durations.bins().into_iter();
        bins.map(|bin| (format!("{} to {}", words(bin.begin), words(bin.end)), bin))
            .collect()
    }

    fn percentile(&self, percent: u64) -> String {
        duration(self.figures.durations.percentile(percent))
    }
}

const fn class(status: Status) -> &'static str {
    match status {
        Status::Deleted => "deleted",
        Status::NotFound | Status::Gone => "absent",
        Status::Failed | Status::Unknown => "unsettled",
        Status::Invalid | Status::Duplicate | Status::Excluded => "unsent",
    }
}

const fn meaning(status: Status) -> &'static str {
    match status {
        Status::Deleted => "ImageKit said that this job deleted it",
        Status::NotFound => "It was not there, and this job did not delete it",
        Status::Gone => "It is not there; whether this job deleted it cannot be known",
        Status::Failed => "As far as ImageKit says, it is still there",
        Status::Unknown => "It may have been deleted or not",
        Status::Invalid => "It cannot be a file’s ID; nothing was sent",
        Status::Duplicate => "The ID stood in an earlier record, which tells",
        Status::Excluded => "A list of --except protects it; nothing was sent",
    }
}

const fn purge_meaning(purge: Purge) -> &'static str {
    match purge {
        Purge::Requested => "ImageKit took the request",
        Purge::Failed => "It was refused, or got no clear answer",
        Purge::NoUrl => "The file’s URL is not known",
        Purge::OverLimit => "The account’s purges are used up",
    }
}
