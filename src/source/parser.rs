//! Records of one text: cells, and the line on which a record begins.
//!
//! A record without quotes is looked at only for its line break; cells are found when somebody asks for them. Line
//! breaks are counted as an editor does, LF, CRLF and CR alike. Quotes are those of RFC 4180; one that does not
//! stand at the beginning of a cell is a character as any other.

use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memchr3};

use super::SourceError;
use super::bytes::{BLOCK, Stream};
use super::format::Foreign;

/// For how many bytes a quote may stay open: one that is never closed swallows everything behind it.
const MAX_QUOTED: usize = 64 * 1024;

/// The longest record, in bytes: the bound on memory.
const MAX_RECORD: usize = 1024 * 1024;

const BOM: &[u8] = "\u{feff}".as_bytes();

/// A text broke at a line.
#[derive(Debug)]
pub(super) struct Broken {
    line: u64,
    source: io::Error,
}

impl Broken {
    pub(super) const fn new(line: u64, source: io::Error) -> Self {
        Self { line, source }
    }

    pub(super) fn at(self, input: &str) -> SourceError {
        SourceError::Broken {
            input: input.into(),
            line: self.line,
            source: self.source,
        }
    }

    /// As [`at`](Self::at), while an input is opened: what is no list is refused as that.
    pub(super) fn at_open(self, input: &str) -> SourceError {
        match Foreign::of(&self.source) {
            Some(foreign) => SourceError::Unusable(format!("{input} {foreign}")),
            None => self.at(input),
        }
    }
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// The record's first line, from 1.
    pub(super) line: u64,
    /// As it stands in the text, without its line break.
    pub(super) raw: &'a [u8],
    cells: Cells<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Cells<'a> {
    /// What stands between delimiters.
    Plain(u8),
    /// Free of their quotes, one behind the other, and where each ends.
    Unquoted { text: &'a [u8], ends: &'a [usize] },
}

impl<'a> Row<'a> {
    /// A cell by its index from 0; empty where the record is too short.
    pub(super) fn cell(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..).map_while(|index| self.get(index))
    }

    fn get(&self, index: usize) -> Option<&'a [u8]> {
        match self.cells {
            Cells::Plain(delimiter) => {
                let mut start = 0;
                let mut ends = memchr_iter(delimiter, self.raw).chain([self.raw.len()]);
                for _ in 0..index {
                    start = ends.next()? + 1;
                }
                ends.next().map(|end| &self.raw[start..end])
            }
            Cells::Unquoted { text, ends } => {
                let start = index
                    .checked_sub(1)
                    .map_or(Some(0), |before| ends.get(before).copied())?;
                ends.get(index).map(|end| &text[start..*end])
            }
        }
    }
}

/// Where a record was left while its end was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scan {
    /// Line breaks of the record before, and blank ones, may still come.
    BeforeRecord,
    /// At this place, and no quote is open.
    Unquoted(usize),
    /// At this place, and a quote was opened at the other.
    Quoted { at: usize, opened: usize },
    /// Its end is at this place.
    Done(usize),
}

/// How far a record goes.
enum Found {
    /// To this place.
    End(usize),
    /// That is not in memory yet.
    More,
    /// There is none.
    Nothing,
}

/// What stands behind the bytes in memory.
#[derive(Debug)]
enum Rest {
    Unread,
    Nothing,
    /// What cannot be read.
    Broken(io::Error),
}

/// Where the text is read again from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    start: usize,
    line: u64,
    is_after_cr: bool,
}

