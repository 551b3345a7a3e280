//! The input: bytes become records.
//!
//! CSV files, plain lists and stdin come in, plain or compressed; [`Record`](crate::target::Record)s leave, in
//! order, each with the line that an editor would show. Reading blocks, so [`Sources::stream`]
//! does it on a thread of its own.

mod bytes;
mod estimate;
mod except;
mod format;
mod header;
mod input;
mod parser;
mod records;
mod stream;

use std::io;
use std::sync::Arc;

use thiserror::Error;

pub use except::{ExceptError, ExceptLists};
pub use format::Foreign;
pub use header::{Column, Header, Options};
pub use input::Input;
pub use records::{Records, Skipped};
pub use stream::{Chunk, RecordStream};

use bytes::Bytes;
use header::{Ahead, Layout};
use parser::{Broken, Parser};

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
    /// Several columns, and the first record holds an ID, so that there are no names.
    #[error(
        "{input} has no header that names its columns; give --no-header --column {column} (the first line is: {columns})"
    )]
    NoHeader {
        /// The input's name.
        input: String,
        /// The column of the ID, from 1.
        column: usize,
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
    /// No ID looks like ImageKit's, while another column's do.
    #[error(
        "{input}: no ID in column {column} looks like ImageKit's, but those in column {better} do; give --column {better:?}"
    )]
    WrongColumn {
        /// The input's name.
        input: String,
        /// The column that would be read, by its name or number.
        column: String,
        /// The column that holds IDs.
        better: String,
    },
    /// One column that looks like several.
    #[error(
        "{input} seems to have its columns separated by another character; give --delimiter {option}"
    )]
    OtherDelimiter {
        /// The input's name.
        input: String,
        /// The separator, as `--delimiter` takes it.
        option: &'static str,
    },
    /// One line that is no ID, a message of another program, say.
    #[error(
        "{input} has only one line, line {line}, and it is not an ID: {text:?}; give a CSV file, or one ID per line"
    )]
    NotAnId {
        /// The input's name.
        input: String,
        /// The line.
        line: u64,
        /// Its beginning.
        text: String,
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
    /// The thread that reads cannot start.
    #[error(
        "cannot start a thread to read the input: {source}; allow more processes (`ulimit -u`)"
    )]
    Thread {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It broke while it was read.
    #[error("{input} line {line}: {source}; fix the input, then continue with --resume")]
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
    inputs: Vec<Source>,
    notices: Vec<String>,
    skipped: Arc<Skipped>,
}

/// One input and where it was left.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    bytes: Bytes,
    layout: Layout,
    /// Stands behind the header; taken by the first reading.
    parser: Option<Parser>,
    /// The line up to which it was read.
    line: u64,
}

impl Sources {
    /// Opens all inputs and reads as much of each as it takes to tell how it is to be read.
    pub fn open(inputs: &[Input], options: &Options) -> Result<Self, SourceError> {
        let mut notices = Vec::new();
        let sources = inputs
            .iter()
            .map(|input| {
                let source = Source::open(input, options)?;
                notices.extend(source.layout.notice(source.shown()));
                Ok(source)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            inputs: sources,
            notices,
            skipped: Arc::default(),
        })
    }

    /// What a person should know of how the inputs are read: headers, columns, delimiters.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What is passed over while records are read: counts of the last reading.
    pub fn skipped(&self) -> Arc<Skipped> {
        Arc::clone(&self.skipped)
    }

    /// All names, for people.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.inputs.iter().map(Source::shown).collect();
        names.join(", ")
    }

    /// Copies pipes to unlinked temporary files, so that everything can be read twice.
    pub fn spool(&mut self) -> Result<(), SourceError> {
        for source in &mut self.inputs {
            let spooled = source.bytes.spool();
            let is_spooled = spooled.map_err(|error| SourceError::Spool {
                input: source.shown().to_owned(),
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
        self.skipped.reset();
        Records::new(&mut self.inputs, &self.skipped)
    }

    /// Fails where a file is not what it was when it was opened.
    fn check_unchanged(&self) -> Result<(), SourceError> {
        for source in &self.inputs {
            if let Some(file) = source.bytes.file() {
                file.check_unchanged()
                    .map_err(|error| SourceError::Broken {
                        input: source.shown().to_owned(),
                        line: source.line,
                        source: error,
                    })?;
            }
        }
        Ok(())
    }
}

impl Source {
    fn open(input: &Input, options: &Options) -> Result<Self, SourceError> {
        let name: Arc<str> = input.name().into();
        let shown = shown(&name);
        let open = |source| SourceError::Open {
            input: shown.to_owned(),
            source,
        };
        let bytes = Bytes::open(input).map_err(open)?;
        let text = bytes
            .read()
            .map_err(|error| Broken::new(1, error).at_open(shown))?;
        let mut parser = Parser::new(text, b',');
        let ahead = match bytes {
            Bytes::File(_) => Ahead::Free,
            Bytes::Pipe(_) => Ahead::MayBlock,
        };
        let layout = Layout::detect(shown, &mut parser, options, ahead)?;
        Ok(Self {
            name,
            bytes,
            layout,
            parser: Some(parser),
            line: 1,
        })
    }

    /// The name for people.
    fn shown(&self) -> &str {
        shown(&self.name)
    }

    /// A parser that stands behind the header.
    fn parser(&mut self) -> Result<Parser, SourceError> {
        if let Some(parser) = self.parser.take() {
            self.bytes.forget();
            return Ok(parser);
        }
        let broken = |source| Broken::new(1, source).at(self.shown());
        if self.bytes.file().is_none() {
            return Err(SourceError::ReadTwice {
                input: self.shown().to_owned(),
            });
        }
        let mut parser = Parser::new(self.bytes.read().map_err(broken)?, self.layout.delimiter);
        let skipped = self.layout.skip_header(&mut parser);
        skipped.map_err(|broken| broken.at(self.shown()))?;
        Ok(parser)
    }
}

/// An input's name for people.
fn shown(name: &str) -> &str {
    if name == "-" { "stdin" } else { name }
}
