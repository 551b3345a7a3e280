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
use crate::journal::{self, Extent, Found, InFlight, StateHeader};
use crate::outcome::Status;

/// What there is besides the rows: what the state says, or the end mark where there is none.
pub(super) struct Evidence {
    pub(super) found: Option<Found>,
    pub(super) end_mark: Option<Extent>,
}

impl Evidence {
    pub(super) fn of(state: Option<&[u8]>, report: &File) -> Self {
        Self {
            found: state.map(journal::inspect),
            end_mark: end_mark::get(report),
        }
    }

    pub(super) fn header(&self) -> Option<&StateHeader> {
        self.found.as_ref()?.header.as_ref()
    }

    pub(super) fn extents(&self) -> Vec<Extent> {
        match &self.found {
            Some(found) => found.extents.clone(),
            None => self.end_mark.into_iter().collect(),
        }
    }
}

/// Why whatever has no row may have been deleted; `None` where all rows that were written are there.
pub(super) fn why_in_doubt(
    name: &str,
    evidence: &Evidence,
    check: &Check,
    landing: &Landing,
    extent: Extent,
) -> Option<String> {
    let is_damaged = evidence
        .found
        .as_ref()
        .is_some_and(|found| found.is_damaged);
    let Some(header) = evidence.header() else {
        return match evidence.end_mark {
            _ if evidence.found.is_some() => Some(format!("{name}.state cannot be read")),
            Some(mark) if mark == extent => None,
            Some(mark) if mark.bytes > extent.bytes => {
                Some(format!("{name} was cut after its job was done"))
            }
            _ => Some(format!(
                "{name} has neither its state beside it nor the mark of a finished job"
            )),
        };
    };
    let is_stale = landing.has_strangers || header.is_at_rest && check.has_more(extent);
    if check.is_short(extent) {
        Some(format!("{name} was cut after rows were written"))
    } else if is_damaged {
        Some(format!("{name}.state cannot be read in parts"))
    } else if !header.is_at_rest && was_another_boot(&header.boot) {
        Some(format!(
            "the machine was restarted while a run wrote {name}"
        ))
    } else if is_stale {
        Some(format!("{name}.state is older than {name}"))
    } else if header.is_all_in_doubt {
        Some(format!(
            "rows of {name} may have been lost before an earlier run"
        ))
    } else {
        None
    }
}

/// Holds the rows against the extents that were written down.
pub(super) struct Check {
    known: Vec<Extent>,
    /// The first of them that was not reached yet.
    next: usize,
    changed_before: Option<u64>,
    /// The report as it is once it is compacted, where that was under way.
    compacted: Option<Extent>,
}

impl Check {
    pub(super) fn new(evidence: &Evidence) -> Self {
        Self {
            known: evidence.extents(),
            next: 0,
            changed_before: None,
            compacted: evidence.header().and_then(|header| header.compacted),
        }
    }

    pub(super) fn take_in(&mut self, extent: Extent, line: u64) {
        while let Some(known) = self.known.get(self.next) {
            if known.bytes > extent.bytes {
                return;
            }
            if *known != extent && known.bytes > 0 {
                self.changed_before.get_or_insert(line);
            }
            self.next += 1;
        }
    }

    pub(super) fn is_compacted(&self, extent: Extent) -> bool {
        self.compacted == Some(extent)
    }

    /// The line before which rows are not what was written.
    pub(super) fn changed_before(&self, extent: Extent) -> Option<u64> {
        self.changed_before.filter(|_| !self.is_compacted(extent))
    }

    pub(super) fn is_short(&self, extent: Extent) -> bool {
        let most = self.known.last().map_or(0, |known| known.bytes);
        most > extent.bytes && !self.is_compacted(extent)
    }

    pub(super) fn has_more(&self, extent: Extent) -> bool {
        let is_beyond = |known: &Extent| extent.bytes > known.bytes;
        self.known.last().is_some_and(is_beyond) && !self.is_compacted(extent)
    }
}

/// Which IDs in flight have a row that tells what became of them.
pub(super) struct Landing {
    /// By ID, and whether such a row was met.
    sent: HashMap<String, (InFlight, bool)>,
    /// No row before this place can be one.
    begin: u64,
    /// Behind this place every row is of an ID in flight, unless the state is an older one; `None` where that is not
    /// known.
    horizon: Option<u64>,
    pub(super) has_strangers: bool,
}

impl Landing {
    pub(super) fn new(evidence: &Evidence) -> Self {
        let mut sent: HashMap<String, (InFlight, bool)> = HashMap::new();
        for one in evidence.found.iter().flat_map(|found| &found.in_flight) {
            let kept = sent.entry(one.file_id.clone());
            let (kept, _) = kept.or_insert_with(|| (one.clone(), false));
            if kept.sent_at < one.sent_at {
                *kept = one.clone();
            }
        }
        let horizon = || {
            let header = evidence.header()?;
            let furthest = evidence.found.as_ref()?.extents.last()?.bytes;
            (!header.is_at_rest).then_some(furthest)
        };
        Self {
            begin: sent
                .values()
                .map(|(one, _)| one.sent_at)
                .min()
                .unwrap_or(u64::MAX),
            sent,
            horizon: horizon(),
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
    pub(super) fn left(self) -> Vec<InFlight> {
        let left = self
            .sent
            .into_values()
            .filter(|(_, has_landed)| !has_landed);
        left.map(|(sent, _)| sent).collect()
    }
}

/// IDs of a run's own slots, which a stop left in weak doubt: they have no row behind the place where they were sent.
pub(super) fn without_row(
    report: File,
    begin: u64,
    behind: u64,
    in_flight: Vec<InFlight>,
) -> io::Result<Vec<InFlight>> {
    let evidence = Evidence {
        found: Some(Found {
            in_flight,
            ..Found::default()
        }),
        end_mark: None,
    };
    let mut landing = Landing::new(&evidence);
    let first = landing.begin.max(behind);
    if landing.sent.is_empty() {
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
pub(super) fn was_another_boot(boot: &str) -> bool {
    boot.is_empty() || boot != journal::boot()
}
