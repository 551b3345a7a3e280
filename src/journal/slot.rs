//! A slot of the state: its bytes, with a checksum that holds in its place and its run only, and the IDs in it.

use super::{Extent, SentId, StateContents, StateHeader};
use crate::target::Doubt;

/// Before a slot's text: the report's extent (8 + 4), what the slot is (4), the text's length (4), a checksum (4).
pub(super) const PREFIX: usize = 24;

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// IDs that a request names; none, where that was never sent or was taken back.
    InFlight = 2,
    /// IDs in doubt that have no row to say so.
    InDoubt = 3,
    /// IDs in weak doubt only.
    InWeakDoubt = 5,
    /// The mark behind the last slot.
    End = 4,
}

pub(super) fn read_slots(slots: &[u8], header: &StateHeader) -> StateContents {
    let mut found = StateContents::default();
    let stride = header.stride.max(PREFIX);
    for number in 0.. {
        let left = slots.get(number * stride..).unwrap_or_default();
        if left.is_empty() {
            found.is_damaged = true;
            break;
        }
        let opened = open(&left[..left.len().min(stride)], header.run, number);
        let Some((kind, extent, text)) = opened else {
            found.is_damaged = true;
            continue;
        };
        let doubt = match kind {
            SlotKind::End => break,
            SlotKind::InDoubt => Doubt::Ambiguous,
            SlotKind::InWeakDoubt => Doubt::Weak,
            SlotKind::InFlight => Doubt::None,
        };
        let listed = text
            .lines()
            .map(|line| read_line(line, extent.bytes, doubt));
        let listed: Option<Vec<SentId>> = listed.collect();
        found.is_damaged |= listed.is_none();
        if doubt == Doubt::None {
            found.in_flight.extend(listed.unwrap_or_default());
            found.extents.push(extent);
        } else {
            found.in_doubt.extend(listed.unwrap_or_default());
        }
    }
    found
}

/// Fills in a slot's prefix; the text stands behind it already.
pub(super) fn seal(bytes: &mut [u8], run: u64, number: usize, kind: SlotKind, extent: Extent) {
    let text_len = u32::try_from(bytes.len() - PREFIX).unwrap_or(u32::MAX);
    bytes[..8].copy_from_slice(&extent.bytes.to_le_bytes());
    bytes[8..12].copy_from_slice(&extent.crc.to_le_bytes());
    bytes[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    bytes[16..20].copy_from_slice(&text_len.to_le_bytes());
    let checksum = checksum(bytes, run, number);
    bytes[20..PREFIX].copy_from_slice(&checksum.to_le_bytes());
}

/// What a slot says; `None` if it is not as it was written, or not by this run, or not in this place.
fn open(slot: &[u8], run: u64, number: usize) -> Option<(SlotKind, Extent, &str)> {
    let int = |from: usize| {
        Some(u32::from_le_bytes(
            slot.get(from..from + 4)?.try_into().ok()?,
        ))
    };
    let end = PREFIX + usize::try_from(int(16)?).ok()?;
    let whole = slot.get(..end)?;
    if int(20)? != checksum(whole, run, number) {
        return None;
    }
    let kinds = [
        SlotKind::InFlight,
        SlotKind::InDoubt,
        SlotKind::InWeakDoubt,
        SlotKind::End,
    ];
    let kind = int(12)?;
    let kind = kinds.into_iter().find(|known| *known as u32 == kind)?;
    let extent = Extent {
        bytes: u64::from_le_bytes(slot.get(..8)?.try_into().ok()?),
        crc: int(8)?,
    };
    Some((kind, extent, std::str::from_utf8(&whole[PREFIX..]).ok()?))
}

fn checksum(slot: &[u8], run: u64, number: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&run.to_le_bytes());
    hasher.update(&(number as u64).to_le_bytes());
    hasher.update(&slot[..20]);
    hasher.update(&slot[PREFIX..]);
    hasher.finalize()
}

/// An ID's line in a slot. A URL that would break it is left out.
pub(super) fn write_line(bytes: &mut Vec<u8>, file_id: &str, line: u64, url: Option<&str>) {
    bytes.extend_from_slice(file_id.as_bytes());
    bytes.push(b'\t');
    bytes.extend_from_slice(itoa::Buffer::new().format(line).as_bytes());
    if let Some(url) = url.filter(|url| !url.contains(char::is_control)) {
        bytes.push(b'\t');
        bytes.extend_from_slice(url.as_bytes());
    }
    bytes.push(b'\n');
}

