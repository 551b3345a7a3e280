//! Looking before the leap: a dry run sends nothing, a check only reads, and both tell the truth.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use fixture::front::{Reply, without_id_3};
use fixture::{Ran, Report, Scene, id, ids, instead, list, signal};
use imagekit_bulk_delete::plan::{Plan, Work};
use imagekit_bulk_delete::sandbox::Script;
use imagekit_bulk_delete::throttle::Rate;

/// A row of a check's sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Checked {
    exists: String,
    kind: String,
    url: String,
}

fn sheet(path: &Path) -> HashMap<String, Checked> {
    read_sheet(&fs::read(path).unwrap())
}

fn read_sheet(bytes: &[u8]) -> HashMap<String, Checked> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header: Vec<&str> = fixture::SHEET.trim().split(',').collect();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), header);
    let rows: Vec<(String, Checked)> = reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            let checked = Checked {
                exists: record[1].into(),
                kind: record[2].into(),
                url: record[7].into(),
            };
            (record[0].to_owned(), checked)
        })
        .collect();
    let (count, rows) = (rows.len(), rows.into_iter().collect::<HashMap<_, _>>());
    assert_eq!(rows.len(), count, "one row an ID");
    rows
}

fn files_in(scene: &Scene) -> usize {
    fs::read_dir(scene.folder.path()).unwrap().count()
}

