//! What a run leaves for machines: summary JSON, metrics and log, held against the report and the server's ledger.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::time::Duration;

use fixture::front::Reply;
use fixture::{NOBODY, Ran, Report, STATUSES, Scene, id, ids, instead, list, wait_until};
use imagekit_bulk_delete::sandbox::{Fault, Script, Window};
use serde_json::Value;

fn told(scene: Scene) -> Scene {
    scene.option("--rate unlimited --summary-json s.json --metrics-file m.prom")
}

fn summary(scene: &Scene) -> Value {
    serde_json::from_str(&fs::read_to_string(scene.path("s.json")).unwrap()).unwrap()
}

fn metrics(scene: &Scene) -> String {
    fs::read_to_string(scene.path("m.prom")).unwrap()
}

/// The value of a sample, `None` where there is none.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    let value = |line: &str| {
        line.strip_prefix("imagekit_bulk_delete_")?
            .strip_prefix(name)?
            .strip_prefix(' ')?
            .parse()
            .ok()
    };
    metrics.lines().find_map(value)
}

#[track_caller]
fn is(metrics: &str, name: &str, count: u64) {
    let line = format!("imagekit_bulk_delete_{name} {count}");
    let is_told = metrics.lines().any(|told| told == line);
    let is_absent = count == 0 && sample(metrics, name).is_none();
    assert!(is_told || is_absent, "{line} is not in\n{metrics}");
}

/// JSON, metrics, report and ledger say the same of a scene of which `requests` were sent before this run.
#[track_caller]
fn all_agree(scene: &Scene, code: i32, requests_before: u64) {
    let (json, metrics, report) = (summary(scene), metrics(scene), scene.report());
    assert_eq!(json["exit_code"], code);
    assert_eq!(json["reason"].is_null(), code < 2, "{json}");
    assert_eq!(json["report"], "ids.report.csv");
    for status in STATUSES {
        let count = report.count(status) as u64;
        assert_eq!(json["counts"][status], count, "{status} in {json}");
        is(&metrics, &format!("records{{status=\"{status}\"}}"), count);
    }
    let ledger = scene.server.ledger();
    assert_eq!(json["requests"], ledger.request_count() - requests_before);
    assert!(sample(&metrics, "end_time_seconds") >= sample(&metrics, "start_time_seconds"));
    is(&metrics, "exit_code", u64::try_from(code).unwrap());
    is(&metrics, "throttled", json["throttled"].as_u64().unwrap());
    if requests_before == 0 {
        assert_eq!(json["throttled"], ledger.answered_with(429));
        for (code, status) in [
            ("none", 0),
            ("200", 200),
            ("204", 204),
            ("404", 404),
            ("429", 429),
            ("500", 500),
        ] {
            is(
                &metrics,
                &format!("requests{{code=\"{code}\"}}"),
                ledger.answered_with(status),
            );
        }
    }
}

#[test]
fn after_a_run_all_say_the_same() {
    let all = ids(600);
    for how in ["--batch-size 1", "--batch-size 100"] {
        let text = list(&all) + &list(&all[..7]) + "not an id\n";
        let scene = told(Scene::new(with_limits_and_faults()).input("ids.txt", text)).option(how);
        scene.server.ledger().put_all(all[..550].iter().cloned());
        scene.run().exits(1);
        all_agree(&scene, 1, 0);
        let json = summary(&scene);
        assert_eq!(json["records"], 608);
        assert_eq!(
            (&json["schema"], &json["kept_rows"], &json["purges"]),
            (&1.into(), &0.into(), &Value::Null)
        );
        assert_eq!(json["inputs"], serde_json::json!(["ids.txt"]));
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["options"]["rate"], "unlimited");
        assert_eq!(json["options"]["yes"], true);
        assert!(
            json["options"]
                .get("resume")
                .is_some_and(|resume| resume == false)
        );
        assert!(json["retries"].as_u64() >= Some(2), "{json}");
        let started = json["started_at"].as_str().unwrap();
        assert!(started.ends_with('Z') && started < json["finished_at"].as_str().unwrap());
        if how == "--batch-size 1" {
            assert_eq!(
                json["limits"],
                serde_json::json!([{ "endpoint": "delete", "limit": 40, "interval_ms": 100 }])
            );
            assert!(json["paused_ms"].as_u64() > Some(0) && json["throttled"].as_u64() > Some(0));
        }
    }
}

