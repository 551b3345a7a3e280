//! A row: the columns of the contract, and how cells are written.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use csv::ByteRecord;

use crate::outcome::{ErrorCode, Outcome, Purge, Status};
use crate::secret;
use crate::target::Origin;

/// The report's header; its first column makes a report valid input again.
pub(super) const HEADER: &str = "file_id,status,http_status,error,attempts,duration_ms,finished_at,request_id,line,input,message,url,purge,purge_request_id\n";

/// The most of a message that is kept, in characters.
const MESSAGE_CHARACTERS: usize = 300;

/// Writes one row, RFC 4180.
pub(super) fn write(row: &mut String, outcome: &Outcome) {
    cell(row, &outcome.file_id, Quote::Formula);
    let _ = write!(row, ",{},", outcome.status.as_str());
    if let Some(http_status) = outcome.http_status {
        let _ = write!(row, "{http_status}");
    }
    let error = outcome.error.map_or("", |error| error.as_str());
    let _ = write!(
        row,
        ",{error},{},{},{:.3},",
        outcome.attempts,
        outcome.duration.as_millis(),
        outcome.finished_at
    );
    cell(
        row,
        &one_line(outcome.request_id.as_deref().unwrap_or_default()),
        Quote::Needed,
    );
    let _ = write!(row, ",{},", outcome.origin.line);
    cell(row, &input(&outcome.origin.input), Quote::Needed);
    row.push(',');
    cell(
        row,
        &harmless(&one_line(outcome.message.as_deref().unwrap_or_default())),
        Quote::Needed,
    );
    row.push(',');
    cell(
        row,
        &harmless(outcome.origin.url.as_deref().unwrap_or_default()),
        Quote::Needed,
    );
    let purge = outcome.purge.map_or("", Purge::as_str);
    let _ = write!(row, ",{purge},");
    cell(
        row,
        &one_line(outcome.purge_request_id.as_deref().unwrap_or_default()),
        Quote::Needed,
    );
    row.push('\n');
}

/// Reads a row back; `None` if it is not one of ours. A formula's prefix stays, and so is written again.
pub(super) fn parse(record: &ByteRecord) -> Option<Outcome> {
    let cells: Vec<&str> = record
        .iter()
        .map(|cell| std::str::from_utf8(cell).ok())
        .collect::<Option<_>>()?;
    let [
        file_id,
        status,
        http_status,
        error,
        attempts,
        duration,
        finished_at,
        request_id,
        line,
        input,
        message,
        url,
        purge,
        purge_request_id,
    ] = cells.try_into().ok()?;
    let given = |cell: &str| (!cell.is_empty()).then(|| Box::from(cell));
    Some(Outcome {
        file_id: file_id.into(),
        origin: Origin {
            line: line.parse().ok()?,
            input: Arc::from(input),
            url: given(url),
        },
        status: Status::parse(status)?,
        http_status: http_status.parse().ok(),
        error: ErrorCode::parse(error),
        attempts: attempts.parse().ok()?,
        duration: Duration::from_millis(duration.parse().ok()?),
        finished_at: finished_at.parse().ok()?,
        request_id: given(request_id),
        message: given(message),
        purge: Purge::parse(purge),
        purge_request_id: given(purge_request_id),
    })
}

#[derive(Clone, Copy)]
enum Quote {
    /// Where RFC 4180 asks for it.
    Needed,
    /// Also where a spreadsheet would see a formula: an ID must stay exact, so this is all it can be given.
    Formula,
}

fn cell(row: &mut String, text: &str, quote: Quote) {
    let needs_quotes = text.contains(['"', ',', '\n', '\r'])
        || matches!(quote, Quote::Formula) && (starts_like_a_formula(text) || text.is_empty());
    if needs_quotes {
        row.push('"');
        row.push_str(&text.replace('"', "\"\""));
        row.push('"');
    } else {
        row.push_str(text);
    }
}

fn starts_like_a_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// The input's name; that of stdin is no formula.
fn input(name: &str) -> String {
    if name == "-" {
        name.to_owned()
    } else {
        harmless(name)
    }
}

/// A cell prefixed so that no spreadsheet runs it as a formula.
pub(crate) fn harmless(text: &str) -> String {
    if starts_like_a_formula(text) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// One line without control characters, cut.
fn one_line(text: &str) -> String {
    let text = secret::scrub(text);
    let words = text.chars().map(|character| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    });
    words
        .take(MESSAGE_CHARACTERS)
        .collect::<String>()
        .trim()
        .to_owned()
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
            message: Some("=no \"way\"\r\nat\u{1b}all".into()),
            purge: None,
            purge_request_id: None,
        }
    }

    fn written(outcome: &Outcome) -> String {
        let mut row = String::new();
        write(&mut row, outcome);
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
        let row = written(&Outcome {
            purge: Some(Purge::OverLimit),
            purge_request_id: Some("p-1".into()),
            ..outcome()
        });
        assert!(row.ends_with(",over_limit,p-1\n"), "{row}");
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(row.as_bytes());
        let mut record = ByteRecord::new();
        assert!(reader.read_byte_record(&mut record).unwrap());
        assert_eq!(written(&parse(&record).unwrap()), row);
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
}
