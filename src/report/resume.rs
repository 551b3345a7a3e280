//! Goes on from what earlier runs left: reads the rows, repairs a torn one, and ends the dead run as a stop would
//! have, with an `unknown` row for each ID that may have been in flight.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::index::Told;
use super::open::{OpenError, Opened, Opening, Undo, new_header, with_suffix};
use super::purges::{PendingPurges, Tracker};
use super::read::{self, Kind, Row, Tail};
use super::row::HEADER;
use super::{Counts, PurgeCounts, ResumeIndex};
use crate::journal::StateFile;
use crate::journal::{self, InFlight, REHEARSAL_HOST, StateHeader};
use crate::outcome::{ErrorCode, Outcome, Status};
use crate::target::Origin;

/// Looks at what earlier runs left and changes nothing: for a dry run.
pub fn inspect(
    path: &Path,
    max_purges: Option<u64>,
    is_rehearsal: bool,
) -> Result<(ResumeIndex, PendingPurges), OpenError> {
    let name = path.to_string_lossy().into_owned();
    let io = |source| OpenError::Io {
        name: name.clone(),
        source,
    };
    let not_ours = |at| OpenError::NotOurs {
        name: name.clone(),
        at,
    };
    let mut file = File::open(path).map_err(io)?;
    let mut loaded = Loaded::new(max_purges);
    match read::kind(&mut file).map_err(io)? {
        Kind::Strange => return Err(not_ours(String::new())),
        Kind::Unbegun => return Ok((loaded.index, PendingPurges::default())),
        Kind::Ours => {}
    }
    let tail = read::rows(&mut file, |rows| {
        loaded.index.prefetch_rows(rows);
        for row in rows {
            loaded.take_in(row);
        }
        Ok(())
    });
    if let Tail::Strange { line, .. } = tail.map_err(io)? {
        return Err(not_ours(format!(" (line {line})")));
    }
    if loaded.is_rehearsal && !is_rehearsal {
        return Err(OpenError::Rehearsal(name.clone()));
    }
    let (pending_purges, _) = loaded.tracker.finish(path);
    Ok((loaded.index, pending_purges))
}

