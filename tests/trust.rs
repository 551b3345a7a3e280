//! A report and a state are trusted only as far as they are whole: each fault that was found, with its relatives,
//! driven with the real binary against the server's ledger.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::spawn;
use std::time::Duration;

use fixture::{Ran, Report, Scene, ids, instead, library, list, signal, wait_until};
use imagekit_bulk_delete::outcome::Status;
use imagekit_bulk_delete::sandbox::{Answer, Fault, Script};

const SINGLY: &str = "--rate unlimited --batch-size 1 --concurrency 1";
const BOM: &str = "\u{feff}";

/// A job that was killed after some deletions, with one request in flight.
fn killed(all: &[String]) -> Scene {
    let script = Script {
        faults_at: [(6, Fault::HangAfter)].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, all).option(SINGLY);
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(6);
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    scene
}

/// A job at rest: all but one ID are settled.
fn at_rest(all: &[String]) -> Scene {
    let scene = Scene::with_files(Script::plain(), all).option(SINGLY);
    let child = Scene::start(scene.command().args(["--max-attempts", "1"]));
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(0);
    scene
}

fn text(scene: &Scene) -> String {
    fs::read_to_string(scene.report_path()).unwrap()
}

fn put(scene: &Scene, text: &str) {
    fs::write(scene.report_path(), text).unwrap();
}

/// The report with something before its row of that number.
fn with_before_row(text: &str, number: usize, strange: &str) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    lines[number].insert_str(0, strange);
    lines.concat()
}

/// Every way to read the report refuses it, names the line, and changes nothing.
fn is_refused(scene: &Scene, line: &str) {
    let before = fs::read(scene.report_path()).unwrap();
    let asked = scene.server.ledger().request_count();
    for options in ["--resume", "--resume --dry-run"] {
        scene.run_with(options).exits(2).says(line);
    }
    assert_eq!(fs::read(scene.report_path()).unwrap(), before);
    assert_eq!(scene.server.ledger().request_count(), asked);
    assert!(!scene.path("ids.report.csv.torn").exists());
}

/// A resume ends true, with `gone` for every file that an earlier run deleted and of which no row is left.
fn ends_true(scene: &Scene, all: &[String]) -> Report {
    let ran = scene.run_with("--resume");
    assert!(ran.code < 2, "{}", ran.stderr);
    scene.true_report_of(all)
}

#[test]
fn what_is_no_row_in_the_middle_is_refused_and_no_true_row_is_lost() {
    let all = ids(40);
    let scene = at_rest(&all);
    let whole = text(&scene);
    let half = whole.lines().nth(20).unwrap().len() / 2;
    let cut_row = {
        let mut lines: Vec<&str> = whole.lines().collect();
        lines[20] = &lines[20][..half];
        lines.join("\n") + "\n"
    };
    let nuls = with_before_row(&whole, 10, "\0\0\0");
    let garbage = with_before_row(&whole, 10, "garbage\n");
    let quote = with_before_row(&whole, 10, "\"");
    let last = with_before_row(&whole, 40, "\"");
    for (damaged, line) in [
        (quote, "line 11"),
        (garbage, "line 11"),
        (nuls, "line 11"),
        (cut_row, "line 21"),
        (last, "line 41"),
    ] {
        put(&scene, &damaged);
        is_refused(&scene, line);
        let page = ["--html", "p.html", "--from-report", "ids.report.csv"];
        let mut command = Command::new(fixture::BINARY);
        command
            .args(page)
            .current_dir(scene.folder.path())
            .env_clear();
        Ran::new(command.output().unwrap(), scene.folder.path())
            .exits(2)
            .says(line);
    }
}

#[test]
fn a_strange_row_is_refused_after_another_boot_too() {
    let all = ids(12);
    let scene = killed(&all);
    let state = fs::read(scene.path("ids.report.csv.state")).unwrap();
    let end = state.iter().position(|byte| *byte == b'\n').unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let json = String::from_utf8(state[..end].to_vec())
        .unwrap()
        .replace(boot.trim(), "another");
    let mut other = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes())).into_bytes();
    other.resize(4096, b' ');
    other.extend_from_slice(&state[4096..]);
    fs::write(scene.path("ids.report.csv.state"), &other).unwrap();
    let whole = text(&scene);
    put(&scene, &with_before_row(&whole, 3, "\0"));
    is_refused(&scene, "line 4");
    // NULs at the end are what a power cut leaves: they are cut off, and everything without a row is in doubt.
    let kept: Vec<&str> = whole.split_inclusive('\n').take(4).collect();
    put(&scene, &(kept.concat() + &"\0".repeat(700)));
    let report = ends_true(&scene, &all);
    assert_eq!(report.count("not_found"), 0);
    assert_eq!(
        fs::read(scene.path("ids.report.csv.torn")).unwrap(),
        [0; 700]
    );
}

