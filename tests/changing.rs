//! An input that somebody writes to while it is read: found out, and never half an ID sent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use fixture::{Ran, Scene, ids, list};
use imagekit_bulk_delete::sandbox::Script;
use imagekit_bulk_delete::source::{Input, Options, Sources};
use imagekit_bulk_delete::target::Record;
use tempfile::TempDir;

/// A run of many small requests, under way: there is time to change its list.
fn scene(all: &[String]) -> Scene {
    let script = Script {
        latency: Duration::from_millis(30)..Duration::from_millis(40),
        ..Script::plain()
    };
    Scene::with_files(script, all).option("--rate unlimited --concurrency 2")
}

/// What a list becomes while it is read, by a name.
type Change = (&'static str, fn(&Scene, &[String]));

const CHANGES: [Change; 4] = [
    ("shorter", |scene, all| {
        let cut = list(all).len() - 10;
        truncate(scene, cut as u64);
    }),
    ("longer", |scene, all| append(scene, &all[0][..10])),
    ("shorter", |scene, _| truncate(scene, 0)),
    ("longer", |scene, all| append(scene, &list(&all[..3]))),
];

fn truncate(scene: &Scene, length: u64) {
    let file = OpenOptions::new().write(true).open(scene.path("ids.txt"));
    file.unwrap().set_len(length).unwrap();
}

fn append(scene: &Scene, text: &str) {
    let file = OpenOptions::new().append(true).open(scene.path("ids.txt"));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_list_that_changes_its_length_while_it_is_read_stops_the_run_and_no_stump_is_sent() {
    let all = ids(6000);
    let options = [
        "--max-attempts 6",
        "--max-delete 6000",
        "--expect-count 6000",
    ];
    for ((word, change), options) in CHANGES.into_iter().zip(options.iter().cycle()) {
        let scene = scene(&all).option(options);
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(2);
        change(&scene, &all);
        Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
            .exits(6)
            .says(word)
            .says("--resume");
        let report = fs::read_to_string(scene.path("ids.report.csv")).unwrap();
        for row in report.lines().skip(1) {
            assert_eq!(row.split(',').next().unwrap().len(), 24, "{row}");
        }
        fs::write(scene.path("ids.txt"), list(&all)).unwrap();
        let resumed = scene.command().arg("--resume").output().unwrap();
        Ran::new(resumed, scene.folder.path()).exits(0);
        assert_eq!(scene.server.ledger().deleted_count(), all.len());
    }
}

#[test]
fn a_small_list_that_is_read_at_once_is_looked_at_again_at_its_end() {
    let all = ids(3000);
    let scene = scene(&all);
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(1);
    append(&scene, &all[0][..7]);
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
        .exits(6)
        .says("longer");
}

/// What is read of a file that is changed when `after` records were read.
fn read_while(change: impl Fn(&fs::File), after: usize) -> (Vec<Record>, bool) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ids.txt");
    fs::write(&path, list(&ids(20_000))).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let mut sources = Sources::open(&[Input::File(path)], &Options::default()).unwrap();
    let mut records = sources.records();
    let mut read: Vec<Record> = Vec::new();
    loop {
        if read.len() == after {
            change(&file);
        }
        match records.next() {
            Some(Ok(record)) => read.push(record),
            Some(Err(error)) => return (read, error.is_break()),
            None => return (read, false),
        }
    }
}

#[test]
fn a_file_that_is_cut_or_grows_at_any_moment_gives_whole_ids_and_breaks() {
    let length = 20_000 * 25;
    for after in [0, 1, 2000, 3000, 15_000, 19_990] {
        for cut in [0, 1, 12, length / 2 + 7, length - 1, length - 12] {
            let (read, is_broken) = read_while(|file| file.set_len(cut).unwrap(), after);
            assert!(is_broken, "cut to {cut} after {after}");
            assert!(read.iter().all(|record| record.file_id().len() == 24));
        }
        let (read, is_broken) =
            read_while(|file| file.write_all_at(b"abc", length).unwrap(), after);
        assert!(is_broken, "longer after {after}");
        assert!(read.iter().all(|record| record.file_id().len() == 24));
    }
}

#[test]
fn a_compressed_file_that_is_cut_breaks_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ids.txt.zst");
    let packed = zstd::encode_all(list(&ids(200_000)).as_bytes(), 1).unwrap();
    fs::write(&path, &packed).unwrap();
    let mut sources = Sources::open(&[Input::File(path.clone())], &Options::default()).unwrap();
    let mut records = sources.records();
    assert!(records.next().unwrap().is_ok());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(packed.len() as u64 / 2).unwrap();
    assert!(records.last().unwrap().is_err_and(|error| error.is_break()));
}
