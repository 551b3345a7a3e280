//! `--except`: IDs that survive whatever the input says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use fixture::{HEADER, Ran, Scene, id, ids, list};
use imagekit_bulk_delete::sandbox::Script;
use proptest::prelude::*;
use serde_json::Value;

fn keep(scene: &Scene, name: &str, text: impl AsRef<[u8]>) {
    fs::write(scene.path(name), text).unwrap();
}

fn was_named(scene: &Scene, id: &str) -> bool {
    let requests = scene.server.ledger().requests();
    let is_named = |named: &String| named == id;
    requests
        .iter()
        .any(|request| request.path.contains(id) || request.file_ids.iter().any(is_named))
}

#[test]
fn what_a_list_names_is_never_sent_and_every_view_counts_it() {
    let all = ids(30);
    let scene = Scene::with_files(Script::plain(), &all)
        .option(
            "--except keep.txt --purge-cache --max-delete 25 --expect-count 30 --rate unlimited",
        )
        .option("--summary-json s.json --metrics-file m.prom --html page.html");
    keep(&scene, "keep.txt", list(&all[10..15]));
    scene.run().exits(0).says("5  excluded").says("protects 5");
    let report = scene.report();
    assert_eq!((report.count("deleted"), report.count("excluded")), (25, 5));
    scene.check_truth(&report);
    for id in &all[10..15] {
        let row = report.row(id);
        assert_eq!((row.error.as_str(), row.attempts), ("excluded", 0));
        assert!(!was_named(&scene, id), "not even looked up: {id}");
        assert!(scene.server.ledger().exists(id));
    }
    let json: Value = serde_json::from_slice(&fs::read(scene.path("s.json")).unwrap()).unwrap();
    assert_eq!(json["counts"]["excluded"], 5);
    let metrics = fs::read_to_string(scene.path("m.prom")).unwrap();
    assert!(
        metrics.contains("records{status=\"excluded\"} 5"),
        "{metrics}"
    );
    let page = fs::read_to_string(scene.path("page.html")).unwrap();
    assert!(page.contains("excluded"));
    let dry = scene.run_with("--dry-run --overwrite");
    dry.exits(0).says("excluded                   5");
}

#[test]
fn the_caps_count_what_would_be_sent_and_what_the_input_holds() {
    let all = ids(30);
    let scene = Scene::with_files(Script::plain(), &all).option("--except keep.txt");
    keep(&scene, "keep.txt", list(&all[..5]));
    scene.run_with("--max-delete 24").exits(2).says("25 IDs");
    scene
        .run_with("--expect-count 25")
        .exits(2)
        .says("30 distinct");
    scene.run_with("--dry-run --max-delete 24").exits(2);
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert!(!scene.report_path().exists());
}

#[test]
fn any_kind_of_list_protects() {
    let all = ids(10);
    let kept = &all[3];
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let report =
        format!("{HEADER}{kept},deleted,204,,1,9,2026-11-24T07:08:46.123Z,r,1,a.csv,,,,\n");
    let lists: [(&str, Vec<u8>); 8] = [
        ("one ID", kept.clone().into()),
        ("a header", format!("\u{feff}asset\r\n{kept}\r\n").into()),
        ("an export", format!("name;fileId;x\na;{kept};1,5\n").into()),
        ("a report", report.into()),
        (
            "a version",
            format!("fileId,type\n{kept},file-version\n").into(),
        ),
        (
            "spoilt IDs beside it",
            format!("fileId\n6.1E+23\na b\n{kept}\n").into(),
        ),
        ("gzip", gzip(&list(&all[3..4]))),
        ("doubles", list(&[kept.clone(), kept.clone()]).into()),
    ];
    for (what, bytes) in lists {
        let scene = Scene::with_files(Script::plain(), &all)
            .option("--except keep.list --column 1 --rate unlimited");
        keep(&scene, "keep.list", bytes);
        scene.run().exits(0);
        let report = scene.report();
        assert_eq!(
            (report.count("deleted"), report.count("excluded")),
            (9, 1),
            "{what}"
        );
        assert_eq!(report.row(kept).status, "excluded", "{what}");
        assert!(scene.server.ledger().exists(kept), "{what}");
    }
}

