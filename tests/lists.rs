//! Lists as people have them: which line is a header, what separates cells, and which column is meant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use imagekit_bulk_delete::source::{Column, Header, Input, Options, SourceError, Sources};
use imagekit_bulk_delete::target::{Record, Reject};
use proptest::prelude::*;
use tempfile::TempDir;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaa1";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbb2";
const C: &str = "ccccccccccccccccccccccc3";

struct Reading {
    /// Each record as `line id`, with a `!` behind it if it is never sent.
    rows: Vec<String>,
    notices: Vec<String>,
}

fn read_as(name: &str, text: impl AsRef<[u8]>, options: &Options) -> Result<Reading, SourceError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let mut sources = Sources::open(&[Input::File(path)], options)?;
    let mut readings: Vec<Vec<String>> = Vec::new();
    for _ in 0..2 {
        let records = sources.records();
        let rows = records.map(|record| record.map(|record| told(&record)));
        readings.push(rows.collect::<Result<_, _>>()?);
    }
    assert_eq!(readings[0], readings[1], "a second reading tells the same");
    let mut notices = sources.notices().to_vec();
    notices.extend(sources.skipped().notices());
    Ok(Reading {
        rows: readings.swap_remove(0),
        notices,
    })
}

fn told(record: &Record) -> String {
    match record {
        Record::Target(target) => format!("{} {}", target.origin.line, target.file_id),
        Record::Rejected(rejected) => format!("{} {}!", rejected.origin.line, rejected.file_id),
    }
}

fn read(text: impl AsRef<[u8]>) -> Reading {
    read_as("list.csv", text, &Options::default()).unwrap()
}

fn refusal(text: impl AsRef<[u8]>, options: &Options) -> String {
    match read_as("list.csv", &text, options) {
        Ok(reading) => panic!("read as {:?}", reading.rows),
        Err(error) => {
            assert!(!error.is_break(), "{error}");
            error.to_string()
        }
    }
}

fn column(name: &str) -> Options {
    Options {
        column: Some(match name.parse() {
            Ok(number) => Column::Number(number),
            Err(_) => Column::Name(name.into()),
        }),
        ..Options::default()
    }
}

#[test]
fn a_first_record_is_a_header_only_where_it_holds_nothing_of_an_id() {
    for header in [
        "fileId", "FILE_ID", " _id ", "asset", "my id", "old/ids", "\"\"", "e5",
    ] {
        let rows = read(format!("{header}\n{A}\n{B}\n")).rows;
        assert_eq!(rows, [format!("2 {A}"), format!("3 {B}")], "{header}");
    }
    for record in [
        "6.1E+23",
        "61",
        "-1.5",
        &A.to_uppercase(),
        &format!("x{A}"),
        &format!("{A} {B}"),
        &format!("{A}{B}"),
        &format!("\u{feff}\u{feff}{A}"),
        "\"6,1E+23\"",
        "\"61,000,000\"",
        "61.000.000",
        "61 000 000",
        "61\u{a0}000\u{202f}000",
        "61'000",
        "a\u{1}b",
        "\u{7f}",
    ] {
        let rows = read(format!("{record}\n{A}\n{B}\n")).rows;
        assert_eq!(rows.len(), 3, "{record} has its row: {rows:?}");
        assert!(rows[0].starts_with("1 "), "{record}: {rows:?}");
    }
    assert_eq!(
        read("one\ntwo\n").rows,
        ["1 one", "2 two"],
        "no next ID, no header"
    );
    assert_eq!(
        read(format!("fileId\nid\n{A}")).rows[0],
        "2 id",
        "one header only"
    );
}

