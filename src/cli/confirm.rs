//! The question before anything is deleted, asked on the controlling terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};

use imagekit_bulk_delete::human::grouped;
use tokio::sync::oneshot;

/// From this number on, the number itself must be typed: a `y` slips out too easily.
const TYPE_THE_NUMBER_FROM: u64 = 1000;

/// The terminal that the person sits at, even when stdin is the input.
#[derive(Debug)]
pub(crate) struct Terminal(File);

/// What the question names.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) ids: u64,
    pub(crate) inputs: &'a str,
    pub(crate) host: &'a str,
    pub(crate) key: &'a str,
    pub(crate) then: Then,
}

/// What comes after the deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Purge,
}

impl Terminal {
    /// The controlling terminal; `None` where stderr is no terminal or none can be opened (cron, a pipe).
    pub(crate) fn open() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()
            .map(Self)
    }

    /// Asks, and completes with whether the answer was yes. No answer at all is a no.
    pub(crate) async fn confirms(mut self, question: &Question<'_>) -> io::Result<bool> {
        write!(self.0, "{question}")?;
        let expected = question.expected();
        let (answered, answer) = oneshot::channel();
        // Reading a terminal cannot be called off: a thread of its own may be left behind at the end.
        std::thread::Builder::new().spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(self.0).read_line(&mut line);
            let _ = answered.send(line);
        })?;
        let line = answer.await.unwrap_or_default();
        let typed = line.trim().to_lowercase().replace([',', '_', ' '], "");
        Ok(expected.contains(&typed))
    }
}

impl Question<'_> {
    fn expected(&self) -> Vec<String> {
        if self.ids >= TYPE_THE_NUMBER_FROM {
            vec![self.ids.to_string()]
        } else {
            vec!["y".into(), "yes".into()]
        }
    }
}

impl std::fmt::Display for Question<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ids,
            inputs,
            host,
            key,
            then,
        } = self;
        writeln!(
            formatter,
            "Delete {} files for good from {host}, key {key}, as listed in {inputs}?",
            grouped(*ids)
        )?;
        writeln!(
            formatter,
            "ImageKit has no trash: what is deleted cannot be brought back."
        )?;
        if *then == Then::Purge {
            writeln!(formatter, "Their URLs will be purged from the CDN.")?;
        }
        if *ids >= TYPE_THE_NUMBER_FROM {
            write!(formatter, "Type the number of files to go on: ")
        } else {
            write!(formatter, "Type y to go on: ")
        }
    }
}
