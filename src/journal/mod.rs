//! The journal: `<report>.state`, which says whose job it is and which IDs may be in flight or in doubt.
//!
//! One slot for each request in flight, written before its first attempt and overwritten in place by a later one. A
//! slot is not cleared when its IDs are decided: their rows, which stand behind the report's extent that the slot
//! names, say so. Behind the last slot stands an end mark, which tells a whole state from one that was cut.

mod file;
mod header;
mod slot;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use thiserror::Error;

pub(crate) use file::{StateError, StateFile, check_lock, peek};
pub(crate) use header::{Extent, StateHeader, boot};
pub use header::{Owner, REHEARSAL_HOST};

use crate::target::{Doubt, MAX_ID_BYTES, Target};
use header::{Block, ROOM};
use slot::{PREFIX, SlotKind, read_slots, seal, write_line};

/// Room for a line number, tabs and a line break.
const ID_EXTRA: usize = 24;

/// The longest URL that is kept, in bytes; browsers and CDNs take some 2000.
pub(crate) const MAX_URL_BYTES: usize = 2048;

/// An ID that was in flight, or is in doubt without a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SentId {
    pub(crate) file_id: String,
    pub(crate) line: u64,
    pub(crate) url: Option<String>,
    /// The report's rows when the ID was sent, in bytes: a row behind them is newer.
    pub(crate) sent_at: u64,
    /// How much in doubt it is, if it is no longer in flight.
    pub(crate) doubt: Doubt,
}

impl SentId {
    /// An ID that may have been deleted, of which nothing else is known.
    pub(crate) fn in_doubt(file_id: &str) -> Self {
        Self {
            file_id: file_id.into(),
            doubt: Doubt::Ambiguous,
            ..Self::default()
        }
    }
}

/// What a state says.
#[derive(Debug, Default)]
pub(crate) struct StateContents {
    /// Whose job it is and how it was left; `None` where that cannot be read.
    pub(crate) header: Option<StateHeader>,
    /// IDs that were in flight.
    pub(crate) in_flight: Vec<SentId>,
    /// IDs in doubt that have no row to say so.
    pub(crate) in_doubt: Vec<SentId>,
    /// How far the report reached at one time or another, by place.
    pub(crate) extents: Vec<Extent>,
    /// Something of it is lost or changed.
    pub(crate) is_damaged: bool,
}

/// The state cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {name}: {source}")]
pub struct JournalError {
    name: String,
    #[source]
    source: io::Error,
}

/// The state of a run under way, which holds the IDs in flight. Clones share one file.
#[derive(Debug, Clone)]
pub struct Journal(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    state: Arc<StateFile>,
    /// Longer URLs are not written down.
    max_url: usize,
    header: RefCell<StateHeader>,
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Free slots below `used`.
    free: BTreeSet<usize>,
    used: usize,
    bytes: Vec<u8>,
}

impl Journal {
    /// Begins a journal in a locked file: the header, and IDs that are in doubt without a row. URLs are written down
    /// up to `max_url` bytes: once a file is gone, nobody can tell its URL any more.
    pub(crate) fn begin(
        name: String,
        state: Arc<StateFile>,
        header: StateHeader,
        max_url: usize,
        in_doubt: &[SentId],
    ) -> Result<Self, JournalError> {
        let journal = Self(Rc::new(Shared {
            name,
            state,
            max_url,
            header: header.into(),
            slots: RefCell::default(),
        }));
        journal.rewrite(|_| (), in_doubt)?;
        Ok(journal)
    }

    /// How far the report reaches now.
    pub(crate) fn extent(&self) -> Extent {
        self.0.header.borrow().extent
    }

    /// Whether whatever has no row may have been deleted.
    pub(crate) fn is_all_in_doubt(&self) -> bool {
        self.0.header.borrow().is_all_in_doubt
    }

    /// Hears of rows that were added to the report.
    pub(crate) fn add_rows(&self, rows: &[u8]) {
        self.0.header.borrow_mut().extent.add(rows);
    }

