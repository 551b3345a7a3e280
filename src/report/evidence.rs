//! What there is besides a report's rows, and what comes of holding the rows against it.
//!
//! The state, or the end mark where there is none, says how far the report reached and what its rows were, and which
//! IDs were in flight. Rows that are missing put whatever has no row in doubt; rows that are not what was written are
//! refused.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use super::end_mark;
use super::read::{self, Placed, Reader};
use crate::journal::{self, Extent, REHEARSAL_HOST, SentId, StateContents, StateHeader};
use crate::outcome::Status;

/// What there is besides the rows, and what the rows that were read say to it.
pub(super) struct Evidence {
    /// What the state says; `None` where there is none.
    pub(super) state: Option<StateContents>,
    pub(super) end_mark: Option<Extent>,
    pub(super) landing: Landing,
    /// How many of the extents that were written down were reached.
    reached: usize,
    changed_before: Option<u64>,
}

impl Evidence {
    pub(super) fn of(state: Option<&[u8]>, report: &File) -> Self {
        let state = state.map(journal::inspect);
        let horizon = || {
            let state = state.as_ref()?;
            let header = state.header.as_ref()?;
            let furthest = state.extents.last()?.bytes;
            (!header.is_at_rest).then_some(furthest)
        };
        let in_flight = state.as_ref().map_or(&[][..], |state| &state.in_flight);
        Self {
            landing: Landing::new(in_flight, horizon()),
            state,
            end_mark: end_mark::get(report),
            reached: 0,
            changed_before: None,
        }
    }

    pub(super) fn header(&self) -> Option<&StateHeader> {
        self.state.as_ref()?.header.as_ref()
    }

    /// Whether its rows may come from the sandbox all the same: a state of another host says that the job ran there,
    /// which is practice with `--sandbox-listen`.
    pub(super) fn is_of_practice(&self) -> bool {
        let is_other = |header: &StateHeader| header.owner.host != REHEARSAL_HOST;
        self.state.is_some() && self.header().is_none_or(is_other)
    }

    /// How far the report reached at one time or another, by place.
    fn known(&self) -> &[Extent] {
        match &self.state {
            Some(state) => &state.extents,
            None => self.end_mark.as_slice(),
        }
    }

    /// Holds the rows so far, up to this line, against the extents that were written down.
    pub(super) fn compare(&mut self, extent: Extent, line: u64) {
        while let Some(known) = self.known().get(self.reached).copied() {
            if known.bytes > extent.bytes {
                return;
            }
            if known != extent && known.bytes > 0 {
                self.changed_before.get_or_insert(line);
            }
            self.reached += 1;
        }
    }

    /// The report is as it is once it is compacted, and that was under way.
    fn is_compacted(&self, extent: Extent) -> bool {
        let header = self.header();
        header.is_some_and(|header| header.compacted == Some(extent))
    }

    /// The line before which rows are not what was written.
    pub(super) fn changed_before(&self, extent: Extent) -> Option<u64> {
        self.changed_before.filter(|_| !self.is_compacted(extent))
    }

    /// Why whatever has no row may have been deleted; `None` where all rows that were written are there.
    pub(super) fn why_in_doubt(&self, name: &str, extent: Extent) -> Option<String> {
        let Some(header) = self.header() else {
            return match self.end_mark {
                _ if self.state.is_some() => Some(format!("{name}.state cannot be read")),
                Some(mark) if mark == extent => None,
                Some(mark) if mark.bytes > extent.bytes => {
                    Some(format!("{name} was cut after its job was done"))
                }
                _ => Some(format!(
                    "{name} has neither its state beside it nor the mark of a finished job"
                )),
            };
        };
        let is_compacted = self.is_compacted(extent);
        let furthest = self.known().last().map_or(0, |known| known.bytes);
        let is_longer = header.is_at_rest && furthest < extent.bytes && !is_compacted;
        if furthest > extent.bytes && !is_compacted {
            Some(format!("{name} was cut after rows were written"))
        } else if self.state.as_ref().is_some_and(|state| state.is_damaged) {
            Some(format!("parts of {name}.state cannot be read"))
        } else if !header.is_at_rest && was_another_boot(&header.boot) {
            Some(format!(
                "the machine was restarted while a run wrote {name}"
            ))
        } else if self.landing.has_strangers || is_longer {
            Some(format!("{name}.state is older than {name}"))
        } else if header.is_all_in_doubt {
            Some(format!(
                "rows of {name} may have been lost before an earlier run"
            ))
        } else {
            None
        }
    }
}

/// Which IDs in flight have a row that tells what became of them.
pub(super) struct Landing {
    /// By ID, and whether such a row was met.
    sent: HashMap<String, (SentId, bool)>,
    /// No row before this place can be one.
    begin: u64,
    /// Behind this place every row is of an ID in flight, unless the state is an older one; `None` where that is not
    /// known.
    horizon: Option<u64>,
    has_strangers: bool,
}

impl Landing {
    fn new(in_flight: &[SentId], horizon: Option<u64>) -> Self {
        let mut sent: HashMap<String, (SentId, bool)> = HashMap::new();
        for one in in_flight {
            let kept = sent.entry(one.file_id.clone());
            let (kept, _) = kept.or_insert_with(|| (one.clone(), false));
            if kept.sent_at < one.sent_at {
                *kept = one.clone();
            }
        }
        let begin = sent.values().map(|(one, _)| one.sent_at).min();
        Self {
            begin: begin.unwrap_or(u64::MAX),
            sent,
            horizon,
            has_strangers: false,
        }
    }

    pub(super) fn take_in(&mut self, placed: &Placed<'_>) {
        let (row, behind) = (placed.row, placed.behind);
        let is_behind_horizon = self.horizon.is_some_and(|horizon| behind >= horizon);
        if behind < self.begin && !is_behind_horizon || !row.status().was_sent() {
            return;
        }
        match self.sent.get_mut(row.file_id()) {
            Some((sent, has_landed)) => *has_landed |= behind >= sent.sent_at,
            // An ID whose attempts never left stands in no slot; a purge is told by another row.
            None => {
                self.has_strangers |=
                    is_behind_horizon && row.status() != Status::Failed && row.purge().is_none();
            }
        }
    }

    /// IDs in flight without such a row.
    pub(super) fn left(self) -> Vec<SentId> {
        let left = self
            .sent
            .into_values()
            .filter(|(_, has_landed)| !has_landed);
        left.map(|(sent, _)| sent).collect()
    }
}

/// IDs of a run's own slots that have no row behind the place where they were sent. The run's rows begin at this byte
/// of the file, behind so many bytes of rows.
pub(super) fn without_row(
    report: File,
    (begin, behind): (u64, u64),
    in_flight: &[SentId],
) -> io::Result<Vec<SentId>> {
    let mut landing = Landing::new(in_flight, None);
    let first = landing.begin.max(behind);
    if in_flight.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::at(report, begin + (first - behind), read::BLOCK)?;
    while let Some(mut placed) = reader.next()? {
        placed.behind += first;
        landing.take_in(&placed);
    }
    Ok(landing.left())
}

/// Where the system does not tell one boot from another, a power cut cannot be ruled out.
fn was_another_boot(boot: &str) -> bool {
    boot.is_empty() || boot != journal::boot()
}
