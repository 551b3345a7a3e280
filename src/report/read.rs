//! Reads a report of ours back, row by row, in constant memory, and says where it stops being one.
//!
//! Blank lines and BOMs that others put between rows are read as what they are. Only a tail with no whole row behind
//! it is torn; whatever else is no row makes the report one that cannot be trusted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use super::row::{Cells, HEADER, NoRow, Row};
use crate::files::first_bytes;
use crate::journal::Extent;
use crate::outcome::{Outcome, Status};
use crate::target::{FileId, looks_like_imagekit};

pub(super) const BLOCK: usize = 256 * 1024;

/// The longest row that is believed, in bytes.
const MAX_ROW: usize = 1024 * 1024;

pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A report of ours.
    Ours,
    /// Nothing at all.
    Empty,
    /// A header that was torn while it was written.
    TornHeader,
    /// A report that another program saved anew, with other line ends, quotes or delimiters.
    Resaved,
    /// Anything else.
    Foreign,
}

/// Looks at the first bytes of a file.
pub(super) fn kind(file: &File) -> io::Result<FileKind> {
    let first = first_bytes(file, 2 * HEADER.len())?;
    let header = without_boms(&first);
    Ok(if header.starts_with(HEADER.as_bytes()) {
        FileKind::Ours
    } else if first.is_empty() {
        FileKind::Empty
    } else if HEADER.as_bytes().starts_with(header) {
        FileKind::TornHeader
    } else if is_resaved(header) {
        FileKind::Resaved
    } else {
        FileKind::Foreign
    })
}

/// Whether a header has our columns, written as another program would.
fn is_resaved(header: &[u8]) -> bool {
    let line = header.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default().iter();
    let plain = line.filter(|byte| **byte != b'"').map(|byte| match byte {
        b';' | b'\t' => b',',
        other => *other,
    });
    plain.eq(HEADER.trim_end().bytes())
}

/// Whether a file is a report of ours.
pub fn is_report(path: &Path) -> bool {
    let is_file = path.metadata().is_ok_and(|there| there.is_file());
    is_file
        && File::open(path)
            .and_then(|file| kind(&file))
            .is_ok_and(|kind| kind == FileKind::Ours)
}

/// How a reading ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum ReadEnd {
    /// Behind a whole row.
    #[default]
    Whole,
    /// In the middle of a row that begins at this byte; its ID, if that is whole and was sent.
    Torn { begin: u64, sent: Option<String> },
    /// At something that is no row, with rows behind it.
    Broken {
        /// The line, as an editor counts.
        line: u64,
    },
}

/// A row and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) row: Row<'a>,
    /// The row as it stands in the file, without what others put before it.
    pub(super) bytes: &'a [u8],
    /// Where it begins in the file, in bytes.
    pub(super) begin: u64,
    /// The rows before it, in bytes.
    pub(super) behind: u64,
}

/// Rows of a report, one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    input: BufReader<File>,
    line: Vec<u8>,
    cells: Cells,
    /// Where the next line begins, in bytes, and its number.
    at: u64,
    number: u64,
    /// How far the rows reach that were read.
    pub(super) extent: Extent,
    /// Somebody put blank lines or BOMs between them.
    pub(super) is_untidy: bool,
    end: Option<ReadEnd>,
}

