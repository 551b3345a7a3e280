//! One set for duplicates and resume: each distinct ID with a few flags, in some 25 bytes.
//!
//! An ID of ImageKit's (24 hex digits) is kept as its 12 bytes; any other as 12 bytes of a keyed
//! hash, in a table of its own (two different IDs of ten million would meet there once in 10^15
//! runs). A hash table doubles when it is full, so at its worst it is twice as large as needed;
//! here 256 shards of uneven weight double at different times, and the whole stays near the mean.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use crate::target::looks_like_imagekit;

const SHARDS: usize = 256;

type Key = [u8; 12];
type Shard = HashMap<Key, Flags, foldhash::fast::RandomState>;

/// What is known of an ID: flags, four bits that say what its row is, and two small counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

/// The counts that stand with an ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Rows of its own that a later one replaced.
    Superseded,
    /// Rows that settle one record each.
    Single,
}

impl Flags {
    /// It stood in this run's input.
    pub const SEEN: Self = Self(1);
    /// It was counted before the run.
    pub const COUNTED: Self = Self(1 << 1);
    /// Its rows are of records that were never sent.
    pub const INVALID: Self = Self(1 << 2);
    /// It must not be deleted.
    pub const EXCEPTED: Self = Self(1 << 3);
    const ROW_SHIFT: u32 = 4;
    /// The largest number for a row and the largest count.
    pub const MAX: u16 = 0xf;

    /// Whether a flag is set.
    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Sets a flag; whether it was not set before.
    pub const fn set(&mut self, flag: Self) -> bool {
        let is_new = !self.has(flag);
        self.0 |= flag.0;
        is_new
    }

    /// What its row is, as a number; 0 if it has none.
    pub const fn row(self) -> u16 {
        self.bits(Self::ROW_SHIFT)
    }

    /// Sets what its row is, at most [`MAX`](Self::MAX).
    pub const fn set_row(&mut self, row: u16) {
        self.set_bits(Self::ROW_SHIFT, row);
    }

    /// A count.
    pub const fn count(self, count: Count) -> u16 {
        self.bits(count.shift())
    }

    /// Sets a count, at most [`MAX`](Self::MAX).
    pub const fn set_count(&mut self, count: Count, value: u16) {
        self.set_bits(count.shift(), value);
    }

    const fn bits(self, shift: u32) -> u16 {
        self.0 >> shift & Self::MAX
    }

    const fn set_bits(&mut self, shift: u32, value: u16) {
        self.0 = self.0 & !(Self::MAX << shift) | (value & Self::MAX) << shift;
    }
}

impl Count {
    const fn shift(self) -> u32 {
        match self {
            Self::Superseded => 8,
            Self::Single => 12,
        }
    }
}

/// Where an ID is kept in the set that was asked, whether it is there or not; found once and used for several lookups.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    is_imagekit: bool,
    key: Key,
    shard: usize,
}

/// The set.
#[derive(Debug)]
pub struct IdSet {
    imagekit: Box<[Shard]>,
    other: Box<[Shard]>,
    /// Chooses the shard.
    hasher: foldhash::fast::RandomState,
    /// Make 12 bytes of an ID that is not ImageKit's.
    digests: [RandomState; 2],
}

impl Default for IdSet {
    fn default() -> Self {
        let inner = foldhash::fast::RandomState::default();
        let shards = || {
            (0..SHARDS)
                .map(|_| Shard::with_hasher(inner.clone()))
                .collect()
        };
        Self {
            imagekit: shards(),
            other: shards(),
            hasher: foldhash::fast::RandomState::default(),
            digests: [RandomState::new(), RandomState::new()],
        }
    }
}

impl IdSet {
    /// The flags of an ID, which is taken in if it was not there.
    pub fn entry(&mut self, id: &str) -> &mut Flags {
        self.entry_at(self.slot(id))
    }

    /// The flags of the ID of a slot, which is taken in if it was not there.
    pub fn entry_at(&mut self, slot: Slot) -> &mut Flags {
        let shards = if slot.is_imagekit {
            &mut self.imagekit
        } else {
            &mut self.other
        };
        shards[slot.shard].entry(slot.key).or_default()
    }

