//! The job: from records to recorded outcomes, with n groups in flight.
//!
//! Records come in from `source`, are admitted (duplicates and settled IDs drop out here), grouped, and handed to
//! `deleter`; each decision becomes a row before anything else is done with it. If a row cannot be written the run
//! stops: no deletion without a record. [`RunStats`] is the one account of all that.

mod grouping;
mod limits;
mod stats;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use std::task::Poll;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use tokio::select;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::Api;
use crate::deleter::{Decided, Decisions, Deleter};
use crate::id_set::Slot;
use crate::journal::Intent;
use crate::outcome::Outcome;
use crate::purge::PurgeCache;
use crate::report::{
    Admission, AppendError, Opened, PendingPurges, Report, ReportError, ReportFile, ResumeIndex,
};
use crate::source::ExceptLists;
use crate::stop::{Reason, Stop};
use crate::target::{ID_FORMAT, Record, Rejected, Target};

pub(crate) use grouping::{Backlog, Group, groups};
use grouping::{MAX_BACKLOG, Spares};
pub use limits::{Limits, Threshold};
pub use stats::{RunKind, RunStats, Total};

/// Rows survive a power cut to within this time.
const FLUSH_EACH: Duration = Duration::from_secs(1);

/// How a job is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The most IDs per request; 1 uses the single-file endpoint throughout.
    pub batch_size: usize,
    /// The most requests in flight.
    pub concurrency: usize,
    /// What ends it early.
    pub limits: Limits,
    /// Whether the input was counted before.
    pub input: InputCount,
}

/// Whether an input was counted before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputCount {
    /// It was, and what was not there then is not sent.
    Counted,
    /// It was not.
    Uncounted,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every record was read and decided.
    Completed,
    /// It ended early.
    Stopped(Reason),
    /// It never began: nothing was deleted, and no report is left.
    Refused(String),
}

impl Ending {
    /// Why it ended early; `None` if it completed.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Completed => None,
            Self::Stopped(reason) => Some(reason.to_string()),
            Self::Refused(reason) => Some(reason.clone()),
        }
    }
}

/// One run over one report.
#[derive(Debug)]
pub struct Job {
    settings: Settings,
    api: Rc<Api>,
    stop: Stop,
    deleter: Deleter,
    /// `None` where nothing is purged.
    cache: Option<PurgeCache>,
    report: RefCell<Report>,
    index: RefCell<ResumeIndex>,
    /// Purges that earlier runs left.
    pending_purges: PendingPurges,
    file: Option<Arc<ReportFile>>,
    stats: Rc<RunStats>,
    /// A row could not be written: none is any more.
    is_broken: Cell<bool>,
    /// An ID came that is to be sent.
    has_to_send: Cell<bool>,
    /// What stands in the state in place of rows: those that could not be written, and those of IDs in doubt.
    held: RefCell<Vec<Rc<Intent>>>,
}

impl Job {
    /// A job over an opened report, which begins now in `stats`.
    pub fn new(opened: Opened, api: Rc<Api>, settings: Settings, stats: Rc<RunStats>) -> Self {
        let Opened {
            report,
            index,
            pending_purges,
            ..
        } = opened;
        stats.begin(index.settled(), pending_purges.left() as u64);
        let purge = || PurgeCache::new(Rc::clone(&api));
        Self {
            settings,
            stop: api.stop().clone(),
            deleter: Deleter::new(Rc::clone(&api), report.journal(), settings.batch_size),
            cache: report.is_purging().then(purge),
            file: report.file(),
            api,
            report: report.into(),
            index: index.into(),
            pending_purges,
            stats,
            is_broken: Cell::new(false),
            has_to_send: Cell::new(false),
            held: RefCell::default(),
        }
    }