#[test]
fn a_known_name_is_a_header_even_where_nothing_follows() {
    for text in [
        "fileId\n",
        "\u{feff}id",
        "name;fileId\r\n",
        "sep=,\nid,x\n",
        "sep=;",
    ] {
        assert_eq!(read(text).rows, Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn one_line_that_cannot_be_an_id_is_refused_and_not_taken_for_a_header() {
    for line in [
        "Error: connection refused",
        "bash: imagekit: command not found\n",
        "\n\n  permission denied  \r\n",
        "error/404",
        &format!("{A} {B} {C}"),
        "\"\"",
    ] {
        let error = refusal(line, &Options::default());
        assert!(error.contains("is not an ID"), "{error}");
    }
    let error = refusal("Error: refused, try again", &Options::default());
    assert!(error.contains("--column"), "{error}");
    let told_to = Options {
        header: Header::None,
        ..Options::default()
    };
    let rows = read_as("a.csv", "no id", &told_to).unwrap().rows;
    assert_eq!(
        rows,
        ["1 no id!"],
        "whoever says that it is a record gets its row"
    );
}

#[test]
fn semicolons_and_tabs_are_found_where_there_is_no_comma() {
    for (text, separator) in [
        (format!("Name;fileId;Größe\nx;{A};1,5\n"), "semicolons"),
        (
            format!("\"Name, lang\";fileId\n\"x;y\";{A}\n"),
            "semicolons",
        ),
        (format!("sep=;\nName;fileId\nx;{A}\n"), "semicolons"),
        (
            format!("\u{feff}SEP=;\r\nName;fileId\r\nx;{A}\r\n"),
            "semicolons",
        ),
        (format!("Name\tfileId\nx\t{A}\n"), "tabs"),
        (format!("sep=\t\nName\tfileId\nx\t{A}\n"), "tabs"),
        (format!("sep=|\nName|fileId\nx|{A}\n"), "pipes"),
        (format!("sep=^\nName^fileId\nx^{A}\n"), "'^'"),
        (format!("sep=,\nName,fileId\nx,{A}\n"), "commas"),
    ] {
        let Reading { rows, notices } = read(&text);
        assert_eq!(rows.len(), 1, "{text:?}: {rows:?}");
        assert!(rows[0].ends_with(A), "{text:?}: {rows:?}");
        assert!(notices[0].contains(separator), "{notices:?}");
    }
    let Reading { rows, notices } = read(format!("Na;me,fileId\nx;y,{A}\n"));
    assert_eq!(rows, [format!("2 {A}")], "a comma goes before");
    assert!(!notices[0].contains("separated"), "{notices:?}");
    let tsv = read_as("a.tsv", format!("a;b\tid\n1;2\t{A}\n"), &Options::default());
    assert_eq!(tsv.unwrap().rows, [format!("2 {A}")]);
}

#[test]
fn a_semicolon_list_with_an_unknown_name_tells_its_columns() {
    let error = refusal(format!("File ID;name\n{A};x\n"), &Options::default());
    assert!(error.contains("File ID, name"), "{error}");
    let rows = read_as(
        "a.csv",
        format!("File ID;name\n{A};x\n"),
        &column("file id"),
    );
    assert_eq!(rows.unwrap().rows, [format!("2 {A}")]);
}

#[test]
fn several_columns_without_a_header_are_told_how_to_be_read() {
    for text in [
        format!("{A},a\n{B},b\n"),
        format!("{A};a\n"),
        format!("{A},\n{B},\n"),
    ] {
        let error = refusal(&text, &Options::default());
        assert!(error.contains("--no-header --column 1"), "{error}");
        let told_to = Options {
            header: Header::None,
            ..column("1")
        };
        let rows = read_as("a.csv", &text, &told_to).unwrap().rows;
        assert_eq!(rows[0], format!("1 {A}"));
    }
}

#[test]
fn a_wrong_column_is_refused_by_the_name_of_the_right_one() {
    let mut text = String::from("name,parent,fileId\n");
    (0..1500).for_each(|n| text.push_str(&format!("photo-{n}.jpg,{A},{n:024x}\n")));
    for (wanted, better) in [("name", "fileId"), ("1", "3")] {
        let error = refusal(&text, &column(wanted));
        assert!(
            error.ends_with(&format!("give --column {better:?}")),
            "the known one of two: {error}"
        );
    }
    let unknown = text.replace("fileId", "asset").replace("parent", "id");
    let rows = read_as("a.csv", &unknown, &Options::default())
        .unwrap()
        .rows;
    assert_eq!(rows.len(), 1500, "an id is an id");
    let error = refusal(unknown.replace(A, "7"), &Options::default());
    assert!(
        error.contains("column \"asset\"") || error.contains("asset"),
        "{error}"
    );
    let headerless: String = (0..3).map(|n| format!("x{n},{n:024x}\n")).collect();
    let none = Options {
        header: Header::None,
        ..column("1")
    };
    assert!(refusal(&headerless, &none).contains("--column \"2\""));
}

#[test]
fn one_id_among_the_first_thousand_makes_a_column_right() {
    for (line, is_right) in [(999, true), (1000, false)] {
        let ids = (0..1500).map(|n| {
            if n == line {
                A.into()
            } else {
                format!("odd-{n}")
            }
        });
        let text: String = ids.map(|id| format!("{id},{B}\n")).collect();
        let read = read_as("a.csv", format!("id,hash\n{text}"), &Options::default());
        assert_eq!(read.is_ok(), is_right, "an ID on record {line}");
    }
    let odd = read(format!("id,hash\nx,{}\ny,\n", B.to_uppercase())).rows;
    assert_eq!(odd.len(), 2, "no other column holds IDs either");
}

#[test]
fn joined_files_are_one_list() {
    let part = format!("\u{feff}name,\"fileId\"\r\n\"x\",{A}\r\n");
    let other = format!("\u{feff}name,fileId\ny,{B}\n");
    let Reading { rows, notices } = read(format!("{part}{other}{other}"));
    assert_eq!(rows, [format!("2 {A}"), format!("4 {B}"), format!("6 {B}")]);
    assert!(
        notices.contains(&"2 repeated header lines were skipped".to_owned()),
        "{notices:?}"
    );
    let excel = format!("sep=;\nfileId;n\n{A};1\n");
    let rows = read(format!("{excel}\u{feff}{excel}")).rows;
    assert_eq!(rows, [format!("3 {A}"), format!("6 {A}")]);
    let longer = read(format!("fileId,name\n{A},x\nfileId\n")).rows;
    assert_eq!(longer[1], "3 fileId", "only the very header is one");
}

#[test]
fn what_cannot_be_seen_around_an_id_is_taken_off() {
    let around = [
        "\u{feff}",
        "\u{200b}",
        "\u{2060}",
        "\u{a0}",
        "\u{2003}",
        " \u{feff}\u{feff} \u{200b}",
    ];
    for space in around {
        let rows = read(format!("fileId,n\n{space}{A}{space},1\n\"{space}{B}\",2\n")).rows;
        assert_eq!(rows, [format!("2 {A}"), format!("3 {B}")], "{space:?}");
    }
    assert_eq!(
        read(format!("{A}\n\u{feff}\"{B}\"\n")).rows[1],
        format!("2 {B}")
    );
    assert_eq!(
        read(format!("{A}\n\u{feff}\n\u{a0}\n{B}\n")).rows[1],
        format!("4 {B}")
    );
}

#[test]
fn versions_and_folders_are_known_however_they_are_written() {
    let kinds = [
        "file-version",
        "FILE_VERSION",
        "File Version",
        "fileversion",
        "file\u{a0}version",
        "\u{a0}file-version\u{a0}",
        "\u{200b}folder",
        " Folder\t",
        "\u{feff}FOLDER",
    ];
    for kind in kinds {
        let rows = read(format!("fileId,Type\n{A},\"{kind}\"\n{B},file\n")).rows;
        assert_eq!(rows, [format!("2 {A}!"), format!("3 {B}")], "{kind:?}");
    }
    for kind in ["file", "", "image", "non-folder", "File"] {
        assert_eq!(
            read(format!("fileId,type\n{A},{kind}\n")).rows,
            [format!("2 {A}")]
        );
    }
}

#[test]
fn several_columns_without_a_name_are_an_error_that_lists_them_and_stays_short() {
    for (text, way_out, columns) in [
        (
            format!("name,{A}\nx,{B}\n"),
            "--no-header --column 2",
            "name, ",
        ),
        (format!("{A},\n"), "--no-header --column 1", A),
        ("name,asset\nx,y\n".into(), "--column", "name, asset"),
        (
            format!("name,{},asset\n", "x".repeat(500_000)),
            "--column",
            "name, xxx",
        ),
    ] {
        let error = refusal(text, &Options::default());
        assert!(
            error.contains(way_out) && error.contains(columns),
            "{error}"
        );
        assert!(error.len() < 1500, "{}", error.len());
    }
}

#[test]
fn long_rows_with_closed_quotes_are_read_and_long_cells_are_not_kept() {
    let long = "x".repeat(200_000);
    let text = format!(
        "fileId,a,b,url\n{A},\"1\",{long},https://x/{long}\n{B},\"{}\",{long},https://x/y\n\"{long}\",,,\n",
        "y".repeat(65_000)
    );
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(&path, text).unwrap();
    let mut sources = Sources::open(&[Input::File(path)], &Options::default()).unwrap();
    let records: Result<Vec<_>, _> = sources.records().take(2).collect();
    let urls = records.unwrap().into_iter().map(|record| match record {
        Record::Target(target) => target.origin.url,
        Record::Rejected(rejected) => panic!("{:?}", rejected.reason),
    });
    assert_eq!(urls.collect::<Vec<_>>(), [None, Some("https://x/y".into())]);
    assert_eq!(sources.skipped().notices().len(), 1);
}

/// What the oracle knows of a record: its line, its ID, whether that can be sent.
type Known = (u64, String, bool);

#[derive(Debug, Clone)]
enum Piece {
    Record {
        id: String,
        other: String,
        is_quoted: bool,
    },
    Blank(&'static str),
    Header,
}

fn piece() -> impl Strategy<Value = Piece> {
    let id = "[0-9a-f]{24}|[A-Zäß]{1,6}|a b|x/y|||\u{0}z|6\\.1E\\+23";
    let record = |(id, other, is_quoted)| Piece::Record {
        id,
        other,
        is_quoted,
    };
    prop_oneof![
        8 => (id, "[a-c \"\n\r,;|é\u{0}]{0,8}", any::<bool>()).prop_map(record),
        1 => prop::sample::select(vec!["", " ", "\u{a0}\u{a0}", " \u{feff}"]).prop_map(Piece::Blank),
        1 => Just(Piece::Header),
    ]
}

fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

fn line_breaks(text: &str) -> u64 {
    text.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_list_reads_as_the_contract_says(
        pieces in prop::collection::vec(piece(), 0..40),
        delimiter in prop::sample::select(vec![",", ";", "\t", "|"]),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        first_boms in 0..3_usize,
        boms in prop::collection::vec(0..3_usize, 40),
        space in prop::sample::select(vec!["", " ", "\u{200b}", "\u{feff} ", "\u{a0}"]),
        is_last_ended in any::<bool>(),
    ) {
        // NUL bytes are for the middle of a list: its first 8 KiB are padded.
        let mut text = "\u{feff}".repeat(first_boms);
        let padding: String = (0..90).map(|_| format!("{}{end}", " ".repeat(99))).collect();
        text += &format!("name{delimiter}fileId{end}{padding}");
        let mut line = 92;
        let mut expected: Vec<Known> = Vec::new();
        let mut repeated = 0_usize;
        for (piece, boms) in pieces.iter().zip(boms) {
            let bom = "\u{feff}".repeat(boms);
            match piece {
                Piece::Blank(white) => text += &format!("{bom}{white}{end}"),
                Piece::Header => {
                    repeated += 1;
                    text += &format!("{bom}name{delimiter}fileId{end}");
                }
                Piece::Record { id, other, is_quoted } => {
                    let cell = if *is_quoted { quoted(id) } else { format!("{space}{id}{space}") };
                    let other = quoted(other);
                    text += &format!("{bom}{other}{delimiter}{cell}{end}");
                    let is_valid = !id.is_empty() && !id.contains([' ', '/', '\u{0}']);
                    expected.push((line, id.clone(), is_valid));
                    line += line_breaks(&other);
                }
            }
            line += 1;
        }
        if !is_last_ended {
            text.truncate(text.len() - end.len());
        }
        let options = Options { delimiter: Some(delimiter.as_bytes()[0]), ..Options::default() };
        let reading = read_as("a.csv", &text, &options).unwrap();
        let words = |(line, id, is_valid): &Known| format!("{line} {id}{}", if *is_valid { "" } else { "!" });
        prop_assert_eq!(reading.rows, expected.iter().map(words).collect::<Vec<_>>());
        let is_told = reading.notices.iter().any(|notice| notice.starts_with(&format!("{repeated} repeated header line")));
        prop_assert_eq!(is_told, repeated > 0);
    }

    #[test]
    fn any_bytes_are_read_in_the_same_way_whatever_blocks_they_come_in(
        text in prop::collection::vec(prop::sample::select(b"\"\",;\r\n\n a1\xef\xbb\xbf\xff\x00".to_vec()), 0..300),
    ) {
        let padded = [&b"id,x\n"[..], &b"                                                               \n".repeat(130), &text].concat();
        let whole = read_as("a.csv", &padded, &Options::default()).map(|reading| reading.rows);
        let gz = {
            use std::io::Write as _;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            for byte in &padded {
                encoder.write_all(&[*byte]).unwrap();
                encoder.flush().unwrap();
            }
            encoder.finish().unwrap()
        };
        let pieces = read_as("a.csv", gz, &Options::default()).map(|reading| reading.rows);
        prop_assert_eq!(whole.map_err(|error| error.is_break()), pieces.map_err(|error| error.is_break()));
    }
}

#[test]
fn a_row_type_is_told_in_one_line() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.csv");
    for kind in [" File Version ", "File\u{a0}Version", "\"File\nVersion\""] {
        fs::write(&path, format!("fileId,type\n{A},{kind}\n")).unwrap();
        let input = [Input::File(path.clone())];
        let mut sources = Sources::open(&input, &Options::default()).unwrap();
        let Some(Ok(Record::Rejected(rejected))) = sources.records().next() else {
            panic!("a version is never sent")
        };
        assert_eq!(rejected.reason, Reject::NotAFile("File Version".into()));
    }
}

#[test]
fn a_delimiter_that_is_known_is_the_only_one_from_the_first_line_on() {
    let given = |delimiter| Options {
        delimiter: Some(delimiter),
        ..Options::default()
    };
    let no_header = |options: Options| Options {
        header: Header::None,
        ..options
    };
    let first = column("1");
    let piped = Options {
        column: first.column.clone(),
        ..no_header(given(b'|'))
    };
    let cases = [
        ("a.csv", format!("fileId;size,\"x\n{A};1\n"), given(b';'), 2),
        ("b.csv", format!("{A}|x,\"y\n"), piped, 1),
        ("c.tsv", format!("{A}\tA,\"x\n"), no_header(first), 1),
    ];
    for (name, text, options, line) in cases {
        let rows = read_as(name, &text, &options).unwrap().rows;
        assert_eq!(rows, [format!("{line} {A}")], "{name}");
    }
}
