//! The sheet: a CSV row for each ID, with what ImageKit knows of it.

use std::io::{self, Write};
use std::iter;
use std::path::Path;

use csv::Writer;

use crate::client::FileInfo;
use crate::lookup::Known;
use crate::report::{
    Claimed, Destination, Existing, OpenError, ReportError, claim, escape_formula, rehearse_claim,
};
use crate::secret;
use crate::target::Target;

/// The contract's columns.
const HEADER: &str = "file_id,exists,type,name,path,size,created_at,url\n";

/// Where the rows go: a file that has `.part` behind its name, while an older sheet stays, until
/// [`complete`](Sheet::complete).
#[derive(Debug)]
pub struct Sheet {
    name: String,
    /// Holds the lock; `None` for stdout.
    claimed: Option<Claimed>,
    rows: u64,
}

impl Sheet {
    /// Begins a sheet, its header written; readable by its owner alone, and locked as a report is.
    pub fn create(destination: &Destination, existing: Existing) -> Result<Self, OpenError> {
        let claimed = match destination {
            Destination::Stdout => None,
            Destination::File(path) => Some(claim(path, existing, HEADER)?),
        };
        let mut sheet = Self {
            name: destination.to_string(),
            claimed,
            rows: 0,
        };
        let header = HEADER.trim_end().split(',');
        sheet.write_records(iter::once(header))?;
        Ok(sheet)
    }

    /// Fails where [`create`](Self::create) would, and changes nothing.
    pub fn rehearse(destination: &Destination, existing: Existing) -> Result<(), OpenError> {
        match destination {
            Destination::Stdout => Ok(()),
            Destination::File(path) => rehearse_claim(path, existing, HEADER),
        }
    }

    /// Takes the sheet away again: nothing was found out.
    pub fn discard(self) -> io::Result<()> {
        self.claimed.map_or(Ok(()), Claimed::discard)
    }

    /// Says that the sheet is complete.
    pub fn complete(&mut self) -> Result<(), ReportError> {
        let completed = self.claimed.as_mut().map_or(Ok(()), Claimed::complete);
        completed.map_err(|source| self.error(source))
    }

    /// Where the rows are now; `None` for stdout.
    pub fn path(&self) -> Option<&Path> {
        self.claimed.as_ref().map(|claimed| &*claimed.path)
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is known of targets; the kernel has the rows when this returns.
    pub(super) fn write(&mut self, rows: &[(Target, Known)]) -> Result<(), ReportError> {
        let nothing = FileInfo::default();
        self.write_rows(rows.iter().map(|(target, known)| {
            let (exists, file) = match known {
                Known::There(file) => ("true", &**file),
                Known::Missing => ("false", &nothing),
                Known::Unclear(_) => ("unknown", &nothing),
            };
            row(target.file_id.as_str(), exists, file)
        }))
    }

    /// Writes files that exist; the kernel has the rows when this returns.
    pub(crate) fn write_files(&mut self, files: &[&FileInfo]) -> Result<(), ReportError> {
        self.write_rows(files.iter().map(|file| row(&file.file_id, "true", file)))
    }

    fn write_rows(&mut self, rows: impl Iterator<Item = [String; 8]>) -> Result<(), ReportError> {
        self.rows += self.write_records(rows)?;
        Ok(())
    }

    /// How many records were written.
    fn write_records<R: IntoIterator<Item: AsRef<[u8]>>>(
        &mut self,
        records: impl Iterator<Item = R>,
    ) -> Result<u64, ReportError> {
        let mut writer = Writer::from_writer(Vec::new());
        let mut count = 0;
        let write = || -> io::Result<()> {
            for record in records {
                writer.write_record(record)?;
                count += 1;
            }
            let text = writer
                .into_inner()
                .map_err(csv::IntoInnerError::into_error)?;
            if let Some(claimed) = &mut self.claimed {
                return claimed.write(&text);
            }
            let mut stdout = io::stdout().lock();
            stdout.write_all(&text)?;
            stdout.flush()
        };
        write().map_err(|source| self.error(source))?;
        Ok(count)
    }

    fn error(&self, source: io::Error) -> ReportError {
        let name = self.name.clone();
        ReportError::Write { name, source }
    }
}

fn row(id: &str, exists: &str, file: &FileInfo) -> [String; 8] {
    // Without keys, and without what a terminal or a spreadsheet would take for a command.
    let text = |said: &Option<String>| {
        let said = secret::scrub_exact(said.as_deref().unwrap_or_default());
        escape_formula(&said.replace(char::is_control, "\u{fffd}")).into_owned()
    };
    [
        id.to_owned(),
        exists.to_owned(),
        text(&file.kind),
        text(&file.name),
        text(&file.file_path),
        file.size.map(|size| size.to_string()).unwrap_or_default(),
        text(&file.created_at),
        text(&file.url),
    ]
}