#[test]
fn a_torn_tail_is_kept_and_one_that_was_torn_before_stays() {
    let all = ids(12);
    let scene = killed(&all);
    let whole = text(&scene);
    let cut = whole.len() - 20;
    put(&scene, &whole[..cut]);
    fs::write(scene.path("ids.report.csv.torn"), "older\n").unwrap();
    let report = ends_true(&scene, &all);
    assert_eq!(report.count("not_found"), 0);
    let torn = fs::read_to_string(scene.path("ids.report.csv.torn")).unwrap();
    let begin = whole[..cut].rfind('\n').unwrap() + 1;
    assert_eq!(torn, format!("older\n{}", &whole[begin..cut]));
}

#[test]
fn blank_lines_are_blank_wherever_they_are() {
    for (blank, at) in [
        ("\n", 6),
        ("\n\n\n", 6),
        ("\r\n\r\n", 6),
        ("\n", 3),
        (BOM, 6),
        ("\u{feff}\n", 2),
    ] {
        let all = ids(12);
        let scene = killed(&all);
        put(
            &scene,
            &with_before_row(&(text(&scene) + "#"), at, blank).replace('#', ""),
        );
        let report = ends_true(&scene, &all);
        assert_eq!(report.count("not_found"), 0, "{blank:?}");
        assert_eq!(report.count("gone"), 1, "{blank:?}: the one in flight");
        scene.run_with("--resume").exits(0);
        assert!(!text(&scene).contains(['\r', '\u{feff}']) && !text(&scene).contains("\n\n"));
    }
}

#[test]
fn a_bom_is_no_part_of_an_id_nor_of_the_report() {
    for row in [0, 1, 4] {
        let all = ids(10);
        let scene = at_rest(&all[..8]);
        put(&scene, &with_before_row(&text(&scene), row, BOM));
        fs::write(scene.path("ids.txt"), list(&all)).unwrap();
        scene.server.ledger().put_all(all[8..].iter().cloned());
        let report = ends_true(&scene, &all);
        assert_eq!(report.count("deleted"), 10, "BOM before row {row}");
    }
}

#[test]
fn a_bom_behind_an_id_is_no_part_of_it_and_is_not_kept() {
    for is_state_whole in [true, false] {
        let all = ids(12);
        let scene = killed(&all);
        let with_bom = format!("{}{BOM}", all[2]);
        put(&scene, &text(&scene).replacen(&all[2], &with_bom, 1));
        if !is_state_whole {
            let path = scene.path("ids.report.csv.state");
            let mut state = fs::read(&path).unwrap();
            state[100] ^= 1;
            fs::write(&path, state).unwrap();
        }
        let report = ends_true(&scene, &all);
        assert_eq!(report.count("not_found"), 0);
        assert!(!text(&scene).contains(BOM));
    }
}

#[test]
fn a_row_of_ours_is_trusted_however_long_its_record_and_its_message_were() {
    let all = ids(6);
    let (refused, message) = (all[2].clone(), format!("={}", "x".repeat(400)));
    let script = Script {
        instead: Box::new(move |request, _| {
            let is_named = request.file_ids.contains(&refused);
            is_named.then(|| Answer::message(400, &message))
        }),
        ..Script::plain()
    };
    // What is kept of the first record ends behind its BOM.
    let long = format!("{}{BOM}{}\n", "a".repeat(4093), "b".repeat(100));
    let scene = Scene::with_files(script, &all)
        .without("ids.txt")
        .input("ids.txt", list(&all) + &long)
        .option(SINGLY);
    scene.run().exits(1);
    let kept = format!("'={},", "x".repeat(299));
    assert!(text(&scene).contains(&kept), "{}", text(&scene));
    assert!(!text(&scene).contains(BOM));
    scene.run_with("--resume").exits(1);
    let with_bom = format!("{}{BOM}", all[2]);
    put(&scene, &text(&scene).replacen(&all[2], &with_bom, 1));
    scene.run_with("--resume").exits(1);
    assert!(!text(&scene).contains(BOM));
    assert_eq!(scene.report().count("deleted"), 5);
    // Were a row no longer what was written, its ID would be in doubt.
    assert_eq!(scene.report().count("failed"), 1);
}