/// Reads one text record by record in bounded memory.
pub(super) struct Parser {
    stream: Stream,
    pub(super) delimiter: u8,
    buffer: Vec<u8>,
    /// Where the next record begins, or the line breaks before it.
    start: usize,
    filled: usize,
    rest: Rest,
    /// What was read is kept until the mark is returned to.
    is_marked: bool,
    /// The line of `start`, which is read next.
    pub(super) line: u64,
    is_after_cr: bool,
    scan: Scan,
    has_quotes: bool,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Parser")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl Parser {
    pub(super) fn new(stream: Stream, delimiter: u8) -> Self {
        Self {
            stream,
            delimiter,
            buffer: vec![0; 2 * BLOCK],
            start: 0,
            filled: 0,
            rest: Rest::Unread,
            is_marked: false,
            line: 1,
            is_after_cr: false,
            scan: Scan::BeforeRecord,
            has_quotes: false,
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Keeps what is read from here on, to read it again.
    pub(super) fn mark(&mut self) -> Mark {
        self.is_marked = true;
        Mark {
            start: self.start,
            line: self.line,
            is_after_cr: self.is_after_cr,
        }
    }

    /// Reads again from a mark.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.is_marked = false;
        self.scan = Scan::BeforeRecord;
        Mark {
            start: self.start,
            line: self.line,
            is_after_cr: self.is_after_cr,
        } = mark;
    }

    /// How much is kept, in bytes.
    pub(super) fn kept(&self) -> usize {
        self.filled
    }

    /// Whether the next record is not wholly in memory, so that getting it may block.
    pub(super) fn would_block(&mut self) -> bool {
        !matches!(self.rest, Rest::Broken(_)) && matches!(self.find(), Ok(Found::More))
    }

    /// The next record; `None` at the end. Lines that are empty or white space only are none.
    pub(super) fn next_row(&mut self) -> Result<Option<Row<'_>>, Broken> {
        let (line, record) = loop {
            let end = match self.find()? {
                Found::End(end) => end,
                Found::More => {
                    self.fill()?;
                    continue;
                }
                Found::Nothing => return Ok(None),
            };
            let record = self.start..end;
            let line = self.line;
            self.start = end;
            self.scan = Scan::BeforeRecord;
            if self.has_quotes {
                self.line += line_breaks(&self.buffer[record.clone()]);
                self.unquote(record.clone());
                break (line, record);
            }
            if !is_blank(&self.buffer[record.clone()]) {
                break (line, record);
            }
        };
        let cells = if self.has_quotes {
            Cells::Unquoted {
                text: &self.text,
                ends: &self.ends,
            }
        } else {
            Cells::Plain(self.delimiter)
        };
        Ok(Some(Row {
            line,
            raw: &self.buffer[record],
            cells,
        }))
    }

    /// Looks for the end of the next record, as far as the text is in memory.
    fn find(&mut self) -> Result<Found, Broken> {
        if self.scan == Scan::BeforeRecord {
            if !self.skip_to_record() {
                let is_over = self.is_at_end();
                return Ok(if is_over { Found::Nothing } else { Found::More });
            }
            self.scan = Scan::Unquoted(self.start);
            self.has_quotes = false;
        }
        loop {
            let next = match self.scan {
                Scan::BeforeRecord => return Ok(Found::More),
                Scan::Done(end) => return Ok(Found::End(end)),
                Scan::Unquoted(at) => self.find_unquoted(at),
                Scan::Quoted { at, opened } => self.find_quoted(at, opened)?,
            };
            if let Some(found) = next {
                let end = match found {
                    Found::End(end) => end,
                    Found::More | Found::Nothing => self.filled,
                };
                if end - self.start > MAX_RECORD {
                    return Err(
                        self.broken_at(0, "the record that begins here is longer than 1 MiB")
                    );
                }
                if matches!(found, Found::End(_)) {
                    self.scan = Scan::Done(end);
                }
                return Ok(found);
            }
        }
    }

    /// Passes line breaks and byte order marks; false where the text in memory ends before a record begins.
    fn skip_to_record(&mut self) -> bool {
        while let Some(byte) = self.buffer[..self.filled].get(self.start) {
            match byte {
                b'\n' if self.is_after_cr => self.is_after_cr = false,
                b'\n' | b'\r' => {
                    self.line += 1;
                    self.is_after_cr = *byte == b'\r';
                }
                0xef => {
                    let rest = &self.buffer[self.start..self.filled];
                    if !rest.starts_with(BOM) {
                        return self.is_at_end() || !BOM.starts_with(rest);
                    }
                    self.is_after_cr = false;
                    self.start += BOM.len() - 1;
                }
                _ => {
                    self.is_after_cr = false;
                    return true;
                }
            }
            self.start += 1;
        }
        false
    }

    /// `None` where a quote is opened, or another character was passed.
    fn find_unquoted(&mut self, at: usize) -> Option<Found> {
        let Some(next) = memchr3(b'\n', b'\r', b'"', &self.buffer[at..self.filled]) else {
            self.scan = Scan::Unquoted(self.filled);
            return Some(if self.is_at_end() {
                Found::End(self.filled)
            } else {
                Found::More
            });
        };
        let next = at + next;
        if self.buffer[next] != b'"' {
            return Some(Found::End(next));
        }
        let begins_cell = next == self.start || self.buffer[next - 1] == self.delimiter;
        self.has_quotes |= begins_cell;
        let at = next + 1;
        self.scan = if begins_cell {
            Scan::Quoted { at, opened: next }
        } else {
            Scan::Unquoted(at)
        };
        None
    }

