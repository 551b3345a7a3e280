//! A row: the columns of the contract, and the one way in which it is written and read back.
//!
//! Reading is strict, since a report that is not as it was written must not be trusted: csv's reader takes a stray
//! quote for text, and drops a BOM wherever it is made to begin.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::human::is_bidi_control;
use crate::outcome::{ErrorCode, Outcome, Purge, REHEARSAL_PREFIX, Status};
use crate::secret;
use crate::target::{FileId, Origin, looks_like_imagekit};

/// The report's header; its first column makes a report valid input again.
pub(super) const HEADER: &str = "file_id,status,http_status,error,attempts,duration_ms,finished_at,request_id,line,input,message,url,purge,purge_request_id\n";

/// How many columns that are.
const COLUMNS: usize = 14;

/// The most of a message that is kept, in characters.
const MESSAGE_CHARACTERS: usize = 300;

/// Cells that a row may have in common with the one before.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// By millisecond.
    time: CachedCell<i64>,
    request_id: CachedCell<Arc<str>>,
    input: CachedCell<Arc<str>>,
}

/// A cell as it is written, kept for the rows of the same content.
#[derive(Debug, Default)]
struct CachedCell<T> {
    content: Option<T>,
    cell: String,
}

impl<T: Clone + PartialEq> CachedCell<T> {
    fn cell(&mut self, content: &T, write: impl FnOnce(&mut String)) -> &str {
        if self.content.as_ref() != Some(content) {
            self.content = Some(content.clone());
            self.cell.clear();
            write(&mut self.cell);
        }
        &self.cell
    }
}

/// Writes one row, RFC 4180.
pub(super) fn write(row: &mut String, outcome: &Outcome, common: &mut Common) {
    let mut digits = itoa::Buffer::new();
    let error = outcome.error.map_or("", |error| error.as_str());
    let (http_status, time) = (outcome.http_status, outcome.finished_at);
    let input = &outcome.origin.input;
    cell(row, &outcome.file_id, Quote::Formula);
    word(row, outcome.status.as_str());
    word(row, http_status.map_or("", |status| digits.format(status)));
    word(row, error);
    word(row, digits.format(outcome.attempts));
    word(row, digits.format(outcome.duration.as_millis()));
    let write_time = |cell: &mut String| *cell = format!("{time:.3}");
    word(row, common.time.cell(&time.as_millisecond(), write_time));
    let request_id = match &outcome.request_id {
        Some(id) => common.request_id.cell(id, |cell| words(cell, id)),
        None => "",
    };
    word(row, request_id);
    word(row, digits.format(outcome.origin.line));
    word(row, common.input.cell(input, |cell| name(cell, input)));
    row.push(',');
    words(row, outcome.message.as_deref().unwrap_or_default());
    row.push(',');
    let url = outcome.origin.url.as_deref().unwrap_or_default();
    cell(row, &escape_formula(url), Quote::Needed);
    word(row, outcome.purge.map_or("", Purge::as_str));
    row.push(',');
    words(row, outcome.purge_request_id.as_deref().unwrap_or_default());
    row.push('\n');
}

/// A cell of one line of text.
fn words(row: &mut String, text: &str) {
    if !text.is_empty() {
        cell(row, &escape_formula(&one_line(text)), Quote::Needed);
    }
}

/// A further cell that needs no quotes.
fn word(row: &mut String, word: &str) {
    row.push(',');
    row.push_str(word);
}

/// A row's cells, as they stand in the file; room that is used again for each row.
#[derive(Debug, Default)]
pub(super) struct Cells {
    text: String,
    /// How many bytes the ID's cell takes in the row, its quotes included.
    id_taken: usize,
    /// Where each cell begins and ends in the text.
    places: [(usize, usize); COLUMNS],
    status: Option<Status>,
    purge: Option<Purge>,
}

/// Why a row's bytes are no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRow {
    /// A quote is open at their end: more lines may belong to it.
    Open,
    /// Whatever follows, they are none of ours.
    Wrong,
}

