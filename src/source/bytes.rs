//! The bytes of one input: opened, decompressed by their first bytes, re-read or copied.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::format::Foreign;
use super::input::Input;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BOM: &[u8] = &[0xef, 0xbb, 0xbf];

/// How much is asked of the input at once.
const BLOCK: usize = 64 * 1024;

pub(super) type Stream = Box<dyn Read + Send>;

/// Where an input's bytes come from.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A plain file: can be read again, from where it stood when it was handed over.
    File(File, u64),
    /// A pipe or a device: can be read once. What was read of it already is kept, so that it can be copied.
    Pipe(Pipe),
}

impl Bytes {
    pub(super) fn open(input: &Input) -> io::Result<Self> {
        let mut file = match input {
            // A handle of our own, so that bytes are not kept back in the library's buffer.
            Input::Stdin => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            Input::File(path) => File::open(path)?,
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if !metadata.is_file() {
            return Ok(Self::Pipe(Pipe::new(file)));
        }
        let start = file.stream_position()?;
        Ok(Self::File(file, start))
    }

    pub(super) fn is_rereadable(&self) -> bool {
        matches!(self, Self::File(..))
    }

    /// Roughly how many lines there are, by the first of them; `None` where that cannot be told.
    pub(super) fn rough_lines(&self) -> Option<u64> {
        let Self::File(file, start) = self else {
            return None;
        };
        let mut first = vec![0; BLOCK];
        let length = file.read_at(&mut first, *start).ok()?;
        first.truncate(length);
        if first.starts_with(GZIP) || first.starts_with(ZSTD) {
            return None;
        }
        let lines = first.split(|byte| *byte == b'\n').count() as u64 - 1;
        let bytes = file.metadata().ok()?.len().saturating_sub(*start);
        Some(lines * bytes / (length as u64).max(1))
    }

    /// The text, decompressed and without a byte order mark, from the start.
    pub(super) fn read(&mut self) -> io::Result<Stream> {
        let raw: Stream = match self {
            Self::File(file, start) => {
                file.seek(SeekFrom::Start(*start))?;
                Box::new(file.try_clone()?)
            }
            Self::Pipe(pipe) => Box::new(pipe.clone()),
        };
        decoded(raw)
    }

    /// Copies a pipe to an unlinked temporary file; false where there was nothing to copy.
    pub(super) fn spool(&mut self) -> io::Result<bool> {
        let Self::Pipe(pipe) = self else {
            return Ok(false);
        };
        let mut copy = tempfile::tempfile()?;
        pipe.copy_to(&mut copy)?;
        *self = Self::File(copy, 0);
        Ok(true)
    }
}

/// A pipe that remembers what was read of it until it is read in earnest.
#[derive(Debug, Clone)]
pub(super) struct Pipe(Arc<Mutex<Tee>>);

#[derive(Debug)]
struct Tee {
    file: File,
    seen: Vec<u8>,
}

/// More than a header needs; past it the pipe is being read in earnest and is no longer remembered.
const REMEMBERED: usize = 4 * BLOCK;

impl Pipe {
    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(Tee {
            file,
            seen: Vec::new(),
        })))
    }

    fn copy_to(&self, copy: &mut File) -> io::Result<()> {
        let mut tee = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copy.write_all(&tee.seen)?;
        tee.seen = Vec::new();
        io::copy(&mut tee.file, copy)?;
        Ok(())
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tee = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tee.file.read(buffer)?;
        if tee.seen.len() < REMEMBERED {
            tee.seen.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}

fn decoded(raw: Stream) -> io::Result<Stream> {
    let (first, raw) = peek(raw, 4)?;
    let text: Stream = if first.starts_with(GZIP) {
        Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(
            BLOCK, raw,
        )))
    } else if first.starts_with(ZSTD) {
        Box::new(zstd::stream::read::Decoder::new(raw)?)
    } else {
        raw
    };
    let (first, text) = peek(text, 4)?;
    if let Some(foreign) = Foreign::tell(&first) {
        return Err(io::Error::other(foreign));
    }
    without_bom(&first, text)
}

fn without_bom(first: &[u8], mut text: Stream) -> io::Result<Stream> {
    if first.starts_with(BOM) {
        text.read_exact(&mut [0; BOM.len()])?;
    }
    Ok(text)
}

/// The first bytes, fewer only at the end, and a stream that still has them.
fn peek(mut stream: Stream, count: usize) -> io::Result<(Vec<u8>, Stream)> {
    let mut first = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match stream.read(&mut first[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    first.truncate(filled);
    let again = Cursor::new(first.clone()).chain(stream);
    Ok((first, Box::new(again)))
}
