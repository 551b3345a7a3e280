//! The exit code: decided here and nowhere else (contract: Exit codes).

use anyhow::Error;
use imagekit_bulk_delete::job::{Ending, RunStats};
use imagekit_bulk_delete::list::ListError;
use imagekit_bulk_delete::report::OpenError;
use imagekit_bulk_delete::source::SourceError;
use imagekit_bulk_delete::stop::Reason;

use super::atomic_file::OutputLost;

/// Every record is settled.
pub(crate) const SETTLED: u8 = 0;
/// The run completed; some records are failed, unknown or invalid, or a purge failed.
pub(crate) const TROUBLE: u8 = 1;
/// Usage or set-up error, or declined: nothing was deleted.
pub(crate) const USAGE: u8 = 2;
const REFUSED_OR_STRANGER: u8 = 3;
const LIMIT_REACHED: u8 = 4;
const REPORT_BROKEN: u8 = 5;
const INPUT_BROKEN: u8 = 6;
/// Another run holds the report; `EX_TEMPFAIL` of sysexits.h.
pub(crate) const LOCKED: u8 = 75;

/// The code of a run that began.
pub(crate) fn of_run(ending: &Ending, stats: &RunStats) -> u8 {
    match ending {
        Ending::Stopped(reason) => of_reason(reason),
        Ending::Completed if stats.trouble() + stats.unsettled_purges() > 0 => TROUBLE,
        Ending::Completed => SETTLED,
        Ending::Refused(_) => USAGE,
    }
}

/// The code of a run that ended early.
pub(crate) fn of_reason(reason: &Reason) -> u8 {
    match reason {
        Reason::ReportBroken(_) => REPORT_BROKEN,
        Reason::KeyRefused(_) | Reason::NotImageKit(_) => REFUSED_OR_STRANGER,
        Reason::Unreachable(_) => USAGE,
        Reason::InputBroken(_) => INPUT_BROKEN,
        // Ctrl-\ has no code of its own in the contract: it interrupts, too.
        Reason::Signal(3) => 130,
        Reason::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
        Reason::LimitReached(_) => LIMIT_REACHED,
    }
}

/// The code of an error before anything was deleted.
pub(crate) fn of_error(error: &Error) -> u8 {
    let report = error.downcast_ref::<OpenError>();
    let source = error.downcast_ref::<SourceError>();
    let list = error.downcast_ref::<ListError>();
    if report.is_some_and(OpenError::is_locked) {
        LOCKED
    } else if source.is_some_and(SourceError::is_break) {
        INPUT_BROKEN
    } else if matches!(list, Some(ListError::Broken(_))) {
        REFUSED_OR_STRANGER
    } else if matches!(list, Some(ListError::Sheet(_))) || error.is::<OutputLost>() {
        REPORT_BROKEN
    } else {
        USAGE
    }
}

/// The code of a run that lost an output. One that deleted nothing is still refused for its own reason.
pub(crate) fn with_lost_output(code: u8) -> u8 {
    if code == USAGE { USAGE } else { REPORT_BROKEN }
}

/// An error and its causes, as far as it does not name them itself.
pub(crate) fn describe(error: &Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}
