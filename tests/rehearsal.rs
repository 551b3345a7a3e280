//! The rehearsal: what would refuse the real command refuses it with `--sandbox` too, and its files say what they are.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::time::Duration;

use fixture::{Ran, Scene, ids, instead, list, signal};
use imagekit_bulk_delete::sandbox::Script;
use serde_json::Value;

fn scene() -> Scene {
    Scene::new(Script::plain())
        .input("ids.txt", list(&ids(9)))
        .option("--sandbox")
}

#[test]
fn what_refuses_the_real_command_refuses_the_rehearsal() {
    let scene = scene();
    fs::create_dir(scene.path("folder")).unwrap();
    fs::write(scene.path("strange.csv"), "not a report\n").unwrap();
    fs::write(scene.path("empty.key"), "").unwrap();
    for (options, words) in [
        ("--report folder", "not a regular file"),
        ("--report ids.txt", "is an input"),
        ("--summary-json ids.txt", "is an input"),
        ("--metrics-file no/m.prom", "no/m.prom"),
        ("--html folder", "not a regular file"),
        ("--private-key-file missing.key", "missing.key"),
        ("--private-key-file empty.key", "empty"),
        ("--report strange.csv", "exists"),
        (
            "--report strange.csv --resume",
            "not a report of this program",
        ),
        ("--max-delete 5", "--max-delete 5"),
        ("--summary-json - --report -", "both ask for stdout"),
    ] {
        scene.run_with(options).exits(2).says(words);
        let made = fs::read_dir(scene.folder.path()).unwrap();
        let mark = |name: std::ffi::OsString| name.to_string_lossy().contains(".sandbox");
        let made = made.filter(|entry| mark(entry.as_ref().unwrap().file_name()));
        assert_eq!(made.count(), 0, "{options} left a file");
    }
    scene.run_with("--report strange.csv --overwrite");
    assert!(scene.path("strange.sandbox.csv").exists());
    let strange = fs::read_to_string(scene.path("strange.csv")).unwrap();
    assert_eq!(
        strange, "not a report\n",
        "a rehearsal replaces nothing real"
    );
}

#[test]
fn a_report_that_the_real_command_could_not_have_refuses_the_rehearsal() {
    let refused = |scene: &Scene, options: &str, code: i32, words: &str| {
        let before = fs::read_dir(scene.folder.path()).unwrap().count();
        scene.run_with(options).exits(code).says(words);
        let after = fs::read_dir(scene.folder.path()).unwrap().count();
        assert_eq!(before, after, "{options} left a file");
    };
    // A file in the place of the state.
    let foreign = scene();
    fs::write(foreign.path("ids.report.csv.state"), "foreign\n").unwrap();
    refused(&foreign, "--quiet", 2, "needs the name");
    fs::remove_file(foreign.path("ids.report.csv.state")).unwrap();
    // A list or a check that would not be replaced.
    for (name, look) in [
        ("ids.check.csv", "--dry-run --check"),
        ("imagekit-bulk-delete.list.csv", "--list size>0"),
    ] {
        let foreign = if name.starts_with("ids") {
            scene()
        } else {
            scene().without("ids.txt").without("--yes")
        };
        fs::write(foreign.path(name), "an older one\n").unwrap();
        refused(&foreign, look, 2, "use --overwrite to replace it");
        fs::write(foreign.path(&format!("{name}.part")), "a download\n").unwrap();
        let words = "needs the name";
        refused(&foreign, &format!("{look} --overwrite"), 2, words);
        // What an earlier one left is no reason to refuse.
        fs::write(foreign.path(&format!("{name}.part")), fixture::SHEET).unwrap();
        foreign.run_with(&format!("{look} --overwrite")).exits(0);
        let older = fs::read_to_string(foreign.path(name)).unwrap();
        assert_eq!(older, "an older one\n");
    }
    // A job of another host that is not settled.
    let script = Script {
        instead: instead::malformed(ids(1)),
        ..Script::plain()
    };
    let unsettled = Scene::with_files(script, &ids(9));
    unsettled.run().exits(1);
    refused(&unsettled, "--sandbox", 2, "exists");
    assert!(unsettled.run_with("--sandbox --resume").code < 2);
    let unsettled = unsettled.at("https://api.example.com");
    let words = "belongs to a job for http://127.0.0.1";
    refused(&unsettled, "--sandbox --resume", 2, words);
    fs::remove_file(unsettled.report_path()).unwrap();
    refused(&unsettled, "--resume", 2, words);
    refused(&unsettled, "--sandbox --resume", 2, words);
    // A job that is still running.
    let script = Script {
        latency: Duration::from_secs(5)..Duration::from_secs(6),
        ..Script::plain()
    };
    let running = Scene::with_files(script, &ids(9));
    let mut child = Scene::start(&mut running.command());
    running.wait_for_requests(1);
    refused(&running, "--sandbox --resume", 75, "another run");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_rehearsal_needs_no_key_but_refuses_one_that_cannot_be_used() {
    let scene = scene();
    let with_key = |key: Option<&str>| {
        let mut command = scene.command();
        command
            .arg("--overwrite")
            .env_remove("IMAGEKIT_PRIVATE_KEY");
        command.envs(key.map(|key| ("IMAGEKIT_PRIVATE_KEY", key)));
        Ran::new(command.output().unwrap(), scene.folder.path())
    };
    assert!(with_key(None).code < 2);
    with_key(Some("public_abc")).exits(2).says("public key");
    let ran = self::scene().without("--yes").run();
    ran.says("without --sandbox this command needs --yes");
    assert!(ran.code < 2, "{}", ran.stderr);
}

#[test]
fn json_and_metrics_name_what_was_written() {
    let scene = scene();
    let ran = scene.run_with("--summary-json s.json --metrics-file m.prom --report r.csv");
    assert!(ran.code < 2, "{}", ran.stderr);
    let text = fs::read_to_string(scene.path("s.sandbox.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["sandbox"], true);
    assert_eq!(json["report"], "r.sandbox.csv");
    let metrics = fs::read_to_string(scene.path("m.sandbox.prom")).unwrap();
    assert!(
        metrics.contains("imagekit_bulk_delete_sandbox 1\n"),
        "{metrics}"
    );
}

#[test]
fn practice_against_a_served_sandbox_can_be_resumed_there() {
    // What `--sandbox-listen` serves bears this mark.
    let served = Script {
        request_ids: "sandbox-",
        ..Script::plain()
    };
    let scene = Scene::with_files(served, &ids(60)).option("--batch-size 1");
    let child = Scene::start(scene.command().args(["--rate", "20"]));
    scene.wait_for_requests(5);
    signal(&child, "INT");
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(130);
    assert!(
        scene
            .report()
            .rows
            .iter()
            .all(|row| row.request_id.starts_with("sandbox-"))
    );
    for options in ["--resume --dry-run", "--resume --rate unlimited"] {
        scene.run_with(options).exits(0);
    }
    assert_eq!(scene.report().count("deleted"), 60);
}
