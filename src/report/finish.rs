//! The end of a run: one row for each decided record, the state only while something is left to do, and the account
//! of the rows that stand.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;

use super::compact::Copy;
use super::open::{self, Undo};
use super::{
    Counts, PurgeCounts, Report, ReportError, ResumeIndex, Sink, end_mark, evidence, flusher,
};
use crate::journal::{InFlight, StateFile, StateHeader};
use crate::outcome::{Outcome, Purge, Status};
use crate::target::Doubt;

/// How a run ended, as far as the report must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All records were read and decided; that many there were.
    Completed {
        /// Records of the input.
        records: u64,
    },
    /// It stopped early.
    Stopped,
    /// It stopped because the key was refused.
    KeyRefused,
    /// Rows could not be written: what is in flight must stay in the state, as after a crash.
    Broken,
}

/// What a run's end leaves: the rows that stand, the last one of each ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finished {
    /// Rows by status; where the input was read to its end, those of its records only.
    pub counts: Counts,
    /// Rows by what became of their purge.
    pub purges: PurgeCounts,
    /// Rows of earlier runs whose record is no longer in the input; 0 where that was not read to its end.
    pub kept_rows: u64,
    /// Those of them that are `failed` or `unknown`: the record may come back, and the state stays for that.
    pub kept_unsettled: u64,
}

impl Finished {
    /// Whether no record and no purge is left for a resume.
    fn is_settled(&self) -> bool {
        let records = [Status::Failed, Status::Unknown].map(|status| self.counts[status as usize]);
        let purges = [Purge::Failed, Purge::OverLimit].map(|purge| self.purges[purge as usize]);
        let unsettled: u64 = records.iter().chain(&purges).sum();
        unsettled + self.kept_unsettled == 0
    }
}

