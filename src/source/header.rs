//! The header: whether there is one, and which columns matter.

use std::fmt;

use super::SourceError;
use super::parser::{Broken, Parser, Row};
use crate::target::{FileId, clean, is_hex_id, looks_like_imagekit};

/// Names that say that a column holds file IDs, in order of preference, any case.
const ID_NAMES: [&str; 5] = ["fileId", "file_id", "fileid", "id", "_id"];

/// Delimiters that have a name.
pub const DELIMITERS: [(u8, &str); 4] = [
    (b',', "comma"),
    (b';', "semicolon"),
    (b'\t', "tab"),
    (b'|', "pipe"),
];

/// How inputs are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The column that holds the IDs; `None` finds it.
    pub column: Option<Column>,
    /// Whether a first line may be a header.
    pub header: Header,
    /// The character between cells; `None` finds it.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// Found out for each input.
    #[default]
    Detect,
    /// There is none.
    None,
}

/// How many records are looked at to tell whether the column is right.
const LOOKED_AT: u64 = 1000;

/// How many bytes are kept while they are looked at.
const MAX_KEPT: usize = 2 * 1024 * 1024;

/// Which columns of an input matter, by index from 0.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) delimiter: u8,
    pub(super) id: usize,
    pub(super) url: Option<usize>,
    pub(super) kind: Option<usize>,
    /// The first record, whether it is a header or not.
    first: FirstRow,
    has_header: bool,
    /// The first line as it stands, where it tells the delimiter.
    sep_line: Option<Box<[u8]>>,
    is_delimiter_found: bool,
}

#[derive(Debug, Default)]
struct FirstRow {
    line: u64,
    cells: Vec<Box<[u8]>>,
}

/// Whether more of an input can be waited for before its first record is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A file: all of it is there.
    Free,
    /// A pipe: whoever writes it may take its time.
    MayBlock,
}

impl Layout {
    /// Reads as many records as it takes to tell, and leaves the parser behind the header.
    pub(super) fn detect(
        name: &str,
        parser: &mut Parser,
        options: &Options,
        ahead: Ahead,
    ) -> Result<Self, SourceError> {
        let broken = |broken: Broken| broken.at_open(name);
        let mut layout = Self::with_delimiter(name, parser, options).map_err(broken)?;
        parser.delimiter = layout.delimiter;
        let mark = parser.mark();
        if layout.sep_line.is_some() {
            parser.next_row().map_err(broken)?;
        }
        if let Some(first) = parser.next_row().map_err(broken)? {
            layout.first = FirstRow::of(&first);
            let titles = layout.first.titles();
            layout.id = id_column(name, &titles, options)?;
            let id = &titles[layout.id];
            let is_header = match (options.header, &options.column) {
                (Header::None, _) => false,
                (Header::Detect, Some(Column::Name(_))) => true,
                (Header::Detect, _) if is_id_name(id) => true,
                (Header::Detect, _) if !may_be_header(id) && FileId::parse(id).is_ok() => false,
                (Header::Detect, column) => {
                    let second = parser.next_row().map_err(broken)?;
                    let second = second.map(|row| clean(row.cell(layout.id)));
                    if second.is_none() && column.is_none() && FileId::parse(id).is_err() {
                        let text: String = id.chars().take(80).collect();
                        return Err(SourceError::Unusable(format!(
                            "{name} has only one line, and it is not an ID: {text:?}; give a CSV file, or one ID per line"
                        )));
                    }
                    may_be_header(id) && second.is_some_and(|id| is_hex_id(&id))
                }
            };
            if is_header {
                layout.url = named(&titles, "url");
                layout.kind = named(&titles, "type");
                layout.has_header = true;
            }
        }
        parser.rewind(mark);
        layout.skip_header(parser).map_err(broken)?;
        layout.check_column(name, parser, ahead)?;
        Ok(layout)
    }

    fn with_delimiter(name: &str, parser: &mut Parser, options: &Options) -> Result<Self, Broken> {
        let default = if is_tsv(name) { b'\t' } else { b',' };
        parser.delimiter = options.delimiter.unwrap_or(default);
        let mark = parser.mark();
        let first = parser.next_row()?.map(|row| row.raw);
        let sep = first.and_then(sep_of);
        let sep_line = sep.and(first).map(Box::from);
        let found = match options.delimiter {
            Some(_) => None,
            None if sep.is_some() => sep,
            None if is_tsv(name) => None,
            None => first.and_then(delimiter_of),
        };
        parser.rewind(mark);
        Ok(Self {
            delimiter: options.delimiter.or(found).unwrap_or(default),
            id: 0,
            url: None,
            kind: None,
            first: FirstRow::default(),
            has_header: false,
            sep_line,
            is_delimiter_found: found.is_some(),
        })
    }

