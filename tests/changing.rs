//! An input that somebody writes to while it is read: found out, and never half an ID sent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::process::Child;
use std::time::Duration;

use fixture::{Ran, Scene, id, ids, list};
use flate2::Compression;
use flate2::write::GzEncoder;
use imagekit_bulk_delete::sandbox::Script;
use imagekit_bulk_delete::source::{ExceptLists, Input, Options, Sources};
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

/// What becomes of a list while it is read, and the word for it.
type Change = (&'static str, fn(&Scene, &[String]));

const CHANGES: [Change; 7] = [
    ("shorter", |scene, all| {
        let cut = list(all).len() - 10;
        truncate(scene, cut as u64);
    }),
    ("longer", |scene, all| append(scene, &all[0][..10])),
    ("written to", |scene, all| {
        let others: Vec<String> = (0..all.len() as u64).map(|n| id(9_000_000 + n)).collect();
        write_at(scene, 0, &list(&others));
    }),
    ("shorter", |scene, _| truncate(scene, 0)),
    ("longer", |scene, all| append(scene, &list(&all[..3]))),
    // One byte, at the end that is not read yet.
    ("written to", |scene, all| {
        write_at(scene, list(all).len() as u64 - 2, "x");
    }),
    // Emptied and written anew, as `>` of a shell does.
    ("written to", |scene, all| {
        truncate(scene, 0);
        write_at(scene, 0, &list(all).replace('a', "b"));
    }),
];

fn list_of(scene: &Scene) -> fs::File {
    let file = OpenOptions::new().write(true).open(scene.path("ids.txt"));
    file.unwrap()
}

fn truncate(scene: &Scene, length: u64) {
    list_of(scene).set_len(length).unwrap();
}

fn write_at(scene: &Scene, place: u64, text: &str) {
    list_of(scene).write_all_at(text.as_bytes(), place).unwrap();
}

fn append(scene: &Scene, text: &str) {
    let end = list_of(scene).metadata().unwrap().len();
    write_at(scene, end, text);
}

/// A run whose list was changed while it was read: found out, no stump of an ID sent, and resumed to its end.
fn breaks_and_is_resumed(scene: &Scene, all: &[String], child: Child, word: &str) {
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
        .exits(6)
        .says(word)
        .says("--resume");
    let report = scene.report();
    for row in &report.rows {
        assert!(all.contains(&row.file_id), "{row:?}");
    }
    scene.check_truth(&report);
    fs::write(scene.path("ids.txt"), list(all)).unwrap();
    scene.run_with("--resume").exits(0);
    assert_eq!(scene.server.ledger().deleted_count(), all.len());
}

#[test]
fn a_list_that_is_changed_while_it_is_read_stops_the_run_and_no_stump_is_sent() {
    let all = ids(6000);
    for (word, change) in CHANGES {
        for options in ["-b 100", "--max-delete 6000 --expect-count 6000"] {
            let scene = scene(&all).option(options);
            let child = Scene::start(&mut scene.command());
            scene.wait_for_requests(2);
            change(&scene, &all);
            breaks_and_is_resumed(&scene, &all, child, word);
        }
    }
}

#[test]
fn a_list_on_stdin_that_is_a_file_is_watched_too() {
    let all = ids(6000);
    let (word, change) = CHANGES[2];
    let scene = scene(&all).without("ids.txt").option("-o ids.report.csv");
    let stdin = fs::File::open(scene.path("ids.txt")).unwrap();
    let child = Scene::start(scene.command().stdin(stdin));
    scene.wait_for_requests(2);
    change(&scene, &all);
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
        .exits(6)
        .says(word);
    scene.check_truth(&scene.report());
}

#[test]
fn a_list_that_another_file_replaces_is_read_to_its_end() {
    let all = ids(6000);
    for options in ["-b 100", "--expect-count 6000"] {
        let scene = scene(&all).option(options);
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(2);
        fs::write(scene.path("new.txt"), "another list").unwrap();
        fs::rename(scene.path("new.txt"), scene.path("ids.txt")).unwrap();
        Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(0);
        scene.report().has_a_row_for_each_of(&all);
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
    settle();
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
fn a_file_that_is_cut_grows_or_is_written_to_at_any_moment_gives_whole_ids_and_breaks() {
    let length = 20_000 * 25;
    for after in [0, 1, 2000, 3000, 15_000, 19_990] {
        for cut in [0, 1, 12, length / 2 + 7, length - 1, length - 12] {
            let (read, is_broken) = read_while(|file| file.set_len(cut).unwrap(), after);
            assert!(is_broken, "cut to {cut} after {after}");
            assert!(read.iter().all(|record| record.file_id().len() == 24));
        }
        // Longer, and as long as before: at the beginning, in the middle of an ID, at the end.
        for place in [length, 0, length / 2 + 7, length - 3] {
            let (read, is_broken) =
                read_while(|file| file.write_all_at(b"xyz", place).unwrap(), after);
            assert!(is_broken, "written at {place} after {after}");
            let is_whole =
                |record: &Record| record.file_id().len() == 24 && !record.file_id().contains('x');
            assert!(
                read.iter().all(is_whole),
                "written at {place} after {after}"
            );
        }
    }
}

/// What a compressed list gives when it is changed after its first record.
fn read_packed_while(name: &str, packed: &[u8], change: impl Fn(&fs::File)) -> bool {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, packed).unwrap();
    settle();
    let mut sources = Sources::open(&[Input::File(path.clone())], &Options::default()).unwrap();
    let mut records = sources.records();
    assert!(records.next().unwrap().is_ok());
    change(&OpenOptions::new().write(true).open(&path).unwrap());
    records.last().unwrap().is_err_and(|error| error.is_break())
}

#[test]
fn a_compressed_file_that_is_changed_breaks_too() {
    let text = list(&ids(200_000));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let packings = [
        ("ids.txt.gz", gzip.finish().unwrap()),
        ("ids.txt.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
    ];
    for (name, packed) in packings {
        let length = packed.len() as u64;
        let change = |file: &fs::File| file.set_len(length / 2).unwrap();
        assert!(read_packed_while(name, &packed, change), "{name} cut");
        // The same bytes: what else was written meanwhile cannot be known.
        let change = |file: &fs::File| file.write_all_at(&packed, 0).unwrap();
        assert!(read_packed_while(name, &packed, change), "{name} rewritten");
        let change = |file: &fs::File| file.write_all_at(&packed, length).unwrap();
        assert!(read_packed_while(name, &packed, change), "{name} appended");
    }
}

#[test]
fn a_list_of_exceptions_that_is_changed_while_it_is_loaded_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keep.txt");
    let text = list(&ids(20_000));
    let changes: [fn(&fs::File); 3] = [
        |file| file.set_len(1000).unwrap(),
        |file| file.write_all_at(b"x", 20_000 * 25).unwrap(),
        |file| file.write_all_at(b"xyz", 19_000 * 25).unwrap(),
    ];
    for change in changes {
        fs::write(&path, &text).unwrap();
        settle();
        let mut protected = 0;
        let loaded = ExceptLists::load(&[Input::File(path.clone())], |_| {
            protected += 1;
            if protected == 10 {
                change(&OpenOptions::new().write(true).open(&path).unwrap());
            }
        });
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains("nothing was sent"), "{error}");
    }
}

/// Waits until a file that is written now has another time than one written before: the kernel's clock for that goes
/// in steps.
fn settle() {
    let time = || {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(b"x").unwrap();
        file.metadata().unwrap().modified().unwrap()
    };
    let before = time();
    fixture::wait_until(|| time() != before);
}
