//! The bytes of one input: opened, decompressed by their first bytes, re-read or copied.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::format::{Compression, Foreign, LONG_WINDOW, NULS, SNIFFED, has_line};
use super::input::Input;

/// How much is asked of the input at once.
pub(super) const BLOCK: usize = 64 * 1024;

/// The longest zstd window, as a power of two: 2 GiB, what `zstd --long=31` makes. Memory is taken as it fills.
const MAX_WINDOW_LOG: u32 = 31;

pub(super) type Stream = Box<dyn Read + Send>;

/// Where an input's bytes come from.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A plain file: can be read again, from where it stood when it was handed over.
    File(Plain),
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
        Ok(Self::File(Plain::new(file, start)?))
    }

    /// The file, where it is one: it can be read again.
    pub(super) fn file(&self) -> Option<&Plain> {
        match self {
            Self::File(plain) => Some(plain),
            Self::Pipe(_) => None,
        }
    }

    /// The text, decompressed, from the start.
    pub(super) fn read(&self) -> io::Result<Stream> {
        match self {
            Self::File(plain) => text_of(Box::new(plain.read()), Patience::ToTheEnd),
            Self::Pipe(pipe) => text_of(Box::new(pipe.clone()), Patience::ForALine),
        }
    }

    /// Copies a pipe to an unlinked temporary file; false where there was nothing to copy.
    pub(super) fn spool(&mut self) -> io::Result<bool> {
        let Self::Pipe(pipe) = self else {
            return Ok(false);
        };
        let mut copy = tempfile::tempfile()?;
        pipe.copy_to(&mut copy)?;
        *self = Self::File(Plain::new(copy, 0)?);
        Ok(true)
    }

    /// A pipe is read in earnest from now on: what is read of it need not be kept.
    pub(super) fn forget(&self) {
        if let Self::Pipe(pipe) = self {
            pipe.lock().kept = None;
        }
    }
}

/// A file as it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    file: Arc<File>,
    /// Where its text begins.
    start: u64,
    /// Its length when it was opened; 0 also where the system makes it up while it is read (/proc).
    len: u64,
    /// When its content had changed last. The time of its inode says less: a rename changes that, too.
    modified: Option<SystemTime>,
}

impl Plain {
    fn new(file: File, start: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            file: Arc::new(file),
            start,
            len: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// Fails where the file is not what it was when it was opened. Whoever only touches it is suspected, too: what
    /// was written cannot be told from here. On a filesystem that keeps whole seconds, what is written at the same
    /// length within the second of the write before is not noticed.
    pub(super) fn check_unchanged(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let (was, is) = (self.len, metadata.len());
        let change = match is.cmp(&was) {
            Ordering::Less => {
                format!("is shorter than when it was opened ({is} bytes instead of {was})")
            }
            Ordering::Greater => {
                format!("is longer than when it was opened ({is} bytes instead of {was})")
            }
            Ordering::Equal if was == 0 || metadata.modified().ok() == self.modified => {
                return Ok(());
            }
            Ordering::Equal => "was written to after it was opened".into(),
        };
        Err(io::Error::other(format!(
            "the file {change}: something else is changing it"
        )))
    }

    fn read(&self) -> Watched {
        Watched {
            plain: self.clone(),
            position: self.start,
        }
    }
}

/// Reads a file as far as it went when it was opened, as long as nobody writes to it: it may end in half an ID then.
struct Watched {
    plain: Plain,
    position: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.plain.len {
            0 => usize::MAX,
            len => usize::try_from(len.saturating_sub(self.position)).unwrap_or(usize::MAX),
        };
        let wanted = left.min(buffer.len());
        let file = &self.plain.file;
        let count = file.read_at(&mut buffer[..wanted], self.position)?;
        // Only now: a write between a look and the read would be taken for what was there before.
        self.plain.check_unchanged()?;
        if count == 0 && wanted > 0 && self.plain.len > 0 {
            return Err(io::Error::other(
                "the file ends before its length; copy it and give the copy",
            ));
        }
        self.position += count as u64;
        Ok(count)
    }
}

/// A pipe that remembers what was read of it until it is read in earnest.
#[derive(Debug, Clone)]
pub(super) struct Pipe(Arc<Mutex<Tee>>);

#[derive(Debug)]
struct Tee {
    file: File,
    /// What was read so far; `None` once it is read in earnest.
    kept: Option<Vec<u8>>,
}

impl Pipe {
    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(Tee {
            file,
            kept: Some(Vec::new()),
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tee> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy_to(&self, copy: &mut File) -> io::Result<()> {
        let mut tee = self.lock();
        copy.write_all(&tee.kept.take().unwrap_or_default())?;
        io::copy(&mut tee.file, copy)?;
        Ok(())
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tee = self.lock();
        let count = tee.file.read(buffer)?;
        if let Some(kept) = &mut tee.kept {
            kept.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}

/// How long is waited for the bytes that tell what a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until there are enough of them, or no more.
    ToTheEnd,
    /// Until there is a line: whoever writes it may take a minute for the next.
    ForALine,
}

fn text_of(raw: Stream, patience: Patience) -> io::Result<Stream> {
    let (first, raw) = peek(raw, 4, Patience::ToTheEnd)?;
    let text: Stream = match Compression::of(&first) {
        Some(Compression::Gzip) => {
            let raw = BufReader::with_capacity(BLOCK, raw);
            Box::new(flate2::bufread::MultiGzDecoder::new(raw))
        }
        Some(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::new(raw)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(Zstd(decoder))
        }
        None => raw,
    };
    let (first, text) = peek(text, SNIFFED, patience)?;
    if let Some(foreign) = Foreign::detect(&first) {
        return Err(io::Error::other(foreign));
    }
    Ok(Box::new(WithoutNuls {
        text,
        left: SNIFFED,
    }))
}

/// The first bytes, fewer only at the end or where patience ends, and a stream that still has them.
fn peek(mut stream: Stream, count: usize, patience: Patience) -> io::Result<(Vec<u8>, Stream)> {
    let mut first = vec![0; count];
    let mut filled = 0;
    while filled < count && !(patience == Patience::ForALine && has_line(&first[..filled])) {
        match stream.read(&mut first[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What came before the break is read first.
            Err(error) if filled > 0 && count == SNIFFED => {
                stream = Box::new(Failed(Some(error)));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    first.truncate(filled);
    let again = Cursor::new(first.clone()).chain(stream);
    Ok((first, Box::new(again)))
}

/// A stream that broke.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Tells a window that does not fit into memory from a text that broke.
struct Zstd<R: io::BufRead>(zstd::stream::read::Decoder<'static, R>);

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let words = error.to_string();
            if ["too much memory", "not enough memory"]
                .iter()
                .any(|sign| words.contains(sign))
            {
                io::Error::other(LONG_WINDOW)
            } else {
                error
            }
        })
    }
}

/// A text none of whose first bytes may be NUL, of a pipe that did not give them at once.
struct WithoutNuls {
    text: Stream,
    /// How many bytes are still looked at.
    left: usize,
}

impl Read for WithoutNuls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.text.read(buffer)?;
        let looked_at = count.min(self.left);
        if buffer[..looked_at].contains(&0) {
            return Err(io::Error::other(NULS));
        }
        self.left -= looked_at;
        Ok(count)
    }
}
