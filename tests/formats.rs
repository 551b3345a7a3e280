//! What an input is by its bytes: read whatever it is packed in, or refused by name before anything is sent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;

use imagekit_bulk_delete::source::{Input, Options, SourceError, Sources};
use tempfile::TempDir;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaa1";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbb2";

fn read(bytes: &[u8]) -> Result<Vec<String>, SourceError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("input.csv");
    fs::write(&path, bytes).unwrap();
    let mut sources = Sources::open(&[Input::File(path)], &Options::default())?;
    sources
        .records()
        .map(|record| record.map(|record| record.file_id().to_owned()))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn list() -> Vec<u8> {
    format!("fileId\n{A}\n{B}\n").into_bytes()
}

/// A tar archive with a list in it: a header block, the list, zeros.
fn tar(magic: &[u8]) -> Vec<u8> {
    let mut archive = vec![0; 1536];
    archive[..7].copy_from_slice(b"ids.txt");
    archive[100..107].copy_from_slice(b"0000644");
    archive[257..257 + magic.len()].copy_from_slice(magic);
    archive[512..512 + list().len()].copy_from_slice(&list());
    archive
}

fn utf_16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

/// What is no list, and a word of what is said of it.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let text = format!("fileId\n{A}\n");
    let with_bom = format!("\u{feff}{text}");
    let mut sqlite = b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20".to_vec();
    sqlite.resize(4096, 0);
    let fixed: Vec<(&str, &[u8])> = vec![
        (
            "spreadsheet",
            b"PK\x03\x04\x14\0\x06\0\x08\0[Content_Types].xml",
        ),
        ("ZIP", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("spreadsheet", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0"),
        ("JSON", b"[\"5f0000000000000000000000\"]\n"),
        (
            "JSON",
            b"{\"fileId\": \"5f0000000000000000000000\"}\n{\"fileId\": 2}\n",
        ),
        ("JSON", b"[\n  {\n    \"fileId\": 1\n  }\n]"),
        ("HTML", b"<html>\n<body>\nnot found\n"),
        ("HTML", b"<!DOCTYPE html>"),
        (
            "XML",
            b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>",
        ),
        ("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        ("RTF", b"{\\rtf1\\ansi aaaaaaaaaaaaaaaaaaaaaaa1}"),
        (
            "bzip2",
            b"BZh91AY&SYJ\xbc\x98\xec\0\0\x03i\0\0\x10\x08\0 \0 \0 \0!\x9ah",
        ),
        ("compress", b"\x1f\x9d\x90\x61\xc2\x84\x09\n"),
        ("xz", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01"),
        (
            "NUL",
            b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x30\xee",
        ),
        (
            "lz4",
            b"\x04\x22\x4d\x18\x64\x40\xa7\x0b\0\0\0\x1fa\x01\0\0Paaa1\n",
        ),
        ("7z", b"7z\xbc\xaf\x27\x1c\0\x04aaaa\n"),
        ("RAR", b"Rar!\x1a\x07\x01\0aaaa\n"),
        ("Parquet", b"PAR1\x15\x04\x15\x10\x15\x14\x4c\x15"),
        ("Avro", b"Obj\x01\x04\x14avro.codec"),
        ("executable", b"\x7fELF\x02\x01\x01\0\0\0"),
        ("executable", b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0"),
        ("executable", b"\xce\xfa\xed\xfe\x07\0\0\0\x03\0\0\0"),
        ("executable", b"\xfe\xed\xfa\xce\0\0\0\x12\0\0\0\0"),
        ("executable", b"\xfe\xed\xfa\xcf\0\0\0\x12\0\0\0\0"),
        ("executable", b"\xca\xfe\xba\xbe\0\0\0\x02\x01\0\0\x07"),
        ("executable", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff"),
        ("NUL", b"\0asm\x01\0\0\0"),
        ("script", b"#!/bin/sh\necho aaaaaaaaaaaaaaaaaaaaaaa1\n"),
        ("picture", b"GIF89a\x20\x03\x58\x02"),
        ("NUL", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("NUL", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        (
            "NUL",
            b"aaaaaaaaaaaaaaaaaaaaaaa1\0bbbbbbbbbbbbbbbbbbbbbbb2\0",
        ),
        (
            "NUL",
            b"fileId\naaaaaaaaaaaaaaaaaaaaaaa1\nbbbbbbbbbbbbbbbbbbbbbbb2\0\n",
        ),
        (
            "table",
            b"+--------------------------+\n| fileId                   |\n",
        ),
    ];
    let mut all: Vec<_> = fixed
        .into_iter()
        .map(|(word, bytes)| (word, bytes.to_vec()))
        .collect();
    all.extend([
        (
            "UTF-32",
            with_bom
                .chars()
                .flat_map(|c| u32::from(c).to_le_bytes())
                .collect(),
        ),
        (
            "NUL",
            with_bom
                .chars()
                .flat_map(|c| u32::from(c).to_be_bytes())
                .collect(),
        ),
        ("UTF-16", utf_16(&with_bom, u16::to_le_bytes)),
        ("UTF-16", utf_16(&with_bom, u16::to_be_bytes)),
        ("UTF-16", utf_16(&text, u16::to_le_bytes)),
        ("UTF-16", utf_16(&text, u16::to_be_bytes)),
        ("tar", tar(b"ustar\x0000")),
        ("tar", tar(b"ustar  \0")),
        ("NUL", tar(b"")),
        ("SQLite", sqlite),
        ("NUL", [&b"a\n".repeat(4000)[..], b"\0\n"].concat()),
    ]);
    all
}

#[test]
fn what_is_no_list_is_refused_by_name_whatever_it_is_packed_in() {
    for (word, bytes) in refused() {
        for (packing, packed) in [
            ("as it is", bytes.clone()),
            ("behind a BOM", [b"\xef\xbb\xbf", &bytes[..]].concat()),
            ("behind blank lines", [b"\r\n \n\t\n", &bytes[..]].concat()),
            ("in gzip", gzip(&bytes)),
            ("in zstd", zstd(&bytes)),
            (
                "in gzip, behind BOMs",
                gzip(&[b"\xef\xbb\xbf\xef\xbb\xbf\n", &bytes[..]].concat()),
            ),
        ] {
            let error = match read(&packed) {
                Ok(ids) => panic!("{word} {packing} is read as {ids:?}"),
                Err(error) => error,
            };
            assert!(!error.is_break(), "{word} {packing}: {error}");
            assert!(
                error.to_string().contains(word),
                "{word} {packing}: {error}"
            );
        }
    }
}

#[test]
fn compression_in_compression_is_refused() {
    for (packed, word) in [
        (gzip(&gzip(&list())), "gzip"),
        (zstd(&gzip(&list())), "gzip"),
        (gzip(&zstd(&list())), "zstd"),
        (zstd(&zstd(&list())), "zstd"),
        ([b"\xef\xbb\xbf", &gzip(&list())[..]].concat(), "gzip"),
        (
            gzip(&[&skippable(b"1234"), &zstd(&list())[..]].concat()),
            "zstd",
        ),
    ] {
        let error = read(&packed).unwrap_err();
        assert!(
            !error.is_break() && error.to_string().contains(word),
            "{error}"
        );
    }
}

/// A frame that zstd's readers skip.
fn skippable(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [b"\x50\x2a\x4d\x18", &length[..], content].concat()
}

#[test]
fn any_gzip_and_zstd_is_read() {
    let (first, second) = (format!("fileId\n{A}\n"), format!("{B}\n"));
    let (first, second) = (first.as_bytes(), second.as_bytes());
    let long = |log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&list()).unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    for (what, packed) in [
        ("plain", list()),
        ("gzip", gzip(&list())),
        ("members of gzip", [gzip(first), gzip(second)].concat()),
        ("zstd", zstd(&list())),
        ("frames of zstd", [zstd(first), zstd(second)].concat()),
        (
            "a skippable frame first, as of pzstd",
            [skippable(b"\x17\0\0\0"), zstd(&list())].concat(),
        ),
        (
            "skippable frames between",
            [skippable(b""), zstd(first), skippable(b"x"), zstd(second)].concat(),
        ),
        (
            "BOMs in gzip",
            gzip(&["\u{feff}\u{feff}".as_bytes(), &list()].concat()),
        ),
        ("a window of 128 MiB", long(27)),
        ("a window of 2 GiB", long(31)),
    ] {
        match read(&packed) {
            Ok(ids) => assert_eq!(ids, [A, B], "{what}"),
            // Where memory is scarce the window is refused by name.
            Err(error) => assert!(
                what.contains("2 GiB") && error.to_string().contains("zstd -d"),
                "{what}: {error}"
            ),
        }
    }
}

#[test]
fn what_only_begins_like_another_format_is_a_list() {
    for text in [
        format!("BZh9\n{A}"),
        format!("PK\n{A}"),
        format!("MZ\n{A}"),
        format!("ustar\n{A}"),
        format!("+1\n{A}"),
        format!("\"[x]\"\n{A}"),
    ] {
        assert!(
            read(text.as_bytes()).unwrap().contains(&A.to_owned()),
            "{text}"
        );
    }
}