    /// Puts the IDs on disk (with the kernel) before they are sent.
    pub fn intend(&self, targets: &[&Target]) -> Result<Intent, JournalError> {
        let shared = &self.0;
        let mut slots = shared.slots.borrow_mut();
        let (slot, is_new) = match slots.free.pop_first() {
            Some(slot) => (slot, false),
            None => (slots.used, true),
        };
        let written = shared.write_in_flight(slot, is_new, &mut slots.bytes, targets);
        if let (Err(_), true) = (&written, is_new) {
            // The end mark stood there.
            let _ = shared.write(slot, &shared.end(slot));
        }
        written.map_err(|source| shared.error(source))?;
        slots.used += usize::from(is_new);
        Ok(Intent(Some((Rc::clone(shared), slot))))
    }

    /// Writes the state anew, with nothing in flight. Torn, it is damaged, which leaves more in doubt and not less.
    pub(crate) fn rewrite(
        &self,
        change: impl FnOnce(&mut StateHeader),
        in_doubt: &[SentId],
    ) -> Result<(), JournalError> {
        let shared = &self.0;
        change(&mut shared.header.borrow_mut());
        let write = || {
            let mut bytes = shared.header.borrow().encode()?;
            let doubts = shared.doubts(in_doubt);
            for (number, (kind, text)) in doubts.iter().enumerate() {
                bytes.extend_from_slice(&shared.slot(number, *kind, Extent::EMPTY, text));
                bytes.resize(ROOM + (number + 1) * shared.stride(), 0);
            }
            bytes.extend_from_slice(&shared.end(doubts.len()));
            shared.state.file.write_all_at(&bytes, 0)?;
            shared.state.file.set_len(bytes.len() as u64)?;
            shared.state.file.sync_data()?;
            let mut slots = shared.slots.borrow_mut();
            slots.free.clear();
            slots.used = doubts.len();
            Ok(())
        };
        write().map_err(|source| shared.error(source))
    }

    /// Writes the header anew and leaves the slots as they are.
    pub(crate) fn rewrite_header(
        &self,
        change: impl FnOnce(&mut StateHeader),
    ) -> Result<(), JournalError> {
        let Shared { header, state, .. } = &*self.0;
        change(&mut header.borrow_mut());
        let written = header.borrow().encode().and_then(|block| {
            state.file.write_all_at(&block, 0)?;
            state.file.sync_data()
        });
        written.map_err(|source| self.0.error(source))
    }

    /// The IDs that stand in slots now.
    pub(crate) fn in_slots(&self) -> Result<Vec<SentId>, JournalError> {
        let bytes = file::read(&self.0.state.file);
        let bytes = bytes.map_err(|source| self.0.error(source))?;
        Ok(inspect(&bytes).in_flight)
    }
}

impl Shared {
    fn write_in_flight(
        &self,
        slot: usize,
        is_new: bool,
        bytes: &mut Vec<u8>,
        targets: &[&Target],
    ) -> io::Result<()> {
        let (stride, extent) = (self.stride(), self.header.borrow().extent);
        bytes.clear();
        bytes.resize(PREFIX, 0);
        for target in targets {
            let (id, origin) = (target.file_id.as_str(), &target.origin);
            write_line(bytes, id, origin.line, self.kept(origin.url.as_deref()));
        }
        seal(bytes, self.run(), slot, SlotKind::InFlight, extent);
        if bytes.len() > stride {
            return Err(io::Error::other("more IDs than a slot holds"));
        }
        if is_new {
            bytes.resize(stride, 0);
            bytes.extend_from_slice(&self.end(slot + 1));
        }
        self.write(slot, bytes)
    }