#[test]
fn a_bom_before_a_row_that_the_purge_reads_makes_no_other_id_of_it() {
    let all = ids(6);
    let script = Script {
        instead: instead::purges(2, 403, "Your monthly purge limit is used up."),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("--purge-cache");
    scene.run().exits(1);
    put(&scene, &with_before_row(&text(&scene), 5, BOM));
    let ran = scene.run_with("--resume");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    scene.report().has_a_row_for_each_of(&all);
}

#[test]
fn a_report_that_lost_rows_at_rest_puts_what_has_no_row_in_doubt() {
    let all = ids(20);
    let script = || Script {
        faults_for: [(all[19].clone(), vec![Fault::Status(400)])].into(),
        ..Script::plain()
    };
    let header_only = |text: &str| text.lines().next().unwrap().to_owned() + "\n";
    let half = |text: &str| text.split_inclusive('\n').take(10).collect::<String>();
    let other = |text: &str| {
        // As long as it was, and another.
        let (head, last) = text.trim_end().rsplit_once('\n').unwrap();
        format!("{head}\n{}\n", last.replace("failed", "faileD"))
    };
    for cut in [&half as &dyn Fn(&str) -> String, &header_only, &|_| {
        String::new()
    }] {
        let scene = Scene::with_files(script(), &all).option(SINGLY);
        scene.run().exits(1);
        put(&scene, &cut(&text(&scene)));
        scene
            .run_with("--resume")
            .exits(0)
            .says("was cut")
            .says("gone");
        let report = scene.true_report_of(&all);
        assert_eq!(report.count("not_found"), 0);
    }
    let scene = Scene::with_files(script(), &all).option(SINGLY);
    scene.run().exits(1);
    put(&scene, &other(&text(&scene)));
    let ran = scene.run_with("--resume");
    assert!(ran.code == 2 || scene.report().count("not_found") == 0);
}

#[test]
fn rows_that_are_not_those_that_were_written_are_refused() {
    let all = ids(20);
    let scene = killed(&all);
    let whole = text(&scene);
    let mut lines: Vec<&str> = whole.split_inclusive('\n').collect();
    lines.swap(1, 2);
    put(&scene, &lines.concat());
    is_refused(&scene, "was changed");
    let another = whole.replacen(&all[1], &all[15], 1);
    put(&scene, &another);
    is_refused(&scene, "was changed");
    put(&scene, &whole);
    ends_true(&scene, &all);
}

#[test]
fn a_state_that_lost_anything_after_a_kill_puts_what_has_no_row_in_doubt() {
    let damages: [&dyn Fn(Vec<u8>) -> Option<Vec<u8>>; 7] = [
        &|_| None,
        &|_| Some(Vec::new()),
        &|state| Some(state[..100].to_vec()),
        &|state| Some(state[..4200].to_vec()),
        &|mut state| {
            state[4096..4600].fill(0);
            Some(state)
        },
        &|state| {
            let text =
                String::from_utf8_lossy(&state[..4096]).replace("\"stride\":", "\"stride\":1");
            Some([text.as_bytes(), &state[4096..]].concat())
        },
        &|mut state| {
            state[4130] ^= 4;
            Some(state)
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let all = ids(12);
        let scene = killed(&all);
        let path = scene.path("ids.report.csv.state");
        match damage(fs::read(&path).unwrap()) {
            Some(state) => fs::write(&path, state).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        scene
            .run_with("--resume")
            .exits(0)
            .says("warning:")
            .says("gone");
        let report = scene.true_report_of(&all);
        assert_eq!(report.count("not_found"), 0, "{number}");
    }
}

#[test]
fn a_finished_report_needs_no_state_and_a_copy_of_an_unfinished_one_is_not_trusted() {
    let all = ids(12);
    let scene = at_rest(&all[..10]);
    assert!(!scene.path("ids.report.csv.state").exists());
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    let ran = scene.run_with("--resume");
    ran.exits(0);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    assert_eq!(scene.report().count("not_found"), 2);

    let scene = killed(&all);
    fs::copy(scene.report_path(), scene.path("copy.csv")).unwrap();
    scene
        .run_with("--resume -o copy.csv")
        .exits(0)
        .says("neither its state");
    assert_eq!(Report::read(&scene.path("copy.csv")).count("not_found"), 0);
}

#[test]
fn a_header_alone_is_no_finished_report_and_an_empty_file_is_none_at_all() {
    let all = ids(12);
    let scene = killed(&all);
    let header = text(&scene)
        .split_inclusive('\n')
        .take(1)
        .collect::<String>();
    put(&scene, &header);
    fs::remove_file(scene.path("ids.report.csv.state")).unwrap();
    let report = ends_true(&scene, &all);
    assert_eq!(report.count("not_found"), 0);

    let scene = Scene::with_files(Script::plain(), &all[1..]).option(SINGLY);
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    put(&scene, "");
    let report = ends_true(&scene, &all);
    assert_eq!(report.count("not_found"), 1);

    // A job over an empty list is done, and says so.
    let scene = Scene::new(Script::plain())
        .input("ids.txt", "fileId\n")
        .option(SINGLY);
    scene.run().exits(0);
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    let report = ends_true(&scene, &all);
    assert_eq!(report.count("not_found"), 12);
}

#[test]
fn doubt_outlives_a_run_over_a_shorter_list() {
    let all = ids(12);
    let scene = killed(&all);
    let kept: Vec<String> = text(&scene)
        .split_inclusive('\n')
        .take(3)
        .map(str::to_owned)
        .collect();
    put(&scene, &kept.concat());
    fs::write(scene.path("ids.txt"), list(&all[8..])).unwrap();
    scene.run_with("--resume").exits(0).says("was cut");
    assert!(
        scene.path("ids.report.csv.state").exists(),
        "it keeps the doubt"
    );
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    let report = ends_true(&scene, &all);
    assert_eq!(report.count("not_found"), 0);
}

#[test]
fn what_is_no_state_of_ours_is_left_alone() {
    let all = ids(5);
    for existing in ["", "--resume", "--overwrite"] {
        let scene = Scene::with_files(Script::plain(), &all).option("--rate unlimited");
        let state = scene.path("ids.report.csv.state");
        let refuses = || {
            let options: Vec<&str> = existing.split_whitespace().collect();
            let output = scene.command().args(options).output().unwrap();
            Ran::new(output, scene.folder.path())
                .exits(2)
                .says(".state");
            assert_eq!(scene.server.ledger().request_count(), 0);
            assert!(!scene.report_path().exists());
        };
        for foreign in ["my notes\n", "{\"version\":4,\"terraform\":1}"] {
            fs::write(&state, foreign).unwrap();
            refuses();
            assert_eq!(fs::read_to_string(&state).unwrap(), foreign);
            fs::remove_file(&state).unwrap();
        }
        fs::write(scene.path("precious"), "").unwrap();
        symlink("precious", &state).unwrap();
        refuses();
        assert_eq!(fs::read_to_string(scene.path("precious")).unwrap(), "");
        fs::remove_file(&state).unwrap();
        symlink("nowhere", &state).unwrap();
        refuses();
        assert!(!scene.path("nowhere").exists());
        fs::remove_file(&state).unwrap();
        fs::hard_link(scene.path("precious"), &state).unwrap();
        refuses();
        fs::remove_file(&state).unwrap();
        fixture::make_pipe(&state);
        refuses();
        fs::remove_file(&state).unwrap();
        fs::create_dir(&state).unwrap();
        refuses();
        assert!(state.is_dir());
    }
}

#[test]
fn a_report_that_another_program_saved_anew_is_refused_as_that() {
    let all = ids(6);
    let scene = at_rest(&all);
    let whole = text(&scene);
    let with_quotes = |line: &str| format!("\"{}\"\n", line.replace(',', "\",\""));
    for saved in [
        whole.replace('\n', "\r\n"),
        format!("{BOM}{}", whole.replace('\n', "\r\n")),
        whole.replace('\n', "\r"),
        whole.replace(',', ";"),
        whole.replace(',', "\t"),
        whole.lines().map(with_quotes).collect(),
    ] {
        put(&scene, &saved);
        is_refused(&scene, "ids.report.csv, line 1");
        let words = "saved this report with other line ends";
        scene.run_with("--resume").says(words);
        let mut page = Command::new(fixture::BINARY);
        page.args(["--html", "p.html", "--from-report", "ids.report.csv"])
            .current_dir(scene.folder.path())
            .env_clear();
        Ran::new(page.output().unwrap(), scene.folder.path())
            .exits(2)
            .says(words);
        assert_eq!(text(&scene), saved);
    }
}

#[test]
fn what_has_the_name_of_an_unfinished_report_and_is_none_is_left_alone() {
    let all = ids(5);
    for existing in ["", "--resume", "--overwrite", "--sandbox --resume"] {
        let scene = at_rest(&all);
        let before = text(&scene);
        let asked = scene.server.ledger().request_count();
        let part = scene.path("ids.report.csv.part");
        let refuses = || {
            let options: Vec<&str> = existing.split_whitespace().collect();
            let output = scene.command().args(options).output().unwrap();
            let ran = Ran::new(output, scene.folder.path());
            ran.exits(2).says("needs the name ids.report");
            assert_eq!(text(&scene), before);
            assert_eq!(scene.server.ledger().request_count(), asked);
            assert!(!scene.path("ids.report.csv.bak").exists());
        };
        fs::write(&part, "a download of somebody else").unwrap();
        refuses();
        assert_eq!(
            fs::read_to_string(&part).unwrap(),
            "a download of somebody else"
        );
        fs::remove_file(&part).unwrap();
        symlink("nowhere", &part).unwrap();
        refuses();
        assert!(part.is_symlink());
        fs::remove_file(&part).unwrap();
        fs::create_dir(&part).unwrap();
        refuses();
        assert!(part.is_dir());
    }
    // What a run left that died while it made the report whole is no loss.
    let scene = at_rest(&all);
    fs::write(scene.path("ids.report.csv.part"), fixture::HEADER).unwrap();
    scene.run_with("--resume").exits(0);
    assert!(!scene.path("ids.report.csv.part").exists());
    let options = "--resume --summary-json ids.report.csv.part";
    scene.run_with(options).exits(2).says("name the same file");
}

#[test]
fn what_appears_under_that_name_during_the_run_is_left_alone_too() {
    let all = ids(6);
    let script = Script {
        latency: Duration::from_millis(50)..Duration::from_millis(60),
        ..Script::plain()
    };
    // Each row has a second one that says what became of its purge: the report is made whole.
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("--purge-cache");
    let part = scene.path("ids.report.csv.part");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(3);
    fs::write(&part, "a download").unwrap();
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(5).says("ids.report.csv.part");
    assert_eq!(fs::read_to_string(&part).unwrap(), "a download");
    fs::remove_file(&part).unwrap();
    scene.run_with("--resume").exits(0);
    assert_eq!(scene.true_report_of(&all).count("deleted"), 6);
}

#[test]
fn a_line_that_something_else_appends_during_the_run_stops_it_and_is_taken_for_no_row() {
    for foreign in ["notes\n", "x", "0123456789abcdef01234567,deleted\n"] {
        let all = ids(400);
        let script = Script {
            latency: Duration::from_millis(5)..Duration::from_millis(10),
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all)
            .option("--rate unlimited --concurrency 2 --batch-size 1 --summary-json s.json");
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(50);
        let mut report = fs::OpenOptions::new()
            .append(true)
            .open(scene.report_path())
            .unwrap();
        report.write_all(foreign.as_bytes()).unwrap();
        let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(5).says("something else wrote to it");
        let deleted = scene.server.ledger().deleted_count() as u64;
        assert!(deleted < 400, "it is noticed with the next row: {deleted}");
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(scene.path("s.json")).unwrap()).unwrap();
        let told = json["counts"]["deleted"].as_u64().unwrap() + json["in_doubt"].as_u64().unwrap();
        assert_eq!(told, deleted, "each deletion is told");
        if foreign.contains(',') {
            // It would pass for a row that was torn.
            let all = text(&scene);
            put(&scene, all.strip_suffix(foreign).unwrap());
        }
        let report = ends_true(&scene, &all);
        assert_eq!(report.count("not_found"), 0);
    }
}

#[test]
fn a_line_that_something_else_appends_behind_the_last_row_is_noticed_at_the_end() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut opened = library::open(folder.path()).unwrap();
    let target = library::target(&ids(1)[0], 1);
    let row = library::outcome(&target, Status::NotFound);
    opened.report.append(&[row], &mut opened.index).unwrap();
    let report = fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("r.csv"));
    report.unwrap().write_all(b"notes\n").unwrap();
    let (finished, closed) = opened.report.finish(&mut opened.index, None, 1);
    let error = closed.unwrap_err().to_string();
    assert!(error.contains("something else wrote to it"), "{error}");
    assert_eq!(finished.counts.iter().sum::<u64>(), 1);
    assert!(folder.path().join("r.csv.state").exists());
}