impl Report {
    /// Ends the run: compacts the report, and leaves the state only while something is unsettled. Whatever fails, the
    /// account is of the rows that stand.
    pub fn finish(
        mut self,
        index: &mut ResumeIndex,
        ending: Ending,
    ) -> (Finished, Result<(), ReportError>) {
        if ending == Ending::Broken {
            return (self.account_without_doubt(index), Ok(()));
        }
        let released = self.release_held(index);
        let finished = match ending {
            Ending::Completed { .. } => index.account_of_input(),
            _ => index.account(),
        };
        let closed = released.and_then(|()| self.close(index, ending, &finished));
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
        for sent in self.left_in_flight().unwrap_or_default() {
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
    pub fn discard(mut self, index: &ResumeIndex) -> Result<(), ReportError> {
        let Some(state) = self.state.take() else {
            return Ok(());
        };
        let Sink::File { file, path } = &self.sink else {
            return Ok(());
        };
        let undone = match &self.undo {
            Undo::Created { backup } => {
                open::take_away(path, backup.as_deref()).and_then(|()| state.restore())
            }
            Undo::Resumed { end_mark } if self.extent.bytes == self.begin.1 => {
                if let (Some(mark), None) = (end_mark, &state.old) {
                    end_mark::set(file, *mark);
                }
                state.restore()
            }
            // Rows of records that are never sent were written: they stand.
            Undo::Resumed { .. } => {
                self.header.is_at_rest = true;
                self.header.extent = self.extent;
                return Ok(self.journal.rewrite(&self.header, &index.in_doubt())?);
            }
        };
        undone.map_err(|source| self.error(source))
    }

    fn close(
        &mut self,
        index: &mut ResumeIndex,
        ending: Ending,
        finished: &Finished,
    ) -> Result<(), ReportError> {
        let rows = finished.counts.iter().sum();
        if let Ending::Completed { records } = ending
            && rows != records
        {
            return Err(ReportError::DoesNotAddUp { rows, records });
        }
        let Sink::File { file, .. } = &self.sink else {
            return Ok(());
        };
        self.check_place()
            .and_then(|()| file.sync_all())
            .map_err(|source| self.error(source))?;
        let in_doubt = self.in_doubt(index, ending)?;
        self.header = StateHeader {
            is_at_rest: true,
            was_key_refused: ending == Ending::KeyRefused,
            extent: self.extent,
            ..self.header.clone()
        };
        self.journal.rewrite(&self.header, &in_doubt)?;
        if index.needs_compaction() {
            self.compact(index, rows + finished.kept_rows)?;
        }
        let is_done = matches!(ending, Ending::Completed { .. })
            && finished.is_settled()
            && in_doubt.is_empty()
            && !self.header.is_all_in_doubt;
        if is_done { self.remove_state() } else { Ok(()) }
    }

    /// IDs in doubt that have no row to say so: those of earlier runs, and those of this one that a stop left.
    fn in_doubt(&self, index: &ResumeIndex, ending: Ending) -> Result<Vec<InFlight>, ReportError> {
        let mut in_doubt = index.in_doubt();
        if !matches!(ending, Ending::Completed { .. }) {
            // Any graver doubt has an `unknown` row.
            let left = self.left_in_flight()?.into_iter();
            in_doubt.extend(left.map(|sent| InFlight {
                doubt: Doubt::Weak,
                ..sent
            }));
        }
        Ok(in_doubt)
    }

    /// IDs that this run sent and that have no row of it.
    fn left_in_flight(&self) -> Result<Vec<InFlight>, ReportError> {
        let Sink::File { file, path } = &self.sink else {
            return Ok(Vec::new());
        };
        let in_flight = self.journal.in_slots()?;
        let (begin, behind) = self.begin;
        let report = std::fs::File::open(path).or_else(|_| file.try_clone());
        report
            .and_then(|report| evidence::without_row(report, begin, behind, in_flight))
            .map_err(|source| self.error(source))
    }

    /// The state knows both reports while one takes the place of the other.
    fn compact(&mut self, index: &mut ResumeIndex, rows: u64) -> Result<(), ReportError> {
        let Sink::File { path, .. } = &self.sink else {
            return Ok(());
        };
        let path = path.clone();
        let copy = Copy::make(&path, index).map_err(|source| self.error(source))?;
        if copy.rows != rows {
            return Err(ReportError::DoesNotAddUp {
                rows: copy.rows,
                records: rows,
            });
        }
        let extent = copy.extent;
        self.header.compacted = Some(extent);
        self.journal.rewrite_header(&self.header)?;
        let file = copy.replace(&path).map_err(|source| self.error(source))?;
        self.sink = Sink::File { file, path };
        self.extent = extent;
        self.header.compacted = None;
        self.header.extent = extent;
        Ok(self.journal.rewrite_header(&self.header)?)
    }

    fn check_place(&self) -> io::Result<()> {
        let (Sink::File { file, path }, Some(state)) = (&self.sink, &self.state) else {
            return Ok(());
        };
        flusher::is_in_place(file, path)?;
        flusher::holds(file, self.len.load(Ordering::Acquire))?;
        flusher::holds_lock(&state.file, &state.path)
    }

    /// Writes what still waits for its purge, and the header if no row was ever written.
    fn release_held(&mut self, index: &mut ResumeIndex) -> Result<(), ReportError> {
        let held = match &mut self.sink {
            Sink::Stdout { held, .. } => std::mem::take(held),
            Sink::File { .. } => BTreeMap::new(),
        };
        let outcomes: Vec<Outcome> = held.into_values().collect();
        self.write_rows(&outcomes, index)
            .map_err(|error| error.source)?;
        self.begin_buffer();
        let (_, written) = self.write_buffer();
        written.map_err(|source| self.error(source))
    }

    /// The job is settled: its end mark takes the place of its state.
    fn remove_state(&mut self) -> Result<(), ReportError> {
        if let Sink::File { file, .. } = &self.sink {
            end_mark::set(file, self.extent);
        }
        match self.state.take().map(StateFile::remove) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(ReportError::Write {
                name: format!("{}.state", self.name),
                source,
            }),
        }
    }
}
