//! Records of one text: cells, and the line on which a record begins.
//!
//! csv-core finds the cells; the lines are counted here from the same bytes, because a
//! csv reader's own count is off after blank lines and with CRLF.

use std::collections::VecDeque;
use std::io::{self, Read};

use csv_core::ReadRecordResult;

use super::SourceError;
use super::bytes::Stream;

const BLOCK: usize = 64 * 1024;

/// The longest record that has a quote in it, in bytes: an unclosed quote swallows everything behind it.
const LONGEST_QUOTED: usize = 64 * 1024;

/// The longest record of any kind, in bytes: the bound on memory.
const LONGEST: usize = 1024 * 1024;

/// A text broke at a line.
#[derive(Debug)]
pub(super) struct Broken {
    line: u64,
    source: io::Error,
}

impl Broken {
    pub(super) fn at(self, input: &str) -> SourceError {
        SourceError::Broken {
            input: input.into(),
            line: self.line,
            source: self.source,
        }
    }
}

/// One record.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// The record's first line, from 1.
    pub(super) line: u64,
    text: &'a [u8],
    ends: &'a [usize],
}

impl Row<'_> {
    /// A cell by its index from 0; empty where the record is too short.
    pub(super) fn cell(&self, index: usize) -> &[u8] {
        let Some(end) = self.ends.get(index) else {
            return &[];
        };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..*end]
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| self.cell(index))
    }
}

/// Reads one text record by record in constant memory.
pub(super) struct Parser {
    stream: Stream,
    csv: csv_core::Reader,
    block: Box<[u8]>,
    position: usize,
    filled: usize,
    is_at_end: bool,
    lines: Lines,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Cells of the record in `text` and `ends`, and its line.
    width: usize,
    line: u64,
    /// Records that were looked at and are still due.
    ahead: VecDeque<Ahead>,
}

#[derive(Debug)]
struct Ahead {
    line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Parser")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Parser {
    pub(super) fn new(stream: Stream, delimiter: u8) -> Self {
        Self {
            stream,
            csv: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            block: vec![0; BLOCK].into(),
            position: 0,
            filled: 0,
            is_at_end: false,
            lines: Lines::default(),
            text: vec![0; 1024],
            ends: vec![0; 32],
            width: 0,
            line: 0,
            ahead: VecDeque::new(),
        }
    }

    /// Whether the next record is not wholly in memory.
    pub(super) fn would_block(&self) -> bool {
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let rest = &self.block[self.position..self.filled];
        // What ends the last record may still lie before the next: CRLF is two bytes, and blank lines are none.
        let begin = rest.iter().position(|byte| !is_break(byte));
        let is_whole = begin.is_some_and(|begin| rest[begin..].iter().any(is_break));
        !self.is_at_end && self.ahead.is_empty() && !is_whole
    }

    /// The next record; `None` at the end. Lines that are empty or white space only are none.
    pub(super) fn next_row(&mut self) -> Result<Option<Row<'_>>, Broken> {
        if let Some(ahead) = self.ahead.pop_front() {
            (self.line, self.text, self.ends) = (ahead.line, ahead.text, ahead.ends);
            self.width = self.ends.len();
            self.ends.push(0);
            return Ok(Some(self.row()));
        }
        Ok(if self.advance()? {
            Some(self.row())
        } else {
            None
        })
    }

    /// A record ahead by its index from 0, which [`next_row`](Self::next_row) will give later.
    pub(super) fn peek(&mut self, index: usize) -> Result<Option<Row<'_>>, Broken> {
        while self.ahead.len() <= index {
            if !self.advance()? {
                return Ok(None);
            }
            let ends = self.ends[..self.width].to_vec();
            self.ahead.push_back(Ahead {
                line: self.line,
                text: self.text.clone(),
                ends,
            });
        }
        Ok(self.ahead.get(index).map(|ahead| Row {
            line: ahead.line,
            text: &ahead.text,
            ends: &ahead.ends,
        }))
    }

    /// Parses the next record that is no blank line; false at the end.
    fn advance(&mut self) -> Result<bool, Broken> {
        while let Some(text_len) = self.parse()? {
            self.line = self.lines.record;
            if !self.is_blank(text_len) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn row(&self) -> Row<'_> {
        Row {
            line: self.line,
            text: &self.text,
            ends: &self.ends[..self.width],
        }
    }

    fn is_blank(&self, text_len: usize) -> bool {
        self.width == 1
            && !self.lines.has_quote
            && String::from_utf8_lossy(&self.text[..text_len])
                .trim()
                .is_empty()
    }

    /// Parses one record into `text` and `ends`; the length of its text, `None` at the end.
    fn parse(&mut self) -> Result<Option<usize>, Broken> {
        let (mut text_len, mut width) = (0, 0);
        self.lines.begin_record();
        loop {
            if self.position == self.filled && !self.is_at_end {
                self.fill()?;
            }
            let was_at_end = self.is_at_end;
            // A line break behind the end closes the last record, unless a quote is open.
            let input = if was_at_end {
                b"\n"
            } else {
                &self.block[self.position..self.filled]
            };
            let (result, read, written, ended) =
                self.csv
                    .read_record(input, &mut self.text[text_len..], &mut self.ends[width..]);
            if !was_at_end {
                self.lines.count(&input[..read]);
                self.position += read;
            }
            text_len += written;
            width += ended;
            match result {
                ReadRecordResult::Record => {
                    self.width = width;
                    return Ok(Some(text_len));
                }
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if !was_at_end => {}
                ReadRecordResult::InputEmpty if self.lines.is_in_record => {
                    return Err(
                        self.broken(io::Error::other("a quote is opened here and never closed"))
                    );
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(None),
            }
            self.check_length()?;
        }
    }

    fn check_length(&self) -> Result<(), Broken> {
        let length = self.lines.length;
        if self.lines.has_quote && length > LONGEST_QUOTED {
            let why = "a quote is opened here and not closed within 64 KiB";
            return Err(self.broken(io::Error::other(why)));
        }
        if length > LONGEST {
            return Err(self.broken(io::Error::other(
                "the record that begins here is longer than 1 MiB",
            )));
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), Broken> {
        self.position = 0;
        self.filled = 0;
        let read = loop {
            match self.stream.read(&mut self.block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Broken {
                        line: self.lines.current,
                        source,
                    });
                }
                Ok(read) => break read,
            }
        };
        self.filled = read;
        self.is_at_end = read == 0;
        Ok(())
    }

    fn broken(&self, source: io::Error) -> Broken {
        Broken {
            line: self.lines.record,
            source,
        }
    }
}

/// Counts lines as an editor does, LF, CRLF and CR alike.
#[derive(Debug)]
struct Lines {
    /// The line of the next byte.
    current: u64,
    /// The line on which the record began.
    record: u64,
    is_in_record: bool,
    is_after_cr: bool,
    has_quote: bool,
    /// Bytes of the record so far.
    length: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            current: 1,
            record: 1,
            is_in_record: false,
            is_after_cr: false,
            has_quote: false,
            length: 0,
        }
    }
}

impl Lines {
    fn begin_record(&mut self) {
        self.is_in_record = false;
        self.has_quote = false;
        self.length = 0;
    }

    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if self.is_after_cr => {}
                b'\n' | b'\r' => self.current += 1,
                _ if !self.is_in_record => {
                    self.is_in_record = true;
                    self.record = self.current;
                }
                _ => {}
            }
            self.has_quote |= *byte == b'"';
            self.is_after_cr = *byte == b'\r';
        }
        if self.is_in_record {
            self.length += bytes.len();
        }
    }
}
