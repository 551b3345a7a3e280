//! Lines that stand on a terminal and change in place, and text that goes above them. Every change is one write.
//!
//! The cursor rests at the start of the first line, where it is saved. What is typed there, Enter included, is
//! written over by the next change; and when the window changes its width and wraps the lines anew, the cursor still
//! stands where they begin. (indicatif rests behind its last line and goes up by as many lines as it wrote: an
//! Enter, or a line that was wrapped, leaves a piece of its bar on the screen for good.)

use std::io::{self, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::time::Instant;

/// What a terminal has if it does not say.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

const SAVE_CURSOR: &str = "\x1b7";
const RESTORE_CURSOR: &str = "\x1b8";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// After so long without a change the program was probably stopped (Ctrl-Z), and others wrote to the terminal.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// One line: how wide it shows, and the bytes that show it, colours included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line {
    pub(super) width: usize,
    pub(super) text: String,
}

impl Line {
    /// Text without colours.
    pub(super) fn plain(text: String) -> Self {
        Self {
            width: text.chars().count(),
            text,
        }
    }
}

/// The lines that stand now.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    lines: Vec<Line>,
    /// When they were drawn, and how large the terminal was.
    drawn: Option<(Instant, (usize, usize))>,
}

impl Terminal {
    /// Puts these lines in place of those that stand.
    pub(super) fn show(&mut self, lines: Vec<Line>) {
        self.change("", lines);
    }

    /// Writes text, whole lines of it, above those that stand.
    pub(super) fn print(&mut self, text: &str) {
        let lines = std::mem::take(&mut self.lines);
        self.change(text, lines);
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        self.change("", Vec::new());
    }

    fn change(&mut self, above: &str, mut lines: Vec<Line>) {
        let size = size();
        lines.truncate(size.1.saturating_sub(1));
        let mut text = self.to_first_line(size);
        if self.drawn.is_some() && (!above.is_empty() || lines.is_empty()) {
            text.push_str(CLEAR_BELOW);
        }
        text.push_str(above);
        let ends: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        text.push_str(&ends.join(&format!("{CLEAR_TO_END_OF_LINE}\r\n")));
        if !lines.is_empty() {
            text.push_str(CLEAR_BELOW);
            text.push('\r');
            if lines.len() > 1 {
                text.push_str(&format!("\x1b[{}A", lines.len() - 1));
            }
            text.push_str(SAVE_CURSOR);
        }
        self.drawn = (!lines.is_empty()).then(|| (Instant::now(), size));
        self.lines = lines;
        // A closed stderr is no reason to stop deleting or recording.
        drop(io::stderr().write_all(text.as_bytes()));
    }

    /// Brings the cursor to where the lines begin.
    fn to_first_line(&self, size: (usize, usize)) -> String {
        match self.drawn {
            None => String::new(),
            Some((at, drawn_at)) if drawn_at == size && at.elapsed() < STALE_AFTER => {
                RESTORE_CURSOR.into()
            }
            // What was saved is another place by now; the cursor moved with the text.
            Some(_) => format!("\r{CLEAR_BELOW}"),
        }
    }
}

/// How many columns a line may have: one less than there are, as the last one is where terminals differ.
pub(super) fn columns() -> usize {
    size().0.saturating_sub(1)
}

/// Columns and rows.
fn size() -> (usize, usize) {
    let stated = tcgetwinsize(io::stderr()).ok();
    let or = |stated: Option<u16>, usual: usize| {
        stated
            .filter(|stated| *stated > 0)
            .map_or(usual, usize::from)
    };
    (
        or(stated.map(|size| size.ws_col), COLUMNS),
        or(stated.map(|size| size.ws_row), ROWS),
    )
}
