//! The job: from records to recorded outcomes, with n groups in the air.
//!
//! Records come in from `source`, are admitted (duplicates and settled IDs drop out
//! here), grouped, and handed to `deleter`; every decision goes to one `record`. If
//! `record` fails the run stops: no deletion without a record.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::{self, FuturesUnordered, LocalBoxStream};
use futures::{FutureExt, Stream, StreamExt};
use tokio::select;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::deleter::{Deleter, Settled};
use crate::journal::Intent;
use crate::outcome::Outcome;
use crate::purge::PurgeCache;
use crate::report::Admission;
use crate::stop::{Reason, Stop};
use crate::target::{Record, Target};

/// How long a partial group waits for more records: long enough for a fast pipe to fill it,
/// short enough that nobody sees it.
const LINGER: Duration = Duration::from_millis(50);

/// So many groups more than places in the air are under way: while some wait for their next attempt others go on,
/// and an outage shows in different groups even where one request at a time is sent.
const SPARE_GROUPS: usize = 8;

/// Rows of records that need no request are handed on at this number.
const MOST_ROWS: usize = 256;

/// So many purges may be behind their deletions.
const MOST_BEHIND: usize = 1000;

/// How many decisions are recorded with one write, where so many are ready.
const MOST_RECORDED: usize = 128;

/// What is recorded: the first row of a record, or one that tells what became of its purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Records were decided.
    Decided,
    /// Purges of files that are gone came to an end; their rows stand already.
    Purged,
}

/// The purging of a run: how it is done, and what earlier runs left of it.
#[derive(Debug)]
pub struct Purging<Due> {
    /// How; `None` where nothing is purged.
    pub cache: Option<PurgeCache>,
    /// Rows whose purge is due.
    pub due: Due,
}

/// Runs until the records end or the stop is tripped, and all in the air has come down.
///
/// `record` is given each decision once, as soon as it is known and before anything else is
/// done with it. Its error trips the stop as [`Reason::ReportBroken`].
pub async fn run<SourceError: Display, RecordError: Display>(
    records: impl Stream<Item = Result<Vec<Record>, SourceError>> + Unpin,
    admit: impl FnMut(Record) -> Admission,
    deleter: &Deleter,
    purging: Purging<impl Iterator<Item = io::Result<Outcome>>>,
    concurrency: usize,
    stop: &Stop,
    record: impl FnMut(Step, &[Outcome]) -> Result<(), RecordError>,
) {
    let Purging { cache, mut due } = purging;
    let cache = cache.as_ref();
    let behind = Behind::default();
    let groups = groups(records, admit, || deleter.group_size(), stop, &behind);
    let settled = groups
        .map(|group| settle(group, deleter, cache))
        .flatten_unordered(concurrency + SPARE_GROUPS)
        .ready_chunks(MOST_RECORDED);
    let mut settled = pin!(settled.fuse());
    let mut recorder = Recorder {
        record,
        stop,
        is_broken: false,
        unrecorded: Vec::new(),
    };
    let mut purges = FuturesUnordered::new();
    loop {
        if let Some(cache) = cache {
            recorder.begin_due(&mut due, cache, &mut purges);
            behind.set(purges.len());
        }
        select! {
            biased;
            Some(outcome) = purges.next(), if !purges.is_empty() => {
                recorder.record_purged(outcome);
            }
            Some(chunk) = settled.next() => {
                let gone = recorder.record_decided(chunk, cache);
                purges.extend(cache.into_iter().flat_map(|cache| {
                    gone.iter().map(|outcome| cache.purge(outcome.clone()).boxed_local())
                }));
            }
            else => break,
        }
    }
}

/// The one place where decisions are recorded.
struct Recorder<'a, Record> {
    record: Record,
    stop: &'a Stop,
    /// A row could not be written: none is any more.
    is_broken: bool,
    /// What stands in the state in place of rows that were not written.
    unrecorded: Vec<Option<Rc<Intent>>>,
}

type Purges<'a> = FuturesUnordered<LocalBoxFuture<'a, Option<Outcome>>>;

impl<RecordError: Display, Record: FnMut(Step, &[Outcome]) -> Result<(), RecordError>>
    Recorder<'_, Record>
{
    /// Records what was decided, and gives what is to be purged now.
    fn record_decided(&mut self, chunk: Vec<Settled>, cache: Option<&PurgeCache>) -> Vec<Outcome> {
        let (mut outcomes, intents): (Vec<Outcome>, Vec<_>) =
            chunk.into_iter().filter_map(decided).unzip();
        if let Some(cache) = cache {
            for outcome in &mut outcomes {
                cache.decide_unasked(outcome);
            }
        }
        if !self.is_recorded(Step::Decided, &outcomes) {
            self.unrecorded.extend(intents);
            return Vec::new();
        }
        if cache.is_some() {
            outcomes.retain(|outcome| outcome.purge.is_none() && outcome.is_purge_due());
            return outcomes;
        }
        Vec::new()
    }

    fn record_purged(&mut self, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.is_recorded(Step::Purged, &[outcome]);
        }
    }

    fn is_recorded(&mut self, step: Step, outcomes: &[Outcome]) -> bool {
        if !self.is_broken
            && let Err(error) = (self.record)(step, outcomes)
        {
            self.is_broken = true;
            self.stop.trip(Reason::ReportBroken(error.to_string()));
        }
        !self.is_broken
    }

    /// Begins purges that earlier runs left, as far as there is room for more.
    fn begin_due<'a>(
        &self,
        due: &mut impl Iterator<Item = io::Result<Outcome>>,
        cache: &'a PurgeCache,
        purges: &mut Purges<'a>,
    ) {
        while purges.len() < MOST_BEHIND && !self.stop.is_tripped() {
            match due.next() {
                None => return,
                Some(Ok(outcome)) => purges.push(cache.purge(outcome).boxed_local()),
                Some(Err(error)) => self.stop.trip(Reason::ReportBroken(error.to_string())),
            }
        }
    }
}

