//! The end of a run: the report made whole, what happened told, the exit code said.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use imagekit_bulk_delete::report::Ending;
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::summary::{Summary, Tally, grouped};
use imagekit_bulk_delete::throttle::SeenLimit;

use super::books::Books;
use super::resume_command::resume_command;
use crate::progress::{Progress, Sight};

/// Makes the report whole, tells what happened, and says the exit code.
pub(crate) fn close(
    progress: &Progress,
    books: Books<'_>,
    stop: &Stop,
    sight: &Sight,
    elapsed: Duration,
) -> Result<u8> {
    let Books {
        opened,
        records,
        odd_ids,
        ..
    } = books;
    let mut past = opened.past;
    let report_name = opened.report.name().to_owned();
    let resume_command = opened.report.is_resumable().then(resume_command);
    let mut stopped = stop.reason();
    if let Some(Reason::Unreachable(_)) = stopped {
        opened.report.discard()?;
        return Err(anyhow!(
            "{}",
            stopped.map(|reason| reason.to_string()).unwrap_or_default()
        ));
    }
    let ending = match &stopped {
        None => Ending::Completed { records },
        Some(Reason::KeyRefused(_)) => Ending::KeyRefused,
        Some(Reason::ReportBroken(_)) => Ending::Broken,
        Some(_) => Ending::Stopped,
    };
    let finished = opened.report.finish(&mut past, ending);
    let purges = finished
        .as_ref()
        .map(|finished| finished.purges)
        .unwrap_or_default();
    let (tally, kept_rows) = match finished {
        Ok(finished) if stopped.is_none() => {
            (Arc::new(Tally::of(finished.counts)), finished.kept_rows)
        }
        Ok(_) => (Arc::clone(&sight.tally), 0),
        Err(error) => {
            let broken = Reason::ReportBroken(error.to_string());
            stopped = Some(stopped.map_or(broken.clone(), |reason| reason.min(broken)));
            (Arc::clone(&sight.tally), 0)
        }
    };
    let limits = sight
        .throttle
        .seen_limits()
        .iter()
        .map(limit_in_words)
        .collect();
    let summary = Summary {
        tally: &tally,
        stopped,
        records,
        kept_rows,
        purges,
        odd_ids,
        requests: sight.traffic.requests(),
        retries: sight.traffic.retries(),
        throttled: sight.throttle.throttled_count(),
        paused: sight.throttle.paused(),
        elapsed,
        limits,
        report: &report_name,
        resume_command,
    };
    progress.summary(&summary.text());
    Ok(summary.exit_code())
}

fn limit_in_words(seen: &SeenLimit) -> String {
    let SeenLimit {
        endpoint,
        limit,
        interval,
    } = seen;
    let per = match interval.as_millis() {
        1000 => "s".into(),
        60_000 => "min".into(),
        3_600_000 => "h".into(),
        milliseconds if milliseconds % 1000 == 0 => format!("{} s", milliseconds / 1000),
        milliseconds => format!("{milliseconds} ms"),
    };
    format!("{}/{per} ({})", grouped(*limit), endpoint.as_str())
}
