//! Opens a report: new, instead of an old one, or where an earlier run left it.
//!
//! The lock comes first, then whatever may refuse, and only then is anything changed. The lock is on the state file,
//! because the report itself is replaced when it is compacted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use thiserror::Error;

use super::read::FileKind;
use super::row::HEADER;
use super::{Destination, PendingPurges, Report, ReportError, ResumeIndex, end_mark};
use crate::files::{first_bytes, sync_folder, through_links, with_suffix};
use crate::journal::{
    self, Extent, JournalError, MAX_URL_BYTES, Owner, StateContents, StateError, StateFile,
    StateHeader,
};

/// How many backups there may be of one file.
const MAX_BACKUPS: u32 = 10_000;

/// What to do with a report that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Touch nothing.
    Refuse,
    /// Keep it as `<report>.bak`, or `.bak.2` and so on, and start a new job.
    Overwrite,
    /// Go on with its job; start fresh if there is none.
    Resume,
}

/// Which report to open, and for what.
#[derive(Debug)]
pub struct ReportSettings<'a> {
    /// Where the report goes.
    pub destination: &'a Destination,
    /// What to do with one that is there.
    pub existing: Existing,
    /// Whose job it is.
    pub owner: &'a Owner,
    /// The most IDs per request.
    pub batch_size: usize,
    /// The most purges that this run may have to do; `None` if it purges nothing.
    pub max_purges: Option<u64>,
}

impl ReportSettings<'_> {
    /// The longest URL that the state keeps, in bytes: only a run that purges needs them.
    pub(super) fn max_url(&self) -> usize {
        self.max_purges.map_or(0, |_| MAX_URL_BYTES)
    }

    pub(super) fn new_header(&self) -> StateHeader {
        let stride = journal::stride(self.batch_size, self.max_url());
        StateHeader::new(self.owner.clone(), stride)
    }
}

/// A report, ready for rows.
#[derive(Debug)]
pub struct Opened {
    /// The report.
    pub report: Report,
    /// What earlier runs left.
    pub index: ResumeIndex,
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
        "{0} exists; continue its job with --resume, or start a new one with --overwrite (the old report is kept as .bak)"
    )]
    Exists(String),
    /// The same of a list or a check, which cannot be continued.
    #[error(
        "{0} exists; use --overwrite to replace it (the old one is kept as .bak), or give another --report"
    )]
    SheetExists(String),
    /// There is a file of that name that this program did not write.
    #[error("{0} is not a report of this program; it was left alone: give another --report")]
    NotOurs(String),
    /// A report that another program saved anew.
    #[error(
        "{0}, line 1: an editor or a spreadsheet saved this report with other line ends, quotes or delimiters; it was left alone: restore it from a copy, or start a new job with --overwrite"
    )]
    Resaved(String),
    /// It is a report, and something in it is no row, with rows behind it.
    #[error(
        "{name} is damaged: line {line} is not a row of a report; it was left alone: restore it from a copy, or start a new job with --overwrite"
    )]
    Damaged {
        /// The report.
        name: String,
        /// The line, as an editor counts.
        line: u64,
    },
    /// Its rows are not those that this program wrote.
    #[error(
        "{name} was changed after it was written, somewhere before line {line}; it was left alone: restore it from a copy, or start a new job with --overwrite"
    )]
    Changed {
        /// The report.
        name: String,
        /// The first line that is known to be behind the change.
        line: u64,
    },
    /// A file in the place of the state, or of what is not complete yet, that this program did not write.
    #[error(
        "this program needs the name {0} for a file of its own, and what is there is not that; it was left alone: move it away, or give another --report"
    )]
    NameTaken(String),
    /// A folder, a device or a pipe: it could neither be gone on with nor be kept as `.bak`.
    #[error("{0} is not a regular file; give --report the path of a file, or - for stdout")]
    NotAFile(String),
    /// It lies in a folder where everybody may write, and is somebody else's.
    #[error(
        "{0} belongs to another user, in a folder where everybody can write; give another --report"
    )]
    NotYours(String),
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
    /// The system says no.
    #[error("cannot write the report {name}: {source}; give another place with --report")]
    Io {
        /// The report.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system starts no thread to read it.
    #[error(
        "cannot start a thread to read the report {name}: {source}; allow more processes (`ulimit -u`)"
    )]
    NoThread {
        /// The report.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state beside it cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Rows cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl OpenError {
    /// Whether another run holds the report.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked(_))
    }
}

