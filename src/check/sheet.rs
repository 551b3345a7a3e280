//! The sheet: a CSV row for each ID, with what ImageKit knows of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use csv::Writer;
use thiserror::Error;

use crate::client::FileInfo;
use crate::lookup::Known;
use crate::report::{Destination, harmless, with_suffix};
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
    /// A folder, a device or a pipe cannot be kept as `.bak`.
    #[error("{0} is not a regular file; give --report the path of a file, or - for stdout")]
    NotAFile(String),
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
    /// Whether the sheet cannot be written, as against having been refused.
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Write { .. })
    }
}

/// What to do with a sheet that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldSheet {
    /// Touch nothing.
    Refused,
    /// Keep it as `.bak`.
    KeptAsBackup,
}

/// Where the rows go.
pub struct Sheet {
    name: String,
    writer: Writer<Box<dyn Write>>,
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
    /// Begins a sheet, its header written; readable by its owner alone.
    pub fn create(destination: &Destination, old: OldSheet) -> Result<Self, SheetError> {
        let (name, sink): (String, Box<dyn Write>) = match destination {
            Destination::Stdout => ("stdout".into(), Box::new(io::stdout())),
            Destination::File(path) => {
                let name = path.to_string_lossy().into_owned();
                (name.clone(), Box::new(create_file(path, name, old)?))
            }
        };
        let mut sheet = Self {
            name,
            writer: Writer::from_writer(sink),
        };
        let begun = sheet
            .writer
            .write_record(COLUMNS)
            .map_err(io::Error::from)
            .and_then(|()| sheet.writer.flush());
        begun.map_err(|source| sheet.error(source))?;
        Ok(sheet)
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

fn create_file(path: &Path, name: String, old: OldSheet) -> Result<fs::File, SheetError> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(SheetError::NotAFile(name));
    }
    if old == OldSheet::KeptAsBackup && path.symlink_metadata().is_ok() {
        fs::rename(path, with_suffix(path, ".bak")).map_err(|source| SheetError::Write {
            name: name.clone(),
            source,
        })?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => SheetError::Exists(name),
        _ => SheetError::Write { name, source },
    })
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
