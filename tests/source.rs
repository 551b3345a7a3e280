//! The input, file by file: what is a record, on which line it stands, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use imagekit_bulk_delete::source::{Column, Header, Input, Options, SourceError, Sources};
use imagekit_bulk_delete::target::{InvalidId, Record, Reject};
use tempfile::TempDir;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaa1";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbb2";
const C: &str = "ccccccccccccccccccccccc3";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> Input {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        Input::File(path)
    }
}

fn detect() -> Options {
    Options {
        column: None,
        header: Header::Detect,
        delimiter: None,
    }
}

fn column(column: Column) -> Options {
    Options {
        column: Some(column),
        ..detect()
    }
}

/// Each record as `line id`, or `line id !why`.
fn read_with(bytes: impl AsRef<[u8]>, options: &Options) -> Result<Vec<String>, SourceError> {
    read_named("input.csv", bytes, options)
}

fn read_named(
    name: &str,
    bytes: impl AsRef<[u8]>,
    options: &Options,
) -> Result<Vec<String>, SourceError> {
    let folder = Folder::new();
    let mut sources = Sources::open(&[folder.file(name, bytes)], options)?;
    sources
        .records()
        .map(|record| record.map(|record| told(&record)))
        .collect()
}

fn told(record: &Record) -> String {
    match record {
        Record::Target(target) => format!("{} {}", target.origin.line, target.file_id),
        Record::Rejected(rejected) => match &rejected.reason {
            Reject::InvalidId(why) => {
                format!("{} {} !{why:?}", rejected.origin.line, rejected.file_id)
            }
            Reject::NotAFile(kind) | Reject::FoundNotAFile(kind) => {
                format!("{} {} !{kind}", rejected.origin.line, rejected.file_id)
            }
        },
    }
}

fn read(bytes: impl AsRef<[u8]>) -> Vec<String> {
    read_with(bytes, &detect()).unwrap()
}

#[test]
fn a_plain_list_needs_no_header() {
    assert_eq!(
        read(format!("{A}\n{B}\n{C}")),
        [format!("1 {A}"), format!("2 {B}"), format!("3 {C}")]
    );
}

#[test]
fn lines_are_those_of_an_editor() {
    let text = format!(
        "\u{feff}name,fileId\r\n\r\n\"two\r\nlines\",{A}\r\n  \r\nx,{B}\r\n\n\"a \"\"b\"\"\n\n\",{C}"
    );
    assert_eq!(
        read(text),
        [format!("3 {A}"), format!("6 {B}"), format!("8 {C}")]
    );
}

#[test]
fn blank_lines_are_no_records_but_empty_cells_are() {
    let text = format!("fileId\n\n   \n\t\n\"\"\n\"  \"\n {A} \n");
    assert_eq!(
        read(text),
        [
            "5  !Empty".to_owned(),
            "6  !Empty".to_owned(),
            format!("7 {A}")
        ]
    );
    assert_eq!(read("x,fileId,y\n,,\na\n"), ["2  !Empty", "3  !Empty"]);
}

#[test]
fn the_header_is_detected_as_the_contract_says() {
    let both = [format!("1 {A}"), format!("2 {B}")];
    assert_eq!(read(format!("{A}\n{B}")), both, "IDs from the first line");
    assert_eq!(
        read(format!("_ID\n{B}")),
        both[1..],
        "a known name in any case"
    );
    assert_eq!(
        read(format!("asset\n{B}")),
        both[1..],
        "no hex digits while the next record's are"
    );
    assert_eq!(read(format!("my id\n{B}")), both[1..], "cannot be an ID");
    let upper = A.to_uppercase();
    assert_eq!(
        read(format!("{upper}\n{B}")),
        [format!("1 {upper}"), both[1].clone()],
        "upper-case hex digits are an ID, odd as it is"
    );
    assert_eq!(
        read("one\ntwo\n"),
        ["1 one", "2 two"],
        "odd IDs throughout are no header"
    );
    assert_eq!(read("one"), ["1 one"]);
    let none = Options {
        header: Header::None,
        ..detect()
    };
    assert_eq!(
        read_with(format!("id\n{B}"), &none).unwrap(),
        ["1 id".to_owned(), format!("2 {B}")]
    );
}

#[test]
fn the_column_is_found_by_name_number_or_known_header() {
    let text = format!("a,ID,File_Id,c\n1,2,{A},4\n");
    assert_eq!(read(&text), [format!("2 {A}")], "file_id goes before id");
    assert_eq!(
        read_with(&text, &column(Column::Number(3))).unwrap(),
        [format!("2 {A}")]
    );
    assert_eq!(
        read_with(&text, &column(Column::Name("file_id".into()))).unwrap(),
        [format!("2 {A}")]
    );
    let numbered = format!("x,{A}\ny,{B}\n");
    assert_eq!(
        read_with(numbered, &column(Column::Number(2))).unwrap(),
        [format!("1 {A}"), format!("2 {B}")]
    );
}

#[test]
fn a_missing_column_is_an_error_that_lists_the_columns() {
    for options in [
        detect(),
        column(Column::Name("nope".into())),
        column(Column::Number(9)),
    ] {
        let error = read_with("alpha,beta\n1,2\n", &options).unwrap_err();
        assert!(!error.is_break());
        let text = error.to_string();
        assert!(
            text.contains("alpha, beta") && text.contains("--column"),
            "{text}"
        );
    }
}

