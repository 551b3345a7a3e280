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
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use compact_str::CompactString;
use thiserror::Error;

pub(crate) use claim::{Claimed, claim, rehearse_claim};
pub use file::ReportFile;
pub use finish::{Finished, Kept};
pub use index::{Admission, Counted, ResumeIndex};
pub use open::{Existing, OpenError, Opened, ReportSettings, open};
pub use purges::PendingPurges;
pub use read::{Rows, is_report};
pub use resume::{inspect, rehearse};
pub(crate) use row::escape_formula;

use crate::files::sync_folder;
use crate::journal::{Journal, JournalError, SentId, StateHeader};
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

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Stdout => formatter.write_str("stdout"),
        }
    }
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
    sink: Sink,
    buffer: String,
    ends: Vec<usize>,
    common: row::Common,
    is_purging: bool,
}

#[derive(Debug)]
enum Sink {
    File(OnDisk),
    /// The header is written with the first rows, so that a run that never began leaves nothing.
    Stdout {
        is_header_due: bool,
        /// Rows that wait for their purge: what is written here cannot be amended.
        held: BTreeMap<CompactString, Outcome>,
    },
}

/// A report in a file, with what makes it resumable.
#[derive(Debug)]
struct OnDisk {
    file: Arc<ReportFile>,
    journal: Journal,
    /// Where this run's rows begin: a byte of the file, and the bytes of rows before it.
    begin: (u64, u64),
    undo: Undo,
}

impl Report {
    fn new(settings: &ReportSettings<'_>, sink: Sink) -> Self {
        Self {
            sink,
            buffer: String::new(),
            ends: Vec::new(),
            common: row::Common::default(),
            is_purging: settings.max_purges.is_some(),
        }
    }

    fn to_stdout(settings: &ReportSettings<'_>) -> Self {
        let sink = Sink::Stdout {
            is_header_due: true,
            held: BTreeMap::new(),
        };
        Self::new(settings, sink)
    }

    /// A report whose next row goes to the file's end; the state says from now on that a run is under way. If that
    /// fails, `undo` is done.
    fn to_file(
        opening: &Opening<'_>,
        file: File,
        undo: Undo,
        header: StateHeader,
        in_doubt: &[SentId],
    ) -> Result<Self, OpenError> {
        let (settings, place) = (opening.settings, &opening.place);
        let begin = || -> Result<_, OpenError> {
            begin_with_header(&file).map_err(place.io())?;
            let len = file.metadata().map_err(place.io())?.len();
            let (name, rows) = (format!("{}.state", place.name), header.extent.bytes);
            let state = Arc::clone(&opening.state);
            let journal = Journal::begin(name, state, header, settings.max_url(), in_doubt)?;
            sync_folder(&place.path).map_err(place.io())?;
            Ok((journal, (len, rows)))
        };
        let (journal, begin) = begin().inspect_err(|_| drop(undo.apply(&file, place)))?;
        let file = ReportFile {
            file,
            place: place.clone(),
            len: begin.0.into(),
            state: Arc::clone(&opening.state),
        };
        let on_disk = OnDisk {
            file: file.into(),
            journal,
            begin,
            undo,
        };
        Ok(Self::new(settings, Sink::File(on_disk)))
    }

    fn on_disk(&self) -> Option<&OnDisk> {
        match &self.sink {
            Sink::File(on_disk) => Some(on_disk),
            Sink::Stdout { .. } => None,
        }
    }

    /// The journal that goes with it; `None` for stdout, which cannot be resumed.
    pub fn journal(&self) -> Option<Journal> {
        self.on_disk().map(|on_disk| on_disk.journal.clone())
    }

    /// Its file, to be flushed on another thread; `None` for stdout.
    pub fn file(&self) -> Option<Arc<ReportFile>> {
        self.on_disk().map(|on_disk| Arc::clone(&on_disk.file))
    }

    /// Whether this run purges what it deletes.
    pub fn is_purging(&self) -> bool {
        self.is_purging
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
            row::write(&mut self.buffer, outcome, &mut self.common);
            self.ends.push(self.buffer.len());
        }
        let (taken, result) = self.write_buffer();
        let rows = self.ends.partition_point(|end| *end <= taken);
        let is_resumed = |on_disk: &OnDisk| matches!(on_disk.undo, Undo::Resumed { .. });
        if self.is_purging || self.on_disk().is_some_and(is_resumed) {
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
            Sink::File(OnDisk { file, .. }) => match file.check_end() {
                Ok(()) => write_as_far_as_it_goes(&mut &file.file, bytes),
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
        if let Sink::File(OnDisk { file, journal, .. }) = &self.sink {
            let len = file.len.fetch_add(whole as u64, Ordering::AcqRel) + whole as u64;
            journal.add_rows(&bytes[..whole]);
            if whole < taken {
                // Half a row is repaired by the next run too, if this fails as well.
                let _ = file.file.set_len(len);
            }
        }
        (whole, result)
    }

    fn error(&self, source: io::Error) -> ReportError {
        match &self.sink {
            Sink::File(on_disk) => on_disk.error(source),
            Sink::Stdout { .. } => ReportError::Write {
                name: Destination::Stdout.to_string(),
                source,
            },
        }
    }
}

impl OnDisk {
    fn error(&self, source: io::Error) -> ReportError {
        let name = self.file.place.name.clone();
        ReportError::Write { name, source }
    }
}

/// Writes the header of a report that has none yet.
fn begin_with_header(mut file: &File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        file.write_all(row::HEADER.as_bytes())?;
    }
    Ok(())
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
