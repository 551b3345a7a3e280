//! The input: bytes become records.
//!
//! CSV files, plain lists and stdin come in, plain or compressed; [`Record`]s leave, in
//! order, each with the line that an editor would show. Reading blocks, so [`Sources::stream`]
//! does it on a thread of its own.

mod bytes;
mod format;
mod header;
mod input;
mod parser;

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use futures::{Stream, stream};
use thiserror::Error;
use tokio::sync::mpsc;

pub use format::Foreign;
pub use header::{Column, Header, Options};
pub use input::Input;

use crate::secret;
use crate::target::{FileId, InvalidId, Origin, Record, Reject, Rejected, Target};
use bytes::Bytes;
use header::Layout;
use parser::{Parser, Row};

/// Records a chunk at the most: large enough to be cheap, small enough to start soon.
const CHUNK: usize = 1000;

/// Chunks between the reading thread and the run.
const CHUNKS_AHEAD: usize = 4;

/// Why an input cannot be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It cannot be opened.
    #[error("cannot open {input}: {source}; check the path and its permissions")]
    Open {
        /// The input's name.
        input: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no CSV.
    #[error("{input} {foreign}")]
    Foreign {
        /// The input's name.
        input: String,
        /// What it is.
        foreign: Foreign,
    },
    /// Several columns, and none has a name that says that it holds IDs.
    #[error(
        "{input} has several columns and none is named fileId, file_id, id or _id; name one with --column (the columns are: {columns})"
    )]
    NoColumn {
        /// The input's name.
        input: String,
        /// The first record's cells.
        columns: String,
    },
    /// The column that was asked for is not there.
    #[error("{input} has no column {column}; name one with --column (the columns are: {columns})")]
    NoSuchColumn {
        /// The input's name.
        input: String,
        /// As asked for.
        column: String,
        /// The first record's cells.
        columns: String,
    },
    /// One column that looks like several.
    #[error("{input} seems to have its columns separated by {separator}; say so with --delimiter")]
    OtherDelimiter {
        /// The input's name.
        input: String,
        /// The separator, in words.
        separator: &'static str,
    },
    /// The copy of a pipe cannot be written.
    #[error(
        "cannot keep a copy of {input} to read it twice: {source}; make room in TMPDIR, or give a file instead"
    )]
    Spool {
        /// The input's name.
        input: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Only what can be read again can be counted first.
    #[error("{input} cannot be read twice; give it as a file")]
    ReadTwice {
        /// The input's name.
        input: String,
    },
    /// It broke while it was read.
    #[error("{input} line {line}: {source}; mend the input and go on with --resume")]
    Broken {
        /// The input's name.
        input: String,
        /// The line at which it broke, or where the record began that never ends.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SourceError {
    /// Whether the input broke while it was read, as against never having been usable.
    pub fn is_break(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// All inputs, opened and their headers checked.
#[derive(Debug)]
pub struct Sources {
    sources: Vec<Source>,
    notices: Vec<String>,
}

/// One input and where it was left.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    bytes: Bytes,
    layout: Layout,
    /// Stands behind the header; taken by the first reading.
    parser: Option<Parser>,
}

impl Sources {
    /// Opens all inputs and reads as much of each as its header needs, no more.
    pub fn open(inputs: &[Input], options: &Options) -> Result<Self, SourceError> {
        let mut notices = Vec::new();
        let sources = inputs
            .iter()
            .map(|input| {
                let source = Source::open(input, options)?;
                notices.extend(source.layout.notice(&source.name));
                Ok(source)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { sources, notices })
    }

    /// What a person should know of how the inputs are read: headers, columns.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The first input's name.
    pub fn first_name(&self) -> &str {
        self.sources.first().map_or("-", |source| &source.name)
    }

    /// All names, for people.
    pub fn names(&self) -> String {
        let mut names = String::new();
        for (index, source) in self.sources.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let _ = write!(
                names,
                "{separator}{}",
                if &*source.name == "-" {
                    "stdin"
                } else {
                    &source.name
                }
            );
        }
        names
    }

    /// Roughly how many records there are; `None` where an input is a pipe or compressed.
    pub fn rough_records(&self) -> Option<u64> {
        self.sources
            .iter()
            .map(|source| source.bytes.rough_lines())
            .sum()
    }

    /// Copies pipes to unlinked temporary files, so that everything can be read twice.
    pub fn spool(&mut self) -> Result<(), SourceError> {
        for source in &mut self.sources {
            let spooled = source.bytes.spool();
            let is_spooled = spooled.map_err(|error| SourceError::Spool {
                input: source.name.to_string(),
                source: error,
            })?;
            if is_spooled {
                source.parser = None;
            }
        }
        Ok(())
    }

    /// All records from the start. A second reading needs files or [spooled](Self::spool) pipes.
    pub fn records(&mut self) -> Records<'_> {
        Records {
            sources: &mut self.sources,
            current: 0,
            parser: None,
            is_broken: false,
        }
    }

    /// Reads on a thread of its own.
    pub fn stream(self) -> impl Stream<Item = Result<Vec<Record>, SourceError>> + Unpin {
        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let died = SourceError::Broken {
            input: self.first_name().to_owned(),
            line: 0,
            source: io::Error::other("the reader died, which is a fault of this program"),
        };
        let mut reader = Some((std::thread::spawn(move || self.send(&sender)), died));
        stream::poll_fn(move |context| {
            let chunk = ready!(chunks.poll_recv(context));
            let is_over = chunk.is_none();
            let ended = reader.take_if(|_| is_over);
            // The end of a reader that died is not the end of the input.
            let died = ended.and_then(|(reader, died)| reader.join().err().map(|_| Err(died)));
            Poll::Ready(chunk.or(died))
        })
    }

    /// Records that are there are sent on before the reader would block, so an input that gives a line a minute is
    /// served line by line.
    fn send(mut self, sender: &mpsc::Sender<Result<Vec<Record>, SourceError>>) {
        let mut records = self.records();
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            if chunk.len() >= CHUNK || (records.would_block() && !chunk.is_empty()) {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
                if sender.blocking_send(Ok(full)).is_err() {
                    return;
                }
            }
            match records.next() {
                Some(Ok(record)) => chunk.push(record),
                Some(Err(error)) => {
                    // What was read before the break goes first; nobody may be left to hear it.
                    let _ = sender.blocking_send(Ok(chunk));
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
                None => {
                    let _ = sender.blocking_send(Ok(chunk));
                    return;
                }
            }
        }
    }
}

impl Source {
    fn open(input: &Input, options: &Options) -> Result<Self, SourceError> {
        let name: Arc<str> = input.name().into();
        let open = |source| SourceError::Open {
            input: name.to_string(),
            source,
        };
        let mut bytes = Bytes::open(input).map_err(open)?;
        let delimiter = options.delimiter_for(&name);
        let mut parser = Parser::new(
            bytes.read().map_err(|error| unusable(&name, error))?,
            delimiter,
        );
        let layout = Layout::detect(&name, &mut parser, options)?;
        Ok(Self {
            name,
            bytes,
            layout,
            parser: Some(parser),
        })
    }

    /// A parser that stands behind the header.
    fn parser(&mut self) -> Result<Parser, SourceError> {
        if let Some(parser) = self.parser.take() {
            return Ok(parser);
        }
        let broken = |source| SourceError::Broken {
            input: self.name.to_string(),
            line: 1,
            source,
        };
        if !self.bytes.is_rereadable() {
            return Err(SourceError::ReadTwice {
                input: self.name.to_string(),
            });
        }
        let mut parser = Parser::new(self.bytes.read().map_err(broken)?, self.layout.delimiter);
        if self.layout.has_header {
            parser.next_row().map_err(|broken| broken.at(&self.name))?;
        }
        Ok(parser)
    }

    fn record(&self, row: &Row<'_>) -> Record {
        let cell = |column: usize| row.cell(column).trim_ascii();
        let id = String::from_utf8_lossy(cell(self.layout.id));
        let file_id = id.trim();
        let url = self.layout.url.map(cell).filter(|url| !url.is_empty());
        let origin = Origin {
            line: row.line,
            input: Arc::clone(&self.name),
            url: url.map(|url| secret::scrub_exact(&String::from_utf8_lossy(url)).into()),
        };
        let kind = self.layout.kind.map(cell).unwrap_or_default();
        if kind.eq_ignore_ascii_case(b"file-version") || kind.eq_ignore_ascii_case(b"folder") {
            let reason = Reject::NotAFile(String::from_utf8_lossy(kind).into());
            return Record::Rejected(Rejected {
                file_id: secret::scrub(file_id).into(),
                origin,
                reason,
            });
        }
        match FileId::parse(file_id) {
            Ok(file_id) => Record::Target(Target {
                file_id,
                origin,
                doubt: false,
            }),
            Err(reason) => Record::Rejected(Rejected {
                file_id: secret::scrub(file_id).into(),
                origin,
                reason: reason.into(),
            }),
        }
    }
}

fn unusable(name: &str, source: io::Error) -> SourceError {
    let input = name.into();
    match Foreign::of(&source) {
        Some(foreign) => SourceError::Foreign { input, foreign },
        None => SourceError::Broken {
            input,
            line: 1,
            source,
        },
    }
}

/// All records of all inputs, in order; ends after the first error.
#[derive(Debug)]
pub struct Records<'a> {
    sources: &'a mut [Source],
    current: usize,
    parser: Option<Parser>,
    is_broken: bool,
}

impl Records<'_> {
    /// Whether the next record is not in memory yet, so that getting it may block.
    fn would_block(&self) -> bool {
        self.parser.as_ref().is_none_or(Parser::would_block)
    }

    fn try_next(&mut self) -> Result<Option<Record>, SourceError> {
        while let Some(source) = self.sources.get_mut(self.current) {
            let parser = match &mut self.parser {
                Some(parser) => parser,
                none => none.insert(source.parser()?),
            };
            if let Some(row) = parser
                .next_row()
                .map_err(|broken| broken.at(&source.name))?
            {
                return Ok(Some(source.record(&row)));
            }
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

/// Whether a cell could be sent as an ID.
fn parse_id(cell: &[u8]) -> Result<FileId, InvalidId> {
    FileId::parse(String::from_utf8_lossy(cell).trim())
}
