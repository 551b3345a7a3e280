//! Reading on a thread of its own, in chunks that are bounded by records and by bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::{Builder, JoinHandle};

use futures::Stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Skipped, SourceError, Sources};
use crate::target::Record;

/// Records of a chunk at the most: enough to be cheap, few enough that all chunks stay near the processor.
const MAX_RECORDS: usize = 256;

/// Bytes of a chunk's text at the most, the last record not counted.
const MAX_BYTES: usize = 256 * 1024;

/// Chunks between the reading thread and the run.
const CHUNKS_AHEAD: usize = 4;

/// Records that follow one another, or why there are no more.
pub type Chunk = Result<Vec<Record>, SourceError>;

/// The records of all inputs, read ahead on a thread of its own.
#[derive(Debug)]
pub struct RecordStream {
    chunks: Receiver<Chunk>,
    reader: Option<JoinHandle<Sources>>,
    /// Handed back by the reader at its end.
    sources: Option<Sources>,
    name: String,
    skipped: Arc<Skipped>,
}

impl Sources {
    /// Begins to read on a thread of its own; fails where none can start.
    pub fn stream(self) -> Result<RecordStream, SourceError> {
        let (sender, chunks) = channel(CHUNKS_AHEAD);
        let (name, skipped) = (self.names(), self.skipped());
        let reader = Builder::new()
            .name("input".into())
            .spawn(move || self.send(&sender))
            .map_err(|error| {
                SourceError::Unusable(format!(
                    "cannot start a thread to read the input: {error}; allow more processes (`ulimit -u`)"
                ))
            })?;
        Ok(RecordStream {
            chunks,
            reader: Some(reader),
            sources: None,
            name,
            skipped,
        })
    }

    /// Records that are there are sent on before the reader would block, so an input that gives a line a minute is
    /// served line by line.
    fn send(mut self, sender: &Sender<Chunk>) -> Self {
        let mut records = self.records();
        let (mut chunk, mut bytes) = (Vec::with_capacity(MAX_RECORDS), 0);
        loop {
            let is_full = chunk.len() >= MAX_RECORDS || bytes >= MAX_BYTES;
            if is_full || !chunk.is_empty() && records.would_block() {
                bytes = 0;
                records.renew_name();
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(MAX_RECORDS));
                if sender.blocking_send(Ok(full)).is_err() {
                    return self;
                }
            }
            match records.next() {
                Some(Ok(record)) => {
                    bytes += record.text_len();
                    chunk.push(record);
                }
                ended => {
                    // What was read before a break goes first; nobody may be left to hear it.
                    let _ = sender.blocking_send(Ok(chunk));
                    if let Some(Err(error)) = ended {
                        let _ = sender.blocking_send(Err(error));
                    }
                    return self;
                }
            }
        }
    }
}

impl RecordStream {
    /// What a person should know of what was passed over so far.
    pub fn skipped(&self) -> Vec<String> {
        self.skipped.notices()
    }

    /// The next chunk, for a thread that may block; `None` at the end.
    pub fn blocking_next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.blocking_recv();
        chunk.or_else(|| self.end().map(Err))
    }

    /// The inputs once they were read to their end; `None` before.
    pub fn into_sources(self) -> Option<Sources> {
        self.sources
    }

    /// What is wrong at the end of the last chunk.
    fn end(&mut self) -> Option<SourceError> {
        match self.reader.take()?.join() {
            // All of it was handed over; what is written to the files from now on belongs to the next run.
            Ok(sources) => self.sources.insert(sources).check_unchanged().err(),
            // The end of a reader that died is not the end of the input.
            Err(_) => Some(SourceError::Broken {
                input: self.name.clone(),
                line: 0,
                source: io::Error::other("the reader died, which is a fault of this program"),
            }),
        }
    }
}

impl Stream for RecordStream {
    type Item = Chunk;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let chunk = ready!(self.chunks.poll_recv(context));
        Poll::Ready(chunk.or_else(|| self.end().map(Err)))
    }
}