#[test]
fn a_torn_row_of_a_record_that_is_never_sent_is_no_doubt() {
    for torn in [
        "\"a b\",inva",
        "\"a b",
        "a/b,invalid,,inv",
        "\"\",invalid",
        "0123456789abcdef01234567,dupl",
        "0123456789abcdef01234567,excl",
    ] {
        let all = ids(6);
        let scene = killed(&all);
        put(&scene, &(text(&scene) + torn));
        let report = ends_true(&scene, &all);
        assert_eq!(report.count("unknown"), 0, "{torn}");
        assert!(!scene.path("ids.report.csv.state").exists(), "{torn}");
    }
}

#[test]
fn no_report_is_ever_lost_by_overwriting() {
    let all = ids(3);
    let scene = Scene::with_files(Script::plain(), &all).option("--rate unlimited");
    scene.run().exits(0);
    let mut reports = vec![text(&scene)];
    for _ in 0..3 {
        scene.run_with("--overwrite").exits(0);
        reports.push(text(&scene));
    }
    let names = [
        "ids.report.csv.bak",
        "ids.report.csv.bak.2",
        "ids.report.csv.bak.3",
    ];
    for (name, report) in names.iter().zip(&reports) {
        assert_eq!(fs::read_to_string(scene.path(name)).unwrap(), *report);
    }
}

