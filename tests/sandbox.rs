//! The sandbox as other clients see it: ImageKit's routes, search language and limits, as they are documented.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fixture::{id, ids, instead};
use imagekit_bulk_delete::sandbox::{File, Sandbox, Script, Window, pass};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

/// What another client gets.
fn get(server: &Sandbox, path: &str) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    // "private_sandbox_look_alike_only:" in base64.
    let authorization = "Basic cHJpdmF0ZV9zYW5kYm94X2xvb2tfYWxpa2Vfb25seTo=";
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn the_sandbox_lists_and_refuses_as_imagekit_documents_it() {
    let server = Sandbox::start(Script::plain()).unwrap();
    server.ledger().put_all(ids(20));
    for (number, kind) in [(3, "folder"), (4, "file-version")] {
        instead::put_kind(server.ledger(), &id(number), kind);
    }
    for (path, count) in [
        ("/v1/files", 18),
        ("/v1/files/", 18),
        ("/v1/files/?limit=5&skip=2&sort=ASC_NAME", 5),
        ("/v1/files?skip=15&type=file", 3),
        ("/v1/files?searchQuery=size%20%3E%200", 20),
    ] {
        let (status, files) = get(&server, path);
        assert_eq!(
            (status, files.as_array().unwrap().len()),
            (200, count),
            "{path}"
        );
    }
    let (_, files) = get(&server, "/v1/files?sort=ASC_CREATED");
    let times: Vec<&str> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["createdAt"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted());
    for field in [
        "fileId",
        "type",
        "name",
        "filePath",
        "url",
        "thumbnail",
        "size",
        "fileType",
        "mime",
        "isPrivateFile",
        "isPublished",
        "updatedAt",
    ] {
        assert!(!files[0][field].is_null(), "{field}");
    }
    assert!(files[0]["url"].as_str().unwrap().contains("?updatedAt="));
    for (path, message) in [
        ("/v1/files?limit=0", "limit"),
        ("/v1/files?limit=1001", "limit"),
        ("/v1/files?skip=-1", "skip"),
        ("/v1/files?sort=NAME", "sort"),
        ("/v1/files?type=folder", "type"),
        ("/v1/files?path=/photos", "path"),
        ("/v1/files?searchQuery=a", "Invalid search query - "),
    ] {
        let (status, error) = get(&server, path);
        assert_eq!(status, 400, "{path}");
        let told = error["message"].as_str().unwrap();
        assert!(
            told.contains(message) && error["help"].is_string(),
            "{told}"
        );
    }
}

/// What a search of a library with one file answers: the file was uploaded at noon on 2024-06-15.
fn search(server: &Sandbox, query: &str) -> (u16, serde_json::Value) {
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    get(server, &format!("/v1/files?searchQuery={query}"))
}

fn with_one_file() -> Sandbox {
    let server = Sandbox::start(Script::plain()).unwrap();
    server.ledger().put_file(File {
        name: "red-Dress-summer.jpg".into(),
        folder: "/old/2024".into(),
        size: 1_500_000,
        created_at: "2024-06-15T12:00:00.250Z".parse().unwrap(),
        tags: vec!["summer-sale".into()],
        ..File::of("5f")
    });
    server
}

