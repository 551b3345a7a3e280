//! One set for duplicates and resume: each distinct ID with what is known of it, in some 28 bytes.
//!
//! An ID of ImageKit's (24 hex digits) is kept as its 12 bytes; any other as 12 bytes of a keyed
//! hash, in a table of its own (two different IDs of ten million would meet there once in 10^15
//! runs). A hash table doubles when it is full, so at its worst it is twice as large as needed;
//! here 512 shards of uneven weight double at different times, and the whole stays near the mean.
//! The shard stands for one of the 12 bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::hint::black_box;

use crate::target::looks_like_imagekit;

const SHARDS: u16 = 512;

/// All IDs of a shard begin with one of two bytes, and which of them the other bytes tell.
const KEY_BYTES: usize = 11;

type Key = [u8; KEY_BYTES];
type Shard = HashMap<Key, Flags, BuildHasherDefault<KeyHasher>>;

/// What is known of an ID, in 40 bits: flags, what its row is, two small counts, and where it stood first.
///
/// Bytes, so that they need no alignment: an ID with all of this takes 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags([u8; 5]);

/// One of the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// It was counted before the run.
    Counted = 1,
    /// Its rows are of records that were never sent.
    Invalid = 1 << 1,
    /// It must not be deleted.
    Excepted = 1 << 2,
}

/// The counts that stand with an ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Rows of its own that a later one replaced.
    Superseded,
    /// Rows that settle one record each.
    Single,
}

/// Where a number stands among the bits.
#[derive(Clone, Copy)]
struct Field {
    shift: u32,
    max: u64,
}

impl Flags {
    /// The largest number for a row.
    pub const MAX_ROW: u64 = 0xf;
    /// The largest count.
    pub const MAX_COUNT: u64 = 0x7;
    const ROW: Field = Field {
        shift: 3,
        max: Self::MAX_ROW,
    };
    /// 0 before the first record; the largest number stands for all that are too large.
    const FIRST: Field = Field {
        shift: 13,
        max: (1 << 27) - 1,
    };

    /// Whether a flag is set.
    pub fn has(self, flag: Flag) -> bool {
        self.all() & flag as u64 != 0
    }

    /// Sets a flag; whether it was not set before.
    pub fn set(&mut self, flag: Flag) -> bool {
        let is_new = !self.has(flag);
        self.put(self.all() | flag as u64);
        is_new
    }

    /// What its row is, as a number; 0 if it has none.
    pub fn row(self) -> u64 {
        self.number(Self::ROW)
    }

    /// Sets what its row is, at most [`MAX_ROW`](Self::MAX_ROW).
    pub fn set_row(&mut self, row: u64) {
        self.set_number(Self::ROW, row);
    }

    /// A count.
    pub fn count(self, count: Count) -> u64 {
        self.number(count.field())
    }

    /// Sets a count, at most [`MAX_COUNT`](Self::MAX_COUNT).
    pub fn set_count(&mut self, count: Count, value: u64) {
        self.set_number(count.field(), value);
    }

    /// Whether it stood in this run's input.
    pub fn is_seen(self) -> bool {
        self.number(Self::FIRST) > 0
    }

    /// The number of its first record in this run; `None` if it had none, or one beyond what its bits can say.
    pub fn first(self) -> Option<u64> {
        let number = self.number(Self::FIRST);
        if number == 0 || number == Self::FIRST.max {
            None
        } else {
            Some(number)
        }
    }

    /// Sets the number of its first record, from 1.
    pub fn set_first(&mut self, number: u64) {
        let is_too_large = number == 0 || number > Self::FIRST.max;
        self.set_number(
            Self::FIRST,
            if is_too_large {
                Self::FIRST.max
            } else {
                number
            },
        );
    }

    fn all(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..5].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }

    fn put(&mut self, all: u64) {
        self.0.copy_from_slice(&all.to_le_bytes()[..5]);
    }

    fn number(self, field: Field) -> u64 {
        self.all() >> field.shift & field.max
    }

    fn set_number(&mut self, field: Field, value: u64) {
        let others = self.all() & !(field.max << field.shift);
        self.put(others | (value & field.max) << field.shift);
    }
}

