//! Reads a report of ours back, row by row, in constant memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::row::{self, HEADER};
use crate::outcome::{Outcome, Purge, REHEARSAL_PREFIX, Status};
use crate::target::looks_like_imagekit;

const BLOCK: usize = 256 * 1024;
const COLUMNS: usize = 14;

/// Rows that are given on together.
const ROWS_AT_ONCE: usize = 64;

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A report of ours.
    Ours,
    /// Nothing, or a header that was torn while it was written.
    Unbegun,
    /// Anything else.
    Strange,
}

/// Looks at the first bytes of a file.
pub(super) fn kind(file: &mut File) -> io::Result<Kind> {
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    file.by_ref()
        .take(HEADER.len() as u64)
        .read_to_end(&mut first)?;
    Ok(if first == HEADER.as_bytes() {
        Kind::Ours
    } else if HEADER.as_bytes().starts_with(&first) {
        Kind::Unbegun
    } else {
        Kind::Strange
    })
}

/// Whether a file is a report of ours.
pub fn is_report(path: &Path) -> bool {
    let is_file = path.metadata().is_ok_and(|there| there.is_file());
    is_file
        && File::open(path)
            .and_then(|mut file| kind(&mut file))
            .is_ok_and(|kind| kind == Kind::Ours)
}

/// Whole rows of a report, one after the other in constant memory; ends at the first that is not one, as the
/// report of a run that goes on may end in the middle of a row.
#[derive(Debug)]
pub struct Rows {
    reader: csv::Reader<File>,
    record: ByteRecord,
    is_cut: bool,
}

impl Rows {
    /// Opens a report of ours; any other file is an error of kind `InvalidData`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if kind(&mut file)? != Kind::Ours {
            let text = format!("{} is not a report of this program", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Self::from(file, HEADER.len() as u64, BLOCK)
    }

    /// Rows from a place on at which one begins, read in blocks of so many bytes.
    pub(super) fn from(mut file: File, begin: u64, capacity: usize) -> io::Result<Self> {
        file.seek(SeekFrom::Start(begin))?;
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(capacity)
            .from_reader(file);
        Ok(Self {
            reader,
            record: ByteRecord::new(),
            is_cut: false,
        })
    }

    /// Whether they ended at something that is no row, not at the end of the file.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl Iterator for Rows {
    type Item = io::Result<Outcome>;

    fn next(&mut self) -> Option<io::Result<Outcome>> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {
                let row = row::parse(&self.record);
                self.is_cut = row.is_none();
                row.map(Ok)
            }
            Ok(false) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

/// One row, as far as a resume needs it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) file_id: &'a str,
    pub(super) status: Status,
    pub(super) purge: Option<Purge>,
    record: &'a ByteRecord,
    /// Where the row begins and ends in the file, in bytes.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Row<'_> {
    /// Whether the sandbox answered for it.
    pub(super) fn is_of_a_rehearsal(&self) -> bool {
        self.record
            .get(7)
            .is_some_and(|request_id| request_id.starts_with(REHEARSAL_PREFIX.as_bytes()))
    }

    /// The `url` cell.
    pub(super) fn url(&self) -> Option<&str> {
        std::str::from_utf8(self.record.get(11)?).ok()
    }
}

/// How a reading ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// At the end of a whole row.
    Whole,
    /// In the middle of a row that begins at this byte; its ID, if that is whole and was sent.
    Torn { begin: u64, sent: Option<String> },
    /// At a row that is not of ours.
    Strange { begin: u64, line: u64 },
}

/// Gives all whole rows to `each`, some at a time.
pub(super) fn rows(
    file: &mut File,
    mut each: impl FnMut(&[Row<'_>]) -> io::Result<()>,
) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let is_ended = ends_with_line_break(file, len)?;
    file.seek(SeekFrom::Start(HEADER.len() as u64))?;
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BLOCK)
        .from_reader(&*file);
    let mut read: Vec<Cells> = (0..ROWS_AT_ONCE).map(|_| Cells::default()).collect();
    loop {
        let mut count = 0;
        while count < read.len() && read[count].fill(&mut reader)? {
            count += 1;
        }
        let mut whole = Vec::with_capacity(count);
        let mut tail = None;
        for one in &read[..count] {
            match one.row(len, is_ended) {
                Ok(row) => whole.push(row),
                Err(end) => {
                    tail = Some(end);
                    break;
                }
            }
        }
        each(&whole)?;
        match tail {
            Some(tail) => return Ok(tail),
            None if count < read.len() => return Ok(Tail::Whole),
            None => {}
        }
    }
}

/// What stands where a row should.
#[derive(Default)]
struct Cells {
    record: ByteRecord,
    begin: u64,
    end: u64,
    line: u64,
}

impl Cells {
    /// Reads on; false at the end of the file.
    fn fill(&mut self, reader: &mut csv::Reader<&File>) -> io::Result<bool> {
        let header = HEADER.len() as u64;
        self.begin = header + reader.position().byte();
        let is_there = reader.read_byte_record(&mut self.record)?;
        self.end = header + reader.position().byte();
        self.line = reader.position().line();
        Ok(is_there)
    }

    /// The row, or why the rows end here. `len` is the file's, `is_ended` says whether a line break ends it.
    fn row(&self, len: u64, is_ended: bool) -> Result<Row<'_>, Tail> {
        let record = &self.record;
        if self.end == len && (!is_ended || record.len() < COLUMNS) {
            return Err(Tail::Torn {
                begin: self.begin,
                sent: sent(record),
            });
        }
        let file_id = std::str::from_utf8(&record[0]);
        let status = record.get(1).and_then(status);
        let (Ok(file_id), Some(status), COLUMNS) = (file_id, status, record.len()) else {
            return Err(Tail::Strange {
                begin: self.begin,
                line: self.line,
            });
        };
        Ok(Row {
            file_id,
            status,
            purge: record.get(12).and_then(purge),
            record,
            begin: self.begin,
            end: self.end,
        })
    }
}

fn status(cell: &[u8]) -> Option<Status> {
    Status::parse(std::str::from_utf8(cell).ok()?)
}

fn purge(cell: &[u8]) -> Option<Purge> {
    match cell {
        [] => None,
        word => Purge::parse(std::str::from_utf8(word).ok()?),
    }
}

/// The ID of a torn row: whole if a cell follows it or if it has all of ImageKit's digits, and never sent if the
/// status says so.
fn sent(record: &ByteRecord) -> Option<String> {
    let is_unsent = record
        .get(1)
        .and_then(status)
        .is_some_and(|status| !status.was_sent());
    let file_id = String::from_utf8(record[0].to_vec()).ok()?;
    let is_compact = record.len() > 1 || looks_like_imagekit(&file_id);
    (is_compact && !is_unsent).then_some(file_id)
}

fn ends_with_line_break(file: &mut File, len: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(len.saturating_sub(1)))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