/// How to undo an opening while nothing was sent.
#[derive(Debug)]
pub(super) enum Undo {
    /// Take the report away, and put back the one whose place it took.
    Created { backup: Option<PathBuf> },
    /// Leave the report, with the end mark that it had.
    Resumed { end_mark: Option<Extent> },
}

impl Undo {
    pub(super) fn apply(&self, report: &File, place: &Place) -> io::Result<()> {
        match self {
            Self::Created { backup: None } => fs::remove_file(&place.path),
            Self::Created {
                backup: Some(backup),
            } => fs::rename(backup, &place.path),
            Self::Resumed { end_mark } => {
                if let Some(mark) = end_mark {
                    end_mark::set(report, *mark);
                }
                Ok(())
            }
        }
    }
}

/// Opens a report and locks its job, before anything is sent.
pub fn open(settings: &ReportSettings<'_>) -> Result<Opened, OpenError> {
    let Destination::File(path) = settings.destination else {
        return Ok(opened(Report::to_stdout(settings)));
    };
    let place = Place::of(path)?;
    let opening = Opening {
        state: place.lock(&settings.new_header())?.into(),
        settings,
        place,
    };
    // The lock lasts until all is as it was.
    opening.open().inspect_err(|_| {
        let _ = opening.state.restore();
    })
}

/// Where a report lies, and its name for people.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) name: String,
}

impl Place {
    /// A link stays a link: what it names is what is written, there already or not.
    pub(super) fn of(path: &Path) -> Result<Self, OpenError> {
        let name = path.to_string_lossy().into_owned();
        let behind_links = || through_links(path).last().unwrap_or_else(|| path.into());
        let path = fs::canonicalize(path).unwrap_or_else(|_| behind_links());
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(OpenError::NotAFile(name));
        }
        Ok(Self { path, name })
    }

    /// Where a file stands that is to take this place once it is complete.
    pub(super) fn part(&self) -> Self {
        Self {
            path: with_suffix(&self.path, ".part"),
            name: format!("{}.part", self.name),
        }
    }

    pub(super) fn io(&self) -> impl Fn(io::Error) -> OpenError + use<> {
        let name = self.name.clone();
        move |source| OpenError::Io {
            name: name.clone(),
            source,
        }
    }

    pub(super) fn state_path(&self) -> PathBuf {
        with_suffix(&self.path, ".state")
    }

    pub(super) fn state_error(&self, error: StateError) -> OpenError {
        match error {
            StateError::Locked => OpenError::Locked(self.name.clone()),
            StateError::Foreign => OpenError::NameTaken(format!("{}.state", self.name)),
            StateError::Io(source) => self.io()(source),
        }
    }

    /// Why a file that begins so cannot be continued.
    pub(super) fn no_report(&self, kind: FileKind) -> OpenError {
        match kind {
            FileKind::Resaved => OpenError::Resaved(self.name.clone()),
            _ => OpenError::NotOurs(self.name.clone()),
        }
    }

    pub(super) fn lock(&self, header: &StateHeader) -> Result<StateFile, OpenError> {
        let content = journal::unbegun(header).map_err(self.io())?;
        StateFile::lock(self.state_path(), &content).map_err(|error| self.state_error(error))
    }

    /// Creates the file, for its owner alone, where there is none.
    pub(super) fn create_new(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
    }

    /// Creates the file, and says where the one is now that was there.
    fn create(&self, existing: Existing) -> Result<(File, Option<PathBuf>), OpenError> {
        let is_there = self.path.symlink_metadata().is_ok();
        let backup = match (is_there, existing) {
            (false, _) => None,
            (true, Existing::Overwrite) => Some(set_aside(&self.path).map_err(self.io())?),
            (true, _) => return Err(OpenError::Exists(self.name.clone())),
        };
        let file = self
            .create_new()
            .and_then(|file| sync_folder(&self.path).map(|()| file))
            .inspect_err(|_| {
                if let Some(backup) = &backup {
                    let _ = fs::rename(backup, &self.path);
                }
            });
        Ok((file.map_err(self.io())?, backup))
    }

    /// Whether a file is there; one that does not begin with `header`, as far as it goes, is an error.
    pub(super) fn is_ours(&self, header: &str) -> Result<bool, OpenError> {
        let Ok(there) = self.path.symlink_metadata() else {
            return Ok(false);
        };
        if there.is_file() {
            let begin = File::open(&self.path).and_then(|file| first_bytes(&file, header.len()));
            if header.as_bytes().starts_with(&begin.map_err(self.io())?) {
                return Ok(true);
            }
        }
        Err(OpenError::NameTaken(self.name.clone()))
    }

    /// Takes away what a run left that did not come to its end, and nothing else.
    pub(super) fn remove_ours(&self, header: &str) -> Result<(), OpenError> {
        if self.is_ours(header)? {
            fs::remove_file(&self.path).map_err(self.io())?;
        }
        Ok(())
    }
}