impl Cells {
    /// Reads one row, its line break included, exactly as [`write`](write()) writes it: anything else is not ours.
    pub(super) fn read(&mut self, row: &[u8]) -> Result<Row<'_>, NoRow> {
        let text = std::str::from_utf8(row).map_err(|_| NoRow::Wrong)?;
        if !self.split(text) {
            self.split_quoted(text)?;
        }
        self.status = Status::parse(self.cell_at(1));
        self.purge = Purge::parse(self.cell_at(12));
        let row = self.row();
        if row.is_ours() {
            Ok(row)
        } else {
            Err(NoRow::Wrong)
        }
    }

    /// The row that was read last, if that went well.
    pub(super) fn row(&self) -> Row<'_> {
        Row { cells: self }
    }

    /// The bytes of the row that was read last, as they were before a BOM was put into its ID's cell.
    pub(super) fn without_bom(&self, row: &[u8]) -> Vec<u8> {
        let mut without = String::new();
        cell(&mut without, self.row().file_id(), Quote::Formula);
        let mut without = without.into_bytes();
        without.extend_from_slice(row.get(self.id_taken..).unwrap_or_default());
        without
    }

    /// The cells, as far as they go, of bytes that are no whole row.
    pub(super) fn read_torn(&mut self, row: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(row);
        let (mut rest, mut cells) = (&*text, Vec::new());
        while cells.len() < COLUMNS {
            self.text.clear();
            let Ok(after) = self.cell(rest) else { break };
            cells.push(self.text.clone());
            let Some(next) = rest[after..].strip_prefix(',') else {
                break;
            };
            rest = next;
        }
        cells
    }

    /// Splits a row whose cells stand as they are, as those of most do; whether it is one.
    fn split(&mut self, row: &str) -> bool {
        let mut begin = 0;
        for (column, place) in self.places.iter_mut().enumerate() {
            let rest = &row.as_bytes()[begin..];
            let ends = |byte: &u8| matches!(byte, b',' | b'"' | b'\n');
            let Some(len) = rest.iter().position(ends) else {
                return false;
            };
            if rest[len] != separator(column) {
                return false;
            }
            *place = (begin, begin + len);
            begin += len + 1;
        }
        self.text.clear();
        self.text.push_str(row);
        self.id_taken = self.places[0].1;
        begin == row.len()
    }

    fn split_quoted(&mut self, row: &str) -> Result<(), NoRow> {
        self.text.clear();
        let mut rest = row;
        for column in 0..COLUMNS {
            let begin = self.text.len();
            let after = self.cell(rest)?;
            self.places[column] = (begin, self.text.len());
            if column == 0 {
                self.id_taken = after;
            }
            let separator = char::from(separator(column));
            rest = rest[after..].strip_prefix(separator).ok_or(NoRow::Wrong)?;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(NoRow::Wrong)
        }
    }

    /// Takes one cell off the front; how many bytes it took there.
    fn cell(&mut self, row: &str) -> Result<usize, NoRow> {
        let Some(quoted) = row.strip_prefix('"') else {
            let ends = |byte: &u8| matches!(byte, b',' | b'"' | b'\n');
            let end = row.as_bytes().iter().position(ends).unwrap_or(row.len());
            self.text.push_str(&row[..end]);
            return Ok(end);
        };
        let (mut rest, mut taken) = (quoted, 1);
        loop {
            let end = rest.find('"').ok_or(NoRow::Open)?;
            self.text.push_str(&rest[..end]);
            taken += end + 1;
            rest = &rest[end + 1..];
            let Some(more) = rest.strip_prefix('"') else {
                return Ok(taken);
            };
            self.text.push('"');
            taken += 1;
            rest = more;
        }
    }

    fn cell_at(&self, column: usize) -> &str {
        let (begin, end) = self.places[column];
        &self.text[begin..end]
    }
}

/// One row of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    cells: &'a Cells,
}