#[test]
fn a_file_is_found_by_the_documented_queries() {
    let server = with_one_file();
    for query in [
        "name = \"red-Dress-summer.jpg\"",
        "name : \"red-\"",
        "path = \"/old/2024\"",
        "path = \"/old/2024/\"",
        "path : \"/old/\"",
        "path : \"old\"",
        "createdAt < \"1y\"",
        "createdAt < 2024-06-16",
        "createdAt >= \"2024-06-15T12:00:00\"",
        "createdAt = \"2024-06-15T12:00:00\"",
        "createdAt >= \"2024-06-15T14:00:00+02:00\"",
        "size > \"1mb\" AND size <= 1500000",
        "tags IN [\"a\", \"summer-sale\"]",
        "tags IN [\"summer-sale\"] AND NOT tags IN [\"winter\"]",
        "id NOT IN [\"60\",\"61\"] AND id NOT = \"62\"",
        "type = \"file\" AND format IN [\"jpg\",\"webp\"]",
        "(size < \"1mb\" AND type = \"folder\") OR (createdAt < '2025-01-01' AND format = jpg)",
        "NOT (path : \"/new\" OR size < 10kb)",
        "createdAt > \"99y\" AND name: \"red-\"",
        "(size < \"1mb\" AND path : \"/\") OR (tags IN [\"summer-sale\",\"banner\"])",
        "createdAt <= \"2024-06-15T12:00:00\"",
        "createdAt < 2024-06-15T12:12:12",
        "createdAt < \"2024-06-15 12:12:12\"",
        "createdAt < 2d",
        "size <= 1500000 OR size > 5000000",
        "name = red-Dress-summer.jpg",
        "name : red",
        "name NOT : \"blue\"",
        "name IN [\"red-dress.jpg\", \"red-Dress-summer.jpg\"]",
        "name NOT = \"red-dress.jpg\" AND tags NOT IN [\"big-banner\"]",
        "type IN [\"file\", \"folder\"]",
        "\"tags\" IN [\"football\", \"summer-sale\"]",
        "name HAS \"Dress re\" OR name HAS \"RED dre\"",
        "tags HAS sale AND tags EXISTS",
        "width > 500 AND height <= 600",
        "private = false AND published = true AND transparency = \"false\"",
        "\"customMetadata.brand\" NOT EXISTS AND embeddedMetadata.Make NOT = \"x\"",
    ] {
        let (status, files) = search(&server, query);
        assert_eq!(status, 200, "{query}: {files}");
        assert_eq!(files[0]["fileId"], "5f", "{query}");
    }
}

#[test]
fn a_file_is_not_found_by_the_opposite() {
    let server = with_one_file();
    for query in [
        "name : \"Red-\"",
        "path = \"/old\"",
        "path : \"/ol\"",
        "createdAt > \"1y\"",
        "createdAt > \"2024-06-15T12:00:00\"",
        "size < \"1mb\"",
        "tags NOT IN [\"summer-sale\"]",
        "name HAS \"dre red\"",
        "tags NOT EXISTS",
        "width IN [100, 200]",
        "private = true",
        "customMetadata.price > 5",
        "id = \"60\"",
        "type = \"folder\"",
        "type = \"folder\" OR size > \"2mb\" AND size > 0",
        "createdAt > \"7d\" AND name : \"red-\"",
    ] {
        assert_eq!(
            search(&server, query),
            (200, serde_json::json!([])),
            "{query}"
        );
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let server = with_one_file();
    for query in [
        "name",
        "name =",
        "name = \"a",
        "nam = \"a\"",
        "name < \"a\"",
        "id : \"5f\"",
        "(name = \"a\"",
        "name = \"a\")",
        "name = \"a\" AND",
        "name = \"a\" name = \"b\"",
        "tags IN \"a\"",
        "tags IN [\"a\"",
        "createdAt < \"yesterday\"",
        "createdAt < \"1x\"",
        "size > \"1 apple\"",
        "width > wide",
        "private = perhaps",
        "private > true",
        "\"metadata.brand\" EXISTS",
        "size HAS \"red\"",
        "name HAS",
        "name EXISTS",
        "size \">\" 0",
        "name = ; \"a\"",
    ] {
        let (status, error) = search(&server, query);
        assert_eq!(status, 400, "{query}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("Invalid search query - "), "{message}");
    }
}

fn passed_in(window: Window, seconds: u64) -> usize {
    let start = Instant::now();
    let mut windows = [window];
    (0..seconds * 1000)
        .filter(|ms| pass(&mut windows, start + Duration::from_millis(*ms)).is_ok())
        .count()
}

#[test]
fn each_kind_lets_its_limit_pass() {
    let second = Duration::from_secs(1);
    assert_eq!(passed_in(Window::fixed(20, second), 10), 200);
    assert_eq!(passed_in(Window::sliding(20, second), 10), 200);
    assert!((69..=70).contains(&passed_in(Window::bucket(5, 20), 10)));
}

#[test]
fn a_refusal_names_the_window_and_its_end() {
    let now = Instant::now();
    let mut windows = [
        Window::sliding(50, Duration::from_secs(1)),
        Window::fixed(1, Duration::from_secs(10)),
    ];
    assert!(pass(&mut windows, now).is_ok());
    let told = pass(&mut windows, now + Duration::from_secs(4)).unwrap_err();
    assert_eq!(
        (told.limit, told.interval, told.reset),
        (1, Duration::from_secs(10), Duration::from_secs(6))
    );
}
