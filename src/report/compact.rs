//! Makes a resumed report whole: one row a record, by a copy that takes its place in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

use super::open::{sync_folder, with_suffix};
use super::read::{self, Row, Tail};
use super::row::HEADER;
use super::{Finished, Report, ReportError, ResumeIndex, Sink};
use crate::outcome::Status;

const BLOCK: usize = 256 * 1024;

impl Report {
    /// Leaves out every row that a later one of the same ID replaced. Rows whose record is no longer in the
    /// input stay, and are counted apart.
    pub(super) fn compact(&mut self, index: &mut ResumeIndex) -> Result<Finished, ReportError> {
        // The slots tell of places in the file that is about to be replaced; nothing is in flight any more.
        self.journal.rewrite_header(&self.header)?;
        let Sink::File { path, .. } = &self.sink else {
            return Ok(self.finished());
        };
        let path = path.clone();
        if index.is_compact() {
            return Ok(self.finished());
        }
        let replaced = replace(&path, self.begin, index);
        let (file, finished) = replaced.map_err(|source| self.error(source))?;
        self.sink = Sink::File { file, path };
        Ok(finished)
    }
}

fn replace(path: &Path, begin: u64, index: &mut ResumeIndex) -> io::Result<(File, Finished)> {
    let mut old = File::open(path)?;
    let copy_path = with_suffix(path, ".part");
    let _ = fs::remove_file(&copy_path);
    let new = OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&copy_path)?;
    let like = old.metadata()?;
    new.set_permissions(like.permissions())?;
    // Only root may give a file away; for anybody else it is theirs already.
    let _ = chown(&copy_path, Some(like.uid()), Some(like.gid()));
    let mut copy = Copy {
        from: File::open(path)?,
        to: BufWriter::with_capacity(BLOCK, new),
        run: 0..0,
    };
    copy.to.write_all(HEADER.as_bytes())?;
    let mut finished = Finished::default();
    let tail = read::rows(&mut old, |rows| {
        index.prefetch_rows(rows);
        for row in rows {
            let is_replaced = row.status.is_own()
                && if row.begin < begin {
                    !index.counts_still(row.file_id)
                } else {
                    index.is_amended_later(row.file_id)
                };
            if !is_replaced {
                count(row, begin, index, &mut finished);
                copy.keep(row.begin..row.end)?;
            }
        }
        Ok(())
    })?;
    if tail != Tail::Whole {
        return Err(io::Error::other("a row in it cannot be read"));
    }
    let new = copy.finish()?;
    new.sync_all()?;
    fs::rename(&copy_path, path)?;
    sync_folder(path)?;
    Ok((new, finished))
}

fn count(row: &Row<'_>, begin: u64, index: &mut ResumeIndex, finished: &mut Finished) {
    if let Some(purge) = row.purge {
        finished.purges[purge as usize] += 1;
    }
    let is_of_this_run = row.begin >= begin;
    if !is_of_this_run && index.is_left_over(row.file_id, row.status) {
        finished.kept_rows += 1;
        let is_unsettled = matches!(row.status, Status::Failed | Status::Unknown);
        finished.kept_unsettled += u64::from(is_unsettled);
    } else {
        finished.counts[row.status as usize] += 1;
    }
}

/// Copies runs of neighbouring rows at once.
struct Copy {
    from: File,
    to: BufWriter<File>,
    run: std::ops::Range<u64>,
}

impl Copy {
    fn keep(&mut self, row: std::ops::Range<u64>) -> io::Result<()> {
        if row.start == self.run.end {
            self.run.end = row.end;
        } else {
            self.flush_run()?;
            self.run = row;
        }
        Ok(())
    }

    fn flush_run(&mut self) -> io::Result<()> {
        self.from.seek(SeekFrom::Start(self.run.start))?;
        let length = self.run.end - self.run.start;
        io::copy(&mut Read::by_ref(&mut self.from).take(length), &mut self.to).map(drop)
    }

    fn finish(mut self) -> io::Result<File> {
        self.flush_run()?;
        self.to.into_inner().map_err(io::IntoInnerError::into_error)
    }
}
