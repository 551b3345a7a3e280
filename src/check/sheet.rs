//! The sheet: a CSV row for each ID, with what ImageKit knows of it.

use std::io::{self, Write};

use csv::Writer;
use thiserror::Error;

use crate::client::FileInfo;
use crate::lookup::Known;
use crate::report::{self, Claimed, Destination, Existing, OpenError, harmless};
use crate::target::Target;

/// The contract's columns.
const COLUMNS: [&str; 8] = [
    "file_id",
    "exists",
    "type",
    "name",
    "path",
    "size",
    "created_at",
    "url",
];

/// Why a sheet cannot be begun or written.
#[derive(Debug, Error)]
pub enum SheetError {
    /// There is a file of that name.
    #[error(
        "{0} exists; replace it by --overwrite (the old one is kept as .bak), or give another --report"
    )]
    Exists(String),
    /// It cannot be created there, or another run holds it.
    #[error(transparent)]
    Open(OpenError),
    /// The system says no.
    #[error("cannot write {name}: {source}; give another place with --report")]
    Write {
        /// The sheet's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SheetError {
    /// Whether another run holds the file.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Open(error) if error.is_locked())
    }
}

/// Where the rows go.
pub struct Sheet {
    name: String,
    writer: Writer<Box<dyn Write>>,
    /// Holds the lock; `None` for stdout.
    claimed: Option<Claimed>,
}

impl std::fmt::Debug for Sheet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sheet")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Sheet {
    /// Begins a sheet, its header written; readable by its owner alone, and locked as a report is.
    pub fn create(destination: &Destination, existing: Existing) -> Result<Self, SheetError> {
        let (name, sink, claimed): (String, Box<dyn Write>, _) = match destination {
            Destination::Stdout => ("stdout".into(), Box::new(io::stdout()), None),
            Destination::File(path) => {
                let claimed = report::claim(path, existing).map_err(|error| match error {
                    OpenError::Exists(name) => SheetError::Exists(name),
                    error => SheetError::Open(error),
                })?;
                let name = path.to_string_lossy().into_owned();
                let file = claimed
                    .file
                    .try_clone()
                    .map_err(|source| SheetError::Write {
                        name: name.clone(),
                        source,
                    })?;
                (name, Box::new(file), Some(claimed))
            }
        };
        let mut sheet = Self {
            name,
            writer: Writer::from_writer(sink),
            claimed,
        };
        let begun = sheet
            .writer
            .write_record(COLUMNS)
            .map_err(io::Error::from)
            .and_then(|()| sheet.writer.flush());
        begun.map_err(|source| sheet.error(source))?;
        Ok(sheet)
    }

    /// Takes the sheet away again: nothing was found out.
    pub fn discard(self) -> io::Result<()> {
        self.claimed.map_or(Ok(()), Claimed::discard)
    }

    /// The sheet's name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes rows; the kernel has them when this returns.
    pub fn write(&mut self, rows: &[(Target, Known)]) -> Result<(), SheetError> {
        let mut write = || -> io::Result<()> {
            for (target, known) in rows {
                self.writer.write_record(cells(target, known))?;
            }
            self.writer.flush()
        };
        let written = write();
        written.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> SheetError {
        SheetError::Write {
            name: self.name.clone(),
            source,
        }
    }
}

fn cells(target: &Target, known: &Known) -> [String; 8] {
    let nothing = FileInfo::default();
    let (exists, file) = match known {
        Known::There(file) => ("true", &**file),
        Known::Missing => ("false", &nothing),
        Known::Unclear(_) => ("unknown", &nothing),
    };
    let text = |cell: &Option<String>| harmless(cell.as_deref().unwrap_or_default());
    [
        target.file_id.as_str().into(),
        exists.into(),
        text(&file.kind),
        text(&file.name),
        text(&file.file_path),
        file.size.map(|size| size.to_string()).unwrap_or_default(),
        text(&file.created_at),
        text(&file.url),
    ]
}
