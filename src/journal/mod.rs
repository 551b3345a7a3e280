//! The journal: `<report>.state`, which says whose job it is and which IDs may be in flight or in doubt.
//!
//! One slot for each request in flight, written before its first attempt and overwritten in place by a later one. A
//! slot is not cleared when its IDs are decided: their rows, which stand behind the report's extent that the slot
//! names, say so. Behind the last slot stands an end mark, so that a state that was cut is told from a whole one.

mod file;
mod header;
mod slot;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use thiserror::Error;

pub(crate) use file::{StateError, StateFile, check_lock, is_in_place, peek};
pub(crate) use header::{Extent, StateHeader, boot};
pub use header::{Job, REHEARSAL_HOST};

use crate::target::{Doubt, MAX_ID_BYTES, Target};
use header::{Block, ROOM};
use slot::{Kind, MAX_URL_BYTES, PREFIX, read_slots, seal, write_line};

/// Room for a line number, tabs and a line break.
const ID_EXTRA: usize = 24;

/// How much a slot must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotSize {
    /// The most IDs that a request will have.
    pub ids: usize,
    /// Whether their URLs stand there too: once a file is gone, nobody can tell its URL any more.
    pub urls: UrlsInSlots,
}

/// Whether URLs are written down with the IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlsInSlots {
    /// They are, for a purge that comes after the deletion.
    Kept,
    /// They are not.
    LeftOut,
}

/// An ID that was in flight, or is in doubt without a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) file_id: String,
    pub(crate) line: u64,
    pub(crate) url: Option<String>,
    /// The report's rows when the ID was sent, in bytes: a row behind them is newer.
    pub(crate) sent_at: u64,
    /// How much in doubt it is, if it is no longer in flight.
    pub(crate) doubt: Doubt,
}

/// What a state says.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Whose job it is and how it was left; `None` where that cannot be read.
    pub(crate) header: Option<StateHeader>,
    /// IDs that were in flight.
    pub(crate) in_flight: Vec<InFlight>,
    /// IDs in doubt that have no row to say so.
    pub(crate) in_doubt: Vec<InFlight>,
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

/// Holds the IDs in flight. Clones share one file.
#[derive(Debug, Clone)]
pub struct Journal(Option<Rc<Shared>>);

#[derive(Debug)]
struct Shared {
    name: String,
    file: File,
    stride: u64,
    urls: UrlsInSlots,
    run: u64,
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Free slots below `used`.
    free: BTreeSet<u64>,
    used: u64,
    /// How far the report reaches now.
    extent: Extent,
    bytes: Vec<u8>,
}

impl Journal {
    /// A journal that writes nothing, for a report on stdout, which cannot be resumed.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins a journal in a locked file: the header, and IDs that are in doubt without a row.
    pub(crate) fn begin(
        name: String,
        file: File,
        header: &StateHeader,
        urls: UrlsInSlots,
        in_doubt: &[InFlight],
    ) -> Result<Self, JournalError> {
        let shared = Shared {
            name,
            file,
            stride: header.stride,
            urls,
            run: header.run,
            slots: RefCell::default(),
        };
        shared.slots.borrow_mut().extent = header.extent;
        let journal = Self(Some(Rc::new(shared)));
        journal.rewrite(header, in_doubt)?;
        Ok(journal)
    }

    /// Hears how far the report reaches now.
    pub(crate) fn advance(&self, extent: Extent) {
        if let Some(shared) = &self.0 {
            shared.slots.borrow_mut().extent = extent;
        }
    }

    /// Puts the IDs on disk (with the kernel) before they are sent.
    pub fn intend(&self, targets: &[&Target]) -> Result<Intent, JournalError> {
        let Some(shared) = &self.0 else {
            return Ok(Intent { slot: None });
        };
        let mut slots = shared.slots.borrow_mut();
        let (slot, is_new) = match slots.free.pop_first() {
            Some(slot) => (slot, false),
            None => (slots.used, true),
        };
        let written = shared.write_in_flight(slot, is_new, &mut slots, targets);
        if let (Err(_), true) = (&written, is_new) {
            // The end mark stood there.
            let end = shared.slot(slot, Kind::End, Extent::EMPTY, "");
            let _ = end.and_then(|end| shared.file.write_all_at(&end, shared.place(slot)));
        }
        written.map_err(|source| shared.error(source))?;
        slots.used += u64::from(is_new);
        Ok(Intent {
            slot: Some((Rc::clone(shared), slot)),
        })
    }

    /// Writes the state anew, with nothing in flight. Torn, it is damaged, which leaves more in doubt and not less.
    pub(crate) fn rewrite(
        &self,
        header: &StateHeader,
        in_doubt: &[InFlight],
    ) -> Result<(), JournalError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let write = || {
            let mut bytes = block(header)?;
            let slots = shared.doubts(in_doubt)?;
            let used = slots.len() as u64;
            for (number, (kind, text)) in (0..).zip(&slots) {
                bytes.extend_from_slice(&shared.slot(number, *kind, Extent::EMPTY, text)?);
                bytes.resize(usize::try_from(shared.place(number + 1)).unwrap_or(0), 0);
            }
            bytes.extend_from_slice(&shared.slot(used, Kind::End, Extent::EMPTY, "")?);
            shared.file.write_all_at(&bytes, 0)?;
            shared.file.set_len(bytes.len() as u64)?;
            shared.file.sync_data()?;
            let mut slots = shared.slots.borrow_mut();
            slots.free.clear();
            slots.used = used;
            Ok(())
        };
        write().map_err(|source| shared.error(source))
    }

    /// Writes the header anew and leaves the slots as they are.
    pub(crate) fn rewrite_header(&self, header: &StateHeader) -> Result<(), JournalError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let write = || {
            shared.file.write_all_at(&block(header)?, 0)?;
            shared.file.sync_data()
        };
        write().map_err(|source| shared.error(source))
    }

    /// The IDs that stand in slots now.
    pub(crate) fn in_slots(&self) -> Result<Vec<InFlight>, JournalError> {
        let Some(shared) = &self.0 else {
            return Ok(Vec::new());
        };
        let read = || {
            let len = usize::try_from(shared.file.metadata()?.len()).map_err(io::Error::other)?;
            let mut bytes = vec![0; len];
            shared.file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| shared.error(source))?;
        Ok(inspect(&bytes).in_flight)
    }
}