fn with_limits_and_faults() -> Script {
    Script {
        limits: vec![Window::fixed(40, Duration::from_millis(100))],
        faults_at: [(3, Fault::Html500), (5, Fault::ResetAfter)].into(),
        ..Script::plain()
    }
}

#[test]
fn after_a_stop_and_a_resume_all_say_the_same() {
    let all = ids(500);
    let scene =
        told(Scene::new(Script::plain()).input("ids.txt", list(&all))).option("--batch-size 1");
    scene.server.ledger().put_all(all[..400].iter().cloned());
    scene.run_with("--max-not-found 20").exits(4);
    all_agree(&scene, 4, 0);
    let json = summary(&scene);
    assert!(
        json["reason"]
            .as_str()
            .unwrap()
            .contains("--max-not-found 20"),
        "{json}"
    );
    let before = scene.server.ledger().request_count();
    scene.run_with("--resume").exits(0);
    all_agree(&scene, 0, before);
    let json = summary(&scene);
    assert_eq!(
        (&json["records"], &json["options"]["resume"]),
        (&500.into(), &true.into())
    );
}

#[test]
fn a_resume_with_another_input_tells_of_the_rows_that_it_kept() {
    let all = ids(40);
    let scene = told(Scene::with_files(Script::plain(), &all));
    scene.run().exits(0);
    fs::write(scene.path("ids.txt"), list(&all[10..])).unwrap();
    scene.run_with("--resume").exits(0);
    is(&metrics(&scene), "records{status=\"deleted\"}", 30);
    let json = summary(&scene);
    assert_eq!(
        (
            &json["records"],
            &json["kept_rows"],
            &json["counts"]["deleted"]
        ),
        (&30.into(), &10.into(), &30.into())
    );
}

#[test]
fn a_run_that_never_began_tells_why() {
    let all = ids(9);
    let scene = told(Scene::with_files(Script::plain(), &all));
    scene.run_with("--max-delete 5").exits(2);
    let json = summary(&scene);
    assert_eq!(
        (&json["exit_code"], &json["records"], &json["report"]),
        (&2.into(), &0.into(), &Value::Null)
    );
    assert!(
        json["reason"].as_str().unwrap().contains("--max-delete"),
        "{json}"
    );
    is(&metrics(&scene), "exit_code", 2);

    scene.run().exits(0);
    scene.run().exits(2).says("--resume");
    assert!(
        summary(&scene)["reason"]
            .as_str()
            .unwrap()
            .contains("exists")
    );
}

#[test]
fn a_dry_run_is_no_run_and_says_that_it_writes_nothing() {
    let scene = told(Scene::with_files(Script::plain(), &ids(9)));
    scene
        .run_with("--dry-run")
        .exits(0)
        .says("nothing is written by a dry run");
    assert!(!scene.path("s.json").exists() && !scene.path("m.prom").exists());
}

#[test]
fn a_host_that_cannot_be_reached_is_told() {
    let scene = Scene::with_files(Script::plain(), &ids(3)).at(NOBODY);
    scene
        .run_with("--summary-json s.json --quiet")
        .exits(2)
        .says(&format!(
            "error: {} cannot be reached: ",
            NOBODY.trim_start_matches("http://")
        ));
    let json = summary(&scene);
    assert_eq!(
        (&json["exit_code"], &json["report"]),
        (&2.into(), &Value::Null)
    );
    assert_eq!(json["requests"], 3);
    assert!(
        json["reason"]
            .as_str()
            .unwrap()
            .contains("cannot be reached")
    );
}