impl<'a> Row<'a> {
    /// The ID; a BOM that somebody put around it is no part of it.
    pub(super) fn file_id(self) -> &'a str {
        self.cells.cell_at(0).trim_matches('\u{feff}')
    }

    /// Whether there is such a BOM.
    pub(super) fn has_bom(self) -> bool {
        self.cells.cell_at(0).len() > self.file_id().len()
    }

    pub(super) fn status(self) -> Status {
        // A row without one is none of ours.
        self.cells.status.unwrap_or(Status::Unknown)
    }

    pub(super) fn purge(self) -> Option<Purge> {
        self.cells.purge
    }

    /// The `url` cell.
    pub(super) fn url(self) -> Option<&'a str> {
        Some(self.cells.cell_at(11)).filter(|url| !url.is_empty())
    }

    /// Whether the sandbox answered for it.
    pub(super) fn is_of_a_rehearsal(self) -> bool {
        self.cells.cell_at(7).starts_with(REHEARSAL_PREFIX)
    }

    fn is_ours(self) -> bool {
        let cell = |column| self.cells.cell_at(column);
        let is_number =
            |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        let is_time = |cell: &str| {
            const SHAPE: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
            let is_like = |(byte, like): (&u8, &u8)| match like {
                b'0' => byte.is_ascii_digit(),
                like => byte == like,
            };
            // Without an early end, so that many bytes are compared at once.
            let bytes = <&[u8; 24]>::try_from(cell.as_bytes());
            bytes.is_ok_and(|bytes| {
                bytes
                    .iter()
                    .zip(SHAPE)
                    .fold(true, |all, byte| all & is_like(byte))
            })
        };
        let Some(status) = self.cells.status else {
            return false;
        };
        let has_possible_id = !status.is_own()
            || looks_like_imagekit(self.file_id())
            || FileId::parse(self.file_id()).is_ok();
        has_possible_id
            && (cell(2).is_empty() || cell(2).len() == 3 && is_number(cell(2)))
            && (cell(3).is_empty() || ErrorCode::parse(cell(3)).is_some())
            && is_number(cell(4))
            && is_number(cell(5))
            && is_time(cell(6))
            && is_number(cell(8))
            && (cell(12).is_empty() || self.cells.purge.is_some())
            && [7, 10, 13]
                .iter()
                .all(|column| !cell(*column).bytes().any(|byte| byte < b' '))
    }

    /// All of it; `None` where a number or a time cannot be. A formula's prefix stays, and so is written again.
    pub(super) fn outcome(self) -> Option<Outcome> {
        let cell = |column| self.cells.cell_at(column);
        let given = |column| {
            Some(cell(column))
                .filter(|cell| !cell.is_empty())
                .map(Box::from)
        };
        Some(Outcome {
            file_id: self.file_id().into(),
            origin: Origin {
                line: cell(8).parse().ok()?,
                input: Arc::from(cell(9)),
                url: given(11),
            },
            status: self.status(),
            http_status: cell(2).parse().ok(),
            error: ErrorCode::parse(cell(3)),
            attempts: cell(4).parse().ok()?,
            duration: Duration::from_millis(cell(5).parse().ok()?),
            finished_at: cell(6).parse().ok()?,
            request_id: given(7).map(Arc::from),
            message: given(10),
            purge: self.purge(),
            purge_request_id: given(13),
        })
    }
}

/// What stands behind a cell.
const fn separator(column: usize) -> u8 {
    if column + 1 < COLUMNS { b',' } else { b'\n' }
}

#[derive(Clone, Copy)]
enum Quote {
    /// Where RFC 4180 asks for it.
    Needed,
    /// Also where a spreadsheet would see a formula: an ID must stay exact, so this is all it can be given.
    Formula,
}

/// Adds a cell, quoted where it must be.
fn cell(row: &mut String, text: &str, quote: Quote) {
    let needs_quotes = has_any(text, |byte| matches!(byte, b'"' | b',' | b'\n' | b'\r'))
        || matches!(quote, Quote::Formula) && (starts_like_a_formula(text) || text.is_empty());
    if needs_quotes {
        row.push('"');
        row.push_str(&text.replace('"', "\"\""));
        row.push('"');
    } else {
        row.push_str(text);
    }
}

/// Whether a text has such a byte. Without an early end, so that many bytes are compared at once.
fn has_any(text: &str, is_such: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |any, byte| any | is_such(byte))
}

fn starts_like_a_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// The input's name; that of stdin is no formula.
fn name(row: &mut String, name: &str) {
    let is_stdin = name == "-";
    let name = if is_stdin {
        name.into()
    } else {
        escape_formula(name)
    };
    cell(row, &name, Quote::Needed);
}

/// A cell prefixed so that no spreadsheet runs it as a formula.
pub(crate) fn escape_formula(text: &str) -> Cow<'_, str> {
    if starts_like_a_formula(text) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

