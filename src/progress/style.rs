//! Spans of text in a style, laid out in lines of a terminal.
//!
//! The styles are of the terminal's own sixteen colours, those that are read on light and on dark alike; each span
//! says the same without its style.

use super::terminal::Line;

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

    fn width(&self) -> usize {
        self.text.chars().count()
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

/// Puts spans side by side; where they do not fit, those at the end are left out.
pub(super) fn one_line(spans: &[Span], gap: &str, columns: usize, colours: Colours) -> Line {
    let mut line = Line::default();
    for span in spans {
        if !push(&mut line, span, gap, columns, colours) {
            break;
        }
    }
    line
}

/// Puts spans side by side, in as many lines as that takes.
pub(super) fn lines(spans: &[Span], gap: &str, columns: usize, colours: Colours) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    for span in spans {
        let last = lines.len() - 1;
        if !push(&mut lines[last], span, gap, columns, colours) {
            let mut line = Line::default();
            push(&mut line, span, gap, columns, colours);
            lines.push(line);
        }
    }
    lines.retain(|line| line.width > 0);
    lines
}

/// False where it does not fit. One that fits no line at all is cut.
fn push(line: &mut Line, span: &Span, gap: &str, columns: usize, colours: Colours) -> bool {
    let gap = if line.width == 0 { "" } else { gap };
    let width = line.width + gap.len() + span.width();
    if width > columns && line.width > 0 {
        return false;
    }
    let cut = Span::new(
        span.text.chars().take(columns).collect::<String>(),
        span.style,
    );
    line.width = width.min(columns);
    line.text.push_str(gap);
    line.text.push_str(&cut.styled(colours));
    true
}

/// Text that came from outside, with nothing in it that would move the cursor, colour the screen or turn the
/// direction of writing.
pub(crate) fn sanitize(text: &str) -> String {
    let turns = |character| matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
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

    fn spans() -> Vec<Span> {
        vec![
            Span::new("12 deleted", Style::Good),
            Span::plain("3 gone"),
            Span::new("1 failed", Style::Bad),
        ]
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn what_does_not_fit_goes_into_a_line_of_its_own_or_is_left_out() {
        let wide = lines(&spans(), ", ", 80, Colours::No);
        assert_eq!(texts(&wide), ["12 deleted, 3 gone, 1 failed"]);
        let narrow = lines(&spans(), ", ", 20, Colours::No);
        assert_eq!(texts(&narrow), ["12 deleted, 3 gone", "1 failed"]);
        let least = lines(&spans(), ", ", 6, Colours::No);
        assert_eq!(texts(&least), ["12 del", "3 gone", "1 fail"]);
        let line = one_line(&spans(), "  ", 20, Colours::No);
        assert_eq!((line.text.as_str(), line.width), ("12 deleted  3 gone", 18));
    }

    #[test]
    fn style_takes_no_room() {
        let styled_line = one_line(&spans(), ", ", 80, Colours::Yes);
        let plain = one_line(&spans(), ", ", 80, Colours::No);
        assert_eq!(styled_line.width, plain.width);
        assert!(
            styled_line
                .text
                .starts_with("\x1b[32m12 deleted\x1b[0m, 3 gone")
        );
    }
}