    /// Runs until the records end or the stop is tripped, and nothing is in flight.
    pub async fn run<E: Display>(
        &mut self,
        records: impl Stream<Item = Result<Vec<Record>, E>> + Unpin,
    ) {
        let mut pending = std::mem::take(&mut self.pending_purges);
        let job = &*self;
        let throttle = job.api.throttle();
        select! {
            biased;
            () = job.work(records, &mut pending) => {}
            never = job.settings.limits.watch_time(&throttle, &job.stop) => match never {},
            never = job.keep_flushed() => match never {},
        }
    }

    async fn work<E: Display>(
        &self,
        records: impl Stream<Item = Result<Vec<Record>, E>> + Unpin,
        pending: &mut impl Iterator<Item = io::Result<Outcome>>,
    ) {
        let (backlog, decisions) = (Backlog::default(), Decisions::default());
        let groups = pin!(self.groups(records, &backlog));
        let (groups, spares) = (Mutex::new(groups), Spares::default());
        // Loops rather than a future for each group, which would be made and thrown away for each.
        let delete = async |groups_left: usize| {
            for _ in 0..groups_left {
                let Some(group) = next_of(&groups).await else {
                    spares.are_over.set(true);
                    break;
                };
                self.delete(group, &decisions).await;
            }
            if groups_left == 1 {
                spares.underway.update(|spares| spares - 1);
            }
        };
        let loops = (0..self.settings.concurrency).map(|_| delete(usize::MAX));
        let mut deleting: FuturesUnordered<_> = loops.collect();
        let mut purges = Purges::new();
        loop {
            self.begin_pending(pending, &mut purges);
            backlog.set(purges.len());
            let backoff_began = self.api.backoff_began();
            while spares.is_due(self.api.backing_off()) {
                spares.underway.update(|spares| spares + 1);
                deleting.push(delete(1));
            }
            select! {
                biased;
                Some(outcome) = purges.next(), if !purges.is_empty() => self.record_purged(outcome),
                made = next_decisions(&mut deleting, &decisions), if !deleting.is_empty() => {
                    self.record_decided(made, &mut purges);
                }
                () = backoff_began, if !deleting.is_empty() => {}
                else => break,
            }
        }
    }

