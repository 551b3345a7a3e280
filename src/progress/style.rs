//! Lines that change in place, made of spans of text in a style.
//!
//! The styles are of the terminal's own sixteen colours, those that are read on light and on dark alike; each span
//! says the same without its style.

use imagekit_bulk_delete::human::is_bidi_control;
use indicatif::ProgressStyle;

/// Between two spans on one line.
const GAP: &str = ", ";

/// Takes away what stands from the cursor's line on. Not from the first column, where tmux would keep it, as what a
/// cleared screen showed.
pub(super) const CLEAR: &str = "\r \x1b[J\r";

/// By so much more are lines indented that go on with the one before.
const INDENT: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Good,
    Bad,
    Notable,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Yes,
    No,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Span {
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::Plain)
    }

    /// The text in its style.
    pub(super) fn styled(&self, colours: Colours) -> String {
        let code = match (colours, self.style) {
            (Colours::No, _) | (_, Style::Plain) => return self.text.clone(),
            (Colours::Yes, Style::Good) => 32,
            (Colours::Yes, Style::Bad) => 31,
            (Colours::Yes, Style::Notable) => 35,
        };
        format!("\x1b[{code}m{}\x1b[0m", self.text)
    }
}

/// Puts spans side by side, on as many lines of `columns` as that takes. One that fits no line at all is cut.
pub(super) fn wrapped(spans: &[Span], columns: usize, colours: Colours) -> String {
    let mut text = String::new();
    let mut width = 0;
    for span in spans {
        let cut: String = span.text.chars().take(columns).collect();
        let more = cut.chars().count();
        if width > 0 && width + GAP.len() + more <= columns {
            text.push_str(GAP);
            width += GAP.len() + more;
        } else {
            text.push_str(if width > 0 { "\n" } else { "" });
            width = more;
        }
        text.push_str(&Span::new(cut, span.style).styled(colours));
    }
    text
}

/// Lines that change in place: a template for indicatif, from texts of our own that hold no braces. It clears what is
/// below and leaves the cursor where it began. The last line is filled up to the edge, or indicatif would fill it behind
/// the cursor.
pub(super) fn in_place(lines: &[String]) -> ProgressStyle {
    let lines = lines.join("\n");
    let back = match lines.matches('\n').count() {
        0 => String::new(),
        rows => format!("\x1b[{rows}A"),
    };
    ProgressStyle::with_template(&format!("\x1b[G{lines}{{wide_msg}}\x1b[J{back}\x1b[G"))
        .expect("its only keys are a bar and a message")
}

/// One line of words on a terminal `columns` wide.
pub(super) fn line_in_place(line: &str, columns: usize) -> ProgressStyle {
    in_place(&[line.chars().take(columns).collect()])
}

/// A line as it fits a terminal `columns` wide: broken between words only. What follows is indented further, so
/// that no name in it can pass for a line of its own.
pub(crate) fn broken(line: &str, columns: usize) -> String {
    let words = line.trim_start_matches(' ');
    let indent = line.len() - words.len();
    let mut broken = " ".repeat(indent);
    let mut column = indent;
    for (number, word) in words.split(' ').enumerate() {
        let width = width(word);
        if number > 0 && column + 1 + width > columns {
            broken.push('\n');
            column = indent + INDENT;
            broken.push_str(&" ".repeat(column));
        } else if number > 0 {
            broken.push(' ');
            column += 1;
        }
        broken.push_str(word);
        column += width;
    }
    broken
}

/// How many columns a word takes at the most.
fn width(word: &str) -> usize {
    let columns = |character: char| if character.is_ascii() { 1 } else { 2 };
    word.chars().map(columns).sum()
}

/// Text that came from outside, with nothing in it that would move the cursor, colour the screen or turn the
/// direction of writing.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            _ if character.is_control() || is_bidi_control(character) => {
                char::REPLACEMENT_CHARACTER
            }
            _ => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans() -> Vec<Span> {
        vec![
            Span::new("12 deleted", Style::Good),
            Span::plain("3 gone"),
            Span::new("1 failed", Style::Bad),
        ]
    }

    #[test]
    fn what_does_not_fit_goes_into_a_line_of_its_own() {
        let wide = wrapped(&spans(), 28, Colours::No);
        assert_eq!(wide, "12 deleted, 3 gone, 1 failed");
        let narrow = wrapped(&spans(), 27, Colours::No);
        assert_eq!(narrow, "12 deleted, 3 gone\n1 failed");
        let least = wrapped(&spans(), 6, Colours::No);
        assert_eq!(least, "12 del\n3 gone\n1 fail");
    }

    #[test]
    fn lines_break_between_words_only_at_any_width() {
        let text = "   Permanently delete the 1,500 files listed in \u{65e5}\u{672c}.csv from https://api.imagekit.io?";
        for columns in 1..120 {
            let broken = broken(text, columns);
            assert_eq!(broken.replace("\n     ", " "), text);
            for line in broken.lines() {
                let is_one_word = !line.trim().contains(' ');
                assert!(is_one_word || width(line) <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn style_takes_no_room() {
        let styled = wrapped(&spans(), 28, Colours::Yes);
        let expected = "\x1b[32m12 deleted\x1b[0m, 3 gone, \x1b[31m1 failed\x1b[0m";
        assert_eq!(styled, expected);
    }
}
