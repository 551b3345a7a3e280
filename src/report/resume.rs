//! Goes on from what earlier runs left: reads the rows, repairs a torn one, and ends the dead run as a stop would
//! have, with an `unknown` row for each ID that may have been in flight.
//!
//! The state and the end mark say how far the report reached and what its rows were. Rows that are missing put
//! whatever has no row in doubt; rows that are not what was written are refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Scope};

use rustix::fs::OFlags;

use super::evidence::Evidence;
use super::index::LoadedRow;
use super::open::{Existing, OpenError, Opened, Opening, Place, Undo};
use super::purges::Tracker;
use super::read::{self, FileKind, ReadEnd, Reader};
use super::row::{self, HEADER};
use super::{PendingPurges, Report, ResumeIndex, begin_with_header, end_mark};
use crate::files::{is_planted, with_suffix};
use crate::journal::{self, Extent, REHEARSAL_HOST, SentId, StateHeader};
use crate::outcome::Outcome;
use crate::target::Origin;

/// Rows that are taken in together: enough to wait for memory together, few enough to stay near the processor.
const ROWS_AT_ONCE: usize = 256;

/// Batches of rows between the thread that reads them and the one that takes them in.
const BATCHES_AHEAD: usize = 16;

/// Looks at what earlier runs left and changes nothing: for a dry run.
pub fn inspect(
    path: &Path,
    max_purges: Option<u64>,
    is_rehearsal: bool,
) -> Result<(ResumeIndex, PendingPurges), OpenError> {
    let place = Place::of(path)?;
    let file = File::open(&place.path).map_err(place.io())?;
    check_owner(&place, &file)?;
    let state = journal::peek(&place.state_path()).map_err(|error| place.state_error(error))?;
    let evidence = Evidence::of(state.as_deref(), &file);
    match read::kind(&file).map_err(place.io())? {
        FileKind::Ours => {}
        FileKind::Empty => return Ok((ResumeIndex::default(), PendingPurges::default())),
        kind => return Err(place.no_report(kind)),
    }
    let loaded = Loaded::read(&place, file, evidence, max_purges)?;
    if loaded.is_rehearsal && !is_rehearsal {
        return Err(OpenError::Rehearsal(place.name));
    }
    let (pending_purges, _) = loaded.tracker.finish(&place.path);
    Ok((loaded.index, pending_purges))
}

/// Fails where [`super::open()`] would, for a rehearsal of a job at `host`, and changes nothing. Which key the job
/// is for is not known then.
pub fn rehearse(path: &Path, existing: Existing, host: &str) -> Result<(), OpenError> {
    let place = Place::of(path)?;
    let state_path = place.state_path();
    journal::check_lock(&state_path).map_err(|error| place.state_error(error))?;
    place.part().is_ours(HEADER)?;
    let is_there = place.path.symlink_metadata().is_ok();
    match existing {
        Existing::Refuse if is_there => Err(OpenError::Exists(place.name)),
        Existing::Refuse | Existing::Overwrite => Ok(()),
        Existing::Resume => {
            // A state tells whose job it is without the report too.
            let state = journal::peek(&state_path).map_err(|error| place.state_error(error))?;
            let header = state.and_then(|state| journal::inspect(&state).header);
            match header.filter(|header| header.owner.host != host) {
                Some(header) => Err(OpenError::OtherHost {
                    name: place.name,
                    host: header.owner.host,
                }),
                None if is_there => inspect(path, None, false).map(drop),
                None => Ok(()),
            }
        }
    }
}

