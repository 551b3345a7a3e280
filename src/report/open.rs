//! Opens a report: new, instead of an old one, or where an earlier run left it.
//!
//! The lock comes first, then whatever may refuse, and only then is anything changed. The lock is on
//! the state file, because the report itself is replaced when it is made whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thiserror::Error;

use super::purges::PendingPurges;
use super::row::HEADER;
use super::{Counts, Destination, PurgeCounts, Report, ReportError, ResumeIndex, Sink};
use crate::journal::StateFile;
use crate::journal::{self, Job, Journal, JournalError, SlotSize, StateHeader, UrlsInSlots};

const STATE_VERSION: u32 = 1;

/// What to do with a report that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Touch nothing.
    Refuse,
    /// Keep it as `<report>.bak` and start a new job.
    Overwrite,
    /// Go on with its job; start fresh if there is none.
    Resume,
}

/// What is asked of [`open`].
#[derive(Debug)]
pub struct Request<'a> {
    /// Where the report goes.
    pub destination: &'a Destination,
    /// What to do with one that is there.
    pub existing: Existing,
    /// Whose job it is.
    pub job: &'a Job,
    /// The most IDs a request will have.
    pub batch_size: usize,
    /// The most purges that this run may have to do; `None` if it purges nothing.
    pub max_purges: Option<u64>,
}

impl Request<'_> {
    fn slot_size(&self) -> SlotSize {
        let urls = match self.max_purges {
            Some(_) => UrlsInSlots::Kept,
            None => UrlsInSlots::LeftOut,
        };
        SlotSize {
            ids: self.batch_size,
            urls,
        }
    }
}

/// A report, ready for rows.
#[derive(Debug)]
pub struct Opened {
    /// The report.
    pub report: Report,
    /// What earlier runs left.
    pub index: ResumeIndex,
    /// Settled rows of earlier runs, by status.
    pub settled: Counts,
    /// Purges that earlier runs left to be done.
    pub pending_purges: PendingPurges,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// Why a report cannot be opened; nothing was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another run holds it (exit 75).
    #[error("another run holds {0}; wait for its end, or give another --report")]
    Locked(String),
    /// There is one, and nobody said what to do with it.
    #[error(
        "{0} exists; go on with it by --resume, or start a new job by --overwrite (the old one is kept as .bak)"
    )]
    Exists(String),
    /// There is a file of that name that this program did not write.
    #[error(
        "{name} is not a report of this program{at}; it was left as it is: give another --report"
    )]
    NotOurs {
        /// The file.
        name: String,
        /// Where it shows, in words.
        at: String,
    },
    /// A folder, a device or a pipe: it could neither be gone on with nor be kept as `.bak`.
    #[error("{0} is not a regular file; give --report the path of a file, or - for stdout")]
    NotAFile(String),
    /// The sandbox wrote it: nothing in it is true of real files.
    #[error(
        "{0} was written by a rehearsal in the sandbox, which deleted nothing; give another --report"
    )]
    Rehearsal(String),
    /// It belongs to another host.
    #[error("{name} belongs to a job for {host}; give that --base-url, or another --report")]
    OtherHost {
        /// The report.
        name: String,
        /// The job's host.
        host: String,
    },
    /// It belongs to another key.
    #[error(
        "{0} belongs to a job with another key, perhaps of another account; use that key, or another --report"
    )]
    OtherKey(String),
    /// The system says no (exit 5).
    #[error("cannot write the report {name}: {source}; give another place with --report")]
    Io {
        /// The report.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state beside it cannot be written (exit 5).
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Rows cannot be written (exit 5).
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl OpenError {
    /// Whether another run holds the report.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked(_))
    }

    /// Whether the report cannot be written, as against having been refused.
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Journal(_) | Self::Report(_))
    }
}

/// How to undo an opening while nothing was sent.
#[derive(Debug)]
pub(super) enum Undo {
    Created {
        old_state: Option<Vec<u8>>,
    },
    Overwrote {
        old_state: Option<Vec<u8>>,
    },
    Resumed {
        had_state: bool,
        /// Whose job it was.
        old_header: Option<Box<StateHeader>>,
    },
}

