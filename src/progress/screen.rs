//! Lines that stand at the bottom of a terminal and change in place, and text that goes above them.
//!
//! All lines are one message of one of indicatif's bars, so that they change together.

use std::fmt::{self, Debug, Formatter};
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;

use super::canvas::Canvas;

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
    standing: Vec<Line>,
}

impl Debug for Screen {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Screen")
            .field("standing", &self.standing)
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
            standing: Vec::new(),
        }
    }
}

impl Screen {
    /// Puts these lines in place of those that stand.
    pub(super) fn show(&mut self, mut lines: Vec<Line>) {
        lines.truncate(size().1.saturating_sub(1));
        if lines == self.standing {
            return;
        }
        if self.bar.is_hidden() {
            let canvas = ProgressDrawTarget::term_like(Box::<Canvas>::default());
            self.bar.set_draw_target(canvas);
        }
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        self.bar.set_message(texts.join("\n"));
        self.standing = lines;
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
        self.standing.clear();
    }
}

/// How many columns a line may have: one less than there are, as the last one is where terminals differ.
pub(super) fn columns() -> usize {
    size().0.saturating_sub(1)
}

/// Columns and rows.
pub(super) fn size() -> (usize, usize) {
    let told = tcgetwinsize(io::stderr()).ok();
    let or =
        |told: Option<u16>, usual: usize| told.filter(|told| *told > 0).map_or(usual, usize::from);
    (
        or(told.map(|size| size.ws_col), COLUMNS),
        or(told.map(|size| size.ws_row), ROWS),
    )
}
