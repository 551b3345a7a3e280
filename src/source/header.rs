//! The header: whether there is one, and which columns matter.

use super::SourceError;
use super::parser::Parser;
use crate::target::looks_like_imagekit;

/// Names that say that a column holds file IDs, in order of preference, any case.
const ID_NAMES: [&str; 5] = ["fileId", "file_id", "fileid", "id", "_id"];

/// How inputs are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The column that holds the IDs; `None` finds it.
    pub column: Option<Column>,
    /// Whether a first line may be a header.
    pub header: Header,
    /// The character between cells; `None` is a comma, or a tab for `.tsv`.
    pub delimiter: Option<u8>,
}

/// A column as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// By its header's name, any case.
    Name(String),
    /// By its number from 1.
    Number(usize),
}

/// Whether a first line may be a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Found out for each input.
    Detect,
    /// There is none.
    None,
}

impl Options {
    pub(super) fn delimiter_for(&self, name: &str) -> u8 {
        let bare = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let is_tsv =
            bare.len() >= 4 && bare.as_bytes()[bare.len() - 4..].eq_ignore_ascii_case(b".tsv");
        self.delimiter.unwrap_or(if is_tsv { b'\t' } else { b',' })
    }
}

/// Which columns of an input matter, by index from 0.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) delimiter: u8,
    pub(super) has_header: bool,
    pub(super) id: usize,
    pub(super) url: Option<usize>,
    pub(super) kind: Option<usize>,
    /// The header's line and the ID column's name.
    header: Option<(u64, String)>,
    width: usize,
}

impl Layout {
    /// Reads the first record, and the second only where the first leaves it open, and leaves the
    /// parser behind the header.
    pub(super) fn detect(
        name: &str,
        parser: &mut Parser,
        options: &Options,
    ) -> Result<Self, SourceError> {
        let delimiter = options.delimiter_for(name);
        let Some(first) = parser.peek(0).map_err(|broken| broken.at(name))? else {
            return Ok(Self::of_nothing(delimiter));
        };
        let cells: Vec<String> = first
            .cells()
            .map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
            .collect();
        let line = first.line;
        let id = id_column(name, &cells, options)?;
        let has_header = match (options.header, &options.column) {
            (Header::None, _) => false,
            (Header::Detect, Some(Column::Name(_))) => true,
            (Header::Detect, _) => is_header(name, &cells[id], id, parser)?,
        };
        let find = |wanted: &str| {
            cells
                .iter()
                .position(|cell| cell.eq_ignore_ascii_case(wanted))
                .filter(|_| has_header)
        };
        let layout = Self {
            delimiter,
            has_header,
            id,
            url: find("url"),
            kind: find("type"),
            header: has_header.then(|| (line, cells[id].clone())),
            width: cells.len(),
        };
        if has_header {
            parser.next_row().map_err(|broken| broken.at(name))?;
        }
        Ok(layout)
    }

    fn of_nothing(delimiter: u8) -> Self {
        Self {
            delimiter,
            has_header: false,
            id: 0,
            url: None,
            kind: None,
            header: None,
            width: 0,
        }
    }

    /// What a person should know: which line was taken as the header, and which column is read.
    pub(super) fn notice(&self, name: &str) -> Option<String> {
        let name = if name == "-" { "stdin" } else { name };
        let column = self.id + 1;
        match &self.header {
            Some((line, title)) => Some(format!(
                "{name}: line {line} is the header; IDs are read from column {column} of {}, {title:?}",
                self.width
            )),
            None if self.width > 1 => Some(format!(
                "{name}: no header; IDs are read from column {column} of {}",
                self.width
            )),
            None if self.width == 1 => Some(format!("{name}: no header; an ID a line")),
            None => None,
        }
    }
}

fn id_column(name: &str, cells: &[String], options: &Options) -> Result<usize, SourceError> {
    let no_such = |column: &str| SourceError::NoSuchColumn {
        input: name.into(),
        column: column.into(),
        columns: cells.join(", "),
    };
    match &options.column {
        Some(Column::Number(number)) if *number <= cells.len() => Ok(number - 1),
        Some(Column::Number(number)) => Err(no_such(&number.to_string())),
        Some(Column::Name(wanted)) => {
            named(cells, wanted).ok_or_else(|| no_such(&format!("{wanted:?}")))
        }
        None => {
            let known = match options.header {
                Header::Detect => ID_NAMES.iter().find_map(|wanted| named(cells, wanted)),
                Header::None => None,
            };
            match (known, cells) {
                (Some(column), _) => Ok(column),
                (None, [only]) => check_delimiter(name, only).map(|()| 0),
                (None, _) => Err(SourceError::NoColumn {
                    input: name.into(),
                    columns: cells.join(", "),
                }),
            }
        }
    }
}

/// The column of this very name, or else of this name in any case.
fn named(cells: &[String], wanted: &str) -> Option<usize> {
    let exact = cells.iter().position(|cell| cell == wanted);
    exact.or_else(|| {
        cells
            .iter()
            .position(|cell| cell.eq_ignore_ascii_case(wanted))
    })
}

/// One column whose cell holds a known name between other separators is several columns misread.
fn check_delimiter(name: &str, cell: &str) -> Result<(), SourceError> {
    for (separator, words) in [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")] {
        let parts: Vec<&str> = cell
            .split(separator)
            .map(|part| part.trim_matches(['"', ' ']))
            .collect();
        let is_name = |part: &&str| {
            ID_NAMES
                .iter()
                .any(|known| known.eq_ignore_ascii_case(part))
        };
        if parts.len() > 1 && parts.iter().any(is_name) {
            return Err(SourceError::OtherDelimiter {
                input: name.into(),
                separator: words,
            });
        }
    }
    Ok(())
}

/// The contract's rule: a known name, or no ID, or not 24 hex digits while the next record's is.
fn is_header(
    name: &str,
    cell: &str,
    column: usize,
    parser: &mut Parser,
) -> Result<bool, SourceError> {
    if ID_NAMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(cell))
        || super::parse_id(cell.as_bytes()).is_err()
    {
        return Ok(true);
    }
    let is_hex = |cell: &str| looks_like_imagekit(&cell.to_ascii_lowercase());
    if is_hex(cell) {
        return Ok(false);
    }
    let second = parser.peek(1).map_err(|broken| broken.at(name))?;
    Ok(second.is_some_and(|row| is_hex(String::from_utf8_lossy(row.cell(column)).trim())))
}
