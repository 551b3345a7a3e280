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
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::{self, FuturesUnordered, LocalBoxStream};
use futures::{FutureExt, Stream, StreamExt};
use tokio::select;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::deleter::{Deleter, Settled};
use crate::journal::Intent;
use crate::line::Line;
use crate::outcome::Outcome;
use crate::purge::PurgeCache;
use crate::report::{
    self, Admission, AppendError, Flusher, Opened, PendingPurges, Report, ReportError, ResumeIndex,
};
use crate::source::ExceptLists;
use crate::stop::{Reason, Stop};
use crate::target::{Record, Rejected, Target};

use grouping::MAX_BACKLOG;
pub(crate) use grouping::{Backlog, Group, groups};
pub use limits::{Limits, Threshold};
pub use stats::{Expected, Kept, RunKind, RunStats, Total};

/// Groups under way beyond `--concurrency`: while some wait for their next attempt others go on, and an outage shows
/// in different groups even where one request at a time is sent.
const SPARE_GROUPS: usize = 8;

/// How many decisions are recorded with one write, where that many are ready.
const MAX_RECORDED: usize = 128;

/// Rows survive a power cut to within this time.
const FLUSH_EACH: Duration = Duration::from_secs(1);

/// How a job is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The most IDs a request; 1 uses the single-file endpoint throughout.
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
    line: Rc<Line>,
    stop: Stop,
    deleter: Deleter,
    /// `None` where nothing is purged.
    cache: Option<PurgeCache>,
    report: RefCell<Report>,
    index: RefCell<ResumeIndex>,
    /// Purges that earlier runs left.
    pending_purges: PendingPurges,
    flusher: Option<Arc<Flusher>>,
    stats: Rc<RunStats>,
    /// A row could not be written: none is any more.
    is_broken: Cell<bool>,
    /// What stands in the state in place of rows that were not written.
    unrecorded: RefCell<Vec<Option<Rc<Intent>>>>,
}

impl Job {
    /// A job over an opened report, which begins now in `stats`; `Err` if the report cannot be kept flushed.
    pub fn new(
        opened: Opened,
        line: Rc<Line>,
        settings: Settings,
        stats: Rc<RunStats>,
    ) -> io::Result<Self> {
        let Opened {
            report,
            index,
            settled,
            pending_purges,
            ..
        } = opened;
        stats.begin(settled, pending_purges.len() as u64);
        let purge = || PurgeCache::new(Rc::clone(&line));
        Ok(Self {
            settings,
            stop: line.stop().clone(),
            deleter: Deleter::new(Rc::clone(&line), report.journal(), settings.batch_size),
            cache: report.is_purging().then(purge),
            flusher: report.flusher()?.map(Arc::new),
            line,
            report: report.into(),
            index: index.into(),
            pending_purges,
            stats,
            is_broken: Cell::new(false),
            unrecorded: RefCell::default(),
        })
    }

    /// Runs until the records end or the stop is tripped, and nothing is in flight.
    pub async fn run<E: Display>(
        &mut self,
        records: impl Stream<Item = Result<Vec<Record>, E>> + Unpin,
    ) {
        let mut pending = std::mem::take(&mut self.pending_purges);
        let job = &*self;
        let throttle = job.line.throttle();
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
        let backlog = Backlog::default();
        let records = records.inspect(|records| {
            if let Ok(records) = records {
                self.index.borrow().prefetch(records);
            }
        });
        let admit = |record| self.admit(record);
        let groups = groups(
            records,
            admit,
            || self.deleter.group_size(),
            &self.stop,
            &backlog,
        );
        let settled = groups
            .map(|group| self.settle(group))
            .flatten_unordered(self.settings.concurrency + SPARE_GROUPS)
            .ready_chunks(MAX_RECORDED);
        let mut settled = pin!(settled.fuse());
        let mut purges = Purges::new();
        loop {
            self.begin_pending(pending, &mut purges);
            backlog.set(purges.len());
            select! {
                biased;
                Some(outcome) = purges.next(), if !purges.is_empty() => self.record_purged(outcome),
                Some(chunk) = settled.next() => self.record_decided(chunk, &mut purges),
                else => break,
            }
        }
    }

    /// What becomes of a record before anything is sent.
    fn admit(&self, record: Record) -> Admission {
        let admission = match record {
            Record::Target(target) => {
                self.watch_for_uncounted(&target);
                self.index.borrow_mut().admit(target)
            }
            Record::Rejected(rejected) => self.index.borrow_mut().admit_rejected(rejected),
        };
        if let Admission::Send(target) = &admission {
            self.watch_for_odd_ids(target);
        }
        self.stats.add_admitted();
        if matches!(admission, Admission::Settled) {
            self.stats.add_skipped();
        }
        admission
    }

