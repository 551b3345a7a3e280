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

const SAVE_AS_CSV: &str = "save its sheet as CSV";
const EXPORT: &str = "export the IDs as CSV, or one ID per line";
const UNPACK: &str = "unpack it and give the list inside";
const NOT_TEXT: &str = "it is not text: give a CSV file, or one ID per line";
const NOT_UTF8: &str = "save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8`";
const UTF32: &str = "UTF-32";
const NOT_UTF32: &str = "save it as UTF-8, or convert it with `iconv -f UTF-32 -t UTF-8`";

/// A zstd frame whose window does not fit into memory.
pub(super) const LONG_WINDOW: Foreign = Foreign {
    what: "compressed with a window that does not fit into memory",
    way_out: "decompress it with `zstd -d --long=31` and give the list itself",
};

const UTF16: Foreign = Foreign {
    what: "UTF-16",
    way_out: NOT_UTF8,
};
const NULS: Foreign = Foreign {
    what: "binary data or separated by NUL bytes",
    way_out: "give one ID per line; `tr '\\0' '\\n'` makes lines of NUL-separated IDs",
};
const EXECUTABLE: Foreign = Foreign {
    what: "an executable",
    way_out: NOT_TEXT,
};

/// Files by the bytes that stand at an offset from their start: offset, bytes, what it is, what to do.
const SIGNATURES: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        GZIP,
        "gzip in another compression or behind other bytes",
        "decompress it first, with `gzip -dc`",
    ),
    (
        0,
        ZSTD,
        "zstd in another compression or behind other bytes",
        "decompress it first, with `zstd -dc`",
    ),
    (
        1,
        SKIPPABLE,
        "zstd in another compression or behind other bytes",
        "decompress it first, with `zstd -dc`",
    ),
    (
        4,
        b"1AY&SY",
        "compressed by bzip2",
        "decompress it first, with `bzip2 -dc`",
    ),
    (
        4,
        b"\x17\x72\x45\x38\x50\x90",
        "compressed by bzip2",
        "decompress it first, with `bzip2 -dc`",
    ),
    (
        0,
        b"\xfd7zXZ\0",
        "compressed by xz",
        "decompress it first, with `xz -dc`",
    ),
    (
        0,
        b"\x5d\0\0",
        "compressed by lzma",
        "decompress it first, with `xz -dc`",
    ),
    (
        0,
        b"\x04\x22\x4d\x18",
        "compressed by lz4",
        "decompress it first, with `lz4 -dc`",
    ),
    (
        0,
        b"\x02\x21\x4c\x18",
        "compressed by lz4",
        "decompress it first, with `lz4 -dc`",
    ),
    (
        0,
        b"\x1f\x9d",
        "compressed by compress",
        "decompress it first, with `gzip -dc`",
    ),
    (
        0,
        b"\x89LZO",
        "compressed by lzop",
        "decompress it first, with `lzop -dc`",
    ),
    (
        0,
        b"\xff\x06\0\0sNaPpY",
        "compressed by Snappy",
        "decompress it first",
    ),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (
        0,
        b"PK\x03\x04",
        "a spreadsheet (xlsx, ods) or a ZIP file",
        SAVE_AS_CSV,
    ),
    (0, b"PK\x05\x06", "an empty ZIP file", SAVE_AS_CSV),
    (0, b"PK\x07\x08", "a part of a ZIP file", SAVE_AS_CSV),
    (
        0,
        b"\xd0\xcf\x11\xe0",
        "an old spreadsheet or document (xls, doc)",
        SAVE_AS_CSV,
    ),
    (0, b"%PDF", "a PDF", NOT_TEXT),
    (0, b"{\\rtf", "an RTF document", NOT_TEXT),
    (0, b"PAR1", "a Parquet file", EXPORT),
    (0, b"PARE", "a Parquet file", EXPORT),
    (0, b"ARROW1", "an Arrow file", EXPORT),
    (0, b"Obj\x01", "an Avro file", EXPORT),
    (0, b"SQLite format 3", "an SQLite database", EXPORT),
    (0, b"\x7fELF", EXECUTABLE.what, NOT_TEXT),
    (0, b"#!/", "a script", NOT_TEXT),
    (0, b"\xfe\xed\xfa\xce", EXECUTABLE.what, NOT_TEXT),
    (0, b"\xfe\xed\xfa\xcf", EXECUTABLE.what, NOT_TEXT),
    (0, b"\xce\xfa\xed\xfe", EXECUTABLE.what, NOT_TEXT),
    (0, b"\xcf\xfa\xed\xfe", EXECUTABLE.what, NOT_TEXT),
    (0, b"\xca\xfe\xba\xbe", EXECUTABLE.what, NOT_TEXT),
    (0, b"\0asm", EXECUTABLE.what, NOT_TEXT),
    (0, b"\x89PNG", "a picture", NOT_TEXT),
    (0, b"\xff\xd8\xff", "a picture", NOT_TEXT),
    (0, b"GIF8", "a picture", NOT_TEXT),
    (0, b"\xff\xfe\0\0", UTF32, NOT_UTF32),
    (0, b"\0\0\xfe\xff", UTF32, NOT_UTF32),
    (0, b"\xff\xfe", UTF16.what, NOT_UTF8),
    (0, b"\xfe\xff", UTF16.what, NOT_UTF8),
    (
        0,
        b"{",
        "JSON",
        "give one ID per line, as `jq -r '.[].fileId'` makes it",
    ),
    (
        0,
        b"[",
        "JSON",
        "give one ID per line, as `jq -r '.[].fileId'` makes it",
    ),
    (
        0,
        b"<",
        "HTML or XML",
        "give a CSV file, or one ID per line",
    ),
];

impl Foreign {
    /// What a text is by its first bytes, decompressed; `None` if it may be a list.
    pub(super) fn tell(first: &[u8]) -> Option<Self> {
        let content = without_padding(first);
        let known = SIGNATURES.iter().find(|(offset, bytes, _, _)| {
            let stands_at_its_place = |text: &[u8]| {
                text.get(*offset..)
                    .is_some_and(|rest| rest.starts_with(bytes))
            };
            stands_at_its_place(first) || stands_at_its_place(content)
        });
        if let Some((_, _, what, way_out)) = known {
            return Some(Self { what, way_out });
        }
        if is_drawn_table(content) {
            return Some(Self {
                what: "a table drawn for people",
                way_out: "have the database client write CSV: `psql --csv`, `mysql --batch`",
            });
        }
        first.contains(&0).then_some(match content {
            [b'M', b'Z', ..] => EXECUTABLE,
            [a, 0, b, 0, ..] | [0, a, 0, b, ..] if *a != 0 && *b != 0 => UTF16,
            _ => NULS,
        })
    }

    /// That a text has a NUL byte where a list has none.
    pub(super) const fn nuls() -> Self {
        NULS
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
