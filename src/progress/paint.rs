//! Pieces of text in ink, laid out in lines of a terminal.
//!
//! The inks are of the terminal's own sixteen colours, those that are read on light and on dark alike; each piece
//! says the same without its ink.

use super::screen::Line;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
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
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) ink: Ink,
}

impl Piece {
    pub(super) fn new(text: impl Into<String>, ink: Ink) -> Self {
        Self {
            text: text.into(),
            ink,
        }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Ink::Plain)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// The text in its ink.
    pub(super) fn painted(&self, colours: Colours) -> String {
        let code = match (colours, self.ink) {
            (Colours::No, _) | (_, Ink::Plain) => return self.text.clone(),
            (Colours::Yes, Ink::Good) => 32,
            (Colours::Yes, Ink::Bad) => 31,
            (Colours::Yes, Ink::Notable) => 35,
        };
        format!("\x1b[{code}m{}\x1b[0m", self.text)
    }
}

/// Puts pieces side by side; where they do not fit, those at the end are left out.
pub(super) fn one_line(pieces: &[Piece], gap: &str, columns: usize, colours: Colours) -> Line {
    let mut line = Line::default();
    for piece in pieces {
        if !push(&mut line, piece, gap, columns, colours) {
            break;
        }
    }
    line
}

/// Puts pieces side by side, in as many lines as that takes.
pub(super) fn lines(pieces: &[Piece], gap: &str, columns: usize, colours: Colours) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    for piece in pieces {
        let last = lines.len() - 1;
        if !push(&mut lines[last], piece, gap, columns, colours) {
            let mut line = Line::default();
            push(&mut line, piece, gap, columns, colours);
            lines.push(line);
        }
    }
    lines.retain(|line| line.width > 0);
    lines
}

/// False where it does not fit. One that fits no line at all is cut.
fn push(line: &mut Line, piece: &Piece, gap: &str, columns: usize, colours: Colours) -> bool {
    let gap = if line.width == 0 { "" } else { gap };
    let width = line.width + gap.len() + piece.width();
    if width > columns && line.width > 0 {
        return false;
    }
    let cut = Piece::new(
        piece.text.chars().take(columns).collect::<String>(),
        piece.ink,
    );
    line.width = width.min(columns);
    line.text.push_str(gap);
    line.text.push_str(&cut.painted(colours));
    true
}

/// Text that came from outside, with nothing in it that would move the cursor, colour the screen or turn the
/// direction of writing.
pub(super) fn tame(text: &str) -> String {
    let turns = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            _ if character.is_control() || turns(character) => char::REPLACEMENT_CHARACTER,
            _ => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Vec<Piece> {
        vec![
            Piece::new("12 deleted", Ink::Good),
            Piece::plain("3 gone"),
            Piece::new("1 failed", Ink::Bad),
        ]
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn what_does_not_fit_goes_into_a_line_of_its_own_or_is_left_out() {
        let wide = lines(&pieces(), ", ", 80, Colours::No);
        assert_eq!(texts(&wide), ["12 deleted, 3 gone, 1 failed"]);
        let narrow = lines(&pieces(), ", ", 20, Colours::No);
        assert_eq!(texts(&narrow), ["12 deleted, 3 gone", "1 failed"]);
        let least = lines(&pieces(), ", ", 6, Colours::No);
        assert_eq!(texts(&least), ["12 del", "3 gone", "1 fail"]);
        let line = one_line(&pieces(), "  ", 20, Colours::No);
        assert_eq!((line.text.as_str(), line.width), ("12 deleted  3 gone", 18));
    }

    #[test]
    fn ink_takes_no_room() {
        let inked = one_line(&pieces(), ", ", 80, Colours::Yes);
        let plain = one_line(&pieces(), ", ", 80, Colours::No);
        assert_eq!(inked.width, plain.width);
        assert!(inked.text.starts_with("\x1b[32m12 deleted\x1b[0m, 3 gone"));
    }
}
