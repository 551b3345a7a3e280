//! The nouns that come in: one ID to delete and the line it stood on.
//!
//! Made by `source`, carried by the job, and turned into an
//! [`Outcome`](crate::outcome::Outcome) exactly once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use thiserror::Error;

use crate::secret;

/// The longest ID that is sent, in bytes; ImageKit's own have 24.
pub const MAX_ID_BYTES: usize = 256;

/// A file ID that may be sent: not empty, no white space, control character or `/`, not `.` or `..`, at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileId(CompactString);

impl FileId {
    /// Checks an ID as it was read, white space around it already cut.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if looks_like_imagekit(text) {
            return Ok(Self(text.into()));
        }
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > MAX_ID_BYTES {
            return Err(InvalidId::TooLong);
        }
        if secret::is_in(text) {
            return Err(InvalidId::AKey);
        }
        if text == "." || text == ".." {
            return Err(InvalidId::DotSegment);
        }
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self(text.into()));
        }
        for character in text.chars() {
            match character {
                '/' => return Err(InvalidId::Slash),
                char::REPLACEMENT_CHARACTER => return Err(InvalidId::NotUtf8),
                _ if character.is_control() => return Err(InvalidId::ControlCharacter),
                _ if character.is_whitespace() => return Err(InvalidId::WhiteSpace),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID as text, without a copy.
    pub fn into_text(self) -> CompactString {
        self.0
    }

    /// Whether the ID looks like ImageKit's own: 24 lower-case hexadecimal digits.
    pub fn looks_like_imagekit(&self) -> bool {
        looks_like_imagekit(&self.0)
    }
}

/// A cell as text, free of the white space, byte order marks and zero-width spaces around it; bytes that are not UTF-8
/// become U+FFFD.
pub fn clean(cell: &[u8]) -> Cow<'_, str> {
    let is_padding = |character: char| {
        character.is_whitespace() || matches!(character, '\u{feff}' | '\u{200b}' | '\u{2060}')
    };
    if let Ok(text) = std::str::from_utf8(cell) {
        // Most cells have nothing to cut, which a look at two bytes tells at less cost.
        let is_visible = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
        return Cow::Borrowed(if is_visible(cell.first()) && is_visible(cell.last()) {
            text
        } else {
            text.trim_matches(is_padding)
        });
    }
    let text = String::from_utf8_lossy(cell);
    Cow::Owned(text.trim_matches(is_padding).to_owned())
}

/// How ImageKit's IDs look, for people.
pub const ID_FORMAT: &str = "24 lower-case hex digits";

/// Whether a text is 24 lower-case hexadecimal digits, as ImageKit's IDs are in practice.
pub fn looks_like_imagekit(text: &str) -> bool {
    // Without an early end, so that all bytes are compared at once: this is asked of every ID several times.
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    <&[u8; 24]>::try_from(text.as_bytes())
        .is_ok_and(|digits| digits.iter().fold(true, |all, byte| all & is_digit(byte)))
}

/// Whether a text is 24 hexadecimal digits in any case: an ID, perhaps one that another program rewrote.
pub fn is_hex_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for FileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a cell cannot be a file ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidId {
    /// Nothing, or only white space.
    #[error("the ID is empty")]
    Empty,
    /// A private key, which nobody must see, neither here nor at the other end.
    #[error("the ID is a private key")]
    AKey,
    /// White space inside.
    #[error("the ID has white space inside")]
    WhiteSpace,
    /// A control character inside.
    #[error("the ID has a control character inside")]
    ControlCharacter,
    /// A `/`, which would make another address of it.
    #[error("the ID has a slash inside")]
    Slash,
    /// `.` or `..`, which a URL drops.
    #[error("dots alone cannot be an ID")]
    DotSegment,
    /// More than [`MAX_ID_BYTES`].
    #[error("the ID is longer than 256 bytes")]
    TooLong,
    /// Bytes that are not UTF-8 (or U+FFFD, which is how such bytes are shown).
    #[error("the ID is not UTF-8")]
    NotUtf8,
}

/// Where a record stood in the input, and what else its row told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The record's first line, 1-based, as an editor counts.
    pub line: u64,
    /// The input's name: its path as given, without keys and control characters; `-` for stdin.
    pub input: Arc<str>,
    /// The `url` column's cell, if there is such a column and the cell is not empty.
    pub url: Option<Box<str>>,
}

/// One ID to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The ID.
    pub file_id: FileId,
    /// Where it stood.
    pub origin: Origin,
    /// Whether an earlier run may have deleted it without knowing (contract: ambiguous).
    pub doubt: Doubt,
}

/// Whether a file may have been deleted without anybody saying so; the stronger the later (contract: Truth).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Doubt {
    /// No ambiguous attempt, in this run or an interrupted one.
    #[default]
    None,
    /// Only a batch 404 that named other IDs, by which ImageKit says that nothing was deleted. `[spec]`
    Weak,
    /// At least one ambiguous attempt.
    Ambiguous,
}

/// A record of which nothing is ever sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The cell as read, trimmed; bytes that are not UTF-8 as U+FFFD.
    pub file_id: CompactString,
    /// Where it stood.
    pub origin: Origin,
    /// Why it is not sent.
    pub reason: Reject,
}

/// Why a record is not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reject {
    /// The cell cannot be an ID.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The row's `type` column says `file-version` or `folder`.
    #[error("{}", not_a_file(.0))]
    NotAFile(Box<str>),
    /// ImageKit says that the ID is a folder's, or a version's.
    #[error("ImageKit says that this is the ID of a {0}, not of a file; nothing was deleted")]
    FoundNotAFile(Box<str>),
}

fn not_a_file(kind: &str) -> &'static str {
    if kind.to_lowercase().contains("folder") {
        "this row is a folder, which is never deleted"
    } else {
        "this row is a file version; its ID belongs to the live file"
    }
}

/// One record of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An ID to delete.
    Target(Target),
    /// A record that gets the status `invalid`.
    Rejected(Rejected),
}

impl Record {
    /// The ID, or what stands in its place.
    pub fn file_id(&self) -> &str {
        match self {
            Self::Target(target) => target.file_id.as_str(),
            Self::Rejected(rejected) => &rejected.file_id,
        }
    }

    /// The bytes of its text.
    pub fn text_len(&self) -> usize {
        let (Self::Target(Target { origin, .. }) | Self::Rejected(Rejected { origin, .. })) = self;
        self.file_id().len() + origin.url.as_deref().map_or(0, str::len)
    }
}