#[test]
fn columns_that_another_character_separates_are_told_by_the_option() {
    for (name, text, option) in [
        ("a.csv", "name|fileId\nx|1\n", "--delimiter pipe"),
        ("a.csv", "name|fileId, too\nx|1\n", "--column"),
        ("a.tsv", "name;fileId\nx;1\n", "--delimiter semicolon"),
        ("a.tsv.gz", "name,fileId\nx,1\n", "--delimiter comma"),
    ] {
        let error = read_named(name, text, &detect()).unwrap_err().to_string();
        assert!(error.contains(option), "{error}");
    }
}

#[test]
fn tabs_and_other_delimiters_are_read() {
    assert_eq!(
        read_named("a.tsv", format!("x\tfileId\n1,1\t{A}\n"), &detect()).unwrap(),
        [format!("2 {A}")]
    );
    let semicolons = Options {
        delimiter: Some(b';'),
        ..detect()
    };
    assert_eq!(
        read_with(format!("x;fileId\n1;{A}\n"), &semicolons).unwrap(),
        [format!("2 {A}")]
    );
}

#[test]
fn what_cannot_be_an_id_is_told_and_not_sent() {
    let long = "x".repeat(257);
    let mut text = b"fileId,n\n".to_vec();
    for id in ["a b", "a/b", ".", "..", "a\u{1}b", &long] {
        writeln!(text, "{id},1").unwrap();
    }
    text.extend(b"a\xff,1\n");
    let whys: Vec<String> = read(text)
        .iter()
        .map(|row| row.rsplit('!').next().unwrap().to_owned())
        .collect();
    let expected = [
        InvalidId::WhiteSpace,
        InvalidId::Slash,
        InvalidId::DotSegment,
        InvalidId::DotSegment,
        InvalidId::ControlCharacter,
        InvalidId::TooLong,
        InvalidId::NotUtf8,
    ];
    assert_eq!(whys, expected.map(|why| format!("{why:?}")));
}

#[test]
fn versions_and_folders_are_not_files() {
    let text = format!("type,fileId,url\nfile,{A},https://x/y\nfile-version,{B},\nFolder,{C},\n");
    let rows = [
        format!("2 {A}"),
        format!("3 {B} !file-version"),
        format!("4 {C} !Folder"),
    ];
    assert_eq!(read(text), rows);
}

#[test]
fn the_url_column_is_kept() {
    let folder = Folder::new();
    let input = folder.file("a.csv", format!("URL,fileId\nhttps://x/y,{A}\n,{B}\n"));
    let mut sources = Sources::open(&[input], &detect()).unwrap();
    let urls: Vec<_> = sources
        .records()
        .map(|record| match record.unwrap() {
            Record::Target(target) => target.origin.url,
            Record::Rejected(_) => panic!("both are IDs"),
        })
        .collect();
    assert_eq!(urls, [Some("https://x/y".into()), None]);
}

#[test]
fn nothing_and_a_header_alone_are_no_records() {
    for text in ["", "\n\n", "fileId\n", "\u{feff}", "name,fileId\r\n"] {
        assert_eq!(read(text), Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn an_unclosed_quote_breaks_at_the_line_where_it_opened() {
    for lines in [3, 20_000] {
        let folder = Folder::new();
        let mut text = format!("fileId,n\n{A},1\n{B},\"2\n");
        (0..lines).for_each(|_| writeln!(text, "{C},3").unwrap());
        let mut sources = Sources::open(&[folder.file("a.csv", text)], &detect()).unwrap();
        let mut records = sources.records();
        assert_eq!(told(&records.next().unwrap().unwrap()), format!("2 {A}"));
        let error = records.next().unwrap().unwrap_err();
        assert!(
            error.is_break() && error.to_string().contains("line 3"),
            "{error}"
        );
        assert!(records.next().is_none());
    }
}

#[test]
fn a_cut_gzip_gives_what_it_held_and_then_breaks() {
    let folder = Folder::new();
    let mut text = String::from("fileId\n");
    (0..20_000_u64)
        .for_each(|n| writeln!(text, "{:024x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap());
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let input = folder.file("a.csv.gz", &whole[..whole.len() / 2]);
    let mut sources = Sources::open(&[input], &detect()).unwrap();
    let results: Vec<_> = sources.records().collect();
    let (last, before) = results.split_last().unwrap();
    assert!(last.as_ref().is_err_and(SourceError::is_break));
    assert!(before.len() > 1000 && before.iter().all(Result::is_ok));
}

#[test]
fn several_inputs_are_read_in_order_each_with_its_header() {
    let folder = Folder::new();
    let inputs = [
        folder.file("a.csv", format!("x,fileId\n1,{A}\n")),
        folder.file("b.tsv", format!("id\tx\n{B}\t1\n")),
    ];
    let mut sources = Sources::open(&inputs, &detect()).unwrap();
    assert_eq!(sources.notices().len(), 2);
    for _ in 0..2 {
        let rows: Vec<_> = sources
            .records()
            .map(|record| told(&record.unwrap()))
            .collect();
        assert_eq!(
            rows,
            [format!("2 {A}"), format!("2 {B}")],
            "and again from the start"
        );
    }
}

#[test]
fn folders_and_missing_files_are_refused() {
    let folder = Folder::new();
    for path in [
        folder.0.path().to_path_buf(),
        folder.0.path().join("none.csv"),
    ] {
        let error = Sources::open(&[Input::File(path)], &detect()).unwrap_err();
        assert!(matches!(error, SourceError::Open { .. }), "{error}");
    }
}
