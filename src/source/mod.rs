//! The input: bytes become records.
//!
//! CSV files, plain lists and stdin come in, plain or compressed; [`Record`](crate::target::Record)s leave, in
//! order, each with the line that an editor would show. Reading blocks, so [`Sources::stream`]
//! does it on a thread of its own.

mod bytes;
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
pub use header::{Column, DELIMITERS, Header, Options};
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
    /// Which of its columns holds the IDs cannot be told, or it is not the one that was asked for.
    #[error("{input} {why}")]
    Column {
        /// The input's name.
        input: String,
        /// What is wrong, and the way out.
        why: String,
    },
    /// It is no list, or cannot be read for another reason.
    #[error("{0}")]
    Unusable(String),
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
            let is_spooled = spooled.map_err(|error| {
                let input = source.shown();
                SourceError::Unusable(format!(
                    "cannot keep a copy of {input} to read it twice: {error}; make room in TMPDIR, or give a file instead"
                ))
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
            let input = self.shown();
            return Err(SourceError::Unusable(format!(
                "{input} cannot be read twice; give it as a file"
            )));
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