/// One line without control and bidi characters, cut; a formula's prefix does not count, so that a message which is read
/// back stays as it is.
fn one_line(text: &str) -> Cow<'_, str> {
    let is_plain = !has_any(text, |byte| !matches!(byte, b' '..=b'~'));
    let visible: Cow<'_, str> = if is_plain {
        text.into()
    } else {
        let characters = text.chars();
        let visible = characters.filter(|character| !is_bidi_control(*character));
        let visible = visible.map(|character| match character {
            control if control.is_control() => ' ',
            character => character,
        });
        Cow::Owned(visible.collect())
    };
    // Only now: a key that invisible characters divide is a key once they are gone.
    let scrubbed = secret::scrub(&visible);
    if let (Cow::Borrowed(_), true) = (&scrubbed, is_plain && text.len() <= MESSAGE_CHARACTERS) {
        return text.trim().into();
    }
    let mut words: String = scrubbed.chars().take(MESSAGE_CHARACTERS + 1).collect();
    let is_prefixed = words.strip_prefix('\'').is_some_and(starts_like_a_formula);
    let most = MESSAGE_CHARACTERS + usize::from(is_prefixed);
    if let Some((cut, _)) = words.char_indices().nth(most) {
        words.truncate(cut);
    }
    words.trim().to_owned().into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            file_id: "5f".into(),
            origin: Origin {
                line: 7,
                input: Arc::from("a,b.csv"),
                url: Some("=x".into()),
            },
            status: Status::Failed,
            http_status: Some(400),
            error: Some(ErrorCode::Rejected),
            attempts: 2,
            duration: Duration::from_micros(1_234_567),
            finished_at: Timestamp::from_millisecond(1_764_000_000_007).unwrap(),
            request_id: Some("r-1".into()),
            message: Some("=no \"way\"\r\nat\u{1b}\u{202e}all".into()),
            purge: None,
            purge_request_id: None,
        }
    }

    fn written(outcome: &Outcome) -> String {
        let mut row = String::new();
        write(&mut row, outcome, &mut Common::default());
        row
    }

    #[test]
    fn a_row_has_the_contracts_columns() {
        let expected = "5f,failed,400,rejected,2,1234,2025-11-24T16:00:00.007Z,r-1,7,\"a,b.csv\",\
                        \"'=no \"\"way\"\"  at all\",'=x,,\n";
        assert_eq!(written(&outcome()), expected);
        assert_eq!(HEADER.split(',').count(), 14);
    }

    #[test]
    fn a_row_that_is_read_back_is_written_the_same() {
        for (id, message) in [
            ("5f", "=no".to_owned()),
            ("=5f", format!("={}", "x".repeat(400))),
            ("5f", format!("={}", "é".repeat(299))),
            ("5f", format!("'={}", "x".repeat(400))),
            ("5f", format!("'{}", "x".repeat(400))),
            ("5f", format!(" ={}", "x".repeat(400))),
            ("=5\"f", format!("-{} x", "x".repeat(298))),
        ] {
            let row = written(&Outcome {
                file_id: id.into(),
                message: Some(message.into()),
                purge: Some(Purge::OverLimit),
                purge_request_id: Some("p-1".into()),
                ..outcome()
            });
            assert!(row.ends_with(",over_limit,p-1\n"), "{row}");
            let mut cells = Cells::default();
            let read = cells.read(row.as_bytes()).unwrap();
            assert_eq!(written(&read.outcome().unwrap()), row);
            let id = id.replace('"', "\"\"");
            let with_bom = row.replacen(&id, &format!("\u{feff}{id}\u{feff}"), 1);
            assert!(cells.read(with_bom.as_bytes()).unwrap().has_bom());
            let without = cells.without_bom(with_bom.as_bytes());
            assert_eq!(String::from_utf8(without).unwrap(), row);
        }
    }

    #[test]
    fn an_id_stays_exact_and_is_quoted_where_it_looks_like_a_formula() {
        for (id, cell) in [
            ("=1", "\"=1\""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("", "\"\""),
            ("a\nb", "\"a\nb\""),
        ] {
            let row = written(&Outcome {
                file_id: id.into(),
                ..outcome()
            });
            assert!(row.starts_with(&format!("{cell},failed")), "{row}");
        }
    }

    #[test]
    fn a_message_is_cut_at_300_characters_not_counting_the_prefix() {
        let row = written(&Outcome {
            message: Some(format!("={}", "é".repeat(400)).into()),
            ..outcome()
        });
        assert!(row.contains(&format!("'={},", "é".repeat(299))), "{row}");
    }

    #[test]
    fn what_csv_would_forgive_is_no_row() {
        let row = written(&Outcome {
            file_id: "a\"b,\nc".into(),
            status: Status::Invalid,
            ..outcome()
        });
        let mut cells = Cells::default();
        assert_eq!(cells.read(row.as_bytes()).unwrap().file_id(), "a\"b,\nc");
        for cut in 0..row.len() {
            assert!(cells.read(&row.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
        let plain = written(&outcome());
        for strange in [
            format!("\"{plain}"),
            plain.replacen("5f", "5\"f", 1),
            plain.replacen("5f", "\"5f\"x", 1),
            plain.replacen(",failed", ",faild", 1),
            plain.replacen(",2,", ",,", 1),
            plain.replacen(",,\n", ",\n", 1),
            plain.replacen(",,\n", ",,\r\n", 1),
            plain.replacen("5f", "5 f", 1),
            plain.replacen("5f", "5\0f", 1),
        ] {
            assert_ne!(strange, plain);
            assert!(cells.read(strange.as_bytes()).is_err(), "{strange:?}");
        }
        let with_bom = plain.replacen("5f", "5f\u{feff}", 1);
        assert_eq!(cells.read(with_bom.as_bytes()).unwrap().file_id(), "5f");
    }

    #[test]
    fn a_key_that_invisible_characters_divide_is_none_in_a_message() {
        for divided in [
            "priv\u{202e}ate_independent+Key/123",
            "private_in\u{2066}dep",
        ] {
            assert!(!one_line(divided).contains("dep"), "{}", one_line(divided));
        }
    }
}
