//! The real binary: exit codes, what it says, what it leaves, what the server saw of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::process::Stdio;
use std::time::Duration;

use fixture::front::{Reply, revoked_after};
use fixture::instead::{self, BatchMissing};
use fixture::{Ran, Report, Scene, id, ids, list, signal};
use imagekit_bulk_delete::sandbox::{Fault, Sandbox, Script, Window};

const SINGLY: &str = "--batch-size 1 --rate unlimited";
const IN_BATCHES: &str = "--rate unlimited";

#[test]
fn a_list_is_deleted_and_each_id_has_its_row() {
    let all = ids(300);
    for (how, most_requests) in [(SINGLY, 300), (IN_BATCHES, 8)] {
        let scene = Scene::with_files(Script::plain(), &all[..250])
            .input("more.txt", list(&all[250..]))
            .option(how);
        scene.run().exits(0).says("250");
        let report = scene.report();
        report.has_a_row_for_each_of(&all);
        assert_eq!(
            (report.count("deleted"), report.count("not_found")),
            (250, 50)
        );
        scene.check_truth(&report);
        assert!(
            scene.server.ledger().request_count() <= most_requests,
            "{how}"
        );
        assert!(
            !scene.path("ids.report.csv.state").exists(),
            "all is settled"
        );
    }
}

