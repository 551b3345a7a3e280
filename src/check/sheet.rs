//! The sheet: a CSV row for each ID, with what ImageKit knows of it.

use std::io::{self, Write};
use std::path::Path;

use csv::Writer;
use thiserror::Error;

use crate::client::FileInfo;
use crate::lookup::Known;
use crate::report::{self, Claimed, Destination, Existing, OpenError, harmless};
use crate::secret;
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
        "{0} exists; use --overwrite to replace it (the old one is kept as .bak), or give another --report"
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
        Self::begin(destination, |path| report::claim(path, existing))
    }

    /// As [`create`](Self::create), but it has `.part` behind its name, and an older sheet stays, until
    /// [`complete`](Self::complete).
    pub fn create_part(destination: &Destination, existing: Existing) -> Result<Self, SheetError> {
        let header = COLUMNS.join(",");
        Self::begin(destination, |path| {
            report::claim_part(path, existing, &header)
        })
    }

    fn begin(
        destination: &Destination,
        claim: impl FnOnce(&Path) -> Result<Claimed, OpenError>,
    ) -> Result<Self, SheetError> {
        let (name, sink, claimed): (String, Box<dyn Write>, _) = match destination {
            Destination::Stdout => ("stdout".into(), Box::new(io::stdout()), None),
            Destination::File(path) => {
                let claimed = claim(path).map_err(|error| match error {
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
        sheet.write_rows([COLUMNS.map(str::to_owned)])?;
        Ok(sheet)
    }

    /// Takes the sheet away again: nothing was found out.
    pub fn discard(self) -> io::Result<()> {
        self.claimed.map_or(Ok(()), Claimed::discard)
    }

    /// Says that the sheet is complete.
    pub fn complete(self) -> Result<(), SheetError> {
        let Self { name, claimed, .. } = self;
        let completed = claimed.map_or(Ok(()), Claimed::complete);
        completed.map_err(|source| SheetError::Write { name, source })
    }

    /// Where the rows are now; `None` for stdout.
    pub fn path(&self) -> Option<&Path> {
        self.claimed.as_ref().map(Claimed::path)
    }

    /// The sheet's name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes what is known of targets; the kernel has the rows when this returns.
    pub fn write(&mut self, rows: &[(Target, Known)]) -> Result<(), SheetError> {
        self.write_rows(rows.iter().map(|(target, known)| cells(target, known)))
    }

    /// Writes files that exist; the kernel has the rows when this returns.
    pub(crate) fn write_files(&mut self, files: &[&FileInfo]) -> Result<(), SheetError> {
        self.write_rows(files.iter().map(|file| row(&file.file_id, "true", file)))
    }

    fn write_rows(
        &mut self,
        rows: impl IntoIterator<Item = [String; 8]>,
    ) -> Result<(), SheetError> {
        let write = || -> io::Result<()> {
            for row in rows {
                self.writer.write_record(row)?;
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
    let id = target.file_id.as_str();
    match known {
        Known::There(file) => row(id, "true", file),
        Known::Missing => row(id, "false", &nothing),
        Known::Unclear(_) => row(id, "unknown", &nothing),
    }
}

fn row(id: &str, exists: &str, file: &FileInfo) -> [String; 8] {
    let text = |cell: &Option<String>| {
        let text = secret::scrub_exact(cell.as_deref().unwrap_or_default());
        harmless(&text.replace(char::is_control, "\u{fffd}")).into_owned()
    };
    [
        id.into(),
        exists.into(),
        text(&file.kind),
        text(&file.name),
        text(&file.file_path),
        file.size.map(|size| size.to_string()).unwrap_or_default(),
        text(&file.created_at),
        text(&file.url),
    ]
}
