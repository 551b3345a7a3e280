//! The job: from records to recorded outcomes, with n groups in the air.
//!
//! Records come in from `source`, are admitted (duplicates and settled IDs drop out
//! here), grouped, and handed to `deleter`; every decision goes to one `record`. If
//! `record` fails the run stops: no deletion without a record.

use std::collections::VecDeque;
use std::fmt::Display;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::stream::{self, LocalBoxStream};
use futures::{Stream, StreamExt};
use tokio::select;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::deleter::{Deleter, Settled};
use crate::journal::Intent;
use crate::outcome::Outcome;
use crate::report::Admission;
use crate::stop::{Reason, Stop};
use crate::target::{Record, Target};

/// How long a partial group waits for more records: long enough for a fast pipe to fill it,
/// short enough that nobody sees it.
const LINGER: Duration = Duration::from_millis(50);

/// Rows of records that need no request are handed on at this number.
const MOST_ROWS: usize = 256;

/// How many decisions are recorded with one write, where so many are ready.
const MOST_RECORDED: usize = 128;

/// Runs until the records end or the stop is tripped, and all in the air has come down.
///
/// `record` is given each decision once, as soon as it is known and before anything else is
/// done with it. Its error trips the stop as [`Reason::ReportBroken`].
pub async fn run<SourceError: Display, RecordError: Display>(
    records: Receiver<Result<Vec<Record>, SourceError>>,
    admit: impl FnMut(Record) -> Admission,
    deleter: &Deleter,
    concurrency: usize,
    stop: &Stop,
    mut record: impl FnMut(&[Outcome]) -> Result<(), RecordError>,
) {
    let groups = groups(records, admit, || deleter.group_size(), stop);
    let settled = groups
        .map(|group| settle(group, deleter))
        .flatten_unordered(concurrency)
        .ready_chunks(MOST_RECORDED);
    let mut settled = pin!(settled);
    let mut unrecorded = Vec::new();
    while let Some(chunk) = settled.next().await {
        let (outcomes, intents): (Vec<Outcome>, Vec<_>) =
            chunk.into_iter().filter_map(decided).unzip();
        if unrecorded.is_empty() {
            match record(&outcomes) {
                Ok(()) => continue,
                Err(error) => stop.trip(Reason::ReportBroken(error.to_string())),
            }
        }
        // Once a row could not be written none is, and the intents stand in its place.
        unrecorded.extend(intents);
    }
}

fn decided(settled: Settled) -> Option<(Outcome, Option<Rc<Intent>>)> {
    match settled {
        Settled::Decided { outcome, intent } => Some((outcome, intent)),
        Settled::Released(_) => None,
    }
}

fn settle(group: Group, deleter: &Deleter) -> LocalBoxStream<'_, Settled> {
    let rows = stream::iter(group.rows).map(|outcome| Settled::Decided {
        outcome,
        intent: None,
    });
    if group.targets.is_empty() {
        rows.boxed_local()
    } else if rows.size_hint().0 == 0 {
        deleter.settle(group.targets)
    } else {
        rows.chain(deleter.settle(group.targets)).boxed_local()
    }
}

/// Targets that go out together, and rows that were decided on the way.
#[derive(Debug, Default)]
struct Group {
    targets: Vec<Target>,
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

struct Grouper<'a, SourceError, Admit, Size> {
    records: Receiver<Result<Vec<Record>, SourceError>>,
    waiting: VecDeque<Record>,
    admit: Admit,
    size: Size,
    stop: &'a Stop,
}

fn groups<SourceError: Display>(
    records: Receiver<Result<Vec<Record>, SourceError>>,
    admit: impl FnMut(Record) -> Admission,
    size: impl Fn() -> usize,
    stop: &Stop,
) -> impl Stream<Item = Group> {
    let grouper = Grouper {
        records,
        waiting: VecDeque::new(),
        admit,
        size,
        stop,
    };
    stream::unfold(grouper, async |mut grouper| {
        let group = grouper.next_group().await;
        (!group.is_empty()).then_some((group, grouper))
    })
}

impl<SourceError: Display, Admit: FnMut(Record) -> Admission, Size: Fn() -> usize>
    Grouper<'_, SourceError, Admit, Size>
{
    /// The next group; an empty one is the end.
    async fn next_group(&mut self) -> Group {
        let mut group = Group::default();
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
                return Some(self.records.recv().await);
            }
            timeout(LINGER, self.records.recv()).await.ok()
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