#[test]
fn stdout_has_what_was_asked_for_and_never_two_things() {
    let scene = Scene::with_files(Script::plain(), &ids(5));
    let ran = scene.run_with("--summary-json - --report -");
    ran.exits(2).says("both ask for stdout");
    scene
        .run_with("--metrics-file -")
        .exits(2)
        .says("--metrics-file");
    assert_eq!(scene.server.ledger().request_count(), 0);
    let ran = scene.run_with("--summary-json -");
    let json: Value = serde_json::from_str(&ran.exits(0).stdout).unwrap();
    assert_eq!(json["counts"]["deleted"], 5);
    let scene = Scene::with_files(Script::plain(), &ids(5)).option("--summary-json s.json");
    let ran = scene.run_with("--report -");
    assert_eq!(
        Report::parse(ran.exits(0).stdout.as_bytes()).count("deleted"),
        5
    );
    assert_eq!(summary(&scene)["report"], "-");
}

#[test]
fn a_summary_that_cannot_be_written_is_known_before_or_is_no_success() {
    let scene = Scene::with_files(Script::plain(), &ids(5));
    scene
        .run_with("--summary-json no/where.json")
        .exits(2)
        .says("no/where.json")
        .says("--summary-json");
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert!(!scene.report_path().exists());

    let slow = Script {
        latency: Duration::from_millis(300)..Duration::from_millis(301),
        ..Script::plain()
    };
    let scene = Scene::with_files(slow, &ids(5));
    let folder = scene.path("out");
    fs::create_dir(&folder).unwrap();
    let child = Scene::start(scene.command().args(["--summary-json", "out/s.json"]));
    scene.wait_for_requests(1);
    fs::remove_dir_all(&folder).unwrap();
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(5).says("error: cannot write the summary");
    assert_eq!(scene.report().count("deleted"), 5);
}