#[test]
fn a_list_may_come_by_a_pipe_and_several_are_one() {
    let all = ids(10);
    let scene = Scene::with_files(Script::plain(), &all)
        .option("--except - --except b.txt --except c.txt --rate unlimited");
    keep(&scene, "b.txt", list(&all[1..3]));
    keep(&scene, "c.txt", list(&ids(40)[30..]));
    let scene = scene.option("--summary-json s.json");
    let ran = scene.run_with_stdin(format!("fileId\n{}\n", all[0]));
    ran.exits(0)
        .says("--except c.txt names nothing in this input");
    assert!(
        !ran.stderr.contains("b.txt names nothing"),
        "{}",
        ran.stderr
    );
    assert_eq!(scene.report().count("excluded"), 3);
    let json: Value = serde_json::from_slice(&fs::read(scene.path("s.json")).unwrap()).unwrap();
    let lists = &json["options"]["except"];
    assert_eq!(*lists, serde_json::json!(["-", "b.txt", "c.txt"]));
    let mut child = scene.command();
    child.args(["--overwrite", "-"]).stdin(Stdio::null());
    let both = Ran::new(child.output().unwrap(), scene.folder.path());
    both.exits(2).says("stdin");
}

#[test]
fn a_list_that_protects_nothing_is_refused_before_anything_is_sent() {
    let all = ids(10);
    let zstd = zstd::encode_all(list(&ids(50_000)).as_bytes(), 1).unwrap();
    let lists: [(&str, Option<&[u8]>); 11] = [
        ("missing", None),
        ("empty", Some(b"")),
        ("blank lines", Some(b"\n  \n\n")),
        ("a header alone", Some(b"fileId\n")),
        ("a report without rows", Some(HEADER.as_bytes())),
        ("no possible ID", Some(b"fileId\na b\n\"\"\nx/y\n")),
        ("an error message", Some(b"Error: connection refused\n")),
        ("JSON", Some(b"[\"5f0000000000000000000000\"]")),
        ("several columns", Some(b"a,b\nx,y\n")),
        (
            "an open quote",
            Some(b"fileId,n\n5f0000000000000000000001,1\n5f0000000000000000000002,\"x\n"),
        ),
        ("cut zstd", Some(&zstd[..zstd.len() / 2])),
    ];
    for (what, bytes) in lists {
        for dry in ["--rate unlimited", "--dry-run", "--dry-run --check"] {
            let scene = Scene::with_files(Script::plain(), &all).option("--except keep.csv");
            if let Some(bytes) = bytes {
                keep(&scene, "keep.csv", bytes);
            }
            let ran = scene.run_with(dry);
            ran.exits(2).says("--except").says("keep.csv");
            assert_eq!(scene.server.ledger().request_count(), 0, "{what} {dry}");
            let left = fs::read_dir(scene.folder.path()).unwrap().count();
            assert_eq!(
                left,
                1 + usize::from(bytes.is_some()),
                "{what} {dry}: nothing is left"
            );
        }
    }
}

#[test]
fn a_list_is_looked_at_anew_by_every_run() {
    let all = ids(20);
    let scene = Scene::with_files(Script::plain(), &all)
        .option("--except keep.txt --resume --rate unlimited");
    keep(&scene, "keep.txt", list(&all[..5]));
    scene.run().exits(0);
    assert_eq!(scene.report().count("excluded"), 5);

    // One ID is taken from the list, one that is deleted comes to it.
    keep(
        &scene,
        "keep.txt",
        list(&[&all[1..5], &all[10..11]].concat()),
    );
    let requests = scene.server.ledger().request_count();
    scene.run().exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    assert_eq!(report.row(&all[0]).status, "deleted");
    assert_eq!(
        report.row(&all[10]).status,
        "deleted",
        "what is settled stays"
    );
    assert_eq!(report.count("excluded"), 4);
    assert_eq!(scene.server.ledger().request_count(), requests + 1);

    // Without the list the rest goes.
    let last = Scene::without(scene, "--except").without("keep.txt");
    last.run().exits(0);
    let report = last.report();
    report.has_a_row_for_each_of(&all);
    assert_eq!(report.count("deleted"), 20);
    last.check_truth(&report);
    assert!(!last.path("ids.report.csv.state").exists());
}