impl Count {
    fn field(self) -> Field {
        let shift = match self {
            Self::Superseded => 7,
            Self::Single => 10,
        };
        Field {
            shift,
            max: Flags::MAX_COUNT,
        }
    }
}

/// Where an ID is kept in a set, whether it is there or not; found once and used for several lookups.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    key: Key,
    shard: u16,
}

/// The set.
#[derive(Debug)]
pub struct IdSet {
    mixer: Mixer,
    /// Make 12 bytes of an ID that is not ImageKit's.
    digests: [RandomState; 2],
    /// First those of ImageKit's IDs, then as many of others.
    shards: Box<[Shard]>,
}

impl Default for IdSet {
    fn default() -> Self {
        Self {
            mixer: Mixer::new(),
            digests: [RandomState::new(), RandomState::new()],
            shards: (0..2 * SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

impl IdSet {
    /// Takes an ID in as seen; whether it was not before.
    pub fn insert(&mut self, id: &str) -> bool {
        let flags = self.entry(id);
        let is_new = !flags.is_seen();
        flags.set_first(1);
        is_new
    }

    /// The flags of an ID, which is taken in if it was not there.
    pub fn entry(&mut self, id: &str) -> &mut Flags {
        self.entry_at(self.slot_of(id))
    }

    /// The flags of the ID of a slot, which is taken in if it was not there.
    pub fn entry_at(&mut self, slot: Slot) -> &mut Flags {
        let shard = &mut self.shards[usize::from(slot.shard)];
        shard.entry(slot.key).or_default()
    }

    /// The flags of an ID; `None` if it was never taken in.
    pub fn get(&self, id: &str) -> Option<Flags> {
        self.get_at(self.slot_of(id))
    }

    /// The flags of the ID of a slot; `None` if it was never taken in.
    pub fn get_at(&self, slot: Slot) -> Option<Flags> {
        let shard = &self.shards[usize::from(slot.shard)];
        shard.get(&slot.key).copied()
    }

    /// The slot of an ID.
    pub fn slot_of(&self, id: &str) -> Slot {
        let (value, first) = if looks_like_imagekit(id) {
            let eights = id.as_bytes().as_chunks().0.iter();
            let add = |value, digits: &_| value << 32 | u128::from(value_of_hex(*digits));
            (eights.fold(0, add), 0)
        } else {
            let [low, high] = self.digests.each_ref().map(|digest| digest.hash_one(id));
            (u128::from(low) | u128::from(high) << 64, SHARDS)
        };
        let mixed = self.mixer.mix(value & Mixer::MASK);
        let mut key = Key::default();
        key.copy_from_slice(&mixed.to_le_bytes()[..KEY_BYTES]);
        Slot {
            key,
            shard: first + shard(mixed),
        }
    }

    /// Brings what is known of the IDs of these slots near the processor; changes nothing.
    ///
    /// A set of millions has no room in its caches. IDs that are looked up one right after the other wait for
    /// memory together, with work between them each waits alone.
    pub fn prefetch(&self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            black_box(self.get_at(slot));
        }
    }

    /// Distinct IDs.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Whether no ID was taken in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All flags, in no order.
    pub fn flags(&self) -> impl Iterator<Item = Flags> {
        let shards = self.shards.iter();
        shards.flat_map(|shard| shard.values().copied())
    }
}

/// Spreads the values of 96 bits evenly, no two of them to the same: what stands in a table is a part of it, and the
/// table in which it stands tells the rest.
#[derive(Debug)]
struct Mixer {
    seed: u128,
    factors: [u128; 2],
}

impl Mixer {
    const BITS: u32 = 96;
    const MASK: u128 = (1 << Self::BITS) - 1;

    fn new() -> Self {
        Self {
            seed: fastrand::u128(..) & Self::MASK,
            factors: [fastrand::u128(..) | 1, fastrand::u128(..) | 1],
        }
    }

    fn mix(&self, value: u128) -> u128 {
        let mut mixed = value ^ self.seed;
        for factor in self.factors {
            mixed = mixed.wrapping_mul(factor) & Self::MASK;
            mixed ^= mixed >> (Self::BITS / 2);
        }
        mixed
    }
}

/// A key is as good as its hash.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, key: &[u8]) {
        self.0 = key
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first));
    }

    fn write_usize(&mut self, _len: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The value of eight lower-case hex digits, of all of them at once.
const fn value_of_hex(digits: [u8; 8]) -> u64 {
    let digits = u64::from_be_bytes(digits);
    // The low bits of `0` to `9` are their value, those of letters are 1 to 6.
    let values = (digits & 0x0f0f_0f0f_0f0f_0f0f) + 9 * (digits >> 6 & 0x0101_0101_0101_0101);
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (fours | fours >> 16) & 0xffff_ffff
}

/// Shard i of n takes a share of the values that grows from first to last by a factor of two; the last one takes
/// less than one in 256 of them, so that two values in it differ in their other bytes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "24 bits, and less than 512"
)]
fn shard(mixed: u128) -> u16 {
    const ONE: u64 = 1 << 24;
    // x (4 - x) / 3 of a value as a fraction x of one: from 0 to 1, twice as steep at the first as at the last.
    let x = (mixed >> (Mixer::BITS - 24)) as u64;
    (x * (4 * ONE - x) / (3 * ONE) * u64::from(SHARDS) / ONE) as u16
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
            assert!(seen.insert(id), "{id} is new");
        }
        for id in &ids {
            assert!(!seen.insert(id), "{id} is known");
        }
        assert_eq!(seen.len(), ids.len());
    }

    #[test]
    fn what_is_known_of_an_id_does_not_disturb_the_rest() {
        let mut flags = Flags::default();
        assert!(!flags.is_seen() && flags.first().is_none());
        flags.set(Flag::Invalid);
        flags.set_count(Count::Single, Flags::MAX_COUNT);
        flags.set_row(9);
        flags.set_first(99_999_999);
        flags.set_count(Count::Superseded, 3);
        let read = |flags: Flags| {
            let counts = [Count::Superseded, Count::Single].map(|count| flags.count(count));
            let has = [Flag::Counted, Flag::Invalid, Flag::Excepted].map(|flag| flags.has(flag));
            (flags.row(), counts, has, flags.first())
        };
        let first = Some(99_999_999);
        assert_eq!(read(flags), (9, [3, 7], [false, true, false], first));
        flags.set_row(0);
        flags.set_count(Count::Single, 1);
        assert!(flags.set(Flag::Excepted) && !flags.set(Flag::Excepted));
        flags.set_first(u64::MAX);
        assert_eq!(read(flags), (0, [3, 1], [false, true, true], None));
        assert!(flags.is_seen(), "and nobody can say where");
    }

    /// What a table takes that has room for this many: a power of two of places, each with a byte beside it.
    fn bytes(room: usize) -> usize {
        let places = (room * 8 / 7).next_power_of_two();
        places * (size_of::<(Key, Flags)>() + 1)
    }

    #[test]
    fn an_id_takes_30_bytes_at_the_most_while_a_shard_grows_too() {
        let mut set = IdSet::default();
        let (mut total, mut known) = (0, [0; SHARDS as usize]);
        for number in 0..700_000_u64 {
            let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let slot = set.slot_of(&format!("{number:08x}{id:016x}"));
            set.entry_at(slot);
            let now = bytes(set.shards[usize::from(slot.shard)].capacity());
            let old = std::mem::replace(&mut known[usize::from(slot.shard)], now);
            if now != old {
                total += now - old;
                let (peak, ids) = (total + old, usize::try_from(number).unwrap_or(0));
                assert!(ids < 200_000 || peak <= 30 * ids, "{peak} for {ids}");
            }
        }
    }

    #[test]
    fn shards_grow_in_weight_so_that_they_double_one_after_another() {
        let mut sizes = [0_u32; SHARDS as usize];
        for n in 0..1_000_000_u64 {
            sizes[usize::from(shard(
                u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32,
            ))] += 1;
        }
        let ratio = f64::from(sizes[511]) / f64::from(sizes[0]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }
}