#[test]
fn a_check_takes_nothing_away_from_a_run_or_from_an_older_backup() {
    let all = ids(8);
    let script = Script {
        faults_at: [(3, Fault::HangAfter)].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option(SINGLY);
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(3);
    scene
        .run_with("--dry-run --check --overwrite -o ids.report.csv")
        .exits(75);
    assert!(text(&scene).starts_with("file_id,status"));
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    fs::write(scene.path("c.csv"), "first").unwrap();
    for _ in 0..2 {
        scene
            .run_with("--dry-run --check --overwrite -o c.csv")
            .exits(0);
    }
    assert_eq!(
        fs::read_to_string(scene.path("c.csv.bak")).unwrap(),
        "first"
    );
    assert!(scene.path("c.csv.bak.2").exists());
    assert!(!scene.path("c.csv.state").exists());
}

#[test]
fn a_link_to_nothing_yet_is_where_a_report_begins() {
    let all = ids(3);
    for option in ["--resume", "--dry-run --resume", "--overwrite", ""] {
        let scene = Scene::with_files(Script::plain(), &all).option("--rate unlimited");
        fs::create_dir(scene.path("far")).unwrap();
        symlink("far/real.csv", scene.path("middle.csv")).unwrap();
        symlink("middle.csv", scene.path("link.csv")).unwrap();
        let options = format!("-o link.csv {option}");
        let output = scene
            .command()
            .args(options.split_whitespace())
            .output()
            .unwrap();
        Ran::new(output, scene.folder.path()).exits(0);
        if !option.contains("dry-run") {
            assert_eq!(
                Report::read(&scene.path("far/real.csv")).rows.len(),
                3,
                "{option}"
            );
            assert!(
                scene
                    .path("link.csv")
                    .symlink_metadata()
                    .unwrap()
                    .is_symlink()
            );
        }
    }
}

#[test]
fn a_state_that_is_taken_away_stops_the_run_and_it_can_be_gone_on_with() {
    for is_replaced in [false, true] {
        let all = ids(3000);
        let script = Script {
            latency: Duration::from_millis(5)..Duration::from_millis(10),
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all)
            .option("--rate unlimited --concurrency 2 --batch-size 1 --progress none");
        let state = scene.path("ids.report.csv.state");
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(50);
        fs::remove_file(&state).unwrap();
        if is_replaced {
            fs::write(&state, "").unwrap();
        }
        let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(5)
            .says("ids.report.csv.state")
            .says("removed or replaced");
        let deleted = scene.server.ledger().deleted_count();
        assert!(deleted < 2000, "{deleted}");
        assert_eq!(scene.report().count("deleted"), deleted, "all rows stand");
        let report = ends_true(&scene, &all);
        assert_eq!(report.count("not_found"), 0);
    }
}

#[test]
fn a_run_that_stops_leaves_one_row_for_each_decided_record() {
    let all = ids(400);
    for purge in ["", "--purge-cache"] {
        let faults = all
            .iter()
            .step_by(3)
            .map(|id| (id.clone(), vec![Fault::Status(400); 2]))
            .collect();
        let script = Script {
            latency: Duration::from_millis(2)..Duration::from_millis(4),
            faults_for: faults,
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all)
            .option("--rate unlimited --batch-size 1 --concurrency 4 --summary-json s.json");
        for _ in 0..3 {
            let before = scene.server.ledger().request_count();
            let options = format!("--resume {purge}");
            let child = Scene::start(scene.command().args(options.split_whitespace()));
            wait_until(|| scene.server.ledger().request_count() > before + 100);
            signal(&child, "TERM");
            let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
            assert!(matches!(ran.code, 0 | 1 | 143), "{}", ran.stderr);
            let report = scene.report();
            let mut told: Vec<&str> = report.rows.iter().map(|row| row.file_id.as_str()).collect();
            told.sort_unstable();
            let rows = told.len();
            told.dedup();
            assert_eq!(told.len(), rows, "an ID has two rows");
            scene.check_truth(&report);
            let json: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(scene.path("s.json")).unwrap()).unwrap();
            for (status, count) in json["counts"].as_object().unwrap() {
                assert_eq!(
                    count.as_u64().unwrap(),
                    report.count(status) as u64,
                    "{status}"
                );
            }
        }
    }
}

