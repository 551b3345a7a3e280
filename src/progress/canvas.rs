//! The terminal as indicatif draws on it: every change is one write, and the cursor rests below the lines.
//!
//! By itself indicatif fills the last line up to the edge and leaves the cursor there: the `^C` that a terminal
//! echoes breaks into the next line then, and the first line of the bar stays on the screen for good. Here the
//! cursor rests on a line of its own; what is echoed there is gone with the next change.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use super::screen::size;

/// Clears the line on which the cursor rests, and goes up to the last line of the bar.
const BACK_UP: &str = "\r\x1b[K\x1b[1A";

/// Ends a line of the bar: what stood behind it goes.
const END_LINE: &str = "\x1b[K\n";

/// Where the lines are drawn.
#[derive(Debug, Default)]
pub(super) struct Canvas(Mutex<Change>);

/// What is drawn and not yet written.
#[derive(Debug, Default)]
struct Change {
    text: String,
    /// The cursor rests below the lines that stand.
    is_below: bool,
    has_lines: bool,
    /// indicatif writes each line and then what fills it up to the edge.
    is_filler_next: bool,
}

impl Canvas {
    fn change(&self) -> MutexGuard<'_, Change> {
        let mut change = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut change.is_below) {
            change.text.push_str(BACK_UP);
        }
        change
    }

    fn push(&self, text: &str) {
        self.change().text.push_str(text);
    }

    fn move_cursor(&self, cells: usize, direction: char) {
        if cells > 0 {
            self.push(&format!("\x1b[{cells}{direction}"));
        }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        u16::try_from(size().0).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from(size().1).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.move_cursor(lines, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.move_cursor(lines, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.move_cursor(columns, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.move_cursor(columns, 'D');
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.push(line);
        self.push("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut change = self.change();
        if std::mem::take(&mut change.is_filler_next) {
            change.text.push_str(END_LINE);
            change.has_lines = true;
        } else {
            change.text.push_str(text);
            change.is_filler_next = text != "\r";
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut change = self.change();
        change.is_below = std::mem::take(&mut change.has_lines);
        let text = std::mem::take(&mut change.text);
        drop(change);
        // A closed stderr is no reason to stop deleting or recording.
        drop(io::stderr().write_all(text.as_bytes()));
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn drawn(canvas: &Canvas) -> String {
        canvas.0.lock().unwrap().text.clone()
    }

    #[test]
    fn the_cursor_rests_below_and_comes_back_up_with_the_next_change() {
        let canvas = Canvas::default();
        for text in ["one", "   ", "two", "   "] {
            canvas.write_str(text).unwrap();
        }
        assert_eq!(drawn(&canvas), "one\x1b[K\ntwo\x1b[K\n");
        canvas.flush().unwrap();
        canvas.move_cursor_up(1).unwrap();
        canvas.clear_line().unwrap();
        assert_eq!(drawn(&canvas), "\r\x1b[K\x1b[1A\x1b[1A\r\x1b[2K");
        canvas.flush().unwrap();
        canvas.move_cursor_up(0).unwrap();
        assert_eq!(drawn(&canvas), "", "nothing stands any more");
    }
}