/// Opens a report and locks its job, before anything is sent.
pub fn open(request: &Request<'_>) -> Result<Opened, OpenError> {
    let path = match request.destination {
        Destination::Stdout => return Ok(to_stdout(request)),
        // A link stays a link: what it names is what is replaced.
        Destination::File(path) => fs::canonicalize(path).unwrap_or_else(|_| path.clone()),
    };
    let name = path_name(request.destination);
    let io = |source| OpenError::Io {
        name: name.clone(),
        source,
    };
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(OpenError::NotAFile(name));
    }
    let state = StateFile::lock(with_suffix(&path, ".state"))
        .map_err(io)?
        .ok_or_else(|| OpenError::Locked(name.clone()))?;
    let opening = Opening {
        request,
        path: &path,
        name: &name,
    };
    let had_state = state.old.is_some();
    let state_path = state.path.clone();
    // The lock lasts as long as a handle does: nobody may take it on a file that is then removed.
    let lock = state.file.try_clone().map_err(io)?;
    let opened = opening.open(state).inspect_err(|_| {
        if !had_state {
            // Ours alone, and empty or about a job that never began.
            let _ = fs::remove_file(state_path);
        }
    });
    drop(lock);
    opened
}

fn to_stdout(request: &Request<'_>) -> Opened {
    let report = Report {
        name: "stdout".into(),
        sink: Sink::Stdout {
            is_header_due: true,
            held: BTreeMap::new(),
        },
        len: Arc::default(),
        buffer: String::new(),
        ends: Vec::new(),
        written: 0,
        counts: Counts::default(),
        loaded: Counts::default(),
        purges: PurgeCounts::default(),
        loaded_purges: PurgeCounts::default(),
        is_purging: request.max_purges.is_some(),
        journal: Journal::none(),
        header: new_header(request),
        state: None,
        undo: Undo::Created { old_state: None },
        begin: 0,
    };
    Opened {
        report,
        index: ResumeIndex::default(),
        settled: Counts::default(),
        pending_purges: PendingPurges::default(),
        notices: Vec::new(),
    }
}

pub(super) fn new_header(request: &Request<'_>) -> StateHeader {
    StateHeader {
        version: STATE_VERSION,
        job: request.job.clone(),
        boot: journal::boot(),
        stride: journal::stride(request.slot_size()),
        is_at_rest: false,
        was_key_refused: false,
        is_all_in_doubt: false,
    }
}

pub(super) struct Opening<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) path: &'a Path,
    pub(super) name: &'a str,
}

