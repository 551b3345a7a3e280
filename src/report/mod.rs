//! The report: one true row for each record, and its own journal of what is decided.
//!
//! Outcomes come in, rows are with the kernel before anything else is done with them. Rows are only ever appended
//! while a run goes on; the last row of an ID counts. [`open()`] reads what earlier runs left, and
//! [`Report::finish`] leaves one row for each decided record, however the run ended.

mod claim;
mod compact;
mod end_mark;
mod evidence;
mod file;
mod finish;
mod index;
mod open;
mod purges;
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

pub(crate) use claim::{Claimed, claim};
pub use file::ReportFile;
pub use finish::Finished;
pub use index::{Admission, Counted, ResumeIndex};
pub use open::{Existing, OpenError, Opened, ReportSettings, open};
pub use purges::PendingPurges;
pub use read::{Rows, is_report};
pub use resume::{inspect, rehearse};
pub(crate) use row::{Quote, cell, harmless};

use crate::files;
use crate::journal::{Extent, InFlight, Journal, JournalError, StateHeader};
use crate::outcome::{Outcome, Purge, Status};
use open::{Opening, Undo};

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, resumable.
    File(PathBuf),
    /// Standard output; cannot be resumed.
    Stdout,
}

/// Rows by status.
pub type Counts = [u64; Status::ALL.len()];

/// Rows by what became of their purge.
pub type PurgeCounts = [u64; Purge::ALL.len()];

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
    buffer: String,
    ends: Vec<usize>,
    stamp: row::Stamp,
    is_purging: bool,
    /// How far the rows reach.
    extent: Extent,
    /// Where this run's rows begin: a byte of the file, and the bytes of rows before it.
    begin: (u64, u64),
    journal: Journal,
    header: StateHeader,
    undo: Undo,
}

#[derive(Debug)]
enum Sink {
    File(Arc<ReportFile>),
    /// The header is written with the first rows, so that a run that never began leaves nothing.
    Stdout {
        is_header_due: bool,
        /// Rows that wait for their purge: what is written here cannot be amended.
        held: BTreeMap<Box<str>, Outcome>,
    },
}

impl Report {
    fn to_stdout(settings: &ReportSettings<'_>) -> Self {
        Self {
            name: "stdout".into(),
            sink: Sink::Stdout {
                is_header_due: true,
                held: BTreeMap::new(),
            },
            buffer: String::new(),
            ends: Vec::new(),
            stamp: row::Stamp::default(),
            is_purging: settings.max_purges.is_some(),
            extent: Extent::EMPTY,
            begin: (0, 0),
            journal: Journal::none(),
            header: settings.new_header(),
            undo: Undo::Created { backup: None },
        }
    }

    /// A report whose next row goes to the file's end; the state says from now on that a run is under way.
    fn to_file(
        opening: &Opening<'_>,
        file: File,
        undo: Undo,
        header: StateHeader,
        in_doubt: &[InFlight],
    ) -> Result<Self, OpenError> {
        let (settings, place, state) = (opening.settings, &opening.place, &opening.state);
        let begin = file.metadata().map_err(place.io())?.len();
        let journal = Journal::begin(
            format!("{}.state", place.name),
            state.file.try_clone().map_err(place.io())?,
            &header,
            settings.max_url(),
            in_doubt,
        )?;
        files::sync_folder(&place.path).map_err(place.io())?;
        Ok(Self {
            sink: Sink::File(Arc::new(ReportFile {
                file,
                path: place.path.clone(),
                len: AtomicU64::new(begin),
                state: Arc::clone(state),
            })),
            name: place.name.clone(),
            extent: header.extent,
            begin: (begin, header.extent.bytes),
            journal,
            header,
            undo,
            ..Self::to_stdout(settings)
        })
    }

    /// The report's name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The journal that goes with it.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Whether this run purges what it deletes.
    pub fn is_purging(&self) -> bool {
        self.is_purging
    }

    /// Its file, to be flushed on another thread; `None` for stdout.
    pub fn file(&self) -> Option<Arc<ReportFile>> {
        match &self.sink {
            Sink::File(out) => Some(Arc::clone(out)),
            Sink::Stdout { .. } => None,
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
            held.extend(held_back.into_iter().map(|one| (one.file_id.clone(), one)));
            return self.write_rows(&ready, index);
        }
        self.write_rows(outcomes, index)
    }

    /// Appends a row that tells what became of a purge; it replaces the row of the same ID.
    pub fn amend(&mut self, outcome: &Outcome, index: &mut ResumeIndex) -> Result<(), ReportError> {
        self.write_rows(std::slice::from_ref(outcome), index)
            .map_err(|error| error.source)?;
        if let Sink::Stdout { held, .. } = &mut self.sink {
            held.remove(&outcome.file_id);
        }
        Ok(())
    }

    /// Writes rows as far as the kernel takes them, and counts those that stand whole.
    fn write_rows(
        &mut self,
        outcomes: &[Outcome],
        index: &mut ResumeIndex,
    ) -> Result<(), AppendError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        self.begin_buffer();
        for outcome in outcomes {
            row::write(&mut self.buffer, outcome, &mut self.stamp);
            self.ends.push(self.buffer.len());
        }
        let (taken, result) = self.write_buffer();
        let rows = self.ends.partition_point(|end| *end <= taken);
        if self.is_purging || matches!(self.undo, Undo::Resumed { .. }) {
            index.note_written(&outcomes[..rows]);
        } else {
            index.count_written(&outcomes[..rows]);
        }
        let source = |source| AppendError {
            rows,
            source: self.error(source),
        };
        result.map_err(source)
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

    /// Writes the buffer as far as the kernel takes it; how many bytes of whole rows it took.
    fn write_buffer(&mut self) -> (usize, io::Result<()>) {
        let bytes = self.buffer.as_bytes();
        let (taken, result) = match &self.sink {
            Sink::File(out) => match out.check_end() {
                Ok(()) => write_as_far_as_it_goes(&mut &out.file, bytes),
                Err(error) => (0, Err(error)),
            },
            Sink::Stdout { .. } => {
                let mut stdout = io::stdout().lock();
                let (taken, result) = write_as_far_as_it_goes(&mut stdout, bytes);
                (taken, result.and_then(|()| stdout.flush()))
            }
        };
        let is_taken = |end: &&usize| **end <= taken;
        let whole = self.ends.iter().rev().find(is_taken).copied().unwrap_or(0);
        if let Sink::File(out) = &self.sink {
            let len = out.len.fetch_add(whole as u64, Ordering::AcqRel) + whole as u64;
            self.extent.add(&bytes[..whole]);
            self.journal.advance(self.extent);
            if whole < taken {
                // Half a row is repaired by the next run too, if this fails as well.
                let _ = out.file.set_len(len);
            }
        }
        (whole, result)
    }

    fn error(&self, source: io::Error) -> ReportError {
        ReportError::Write {
            name: self.name.clone(),
            source,
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
