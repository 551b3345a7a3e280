//! What an input is that is no list of IDs, by its first bytes.

use std::fmt;
use std::io;

/// How many bytes of a text are looked at.
pub(super) const SNIFFED: usize = 8 * 1024;

const BOM: &[u8] = "\u{feff}".as_bytes();

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A frame that zstd's readers skip, behind its first byte; pzstd writes one before each frame.
const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// A compression that is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// The compression of an input by its first four bytes.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        let is_skippable = matches!(first, [0x50..=0x5f, rest @ ..] if rest.starts_with(SKIPPABLE));
        match first {
            _ if first.starts_with(GZIP) => Some(Self::Gzip),
            _ if first.starts_with(ZSTD) || is_skippable => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What an input is that is no list: in words, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign {
    what: &'static str,
    way_out: &'static str,
}

impl fmt::Display for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "is {}; {}", self.what, self.way_out)
    }
}

impl std::error::Error for Foreign {}

const fn is(what: &'static str, way_out: &'static str) -> Foreign {
    Foreign { what, way_out }
}

const SAVE_AS_CSV: &str = "save its sheet as CSV";
const EXPORT: &str = "export the IDs as CSV, or one ID per line";
const UNPACK: &str = "unpack it and give the list inside";
const DECOMPRESS: &str = "decompress it first";
const SAVE_AS_UTF8: &str = "save it as UTF-8, or convert it with `iconv`";
const NOT_TEXT: &str = "it is not text: give a CSV file, or one ID per line";

/// A zstd frame whose window does not fit into memory.
pub(super) const LONG_WINDOW: Foreign = is(
    "compressed with a window that does not fit into memory",
    "decompress it with `zstd -d --long=31` and give the list itself",
);

/// A text that has a NUL byte where a list has none.
pub(super) const NULS: Foreign = is(
    "binary data or separated by NUL bytes",
    "give one ID per line; `tr '\\0' '\\n'` makes lines of NUL-separated IDs",
);
const UTF16: Foreign = is("UTF-16", SAVE_AS_UTF8);
const PACKED_GZIP: Foreign = is("gzip within or behind something else", DECOMPRESS);
const PACKED_ZSTD: Foreign = is("zstd within or behind something else", DECOMPRESS);
const COMPRESS: Foreign = is("compressed by compress (.Z)", DECOMPRESS);
const BZIP2: Foreign = is("compressed by bzip2", DECOMPRESS);
const LZ4: Foreign = is("compressed by lz4", DECOMPRESS);
const SPREADSHEET: Foreign = is("a spreadsheet (xlsx, ods) or a ZIP file", SAVE_AS_CSV);
const EXECUTABLE: Foreign = is("an executable", NOT_TEXT);
const DRAWN_TABLE: Foreign = is("a table drawn for people", EXPORT);
const JSON: Foreign = is(
    "JSON",
    "give one ID per line, as `jq -r '.[].fileId'` makes it",
);

/// Files by the bytes that stand at an offset from their start. Most others have a NUL byte among their first.
const SIGNATURES: &[(usize, &[u8], Foreign)] = &[
    (0, GZIP, PACKED_GZIP),
    (0, ZSTD, PACKED_ZSTD),
    (1, SKIPPABLE, PACKED_ZSTD),
    (0, b"\x1f\x9d", COMPRESS),
    (4, b"1AY&SY", BZIP2),
    (4, b"\x17\x72\x45\x38\x50\x90", BZIP2),
    (0, b"\xfd7zXZ\0", is("compressed by xz", DECOMPRESS)),
    (0, b"\x04\x22\x4d\x18", LZ4),
    (0, b"\x02\x21\x4c\x18", LZ4),
    (257, b"ustar", is("a tar archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", is("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", is("a RAR archive", UNPACK)),
    (0, b"PK\x03\x04", SPREADSHEET),
    (0, b"PK\x05\x06", SPREADSHEET),
    (0, b"PK\x07\x08", SPREADSHEET),
    (
        0,
        b"\xd0\xcf\x11\xe0",
        is("an old spreadsheet (xls)", SAVE_AS_CSV),
    ),
    (0, b"%PDF", is("a PDF", NOT_TEXT)),
    (0, b"{\\rtf", is("an RTF document", NOT_TEXT)),
    (0, b"PAR1", is("a Parquet file", EXPORT)),
    (0, b"Obj\x01", is("an Avro file", EXPORT)),
    (0, b"SQLite format 3", is("an SQLite database", EXPORT)),
    (0, b"\x7fELF", EXECUTABLE),
    (0, b"\xcf\xfa\xed\xfe", EXECUTABLE),
    (0, b"\xce\xfa\xed\xfe", EXECUTABLE),
    (0, b"\xfe\xed\xfa\xce", EXECUTABLE),
    (0, b"\xfe\xed\xfa\xcf", EXECUTABLE),
    (0, b"\xca\xfe\xba\xbe", EXECUTABLE),
    (0, b"#!/", is("a script", NOT_TEXT)),
    (0, b"GIF8", is("a picture", NOT_TEXT)),
    (0, b"\xff\xfe\0\0", is("UTF-32", SAVE_AS_UTF8)),
    (0, b"\xff\xfe", UTF16),
    (0, b"\xfe\xff", UTF16),
    (0, b"{", JSON),
    (0, b"[", JSON),
    (
        0,
        b"<",
        is("HTML or XML", "give a CSV file, or one ID per line"),
    ),
];

impl Foreign {
    /// What a text is by its first bytes, decompressed; `None` if it may be a list.
    pub(super) fn detect(first: &[u8]) -> Option<Self> {
        let content = without_padding(first);
        let known = SIGNATURES.iter().find(|(offset, bytes, _)| {
            [first, content].iter().any(|text| {
                let there = text.get(*offset..);
                there.is_some_and(|there| there.starts_with(bytes))
            })
        });
        if let Some((_, _, foreign)) = known {
            return Some(*foreign);
        }
        if is_border(content) {
            return Some(DRAWN_TABLE);
        }
        first.contains(&0).then_some(match content {
            [b'M', b'Z', ..] => EXECUTABLE,
            [a, 0, b, 0, ..] | [0, a, 0, b, ..] if *a != 0 && *b != 0 => UTF16,
            _ => NULS,
        })
    }

    /// What an error says of the input, if it is one of these.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Whether a text begins as a drawn table does: with a whole line like `+------+---+`.
fn is_border(text: &[u8]) -> bool {
    let line = text.split(|byte| matches!(byte, b'\n' | b'\r')).next();
    line.is_some_and(|line| {
        line.starts_with(b"+--")
            && line.len() < text.len()
            && line.ends_with(b"+")
            && line.iter().all(|byte| matches!(byte, b'+' | b'-'))
    })
}

/// Whether these first bytes hold a line with something in it: more need not be waited for.
pub(super) fn has_line(first: &[u8]) -> bool {
    without_padding(first)
        .iter()
        .any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// The text behind white space and byte order marks.
fn without_padding(mut text: &[u8]) -> &[u8] {
    loop {
        let rest = text.trim_ascii_start();
        let rest = rest.strip_prefix(BOM).unwrap_or(rest);
        if rest.len() == text.len() {
            return rest;
        }
        text = rest;
    }
}
