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
pub struct Foreign {
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
const NOT_TEXT: &str = "it is not text: give a CSV file, or one ID per line";

/// A zstd frame whose window does not fit into memory.
pub(super) const LONG_WINDOW: Foreign = is(
    "compressed with a window that does not fit into memory",
    "decompress it with `zstd -d --long=31` and give the list itself",
);

const UTF16: Foreign = is(
    "UTF-16",
    "save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8`",
);
const UTF32: Foreign = is(
    "UTF-32",
    "save it as UTF-8, or convert it with `iconv -f UTF-32 -t UTF-8`",
);
/// A text that has a NUL byte where a list has none.
pub(super) const NULS: Foreign = is(
    "binary data or separated by NUL bytes",
    "give one ID per line; `tr '\\0' '\\n'` makes lines of NUL-separated IDs",
);
const DRAWN_TABLE: Foreign = is(
    "a table drawn for people",
    "have the database client write CSV: `psql --csv`, `mysql --batch`",
);
const PACKED_GZIP: Foreign = is(
    "gzip in another compression or behind other bytes",
    "decompress it first, with `gzip -dc`",
);
const PACKED_ZSTD: Foreign = is(
    "zstd in another compression or behind other bytes",
    "decompress it first, with `zstd -dc`",
);
const BZIP2: Foreign = is(
    "compressed by bzip2",
    "decompress it first, with `bzip2 -dc`",
);
const XZ: Foreign = is("compressed by xz", "decompress it first, with `xz -dc`");
const LZMA: Foreign = is("compressed by lzma", "decompress it first, with `xz -dc`");
const LZ4: Foreign = is("compressed by lz4", "decompress it first, with `lz4 -dc`");
const COMPRESS: Foreign = is(
    "compressed by compress",
    "decompress it first, with `gzip -dc`",
);
const LZOP: Foreign = is("compressed by lzop", "decompress it first, with `lzop -dc`");
const SNAPPY: Foreign = is("compressed by Snappy", "decompress it first");
const SPREADSHEET: Foreign = is("a spreadsheet (xlsx, ods) or a ZIP file", SAVE_AS_CSV);
const OLD_SPREADSHEET: Foreign = is("an old spreadsheet or document (xls, doc)", SAVE_AS_CSV);
const PARQUET: Foreign = is("a Parquet file", EXPORT);
const EXECUTABLE: Foreign = is("an executable", NOT_TEXT);
const PICTURE: Foreign = is("a picture", NOT_TEXT);
const JSON: Foreign = is(
    "JSON",
    "give one ID per line, as `jq -r '.[].fileId'` makes it",
);
const MARKUP: Foreign = is("HTML or XML", "give a CSV file, or one ID per line");

/// Files by the bytes that stand at an offset from their start.
const SIGNATURES: &[(usize, &[u8], Foreign)] = &[
    (0, GZIP, PACKED_GZIP),
    (0, ZSTD, PACKED_ZSTD),
    (1, SKIPPABLE, PACKED_ZSTD),
    (4, b"1AY&SY", BZIP2),
    (4, b"\x17\x72\x45\x38\x50\x90", BZIP2),
    (0, b"\xfd7zXZ\0", XZ),
    (0, b"\x5d\0\0", LZMA),
    (0, b"\x04\x22\x4d\x18", LZ4),
    (0, b"\x02\x21\x4c\x18", LZ4),
    (0, b"\x1f\x9d", COMPRESS),
    (0, b"\x89LZO", LZOP),
    (0, b"\xff\x06\0\0sNaPpY", SNAPPY),
    (257, b"ustar", is("a tar archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", is("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", is("a RAR archive", UNPACK)),
    (0, b"PK\x03\x04", SPREADSHEET),
    (0, b"PK\x05\x06", SPREADSHEET),
    (0, b"PK\x07\x08", SPREADSHEET),
    (0, b"\xd0\xcf\x11\xe0", OLD_SPREADSHEET),
    (0, b"%PDF", is("a PDF", NOT_TEXT)),
    (0, b"{\\rtf", is("an RTF document", NOT_TEXT)),
    (0, b"PAR1", PARQUET),
    (0, b"PARE", PARQUET),
    (0, b"ARROW1", is("an Arrow file", EXPORT)),
    (0, b"Obj\x01", is("an Avro file", EXPORT)),
    (0, b"SQLite format 3", is("an SQLite database", EXPORT)),
    (0, b"\x7fELF", EXECUTABLE),
    (0, b"#!/", is("a script", NOT_TEXT)),
    (0, b"\xfe\xed\xfa\xce", EXECUTABLE),
    (0, b"\xfe\xed\xfa\xcf", EXECUTABLE),
    (0, b"\xce\xfa\xed\xfe", EXECUTABLE),
    (0, b"\xcf\xfa\xed\xfe", EXECUTABLE),
    (0, b"\xca\xfe\xba\xbe", EXECUTABLE),
    (0, b"\0asm", EXECUTABLE),
    (0, b"\x89PNG", PICTURE),
    (0, b"\xff\xd8\xff", PICTURE),
    (0, b"GIF8", PICTURE),
    (0, b"\xff\xfe\0\0", UTF32),
    (0, b"\0\0\xfe\xff", UTF32),
    (0, b"\xff\xfe", UTF16),
    (0, b"\xfe\xff", UTF16),
    (0, b"{", JSON),
    (0, b"[", JSON),
    (0, b"<", MARKUP),
];

impl Foreign {
    /// What a text is by its first bytes, decompressed; `None` if it may be a list.
    pub(super) fn tell(first: &[u8]) -> Option<Self> {
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
        if is_drawn_table(content) {
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

/// The upper border of a table, as database clients draw it: `+----+----+`.
fn is_drawn_table(text: &[u8]) -> bool {
    let border: &[u8] = text
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    border.starts_with(b"+--")
        && border.ends_with(b"-+")
        && border.iter().all(|byte| matches!(byte, b'+' | b'-'))
}