#[test]
fn the_report_is_private_and_never_overwritten() {
    let scene = Scene::with_files(Script::plain(), &ids(3)).option(SINGLY);
    scene.run().exits(0);
    let mode = fs::metadata(scene.report_path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(scene.report_path()).unwrap();
    scene.run().exits(2).says("--resume").says("--overwrite");
    assert_eq!(fs::read(scene.report_path()).unwrap(), before);
    assert!(!scene.path("ids.report.csv.state").exists());
    scene.run_with("--overwrite").exits(0);
    assert_eq!(fs::read(scene.path("ids.report.csv.bak")).unwrap(), before);
    assert_eq!(scene.report().count("not_found"), 3);
    assert_eq!(scene.server.ledger().request_count(), 6);
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_sent_and_nothing_is_left() {
    let scene = Scene::with_files(Script::plain(), &ids(3)).without("--yes");
    scene.run().exits(2).says("--yes");
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert_eq!(
        fs::read_dir(scene.folder.path()).unwrap().count(),
        1,
        "the input alone"
    );
}

#[test]
fn a_wrong_key_costs_one_request() {
    let scene = Scene::with_files(
        Script {
            key: "private_another".into(),
            ..Script::plain()
        },
        &ids(500),
    )
    .option(SINGLY);
    scene
        .run()
        .exits(3)
        .says("refused the key")
        .says("--resume");
    assert_eq!(scene.server.ledger().request_count(), 1);
    assert_eq!(scene.report().rows.len(), 0);
}

#[test]
fn a_key_that_is_revoked_in_the_middle_stops_the_run_and_another_key_goes_on() {
    let all = ids(200);
    let (scene, _front) = Scene::with_files(Script::plain(), &all)
        .option(SINGLY)
        .behind(revoked_after(50));
    scene.run().exits(3);
    let report = scene.report();
    assert_eq!(report.count("deleted"), 50);
    scene.check_truth(&report);
    assert!(scene.path("ids.report.csv.state").exists());
    scene.run_with("--resume").exits(3);
    assert_eq!(scene.report().rows.len(), 50);
}

#[test]
fn a_strangers_page_costs_one_request_and_claims_nothing() {
    for status in [200, 302, 404, 407] {
        for how in [SINGLY, IN_BATCHES] {
            let page = "<html><TITLE id=t>\nSign\nin</TITLE><body>Please log in";
            let (scene, front) = Scene::with_files(Script::plain(), &ids(300))
                .option(how)
                .behind(move |_| Reply::page(status, page));
            let said = "the server is not ImageKit: 127.0.0.1:";
            scene.run().exits(3).says(said);
            assert_eq!(front.asked().len(), 1, "{status} {how}");
            let report = scene.report();
            assert_eq!(report.rows.len(), report.count("unknown"), "{status} {how}");
            assert!(report.rows.iter().all(|row| row.message == "Sign in"));
        }
    }
}

#[test]
fn a_host_that_cannot_be_reached_is_tried_three_times_and_leaves_no_report() {
    let scene = Scene::new(Script::plain()).input("ids.txt", list(&ids(50)));
    let output = std::process::Command::new(fixture::BINARY)
        .args(["--yes", "ids.txt", "--base-url", "http://127.0.0.1:9"])
        .env_clear()
        .env("IMAGEKIT_PRIVATE_KEY", "private_x")
        .current_dir(scene.folder.path())
        .output()
        .unwrap();
    Ran::new(output, scene.folder.path())
        .exits(2)
        .says("cannot be reached")
        .says("--base-url");
    assert_eq!(
        fs::read_dir(scene.folder.path()).unwrap().count(),
        1,
        "the input alone"
    );
}

#[test]
fn a_public_key_or_none_is_refused_before_anything_is_sent() {
    let scene =
        Scene::with_files(Script::plain(), &ids(3)).variable("IMAGEKIT_PRIVATE_KEY", "public_abc");
    scene.run().exits(2).says("private key");
    let scene = Scene::with_files(Script::plain(), &ids(3)).variable("IMAGEKIT_PRIVATE_KEY", "");
    scene.run().exits(2).says("key");
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn a_key_file_that_others_can_read_is_warned_of() {
    let scene =
        Scene::with_files(Script::plain(), &ids(3)).variable("IMAGEKIT_PRIVATE_KEY", "public_x");
    let path = scene.path("a.key");
    fs::write(&path, format!("{}\nsecond line\n", Sandbox::key())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    scene
        .run_with("--private-key-file a.key")
        .exits(0)
        .says("chmod 600");
}

#[test]
fn the_key_is_in_no_output_even_if_the_api_echoes_it() {
    let all = ids(20);
    let (scene, _front) = Scene::with_files(Script::plain(), &all)
        .option(SINGLY)
        .option("--log-level trace --max-attempts 3")
        .behind(|asked| match asked.before % 5 {
            _ if asked.path.ends_with(&id(3)) => Reply::echo(400, Sandbox::key()),
            4 => Reply::echo(500, Sandbox::key()),
            _ => Reply::Pass,
        });
    // The fixture looks for the key in all that a run says and leaves.
    let ran = scene.run();
    assert!(
        ran.stderr.contains("answered"),
        "the log is there to look at"
    );
    assert!(
        scene.report().row(&all[3]).message.contains("[key]"),
        "and so is the echo"
    );
}

#[test]
fn a_bad_id_fails_alone() {
    let all = ids(120);
    for how in [SINGLY, IN_BATCHES] {
        let script = Script {
            instead: instead::malformed([all[7].clone()]),
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all).option(how);
        scene.run().exits(1).says("--resume");
        let report = scene.report();
        let row = report.row(&all[7]);
        assert_eq!(
            (
                row.status.as_str(),
                row.error.as_str(),
                row.http_status.as_str()
            ),
            ("failed", "rejected", "400")
        );
        assert_eq!(report.count("deleted"), 119, "{how}");
        scene.check_truth(&report);
    }
}

#[test]
fn a_403_is_about_the_key_and_no_id_is_failed_by_it() {
    let all = ids(10);
    let scene = Scene::with_files(
        Script {
            faults_for: [(all[4].clone(), vec![Fault::Status(403)])].into(),
            ..Script::plain()
        },
        &all,
    )
    .option(SINGLY);
    scene.run().exits(3);
    assert!(scene.report().rows.iter().all(|row| row.file_id != all[4]));
}

#[test]
fn odd_ids_are_one_segment_on_the_wire_or_not_sent_at_all() {
    let long = "x".repeat(300);
    let odd = [
        "../../v1/purge",
        "a?b",
        "a#b",
        "a%2Fb",
        &long,
        "a\u{1}b",
        "ü",
        "..",
        "a b",
        "=1+1",
    ];
    let text: String = odd.iter().map(|id| format!("{id},\n")).collect();
    let scene = Scene::new(Script::plain())
        .input("ids.csv", format!("id,x\n{text}"))
        .option(SINGLY);
    scene.run().exits(1).says("does not look like");
    let mut paths: Vec<String> = scene
        .server
        .ledger()
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    let sent = ["%3D1%2B1", "%C3%BC", "a%23b", "a%252Fb", "a%3Fb"];
    assert_eq!(paths, sent.map(|segment| format!("/v1/files/{segment}")));
    let report = scene.report();
    assert_eq!((report.count("invalid"), report.count("not_found")), (5, 5));
    assert!(
        report.rows.iter().any(|row| row.file_id == "=1+1"),
        "an ID stays exact"
    );
}

#[test]
fn ids_in_the_third_of_five_columns_are_right_in_each_row() {
    let all = ids(400);
    let mut text = String::from("a,b,fileId,d,e\r\n");
    let mut line = 2;
    let mut lines = Vec::new();
    for (number, id) in all.iter().enumerate() {
        if number % 5 == 0 {
            text.push_str("\r\n");
            line += 1;
        }
        lines.push(line);
        if number % 3 == 0 {
            text.push_str(&format!("x,\"two\r\nlines, \"\"here\"\"\",{id},y,z\r\n"));
            line += 2;
        } else {
            text.push_str(&format!("x,y,{id},,\r\n"));
            line += 1;
        }
    }
    let scene = Scene::new(Script::plain())
        .input("ids.csv", text)
        .option(SINGLY);
    scene.server.ledger().put_all(
        all.iter()
            .enumerate()
            .filter(|(n, _)| n % 7 != 0)
            .map(|(_, id)| id.clone()),
    );
    scene.run().exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    for (number, id) in all.iter().enumerate() {
        let row = report.row(id);
        let status = if number % 7 == 0 {
            "not_found"
        } else {
            "deleted"
        };
        assert_eq!(
            (row.status.as_str(), row.line, row.input.as_str()),
            (status, lines[number], "ids.csv")
        );
        assert_eq!(row.attempts, 1);
        assert!(row.request_id.starts_with("look-alike-"));
    }
}

#[test]
fn lost_and_broken_answers_leave_no_row_that_the_server_denies() {
    let all = ids(400);
    for how in [SINGLY, IN_BATCHES] {
        let script = Script {
            random_faults: vec![
                (Fault::Html500, 0.04),
                (Fault::Json500After, 0.04),
                (Fault::ResetBefore, 0.03),
                (Fault::ResetAfter, 0.03),
                (Fault::HalfBody, 0.02),
            ],
            ..Script::plain()
        };
        let scene = Scene::new(script).input("ids.txt", list(&all)).option(how);
        scene.server.ledger().put_all(all.iter().skip(20).cloned());
        scene.run().exits(0);
        let report = scene.true_report_of(&all);
        if how == SINGLY {
            assert!(
                report.count("gone") > 0,
                "lost answers are told: {:?}",
                report.counts()
            );
        }
    }
}

#[test]
fn a_429_holds_everybody_and_fails_nobody() {
    let all = ids(60);
    let script = Script {
        faults_at: [(5, Fault::TooMany(Some("700")))].into(),
        latency: Duration::from_millis(5)..Duration::from_millis(6),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option(SINGLY);
    scene.run().exits(0).says("1 refused by the rate limit");
    let requests = scene.server.ledger().requests();
    let refused = requests
        .iter()
        .position(|request| request.status == 429)
        .unwrap();
    let told = requests[refused].at + Duration::from_millis(6);
    let held = requests
        .iter()
        .filter(|request| request.at > told + Duration::from_millis(50))
        .map(|request| request.at);
    let first = held.min().unwrap();
    assert!(
        first >= requests[refused].at + Duration::from_millis(700),
        "{:?}",
        first - requests[refused].at
    );
    assert_eq!(scene.report().count("deleted"), 60);
}

#[test]
fn a_429_with_any_header_is_waited_for_and_ends() {
    for reset in [None, Some("0"), Some("-5"), Some("abc"), Some("")] {
        let script = Script {
            faults_at: [(1, Fault::TooMany(reset))].into(),
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &ids(3)).option(SINGLY);
        scene.run().exits(0);
        let requests = scene.server.ledger().requests();
        assert!(
            requests[1].at - requests[0].at >= Duration::from_millis(20),
            "{reset:?}"
        );
        assert_eq!(
            requests.len(),
            4,
            "no 429 is a reason to ask more than once at a time: {reset:?}"
        );
    }
}

#[test]
fn a_rate_is_never_exceeded_retries_included() {
    let all = ids(60);
    let script = Script {
        random_faults: vec![(Fault::Html500, 0.1)],
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--batch-size 1 --rate 50 --burst 5");
    scene.run().exits(0);
    let at: Vec<_> = scene
        .server
        .ledger()
        .requests()
        .into_iter()
        .map(|request| request.at)
        .collect();
    for first in 0..at.len() {
        for last in first..at.len() {
            let seconds = (at[last] - at[first]).as_secs_f64();
            // What left in time may arrive bunched: a few milliseconds of a shared machine are allowed for.
            let most = 50.0 * (seconds + 0.1) + 5.0;
            assert!(
                f64::from(u32::try_from(last - first + 1).unwrap()) <= most,
                "{} in {seconds} s",
                last - first + 1
            );
        }
    }
}

#[test]
fn one_poisonous_id_costs_its_neighbours_nothing() {
    let all = ids(100);
    let scene = Scene::with_files(
        Script {
            instead: instead::poison([all[42].clone()]),
            ..Script::plain()
        },
        &all,
    )
    .option(IN_BATCHES)
    .option("--max-attempts 2");
    scene.run().exits(1);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    assert_eq!(
        (
            report.row(&all[42]).status.as_str(),
            report.row(&all[42]).error.as_str()
        ),
        ("unknown", "server_error")
    );
    assert_eq!(report.count("deleted"), 99);
    assert!(scene.server.ledger().request_count() < 40);
}

#[test]
fn a_host_without_the_batch_route_is_asked_one_by_one() {
    let all = ids(150);
    let scene = Scene::with_files(
        Script {
            instead: instead::missing(BatchMissing::NoRoute),
            ..Script::plain()
        },
        &all,
    )
    .option(IN_BATCHES);
    let ran = scene.run();
    ran.exits(0);
    assert_eq!(
        ran.stderr.matches("one by one").count(),
        1,
        "{}",
        ran.stderr
    );
    assert_eq!(scene.report().count("deleted"), 150);
}

#[test]
fn stdin_is_served_line_by_line() {
    let all = ids(3);
    for line_break in ["\n", "\r\n", "\n\n"] {
        let scene = Scene::new(Script::plain())
            .option(IN_BATCHES)
            .option("-o -");
        scene.server.ledger().put_all(all.clone());
        let mut child = Scene::start(scene.command().stdin(Stdio::piped()));
        let mut stdin = child.stdin.take().unwrap();
        let mut rows = BufReader::new(child.stdout.take().unwrap()).lines();
        write!(stdin, "fileId{line_break}").unwrap();
        for id in &all {
            write!(stdin, "{id}{line_break}").unwrap();
            if id == &all[0] {
                assert!(rows.next().unwrap().unwrap().starts_with("file_id,status,"));
            }
            let row = rows.next().unwrap().unwrap();
            assert!(
                row.starts_with(&format!("{id},deleted,")),
                "before the next line was given: {row}"
            );
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_refused_run_leaves_all_that_was_there() {
    let all = ids(5);
    let scene = Scene::with_files(Script::plain(), &all);
    scene.run().exits(0);
    let first = fs::read(scene.report_path()).unwrap();
    scene.run_with("--overwrite").exits(0);
    let second = fs::read(scene.report_path()).unwrap();
    let backup = scene.path("ids.report.csv.bak");
    scene.run_with("--overwrite --max-delete 1").exits(2);
    assert_eq!(fs::read(scene.report_path()).unwrap(), second);
    assert_eq!(fs::read(&backup).unwrap(), first, "the older backup stays");
    scene.run_with("--overwrite").exits(0);
    assert_eq!(fs::read(&backup).unwrap(), first, "no report is ever lost");
    assert_eq!(
        fs::read(scene.path("ids.report.csv.bak.2")).unwrap(),
        second
    );
    let names = fs::read_dir(scene.folder.path()).unwrap().count();
    assert_eq!(names, 4, "the list, the report and its backups");
    scene
        .run_with("--overwrite ids.report.csv.bak")
        .exits(2)
        .says("is an input");
}

#[test]
fn a_refused_resume_does_not_take_the_job_over() {
    let all = ids(5);
    let script = Script {
        random_faults: vec![(Fault::Status(403), 1.0)],
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--resume");
    scene.run().exits(3);
    let state = || fs::read(scene.path("ids.report.csv.state")).unwrap();
    let before = state();
    let mut other = scene.command();
    other
        .env("IMAGEKIT_PRIVATE_KEY", "private_other")
        .args(["--max-delete", "1"]);
    Ran::new(other.output().unwrap(), scene.folder.path())
        .exits(2)
        .says("--max-delete");
    assert_eq!(state(), before);
    scene.run().exits(3);
}

#[test]
fn a_list_that_grows_after_it_was_counted_stops_the_run_before_more_is_sent() {
    let all = ids(9500);
    let latency = Duration::from_millis(50)..Duration::from_millis(60);
    let scene = Scene::with_files(
        Script {
            latency,
            ..Script::plain()
        },
        &all,
    )
    .option("--rate unlimited --concurrency 2 --max-delete 9000");
    // More than the reader has in its hands before the list grows.
    fs::write(scene.path("ids.txt"), list(&all[..9000])).unwrap();
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(2);
    fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
        .exits(6)
        .says("longer than when it was opened");
    assert!(scene.server.ledger().deleted_count() <= 9000);
}

#[test]
fn a_list_that_is_changed_in_place_after_it_was_counted_stops_the_run_before_more_is_sent() {
    let all = ids(9500);
    let latency = Duration::from_millis(50)..Duration::from_millis(60);
    let script = Script {
        latency,
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option("--rate unlimited --concurrency 2 --max-delete 9000");
    fs::write(scene.path("ids.txt"), list(&all[..9000])).unwrap();
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(2);
    // The last 500 become others, and the length stays.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(scene.path("ids.txt"))
        .unwrap();
    let offset = list(&all[..8500]).len() as u64;
    file.write_all_at(list(&all[9000..]).as_bytes(), offset)
        .unwrap();
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
        .exits(6)
        .says("the file was written to after it was opened");
    assert!(
        all[9000..]
            .iter()
            .all(|id| !scene.server.ledger().was_deleted(id)),
        "nothing is sent that was not counted"
    );
}

#[test]
fn each_signal_stops_the_run_in_a_pause_and_leaves_it_resumable() {
    let all = ids(40);
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let script = Script {
            faults_at: [(10, Fault::TooMany(Some("60000")))].into(),
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all)
            .option(SINGLY)
            .option("--concurrency 1");
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(10);
        signal(&child, name);
        Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
            .exits(code)
            .says("--resume");
        let report = scene.report();
        assert_eq!(report.rows.len(), 9, "untouched IDs have no row");
        scene.run_with("--resume").exits(0);
        scene.report().has_a_row_for_each_of(&all);
        assert_eq!(scene.server.ledger().request_count(), 41);
    }
}

#[test]
fn a_stop_waits_for_what_is_in_the_air_and_a_second_signal_does_not() {
    let all = ids(5);
    let script = Script {
        faults_for: [(all[2].clone(), vec![Fault::HangAfter])].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("--concurrency 1 --timeout 2s");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(3);
    signal(&child, "INT");
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(130);
    let report = scene.report();
    let row = report.row(&all[2]);
    assert_eq!(
        (row.status.as_str(), row.error.as_str(), row.attempts),
        ("unknown", "timeout", 1)
    );
    assert_eq!(report.rows.len(), 3);

    let script = Script {
        faults_for: [(all[2].clone(), vec![Fault::HangAfter])].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("--concurrency 1 --timeout 60s");
    let mut child = Scene::start(&mut scene.command());
    scene.wait_for_requests(3);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    signal(&child, "TERM");
    assert!(said.any(|line| { line.unwrap().contains("waiting for the requests in flight") }));
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    scene.run_with("--resume").exits(0);
    assert_eq!(
        scene.report().row(&all[2]).status,
        "gone",
        "it was in flight when the run left"
    );
    scene.check_truth(&scene.report());
}

#[test]
fn an_input_that_breaks_stops_the_run_with_its_line_and_goes_on_when_mended() {
    let all = ids(30);
    let broken = format!(
        "fileId,n\n{}",
        all.iter()
            .enumerate()
            .map(|(n, id)| {
                if n == 20 {
                    format!("{id},\"open\n")
                } else {
                    format!("{id},1\n")
                }
            })
            .collect::<String>()
    );
    let scene = Scene::with_files(Script::plain(), &all)
        .without("ids.txt")
        .input("ids.csv", &broken)
        .option(SINGLY);
    scene.run().exits(6).says("line 22").says("--resume");
    fs::write(scene.path("ids.csv"), broken.replace("\"open", "1")).unwrap();
    scene.run_with("--resume").exits(0);
    scene.report().has_a_row_for_each_of(&all);
}

#[test]
fn two_runs_on_one_report_do_not_meet() {
    let all = ids(3);
    let script = Script {
        faults_at: [(1, Fault::HangBefore)].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("--timeout 3s");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(1);
    scene.run().exits(75).says("another run");
    scene.run_with("--resume").exits(75);
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(0);
}

#[test]
fn a_report_that_cannot_be_made_is_told_before_anything_is_sent() {
    let scene = Scene::with_files(Script::plain(), &ids(3));
    scene
        .run_with("-o nowhere/a.csv")
        .exits(2)
        .says("nowhere")
        .says("--report");
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn a_closed_stdout_stops_the_run() {
    let all = ids(400);
    let script = Script {
        latency: Duration::from_millis(5)..Duration::from_millis(10),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("-o -");
    let mut child = Scene::start(&mut scene.command());
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(5);
    assert!(
        scene.server.ledger().deleted_count() < 100,
        "{}",
        scene.server.ledger().deleted_count()
    );
}

#[test]
fn a_share_is_of_all_that_is_decided_by_earlier_runs_too() {
    for (others, code) in [(50, 0), (60, 4)] {
        let all = ids(1000 + others);
        let scene = Scene::with_files(Script::plain(), &all[..1000]).option("--rate unlimited");
        scene.run().exits(0);
        std::fs::write(scene.path("ids.txt"), list(&all)).unwrap();
        let ran = scene.run_with("--resume --batch-size 1 --max-not-found 5%");
        assert_eq!(ran.code, code, "{others}: {}", ran.stderr);
        if code == 4 {
            ran.says("more than --max-not-found 5% (earlier runs included)");
        }
    }
}

#[test]
fn caps_refuse_before_anything_is_sent_and_limits_stop_in_the_middle() {
    let all = ids(100);
    let scene = Scene::with_files(Script::plain(), &all).option(SINGLY);
    scene.run_with("--max-delete 99").exits(2).says("100");
    scene.run_with("--expect-count 99").exits(2).says("100");
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert!(!scene.report_path().exists());
    scene
        .run_with("--max-delete 100 --expect-count 100")
        .exits(0);
    let scene = Scene::new(Script::plain())
        .input("ids.txt", list(&all))
        .option(SINGLY)
        .option("--concurrency 1");
    scene
        .run_with("--max-not-found 10")
        .exits(4)
        .says("--max-not-found");
    let missing = scene.report().count("not_found");
    assert!(
        (11..=12).contains(&missing),
        "{missing}: one was in flight already when the eleventh was told"
    );
    let asked = scene.server.ledger().request_count();
    let again = scene.run_with("--resume --max-not-found 10");
    again
        .exits(4)
        .says("more than --max-not-found 10 (earlier runs included); look at");
    assert_eq!(scene.server.ledger().request_count(), asked);
    // Where nothing is left to send, no limit keeps a job from its end.
    scene.run_with("--resume").exits(0);
    scene.run_with("--resume --max-not-found 10").exits(0);
    let limit = Window::fixed(1, Duration::from_mins(1));
    let scene = Scene::with_files(
        Script {
            limits: vec![limit],
            ..Script::plain()
        },
        &all,
    )
    .option(SINGLY);
    scene
        .run_with("--max-duration 1s")
        .exits(4)
        .says("--resume");
    assert_eq!(scene.report().count("deleted"), 1);
}

#[test]
fn expect_count_reads_a_pipe_too() {
    let all = ids(10);
    let scene = Scene::new(Script::plain()).option(SINGLY);
    scene.server.ledger().put_all(all.clone());
    scene.clone_free_run(&all, "--expect-count 9", 2, 0);
    scene.clone_free_run(&all, "--expect-count 10", 0, 10);
}

impl Scene {
    fn clone_free_run(&self, all: &[String], option: &str, code: i32, requests: u64) {
        let mut child = Self::start(self.command().args(option.split(' ')).stdin(Stdio::piped()));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(list(all).as_bytes())
            .unwrap();
        Ran::new(child.wait_with_output().unwrap(), self.folder.path()).exits(code);
        assert_eq!(self.server.ledger().request_count(), requests);
    }
}

#[test]
fn an_empty_input_is_a_header_alone() {
    for text in ["", "fileId\n"] {
        let scene = Scene::new(Script::plain()).input("ids.csv", text);
        scene.run().exits(0);
        assert_eq!(
            fs::read_to_string(scene.report_path())
                .unwrap()
                .lines()
                .count(),
            1
        );
        let scene = Scene::new(Script::plain())
            .input("ids.csv", text)
            .option("-o -");
        let ran = scene.run();
        assert_eq!(ran.exits(0).stdout.lines().count(), 1);
    }
}

#[test]
fn a_report_is_valid_input_again() {
    let all = ids(5);
    let scene = Scene::with_files(Script::plain(), &all).option(SINGLY);
    scene.run().exits(0);
    scene.run_with("ids.report.csv -o again.csv").exits(0);
    let again = Report::read(&scene.path("again.csv"));
    assert_eq!((again.count("not_found"), again.count("duplicate")), (5, 5));
}

#[test]
fn a_report_of_another_job_is_not_resumed() {
    let all = ids(5);
    let script = Script {
        faults_at: [(3, Fault::TooMany(Some("60000")))].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option(SINGLY)
        .option("--max-duration 1s");
    scene.run().exits(4);
    let before = fs::read(scene.report_path()).unwrap();
    let other_key = scene.variable("IMAGEKIT_PRIVATE_KEY", "private_another_account");
    other_key.run_with("--resume").exits(2).says("another key");
    fs::write(other_key.path("strange.csv"), "a,b\n1,2\n").unwrap();
    other_key
        .run_with("--resume -o strange.csv")
        .exits(2)
        .says("not a report");
    assert_eq!(
        fs::read(other_key.path("strange.csv")).unwrap(),
        b"a,b\n1,2\n"
    );
    assert_eq!(fs::read(other_key.report_path()).unwrap(), before);
}

#[test]
fn an_outage_of_few_batches_is_an_outage_too_and_costs_no_id_its_settlement() {
    for (count, options) in [
        (200, "--rate unlimited"),
        (60, "--batch-size 1 --concurrency 1 --rate unlimited"),
        (60, "--batch-size 1 --concurrency 4 --rate unlimited"),
    ] {
        let all = ids(count);
        let script = Script {
            instead: instead::outage(2, Duration::from_secs(6)),
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all).option(options);
        scene.run_with("--max-attempts 4").exits(0);
        scene.true_report_of(&all);
        let refused = scene.server.ledger().answered_with(503);
        assert!(refused <= 40, "{options}: {refused} during the outage");
    }
}

#[test]
fn where_only_what_always_fails_is_left_the_run_stops_after_max_outage() {
    for (fault, options, what) in [
        (
            Fault::Html500,
            "--batch-size 100",
            " answers only with errors (HTTP 500)",
        ),
        (
            Fault::Status(408),
            "--batch-size 100",
            " answers only with errors (HTTP 408)",
        ),
        (
            Fault::Status(425),
            "--batch-size 1",
            " answers only with errors (HTTP 425)",
        ),
        (
            Fault::TooMany(None),
            "--batch-size 100",
            "only refusals by the rate limit (429) came",
        ),
        (
            Fault::HalfBody,
            "--batch-size 1",
            " is not answering (the connection broke: ",
        ),
        (
            Fault::Garbage200,
            "--batch-size 100",
            " sends only responses that cannot be used (HTTP 200)",
        ),
    ] {
        let scene = Scene::new(Script {
            random_faults: vec![(fault.clone(), 1.0)],
            ..Script::plain()
        })
        .input("ids.txt", list(&ids(40)))
        .option("--rate unlimited --max-outage 1s")
        .option(options);
        let ran = scene.run();
        assert_eq!(ran.code, 4, "{fault:?} {options}: {}", ran.stderr);
        ran.says("--resume");
        let url = scene.server.base_url();
        let what = match what.strip_prefix(' ') {
            Some(what) => format!("{} {what}", url.trim_start_matches("http://")),
            None => what.to_owned(),
        };
        let stopped = format!("nothing succeeded for 1 s (--max-outage): {what}");
        if options == "--batch-size 1" {
            let warned = "; trying one request at a time for up to 1 s (--max-outage)";
            ran.says(&stopped)
                .says(&format!("warning: {what}"))
                .says(warned);
        }
        scene.check_truth(&scene.report());
    }
}

#[test]
fn a_report_never_takes_the_place_of_an_input() {
    let scene = Scene::with_files(Script::plain(), &ids(3));
    for options in [
        "-o ids.txt",
        "-o ./ids.txt --overwrite",
        "-o ids.txt --resume",
        "--dry-run --check --overwrite -o ids.txt",
    ] {
        scene
            .run_with(options)
            .exits(2)
            .says("give --report another path");
    }
    assert_eq!(
        fs::read_to_string(scene.path("ids.txt")).unwrap(),
        list(&ids(3))
    );
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn a_hangup_that_is_ignored_from_the_start_stays_so() {
    let limit = Window::fixed(1, Duration::from_secs(2));
    let scene = Scene::with_files(
        Script {
            limits: vec![limit],
            ..Script::plain()
        },
        &ids(2),
    )
    .option(SINGLY);
    let child = Scene::start(&mut scene.command_in("trap '' HUP; exec \"$@\""));
    scene.wait_for_requests(1);
    signal(&child, "HUP");
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(0);
    assert_eq!(scene.report().count("deleted"), 2);
}

#[test]
fn a_closed_stderr_stops_nothing() {
    let all = ids(300);
    let scene = Scene::with_files(Script::plain(), &all).option(SINGLY);
    for level in ["debug", "trace"] {
        let mut command = scene.command();
        command.args(["--log-level", level, "--overwrite"]);
        let mut child = Scene::start(&mut command);
        drop(child.stderr.take());
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{level}");
        scene.report().has_a_row_for_each_of(&all);
    }
}

#[test]
fn stdin_is_called_by_its_sign_in_the_report() {
    let all = ids(2);
    let scene = Scene::new(Script::plain()).option("--rate unlimited");
    scene.server.ledger().put_all(all.iter().cloned());
    scene.run_with_stdin(list(&all)).exits(0);
    let report = Report::read(&scene.path("imagekit-bulk-delete.report.csv"));
    assert!(report.rows.iter().all(|row| row.input == "-"), "{report:?}");
}

#[test]
fn a_folder_is_no_report_and_stays_where_it_is() {
    let scene = Scene::with_files(Script::plain(), &ids(3));
    fs::create_dir(scene.path("m")).unwrap();
    fs::write(scene.path("m/kept.txt"), "kept").unwrap();
    for options in [
        "-o m",
        "-o m/ --overwrite",
        "-o m --resume",
        "-o m --overwrite --dry-run --check",
    ] {
        scene.run_with(options).exits(2).says("not a regular file");
    }
    assert_eq!(
        fs::read_to_string(scene.path("m/kept.txt")).unwrap(),
        "kept"
    );
    assert!(!scene.path("m.bak").exists() && !scene.path("m.state").exists());
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn nothing_is_written_over_an_input_a_key_a_report_or_each_other() {
    let scene = Scene::with_files(Script::plain(), &ids(3));
    fs::write(scene.path("key.txt"), "private_k\n").unwrap();
    scene.run().exits(0);
    let sent = scene.server.ledger().request_count();
    let held = |name: &str| fs::read(scene.path(name)).unwrap();
    let before = ["ids.txt", "key.txt", "ids.report.csv"].map(held);
    for (options, words) in [
        ("--summary-json ids.txt", "is an input"),
        ("--metrics-file ./ids.txt", "is an input"),
        ("-o ids.txt --overwrite", "is an input"),
        (
            "--private-key-file key.txt --summary-json key.txt",
            "the file of the key",
        ),
        ("-o new.csv --summary-json new.csv", "name the same file"),
        (
            "-o new.csv --metrics-file new.csv.state",
            "name the same file",
        ),
        ("-o new.csv --html p --summary-json p", "name the same file"),
        ("-o new.csv --summary-json ids.report.csv", "is a report"),
        ("-o new.csv --metrics-file ids.report.csv", "is a report"),
        ("-o - --resume", "stdout"),
    ] {
        scene.run_with(options).exits(2).says(words).says("give");
    }
    assert_eq!(before, ["ids.txt", "key.txt", "ids.report.csv"].map(held));
    assert_eq!(scene.server.ledger().request_count(), sent);
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    const KEY: &str = "private_Secret123456789=";
    let scene = Scene::with_files(Script::plain(), &ids(3));
    for options in [
        format!("--rate {KEY}"),
        format!("--concurrency={KEY}"),
        format!("--{KEY}"),
    ] {
        let ran = scene.run_with(&options);
        ran.exits(2);
        assert!(!ran.stderr.contains("Secret"), "{}", ran.stderr);
    }
}

#[test]
fn a_negative_number_is_a_wrong_value_not_an_input() {
    let scene = Scene::with_files(Script::plain(), &ids(3));
    for options in [
        "--rate -5",
        "--concurrency -1",
        "--max-failures -1",
        "--timeout -3",
    ] {
        let ran = scene.run_with(options);
        ran.exits(2).says("invalid value");
        assert!(!ran.stderr.contains("-- -"), "{}", ran.stderr);
    }
}

#[test]
fn what_comes_from_outside_does_not_steer_the_terminal() {
    let columns = "no\u{1b}[31m,way\u{202e}\n1,2\n";
    let ran = Scene::new(Script::plain()).input("ids.txt", columns).run();
    ran.exits(2).says("the columns are").says("way");
    assert!(
        !ran.stderr.contains(['\u{1b}', '\u{202e}']),
        "{:?}",
        ran.stderr
    );
}

#[test]
fn the_command_that_is_shown_continues_the_job_as_it_stands() {
    let all = ids(5);
    for (input, options, code) in [
        ("ids.txt", "--concurrency 1", 1),
        ("a b's.txt", "--concurrency 1", 1),
        ("ids.txt", "--resume", 1),
        ("ids.txt", "--overwrite", 1),
        ("ids.txt", "-o old.{datetime}.csv", 1),
        ("ids.txt", "--report=old.{datetime}.csv", 1),
        (
            "ids.txt",
            "-oold.{datetime}.csv --html page.{datetime}.html",
            1,
        ),
        (
            "ids.txt",
            "--sandbox -o old.{datetime}.csv --max-duration 1ms",
            4,
        ),
    ] {
        let script = Script {
            instead: instead::malformed([all[1].clone()]),
            ..Script::plain()
        };
        let scene = Scene::new(script).input(input, list(&all)).option(options);
        scene.server.ledger().put_all(all.iter().cloned());
        let ran = scene.run();
        ran.exits(code);
        let (_, command) = ran
            .stderr
            .split_once("to continue with what is left:\n  ")
            .unwrap();
        assert!(!command.contains("--overwrite"), "{command}");
        let reports = || {
            let files = fs::read_dir(scene.folder.path()).unwrap();
            let paths = files.map(|file| file.unwrap().path());
            let reports = paths.filter(|path| path.extension().is_some_and(|last| last == "csv"));
            reports.collect::<Vec<_>>()
        };
        let (before, requests) = (reports(), scene.server.ledger().request_count());
        assert_eq!(before.len(), 1, "{before:?}");
        // A report that is named by the time is another one from now on.
        let wait = if options.contains("{datetime}") {
            1100
        } else {
            0
        };
        std::thread::sleep(Duration::from_millis(wait));
        let again = scene.command_in(command.trim_end()).output().unwrap();
        let again = Ran::new(again, scene.folder.path());
        again.exits(code);
        assert_eq!(reports(), before, "{command}");
        let sent = scene.server.ledger().request_count() - requests;
        assert!(
            sent < 3,
            "{command} sent {sent} requests: only one ID is left"
        );
    }
}
