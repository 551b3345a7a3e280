//! Lines that stand at the bottom of a terminal and change in place, and text that goes above them.
//!
//! Every change is one write, so that nothing flickers. The cursor rests on a line of its own below: what the
//! terminal echoes there (`^C`) is gone with the next change, and a prompt after a sudden death begins a line.
//! indicatif is not used, because it fills lines up to the edge: a `^C` there breaks into the next line, and the
//! first line of the bar stays on the screen for good.

use std::io::{self, Write};

use rustix::termios::tcgetwinsize;

/// What a terminal has if it does not say.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

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
pub(super) struct Screen {
    standing: Vec<Line>,
}

impl Screen {
    /// Puts these lines in place of those that stand.
    pub(super) fn show(&mut self, mut lines: Vec<Line>) {
        let (columns, rows) = size();
        lines.truncate(rows.saturating_sub(1));
        if lines != self.standing {
            let mut change = self.erased(columns);
            push(&mut change, &lines);
            self.standing = lines;
            write(&change);
        }
    }

    /// Writes text, whole lines of it, above those that stand.
    pub(super) fn print(&self, text: &str) {
        let mut change = self.erased(size().0);
        change.push_str(text);
        push(&mut change, &self.standing);
        write(&change);
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        write(&self.erased(size().0));
        self.standing.clear();
    }

    /// Moves up to the first line and clears from there. A terminal that became narrower has broken lines.
    fn erased(&self, columns: usize) -> String {
        let rows = self
            .standing
            .iter()
            .map(|line| line.width.div_ceil(columns).max(1));
        match rows.sum::<usize>() {
            0 => String::new(),
            rows => format!("\r\x1b[{rows}A\x1b[J"),
        }
    }
}

/// How many columns a line may have: one less than there are, as the last one is where terminals differ.
pub(super) fn columns() -> usize {
    size().0.saturating_sub(1)
}

fn size() -> (usize, usize) {
    let told = tcgetwinsize(io::stderr()).ok();
    let or =
        |told: Option<u16>, usual: usize| told.filter(|told| *told > 0).map_or(usual, usize::from);
    (
        or(told.map(|size| size.ws_col), COLUMNS),
        or(told.map(|size| size.ws_row), ROWS),
    )
}

fn push(change: &mut String, lines: &[Line]) {
    for line in lines {
        change.push_str(&line.text);
        change.push('\n');
    }
}

/// A closed stderr is no reason to stop deleting or recording.
fn write(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}