#[test]
fn a_report_of_somebody_else_in_a_folder_of_all_is_refused() {
    let all = ids(3);
    let scene = at_rest(&all);
    fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    scene.run_with("--resume").exits(0);
    // Only root can give a file away.
    if std::os::unix::fs::chown(scene.report_path(), Some(12345), None).is_ok() {
        scene.run_with("--resume").exits(2).says("another user");
        scene
            .run_with("--resume --dry-run")
            .exits(2)
            .says("another user");
        fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        scene.run_with("--resume").exits(0);
    }
}

#[test]
fn a_batch_that_was_refused_for_others_leaves_no_rows_at_a_stop_and_its_doubt_in_the_state() {
    let all = ids(12);
    let script = Script {
        faults_at: [(3, Fault::Status(400))].into(),
        ..Script::plain()
    };
    let scene = Scene::new(script).input("ids.txt", list(&all));
    scene.server.ledger().put_all(all[1..].iter().cloned());
    let mut slow = scene.command();
    slow.args(["--batch-size", "12", "--rate", "2/m"]);
    let child = Scene::start(&mut slow);
    scene.wait_for_requests(1);
    wait_until(|| scene.report().count("not_found") == 1);
    signal(&child, "TERM");
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(143);
    let rows = scene.report().rows.len();
    assert_eq!(rows, 1, "ImageKit says that nothing was deleted");
    assert!(scene.path("ids.report.csv.state").exists());
    scene.run_with(&format!("--resume {SINGLY}")).exits(1);
    let report = scene.true_report_of(&all);
    let second = &report.row(&all[2]).status;
    assert_eq!(second, "failed", "a weak doubt does not outweigh a refusal");
    assert_eq!((report.count("deleted"), report.count("failed")), (10, 1));
}