impl Opening<'_> {
    pub(super) fn io(&self) -> impl Fn(io::Error) -> OpenError {
        let name = self.name.to_owned();
        move |source| OpenError::Io {
            name: name.clone(),
            source,
        }
    }

    fn open(&self, state: StateFile) -> Result<Opened, OpenError> {
        let is_there = self.path.symlink_metadata().is_ok();
        match (is_there, self.request.existing) {
            (false, Existing::Resume) => self.create_anew(state),
            (false, _) => {
                let old_state = state.old.clone();
                self.create(state, Undo::Created { old_state })
            }
            (true, Existing::Refuse) => Err(OpenError::Exists(self.name.into())),
            (true, Existing::Overwrite) => {
                self.set_aside().map_err(self.io())?;
                let old_state = state.old.clone();
                let created = self.create(state, Undo::Overwrote { old_state });
                created.inspect_err(|_| drop(put_back(self.path)))
            }
            (true, Existing::Resume) => self.resume(state),
        }
    }

    /// Makes the report that is there the `.bak`. An older one is gone only once rows are written.
    fn set_aside(&self) -> io::Result<()> {
        let backup = with_suffix(self.path, ".bak");
        if backup.symlink_metadata().is_ok() {
            fs::rename(&backup, with_suffix(self.path, OLDER))?;
        }
        fs::rename(self.path, backup)
    }

    /// A report that is missing beside its state was lost: what it told of is in doubt.
    fn create_anew(&self, state: StateFile) -> Result<Opened, OpenError> {
        let old_state = state.old.clone().filter(|old| !old.is_empty());
        let Some(old) = &old_state else {
            return self.create(state, Undo::Created { old_state });
        };
        self.check_job(journal::read(old).map(|(header, _)| header).as_ref())?;
        let mut opened = self.create(state, Undo::Created { old_state })?;
        opened.index.is_all_in_doubt = true;
        opened.report.doubt_all()?;
        opened.notices.push(format!(
            "warning: {} is missing, its state is there: what is not there any more is told gone, as an earlier run may have deleted it",
            self.name
        ));
        Ok(opened)
    }

    fn create(&self, state: StateFile, undo: Undo) -> Result<Opened, OpenError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path);
        let mut file = file.map_err(self.io())?;
        let begun = file.write_all(HEADER.as_bytes()).map_err(self.io());
        let begun = begun.and_then(|()| self.report(file, state, undo, new_header(self.request)));
        let report = begun.inspect_err(|_| drop(fs::remove_file(self.path)))?;
        Ok(Opened {
            report,
            index: ResumeIndex::default(),
            settled: Counts::default(),
            pending_purges: PendingPurges::default(),
            notices: Vec::new(),
        })
    }

    /// A report whose next row goes to the file's end.
    pub(super) fn report(
        &self,
        file: File,
        state: StateFile,
        undo: Undo,
        header: StateHeader,
    ) -> Result<Report, OpenError> {
        let begin = file.metadata().map_err(self.io())?.len();
        let len = Arc::new(AtomicU64::new(begin));
        let state_name = format!("{}.state", self.name);
        let state_file = state.file.try_clone().map_err(self.io())?;
        let journal = Journal::begin(
            state_name,
            state_file,
            &header,
            self.request.slot_size().urls,
            Arc::clone(&len),
        )?;
        Ok(Report {
            name: self.name.into(),
            sink: Sink::File {
                file,
                path: self.path.into(),
            },
            len,
            buffer: String::new(),
            ends: Vec::new(),
            written: 0,
            counts: Counts::default(),
            loaded: Counts::default(),
            purges: PurgeCounts::default(),
            loaded_purges: PurgeCounts::default(),
            is_purging: self.request.max_purges.is_some(),
            journal,
            header,
            state: Some(state),
            undo,
            begin,
        })
    }
}

impl Report {
    /// Whatever is not settled may have been deleted, for later runs too.
    fn doubt_all(&mut self) -> Result<(), JournalError> {
        self.header.is_all_in_doubt = true;
        self.journal.rewrite_header(&self.header)
    }

    /// Gives an opened report up before anything was sent: leaves what was there before, and no more.
    pub fn discard(mut self) -> Result<(), ReportError> {
        let Some(state) = self.state.take() else {
            return Ok(());
        };
        let Sink::File { path, .. } = &self.sink else {
            return Ok(());
        };
        let undone = match &self.undo {
            Undo::Created { old_state } => {
                fs::remove_file(path).and_then(|()| state.restore(old_state.as_deref()))
            }
            Undo::Overwrote { old_state } => {
                put_back(path).and_then(|()| state.restore(old_state.as_deref()))
            }
            Undo::Resumed {
                had_state: false, ..
            } => state.remove(),
            Undo::Resumed { old_header, .. } => {
                self.header.is_at_rest = true;
                if let Some(old) = old_header {
                    // A run that never began does not take the job over.
                    self.header.job = old.job.clone();
                    self.header.was_key_refused = old.was_key_refused;
                }
                return Ok(self.journal.rewrite_header(&self.header)?);
            }
        };
        undone.map_err(|source| self.error(source))
    }
}

/// What the `.bak` is called until the run that makes another has begun.
const OLDER: &str = ".bak.older";

/// Undoes what `set_aside` did.
fn put_back(path: &Path) -> io::Result<()> {
    let (backup, older) = (with_suffix(path, ".bak"), with_suffix(path, OLDER));
    fs::rename(&backup, path)?;
    if older.symlink_metadata().is_ok() {
        fs::rename(older, backup)?;
    }
    Ok(())
}

/// Takes the older `.bak` away: there is a newer one to stay.
pub(super) fn forget_older(path: &Path) {
    let _ = fs::remove_file(with_suffix(path, OLDER));
}

fn path_name(destination: &Destination) -> String {
    match destination {
        Destination::File(path) => path.to_string_lossy().into_owned(),
        Destination::Stdout => "stdout".into(),
    }
}

/// The path with more at its end: `a.csv` and `.state` make `a.csv.state`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Flushes a folder, so that a file's name in it survives a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
