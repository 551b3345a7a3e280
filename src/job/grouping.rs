//! Grouping: records are admitted one by one and leave in groups that share a request.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::select;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::outcome::Outcome;
use crate::report::Admission;
use crate::stop::{Reason, Stop};
use crate::target::Target;

/// How long a partial group waits for more records: long enough for a fast pipe to fill it,
/// short enough that nobody sees it.
const LINGER: Duration = Duration::from_millis(50);

/// Rows of records that need no request are passed on at this number.
const MAX_ROWS: usize = 256;

/// The most purges that may wait behind their deletions.
pub(super) const MAX_BACKLOG: usize = 1000;

/// How many purges wait: deletions pause while they are too many, so that memory stays flat.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    purges: Cell<usize>,
    shrunk: Notify,
}

impl Backlog {
    pub(super) fn set(&self, purges: usize) {
        if self.purges.replace(purges) >= MAX_BACKLOG && purges < MAX_BACKLOG {
            self.shrunk.notify_waiters();
        }
    }

    fn is_full(&self) -> bool {
        self.purges.get() >= MAX_BACKLOG
    }

    /// Completes when there is room for more.
    async fn has_room(&self) {
        while self.is_full() {
            self.shrunk.notified().await;
        }
    }
}

/// The most groups under way beyond `--concurrency`: one begins for each that waits for its next attempt, and an outage
/// shows in different groups even where one request at a time is sent.
const MAX_SPARE_GROUPS: usize = 8;

/// Groups under way beyond `--concurrency`.
#[derive(Debug, Default)]
pub(super) struct Spares {
    pub(super) underway: Cell<usize>,
    /// No group is left to begin with.
    pub(super) are_over: Cell<bool>,
}

impl Spares {
    pub(super) fn is_due(&self, backing_off: usize) -> bool {
        !self.are_over.get() && self.underway.get() < backing_off.min(MAX_SPARE_GROUPS)
    }
}

/// Targets that go out together, and rows that were decided on the way.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) targets: Vec<Target>,
    pub(super) rows: Vec<Outcome>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.rows.is_empty()
    }

    fn is_full(&self, size: usize) -> bool {
        self.targets.len() >= size || self.rows.len() >= MAX_ROWS
    }
}

struct Grouper<'a, I: IntoIterator, S, A, N> {
    records: S,
    /// What is left of those that came last.
    waiting: Option<I::IntoIter>,
    admit: A,
    size: N,
    stop: &'a Stop,
    backlog: &'a Backlog,
}

pub(crate) fn groups<'a, I: IntoIterator, E: Display>(
    records: impl Stream<Item = Result<I, E>> + Unpin,
    admit: impl FnMut(I::Item) -> Admission,
    size: impl Fn() -> usize,
    stop: &'a Stop,
    backlog: &'a Backlog,
) -> impl Stream<Item = Group> {
    let grouper = Grouper {
        records,
        waiting: None,
        admit,
        size,
        stop,
        backlog,
    };
    stream::unfold(grouper, async |mut grouper| {
        let group = grouper.next_group().await;
        (!group.is_empty()).then_some((group, grouper))
    })
}

impl<
    I: IntoIterator,
    E: Display,
    S: Stream<Item = Result<I, E>> + Unpin,
    A: FnMut(I::Item) -> Admission,
    N: Fn() -> usize,
> Grouper<'_, I, S, A, N>
{
    /// The next group; an empty one is the end.
    async fn next_group(&mut self) -> Group {
        let mut group = Group::default();
        if self.backlog.is_full() {
            select! {
                biased;
                () = self.stop.tripped() => {}
                () = self.backlog.has_room() => {}
            }
        }
        loop {
            self.fill(&mut group);
            if group.is_full((self.size)()) {
                return group;
            }
            match self.more(&group).await {
                More::Records(records) => self.waiting = Some(records.into_iter()),
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
            let Some(record) = self.waiting.as_mut().and_then(Iterator::next) else {
                break;
            };
            match (self.admit)(record) {
                Admission::Send(target) => group.targets.push(target),
                Admission::Decided(outcome) => group.rows.push(*outcome),
                Admission::Settled => {}
            }
        }
    }

    async fn more(&mut self, group: &Group) -> More<I> {
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

enum More<I> {
    Records(I),
    /// The records have ended, or none came in time: what there is goes out.
    Later,
    Stopped,
}