fn read_line(line: &str, sent_at: u64, doubt: Doubt) -> Option<SentId> {
    let mut parts = line.splitn(3, '\t');
    Some(SentId {
        file_id: parts.next()?.into(),
        line: parts.next()?.parse().ok()?,
        url: parts.next().map(Into::into),
        sent_at,
        doubt,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::super::{Journal, MAX_URL_BYTES, Owner, ROOM, StateFile, inspect, stride};
    use super::*;
    use crate::target::{FileId, MAX_ID_BYTES, Origin, Target};

    fn target(id: &str, line: u64) -> Target {
        let origin = Origin {
            line,
            input: Arc::from("a.csv"),
            url: None,
        };
        Target {
            file_id: FileId::parse(id).unwrap(),
            origin,
            doubt: Doubt::None,
        }
    }

    fn in_doubt(id: &str) -> SentId {
        SentId {
            line: 3,
            ..SentId::in_doubt(id)
        }
    }

    fn header() -> StateHeader {
        StateHeader {
            is_at_rest: false,
            extent: reached(7),
            run: 11,
            ..StateHeader::new(Owner::default(), stride(2, MAX_URL_BYTES))
        }
    }

    fn reached(bytes: u64) -> Extent {
        Extent { bytes, crc: 5 }
    }

    fn begun(doubts: &[SentId]) -> (tempfile::NamedTempFile, Journal) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let state = StateFile {
            file: file.reopen().unwrap(),
            path: file.path().into(),
            old: None,
        };
        let begun = Journal::begin(
            "state".into(),
            state.into(),
            header(),
            MAX_URL_BYTES,
            doubts,
        );
        (file, begun.unwrap())
    }

    fn found(file: &tempfile::NamedTempFile) -> StateContents {
        let found = inspect(&std::fs::read(file.path()).unwrap());
        assert_eq!(found.header, Some(header()));
        assert!(!found.is_damaged);
        found
    }

    fn in_flight(file: &tempfile::NamedTempFile) -> Vec<(String, u64, u64)> {
        let in_flight = found(file).in_flight.into_iter();
        in_flight
            .map(|one| (one.file_id, one.line, one.sent_at))
            .collect()
    }

    #[test]
    fn what_is_sent_stands_on_disk_until_its_slot_is_used_again_or_withdrawn() {
        let (file, journal) = begun(&[]);
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
        let mut further = reached(7);
        further.add(&[b'x'; 92]);
        journal.add_rows(&[b'x'; 92]);
        let third = journal.intend(&[&target("d", 4)]).unwrap();
        assert_eq!(in_flight(&file), [("d".into(), 4, 99), ("c".into(), 3, 7)]);
        assert_eq!(found(&file).extents, [reached(7), further]);
        second.withdraw().unwrap();
        third.withdraw().unwrap();
        assert_eq!(in_flight(&file), []);
    }

    #[test]
    fn a_state_that_lost_or_changed_anything_is_damaged() {
        let (file, journal) = begun(&[in_doubt("x")]);
        let _intent = journal.intend(&[&target("aaaaaaaa", 1)]).unwrap();
        let _other = journal.intend(&[&target("bb", 2)]).unwrap();
        let whole = std::fs::read(file.path()).unwrap();
        assert_eq!(in_flight(&file).len(), 2);
        let stride = header().stride;
        for cut in 0..whole.len() {
            assert!(inspect(&whole[..cut]).is_damaged, "cut at {cut}");
        }
        for slot in 0..4 {
            let begin = ROOM + slot * stride;
            for at in begin..begin + PREFIX {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x10;
                assert!(inspect(&flipped).is_damaged, "flipped at {at}");
            }
            let mut cleared = whole.clone();
            let end = cleared.len().min(begin + stride);
            cleared[begin..end].fill(0);
            assert!(inspect(&cleared).is_damaged, "NULs in slot {slot}");
        }
        let mut moved = whole.clone();
        moved.copy_within(ROOM + stride..ROOM + 2 * stride, ROOM + 2 * stride);
        assert!(inspect(&moved).is_damaged, "a slot in another's place");
    }

    #[test]
    fn doubts_stay_however_many_they_are_and_whatever_is_sent_after_them() {
        let mut doubts: Vec<SentId> = (0..500).map(|n| in_doubt(&format!("id-{n}"))).collect();
        for weak in doubts.iter_mut().step_by(7) {
            weak.doubt = Doubt::Weak;
        }
        let (file, journal) = begun(&doubts);
        let intent = journal.intend(&[&target("a", 1)]).unwrap();
        drop(intent);
        let _next = journal.intend(&[&target("b", 1)]).unwrap();
        assert_eq!(found(&file).in_doubt, doubts);
        assert_eq!(in_flight(&file), [("b".into(), 1, 7)]);
        journal.rewrite(|_| (), &doubts[..1]).unwrap();
        assert_eq!(found(&file).in_doubt, doubts[..1]);
        assert_eq!(in_flight(&file), []);
    }

    #[test]
    fn slots_of_another_run_are_none_of_this_one() {
        let (file, journal) = begun(&[]);
        let _intent = journal.intend(&[&target("a", 1)]).unwrap();
        journal.rewrite_header(|header| header.run += 1).unwrap();
        assert!(inspect(&std::fs::read(file.path()).unwrap()).is_damaged);
    }

    #[test]
    fn the_longest_ids_and_urls_fit_their_slot() {
        let (file, journal) = begun(&[]);
        let mut long = target(&"x".repeat(MAX_ID_BYTES), u64::MAX);
        long.origin.url = Some("u".repeat(MAX_URL_BYTES).into());
        let _intent = journal.intend(&[&long, &long]).unwrap();
        assert_eq!(in_flight(&file).len(), 2);
    }

    #[test]
    fn a_url_stands_with_its_id_unless_it_would_break_the_slot() {
        let (file, journal) = begun(&[]);
        let with = |id: &str, url: &str| {
            let mut target = target(id, 1);
            target.origin.url = Some(url.into());
            target
        };
        let too_long = "u".repeat(MAX_URL_BYTES + 1);
        let sent = [with("a", "https://a/b,c?d=e"), with("b", &too_long)];
        let _intent = journal.intend(&[&sent[0], &sent[1]]).unwrap();
        let _other = journal.intend(&[&with("c", "x\ny")]).unwrap();
        let in_flight = found(&file).in_flight;
        let urls: Vec<Option<&str>> = in_flight.iter().map(|one| one.url.as_deref()).collect();
        assert_eq!(urls, [Some("https://a/b,c?d=e"), None, None]);
    }
}
