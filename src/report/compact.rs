//! Makes a report whole at the end of a run: one row for each decided record, by a copy that takes its place in one
//! step.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use super::ResumeIndex;
use super::open::Place;
use super::read::{BLOCK, ReadEnd, Reader};
use super::row::HEADER;
use crate::files::sync_folder;
use crate::journal::Extent;

/// A compacted copy that has not taken the report's place yet.
#[derive(Debug)]
pub(super) struct Copy {
    file: File,
    part: Place,
    /// How far its rows reach, and how many there are.
    pub(super) extent: Extent,
    pub(super) rows: u64,
}

impl Copy {
    /// Copies every row but those that a later one of the same ID replaced. If that fails, no copy is left.
    pub(super) fn make(report: &Place, index: &mut ResumeIndex) -> io::Result<Self> {
        let part = report.part();
        part.remove_ours(HEADER).map_err(io::Error::other)?;
        let mut copy = Self {
            file: part.create_new()?,
            part,
            extent: Extent::EMPTY,
            rows: 0,
        };
        let filled = copy.fill(&report.path, index);
        filled.inspect_err(|_| drop(fs::remove_file(&copy.part.path)))?;
        Ok(copy)
    }

    fn fill(&mut self, report: &Path, index: &mut ResumeIndex) -> io::Result<()> {
        let old = File::open(report)?;
        let like = old.metadata()?;
        self.file.set_permissions(like.permissions())?;
        // Only root may give a file away; for anybody else it is theirs already.
        let _ = chown(&self.part.path, Some(like.uid()), Some(like.gid()));
        let mut to = BufWriter::with_capacity(BLOCK, &self.file);
        to.write_all(HEADER.as_bytes())?;
        let mut reader = Reader::new(old)?;
        while let Some(placed) = reader.next()? {
            let row = placed.row;
            if row.status().is_own() && index.is_superseded(row.file_id()) {
                continue;
            }
            to.write_all(placed.bytes)?;
            self.extent.add(placed.bytes);
            self.rows += 1;
        }
        if reader.end() != ReadEnd::Whole {
            return Err(io::Error::other("a row in it cannot be read"));
        }
        to.flush()?;
        drop(to);
        self.file.sync_all()
    }

    /// Takes the report's place; gives the file.
    pub(super) fn replace(self, report: &Path) -> io::Result<File> {
        let part = &self.part.path;
        fs::rename(part, report).inspect_err(|_| drop(fs::remove_file(part)))?;
        sync_folder(report)?;
        Ok(self.file)
    }
}
