//! The journal: `<report>.state`, which says whose job it is and which IDs may be in flight.
//!
//! One slot for each request in flight, written before its first attempt and overwritten in
//! place by a later one. A slot is not cleared when its IDs are decided: their rows, which stand
//! behind the report's length that the slot names, say so. A torn slot was never sent.

mod file;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use file::StateFile;

use crate::target::{MAX_ID_BYTES, Target};

/// The header's room, in bytes; slots begin behind it.
const HEADER: u64 = 4096;

/// Before a slot's text: the report's length, the text's length, a checksum.
const PREFIX: usize = 8 + 4 + 8;

/// Room for a line number, tabs and a line break.
const ID_EXTRA: usize = 24;

/// The longest URL that is kept, in bytes; browsers and CDNs take some 2000.
const MAX_URL_BYTES: usize = 2048;

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

/// The host of a job in the sandbox: its port is another one each time, its job is the same.
pub const REHEARSAL_HOST: &str = "sandbox";

/// Whose job it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Scheme, name and port of the host, as given.
    pub host: String,
    /// A fingerprint of the key.
    pub key: String,
}

/// What a state file says in its first bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateHeader {
    pub(crate) version: u32,
    pub(crate) job: Job,
    /// The boot of the machine that wrote it; after another one, rows may be missing that were written.
    pub(crate) boot: String,
    pub(crate) stride: u64,
    /// The last run took everything down and flushed it before it ended, so no later crash can have lost rows.
    pub(crate) is_at_rest: bool,
    /// The last run ended because its key was refused, so another one may go on.
    pub(crate) was_key_refused: bool,
    /// Rows may have been lost: whatever is not settled may have been deleted.
    pub(crate) is_all_in_doubt: bool,
}

/// An ID that was in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) file_id: String,
    pub(crate) line: u64,
    pub(crate) url: Option<String>,
    /// The report's length when the ID was sent: a row behind it is newer.
    pub(crate) report_len: u64,
}

/// The state cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {name}: {source}")]
pub struct JournalError {
    name: String,
    #[source]
    source: io::Error,
}

/// Holds the IDs in flight, and the lock on the job. Clones share one file.
#[derive(Debug, Clone)]
pub struct Journal(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    name: String,
    file: File,
    stride: u64,
    urls: UrlsInSlots,
    report_len: Arc<AtomicU64>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Free slots below `used`.
    free: BTreeSet<u64>,
    used: u64,
    text: Vec<u8>,
}

impl Slots {
    /// The lowest free slot, so that the file stays small.
    fn take(&mut self) -> u64 {
        self.free.pop_first().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }
}

impl Journal {
    /// A journal that writes nothing, for a report on stdout, which cannot be resumed.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins a journal in a locked file: the header, and no slots.
    pub(crate) fn begin(
        name: String,
        file: File,
        header: &StateHeader,
        urls: UrlsInSlots,
        report_len: Arc<AtomicU64>,
    ) -> Result<Self, JournalError> {
        let shared = Shared {
            name,
            file,
            stride: header.stride,
            urls,
            report_len,
            slots: Mutex::default(),
        };
        let journal = Self(Some(Arc::new(shared)));
        journal.rewrite_header(header)?;
        Ok(journal)
    }

    /// Puts the IDs on disk (with the kernel) before they are sent.
    pub fn intend(&self, targets: &[&Target]) -> Result<Intent, JournalError> {
        let Some(shared) = &self.0 else {
            return Ok(Intent { slot: None });
        };
        let mut slots = shared.slots();
        let slot = slots.take();
        let written = shared.write_slot(slot, &mut slots.text, targets);
        drop(slots);
        let intent = Intent {
            slot: Some((Arc::clone(shared), slot)),
        };
        written.map_err(|source| shared.error(source))?;
        Ok(intent)
    }