    /// Records as groups that may be sent.
    fn groups<'a, E: Display>(
        &'a self,
        records: impl Stream<Item = Result<Vec<Record>, E>> + Unpin,
        backlog: &'a Backlog,
    ) -> impl Stream<Item = Group> {
        let with_slots = |records: Vec<Record>| {
            let slots = self.index.borrow().prefetch(&records);
            records.into_iter().zip(slots)
        };
        let records = records.map(move |records| records.map(with_slots));
        let admit = |(record, slot)| self.admit(record, slot);
        let size = || self.deleter.group_size();
        groups(records, admit, size, &self.stop, backlog).fuse()
    }

    /// What becomes of a record before anything is sent.
    fn admit(&self, record: Record, slot: Slot) -> Admission {
        let admission = match record {
            Record::Target(target) => {
                self.watch_for_uncounted(&target, slot);
                self.index.borrow_mut().admit(target, slot)
            }
            Record::Rejected(rejected) => self.index.borrow_mut().admit_rejected(rejected),
        };
        self.stats.add_admitted();
        match &admission {
            Admission::Send(target) => {
                self.watch_for_odd_ids(target);
                // What earlier runs settled counts, too: a limit that was hit stays so, or each resume would delete some
                // more.
                if !self.has_to_send.replace(true) {
                    self.settings.limits.check(&self.stats, &self.stop);
                }
            }
            Admission::Settled => self.stats.add_skipped(),
            Admission::Decided(_) => {}
        }
        admission
    }

    /// What was counted and agreed to is all that is sent: a list that grew meanwhile is another list.
    fn watch_for_uncounted(&self, target: &Target, slot: Slot) {
        if self.settings.input == InputCount::Counted && !self.index.borrow().was_counted(slot) {
            let origin = &target.origin;
            self.stop.trip(Reason::InputBroken(format!(
                "{} line {} was not there when the records were counted; look at the list, then continue with --resume",
                origin.input, origin.line
            )));
        }
    }

    /// Warns of the first; the summary has the count.
    fn watch_for_odd_ids(&self, target: &Target) {
        let (id, origin) = (&target.file_id, &target.origin);
        if !id.looks_like_imagekit() && self.stats.add_odd_id() {
            tracing::warn!(
                "{:?} ({} line {}) does not look like an ImageKit ID ({ID_FORMAT}); it is sent as it is",
                id.as_str(),
                origin.input,
                origin.line
            );
        }
    }

    /// Settles one group. Once a file is gone nobody can tell its URL: where it is to be purged it is looked up before.
    async fn delete(&self, group: Group, decisions: &Decisions) {
        let Group { mut targets, rows } = group;
        decisions.borrow_mut().outcomes.extend(rows);
        if let Some(cache) = self.cache.as_ref().filter(|_| !targets.is_empty()) {
            let (files, rejected) = cache.find_urls(targets).await;
            targets = files;
            let rows = rejected.into_iter();
            let rows = rows.filter_map(|rejected| self.reject(rejected));
            decisions.borrow_mut().outcomes.extend(rows);
        }
        if !targets.is_empty() {
            self.deleter.settle(targets, decisions).await;
        }
    }

    /// The row of a record that turned out not to be of a file; `None` if it stands already.
    fn reject(&self, rejected: Rejected) -> Option<Outcome> {
        match self.index.borrow_mut().admit_rejected(rejected) {
            Admission::Decided(outcome) => Some(*outcome),
            Admission::Send(_) | Admission::Settled => {
                self.stats.add_skipped();
                None
            }
        }
    }

    /// Records what was decided, and begins the purges that follow from it.
    fn record_decided<'a>(&'a self, decided: Decided, purges: &mut Purges<'a>) {
        let Decided {
            mut outcomes,
            intents,
            in_doubt,
        } = decided;
        self.held.borrow_mut().extend(in_doubt);
        if let Some(cache) = &self.cache {
            for outcome in &mut outcomes {
                cache.decide_unasked(outcome);
            }
        }
        let rows = self.written(outcomes.len(), |report, index| {
            report.append(&outcomes, index)
        });
        self.stats.add_decided(&outcomes[..rows]);
        if rows < outcomes.len() {
            let lost = outcomes[rows..].iter();
            let lost = lost.filter(|outcome| outcome.attempts > 0).count();
            self.stats.add_in_doubt(lost as u64);
            self.held.borrow_mut().extend(intents);
            return;
        }
        if rows > 0 {
            self.settings.limits.check(&self.stats, &self.stop);
        }
        if let Some(cache) = &self.cache {
            outcomes.retain(|outcome| outcome.purge.is_none() && outcome.is_purge_due());
            self.stats.add_purges_due(outcomes.len());
            let begun = outcomes.into_iter();
            purges.extend(begun.map(|outcome| cache.purge(outcome).boxed_local()));
        }
    }

    /// Records what became of a purge; `None` is one that a stop left.
    fn record_purged(&self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        let amend = |report: &mut Report, index: &mut ResumeIndex| {
            let amended = report.amend(&outcome, index);
            amended.map_err(|source| AppendError { rows: 0, source })
        };
        if self.written(1, amend) == 1 {
            self.stats.add_purged(&[outcome]);
        }
    }

    /// How many of `rows` stand. The first write that fails stops the run, and nothing is written after it.
    fn written(
        &self,
        rows: usize,
        write: impl FnOnce(&mut Report, &mut ResumeIndex) -> Result<(), AppendError>,
    ) -> usize {
        if self.is_broken.get() {
            return 0;
        }
        match write(&mut self.report.borrow_mut(), &mut self.index.borrow_mut()) {
            Ok(()) => rows,
            Err(error) => {
                self.is_broken.set(true);
                self.stop
                    .trip(Reason::ReportBroken(error.source.to_string()));
                error.rows
            }
        }
    }

    /// Begins purges that earlier runs left, as far as there is room for more.
    fn begin_pending<'a>(
        &'a self,
        pending: &mut impl Iterator<Item = io::Result<Outcome>>,
        purges: &mut Purges<'a>,
    ) {
        let Some(cache) = &self.cache else { return };
        while purges.len() < MAX_BACKLOG && !self.stop.is_tripped() {
            match pending.next() {
                None => return,
                Some(Ok(outcome)) => purges.push(cache.purge(outcome).boxed_local()),
                Some(Err(error)) => self.stop.trip(Reason::ReportBroken(error.to_string())),
            }
        }
    }

    /// Flushes the report again and again, on a thread of its own since that takes long, and sees that it is still
    /// there.
    async fn keep_flushed(&self) -> Infallible {
        let Some(file) = &self.file else {
            return std::future::pending().await;
        };
        let mut ticks = interval(FLUSH_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let file = Arc::clone(file);
            if let Ok(Err(error)) = spawn_blocking(move || file.flush()).await {
                self.stop.trip(Reason::ReportBroken(error.to_string()));
                return std::future::pending().await;
            }
        }
    }

    /// Notes which lists of exceptions protect nothing of the input, if that was read to its end.
    pub fn note_exceptions(&self, lists: &mut ExceptLists) {
        if self.stop.reason().is_none() {
            let index = self.index.borrow();
            let unnamed = lists.unnamed(|id| index.is_in_input(id));
            self.stats.set_unnamed_lists(unnamed);
        }
    }

    /// Ends an orderly run: the report is made whole and closed, and the account tells what it holds. `Err` if a run
    /// whose host was never reached cannot take its report away again.
    pub fn close(self) -> Result<Ending, ReportError> {
        // What is held stands in the state until the report is closed.
        let _held = self.held.into_inner();
        let (report, mut index) = (self.report.into_inner(), self.index.into_inner());
        let reason = self.stop.reason();
        if let Some(Reason::Unreachable(_)) = &reason {
            self.stats.end();
            report.discard(&index)?;
            return Ok(ending(reason));
        }
        let records = self.stats.admitted();
        let (finished, closed) = report.finish(&mut index, reason.as_ref(), records);
        if let Err(error) = closed {
            self.stop.trip(Reason::ReportBroken(error.to_string()));
        }
        if reason.is_none() {
            self.stats.complete();
        }
        self.stats.close(&finished, self.deleter.in_doubt());
        Ok(ending(self.stop.reason()))
    }

    /// Ends a run at once: what is in flight stays in the state for a resume. `Err` if rows that were held back
    /// could not be written.
    pub fn leave(&mut self, reason: Reason) -> (Ending, Result<(), ReportError>) {
        let (mut report, mut index) = (self.report.borrow_mut(), self.index.borrow_mut());
        let (finished, released) = report.leave(&mut index);
        self.stop.trip(reason);
        self.stats.close(&finished, self.deleter.in_doubt());
        (ending(self.stop.reason()), released)
    }
}

type Purges<'a> = FuturesUnordered<LocalBoxFuture<'a, Option<Outcome>>>;

fn ending(reason: Option<Reason>) -> Ending {
    reason.map_or(Ending::Completed, Ending::Stopped)
}

/// The next group, for whoever is the first to ask.
async fn next_of<S: Stream<Item = Group> + Unpin>(groups: &Mutex<S>) -> Option<Group> {
    groups.lock().await.next().await
}

/// Lets the deletions go on until some IDs were decided or there is nothing left to delete.
async fn next_decisions(
    deleting: &mut FuturesUnordered<impl Future<Output = ()>>,
    decisions: &Decisions,
) -> Decided {
    poll_fn(|context| {
        let mut next = deleting.poll_next_unpin(context);
        while matches!(next, Poll::Ready(Some(()))) {
            next = deleting.poll_next_unpin(context);
        }
        if next.is_ready() || !decisions.borrow().outcomes.is_empty() {
            Poll::Ready(decisions.take())
        } else {
            Poll::Pending
        }
    })
    .await
}
