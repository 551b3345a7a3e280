//! The slots, the end mark, and states of the first release.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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
        doubt: Doubt::None,
    }
}

fn in_doubt(id: &str) -> InFlight {
    InFlight {
        file_id: id.into(),
        line: 3,
        url: None,
        sent_at: 0,
        doubt: Doubt::Ambiguous,
    }
}

fn header() -> StateHeader {
    StateHeader {
        version: STATE_VERSION,
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
        extent: reached(7),
        compacted: None,
        run: 11,
    }
}

fn reached(bytes: u64) -> Extent {
    Extent {
        bytes,
        crc: Some(5),
    }
}

fn begun(doubts: &[InFlight]) -> (tempfile::NamedTempFile, Journal) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let handle = file.reopen().unwrap();
    let begun = Journal::begin("state".into(), handle, &header(), UrlsInSlots::Kept, doubts);
    (file, begun.unwrap())
}

fn found(file: &tempfile::NamedTempFile) -> Found {
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
    journal.advance(reached(99));
    let third = journal.intend(&[&target("d", 4)]).unwrap();
    assert_eq!(in_flight(&file), [("d".into(), 4, 99), ("c".into(), 3, 7)]);
    assert_eq!(found(&file).extents, [reached(7), reached(99)]);
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
    let stride = usize::try_from(header().stride).unwrap();
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
    let mut doubts: Vec<InFlight> = (0..500).map(|n| in_doubt(&format!("id-{n}"))).collect();
    for weak in doubts.iter_mut().step_by(7) {
        weak.doubt = Doubt::Weak;
    }
    let (file, journal) = begun(&doubts);
    let intent = journal.intend(&[&target("a", 1)]).unwrap();
    drop(intent);
    let _next = journal.intend(&[&target("b", 1)]).unwrap();
    assert_eq!(found(&file).in_doubt, doubts);
    assert_eq!(in_flight(&file), [("b".into(), 1, 7)]);
    journal.rewrite(&header(), &doubts[..1]).unwrap();
    assert_eq!(found(&file).in_doubt, doubts[..1]);
    assert_eq!(in_flight(&file), []);
}

#[test]
fn slots_of_another_run_are_none_of_this_one() {
    let (file, journal) = begun(&[]);
    let _intent = journal.intend(&[&target("a", 1)]).unwrap();
    let mut other = header();
    other.run += 1;
    journal.rewrite_header(&other).unwrap();
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

#[test]
fn a_state_of_the_first_release_is_read() {
    let text = r#"{"version":1,"job":{"host":"h","key":"k"},"boot":"b","stride":512,"is_at_rest":false,"was_key_refused":false,"is_all_in_doubt":false}"#;
    let mut state = format!("{text}\n{:1$}", "", ROOM - text.len() - 1).into_bytes();
    // A slot as it wrote them: the report's length, the text's length, FNV-1a of both.
    let sent = "aaa\t3\nbbb\t4\n";
    state.extend_from_slice(&200_u64.to_le_bytes());
    state.extend_from_slice(&u32::try_from(sent.len()).unwrap().to_le_bytes());
    let hash = 200_u64
        .to_le_bytes()
        .iter()
        .chain(sent.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    state.extend_from_slice(&hash.to_le_bytes());
    state.extend_from_slice(sent.as_bytes());
    let found = inspect(&state);
    assert!(!found.is_damaged);
    let read: Vec<(&str, u64)> = found
        .in_flight
        .iter()
        .map(|one| (one.file_id.as_str(), one.sent_at))
        .collect();
    assert_eq!(read, [("aaa", 77), ("bbb", 77)], "behind its header of 123");
}
