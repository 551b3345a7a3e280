//! Rows become records: what is an ID, what is passed over, what is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::parser::{Parser, Row};
use super::{Source, SourceError, shown};
use crate::human::counted;
use crate::secret;
use crate::target::{Doubt, FileId, Origin, Record, Reject, Rejected, Target, clean};

/// The longest URL that is kept, in bytes; servers take none that is longer.
const MAX_URL: usize = 8 * 1024;

/// How much is shown of a cell that is too long to be an ID, in bytes.
const MAX_SHOWN: usize = 4 * 1024;

/// Types of a row that are no file, in lower case and without what may stand between their words.
const NO_FILES: [&str; 2] = ["fileversion", "folder"];

/// What a reading passed over.
#[derive(Debug, Default)]
pub struct Skipped {
    headers: AtomicU64,
    urls: AtomicU64,
}

impl Skipped {
    /// What a person should know of it.
    pub fn notices(&self) -> Vec<String> {
        let counts = [
            (
                &self.headers,
                "repeated header line was skipped",
                "repeated header lines were skipped",
            ),
            (
                &self.urls,
                "URL of more than 8 KiB was left out",
                "URLs of more than 8 KiB were left out",
            ),
        ];
        let counts = counts.map(|(count, one, many)| (count.load(Ordering::Relaxed), one, many));
        let some = counts.into_iter().filter(|(count, ..)| *count > 0);
        some.map(|(count, one, many)| counted(count, one, many))
            .collect()
    }

    pub(super) fn reset(&self) {
        self.headers.store(0, Ordering::Relaxed);
        self.urls.store(0, Ordering::Relaxed);
    }
}

/// All records of all inputs, in order; ends after the first error.
#[derive(Debug)]
pub struct Records<'a> {
    sources: &'a mut [Source],
    skipped: &'a Skipped,
    current: usize,
    parser: Option<Parser>,
    is_broken: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(sources: &'a mut [Source], skipped: &'a Skipped) -> Self {
        Self {
            sources,
            skipped,
            current: 0,
            parser: None,
            is_broken: false,
        }
    }

    /// Whether the next record is not in memory yet, so that getting it may block.
    pub(super) fn would_block(&mut self) -> bool {
        self.parser.as_mut().is_none_or(Parser::would_block)
    }

    /// Gives the records to come a name of their own to share. Those before it are counted down on another thread, and
    /// both would wait for each other at one count.
    pub(super) fn renew_name(&mut self) {
        if let Some(source) = self.sources.get_mut(self.current) {
            source.name = Arc::from(&*source.name);
        }
    }

    fn try_next(&mut self) -> Result<Option<Record>, SourceError> {
        while let Some(source) = self.sources.get_mut(self.current) {
            let parser = match &mut self.parser {
                Some(parser) => parser,
                none => none.insert(source.parser()?),
            };
            let row = parser.next_row();
            if let Some(row) = row.map_err(|broken| broken.at(shown(&source.name)))? {
                let id = row.cell(source.layout.id);
                if source.layout.is_header_again(&row, id) {
                    self.skipped.headers.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                return Ok(Some(source.record(&row, id, self.skipped)));
            }
            source.line = parser.line;
            self.parser = None;
            self.current += 1;
        }
        Ok(None)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken {
            return None;
        }
        let next = self.try_next();
        self.is_broken = next.is_err();
        next.transpose()
    }
}

impl Source {
    fn record(&self, row: &Row<'_>, id: &[u8], skipped: &Skipped) -> Record {
        let id = clean(id);
        let origin = Origin {
            line: row.line,
            input: Arc::clone(&self.name),
            url: self
                .layout
                .url
                .and_then(|url| url_of(row.cell(url), skipped)),
        };
        let kind = self
            .layout
            .kind
            .map(|kind| row.cell(kind))
            .unwrap_or_default();
        let reason = if is_no_file(kind) {
            let words = clean(kind);
            Reject::NotAFile(
                words
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .into(),
            )
        } else {
            match FileId::parse(&id) {
                Ok(file_id) => {
                    return Record::Target(Target {
                        file_id,
                        origin,
                        doubt: Doubt::None,
                    });
                }
                Err(reason) => reason.into(),
            }
        };
        // The cut may leave white space or a BOM at the end, which a report's reader takes for somebody else's.
        let shown = clean(&id.as_bytes()[..id.floor_char_boundary(MAX_SHOWN)]);
        Record::Rejected(Rejected {
            file_id: secret::scrub(&shown).into(),
            origin,
            reason,
        })
    }
}

/// A URL that is too long is none: a part of it would be another one.
fn url_of(cell: &[u8], skipped: &Skipped) -> Option<Box<str>> {
    if cell.len() > MAX_URL {
        skipped.urls.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    let url = clean(cell);
    (!url.is_empty()).then(|| secret::scrub_exact(&url).into())
}

/// Whether a row's type says that it is none, however its words are joined.
fn is_no_file(kind: &[u8]) -> bool {
    if kind.is_empty() || kind == b"file" {
        return false;
    }
    let kind = clean(&kind[..kind.len().min(MAX_SHOWN)]);
    let letters = |kind: &str| -> String {
        let is_joint = |character: &char| character.is_whitespace() || "-_".contains(*character);
        kind.chars()
            .filter(|character| !is_joint(character))
            .collect()
    };
    NO_FILES
        .iter()
        .any(|word| word.eq_ignore_ascii_case(&letters(&kind)))
}
