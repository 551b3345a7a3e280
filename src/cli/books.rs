//! The books of a run: the report, what earlier runs left, and what was admitted.

use std::sync::Arc;

use imagekit_bulk_delete::job::Step;
use imagekit_bulk_delete::outcome::Outcome;
use imagekit_bulk_delete::report::{Admission, AppendError, Opened};
use imagekit_bulk_delete::stop::{Reason, Stop};
use imagekit_bulk_delete::target::{Record, Target};

use crate::progress::{Passed, Progress};

/// The report, what earlier runs left, and what was admitted.
pub(crate) struct Books<'a> {
    pub(crate) opened: Opened,
    progress: &'a Progress,
    /// Ends the run where the input has IDs that were not counted before it; `None` if nothing was counted.
    counted: Option<Stop>,
    /// Records so far.
    pub(crate) passed: Arc<Passed>,
    /// IDs to be sent that do not look like ImageKit's.
    pub(crate) odd_ids: u64,
}

impl<'a> Books<'a> {
    /// Books in which nothing was admitted yet.
    pub(crate) fn new(opened: Opened, progress: &'a Progress, counted: Option<Stop>) -> Self {
        Self {
            opened,
            progress,
            counted,
            passed: Arc::default(),
            odd_ids: 0,
        }
    }

    /// What becomes of a record before anything is sent.
    pub(crate) fn admit(&mut self, record: Record) -> Admission {
        let admission = match record {
            Record::Target(target) => {
                self.watch_for_uncounted(&target);
                self.watch_for_odd_ids(&target);
                self.opened.index.admit(target)
            }
            Record::Rejected(rejected) => self.opened.index.admit_rejected(rejected),
        };
        self.passed.add();
        if matches!(admission, Admission::Settled) {
            self.passed.add_settled();
        }
        admission
    }

    /// Writes the rows of a step; the kernel has them when this returns.
    pub(crate) fn record(&mut self, step: Step, outcomes: &[Outcome]) -> Result<(), AppendError> {
        let Opened { report, index, .. } = &mut self.opened;
        match step {
            Step::Decided => report.append(outcomes, index),
            Step::Purged => outcomes
                .iter()
                .try_for_each(|outcome| report.amend(outcome, index))
                .map_err(|source| AppendError { rows: 0, source }),
        }
    }

    /// What was counted and agreed to is all that is sent: a list that grew meanwhile is another list.
    fn watch_for_uncounted(&self, target: &Target) {
        if let Some(stop) = &self.counted
            && !self.opened.index.was_counted(target.file_id.as_str())
        {
            let origin = &target.origin;
            stop.trip(Reason::InputBroken(format!(
                "{} line {} was not there when the records were counted; look at the list, and go on with --resume",
                origin.input, origin.line
            )));
        }
    }

    /// Warns of the first; the summary has the count.
    fn watch_for_odd_ids(&mut self, target: &Target) {
        if target.file_id.looks_like_imagekit() {
            return;
        }
        if self.odd_ids == 0 {
            let (id, origin) = (&target.file_id, &target.origin);
            self.progress.notice(&format!(
                "warning: {:?} ({} line {}) does not look like an ID of ImageKit's (24 lower-case hex digits); it is sent as it is",
                id.as_str(), origin.input, origin.line
            ));
        }
        self.odd_ids += 1;
    }
}