/// One batch of six is refused because one file is missing, and the run is stopped before the others are sent again.
fn stop_after_a_refused_batch(scene: &Scene) {
    let mut slow = scene.command();
    slow.args(["--batch-size", "6", "--rate", "2/m"]);
    let child = Scene::start(&mut slow);
    wait_until(|| scene.report_path().exists() && scene.report().count("not_found") == 1);
    signal(&child, "INT");
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(130);
}

#[test]
fn a_weak_doubt_is_kept_until_its_id_has_a_row() {
    let all = ids(6);
    let scene = Scene::new(Script::plain()).input("ids.txt", list(&all));
    let ledger = scene.server.ledger();
    ledger.put_all(all[1..].iter().cloned());
    stop_after_a_refused_batch(&scene);
    // Another job deletes two of them, and this one goes on over a shorter list first.
    fs::write(scene.path("ids.txt"), list(&all[1..3])).unwrap();
    scene.run_with("-o other.csv --rate unlimited").exits(0);
    fs::write(scene.path("ids.txt"), list(&all[4..])).unwrap();
    scene.run_with(&format!("--resume {SINGLY}")).exits(0);
    assert!(
        scene.path("ids.report.csv.state").exists(),
        "it keeps the doubt"
    );
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    scene.run_with(&format!("--resume {SINGLY}")).exits(0);
    let report = scene.report();
    assert_eq!((report.count("gone"), report.count("not_found")), (2, 1));
    assert!(!scene.path("ids.report.csv.state").exists());
}

