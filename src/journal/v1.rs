//! Slots of the first release's states: no end mark, a checksum of another kind, and the report's length in bytes of
//! the file.

use super::slot::read_line;
use super::{Extent, Found, InFlight, StateHeader};

/// Before a slot's text: the report's length, the text's length, a checksum.
const PREFIX: usize = 8 + 4 + 8;

/// The header of its reports, in bytes.
const REPORT_HEADER: u64 = 123;

pub(super) fn read_slots(slots: &[u8], header: &StateHeader) -> Found {
    let stride = usize::try_from(header.stride).unwrap_or_default();
    let mut found = Found {
        is_damaged: stride <= PREFIX,
        ..Found::default()
    };
    for slot in slots.chunks(stride.max(1)).filter(|_| stride > PREFIX) {
        // It cleared a slot by NULs, and a slot that was torn was never sent.
        if let Some(sent) = read_slot(slot) {
            found.in_flight.extend(sent);
        }
    }
    let bytes = found.in_flight.iter().map(|sent| sent.sent_at);
    found.extents = bytes.map(|bytes| Extent { bytes, crc: None }).collect();
    found
}

fn read_slot(slot: &[u8]) -> Option<Vec<InFlight>> {
    let report_len = u64::from_le_bytes(slot.get(..8)?.try_into().ok()?);
    let text_len = u32::from_le_bytes(slot.get(8..12)?.try_into().ok()?);
    let text = slot.get(PREFIX..PREFIX + usize::try_from(text_len).ok()?)?;
    if text.is_empty() || slot[12..PREFIX] != fnv(report_len, text) {
        return None;
    }
    let sent_at = report_len.saturating_sub(REPORT_HEADER);
    let text = std::str::from_utf8(text).ok()?;
    text.lines().map(|line| read_line(line, sent_at)).collect()
}

/// FNV-1a.
fn fnv(report_len: u64, text: &[u8]) -> [u8; 8] {
    let bytes = report_len.to_le_bytes();
    let hash = bytes
        .iter()
        .chain(text)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.to_le_bytes()
}