#[test]
fn a_dry_run_needs_no_key_sends_nothing_and_leaves_nothing() {
    let all = ids(250);
    let mut text = list(&all);
    text.push_str(&format!("{}\n{}\n\"\"\nnot/an/id\n", all[3], all[3]));
    let scene = Scene::new(Script::plain())
        .input("ids.txt", text)
        .variable("IMAGEKIT_PRIVATE_KEY", "")
        .without("--yes");
    let ran = scene.run_with("--dry-run");
    ran.exits(1)
        .says("line 253: the ID is empty")
        .says("line 254: the ID has a slash inside")
        .says("3 requests");
    for (name, count) in [
        ("records", 254),
        ("to delete", 250),
        ("duplicate", 2),
        ("invalid", 2),
    ] {
        let line = ran
            .stderr
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap();
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
    assert!(ran.stderr.contains(&all[0]) && ran.stderr.contains(&all[249]));
    assert_eq!(ran.stdout, "");
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert_eq!(files_in(&scene), 1, "the input alone");
    let singles = scene.run_with("--dry-run --batch-size 1 --rate 10");
    singles.says("250 requests").says("at least 24 s");
}

#[test]
fn the_caps_refuse_a_dry_run_as_they_would_the_run() {
    let all = ids(20);
    let scene = Scene::with_files(Script::plain(), &all);
    for (option, code) in [
        ("--max-delete 19", 2),
        ("--max-delete 20", 0),
        ("--expect-count 21", 2),
        ("--expect-count 20", 0),
        ("--purge-cache --max-purges 19", 2),
        ("--purge-cache --max-purges 20", 0),
    ] {
        for how in ["--dry-run", "--dry-run --check --overwrite"] {
            scene.run_with(&format!("{how} {option}")).exits(code);
        }
    }
    assert_eq!(scene.server.ledger().deleted_count(), 0);
}

#[test]
fn a_dry_run_of_a_resume_counts_what_is_left() {
    let all = ids(30);
    let scene = Scene::with_files(Script::plain(), &all[..20]).option("--rate unlimited");
    scene.run().exits(0);
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    let before = fs::read(scene.report_path()).unwrap();
    scene.run_with("--dry-run").says("--resume");
    let ran = scene.run_with("--dry-run --resume --max-delete 10");
    ran.exits(0).says("settled earlier");
    scene.run_with("--dry-run --resume --max-delete 9").exits(2);
    assert_eq!(
        fs::read(scene.report_path()).unwrap(),
        before,
        "the report is looked at only"
    );
}

#[test]
fn a_check_is_right_for_each_id_and_only_reads() {
    let all = ids(1000);
    let missing = |n: usize| n % 50 == 7;
    let (scene, _front) = Scene::new(Script::plain())
        .input("ids.txt", list(&all))
        .behind(without_id_3);
    let there = all.iter().enumerate().filter(|(n, _)| !missing(*n));
    scene
        .server
        .ledger()
        .put_all(there.map(|(_, id)| id.clone()));
    for (number, kind) in [(1, "folder"), (2, "file-version")] {
        instead::put_kind(scene.server.ledger(), &all[number], kind);
    }
    let ran = scene.run_with("--dry-run --check");
    ran.exits(0)
        .says("980 of 1,000 exist")
        .says("2 are folders or versions")
        .says("oldest 20")
        .says(&format!("{} (ids.txt line 2) is a folder", all[1]));
    let rows = sheet(&scene.path("ids.check.csv"));
    assert_eq!(rows.len(), 1000);
    for (n, id) in all.iter().enumerate() {
        let row = &rows[id];
        assert_eq!(row.exists, (!missing(n)).to_string(), "{id}");
        assert_eq!(
            row.url.contains(&format!("{id}.jpg?updatedAt=")),
            !missing(n) && row.kind != "folder",
            "{row:?}"
        );
    }
    assert_eq!(
        (
            rows[&all[1]].kind.as_str(),
            rows[&all[2]].kind.as_str(),
            rows[&all[3]].kind.as_str()
        ),
        ("folder", "file-version", "file")
    );
    let ledger = scene.server.ledger();
    assert!(
        ledger
            .requests()
            .iter()
            .all(|request| request.method == "GET")
    );
    assert_eq!(
        ledger.request_count(),
        10 + 20 + 1,
        "a search for each hundred, and details for what it did not return"
    );
    let mode = fs::metadata(scene.path("ids.check.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // What was found is input for the run; what would hit a live file is not sent.
    let scene = scene.without("ids.txt");
    scene
        .run_with("ids.check.csv -o out.csv --rate unlimited")
        .exits(1);
    let report = Report::read(&scene.path("out.csv"));
    for words in [
        "a folder, which is never deleted",
        "its ID belongs to the live file",
    ] {
        assert!(report.rows.iter().any(|row| row.message.contains(words)));
    }
    let ledger = scene.server.ledger();
    assert!(ledger.exists(&all[1]) && ledger.exists(&all[2]));
    assert_eq!(ledger.deleted_count(), 978);
}

#[test]
fn a_sheet_is_not_replaced_unless_asked_for_and_then_kept() {
    let all = ids(3);
    let scene = Scene::with_files(Script::plain(), &all);
    scene.run_with("--dry-run --check").exits(0);
    let asked = scene.server.ledger().request_count();
    scene
        .run_with("--dry-run --check")
        .exits(2)
        .says("--overwrite");
    assert_eq!(scene.server.ledger().request_count(), asked);
    scene.run_with("--dry-run --check --overwrite").exits(0);
    assert!(scene.path("ids.check.csv.bak").exists());
    let ran = scene.run_with("--dry-run --check -o -");
    ran.exits(0).says("written to: stdout");
    assert_eq!(read_sheet(ran.stdout.as_bytes()).len(), 3);
    scene
        .run_with("--dry-run --check -o no/such/folder.csv")
        .exits(2)
        .says("no/such");
}

#[test]
fn a_check_with_a_wrong_key_costs_one_request() {
    let scene = Scene::with_files(Script::plain(), &ids(500))
        .variable("IMAGEKIT_PRIVATE_KEY", "private_wrong");
    scene
        .run_with("--dry-run --check --quiet")
        .exits(3)
        .says("key");
    assert_eq!(scene.server.ledger().request_count(), 1);
    assert_eq!(files_in(&scene), 1, "nothing was learnt: the input alone");
}

#[test]
fn a_check_that_is_stopped_says_how_far_it_came_and_has_no_complete_ones_name() {
    let all = ids(2000);
    let script = Script {
        latency: Duration::from_millis(60)..Duration::from_millis(61),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--dry-run --check --concurrency 1");
    let older = format!("{}{}", fixture::SHEET, "0123,true,file,,,1,,\n");
    fs::write(scene.path("ids.check.csv"), &older).unwrap();
    let child = Scene::start(scene.command().arg("--overwrite"));
    scene.wait_for_requests(3);
    signal(&child, "INT");
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(130)
        .says("the check is not complete")
        .says("ids.check.csv.part");
    let part = sheet(&scene.path("ids.check.csv.part"));
    assert!(part.len() >= 200 && part.len() < 2000, "{}", part.len());
    assert!(!scene.path("ids.check.csv.state").exists());
    let there = fs::read_to_string(scene.path("ids.check.csv")).unwrap();
    assert_eq!(
        there, older,
        "an older check stays until there is a new one"
    );
    scene.run_with("--overwrite --rate unlimited").exits(0);
    assert_eq!(sheet(&scene.path("ids.check.csv")).len(), 2000);
    assert!(!scene.path("ids.check.csv.part").exists());
    let backup = fs::read_to_string(scene.path("ids.check.csv.bak")).unwrap();
    assert_eq!(backup, older);
}

#[test]
fn a_check_that_is_left_at_once_says_how_far_it_came() {
    let script = Script {
        latency: Duration::from_millis(60)..Duration::from_millis(61),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &ids(2000)).option("--dry-run --check --concurrency 1");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(3);
    signal(&child, "QUIT");
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(130);
    let part = sheet(&scene.path("ids.check.csv.part")).len();
    assert!((1..2000).contains(&part), "{part}");
    ran.says(&format!("checked {part} IDs: {part} of {part} exist"));
}

#[test]
fn a_check_of_records_that_are_all_invalid_says_so() {
    let scene = Scene::new(Script::plain()).input("ids.txt", "fileId\n\"\"\na/b\n");
    let ran = scene.run_with("--dry-run --check");
    ran.exits(1).says("2 invalid");
    assert!(!ran.stderr.contains("no records"), "{}", ran.stderr);
}

#[test]
fn a_check_of_a_strangers_page_stops_and_claims_nothing() {
    let scene = Scene::with_files(Script::plain(), &ids(500));
    let (scene, front) = scene.behind(|_| Reply::page(200, "<html>hello</html>"));
    scene
        .run_with("--dry-run --check")
        .exits(3)
        .says("not ImageKit");
    assert_eq!(front.asked().len(), 1);
    assert_eq!(files_in(&scene), 1, "nothing was learnt: the input alone");
}

#[test]
fn a_host_that_does_not_search_is_asked_for_each_file() {
    let all = ids(30);
    let scene = Scene::with_files(Script::plain(), &all[..20]);
    let (scene, front) = scene.behind(|asked| {
        if asked.is_search() {
            Reply::imagekit(400, r#"{"message":"Invalid search query - no.","help":""}"#)
        } else {
            Reply::Pass
        }
    });
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    scene
        .run_with("--dry-run --check --rate unlimited")
        .exits(0);
    let rows = sheet(&scene.path("ids.check.csv"));
    let there = rows.values().filter(|row| row.exists == "true").count();
    assert_eq!((there, rows.len()), (20, 30));
    assert_eq!(front.asked().len(), 31);
}

#[test]
fn ids_that_cannot_be_quoted_are_asked_for_by_their_details() {
    let odd = [String::from("a\"b"), String::from("c\\d"), id(1)];
    let scene = Scene::new(Script::plain()).input("ids.csv", "id\n\"a\"\"b\"\nc\\d\n");
    scene.server.ledger().put_all(odd.iter().cloned());
    scene.run_with("--dry-run --check").exits(0);
    let rows = sheet(&scene.path("ids.check.csv"));
    assert!(
        rows.len() == 2 && rows.values().all(|row| row.exists == "true"),
        "{rows:?}"
    );
    let paths: Vec<String> = scene
        .server
        .ledger()
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(
        paths,
        ["/v1/files/a%22b/details", "/v1/files/c%5Cd/details"]
    );
}

#[test]
fn a_check_of_a_host_that_is_never_reached_leaves_nothing() {
    let scene = Scene::new(Script::plain()).input("ids.txt", list(&ids(5)));
    let output = std::process::Command::new(fixture::BINARY)
        .args(["--dry-run", "--check", "ids.txt"])
        .args([
            "--base-url",
            "http://127.0.0.1:9",
            "--summary-json",
            "s.json",
        ])
        .env_clear()
        .env("IMAGEKIT_PRIVATE_KEY", "private_x")
        .current_dir(scene.folder.path())
        .output()
        .unwrap();
    fixture::Ran::new(output, scene.folder.path())
        .exits(2)
        .says("cannot be reached")
        .says("--summary-json: nothing is written by a dry run");
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 1);
}

#[test]
fn a_hundred_thousand_ids_take_200_seconds_in_batches_and_hours_one_by_one() {
    let work = Work {
        ids: 100_000,
        batch_size: 100,
        ..Work::default()
    };
    let plan = Plan::of(&work, 100, Rate::Auto);
    assert_eq!(
        (plan.requests, plan.time),
        (1000, Some(Duration::from_secs(196)))
    );
    let singles = Work {
        batch_size: 1,
        ..work
    };
    let plan = Plan::of(&singles, 100, Rate::Auto);
    assert_eq!(
        (plan.requests, plan.time),
        (100_000, Some(Duration::from_secs(19_996)))
    );
    let rate = Rate::PerSecond {
        per_second: 2.0,
        burst: 1,
    };
    let plan = Plan::of(&work, 100, rate);
    assert_eq!(plan.time, Some(Duration::from_millis(499_500)));
    assert_eq!(Plan::of(&work, 100, Rate::Unlimited).time, None);
}

#[test]
fn purges_go_beside_the_deletions_and_are_slower() {
    let work = Work {
        ids: 520,
        batch_size: 100,
        lookups: 150,
        purges: 520,
    };
    let plan = Plan::of(&work, 100, Rate::Auto);
    assert_eq!(
        (plan.requests, plan.time),
        (6 + 2 + 520, Some(Duration::from_secs(100)))
    );
}