/// How many purges are behind: deletions wait while they are too many, so that memory stays flat.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    purges: Cell<usize>,
    changed: Notify,
}

impl Behind {
    fn set(&self, purges: usize) {
        if self.purges.replace(purges) >= MOST_BEHIND && purges < MOST_BEHIND {
            self.changed.notify_waiters();
        }
    }

    /// Completes when there is room for more.
    async fn has_room(&self) {
        while self.purges.get() >= MOST_BEHIND {
            self.changed.notified().await;
        }
    }
}

fn decided(settled: Settled) -> Option<(Outcome, Option<Rc<Intent>>)> {
    match settled {
        Settled::Decided { outcome, intent } => Some((outcome, intent)),
        Settled::Released(_) => None,
    }
}

fn settle<'a>(
    group: Group,
    deleter: &'a Deleter,
    cache: Option<&'a PurgeCache>,
) -> LocalBoxStream<'a, Settled> {
    let rows = stream::iter(group.rows).map(|outcome| Settled::Decided {
        outcome,
        intent: None,
    });
    if group.targets.is_empty() {
        return rows.boxed_local();
    }
    let targets = match cache {
        None => deleter.settle(group.targets),
        Some(cache) => settle_with_urls(group.targets, deleter, cache),
    };
    if rows.size_hint().0 == 0 {
        targets
    } else {
        rows.chain(targets).boxed_local()
    }
}

/// Once a file is gone nobody can tell its URL: it is found out before.
fn settle_with_urls<'a>(
    mut targets: Vec<Target>,
    deleter: &'a Deleter,
    cache: &'a PurgeCache,
) -> LocalBoxStream<'a, Settled> {
    stream::once(async move {
        cache.find_urls(&mut targets).await;
        deleter.settle(targets)
    })
    .flatten()
    .boxed_local()
}

/// Targets that go out together, and rows that were decided on the way.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) targets: Vec<Target>,
    rows: Vec<Outcome>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.rows.is_empty()
    }

    fn is_full(&self, size: usize) -> bool {
        self.targets.len() >= size || self.rows.len() >= MOST_ROWS
    }
}

struct Grouper<'a, Records, Admit, Size> {
    records: Records,
    waiting: VecDeque<Record>,
    admit: Admit,
    size: Size,
    stop: &'a Stop,
    behind: &'a Behind,
}

pub(crate) fn groups<'a, SourceError: Display>(
    records: impl Stream<Item = Result<Vec<Record>, SourceError>> + Unpin,
    admit: impl FnMut(Record) -> Admission,
    size: impl Fn() -> usize,
    stop: &'a Stop,
    behind: &'a Behind,
) -> impl Stream<Item = Group> {
    let grouper = Grouper {
        records,
        waiting: VecDeque::new(),
        admit,
        size,
        stop,
        behind,
    };
    stream::unfold(grouper, async |mut grouper| {
        let group = grouper.next_group().await;
        (!group.is_empty()).then_some((group, grouper))
    })
}

impl<
    SourceError: Display,
    Records: Stream<Item = Result<Vec<Record>, SourceError>> + Unpin,
    Admit: FnMut(Record) -> Admission,
    Size: Fn() -> usize,
> Grouper<'_, Records, Admit, Size>
{
    /// The next group; an empty one is the end.
    async fn next_group(&mut self) -> Group {
        let mut group = Group::default();
        select! {
            biased;
            () = self.stop.tripped() => {}
            () = self.behind.has_room() => {}
        }
        loop {
            self.fill(&mut group);
            if group.is_full((self.size)()) {
                return group;
            }
            match self.more(&group).await {
                More::Records(records) => self.waiting.extend(records),
                More::Later => return group,
                More::Stopped => {
                    // Targets that were not sent yet are released by being forgotten; rows stand.
                    group.targets.clear();
                    return group;
                }
            }
        }
    }

    fn fill(&mut self, group: &mut Group) {
        let size = (self.size)();
        while !group.is_full(size) {
            let Some(record) = self.waiting.pop_front() else {
                break;
            };
            match (self.admit)(record) {
                Admission::Send(target) => group.targets.push(target),
                Admission::Decided(outcome) => group.rows.push(*outcome),
                Admission::Settled => {}
            }
        }
    }

    async fn more(&mut self, group: &Group) -> More {
        if self.stop.is_tripped() {
            return More::Stopped;
        }
        let receive = async {
            if group.is_empty() {
                return Some(self.records.next().await);
            }
            timeout(LINGER, self.records.next()).await.ok()
        };
        let received = select! {
            biased;
            () = self.stop.tripped() => return More::Stopped,
            received = receive => received,
        };
        match received {
            Some(Some(Ok(records))) => More::Records(records),
            Some(Some(Err(error))) => {
                self.stop.trip(Reason::InputBroken(error.to_string()));
                More::Stopped
            }
            Some(None) | None => More::Later,
        }
    }
}

enum More {
    Records(Vec<Record>),
    /// The records have ended, or none came in time: what there is goes out.
    Later,
    Stopped,
}