pub(super) fn opened(report: Report) -> Opened {
    Opened {
        report,
        index: ResumeIndex::default(),
        pending_purges: PendingPurges::default(),
        notices: Vec::new(),
    }
}

/// A report that is being opened, its job locked.
pub(super) struct Opening<'a> {
    pub(super) settings: &'a ReportSettings<'a>,
    pub(super) place: Place,
    pub(super) state: Arc<StateFile>,
}

impl Opening<'_> {
    fn open(&self) -> Result<Opened, OpenError> {
        let (place, existing) = (&self.place, self.settings.existing);
        let is_there = place.path.symlink_metadata().is_ok();
        // The report is compacted by way of it.
        place.part().is_ours(HEADER)?;
        if is_there && existing == Existing::Resume {
            return self.resume();
        }
        let is_lost = match &self.state.old {
            Some(old) if !is_there && existing != Existing::Overwrite => {
                let found = journal::inspect(old);
                if existing == Existing::Resume {
                    self.check_owner(found.header.as_ref())?;
                }
                has_begun(&found)
            }
            _ => false,
        };
        let (file, backup) = place.create(existing)?;
        let header = StateHeader {
            is_all_in_doubt: is_lost,
            is_at_rest: false,
            ..self.settings.new_header()
        };
        let undo = Undo::Created { backup };
        let mut opened = opened(Report::to_file(self, file, undo, header, &[])?);
        if is_lost {
            opened.index.is_all_in_doubt = true;
            opened.notices.push(self.doubt_notice(&format!(
                "{name} is missing but {name}.state exists",
                name = place.name
            )));
        }
        Ok(opened)
    }

    pub(super) fn doubt_notice(&self, why: &str) -> String {
        let name = &self.place.name;
        format!(
            "warning: {why}: files that no longer exist are reported as gone, because an earlier run may have deleted them; {name}.state is kept for that"
        )
    }

    pub(super) fn check_owner(&self, header: Option<&StateHeader>) -> Result<(), OpenError> {
        let Some(header) = header else { return Ok(()) };
        let (theirs, ours) = (&header.owner, self.settings.owner);
        if theirs.host != ours.host {
            return Err(OpenError::OtherHost {
                name: self.place.name.clone(),
                host: theirs.host.clone(),
            });
        }
        if theirs.key != ours.key && !header.was_key_refused {
            return Err(OpenError::OtherKey(self.place.name.clone()));
        }
        Ok(())
    }
}

/// Whether anything may have been sent: what a report told that is missing now is in doubt.
fn has_begun(found: &StateContents) -> bool {
    let is_untouched = found.header.as_ref().is_some_and(|header| {
        header.is_at_rest && header.extent == Extent::EMPTY && !header.is_all_in_doubt
    });
    found.is_damaged || !is_untouched || !found.in_doubt.is_empty()
}

/// Keeps a file under a name that is free: `.bak`, `.bak.2` and so on.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..MAX_BACKUPS {
        let suffix = if number == 1 {
            ".bak".into()
        } else {
            format!(".bak.{number}")
        };
        let backup = with_suffix(path, &suffix);
        if backup.symlink_metadata().is_ok() {
            continue;
        }
        match renameat_with(CWD, path, CWD, &backup, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(backup),
            Err(rustix::io::Errno::EXIST) => {}
            // Not every file system can promise that.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                return fs::rename(path, &backup).map(|()| backup);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("there are too many backups of it"))
}