#[test]
fn metrics_that_cannot_be_written_are_known_before() {
    let scene = Scene::with_files(Script::plain(), &ids(5));
    scene
        .run_with("--metrics-file no/m.prom")
        .exits(2)
        .says("no/m.prom")
        .says("--metrics-file");
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn metrics_are_there_while_the_run_goes_on_and_every_line_is_of_the_format() {
    let slow = Script {
        latency: Duration::from_millis(300)..Duration::from_millis(301),
        ..Script::plain()
    };
    let scene = told(Scene::with_files(slow, &ids(5)));
    let child = Scene::start(&mut scene.command());
    wait_until(|| scene.path("m.prom").exists());
    let during = metrics(&scene);
    assert!(
        sample(&during, "start_time_seconds") > Some(1e9),
        "{during}"
    );
    assert!(
        !during.contains("exit_code") && !during.contains("end_time"),
        "{during}"
    );
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(0);
    let after = metrics(&scene);
    let mut known = Vec::new();
    for line in after.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            match kind {
                "HELP" => assert!(words.next().is_some(), "{line}"),
                "TYPE" => assert_eq!(words.collect::<Vec<_>>(), ["gauge"]),
                _ => panic!("{line}"),
            }
            known.push(name.to_owned());
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        assert_eq!(
            known.iter().filter(|known| *known == name).count(),
            2,
            "{line}"
        );
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let left: Vec<_> = fs::read_dir(scene.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 4, "input, report, summary, metrics: {left:?}");
}

#[test]
fn a_rehearsals_files_cannot_be_taken_for_the_real_ones() {
    let scene =
        told(Scene::new(Script::plain()).input("ids.txt", list(&ids(3)))).option("--sandbox");
    let ran = scene.run();
    assert!(ran.code < 2, "{}", ran.stderr);
    for name in ["s.sandbox.json", "m.sandbox.prom", "ids.report.sandbox.csv"] {
        assert!(scene.path(name).exists(), "{name}");
    }
    assert!(!scene.path("s.json").exists() && !scene.path("m.prom").exists());
}

#[test]
fn the_log_follows_an_id_through_its_attempts_and_every_line_is_json() {
    let all = ids(30);
    let script = Script {
        faults_for: [(all[3].clone(), vec![Fault::Html500, Fault::ResetBefore])].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--batch-size 1 --rate unlimited");
    let ran = scene.run_with("--log-format json --log-level debug");
    let lines: Vec<Value> = ran
        .exits(0)
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_it = |name: &str| {
        let fields = lines.iter().map(|line| &line["fields"]);
        fields
            .filter(|fields| fields[name] == all[3])
            .collect::<Vec<_>>()
    };
    let attempts = of_it("file_ids");
    assert_eq!(
        attempts
            .iter()
            .map(|fields| fields["attempt"].as_u64())
            .collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    assert_eq!(
        (&attempts[0]["status"], &attempts[2]["status"]),
        (&500.into(), &204.into())
    );
    assert_eq!(attempts[1]["message"], "not answered");
    let decided = of_it("file_id");
    let report = scene.report();
    let row = report.row(&all[3]);
    assert_eq!(decided[0]["attempts"], 3);
    assert_eq!(decided[0]["request_id"], row.request_id);
    assert_eq!(attempts[2]["request_id"], row.request_id);
}

#[test]
fn with_the_json_log_every_line_is_an_object_with_a_level_a_message_and_a_time() {
    let all = ids(300);
    let script = Script {
        instead: instead::malformed([all[3].clone()]),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--log-format json");
    let odd = list(&all) + "odd-one\nnot an id\n";
    std::fs::write(scene.path("ids.txt"), odd).unwrap();
    std::fs::write(scene.path("keep.txt"), "not-in-the-list\n").unwrap();
    let parsed = |options: &str, code: i32| -> Vec<Value> {
        let ran = scene.run_with(options);
        let lines = ran.exits(code).stderr.lines();
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in &lines {
            let message = line["fields"]["message"].as_str().unwrap();
            assert!(
                !message.contains('\n') && !message.starts_with("warning"),
                "{line}"
            );
            let level = line["level"].as_str().unwrap();
            assert!(["INFO", "WARN", "ERROR"].contains(&level), "{line}");
            assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        }
        lines
    };
    let has = |lines: &[Value], level: &str, words: &str| {
        let found = |line: &Value| {
            line["level"] == level && line["fields"]["message"].as_str().unwrap().contains(words)
        };
        assert!(lines.iter().any(found), "{level} {words:?}: {lines:#?}");
    };
    let lines = parsed("--dry-run", 1);
    has(&lines, "INFO", "the run would send 4 requests");
    for (rate, words) in [
        ("100/m", "at 1.67/s with a burst of 1"),
        ("0.5/m", "at 0.5/min with a burst of 1"),
    ] {
        let lines = parsed(&format!("--dry-run --rate {rate}"), 1);
        has(&lines, "INFO", words);
    }
    let lines = parsed("--dry-run --check", 1);
    has(&lines, "INFO", "300 of 301 exist");
    let lines = parsed("--except keep.txt", 1);
    has(&lines, "WARN", "does not look like an ImageKit ID");
    has(&lines, "ERROR", "done");
    let summary = &lines.last().unwrap()["fields"];
    assert_eq!(
        (&summary["message"], &summary["exit_code"]),
        (&"done".into(), &1.into())
    );
    assert_eq!(summary["counts"]["deleted"], 299);
    has(&parsed("--column nothing", 2), "ERROR", "nothing");
    // What the command line's parser refuses, too.
    for (options, words) in [
        ("--batch-size 101", "must be from 1 to 100"),
        ("--no-such", "unexpected argument '--no-such'"),
        ("--resume --overwrite", "leave out one of them"),
        ("--check", "not provided: --dry-run"),
        ("--key private_abcdef", "no option takes the private key"),
    ] {
        let lines = parsed(options, 2);
        has(&lines, "ERROR", words);
        assert_eq!(lines.len(), 1);
    }
}

#[test]
fn a_warning_is_one_even_when_quiet_and_duplicates_do_not_hide_it() {
    let text = list(&ids(3)).repeat(3);
    let scene = Scene::new(Script::plain())
        .input("ids.txt", text)
        .option("--quiet");
    let ran = scene.run();
    ran.exits(0);
    assert!(
        ran.stderr.starts_with("warning: over half"),
        "{}",
        ran.stderr
    );
    let ran = scene.run_with("--dry-run --overwrite");
    assert_eq!(ran.exits(0).stderr, "");
    std::fs::write(scene.path("ids.txt"), list(&ids(3)) + "a b\n").unwrap();
    scene
        .run_with("--dry-run --overwrite")
        .exits(1)
        .says("error: 4 records, 1 invalid");
}

#[test]
fn quiet_says_nothing_of_a_success_and_of_a_stop_why_and_what_to_type() {
    let scene = Scene::with_files(Script::plain(), &ids(30)).option("--quiet --rate unlimited");
    let ran = scene.run();
    assert_eq!(
        (ran.exits(0).stderr.as_str(), ran.stdout.as_str()),
        ("", "")
    );
    let scene = Scene::with_files(
        Script {
            instead: instead::malformed([id(3)]),
            ..Script::plain()
        },
        &ids(30),
    )
    .option("--quiet");
    scene
        .run()
        .exits(1)
        .says("error: 30 records, 1 failed")
        .says("--resume");
    let scene = Scene::with_files(
        Script {
            key: "private_other".into(),
            ..Script::plain()
        },
        &ids(30),
    )
    .option("--quiet");
    scene
        .run()
        .exits(3)
        .says("error: stopped after ")
        .says("refused the key")
        .says("--resume");
}

#[test]
fn the_summary_groups_what_went_wrong_with_an_example_of_each() {
    let all = ids(50);
    let script = Script {
        instead: instead::malformed(all[10..13].iter().cloned()),
        ..Script::plain()
    };
    let text = list(&all) + "a b\nc d\n";
    let scene = Scene::new(script)
        .input("ids.txt", text)
        // One at a time, so that the first to fail is the first of the list.
        .option("--batch-size 1 --rate unlimited --concurrency 1");
    scene.server.ledger().put_all(all.iter().cloned());
    let ran = scene.run();
    ran.exits(1)
        .says("done: 52 records in ")
        .says(", 3 failed, 2 invalid");
    ran.says("what went wrong:")
        .says("3  failed, rejected: ")
        .says("2  invalid, invalid_id: ");
    let example = format!("e.g. {} (ids.txt line 11)", all[10]);
    ran.says(&example).says("e.g. a b (ids.txt line 51)");
}

#[test]
fn a_page_in_place_of_an_answer_is_shown_by_its_title_or_its_words() {
    let page = "<!doctype html><html><head><title>502 Bad\n Gateway</title></head><body><p>nginx";
    for (page, words) in [
        (page, "HTTP 404: 502 Bad Gateway"),
        (
            "<h1>Service</h1> <p>Unavailable",
            "HTTP 404: Service Unavailable",
        ),
        ("no tags, 1 < 2", "HTTP 404: no tags, 1 < 2"),
    ] {
        let (scene, _front) = Scene::with_files(Script::plain(), &ids(2))
            .option("--summary-json s.json")
            .behind(move |_| Reply::page(404, page));
        let ran = scene.run();
        ran.exits(3).says(words);
        assert!(!ran.stderr.contains("<p>"), "{}", ran.stderr);
        assert!(summary(&scene)["reason"].as_str().unwrap().contains(words));
    }
}