    /// `None` where the quote is closed, or a doubled one was passed.
    fn find_quoted(&mut self, at: usize, opened: usize) -> Result<Option<Found>, Broken> {
        let quote = memchr(b'"', &self.buffer[at..self.filled]).map(|next| at + next);
        let far = quote.unwrap_or(self.filled);
        if far - opened > MAX_QUOTED {
            let why = "a quote is opened here and not closed within 64 KiB";
            return Err(self.broken_at(opened - self.start, why));
        }
        let scan = |at| Scan::Quoted { at, opened };
        match quote.map(|quote| (quote, self.buffer[..self.filled].get(quote + 1))) {
            None if self.is_at_end() => {
                let why = "a quote is opened here and never closed";
                return Err(self.broken_at(opened - self.start, why));
            }
            Some((quote, Some(b'"'))) => self.scan = scan(quote + 2),
            Some((quote, None)) if !self.is_at_end() => {
                self.scan = scan(quote);
                return Ok(Some(Found::More));
            }
            Some((quote, _)) => self.scan = Scan::Unquoted(quote + 1),
            None => {
                self.scan = scan(self.filled);
                return Ok(Some(Found::More));
            }
        }
        Ok(None)
    }

    /// Takes the quotes off a record's cells.
    fn unquote(&mut self, record: std::ops::Range<usize>) {
        self.text.clear();
        self.ends.clear();
        let (mut is_quoted, mut begins_cell) = (false, true);
        let mut bytes = self.buffer[record].iter().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' if is_quoted => {
                    if bytes.next_if(|next| **next == b'"').is_some() {
                        self.text.push(b'"');
                    } else {
                        is_quoted = false;
                    }
                }
                b'"' if begins_cell => is_quoted = true,
                _ if *byte == self.delimiter && !is_quoted => {
                    self.ends.push(self.text.len());
                    begins_cell = true;
                    continue;
                }
                _ => self.text.push(*byte),
            }
            begins_cell = false;
        }
        self.ends.push(self.text.len());
    }

    /// Reads on; what was given out already makes room.
    fn fill(&mut self) -> Result<(), Broken> {
        if self.start > 0 && !self.is_marked {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.scan = match self.scan {
                Scan::BeforeRecord => Scan::BeforeRecord,
                Scan::Unquoted(at) => Scan::Unquoted(at - self.start),
                Scan::Done(end) => Scan::Done(end - self.start),
                Scan::Quoted { at, opened } => Scan::Quoted {
                    at: at - self.start,
                    opened: opened - self.start,
                },
            };
            self.start = 0;
        }
        if self.buffer.len() < self.filled + BLOCK {
            self.buffer.resize(self.filled + BLOCK, 0);
        }
        if matches!(self.rest, Rest::Unread) {
            match self.read() {
                Ok(0) => self.rest = Rest::Nothing,
                Ok(read) => self.filled += read,
                Err(error) => self.rest = Rest::Broken(error),
            }
        }
        match &self.rest {
            Rest::Unread | Rest::Nothing => Ok(()),
            Rest::Broken(error) => Err(Broken::new(self.line, copy_of(error))),
        }
    }

    const fn is_at_end(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    fn read(&mut self) -> io::Result<usize> {
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// The text broke at the line that many bytes behind the record's beginning.
    fn broken_at(&self, offset: usize, why: &str) -> Broken {
        let before = &self.buffer[self.start..self.start + offset];
        Broken::new(self.line + line_breaks(before), io::Error::other(why))
    }
}

/// An error that is told more than once.
fn copy_of(error: &io::Error) -> io::Error {
    match Foreign::of(error) {
        Some(foreign) => io::Error::other(foreign),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn line_breaks(text: &[u8]) -> u64 {
    let mut is_after_cr = false;
    let mut breaks = 0;
    for byte in text {
        breaks += u64::from(*byte == b'\r' || *byte == b'\n' && !is_after_cr);
        is_after_cr = *byte == b'\r';
    }
    breaks
}

fn is_blank(record: &[u8]) -> bool {
    let is_visible = |byte: &u8| byte.is_ascii_graphic();
    let is_white = |character: char| character.is_whitespace() || character == '\u{feff}';
    !record.first().is_some_and(is_visible) && String::from_utf8_lossy(record).chars().all(is_white)
}