impl Opening<'_> {
    /// Goes on from what earlier runs left.
    pub(super) fn resume(&self, state: StateFile) -> Result<Opened, OpenError> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(self.path)
            .map_err(self.io())?;
        match read::kind(&mut file).map_err(self.io())? {
            Kind::Strange => return Err(self.not_ours(String::new())),
            Kind::Unbegun => {
                file.set_len(0)
                    .and_then(|()| file.write_all(HEADER.as_bytes()))
                    .map_err(self.io())?;
            }
            Kind::Ours => {}
        }
        let (old_header, in_flight) = match state.old.as_deref().and_then(journal::read) {
            Some((header, in_flight)) => (Some(header), in_flight),
            None => (None, Vec::new()),
        };
        self.check_job(old_header.as_ref())?;
        let mut loaded = self.load(&mut file, old_header.as_ref(), in_flight)?;
        // The very first write to a state is one of its header; nothing is sent before.
        if old_header.is_none() && state.old.as_ref().is_some_and(|old| !old.is_empty()) {
            loaded.index.is_all_in_doubt = true;
            loaded.notices.push(format!(
                "warning: {}.state cannot be read: what is not there any more is told gone, as an earlier run may have deleted it",
                self.name
            ));
        }
        self.append_doubts(&mut file, &mut loaded)?;
        remove_half_made(self.path);
        let header = StateHeader {
            is_all_in_doubt: loaded.index.is_all_in_doubt,
            ..new_header(self.request)
        };
        let (pending_purges, urls) = std::mem::take(&mut loaded.tracker).finish(self.path);
        loaded.index.urls = urls;
        let undo = Undo::Resumed {
            had_state: state.old.is_some(),
            old_header: old_header.map(Box::new),
        };
        let mut report = self.report(file, state, undo, header)?;
        report.loaded = loaded.counts;
        report.loaded_purges = loaded.purges;
        Ok(Opened {
            report,
            index: loaded.index,
            settled: loaded.settled,
            pending_purges,
            notices: loaded.notices,
        })
    }

    pub(super) fn check_job(&self, header: Option<&StateHeader>) -> Result<(), OpenError> {
        let Some(header) = header else { return Ok(()) };
        let (theirs, ours) = (&header.job, self.request.job);
        if theirs.host != ours.host {
            return Err(OpenError::OtherHost {
                name: self.name.into(),
                host: theirs.host.clone(),
            });
        }
        if theirs.key != ours.key && !header.was_key_refused {
            return Err(OpenError::OtherKey(self.name.into()));
        }
        Ok(())
    }

    fn not_ours(&self, at: String) -> OpenError {
        OpenError::NotOurs {
            name: self.name.into(),
            at,
        }
    }

    /// Reads what earlier runs left, repairs a torn row, and finds who may have been in flight.
    fn load(
        &self,
        file: &mut File,
        header: Option<&StateHeader>,
        in_flight: Vec<InFlight>,
    ) -> Result<Loaded, OpenError> {
        let mut loaded = Loaded::new(self.request.max_purges);
        let len = file.metadata().map_err(self.io())?.len();
        let has_lost_rows = in_flight.iter().any(|sent| sent.report_len > len);
        let mut in_flight: HashMap<String, InFlight> = in_flight
            .into_iter()
            .map(|one| (one.file_id.clone(), one))
            .collect();
        let tail = read::rows(file, |rows| {
            loaded.index.prefetch_rows(rows);
            for row in rows {
                loaded.take_in(row);
                land(row, &mut in_flight);
            }
            Ok(())
        })
        .map_err(self.io())?;
        if loaded.is_rehearsal && self.request.job.host != REHEARSAL_HOST {
            return Err(OpenError::Rehearsal(self.name.into()));
        }
        let was_cut_off =
            header.is_some_and(|header| !header.is_at_rest && was_another_boot(&header.boot));
        if let Some((begin, sent)) = self.torn(tail, was_cut_off)? {
            file.set_len(begin).map_err(self.io())?;
            loaded.notices.push(format!(
                "{}: a row that was cut off at the end was taken out",
                self.name
            ));
            let torn = sent.filter(|file_id| !in_flight.contains_key(file_id));
            loaded.doubts.extend(torn.map(|file_id| InFlight {
                file_id,
                line: 0,
                url: None,
                report_len: 0,
            }));
        }
        loaded.doubts.extend(in_flight.into_values());
        let unsettled =
            loaded.counts[Status::Failed as usize] + loaded.counts[Status::Unknown as usize];
        let has_no_word = header.is_none() && unsettled > 0;
        if has_lost_rows && !was_cut_off {
            loaded.notices.push(format!(
                "warning: {} was cut after rows were written: what is not there any more is told gone, as an earlier run may have deleted it",
                self.name
            ));
        }
        loaded.index.is_all_in_doubt = was_cut_off
            || has_lost_rows
            || has_no_word
            || header.is_some_and(|header| header.is_all_in_doubt);
        loaded.settle();
        Ok(loaded)
    }

    /// Where a row that is not whole begins, and its ID if that was sent.
    fn torn(
        &self,
        tail: Tail,
        was_cut_off: bool,
    ) -> Result<Option<(u64, Option<String>)>, OpenError> {
        match tail {
            Tail::Whole => Ok(None),
            Tail::Torn { begin, sent } => Ok(Some((begin, sent))),
            // A power cut may leave anything behind the last flushed row.
            Tail::Strange { begin, .. } if was_cut_off => Ok(Some((begin, None))),
            Tail::Strange { line, .. } => Err(self.not_ours(format!(" (line {line})"))),
        }
    }

    /// Ends the dead run as a stop would have: an `unknown` row for each ID that may have been in flight.
    /// They are on the disk before the slots that told of them are cleared.
    fn append_doubts(&self, file: &mut File, loaded: &mut Loaded) -> Result<(), OpenError> {
        let mut rows = String::new();
        for sent in &loaded.doubts {
            if loaded.index.needs_doubt(&sent.file_id) {
                super::row::write(&mut rows, &interrupted(sent));
                loaded.counts[Status::Unknown as usize] += 1;
                loaded.index.load(&sent.file_id, Status::Unknown);
                if let Some(url) = &sent.url {
                    loaded.tracker.keep_url(&sent.file_id, url);
                }
            }
        }
        if !rows.is_empty() {
            file.write_all(rows.as_bytes())
                .and_then(|()| file.sync_data())
                .map_err(self.io())?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Loaded {
    index: ResumeIndex,
    counts: Counts,
    settled: Counts,
    purges: PurgeCounts,
    tracker: Tracker,
    /// A row of it came from the sandbox.
    is_rehearsal: bool,
    doubts: Vec<InFlight>,
    notices: Vec<String>,
}

impl Loaded {
    fn new(max_purges: Option<u64>) -> Self {
        Self {
            tracker: Tracker::new(max_purges),
            ..Self::default()
        }
    }

    /// Counts what is not done again.
    fn settle(&mut self) {
        for status in Status::ALL
            .into_iter()
            .filter(|status| status.settles_id() || !status.is_own())
        {
            self.settled[status as usize] = self.counts[status as usize];
        }
    }

    fn take_in(&mut self, row: &Row<'_>) {
        let is_amended = self.index.load(row.file_id, row.status);
        self.tracker.load(row);
        self.is_rehearsal |= row.is_of_a_rehearsal();
        // A row that only tells of the purge after an earlier one is no other record.
        self.counts[row.status as usize] += u64::from(is_amended == Told::First);
        if let Some(purge) = row.purge {
            self.purges[purge as usize] += 1;
        }
    }
}

/// A row behind the place where the report ended when its ID was sent tells what became of it.
fn land(row: &Row<'_>, in_flight: &mut HashMap<String, InFlight>) {
    let is_newer = in_flight
        .get(row.file_id)
        .is_some_and(|sent| row.begin >= sent.report_len);
    if is_newer && row.status.is_own() {
        in_flight.remove(row.file_id);
    }
}

/// Where the system does not tell one boot from another, a power cut cannot be ruled out.
fn was_another_boot(boot: &str) -> bool {
    boot.is_empty() || boot != journal::boot()
}

fn interrupted(sent: &InFlight) -> Outcome {
    Outcome {
        file_id: sent.file_id.as_str().into(),
        origin: Origin {
            line: sent.line,
            input: Arc::from(""),
            url: sent.url.as_deref().map(Into::into),
        },
        status: Status::Unknown,
        http_status: None,
        error: Some(ErrorCode::Interrupted),
        attempts: 0,
        duration: Duration::ZERO,
        finished_at: Timestamp::now(),
        request_id: None,
        message: Some("the run ended while this ID was in flight".into()),
        purge: None,
        purge_request_id: None,
    }
}

/// A run that died while it made the report whole leaves its copy; the report itself stands.
fn remove_half_made(path: &Path) {
    let _ = fs::remove_file(with_suffix(path, ".part"));
}