    /// The flags of an ID; `None` if it was never taken in.
    pub fn get(&self, id: &str) -> Option<Flags> {
        let slot = self.slot(id);
        self.shard(&slot).get(&slot.key).copied()
    }

    /// The slots of these IDs, with what is known of them brought near the processor; changes nothing.
    ///
    /// A set of millions has no room in its caches. IDs that are looked up one right after the other wait for
    /// memory together, with work between them each waits alone.
    pub fn prefetch<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Vec<Slot> {
        let slots: Vec<Slot> = ids.into_iter().map(|id| self.slot(id)).collect();
        for slot in &slots {
            black_box(self.shard(slot).contains_key(&slot.key));
        }
        slots
    }

    /// Distinct IDs.
    pub fn len(&self) -> usize {
        self.imagekit
            .iter()
            .chain(&self.other)
            .map(Shard::len)
            .sum()
    }

    /// Whether no ID was taken in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All flags, in no order.
    pub fn flags(&self) -> impl Iterator<Item = Flags> {
        self.imagekit
            .iter()
            .chain(&self.other)
            .flat_map(|shard| shard.values().copied())
    }

    fn shard(&self, slot: &Slot) -> &Shard {
        let shards = if slot.is_imagekit {
            &self.imagekit
        } else {
            &self.other
        };
        &shards[slot.shard]
    }

    fn slot(&self, id: &str) -> Slot {
        let mut key = Key::default();
        let is_imagekit = looks_like_imagekit(id);
        if is_imagekit {
            for (byte, digits) in key.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
                *byte = digit(digits[0]) << 4 | digit(digits[1]);
            }
        } else {
            let hash = self.digests[0].hash_one(id);
            key[..8].copy_from_slice(&hash.to_le_bytes());
            key[8..].copy_from_slice(&self.digests[1].hash_one(id).to_le_bytes()[..4]);
        }
        Slot {
            is_imagekit,
            key,
            shard: shard(self.hasher.hash_one(key)),
        }
    }
}

const fn digit(hex: u8) -> u8 {
    if hex <= b'9' {
        hex - b'0'
    } else {
        hex - b'a' + 10
    }
}

/// Shard i of n takes a share of the IDs that grows from first to last by a factor of two.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a hash as a fraction of one; the product is at least 0 and below 256"
)]
fn shard(hash: u64) -> usize {
    let fraction = (hash >> 12) as f64 / (1u64 << 52) as f64;
    (((1.0 + fraction).log2() * SHARDS as f64) as usize).min(SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_its_own_marks() {
        let mut seen = IdSet::default();
        let ids: Vec<String> = (0..5000_u64)
            .flat_map(|n| {
                [
                    format!("{n:024x}"),
                    format!("{n:023X}g"),
                    format!("odd-{n}"),
                ]
            })
            .collect();
        for id in &ids {
            assert!(seen.get(id).is_none());
            assert!(seen.entry(id).set(Flags::SEEN), "{id} is new");
        }
        for id in &ids {
            assert!(!seen.entry(id).set(Flags::SEEN), "{id} is known");
        }
        assert_eq!(seen.len(), ids.len());
    }

    #[test]
    fn flags_row_and_counts_do_not_disturb_each_other() {
        let mut flags = Flags::default();
        flags.set(Flags::INVALID);
        flags.set_count(Count::Single, Flags::MAX);
        flags.set_row(9);
        flags.set_count(Count::Superseded, 3);
        let read = |flags: Flags| {
            let counts = [Count::Superseded, Count::Single].map(|count| flags.count(count));
            (
                flags.row(),
                counts,
                flags.has(Flags::INVALID),
                flags.has(Flags::SEEN),
            )
        };
        assert_eq!(read(flags), (9, [3, Flags::MAX], true, false));
        flags.set_row(0);
        flags.set_count(Count::Single, 1);
        assert!(flags.set(Flags::SEEN) && !flags.set(Flags::SEEN));
        assert_eq!(read(flags), (0, [3, 1], true, true));
    }

    #[test]
    fn shards_grow_in_weight_so_that_they_double_one_after_another() {
        let mut sizes = [0_u32; SHARDS];
        for n in 0..1_000_000_u64 {
            sizes[shard(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))] += 1;
        }
        let ratio = f64::from(sizes[SHARDS - 1]) / f64::from(sizes[0]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }
}