impl Shared {
    fn write_in_flight(
        &self,
        slot: u64,
        is_new: bool,
        slots: &mut Slots,
        targets: &[&Target],
    ) -> io::Result<()> {
        slots.bytes.clear();
        slots.bytes.resize(PREFIX, 0);
        for target in targets {
            let url = self.kept(target.origin.url.as_deref());
            write_line(
                &mut slots.bytes,
                target.file_id.as_str(),
                target.origin.line,
                url,
            );
        }
        seal(
            &mut slots.bytes,
            self.run,
            slot,
            Kind::InFlight,
            slots.extent,
        )?;
        let stride = usize::try_from(self.stride).map_err(io::Error::other)?;
        if slots.bytes.len() > stride {
            return Err(io::Error::other("more IDs than a slot holds"));
        }
        if is_new {
            slots.bytes.resize(stride, 0);
            let end = self.slot(slot + 1, Kind::End, Extent::EMPTY, "")?;
            slots.bytes.extend_from_slice(&end);
        }
        self.file.write_all_at(&slots.bytes, self.place(slot))
    }

    /// The slots that hold these IDs: what they are, and their texts.
    fn doubts(&self, in_doubt: &[InFlight]) -> io::Result<Vec<(Kind, String)>> {
        let room = usize::try_from(self.stride).map_err(io::Error::other)? - PREFIX;
        let mut slots: Vec<(Kind, String)> = Vec::new();
        for one in in_doubt {
            let kind = match one.doubt {
                Doubt::Weak => Kind::InWeakDoubt,
                Doubt::None | Doubt::Ambiguous => Kind::InDoubt,
            };
            let mut line = Vec::new();
            let url = self.kept(one.url.as_deref());
            write_line(&mut line, &one.file_id, one.line, url);
            let line = String::from_utf8(line).map_err(io::Error::other)?;
            match slots.last_mut() {
                Some((last, text)) if *last == kind && text.len() + line.len() <= room => {
                    text.push_str(&line);
                }
                _ => slots.push((kind, line)),
            }
        }
        Ok(slots)
    }

    fn kept<'a>(&self, url: Option<&'a str>) -> Option<&'a str> {
        url.filter(|_| self.urls == UrlsInSlots::Kept)
    }

    fn slot(&self, number: u64, kind: Kind, extent: Extent, text: &str) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PREFIX];
        bytes.extend_from_slice(text.as_bytes());
        seal(&mut bytes, self.run, number, kind, extent)?;
        Ok(bytes)
    }

    fn place(&self, slot: u64) -> u64 {
        ROOM as u64 + slot * self.stride
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
pub struct Intent {
    slot: Option<(Rc<Shared>, u64)>,
}

impl Intent {
    /// Takes the IDs off the disk: nothing was sent, or nothing can have been deleted.
    pub fn withdraw(self) -> Result<(), JournalError> {
        let Some((shared, slot)) = &self.slot else {
            return Ok(());
        };
        let extent = shared.slots.borrow().extent;
        let cleared = shared
            .slot(*slot, Kind::Empty, extent, "")
            .and_then(|empty| shared.file.write_all_at(&empty, shared.place(*slot)));
        cleared.map_err(|source| shared.error(source))
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if let Some((shared, slot)) = &self.slot {
            shared.slots.borrow_mut().free.insert(*slot);
        }
    }
}

/// How far apart slots stand, in bytes, so that each holds a whole batch.
pub(crate) fn stride(size: SlotSize) -> u64 {
    const BLOCK: usize = 512;
    let url_bytes = match size.urls {
        UrlsInSlots::Kept => MAX_URL_BYTES,
        UrlsInSlots::LeftOut => 0,
    };
    let id_bytes = MAX_ID_BYTES + ID_EXTRA + url_bytes;
    ((PREFIX + size.ids * id_bytes).div_ceil(BLOCK) * BLOCK) as u64
}

/// A state that says that nothing was ever sent; its content when it is created.
pub(crate) fn unbegun(header: &StateHeader) -> Vec<u8> {
    let mut bytes = header.encode().unwrap_or_default();
    let mut end = vec![0; PREFIX];
    if seal(&mut end, header.run, 0, Kind::End, Extent::EMPTY).is_ok() {
        bytes.extend_from_slice(&end);
    }
    bytes
}

/// Reads a state of ours, or what is left of one.
pub(crate) fn inspect(state: &[u8]) -> Found {
    let block = &state[..state.len().min(ROOM)];
    let Block::Whole(header) = header::decode(block) else {
        return Found {
            is_damaged: true,
            ..Found::default()
        };
    };
    let slots = state.get(ROOM..).unwrap_or_default();
    let mut found = read_slots(slots, &header);
    found.extents.push(header.extent);
    found.header = Some(*header);
    found.extents.sort_unstable_by_key(|extent| extent.bytes);
    found.extents.dedup();
    found
}

fn block(header: &StateHeader) -> io::Result<Vec<u8>> {
    let block = header.encode();
    block.ok_or_else(|| io::Error::other("the host's name is too long"))
}