    /// Writes the header anew and clears all slots; only while nothing is in flight.
    pub(crate) fn rewrite_header(&self, header: &StateHeader) -> Result<(), JournalError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let mut text = serde_json::to_vec(header).expect("a header of plain values is always JSON");
        text.push(b'\n');
        let write = || {
            if text.len() as u64 > HEADER {
                return Err(io::Error::other("the host's name is too long"));
            }
            shared.file.set_len(HEADER)?;
            text.resize(usize::try_from(HEADER).unwrap_or(text.len()), b' ');
            shared.file.write_all_at(&text, 0)?;
            shared.file.sync_data()
        };
        let mut write = write;
        write().map_err(|source| shared.error(source))
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_slot(&self, slot: u64, text: &mut Vec<u8>, targets: &[&Target]) -> io::Result<()> {
        text.clear();
        text.resize(PREFIX, 0);
        for target in targets {
            text.extend_from_slice(target.file_id.as_str().as_bytes());
            text.push(b'\t');
            text.extend_from_slice(target.origin.line.to_string().as_bytes());
            if let Some(url) = self.url_to_keep(target) {
                text.push(b'\t');
                text.extend_from_slice(url.as_bytes());
            }
            text.push(b'\n');
        }
        if text.len() as u64 > self.stride {
            return Err(io::Error::other("more IDs than a slot holds"));
        }
        let report_len = self.report_len.load(Ordering::Acquire);
        let text_len = u32::try_from(text.len() - PREFIX).map_err(io::Error::other)?;
        let checksum = checksum(report_len, &text[PREFIX..]);
        text[..8].copy_from_slice(&report_len.to_le_bytes());
        text[8..12].copy_from_slice(&text_len.to_le_bytes());
        text[12..PREFIX].copy_from_slice(&checksum);
        self.file.write_all_at(text, HEADER + slot * self.stride)
    }

    fn url_to_keep<'a>(&self, target: &'a Target) -> Option<&'a str> {
        let url = target.origin.url.as_deref()?;
        let is_kept = self.urls == UrlsInSlots::Kept
            && url.len() <= MAX_URL_BYTES
            && !url.contains(char::is_control);
        is_kept.then_some(url)
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
    slot: Option<(Arc<Shared>, u64)>,
}

