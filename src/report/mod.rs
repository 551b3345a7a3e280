//! The report: one true row for each record, and its own journal of what is decided.
//!
//! Outcomes come in, rows are with the kernel before anything else is done with them. Rows are only
//! ever appended while a run goes on; the last row of an ID counts. [`open()`] reads what earlier runs
//! left, and [`Report::finish`] makes a resumed report whole again: one row a record.

mod flusher;
mod purges;

mod compact;
mod index;
mod open;
mod read;
mod resume;
mod row;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

pub use flusher::Flusher;
pub use index::{Admission, ResumeIndex};
pub use open::{Existing, OpenError, Opened, Request, open, with_suffix};
pub use purges::PendingPurges;
pub use read::{Rows, is_report};
pub use resume::inspect;
pub(crate) use row::harmless;

use crate::journal::{Journal, JournalError, StateFile, StateHeader};
use crate::outcome::{Outcome, Purge, Status};

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, resumable.
    File(PathBuf),
    /// Standard output; cannot be resumed.
    Stdout,
}

/// The report cannot be written, or does not add up.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The kernel would not take it.
    #[error("cannot write {name}: {source}")]
    Write {
        /// The report's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state beside it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Rows and records differ: a fault of this program.
    #[error("the report has {rows} rows for {records} records; keep it and report this as a bug")]
    DoesNotAddUp {
        /// Rows, those of records that are gone not counted.
        rows: u64,
        /// Records of the input.
        records: u64,
    },
}

/// A write failed, and yet the kernel took some of its rows.
#[derive(Debug, Error)]
#[error("{source}")]
pub struct AppendError {
    /// How many of the rows stand, from the first: they count, whatever else happens.
    pub rows: usize,
    /// Why the others do not.
    pub source: ReportError,
}

/// The report of a run that goes on.
#[derive(Debug)]
pub struct Report {
    name: String,
    sink: Sink,
    /// Bytes that the kernel has.
    len: Arc<AtomicU64>,
    buffer: String,
    ends: Vec<usize>,
    /// How many rows of the last write stand whole.
    written: usize,
    /// This run's rows.
    counts: Counts,
    /// Rows that were there.
    loaded: Counts,
    /// This run's purges, and those that were there.
    purges: PurgeCounts,
    loaded_purges: PurgeCounts,
    is_purging: bool,
    journal: Journal,
    header: StateHeader,
    /// The lock, for files.
    state: Option<StateFile>,
    undo: open::Undo,
    /// Where this run's rows begin.
    begin: u64,
}

#[derive(Debug)]
enum Sink {
    File {
        file: File,
        path: PathBuf,
    },
    /// The header is written with the first rows, so that a run that never began leaves nothing.
    Stdout {
        is_header_due: bool,
        /// Rows that wait for their purge: what is written here cannot be amended.
        held: BTreeMap<Box<str>, Outcome>,
    },
}

/// Rows by status.
pub type Counts = [u64; Status::ALL.len()];

/// Rows by what became of their purge.
pub type PurgeCounts = [u64; Purge::ALL.len()];

/// What a run's end leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finished {
    /// Rows of records of this input, by status.
    pub counts: Counts,
    /// Rows by what became of their purge.
    pub purges: PurgeCounts,
    /// Rows of earlier runs whose record is no longer in the input.
    pub kept_rows: u64,
    /// Those of them that are `failed` or `unknown`: the record may come back, and the state stays for that.
    pub kept_unsettled: u64,
}

