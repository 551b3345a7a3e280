//! The one account of a run: what was admitted, decided, sent and purged so far, and at the end what the report holds.
//!
//! The job writes it; terminal, summary, JSON, metrics, page and exit code read it and keep no counts of their own.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{Api, Traffic};
use crate::outcome::{Outcome, Purge, Status};
use crate::report::{Counts, Finished, Kept, PurgeCounts};
use crate::stop::Stop;
use crate::summary::Failures;
use crate::throttle::{SeenLimit, Throttle};

/// The account of one run. All counts are of records unless their name says otherwise.
#[derive(Debug)]
pub struct RunStats {
    kind: RunKind,
    stop: Stop,
    started: Cell<Moment>,
    ended: Cell<Option<Moment>>,
    /// Requests, retries, limits and pauses are counted where requests are made; unset until there is a connection.
    api: OnceCell<Rc<Api>>,
    total: OnceCell<Arc<Total>>,
    admitted: Cell<u64>,
    /// Admitted records whose row stood in the report already.
    skipped: Cell<u64>,
    /// Rows that earlier runs left settled; `rows` has them from the start.
    earlier: Cell<u64>,
    rows: Cell<Counts>,
    purges: Cell<PurgeCounts>,
    purges_due: Cell<u64>,
    /// IDs that were sent and have no row.
    in_doubt: Cell<u64>,
    kept: Cell<Kept>,
    odd_ids: Cell<u64>,
    /// Files that a list holds.
    listed: Cell<u64>,
    failures: RefCell<Failures>,
    /// Lists of exceptions that name nothing of the input.
    unnamed_lists: RefCell<Vec<String>>,
}

/// Against what a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// ImageKit, or what stands for it at `--base-url`.
    Real,
    /// The sandbox of `--sandbox`.
    Rehearsal,
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Timestamp,
    instant: Instant,
}

/// How many records the input has, once they are counted: by another thread, perhaps.
pub type Total = OnceLock<u64>;

