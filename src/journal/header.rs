//! What a state file says in its first block: whose job it is, how the last run ended, how far the report reached.
//! It carries checksums, so that whatever became of the file is noticed.

use std::io;

use serde::{Deserialize, Serialize};

/// The header's room, in bytes; slots begin behind it.
pub(super) const ROOM: usize = 4096;

/// The version of the format.
const VERSION: u32 = 1;

/// What a state of ours begins with.
const BEGIN: &[u8] = b"{\"version\":1,\"job\":{\"host\":\"";

/// The host of a job in the sandbox: its port is another one each time, its job is the same.
pub const REHEARSAL_HOST: &str = "sandbox";

/// Whose job it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owner {
    /// Scheme, name and port of the host, as given.
    pub host: String,
    /// A fingerprint of the key.
    pub key: String,
}

/// How far the rows of a report reach, and what they are: blank lines and BOMs that others put between them do not
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// Bytes of rows.
    pub(crate) bytes: u64,
    /// The CRC-32 of those.
    pub(crate) crc: u32,
}

impl Extent {
    /// That of a report without rows.
    pub(crate) const EMPTY: Self = Self { bytes: 0, crc: 0 };

    /// Reaches over more rows.
    pub(crate) fn add(&mut self, rows: &[u8]) {
        self.bytes += rows.len() as u64;
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc);
        hasher.update(rows);
        self.crc = hasher.finalize();
    }
}

/// What a state file says in its first bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateHeader {
    pub(crate) version: u32,
    #[serde(rename = "job")]
    pub(crate) owner: Owner,
    /// The boot of the machine that wrote it; after another one, rows may be missing that were written.
    pub(crate) boot: String,
    /// How far apart slots stand, in bytes.
    pub(crate) stride: usize,
    /// The last run took everything down and flushed it before it ended, so no later crash can have lost rows.
    pub(crate) is_at_rest: bool,
    /// The last run ended because its key was refused, so another one may go on.
    pub(crate) was_key_refused: bool,
    /// Rows may have been lost: whatever has no row may have been deleted. Once so, it stays so: nobody knows which
    /// IDs were sent.
    pub(crate) is_all_in_doubt: bool,
    /// The report when this was written: at the run's begin, or at its end.
    pub(crate) extent: Extent,
    /// The report once it is compacted, written before the compacted copy takes its place.
    pub(crate) compacted: Option<Extent>,
    /// A number of the run's own: slots of another run are none of it.
    pub(crate) run: u64,
}

/// What the first block of a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A header.
    Whole(Box<StateHeader>),
    /// A header of ours that lost something.
    Damaged,
    /// Nothing of ours.
    Foreign,
}

impl StateHeader {
    /// The header of a job that has not begun.
    pub(crate) fn new(owner: Owner, stride: usize) -> Self {
        Self {
            version: VERSION,
            owner,
            boot: boot(),
            stride,
            is_at_rest: true,
            was_key_refused: false,
            is_all_in_doubt: false,
            extent: Extent::EMPTY,
            compacted: None,
            run: fastrand::u64(..),
        }
    }

    /// The block to be written; an error if it does not fit.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut block = serde_json::to_vec(self)?;
        let crc = crc32fast::hash(&block);
        block.extend_from_slice(format!("\n{crc:08x}\n").as_bytes());
        if block.len() > ROOM {
            return Err(io::Error::other("the host's name is too long"));
        }
        block.resize(ROOM, b' ');
        Ok(block)
    }
}

/// Reads the first block of a state, or as much of it as is left.
pub(super) fn decode(block: &[u8]) -> Block {
    if !is_ours(block) {
        return Block::Foreign;
    }
    let mut lines = block.split(|byte| *byte == b'\n');
    let (json, crc) = (lines.next().unwrap_or_default(), lines.next());
    let Ok(header) = serde_json::from_slice::<StateHeader>(json) else {
        return Block::Damaged;
    };
    let checksum = format!("{:08x}", crc32fast::hash(json));
    if block.len() >= ROOM && crc == Some(checksum.as_bytes()) {
        Block::Whole(header.into())
    } else {
        Block::Damaged
    }
}

/// Whether the bytes begin as those of a state do, as far as there are any; a power cut may leave NULs.
fn is_ours(block: &[u8]) -> bool {
    let len = block.len().min(BEGIN.len());
    block[..len] == BEGIN[..len] || block.iter().all(|byte| *byte == 0)
}

/// Names this boot of the machine; empty where the system does not tell.
pub(crate) fn boot() -> String {
    let boot = if cfg!(target_os = "macos") {
        // By its own path and without our environment, which may hold the key.
        let asked = std::process::Command::new("/usr/sbin/sysctl")
            .args(["-n", "kern.bootsessionuuid"])
            .env_clear()
            .output();
        asked
            .ok()
            .and_then(|asked| String::from_utf8(asked.stdout).ok())
    } else {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
    };
    boot.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> StateHeader {
        let host = "https://host".into();
        let key = "f".into();
        StateHeader {
            run: 7,
            ..StateHeader::new(Owner { host, key }, 512)
        }
    }

    #[test]
    fn a_header_that_lost_or_changed_anything_is_damaged_and_nothing_else_is_ours() {
        let block = header().encode().unwrap_or_default();
        assert_eq!(decode(&block), Block::Whole(header().into()));
        for cut in 0..ROOM {
            assert_eq!(decode(&block[..cut]), Block::Damaged, "cut at {cut}");
        }
        let written = block.iter().position(|byte| *byte == b' ').unwrap_or(0);
        for at in 30..written {
            let mut flipped = block.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped), Block::Damaged, "flipped at {at}");
        }
        assert_eq!(decode(&[0; 5000]), Block::Damaged);
        for foreign in [
            "notes",
            "{}",
            "{\"version\":1,\"packages\":[]}",
            "{\"version\":2,\"job\":{\"host\":\"",
            "\n",
            "{\"version\": 4}",
        ] {
            assert_eq!(decode(foreign.as_bytes()), Block::Foreign, "{foreign}");
        }
    }

    #[test]
    fn an_extent_is_of_its_rows_however_they_came() {
        let of = |rows: &[&str]| {
            let mut extent = Extent::EMPTY;
            for row in rows {
                extent.add(row.as_bytes());
            }
            extent
        };
        assert_eq!(of(&["a,b\n", "c,d\n"]), of(&["a,b\nc,d\n"]));
        assert_ne!(of(&["a,b\nc,d\n"]), of(&["c,d\na,b\n"]));
        assert_ne!(of(&["a,b\n"]), of(&["a,c\n"]));
    }
}