/// How a run ended, as far as the report must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All records were read and decided; so many there were.
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
    /// The report's name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The journal that goes with it.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Whether a later run can go on.
    pub fn is_resumable(&self) -> bool {
        matches!(self.sink, Sink::File { .. })
    }

    /// Whether this run purges what it deletes.
    pub fn is_purging(&self) -> bool {
        self.is_purging
    }

    /// Flushes it and watches over its place, on another thread; `None` for stdout.
    pub fn flusher(&self) -> io::Result<Option<Flusher>> {
        match &self.sink {
            Sink::File { file, path } => {
                let len = Arc::clone(&self.len);
                Ok(Some(Flusher::new(file.try_clone()?, path, len)))
            }
            Sink::Stdout { .. } => Ok(None),
        }
    }

    /// Appends rows: the kernel has them when this returns. Where it takes only some, the error says how many stand.
    pub fn append(
        &mut self,
        outcomes: &[Outcome],
        index: &mut ResumeIndex,
    ) -> Result<(), AppendError> {
        if let (true, Sink::Stdout { held, .. }) = (self.is_purging, &mut self.sink) {
            let (held_back, ready): (Vec<_>, Vec<_>) =
                outcomes.iter().cloned().partition(Outcome::is_purge_due);
            for outcome in held_back {
                self.counts[outcome.status as usize] += 1;
                held.insert(outcome.file_id.clone(), outcome);
            }
            return self.append_now(&ready, index);
        }
        self.append_now(outcomes, index)
    }

    /// Appends a row that tells what became of a purge; it replaces the row of the same ID.
    pub fn amend(&mut self, outcome: &Outcome, index: &mut ResumeIndex) -> Result<(), ReportError> {
        if let Sink::Stdout { held, .. } = &mut self.sink {
            held.remove(&outcome.file_id);
        }
        self.write_rows(std::slice::from_ref(outcome))?;
        index.note_amended(&outcome.file_id);
        self.count_purges(std::slice::from_ref(outcome));
        Ok(())
    }

    fn append_now(
        &mut self,
        outcomes: &[Outcome],
        index: &mut ResumeIndex,
    ) -> Result<(), AppendError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let written = self.write_rows(outcomes);
        let whole = self.written;
        for outcome in &outcomes[..whole] {
            self.counts[outcome.status as usize] += 1;
        }
        if self.is_purging {
            self.count_purges(&outcomes[..whole]);
        }
        if self.is_purging || self.is_resumed() {
            index.note_written(&outcomes[..whole]);
        }
        written.map_err(|source| AppendError {
            rows: whole,
            source,
        })
    }

    /// Writes rows as far as the kernel takes them; `written` says how many stand whole.
    fn write_rows(&mut self, outcomes: &[Outcome]) -> Result<(), ReportError> {
        self.begin_buffer();
        for outcome in outcomes {
            row::write(&mut self.buffer, outcome);
            self.ends.push(self.buffer.len());
        }
        let (taken, result) = self.write_buffer();
        self.written = self.ends.partition_point(|end| *end <= taken);
        result.map_err(|source| self.error(source))
    }

    fn count_purges(&mut self, outcomes: &[Outcome]) {
        for purge in outcomes.iter().filter_map(|outcome| outcome.purge) {
            self.purges[purge as usize] += 1;
        }
    }

    /// What the report holds where no row was replaced.
    fn finished(&self) -> Finished {
        Finished {
            counts: std::array::from_fn(|status| self.loaded[status] + self.counts[status]),
            purges: std::array::from_fn(|purge| self.loaded_purges[purge] + self.purges[purge]),
            kept_rows: 0,
            kept_unsettled: 0,
        }
    }

    fn begin_buffer(&mut self) {
        self.buffer.clear();
        self.ends.clear();
        if let Sink::Stdout { is_header_due, .. } = &mut self.sink
            && std::mem::take(is_header_due)
        {
            self.buffer.push_str(row::HEADER);
        }
    }

    fn is_resumed(&self) -> bool {
        matches!(self.undo, open::Undo::Resumed { .. })
    }

    /// Writes the buffer as far as the kernel takes it; how many bytes of whole rows it took.
    fn write_buffer(&mut self) -> (usize, io::Result<()>) {
        let bytes = self.buffer.as_bytes();
        let (taken, result) = match &mut self.sink {
            Sink::File { file, .. } => match flusher::holds(file, self.len.load(Ordering::Acquire))
            {
                Ok(()) => write_as_far_as_it_goes(file, bytes),
                Err(error) => (0, Err(error)),
            },
            Sink::Stdout { .. } => {
                let mut stdout = io::stdout().lock();
                let (taken, result) = write_as_far_as_it_goes(&mut stdout, bytes);
                (taken, result.and_then(|()| stdout.flush()))
            }
        };
        let whole = self
            .ends
            .iter()
            .rev()
            .find(|end| **end <= taken)
            .copied()
            .unwrap_or(0);
        let len = self.len.fetch_add(whole as u64, Ordering::AcqRel) + whole as u64;
        if let (Sink::File { file, .. }, true) = (&mut self.sink, whole < taken) {
            // Half a row is repaired by the next run too, if this fails as well.
            let _ = file.set_len(len);
        }
        (whole, result)
    }

    /// Ends the run: makes a completed report whole, and leaves the state only while something is unsettled. Whatever
    /// fails, the counts are of the rows that stand.
    pub fn finish(
        mut self,
        index: &mut ResumeIndex,
        ending: Ending,
    ) -> (Finished, Result<(), ReportError>) {
        let mut finished = self.finished();
        let closed = self.close(index, ending, &mut finished);
        (finished, closed)
    }

    /// Ends a run that is left with requests in flight: the report and its state stay as they are.
    pub fn leave(&mut self) -> (Finished, Result<(), ReportError>) {
        let released = self.release_held();
        (self.finished(), released)
    }

    fn close(
        &mut self,
        index: &mut ResumeIndex,
        ending: Ending,
        finished: &mut Finished,
    ) -> Result<(), ReportError> {
        if ending == Ending::Broken {
            return Ok(());
        }
        if let (Sink::File { path, .. }, open::Undo::Overwrote { .. }) = (&self.sink, &self.undo) {
            open::forget_older(path);
        }
        self.release_held()?;
        self.check_place().map_err(|source| self.error(source))?;
        if let Ending::Completed { records } = ending {
            if self.is_resumed() || self.is_purging {
                *finished = self.compact(index)?;
            }
            let rows = finished.counts.iter().sum();
            if rows != records {
                return Err(ReportError::DoesNotAddUp { rows, records });
            }
        }
        self.sync().map_err(|source| self.error(source))?;
        match ending {
            Ending::Completed { .. } if finished.is_settled() => self.remove_state(),
            _ => self.leave_state(ending),
        }
    }

    fn check_place(&self) -> io::Result<()> {
        match &self.sink {
            Sink::File { file, path } => flusher::is_in_place(file, path)
                .and_then(|()| flusher::holds(file, self.len.load(Ordering::Acquire))),
            Sink::Stdout { .. } => Ok(()),
        }
    }

    /// Writes what still waits for its purge, and the header if no row was ever written.
    fn release_held(&mut self) -> Result<(), ReportError> {
        let held = match &mut self.sink {
            Sink::Stdout { held, .. } => std::mem::take(held),
            Sink::File { .. } => BTreeMap::new(),
        };
        let outcomes: Vec<Outcome> = held.into_values().collect();
        self.write_rows(&outcomes)
    }

    fn error(&self, source: io::Error) -> ReportError {
        ReportError::Write {
            name: self.name.clone(),
            source,
        }
    }

    fn sync(&self) -> io::Result<()> {
        match &self.sink {
            Sink::File { file, path } => {
                file.sync_all()?;
                open::sync_folder(path)
            }
            Sink::Stdout { .. } => Ok(()),
        }
    }

    /// Nothing is in flight any more: the slots are cleared, the header says how the run ended.
    fn leave_state(&mut self, ending: Ending) -> Result<(), ReportError> {
        self.header.is_at_rest = true;
        self.header.was_key_refused = ending == Ending::KeyRefused;
        if let Ending::Completed { .. } = ending {
            self.header.is_all_in_doubt = false;
        }
        Ok(self.journal.rewrite_header(&self.header)?)
    }

    fn remove_state(&mut self) -> Result<(), ReportError> {
        match self.state.take().map(StateFile::remove) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(ReportError::Write {
                name: format!("{}.state", self.name),
                source,
            }),
        }
    }
}

fn write_as_far_as_it_goes(sink: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut taken = 0;
    while taken < bytes.len() {
        match sink.write(&bytes[taken..]) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}