impl Moment {
    fn now() -> Self {
        Self {
            at: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

/// What the job notes.
impl RunStats {
    /// An account that begins now, of a run that `stop` can end.
    pub fn new(kind: RunKind, stop: Stop) -> Self {
        Self {
            kind,
            stop,
            started: Cell::new(Moment::now()),
            ended: Cell::new(None),
            api: OnceCell::new(),
            total: OnceCell::new(),
            admitted: Cell::new(0),
            skipped: Cell::new(0),
            earlier: Cell::new(0),
            rows: Cell::default(),
            purges: Cell::default(),
            purges_due: Cell::new(0),
            in_doubt: Cell::new(0),
            kept: Cell::default(),
            odd_ids: Cell::new(0),
            listed: Cell::new(0),
            failures: RefCell::default(),
            unnamed_lists: RefCell::default(),
        }
    }

    /// Counts the requests made by `api`, too. Only the first call has an effect.
    pub fn connect(&self, api: Rc<Api>) {
        let _ = self.api.set(api);
    }

    /// How many records there will be. Only the first call has an effect.
    pub fn expect(&self, total: Arc<Total>) {
        let _ = self.total.set(total);
    }

    /// The run begins now, with these settled rows and `purges_due` purges left by earlier runs.
    pub(super) fn begin(&self, settled: Counts, purges_due: u64) {
        self.started.set(Moment::now());
        self.earlier.set(settled.iter().sum());
        self.rows.set(settled);
        self.purges_due.set(purges_due);
    }

    /// Counts a record that was taken in.
    pub(super) fn add_admitted(&self) {
        self.admitted.update(|records| records + 1);
    }

    /// Counts one whose row stood already.
    pub(super) fn add_skipped(&self) {
        self.skipped.update(|count| count + 1);
    }

    /// Counts an ID that does not look like ImageKit's; whether it is the first.
    pub(super) fn add_odd_id(&self) -> bool {
        self.odd_ids.update(|count| count + 1);
        self.odd_ids.get() == 1
    }

    /// Counts records whose rows stand in the report.
    pub(super) fn add_decided(&self, outcomes: &[Outcome]) {
        let mut rows = self.rows.get();
        for outcome in outcomes {
            rows[outcome.status as usize] += 1;
            if outcome.status.is_trouble() {
                self.failures.borrow_mut().add(outcome);
            }
        }
        self.rows.set(rows);
        self.add_purged(outcomes);
    }

    /// Counts purges that will be asked for.
    pub(super) fn add_purges_due(&self, purges: usize) {
        self.purges_due.update(|count| count + purges as u64);
    }

    /// Counts what became of purges.
    pub(super) fn add_purged(&self, outcomes: &[Outcome]) {
        let mut purges = self.purges.get();
        for purge in outcomes.iter().filter_map(|outcome| outcome.purge) {
            purges[purge as usize] += 1;
        }
        self.purges.set(purges);
    }

    /// This many IDs were sent and will have no row from this run.
    pub(super) fn add_in_doubt(&self, ids: u64) {
        self.in_doubt.update(|count| count + ids);
    }

    /// These lists of exceptions name nothing of the input.
    pub(super) fn set_unnamed_lists(&self, names: Vec<String>) {
        self.unnamed_lists.replace(names);
    }

    /// All records were read and decided: their number is known now.
    pub(super) fn complete(&self) {
        let total = self.total.get_or_init(Arc::default);
        let _ = total.set(self.admitted.get());
    }

    /// The report was closed and holds this: from now on these are the numbers. `in_doubt` more IDs were sent and have
    /// no row.
    pub(super) fn close(&self, finished: &Finished, in_doubt: u64) {
        self.add_in_doubt(in_doubt + finished.unwritten);
        self.rows.set(finished.counts);
        self.purges.set(finished.purges);
        self.kept.set(finished.kept);
        self.end();
    }

    /// A list holds this many files.
    pub fn set_listed(&self, files: u64) {
        self.listed.set(files);
    }

    /// The run is over: time stands still for whoever tells of it. Only the first call has an effect.
    pub fn end(&self) {
        if self.ended.get().is_none() {
            self.ended.set(Some(Moment::now()));
        }
    }
}

/// What everybody reads.
impl RunStats {
    /// Whether nothing real was touched.
    pub fn is_rehearsal(&self) -> bool {
        self.kind == RunKind::Rehearsal
    }

    /// When the run began.
    pub fn started_at(&self) -> Timestamp {
        self.started.get().at
    }

    /// When it ended; now, while it has not.
    pub fn ended_at(&self) -> Timestamp {
        self.ended.get().map_or_else(Timestamp::now, |end| end.at)
    }

    /// From its start to its end, or until now.
    pub fn elapsed(&self) -> Duration {
        let end = self
            .ended
            .get()
            .map_or_else(Instant::now, |end| end.instant);
        end.duration_since(self.started.get().instant)
    }

    /// Rows with this status.
    pub fn count(&self, status: Status) -> u64 {
        self.rows.get()[status as usize]
    }

    /// Rows of any status.
    pub fn rows(&self) -> u64 {
        self.rows.get().iter().sum()
    }

    /// Rows that a person should look at: they make the exit code 1.
    pub fn trouble(&self) -> u64 {
        let all = Status::ALL.into_iter();
        all.filter(|status| status.is_trouble())
            .map(|status| self.count(status))
            .sum()
    }

    /// Purges that ended this way.
    pub fn purged(&self, purge: Purge) -> u64 {
        self.purges.get()[purge as usize]
    }

    /// Purges that a resume tries again.
    pub fn unsettled_purges(&self) -> u64 {
        let all = Purge::ALL.into_iter();
        all.filter(|purge| !purge.is_settled())
            .map(|purge| self.purged(purge))
            .sum()
    }

    /// Purges of this run, those still to come included.
    pub fn purges_due(&self) -> u64 {
        self.purges_due.get()
    }

    /// Whether there is anything to say of purges.
    pub fn has_purges(&self) -> bool {
        self.purges_due() > 0 || self.purges.get().iter().sum::<u64>() > 0
    }

    /// IDs that were sent and have no row: only a resume finds out what became of them.
    pub fn in_doubt(&self) -> u64 {
        self.in_doubt.get()
    }

    /// Records that have neither a row nor were sent; `None` where the total is not known.
    pub fn not_begun(&self) -> Option<u64> {
        let done = self.rows() + self.in_doubt();
        self.total().map(|total| total.saturating_sub(done))
    }

    /// Records of the input: all of them where they were counted, else those that have a row or were sent; of a list
    /// its files.
    pub fn records(&self) -> u64 {
        let seen = self.rows() + self.in_doubt() + self.listed.get();
        self.total().map_or(seen, |total| total.max(seen))
    }

    /// Rows of earlier runs whose record is no longer in the input; none while the run has not read all of it.
    pub fn kept(&self) -> Kept {
        self.kept.get()
    }

    /// IDs that do not look like ImageKit's.
    pub fn odd_ids(&self) -> u64 {
        self.odd_ids.get()
    }

    /// Lists of exceptions none of whose IDs is in the input, by name.
    pub fn unnamed_lists(&self) -> Ref<'_, Vec<String>> {
        self.unnamed_lists.borrow()
    }

    /// This run's failures by message.
    pub fn failures(&self) -> Ref<'_, Failures> {
        self.failures.borrow()
    }

    /// How many records there are; `None` while they are not counted.
    pub fn total(&self) -> Option<u64> {
        let total = self.total.get()?.get()?;
        Some(self.admitted().max(*total))
    }

    /// Records taken in so far.
    pub fn admitted(&self) -> u64 {
        self.admitted.get()
    }

    /// Records that this run decided.
    pub fn decided(&self) -> u64 {
        self.rows().saturating_sub(self.earlier.get())
    }

    /// Records that have their row: those passed over because they had it before, and those decided now.
    pub fn done(&self) -> u64 {
        self.decided() + self.skipped.get()
    }

    /// Records that were taken in and are not decided yet.
    pub fn underway(&self) -> u64 {
        self.admitted.get().saturating_sub(self.done())
    }

    /// Records that are still to be decided, without those that will only be passed over; `None` if nobody knows.
    pub fn left(&self) -> Option<u64> {
        let total = self.total()?;
        let to_pass_over = self.earlier.get().saturating_sub(self.skipped.get());
        Some(total.saturating_sub(self.done() + to_pass_over))
    }

    /// Whether the run is to end early.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_tripped()
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.api.get().map(|api| api.traffic()).unwrap_or_default()
    }

    /// 429s.
    pub fn throttled(&self) -> u64 {
        self.of_throttle(Throttle::throttled_count)
    }

    /// For how long 429s made the run wait.
    pub fn paused(&self) -> Duration {
        self.of_throttle(Throttle::paused)
    }

    /// Limits as ImageKit stated them.
    pub fn limits(&self) -> Vec<SeenLimit> {
        self.of_throttle(Throttle::seen_limits)
    }

    /// What holds requests back; `None` before there is a connection.
    pub fn throttle(&self) -> Option<Arc<Throttle>> {
        self.api.get().map(|api| api.throttle())
    }

    fn of_throttle<T: Default>(&self, read: impl Fn(&Throttle) -> T) -> T {
        let throttle = self.throttle();
        throttle.map(|throttle| read(&throttle)).unwrap_or_default()
    }
}
