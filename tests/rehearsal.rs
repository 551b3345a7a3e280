//! The rehearsal: what would refuse the real command refuses it with `--sandbox` too, and its files say what they are.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;

use fixture::{Scene, ids, list};
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