impl Opening<'_> {
    /// Goes on from what earlier runs left.
    pub(super) fn resume(&self) -> Result<Opened, OpenError> {
        let place = &self.place;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&place.path)
            .map_err(place.io())?;
        check_owner(place, &file)?;
        let mut evidence = Evidence::of(self.state.old.as_deref(), &file);
        let end_mark = evidence.end_mark;
        self.check_owner(evidence.header())?;
        match read::kind(&file).map_err(place.io())? {
            FileKind::Ours => {}
            FileKind::Empty => {
                // Without a state or a mark it is a file that somebody made for us, not a report that was emptied.
                evidence.end_mark.get_or_insert(Extent::EMPTY);
            }
            FileKind::TornHeader if evidence.state.is_some() => {
                file.set_len(0).map_err(place.io())?;
            }
            kind => return Err(place.no_report(kind)),
        }
        begin_with_header(&file).map_err(place.io())?;
        let again = File::open(&place.path).map_err(place.io())?;
        let mut loaded = Loaded::read(place, again, evidence, self.settings.max_purges)?;
        if loaded.is_rehearsal && self.settings.owner.host != REHEARSAL_HOST {
            return Err(OpenError::Rehearsal(place.name.clone()));
        }
        self.cut_torn(&file, &mut loaded)?;
        self.append_doubts(&mut file, &mut loaded)?;
        // A run that died while it compacted the report leaves its copy; the report itself stands.
        place.part().remove_ours(HEADER)?;
        self.go_on(file, loaded, end_mark)
    }

    /// Begins a run where the others ended.
    fn go_on(
        &self,
        file: File,
        mut loaded: Loaded,
        end_mark: Option<Extent>,
    ) -> Result<Opened, OpenError> {
        let place = &self.place;
        end_mark::remove(&file).map_err(place.io())?;
        let header = StateHeader {
            is_at_rest: false,
            is_all_in_doubt: loaded.index.is_all_in_doubt,
            extent: loaded.extent,
            ..self.settings.new_header()
        };
        let (pending_purges, urls) = loaded.tracker.finish(&place.path);
        loaded.index.urls = urls;
        let in_doubt = loaded.index.in_doubt();
        let undo = Undo::Resumed { end_mark };
        let report = Report::to_file(self, file, undo, header, &in_doubt)?;
        let mut notices = loaded.notices;
        notices.extend(loaded.why.as_deref().map(|why| self.doubt_notice(why)));
        Ok(Opened {
            report,
            index: loaded.index,
            pending_purges,
            notices,
        })
    }

    /// Takes a torn row off the end; its bytes are kept.
    fn cut_torn(&self, file: &File, loaded: &mut Loaded) -> Result<(), OpenError> {
        let ReadEnd::Torn { begin, sent } = std::mem::replace(&mut loaded.end, ReadEnd::Whole)
        else {
            return Ok(());
        };
        let torn = with_suffix(&self.place.path, ".torn");
        keep_torn(file, begin, &torn)
            .and_then(|()| file.set_len(begin))
            .map_err(self.place.io())?;
        let name = &self.place.name;
        loaded.notices.push(format!(
            "{name}: an incomplete last row was moved to {name}.torn"
        ));
        let known = |file_id: &String| loaded.doubts.iter().any(|sent| sent.file_id == *file_id);
        if let Some(file_id) = sent.filter(|file_id| !known(file_id)) {
            loaded.doubts.push(SentId::in_doubt(&file_id));
        }
        Ok(())
    }

    /// Ends the dead run as a stop would have: an `unknown` row for each ID that may have been in flight.
    /// They are on the disk before the slots that told of them are cleared.
    fn append_doubts(&self, file: &mut File, loaded: &mut Loaded) -> Result<(), OpenError> {
        let (mut rows, mut common) = (String::new(), row::Common::default());
        for sent in std::mem::take(&mut loaded.doubts) {
            if loaded.index.needs_doubt(&sent.file_id) {
                let row = interrupted(&sent);
                row::write(&mut rows, &row, &mut common);
                loaded.index.note_written(&[row]);
                if let Some(url) = &sent.url {
                    loaded.tracker.keep_url(&sent.file_id, url);
                }
            }
        }
        if !rows.is_empty() {
            file.write_all(rows.as_bytes())
                .and_then(|()| file.sync_data())
                .map_err(self.place.io())?;
            loaded.extent.add(rows.as_bytes());
        }
        Ok(())
    }
}

/// What was read of a report, and what came of holding it against the evidence.
#[derive(Default)]
struct Loaded {
    index: ResumeIndex,
    tracker: Tracker,
    extent: Extent,
    end: ReadEnd,
    /// A row of it came from the sandbox, and it is no practice.
    is_rehearsal: bool,
    /// IDs that may have been in flight.
    doubts: Vec<SentId>,
    /// Why whatever has no row is in doubt.
    why: Option<String>,
    notices: Vec<String>,
}