    /// The slots that hold these IDs: what they are, and their texts.
    fn doubts(&self, in_doubt: &[SentId]) -> Vec<(SlotKind, Vec<u8>)> {
        let mut slots: Vec<(SlotKind, Vec<u8>)> = Vec::new();
        for one in in_doubt {
            let kind = match one.doubt {
                Doubt::Weak => SlotKind::InWeakDoubt,
                Doubt::None | Doubt::Ambiguous => SlotKind::InDoubt,
            };
            let mut line = Vec::new();
            let url = self.kept(one.url.as_deref());
            write_line(&mut line, &one.file_id, one.line, url);
            match slots.last_mut() {
                Some((last, text))
                    if *last == kind && PREFIX + text.len() + line.len() <= self.stride() =>
                {
                    text.append(&mut line);
                }
                _ => slots.push((kind, line)),
            }
        }
        slots
    }

    fn kept<'a>(&self, url: Option<&'a str>) -> Option<&'a str> {
        url.filter(|url| url.len() <= self.max_url)
    }

    fn slot(&self, number: usize, kind: SlotKind, extent: Extent, text: &[u8]) -> Vec<u8> {
        let mut bytes = [&[0; PREFIX], text].concat();
        seal(&mut bytes, self.run(), number, kind, extent);
        bytes
    }

    /// The mark behind the last slot.
    fn end(&self, number: usize) -> Vec<u8> {
        self.slot(number, SlotKind::End, Extent::EMPTY, b"")
    }

    fn stride(&self) -> usize {
        self.header.borrow().stride
    }

    fn run(&self) -> u64 {
        self.header.borrow().run
    }

    fn write(&self, slot: usize, bytes: &[u8]) -> io::Result<()> {
        let place = ROOM + slot * self.stride();
        self.state.file.write_all_at(bytes, place as u64)
    }

    fn error(&self, source: io::Error) -> JournalError {
        JournalError {
            name: self.name.clone(),
            source,
        }
    }
}

/// IDs that stand on disk as perhaps in flight. Dropping it makes the slot free for others, no more.
#[derive(Debug)]
pub struct Intent(Option<(Rc<Shared>, usize)>);

impl Intent {
    /// One that stands nowhere, for a report on stdout, which cannot be resumed.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Takes the IDs off the disk: nothing was sent, or nothing can have been deleted.
    pub fn withdraw(self) -> Result<(), JournalError> {
        let Some((shared, slot)) = &self.0 else {
            return Ok(());
        };
        let extent = shared.header.borrow().extent;
        let empty = shared.slot(*slot, SlotKind::InFlight, extent, b"");
        shared
            .write(*slot, &empty)
            .map_err(|source| shared.error(source))
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if let Some((shared, slot)) = &self.0 {
            shared.slots.borrow_mut().free.insert(*slot);
        }
    }
}

/// How far apart slots stand, in bytes, so that each holds a whole batch.
pub(crate) fn stride(ids: usize, max_url: usize) -> usize {
    let bytes = PREFIX + ids * (MAX_ID_BYTES + ID_EXTRA + max_url);
    bytes.next_multiple_of(512)
}

/// A state that says that nothing was ever sent; its content when it is created.
pub(crate) fn unbegun(header: &StateHeader) -> io::Result<Vec<u8>> {
    let mut bytes = header.encode()?;
    let mut end = [0; PREFIX];
    seal(&mut end, header.run, 0, SlotKind::End, Extent::EMPTY);
    bytes.extend_from_slice(&end);
    Ok(bytes)
}

/// Reads a state of ours, or what is left of one.
pub(crate) fn inspect(state: &[u8]) -> StateContents {
    let Block::Whole(header) = header::decode(&state[..state.len().min(ROOM)]) else {
        return StateContents {
            is_damaged: true,
            ..StateContents::default()
        };
    };
    let mut found = read_slots(state.get(ROOM..).unwrap_or_default(), &header);
    found.extents.push(header.extent);
    found.header = Some(*header);
    found.extents.sort_unstable_by_key(|extent| extent.bytes);
    found.extents.dedup();
    found
}
