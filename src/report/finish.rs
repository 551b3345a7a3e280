//! The end of a run: one row for each decided record, the state only while something is left to do, and the account
//! of the rows that stand.

use std::fs::File;

use super::compact::Copy;
use super::open::Undo;
use super::{
    Counts, OnDisk, PurgeCounts, Report, ReportError, ResumeIndex, Sink, end_mark, evidence,
};
use crate::journal::{SentId, StateHeader};
use crate::outcome::{Outcome, Purge, Status};
use crate::stop::Reason;
use crate::target::Doubt;

/// What a run's end leaves: the rows that stand, the last one of each ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finished {
    /// Rows by status; where the input was read to its end, those of its records only.
    pub counts: Counts,
    /// Rows by what became of their purge.
    pub purges: PurgeCounts,
    /// What is kept beside; nothing where the input was not read to its end.
    pub kept: Kept,
    /// Rows that waited for their purge and could not be written.
    pub unwritten: u64,
}

/// Rows of earlier runs whose record is no longer in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// All of them.
    pub rows: u64,
    /// Those that are `failed` or `unknown`: the record may come back, and the state stays for that.
    pub unsettled: u64,
}

impl Finished {
    /// Whether no record and no purge is left for a resume.
    fn is_settled(&self) -> bool {
        let records = [Status::Failed, Status::Unknown].map(|status| self.counts[status as usize]);
        let purges = [Purge::Failed, Purge::OverLimit].map(|purge| self.purges[purge as usize]);
        let unsettled: u64 = records.iter().chain(&purges).sum();
        unsettled + self.kept.unsettled == 0
    }
}

impl Report {
    /// Ends the run: compacts the report, and leaves the state only while something is unsettled. `reason` is why it
    /// stopped early; if it did not, that many `records` were read and decided. Whatever fails, the account is of the
    /// rows that stand.
    pub fn finish(
        mut self,
        index: &mut ResumeIndex,
        reason: Option<&Reason>,
        records: u64,
    ) -> (Finished, Result<(), ReportError>) {
        if let Some(Reason::ReportBroken(_)) = reason {
            // What is in flight must stay in the state, as after a crash.
            return (self.account_without_doubt(index), Ok(()));
        }
        let released = self.release_held(index);
        let mut finished = match reason {
            None => index.account_of_input(),
            Some(_) => index.account(),
        };
        finished.unwritten = self.unwritten();
        let closed = released.and_then(|()| {
            let rows = finished.counts.iter().sum();
            if reason.is_none() && rows != records {
                return Err(ReportError::DoesNotAddUp { rows, records });
            }
            self.on_disk()
                .map_or(Ok(()), |on_disk| on_disk.close(index, reason, &finished))
        });
        (finished, closed)
    }

    /// Ends a run that is left with requests in flight: the report and its state stay as they are.
    pub fn leave(&mut self, index: &mut ResumeIndex) -> (Finished, Result<(), ReportError>) {
        let released = self.release_held(index);
        (self.account_without_doubt(index), released)
    }

    /// The account of an end after which old rows still stand for IDs that this run sent: those are in doubt, whatever
    /// the old row says.
    fn account_without_doubt(&self, index: &ResumeIndex) -> Finished {
        let mut account = index.account();
        account.unwritten = self.unwritten();
        let left = self.on_disk().map(OnDisk::left_in_flight);
        for sent in left.and_then(Result::ok).unwrap_or_default() {
            let status = index.status(&sent.file_id);
            if let Some(status) = status.filter(|status| !status.settles_id()) {
                let count = &mut account.counts[status as usize];
                *count = count.saturating_sub(1);
            }
        }
        account
    }

    /// Gives an opened report up before anything was sent: leaves what was there before, and no more. What earlier runs
    /// left in doubt stays so.
    pub fn discard(self, index: &ResumeIndex) -> Result<(), ReportError> {
        let Sink::File(on_disk) = self.sink else {
            return Ok(());
        };
        let (file, journal) = (&on_disk.file, &on_disk.journal);
        let is_resumed = matches!(on_disk.undo, Undo::Resumed { .. });
        if is_resumed && journal.extent().bytes > on_disk.begin.1 {
            // Rows of records that are never sent were written: they stand.
            return Ok(journal.rewrite(|header| header.is_at_rest = true, &index.in_doubt())?);
        }
        let undone = on_disk.undo.apply(&file.file, &file.place);
        undone
            .and_then(|()| file.state.restore())
            .map_err(|source| on_disk.error(source))
    }