impl Loaded {
    fn read(
        place: &Place,
        file: File,
        mut evidence: Evidence,
        max_purges: Option<u64>,
    ) -> Result<Self, OpenError> {
        let mut loaded = Self {
            tracker: Tracker::new(max_purges),
            ..Self::default()
        };
        let mut reader = Reader::new(file).map_err(place.io())?;
        // Rows are looked up on a thread of their own, since half of the time is waiting for memory.
        thread::scope(|scope| {
            let loading = Loading::begin(scope, &mut loaded.index);
            let mut loading = loading.map_err(|source| OpenError::NoThread {
                name: place.name.clone(),
                source,
            })?;
            while let Some(placed) = reader.next().map_err(place.io())? {
                let row = placed.row;
                loading.add(LoadedRow {
                    file_id: row.file_id().into(),
                    status: row.status(),
                    purge: row.purge(),
                });
                loaded.tracker.load(&placed);
                loaded.is_rehearsal |= row.is_of_a_rehearsal();
                evidence.landing.take_in(&placed);
                evidence.compare(reader.extent, reader.number());
            }
            loading.end();
            Ok::<_, OpenError>(())
        })?;
        loaded.extent = reader.extent;
        loaded.index.is_untidy = reader.is_untidy;
        loaded.end = reader.end();
        let name = || place.name.clone();
        if let ReadEnd::Broken { line } = loaded.end {
            return Err(OpenError::Damaged { name: name(), line });
        }
        if let Some(line) = evidence.changed_before(loaded.extent) {
            return Err(OpenError::Changed { name: name(), line });
        }
        loaded.is_rehearsal &= !evidence.is_of_practice();
        loaded.why = evidence.why_in_doubt(&place.name, loaded.extent);
        loaded.index.is_all_in_doubt = loaded.why.is_some();
        loaded.doubts = evidence.landing.left();
        for sent in evidence.state.into_iter().flat_map(|state| state.in_doubt) {
            loaded.index.keep_doubt(sent);
        }
        Ok(loaded)
    }
}

/// Hands rows to the thread that takes them in.
struct Loading {
    rows: Vec<LoadedRow>,
    full: SyncSender<Vec<LoadedRow>>,
}

impl Loading {
    fn begin<'scope>(
        scope: &'scope Scope<'scope, '_>,
        index: &'scope mut ResumeIndex,
    ) -> io::Result<Self> {
        let (full, batches) = sync_channel::<Vec<_>>(BATCHES_AHEAD);
        let loading = move || batches.iter().for_each(|rows| index.load_all(&rows));
        thread::Builder::new().spawn_scoped(scope, loading)?;
        Ok(Self {
            rows: Vec::with_capacity(ROWS_AT_ONCE),
            full,
        })
    }

    fn add(&mut self, row: LoadedRow) {
        self.rows.push(row);
        if self.rows.len() == ROWS_AT_ONCE {
            let next = Vec::with_capacity(ROWS_AT_ONCE);
            // Only a thread that panicked hears nothing, and then the scope panics too.
            let _ = self.full.send(mem::replace(&mut self.rows, next));
        }
    }

    fn end(self) {
        let _ = self.full.send(self.rows);
    }
}

/// Appends what was cut off a report to what was cut off it before.
fn keep_torn(report: &File, begin: u64, torn: &Path) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut kept = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(torn)?;
    let mut report = report;
    report.seek(SeekFrom::Start(begin))?;
    io::copy(&mut report.take(u64::MAX), &mut kept)?;
    kept.sync_all()
}

/// In a folder where everybody can write, somebody else may have put the report there for us to go on with.
fn check_owner(place: &Place, report: &File) -> Result<(), OpenError> {
    let report = report.metadata().map_err(place.io())?;
    if is_planted(&place.path, &report) {
        return Err(OpenError::NotYours(place.name.clone()));
    }
    Ok(())
}

fn interrupted(sent: &SentId) -> Outcome {
    let origin = Origin {
        line: sent.line,
        input: Arc::from(""),
        url: sent.url.as_deref().map(Into::into),
    };
    Outcome::interrupted(sent.file_id.as_str().into(), origin)
}
