//! Lines that stand at the bottom of a terminal and change in place, and text that goes above them.
//!
//! All lines are one message of one of indicatif's bars, so that they change together.

use std::fmt::{self, Debug, Formatter};
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
pub(super) struct Screen {
    bar: ProgressBar,
    is_drawn: bool,
}

impl Debug for Screen {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Screen")
            .field("is_drawn", &self.is_drawn)
            .finish_non_exhaustive()
    }
}

impl Default for Screen {
    /// Nothing is drawn before there is something to show.
    fn default() -> Self {
        let style = ProgressStyle::with_template("{msg}").expect("the template is one word");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style);
        Self {
            bar,
            is_drawn: false,
        }
    }
}

impl Screen {
    /// Puts these lines in place of those that stand.
    pub(super) fn show(&mut self, mut lines: Vec<Line>) {
        if !std::mem::replace(&mut self.is_drawn, true) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        lines.truncate(size().1.saturating_sub(1));
        let texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
        self.bar.set_message(texts.join("\n"));
    }

    /// Writes text, whole lines of it, above those that stand.
    pub(super) fn print(&self, text: &str) {
        // A closed stderr is no reason to stop deleting or recording.
        self.bar
            .suspend(|| drop(io::stderr().write_all(text.as_bytes())));
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        self.bar.finish_and_clear();
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