impl Reader {
    /// A reader of all rows of a report of ours.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut reader = Self::at(file, 0, BLOCK)?;
        reader.next_line()?;
        reader.is_untidy = reader.line.starts_with(BOM);
        Ok(reader)
    }

    /// A reader of the rows from a place on at which one begins, in blocks of so many bytes.
    pub(super) fn at(mut file: File, begin: u64, block: usize) -> io::Result<Self> {
        file.seek(SeekFrom::Start(begin))?;
        Ok(Self {
            input: BufReader::with_capacity(block, file),
            line: Vec::new(),
            cells: Cells::default(),
            at: begin,
            number: 0,
            extent: Extent::EMPTY,
            is_untidy: false,
            end: None,
        })
    }

    /// The next row; `None` at the end, which [`end`](Self::end) tells.
    pub(super) fn next(&mut self) -> io::Result<Option<Placed<'_>>> {
        if self.end.is_some() {
            return Ok(None);
        }
        let (mut begin, mut number);
        loop {
            (begin, number) = (self.at, self.number + 1);
            if self.next_line()? == 0 {
                self.end = Some(ReadEnd::Whole);
                return Ok(None);
            }
            if !is_blank(without_boms(&self.line)) {
                break;
            }
            self.is_untidy = true;
        }
        let is_row = self.complete_row()?;
        let boms = self.line.len() - without_boms(&self.line).len();
        self.is_untidy |= boms > 0;
        if !is_row {
            self.end = Some(self.look_behind(begin, number)?);
            return Ok(None);
        }
        let boms = if self.cells.row().has_bom() {
            self.write_again();
            0
        } else {
            boms
        };
        let behind = self.extent.bytes;
        let bytes = &self.line[boms..];
        self.extent.add(bytes);
        Ok(Some(Placed {
            row: self.cells.row(),
            bytes,
            begin: begin + boms as u64,
            behind,
        }))
    }

    /// Makes of a row what it was before a BOM was put into its ID's cell.
    fn write_again(&mut self) {
        self.is_untidy = true;
        self.line = self.cells.without_bom(without_boms(&self.line));
    }

    /// The line that was read last, as an editor counts.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How it ended; to be asked after the last row.
    pub(super) fn end(&self) -> ReadEnd {
        self.end.clone().unwrap_or(ReadEnd::Whole)
    }

    fn next_line(&mut self) -> io::Result<usize> {
        self.line.clear();
        self.add_line()
    }

    fn add_line(&mut self) -> io::Result<usize> {
        let begin = self.line.len();
        loop {
            let block = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                block => block?,
            };
            let end = memchr::memchr(b'\n', block).map_or(block.len(), |at| at + 1);
            let taken = end.min(MAX_ROW - self.line.len().min(MAX_ROW));
            self.line.extend_from_slice(&block[..taken]);
            self.input.consume(taken);
            if taken == 0 || self.line.ends_with(b"\n") {
                break;
            }
        }
        let taken = self.line.len() - begin;
        self.at += taken as u64;
        self.number += 1;
        Ok(taken)
    }

    /// Whether the line, with those that an open quote joins to it, is a row.
    fn complete_row(&mut self) -> io::Result<bool> {
        loop {
            match self.cells.read(without_boms(&self.line)) {
                Ok(_) => return Ok(true),
                Err(NoRow::Wrong) => return Ok(false),
                Err(NoRow::Open) => {}
            }
            // A quote is open, and only another one can close it.
            let mut begin = self.line.len();
            while !self.line[begin..].contains(&b'"') {
                begin = self.line.len();
                if self.add_line()? == 0 {
                    return Ok(false);
                }
            }
        }
    }

    /// What it means that no row begins here: with a whole row behind it, the report was damaged.
    fn look_behind(&mut self, begin: u64, number: u64) -> io::Result<ReadEnd> {
        let cells = self.cells.read_torn(without_boms(&self.line));
        self.input.seek(SeekFrom::Start(begin))?;
        self.at = begin;
        while self.next_line()? > 0 {
            let line = without_boms(&self.line);
            let quotes = line.iter().take_while(|byte| **byte == b'"').count();
            let is_row = self.cells.read(line).is_ok() || self.cells.read(&line[quotes..]).is_ok();
            if is_row {
                return Ok(ReadEnd::Broken { line: number });
            }
        }
        let sent = sent(&cells);
        Ok(ReadEnd::Torn { begin, sent })
    }
}

fn gone_wrong() -> io::Error {
    io::Error::other("a row that was read cannot be read again")
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// The bytes without BOMs at their begin.
pub(super) fn without_boms(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(BOM) {
        bytes = rest;
    }
    bytes
}

/// The ID of a torn row: whole if a cell follows it or if it has all of ImageKit's digits. One that cannot be sent
/// never was, and a status says so too, as far as it stands.
fn sent(cells: &[String]) -> Option<String> {
    let file_id = cells.first()?.trim_matches('\u{feff}');
    let status = cells.get(1);
    let is_whole = status.is_some() || looks_like_imagekit(file_id);
    let may_be_sent = status.is_none_or(|torn| {
        let fits = |status: &Status| status.as_str().starts_with(torn.as_str());
        Status::ALL
            .iter()
            .filter(|status| status.was_sent())
            .any(fits)
    });
    let is_sent = is_whole && may_be_sent && FileId::parse(file_id).is_ok();
    is_sent.then(|| file_id.to_owned())
}

/// Whole rows of a report, as a page or a summary wants them. What follows the last one may be half a row, as the
/// report of a run that goes on may end in one; anything else that is no row is an error that names its line.
#[derive(Debug)]
pub struct Rows {
    reader: Reader,
}

impl Rows {
    /// Opens a report of ours; any other file is an error of kind `InvalidData`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let shown = path.display();
        let text = match kind(&file)? {
            FileKind::Ours => {
                return Ok(Self {
                    reader: Reader::new(file)?,
                });
            }
            FileKind::Resaved => format!(
                "{shown}, line 1: an editor or a spreadsheet saved this report with other line ends, quotes or delimiters; restore it from a copy"
            ),
            _ => format!("{shown} is not a report of this program"),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// Whether they ended at something that is no row, not at the end of the file.
    pub fn is_cut(&self) -> bool {
        self.reader.end() != ReadEnd::Whole
    }
}

impl Iterator for Rows {
    type Item = io::Result<Outcome>;

    fn next(&mut self) -> Option<io::Result<Outcome>> {
        let was_over = self.reader.end.is_some();
        match self.reader.next() {
            Ok(Some(placed)) => Some(placed.row.outcome().ok_or_else(gone_wrong)),
            Ok(None) => match self.reader.end() {
                ReadEnd::Broken { line } if !was_over => {
                    let text = format!("line {line} is not a row of a report");
                    Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)))
                }
                _ => None,
            },
            Err(error) => Some(Err(error)),
        }
    }
}