/// A listener before the server that can be closed for a while: nobody can connect then.
struct Door {
    address: SocketAddr,
    server: String,
    is_open: Arc<AtomicBool>,
}

impl Door {
    fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Self {
            address: listener.local_addr().unwrap(),
            server: server.replace("http://", ""),
            is_open: Arc::new(AtomicBool::new(true)),
        };
        door.serve(listener);
        door
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::Release);
        // The listener's thread leaves with the next connection.
        drop(TcpStream::connect(self.address));
        wait_until(|| TcpStream::connect(self.address).is_err());
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    fn serve(&self, listener: TcpListener) {
        let (server, is_open) = (self.server.clone(), Arc::clone(&self.is_open));
        spawn(move || {
            for client in listener.incoming() {
                if !is_open.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else {
                    continue;
                };
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ] {
                    spawn(move || {
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
    }
}

#[test]
fn a_weak_doubt_outlives_a_run_whose_host_was_never_reached() {
    let all = ids(6);
    let scene = Scene::new(Script::plain()).input("ids.txt", list(&all));
    let ledger = scene.server.ledger();
    ledger.put_all(all[1..].iter().cloned());
    let door = Door::before(&scene.server.base_url());
    let scene = scene.at(&format!("http://{}", door.address));
    stop_after_a_refused_batch(&scene);
    // Another job deletes the rest; this one's request may have done so, as far as it knows.
    scene.run_with("-o other.csv --rate unlimited").exits(0);
    door.close();
    let listed = [&all[..1], &["a/b".to_owned()], &all[1..]].concat();
    fs::write(scene.path("ids.txt"), list(&listed)).unwrap();
    scene
        .run_with(&format!("--resume {SINGLY}"))
        .exits(2)
        .says("cannot be reached");
    assert_eq!(
        scene.report().count("invalid"),
        1,
        "a row of a record that is never sent stands"
    );
    door.open();
    scene.run_with(&format!("--resume {SINGLY}")).exits(1);
    let report = scene.report();
    assert_eq!((report.count("gone"), report.count("not_found")), (5, 1));
}

/// All files of a folder and what is in them.
fn files(scene: &Scene) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(scene.folder.path()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn an_opening_that_fails_half_way_leaves_report_and_state_as_they_were() {
    let all = ids(12);
    let script = Script {
        faults_for: [(all[3].clone(), vec![Fault::ResetAfter; 2])].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option(SINGLY);
    scene.run_with("--max-attempts 1").exits(1);
    let before = files(&scene);
    assert!(before.contains_key(&scene.path("ids.report.csv.state")));
    let mut refused = 0;
    for how in ["--overwrite", "--resume"] {
        for limit in 1..8 {
            let script = format!("ulimit -f {limit}; exec \"$@\" {how}");
            let ran = scene.command_in(&script).output().unwrap();
            if ran.status.code() != Some(2) {
                for path in files(&scene).keys() {
                    fs::remove_file(path).unwrap();
                }
                for (path, bytes) in &before {
                    fs::write(path, bytes).unwrap();
                }
                continue;
            }
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            refused += usize::from(said.contains("ids.report.csv"));
            assert!(files(&scene) == before, "{how} with {limit}: {said}");
        }
    }
    assert!(refused > 4, "{refused}");
}