    /// What was counted and agreed to is all that is sent: a list that grew meanwhile is another list.
    fn watch_for_uncounted(&self, target: &Target) {
        if self.settings.input == InputCount::Counted
            && !self.index.borrow().was_counted(target.file_id.as_str())
        {
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
                "{:?} ({} line {}) does not look like an ImageKit ID (24 lower-case hex digits); it is sent as it is",
                id.as_str(),
                origin.input,
                origin.line
            );
        }
    }

    fn settle(&self, group: Group) -> LocalBoxStream<'_, Settled> {
        let rows = stream::iter(group.rows).map(|outcome| Settled::Decided {
            outcome,
            intent: None,
        });
        if group.targets.is_empty() {
            return rows.boxed_local();
        }
        let targets = match &self.cache {
            None => self.deleter.settle(group.targets),
            Some(cache) => self.settle_with_urls(group.targets, cache),
        };
        if rows.size_hint().0 == 0 {
            targets
        } else {
            rows.chain(targets).boxed_local()
        }
    }

    /// Once a file is gone nobody can tell its URL: it is looked up before.
    fn settle_with_urls<'a>(
        &'a self,
        targets: Vec<Target>,
        cache: &'a PurgeCache,
    ) -> LocalBoxStream<'a, Settled> {
        stream::once(async move {
            let (targets, rejected) = cache.find_urls(targets).await;
            let rows: Vec<Settled> = rejected
                .into_iter()
                .filter_map(|rejected| self.reject(rejected))
                .collect();
            let settled = if targets.is_empty() {
                stream::empty().boxed_local()
            } else {
                self.deleter.settle(targets)
            };
            stream::iter(rows).chain(settled)
        })
        .flatten()
        .boxed_local()
    }

    /// The row of a record that turned out not to be of a file; `None` if it stands already.
    fn reject(&self, rejected: Rejected) -> Option<Settled> {
        match self.index.borrow_mut().admit_rejected(rejected) {
            Admission::Decided(outcome) => Some(Settled::Decided {
                outcome: *outcome,
                intent: None,
            }),
            Admission::Send(_) | Admission::Settled => {
                self.stats.add_skipped();
                None
            }
        }
    }

    /// Records what was decided, and begins the purges that follow from it.
    fn record_decided<'a>(&'a self, chunk: Vec<Settled>, purges: &mut Purges<'a>) {
        let (mut outcomes, intents): (Vec<Outcome>, Vec<_>) =
            chunk.into_iter().filter_map(decided).unzip();
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
            self.stats
                .add_in_doubt(lost.filter(|outcome| outcome.attempts > 0).count());
            self.unrecorded.borrow_mut().extend(intents);
            return;
        }
        if let Some(reason) = self.settings.limits.exceeded(&self.stats) {
            self.stop.trip(reason);
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
        let Some(flusher) = &self.flusher else {
            return std::future::pending().await;
        };
        let mut ticks = interval(FLUSH_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let flusher = Arc::clone(flusher);
            if let Ok(Err(error)) = spawn_blocking(move || flusher.check()).await {
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
        let (report, mut index) = (self.report.into_inner(), self.index.into_inner());
        let reason = self.stop.reason();
        if let Some(Reason::Unreachable(_)) = &reason {
            self.stats.end();
            report.discard()?;
            return Ok(ending(reason));
        }
        let how = match &reason {
            None => report::Ending::Completed {
                records: self.stats.admitted(),
            },
            Some(Reason::KeyRefused(_)) => report::Ending::KeyRefused,
            Some(Reason::ReportBroken(_)) => report::Ending::Broken,
            Some(_) => report::Ending::Stopped,
        };
        let (finished, closed) = report.finish(&mut index, how);
        if let Err(error) = closed {
            self.stop.trip(Reason::ReportBroken(error.to_string()));
        }
        if reason.is_none() {
            self.stats.complete();
        }
        self.stats.close(&finished);
        self.stats.end();
        Ok(ending(self.stop.reason()))
    }

    /// Ends a run at once: what is in flight stays in the state for a resume. `Err` if rows that were held back
    /// could not be written.
    pub fn leave(&mut self, reason: Reason) -> (Ending, Result<(), ReportError>) {
        let (mut report, mut index) = (self.report.borrow_mut(), self.index.borrow_mut());
        let (finished, released) = report.leave(&mut index);
        self.stop.trip(reason);
        self.stats.close(&finished);
        self.stats.end();
        (ending(self.stop.reason()), released)
    }
}

type Purges<'a> = FuturesUnordered<LocalBoxFuture<'a, Option<Outcome>>>;

fn ending(reason: Option<Reason>) -> Ending {
    reason.map_or(Ending::Completed, Ending::Stopped)
}

fn decided(settled: Settled) -> Option<(Outcome, Option<Rc<Intent>>)> {
    match settled {
        Settled::Decided { outcome, intent } => Some((outcome, intent)),
        Settled::Released(_) => None,
    }
}