    /// Writes what still waits for its purge, and the header if no row was ever written.
    fn release_held(&mut self, index: &mut ResumeIndex) -> Result<(), ReportError> {
        let Sink::Stdout { held, .. } = &mut self.sink else {
            return Ok(());
        };
        let mut waiting: Vec<Outcome> = std::mem::take(held).into_values().collect();
        let written = self.write_rows(&waiting, index);
        if let (Err(error), Sink::Stdout { held, .. }) = (&written, &mut self.sink) {
            let left = waiting.drain(error.rows..);
            held.extend(left.map(|outcome| (outcome.file_id.clone(), outcome)));
        }
        written.map_err(|error| error.source)?;
        self.begin_buffer();
        let (_, written) = self.write_buffer();
        written.map_err(|source| self.error(source))
    }

    /// Rows that still wait for their purge.
    fn unwritten(&self) -> u64 {
        match &self.sink {
            Sink::Stdout { held, .. } => held.len() as u64,
            Sink::File(_) => 0,
        }
    }
}

impl OnDisk {
    fn close(
        &self,
        index: &mut ResumeIndex,
        reason: Option<&Reason>,
        finished: &Finished,
    ) -> Result<(), ReportError> {
        let (file, journal) = (&self.file, &self.journal);
        file.check_end()
            .and_then(|()| file.flush())
            .map_err(|source| self.error(source))?;
        let mut in_doubt = index.in_doubt();
        if reason.is_some() {
            // Any graver doubt has an `unknown` row.
            let left = self.left_in_flight()?.into_iter();
            in_doubt.extend(left.map(|sent| SentId {
                doubt: Doubt::Weak,
                ..sent
            }));
        }
        let rest = |header: &mut StateHeader| {
            header.is_at_rest = true;
            header.was_key_refused = matches!(reason, Some(Reason::KeyRefused(_)));
        };
        journal.rewrite(rest, &in_doubt)?;
        let rows = finished.counts.iter().sum::<u64>() + finished.kept.rows;
        let compacted = if index.needs_compaction() {
            Some(self.compact(index, rows)?)
        } else {
            None
        };
        let is_doubtful = !in_doubt.is_empty() || journal.is_all_in_doubt();
        if reason.is_some() || !finished.is_settled() || is_doubtful {
            return Ok(());
        }
        // The job is settled: its end mark takes the place of its state.
        end_mark::set(compacted.as_ref().unwrap_or(&file.file), journal.extent());
        file.state.remove().map_err(|source| ReportError::Write {
            name: format!("{}.state", file.place.name),
            source,
        })
    }

    /// IDs that this run sent and that have no row of it.
    fn left_in_flight(&self) -> Result<Vec<SentId>, ReportError> {
        let in_flight = self.journal.in_slots()?;
        let report = File::open(&self.file.place.path).or_else(|_| self.file.file.try_clone());
        report
            .and_then(|report| evidence::without_row(report, self.begin, &in_flight))
            .map_err(|source| self.error(source))
    }

    /// Replaces the report by a copy with one row for each record; the state knows both while that is done.
    fn compact(&self, index: &mut ResumeIndex, rows: u64) -> Result<File, ReportError> {
        let (place, journal) = (&self.file.place, &self.journal);
        let copy = Copy::make(place, index).map_err(|source| self.error(source))?;
        if copy.rows != rows {
            return Err(ReportError::DoesNotAddUp {
                rows: copy.rows,
                records: rows,
            });
        }
        let extent = copy.extent;
        journal.rewrite_header(|header| header.compacted = Some(extent))?;
        let replaced = copy.replace(&place.path);
        let file = replaced.map_err(|source| self.error(source))?;
        journal.rewrite_header(|header| {
            header.compacted = None;
            header.extent = extent;
        })?;
        Ok(file)
    }
}