impl Intent {
    /// Takes the IDs off the disk again: nobody can have deleted any of them.
    pub fn withdraw(self) -> Result<(), JournalError> {
        let Some((shared, slot)) = &self.slot else {
            return Ok(());
        };
        let cleared = shared
            .file
            .write_all_at(&[0; PREFIX], HEADER + slot * shared.stride);
        cleared.map_err(|source| shared.error(source))
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if let Some((shared, slot)) = &self.slot {
            shared.slots().free.insert(*slot);
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

/// Reads a state: its header and the IDs in flight. `None` where there is no whole header, as in a
/// state that was just created.
pub(crate) fn read(state: &[u8]) -> Option<(StateHeader, Vec<InFlight>)> {
    let end = state.iter().position(|byte| *byte == b'\n')?;
    let header: StateHeader = serde_json::from_slice(&state[..end]).ok()?;
    let slots = state
        .get(usize::try_from(HEADER).ok()?..)
        .unwrap_or_default();
    let stride = usize::try_from(header.stride)
        .ok()
        .filter(|stride| *stride > PREFIX)?;
    let in_flight = slots
        .chunks(stride)
        .filter_map(read_slot)
        .flatten()
        .collect();
    Some((header, in_flight))
}

fn read_slot(slot: &[u8]) -> Option<Vec<InFlight>> {
    let report_len = u64::from_le_bytes(slot.get(..8)?.try_into().ok()?);
    let text_len = u32::from_le_bytes(slot.get(8..12)?.try_into().ok()?);
    let text = slot.get(PREFIX..PREFIX + usize::try_from(text_len).ok()?)?;
    if text.is_empty() || slot[12..PREFIX] != checksum(report_len, text) {
        return None;
    }
    let in_flight = |line: &str| {
        let mut parts = line.splitn(3, '\t');
        Some(InFlight {
            file_id: parts.next()?.into(),
            line: parts.next()?.parse().ok()?,
            url: parts.next().map(Into::into),
            report_len,
        })
    };
    std::str::from_utf8(text)
        .ok()?
        .lines()
        .map(in_flight)
        .collect()
}

/// FNV-1a: tells a torn slot, nothing more.
fn checksum(report_len: u64, text: &[u8]) -> [u8; 8] {
    let bytes = report_len.to_le_bytes();
    let hash = bytes
        .iter()
        .chain(text)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.to_le_bytes()
}

/// Names this boot of the machine; empty where the system does not tell.
pub(crate) fn boot() -> String {
    let linux = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let boot = linux.or_else(|| {
        let asked = std::process::Command::new("sysctl")
            .args(["-n", "kern.bootsessionuuid"])
            .output()
            .ok()?;
        String::from_utf8(asked.stdout).ok()
    });
    boot.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::target::{FileId, Origin};

    fn target(id: &str, line: u64) -> Target {
        let origin = Origin {
            line,
            input: Arc::from("a.csv"),
            url: None,
        };
        Target {
            file_id: FileId::parse(id).unwrap(),
            origin,
            doubt: false,
        }
    }

    fn header() -> StateHeader {
        StateHeader {
            version: 1,
            job: Job {
                host: "https://host".into(),
                key: "f".into(),
            },
            boot: "b".into(),
            stride: stride(SlotSize {
                ids: 2,
                urls: UrlsInSlots::Kept,
            }),
            is_at_rest: false,
            was_key_refused: false,
            is_all_in_doubt: false,
        }
    }

    fn begun() -> (tempfile::NamedTempFile, Journal, Arc<AtomicU64>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let report_len = Arc::new(AtomicU64::new(7));
        let journal = Journal::begin(
            "state".into(),
            file.reopen().unwrap(),
            &header(),
            UrlsInSlots::Kept,
            Arc::clone(&report_len),
        )
        .unwrap();
        (file, journal, report_len)
    }

    fn in_flight(file: &tempfile::NamedTempFile) -> Vec<(String, u64, u64)> {
        let (read_header, in_flight) = read(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(read_header, header());
        in_flight
            .into_iter()
            .map(|one| (one.file_id, one.line, one.report_len))
            .collect()
    }

    #[test]
    fn what_is_sent_stands_on_disk_until_its_slot_is_used_again_or_withdrawn() {
        let (file, journal, report_len) = begun();
        let first = journal.intend(&[&target("a", 1), &target("b", 2)]).unwrap();
        let second = journal.intend(&[&target("c", 3)]).unwrap();
        assert_eq!(
            in_flight(&file),
            [("a".into(), 1, 7), ("b".into(), 2, 7), ("c".into(), 3, 7)]
        );
        drop(first);
        assert_eq!(
            in_flight(&file).len(),
            3,
            "a decided group's slot is stale, not cleared"
        );
        report_len.store(99, Ordering::Release);
        let third = journal.intend(&[&target("d", 4)]).unwrap();
        assert_eq!(in_flight(&file), [("d".into(), 4, 99), ("c".into(), 3, 7)]);
        second.withdraw().unwrap();
        third.withdraw().unwrap();
        assert_eq!(in_flight(&file), []);
    }

    #[test]
    fn a_slot_torn_at_any_byte_was_never_sent() {
        let (file, journal, _) = begun();
        let _intent = journal.intend(&[&target("aaaaaaaa", 1)]).unwrap();
        let whole = std::fs::read(file.path()).unwrap();
        for cut in 4096..whole.len() {
            let (_, in_flight) = read(&whole[..cut]).unwrap();
            assert_eq!(in_flight, [], "cut at {cut}");
        }
        assert!(
            read(&whole[..20]).is_none(),
            "nor is there a job without a whole header"
        );
    }

    #[test]
    fn the_longest_ids_and_urls_fit_their_slot() {
        let (file, journal, _) = begun();
        let mut long = target(&"x".repeat(MAX_ID_BYTES), u64::MAX);
        long.origin.url = Some("u".repeat(MAX_URL_BYTES).into());
        let _intent = journal.intend(&[&long, &long]).unwrap();
        assert_eq!(in_flight(&file).len(), 2);
    }

    #[test]
    fn a_url_stands_with_its_id_unless_it_would_break_the_slot() {
        let (file, journal, _) = begun();
        let with = |id: &str, url: &str| {
            let mut target = target(id, 1);
            target.origin.url = Some(url.into());
            target
        };
        let too_long = "u".repeat(MAX_URL_BYTES + 1);
        let sent = [with("a", "https://a/b,c?d=e"), with("b", &too_long)];
        let _intent = journal.intend(&[&sent[0], &sent[1]]).unwrap();
        let _other = journal.intend(&[&with("c", "x\ny")]).unwrap();
        let (_, in_flight) = read(&std::fs::read(file.path()).unwrap()).unwrap();
        let urls: Vec<Option<&str>> = in_flight.iter().map(|one| one.url.as_deref()).collect();
        assert_eq!(urls, [Some("https://a/b,c?d=e"), None, None]);
    }
}
