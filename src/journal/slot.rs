//! A slot of the state: its bytes, with a checksum that holds in its place and its run only, and the IDs in it.

use std::io;

use super::{Extent, Found, InFlight, StateHeader};
use crate::target::Doubt;

/// Before a slot's text: the report's extent (8 + 4), what the slot is (4), the text's length (4), a checksum (4).
pub(super) const PREFIX: usize = 24;

/// The longest URL that is kept, in bytes; browsers and CDNs take some 2000.
pub(super) const MAX_URL_BYTES: usize = 2048;

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing; what was in it was never sent, or taken back.
    Empty = 1,
    /// IDs that a request names.
    InFlight = 2,
    /// IDs in doubt that have no row to say so.
    InDoubt = 3,
    /// IDs in weak doubt only.
    InWeakDoubt = 5,
    /// The mark behind the last slot.
    End = 4,
}

pub(super) fn read_slots(slots: &[u8], header: &StateHeader) -> Found {
    let mut found = Found::default();
    let stride = usize::try_from(header.stride)
        .unwrap_or_default()
        .max(PREFIX);
    for number in 0.. {
        let Some(bytes) = slots
            .get(number * stride..)
            .filter(|bytes| !bytes.is_empty())
        else {
            found.is_damaged = true;
            break;
        };
        let slot = &bytes[..bytes.len().min(stride)];
        match open(slot, header.run, number as u64) {
            Some((Kind::End, ..)) => break,
            Some((kind, extent, text)) => {
                let listed = text.lines().map(|line| read_line(line, extent.bytes));
                let listed: Option<Vec<InFlight>> = listed.collect();
                found.is_damaged |= listed.is_none();
                let in_doubt = |doubt| move |one| InFlight { doubt, ..one };
                let listed = listed.unwrap_or_default().into_iter();
                match kind {
                    Kind::InDoubt => found
                        .in_doubt
                        .extend(listed.map(in_doubt(Doubt::Ambiguous))),
                    Kind::InWeakDoubt => found.in_doubt.extend(listed.map(in_doubt(Doubt::Weak))),
                    Kind::InFlight | Kind::Empty | Kind::End => {
                        found.in_flight.extend(listed);
                        found.extents.push(extent);
                    }
                }
            }
            None => found.is_damaged = true,
        }
    }
    found
}

/// Fills in a slot's prefix; the text stands behind it already.
pub(super) fn seal(
    bytes: &mut [u8],
    run: u64,
    number: u64,
    kind: Kind,
    extent: Extent,
) -> io::Result<()> {
    let text_len = u32::try_from(bytes.len() - PREFIX).map_err(io::Error::other)?;
    bytes[..8].copy_from_slice(&extent.bytes.to_le_bytes());
    bytes[8..12].copy_from_slice(&extent.crc.unwrap_or_default().to_le_bytes());
    bytes[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    bytes[16..20].copy_from_slice(&text_len.to_le_bytes());
    let checksum = checksum(bytes, run, number);
    bytes[20..PREFIX].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// What a slot says; `None` if it is not as it was written, or not by this run, or not in this place.
pub(super) fn open(slot: &[u8], run: u64, number: u64) -> Option<(Kind, Extent, &str)> {
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
        Kind::Empty,
        Kind::InFlight,
        Kind::InDoubt,
        Kind::InWeakDoubt,
        Kind::End,
    ];
    let kind = int(12)?;
    let kind = kinds.into_iter().find(|known| *known as u32 == kind)?;
    let extent = Extent {
        bytes: u64::from_le_bytes(slot.get(..8)?.try_into().ok()?),
        crc: int(8),
    };
    Some((kind, extent, std::str::from_utf8(&whole[PREFIX..]).ok()?))
}

pub(super) fn checksum(slot: &[u8], run: u64, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&run.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&slot[..20]);
    hasher.update(&slot[PREFIX..]);
    hasher.finalize()
}

/// An ID's line in a slot. A URL that would break it is left out.
pub(super) fn write_line(bytes: &mut Vec<u8>, file_id: &str, line: u64, url: Option<&str>) {
    bytes.extend_from_slice(file_id.as_bytes());
    bytes.push(b'\t');
    bytes.extend_from_slice(itoa::Buffer::new().format(line).as_bytes());
    let is_kept = |url: &&str| url.len() <= MAX_URL_BYTES && !url.contains(char::is_control);
    if let Some(url) = url.filter(is_kept) {
        bytes.push(b'\t');
        bytes.extend_from_slice(url.as_bytes());
    }
    bytes.push(b'\n');
}

pub(super) fn read_line(line: &str, sent_at: u64) -> Option<InFlight> {
    let mut parts = line.splitn(3, '\t');
    Some(InFlight {
        file_id: parts.next()?.into(),
        line: parts.next()?.parse().ok()?,
        url: parts.next().map(Into::into),
        sent_at,
        doubt: Doubt::None,
    })
}