#[test]
fn a_second_record_of_a_protected_id_is_a_duplicate_and_a_folder_stays_invalid() {
    let all = ids(3);
    let text = format!(
        "fileId,type\n{0},file\n{0},\n{1},folder\n{2},file\n",
        all[0], all[1], all[2]
    );
    let scene = Scene::new(Script::plain())
        .input("a.csv", text)
        .option("--except keep.txt --report ids.report.csv --resume");
    scene.server.ledger().put_all(all.iter().cloned());
    keep(&scene, "keep.txt", list(&all[..2]));
    for _ in 0..2 {
        scene.run().exits(1);
        let statuses: Vec<String> = scene
            .report()
            .rows
            .into_iter()
            .map(|row| row.status)
            .collect();
        for (status, count) in [
            ("excluded", 1),
            ("duplicate", 1),
            ("invalid", 1),
            ("deleted", 1),
        ] {
            let is_it = |told: &&String| *told == status;
            assert_eq!(statuses.iter().filter(is_it).count(), count, "{statuses:?}");
        }
    }
}

#[test]
fn an_id_that_a_killed_run_had_in_flight_is_not_told_excluded() {
    let all = ids(300);
    let script = Script {
        latency: Duration::from_millis(400)..Duration::from_millis(500),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--rate unlimited --resume");
    let mut child = Scene::start(&mut scene.command());
    // The first request goes alone; the other two are in flight once it was answered.
    scene.wait_for_requests(3);
    child.kill().unwrap();
    child.wait().unwrap();
    let ledger = scene.server.ledger();
    keep(&scene, "keep.txt", list(&all));
    let requests = ledger.request_count();
    scene.run_with("--except keep.txt").exits(1);
    let report = scene.true_report_of(&all);
    assert!(report.count("unknown") > 0, "{:?}", report.counts());
    assert_eq!(ledger.request_count(), requests, "nothing was sent");
    scene.run().exits(0);
    scene.check_truth(&scene.report());
}

#[test]
fn a_check_does_not_ask_for_what_is_protected() {
    let all = ids(6);
    let scene = Scene::with_files(Script::plain(), &all).option("--except keep.txt");
    keep(&scene, "keep.txt", list(&all[..2]));
    scene
        .run_with("--dry-run --check")
        .exits(0)
        .says("2 records are excluded");
    let sheet = fs::read_to_string(scene.path("ids.check.csv")).unwrap();
    assert_eq!(sheet.lines().count(), 5);
    assert!(
        all[..2]
            .iter()
            .all(|id| !sheet.contains(id) && !was_named(&scene, id))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_lists_keeps_what_each_names_and_deletes_the_rest_at_last(
        lists in prop::collection::vec(prop::collection::btree_set(0..40_u64, 1..20), 1..4),
    ) {
        let all = ids(40);
        let scene = Scene::with_files(Script::plain(), &all)
            .option("--except keep.txt --resume --rate unlimited --batch-size 3");
        let mut kept_throughout: Option<std::collections::BTreeSet<u64>> = None;
        for kept in &lists {
            let kept_ids: Vec<String> = kept.iter().map(|n| id(*n)).collect();
            keep(&scene, "keep.txt", format!("id\n{}", list(&kept_ids)));
            scene.run().exits(0);
            let so_far = kept_throughout.get_or_insert_with(|| kept.clone());
            *so_far = so_far.intersection(kept).copied().collect();
            let report = scene.true_report_of(&all);
            for n in 0..40 {
                let is_kept = so_far.contains(&n);
                prop_assert_eq!(scene.server.ledger().exists(&id(n)), is_kept, "ID {}", n);
                prop_assert_eq!(report.row(&id(n)).status == "excluded", is_kept, "ID {}", n);
            }
        }
    }
}

/// The most memory that a dry run over one ID had at once while it kept this many others, in bytes.
#[cfg(target_os = "linux")]
fn peak_with(count: u64) -> u64 {
    let scene = Scene::with_files(Script::plain(), &ids(1)).option("--dry-run --except keep.txt");
    let others: Vec<String> = (1..=count).map(id).collect();
    keep(&scene, "keep.txt", list(&others));
    let mut child = Scene::start(&mut scene.command());
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or_default() * 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

#[test]
#[cfg(target_os = "linux")]
fn a_protected_id_takes_at_most_32_bytes() {
    // The lists are read once more at the end, since they name nothing: the peak is seen.
    let (few, many) = (peak_with(20_000), peak_with(1_000_000));
    let each = (many - few) / 980_000;
    assert!(
        (8..=32).contains(&each),
        "{each} bytes an ID: {few}, {many}"
    );
}