    /// Leaves a parser that stands at the beginning behind the header.
    pub(super) fn skip_header(&self, parser: &mut Parser) -> Result<(), Broken> {
        for _ in 0..usize::from(self.sep_line.is_some()) + usize::from(self.has_header) {
            parser.next_row()?;
        }
        Ok(())
    }

    /// Whether a record is the header once more, as in files that were joined.
    pub(super) fn is_header_again(&self, row: &Row<'_>, id: &[u8]) -> bool {
        let header = &self.first.cells;
        let is_header = self.has_header
            && *header[self.id] == *id
            && header.iter().map(|cell| &**cell).eq(row.cells());
        is_header || self.sep_line.as_deref() == Some(row.raw)
    }

    /// Refuses a column none of whose first IDs looks like one, where another column's do.
    fn check_column(
        &self,
        name: &str,
        parser: &mut Parser,
        ahead: Ahead,
    ) -> Result<(), SourceError> {
        if self.first.cells.len() < 2 {
            return Ok(());
        }
        let mark = parser.mark();
        let mut counts = vec![0_u64; self.first.cells.len()];
        let mut is_right = false;
        for _ in 0..LOOKED_AT {
            let is_suspicious = counts.iter().any(|count| *count > 0);
            let is_waiting = !is_suspicious && ahead == Ahead::MayBlock && parser.would_block();
            if is_waiting || parser.kept() > MAX_KEPT {
                break;
            }
            // What breaks here breaks again when it is read in earnest.
            let Ok(Some(row)) = parser.next_row() else {
                break;
            };
            is_right |= looks_like_imagekit(&clean(row.cell(self.id)));
            if is_right {
                break;
            }
            for (count, cell) in counts.iter_mut().zip(row.cells()) {
                *count += u64::from(looks_like_imagekit(&clean(cell)));
            }
        }
        parser.rewind(mark);
        match self.best_of(&counts) {
            Some(better) if !is_right => {
                let (column, better) = (self.title(self.id), self.title(better));
                Err(column_error(
                    name,
                    format!(
                        "has no ID that looks like ImageKit's in column {column:?}, but column {better:?} has; give --column {better:?}"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// The column with most IDs; of several the one with a known name.
    fn best_of(&self, counts: &[u64]) -> Option<usize> {
        let most = counts.iter().copied().max().filter(|most| *most > 0)?;
        let mut best = (0..counts.len()).filter(|column| counts[*column] == most);
        let is_named = |column: &usize| is_id_name(&clean(&self.first.cells[*column]));
        best.clone().find(is_named).or_else(|| best.next())
    }

    /// A column as `--column` takes it: by its name, or by its number.
    fn title(&self, column: usize) -> String {
        let title = clean(&self.first.cells[column]);
        if self.has_header && !title.is_empty() && title.parse::<usize>().is_err() {
            title.into_owned()
        } else {
            (column + 1).to_string()
        }
    }

    /// What a person should know: which line was taken as the header, and which column is read.
    pub(super) fn notice(&self, name: &str) -> Option<String> {
        let column = self.id + 1;
        let delimiter = match self.delimiter {
            _ if !self.is_delimiter_found => String::new(),
            byte => format!("; cells are separated by {}", delimiter_name(byte)),
        };
        let width = self.first.cells.len();
        let read = match width {
            0 => return None,
            1 if !self.has_header => "no header; one ID per line".into(),
            _ if !self.has_header => {
                format!("no header; IDs are read from column {column} of {width}")
            }
            _ => format!(
                "line {} is the header; IDs are read from column {column} of {width}, {:?}",
                self.first.line,
                clean(&self.first.cells[self.id])
            ),
        };
        Some(format!("{name}: {read}{delimiter}"))
    }
}

impl FirstRow {
    fn of(row: &Row<'_>) -> Self {
        Self {
            line: row.line,
            cells: row.cells().map(Box::from).collect(),
        }
    }

    fn titles(&self) -> Vec<String> {
        let titles = self.cells.iter();
        titles.map(|cell| clean(cell).into_owned()).collect()
    }
}

fn is_tsv(name: &str) -> bool {
    let bare = name.trim_end_matches(".gz").trim_end_matches(".zst");
    bare.len() >= 4 && bare.as_bytes()[bare.len() - 4..].eq_ignore_ascii_case(b".tsv")
}

/// The delimiter that a first line such as `sep=;` tells, as Excel writes and obeys it.
fn sep_of(line: &[u8]) -> Option<u8> {
    let bare = line.strip_prefix(b"\"").unwrap_or(line);
    let bare = bare.strip_suffix(b"\"").unwrap_or(bare);
    match bare {
        [name @ .., b'=', delimiter] if name.eq_ignore_ascii_case(b"sep") => {
            Some(*delimiter).filter(|byte| *byte == b'\t' || byte.is_ascii_punctuation())
        }
        _ => None,
    }
}

/// A semicolon or a tab, where a first line has these and no comma outside quotes.
fn delimiter_of(line: &[u8]) -> Option<u8> {
    let (mut semicolons, mut tabs) = (0_usize, 0_usize);
    let (mut is_quoted, mut before) = (false, b',');
    for byte in line {
        match byte {
            b'"' if is_quoted || matches!(before, b',' | b';' | b'\t' | b'"') => {
                is_quoted = !is_quoted;
            }
            b',' if !is_quoted => return None,
            b';' if !is_quoted => semicolons += 1,
            b'\t' if !is_quoted => tabs += 1,
            _ => {}
        }
        before = *byte;
    }
    match (semicolons, tabs) {
        (0, 0) => None,
        _ if semicolons >= tabs => Some(b';'),
        _ => Some(b'\t'),
    }
}

fn delimiter_name(byte: u8) -> String {
    let known = DELIMITERS.iter().find(|(known, _)| *known == byte);
    known.map_or_else(
        || format!("{:?}", char::from(byte)),
        |(_, name)| format!("{name}s"),
    )
}

fn id_column(name: &str, cells: &[String], options: &Options) -> Result<usize, SourceError> {
    let no_such = |column: &dyn fmt::Display| {
        let columns = listed(cells);
        let why =
            format!("has no column {column}; name one with --column (the columns are: {columns})");
        column_error(name, why)
    };
    match &options.column {
        Some(Column::Number(number)) if *number <= cells.len() => Ok(number - 1),
        Some(Column::Number(number)) => Err(no_such(number)),
        Some(Column::Name(wanted)) => {
            named(cells, wanted).ok_or_else(|| no_such(&format_args!("{wanted:?}")))
        }
        None => {
            let known = match options.header {
                Header::Detect => ID_NAMES.iter().find_map(|wanted| named(cells, wanted)),
                Header::None => None,
            };
            match (known, cells) {
                (Some(column), _) => Ok(column),
                (None, [only]) => check_delimiter(name, only).map(|()| 0),
                (None, _) => Err(no_column(name, cells)),
            }
        }
    }
}

/// Several columns without a known name: either their names are unknown, or there are none.
fn no_column(name: &str, cells: &[String]) -> SourceError {
    let columns = listed(cells);
    let why = match cells.iter().position(|cell| is_hex_id(cell)) {
        Some(index) => {
            let column = index + 1;
            format!(
                "has no header that names its columns; give --no-header --column {column} (the first line is: {columns})"
            )
        }
        None => format!(
            "has several columns and none is named fileId, file_id, id or _id; name one with --column (the columns are: {columns})"
        ),
    };
    column_error(name, why)
}

fn column_error(name: &str, why: String) -> SourceError {
    let input = name.into();
    SourceError::Column { input, why }
}

/// Cells for an error, as far as a person reads.
fn listed(cells: &[String]) -> String {
    const MAX_LISTED: usize = 1000;
    let all = cells.join(", ");
    match all.char_indices().nth(MAX_LISTED) {
        Some((end, _)) => format!("{}…", &all[..end]),
        None => all,
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
    for (delimiter, option) in DELIMITERS {
        let mut parts = cell
            .split(char::from(delimiter))
            .skip_while(|part| *part == cell);
        if parts.any(|part| is_id_name(part.trim_matches(['"', ' ']))) {
            return Err(SourceError::Unusable(format!(
                "{name} seems to have its columns separated by another character; give --delimiter {option}"
            )));
        }
    }
    Ok(())
}

fn is_id_name(cell: &str) -> bool {
    let mut known = ID_NAMES.iter();
    known.any(|known| known.eq_ignore_ascii_case(cell))
}

/// Whether a cell without a known name may be a column's name: it holds nothing that an ID, whole or spoilt, leaves.
fn may_be_header(cell: &str) -> bool {
    let is_not_hex = |byte: &u8| !byte.is_ascii_hexdigit();
    let holds_id = cell.as_bytes().split(is_not_hex).any(|run| run.len() >= 24);
    // As a spreadsheet of any country writes one.
    let bare = cell.replace([',', '.', '\'', '_', ' ', '\u{a0}', '\u{202f}'], "");
    let is_number =
        bare.contains(|digit: char| digit.is_ascii_digit()) && bare.parse::<f64>().is_ok();
    !holds_id && !is_number && !cell.contains(char::is_control)
}
