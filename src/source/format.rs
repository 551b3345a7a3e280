//! What an input is that is no list of IDs, by its first bytes.

use std::io;

/// What an input is that is no CSV, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// UTF-16, by its byte order mark or every other byte being zero.
    #[error("is UTF-16; save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8`")]
    Utf16,
    /// A ZIP file, as a spreadsheet is, or an old spreadsheet.
    #[error("is a spreadsheet or a ZIP file; save its sheet as CSV")]
    Spreadsheet,
    /// JSON, which no ID begins like.
    #[error("is JSON; give one ID a line, as `jq -r '.[].fileId'` makes it")]
    Json,
    /// A program, a picture, a document.
    #[error("is not text; give a CSV file, or one ID a line")]
    Binary,
}

impl Foreign {
    pub(super) fn tell(first: &[u8]) -> Option<Self> {
        match first {
            _ if looks_like_utf16(first) => Some(Self::Utf16),
            [b'P', b'K', 3, 4] | [0xd0, 0xcf, 0x11, 0xe0] => Some(Self::Spreadsheet),
            [b'{' | b'[', ..] => Some(Self::Json),
            [0x7f, b'E', b'L', b'F'] | [0x89, b'P', b'N', b'G'] | [0xff, 0xd8, 0xff, _] => {
                Some(Self::Binary)
            }
            b"%PDF" => Some(Self::Binary),
            _ => None,
        }
    }

    /// What an error says of the input, if it is one of these.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// A byte order mark, or every other byte zero as in ASCII written as UTF-16.
fn looks_like_utf16(first: &[u8]) -> bool {
    matches!(first, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
        || matches!(first, [a, 0, b, 0] | [0, a, 0, b] if *a != 0 && *b != 0)
}
