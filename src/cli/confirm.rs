//! The question before anything is deleted, asked on the controlling terminal.
//!
//! Names of files and IDs come from outside: nothing in them may move the cursor or pass for the question's own words.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};

use imagekit_bulk_delete::human::{counted, grouped, nonzero};
use imagekit_bulk_delete::secret;
use imagekit_bulk_delete::target::ID_FORMAT;
use rustix::process::Signal;
use rustix::termios::{QueueSelector, tcflush};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::input_stats::InputStats;
use crate::progress::{broken, columns, sanitize};

/// From this number on, the number itself must be typed: a `y` slips out too easily.
const TYPE_THE_NUMBER_FROM: u64 = 1000;

/// Names of inputs are cut beyond this many characters.
const MAX_NAMES: usize = 300;

/// The terminal that the person sits at, even when stdin is the input.
#[derive(Debug)]
pub(crate) struct Terminal(File);

/// What the question names.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) stats: &'a InputStats,
    pub(crate) inputs: &'a str,
    pub(crate) host: &'a str,
    /// Masked.
    pub(crate) key: &'a str,
    /// Whether the CDN is purged afterwards.
    pub(crate) is_purging: bool,
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

    /// Asks, and completes with why not; `None` if the answer was yes. No answer at all is a no.
    pub(crate) async fn refused(self, question: &Question<'_>) -> io::Result<Option<String>> {
        let mut continued = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        // What was typed before the question is no answer to it.
        tcflush(&self.0, QueueSelector::IFlush)?;
        let mut line = OpenLine {
            terminal: self.0.try_clone()?,
            is_ended: false,
        };
        line.print(question)?;
        let (answered, mut answer) = oneshot::channel();
        // Reading a terminal cannot be called off: a thread of its own may be left behind at the end.
        std::thread::Builder::new().spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(self.0).read_line(&mut line);
            let _ = answered.send(line);
        })?;
        let typed = loop {
            select! {
                answer = &mut answer => break answer.unwrap_or_default(),
                // After Ctrl-Z and `fg` other things stand on the screen.
                _ = continued.recv() => line.print(question)?,
            }
        };
        line.is_ended = typed.ends_with('\n');
        Ok((!question.is_yes(&typed)).then(|| question.refusal(&typed)))
    }
}

/// The line of the question, until it is ended: by the answer, or when this is dropped.
struct OpenLine {
    terminal: File,
    is_ended: bool,
}

impl OpenLine {
    fn print(&mut self, question: &Question<'_>) -> io::Result<()> {
        write!(self.terminal, "{}", question.text(columns()))
    }
}

impl Drop for OpenLine {
    fn drop(&mut self) {
        if !self.is_ended {
            // A terminal that is gone needs no end of a line.
            let _ = self.terminal.write_all(b"\n");
        }
    }
}

impl Question<'_> {
    fn is_yes(&self, typed: &str) -> bool {
        let typed = typed.trim().to_lowercase().replace([',', '_', ' '], "");
        if self.must_type_the_number() {
            typed == self.stats.to_send.to_string()
        } else {
            ["y", "yes"].contains(&typed.as_str())
        }
    }

    fn refusal(&self, typed: &str) -> String {
        let (typed, number) = (clean(typed.trim()), self.stats.to_send);
        if self.must_type_the_number() && !typed.is_empty() {
            format!("you typed {typed}, not {}", grouped(number))
        } else {
            "declined".into()
        }
    }

    fn must_type_the_number(&self) -> bool {
        self.stats.to_send >= TYPE_THE_NUMBER_FROM
    }

    /// The question for a terminal of this width; the cursor stays behind it.
    fn text(&self, columns: usize) -> String {
        let mut paragraphs = vec![self.headline()];
        paragraphs.extend(self.skipped());
        paragraphs.extend(self.odd());
        paragraphs.extend(self.first_and_last());
        paragraphs.push("ImageKit has no trash: what is deleted cannot be brought back.".into());
        if self.is_purging {
            paragraphs.push("Each deleted file's URL will also be purged from the CDN.".into());
        }
        let prompt = if self.must_type_the_number() {
            "Type the number of files to continue:"
        } else {
            "Type y to continue:"
        };
        paragraphs.push(prompt.into());
        let lines: Vec<String> = paragraphs
            .iter()
            .map(|paragraph| broken(paragraph, columns))
            .collect();
        lines.join("\n") + " "
    }

    fn headline(&self) -> String {
        let files = counted(self.stats.to_send, "file", "files");
        let (host, inputs) = (clean(self.host), clean(self.inputs));
        let key = self.key;
        format!("Permanently delete the {files} listed in {inputs} from {host} (key {key})?")
    }

    fn skipped(&self) -> Option<String> {
        let stats = self.stats;
        let skipped = nonzero([
            (stats.invalid, "invalid"),
            (stats.duplicates, "duplicate"),
            (stats.excluded, "excluded"),
            (stats.settled, "done already"),
        ]);
        (!skipped.is_empty()).then(|| format!("Skipped: {skipped}."))
    }

    fn odd(&self) -> Option<String> {
        let odd = self.stats.odd;
        let ids = counted(odd, "ID does", "IDs do");
        (odd > 0).then(|| format!("WARNING: {ids} not look like ImageKit's ({ID_FORMAT})."))
    }

    fn first_and_last(&self) -> Option<String> {
        let first = self.stats.first.first()?;
        let last = self.stats.last.back().or(self.stats.first.last())?;
        Some(format!(
            "First ID: {}, last ID: {}",
            clean(first),
            clean(last)
        ))
    }
}

/// Text from outside on one line, without keys and without anything that steers a terminal.
fn clean(text: &str) -> String {
    let text = sanitize(&secret::scrub(text)).replace(['\n', '\t'], " ");
    match text.char_indices().nth(MAX_NAMES) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
