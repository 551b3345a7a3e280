//! Finishing the job: URLs of deleted files are purged, whatever happens in between, and never of others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use fixture::front::{Asked, Reply, without_id_3};
use fixture::instead::{self, BatchTrouble};
use fixture::{Ran, Report, Scene, id, ids, list, signal, wait_until};
use imagekit_bulk_delete::sandbox::{Answer, Fault, Script};

fn url(id: &str) -> String {
    format!("https://ik.imagekit.io/sandbox/photos/photo-{id}.jpg")
}

/// An input that tells the URLs.
fn with_urls(ids: &[String]) -> String {
    let rows: String = ids.iter().map(|id| format!("{id},{}\n", url(id))).collect();
    format!("fileId,url\n{rows}")
}

/// What is asked for where ImageKit told this URL: all versions of the file.
fn purged_url(url: &str) -> String {
    match url.split_once("?updatedAt=") {
        Some((path, _)) => format!("{path}*"),
        None => url.to_owned(),
    }
}

fn purged(scene: &Scene) -> HashMap<String, usize> {
    let mut purged = HashMap::new();
    for url in scene.server.ledger().purged() {
        *purged.entry(url).or_default() += 1;
    }
    purged
}

/// Each file that is gone was purged, and no other.
fn check_purges(scene: &Scene, report: &Report) {
    let gone: HashSet<String> = report
        .rows
        .iter()
        .filter(|row| matches!(row.status.as_str(), "deleted" | "gone") && !row.url.is_empty())
        .map(|row| purged_url(&row.url))
        .collect();
    let asked: HashSet<String> = purged(scene).into_keys().collect();
    assert_eq!(asked, gone);
    for row in &report.rows {
        let expected = match (row.status.as_str(), row.url.is_empty()) {
            ("deleted" | "gone", false) => "requested",
            ("deleted" | "gone", true) => "no_url",
            _ => "",
        };
        assert_eq!(row.purge, expected, "{row:?}");
    }
}

#[test]
fn purges_that_all_fail_hold_no_deletion_up_and_are_no_outage() {
    let all = ids(300);
    for how in ["--batch-size 1", "--batch-size 100"] {
        let script = Script {
            instead: instead::purges(0, 503, "down"),
            ..Script::plain()
        };
        let scene = Scene::new(script)
            .input("ids.csv", with_urls(&all))
            .option("--rate unlimited --purge-cache --max-attempts 2 --max-outage 1s")
            .option(how);
        scene.server.ledger().put_all(all.clone());
        scene.run().exits(1).says("300 failed");
        let report = scene.report();
        report.has_a_row_for_each_of(&all);
        let told = |row: &fixture::Row| row.status == "deleted" && row.purge == "failed";
        assert!(report.rows.iter().all(told));
        assert_eq!(scene.server.ledger().deleted_count(), 300);
    }
}

#[test]
fn exactly_the_deleted_files_urls_are_purged_once() {
    let all = ids(150);
    let scene = Scene::new(Script::plain())
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited --purge-cache");
    scene.server.ledger().put_all(all[..120].iter().cloned());
    scene.run().exits(0).says("120 requested");
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    check_purges(&scene, &report);
    assert!(purged(&scene).values().all(|times| *times == 1));
    let row = report.row(&all[0]);
    assert!(
        row.purge_request_id.starts_with("look-alike-purge-"),
        "{row:?}"
    );
    assert_eq!(
        scene.server.ledger().request_count(),
        2 + 1 + 120,
        "nothing is looked up where the input tells it"
    );
    assert!(!scene.path("ids.report.csv.state").exists());
}

#[test]
fn urls_that_the_input_does_not_tell_are_looked_up_before() {
    let all = ids(250);
    let (scene, _front) = Scene::with_files(Script::plain(), &all)
        .option("--rate unlimited --purge-cache")
        .behind(without_id_3);
    scene.run().exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    check_purges(&scene, &report);
    let told = &report.row(&all[3]).url;
    assert!(told.starts_with(&url(&all[3])), "{told}");
    assert!(purged(&scene).keys().all(|url| url.ends_with(".jpg*")));
    let ledger = scene.server.ledger();
    assert_eq!(ledger.request_count(), 3 + 1 + 3 + 250);
    let first = ledger.requests();
    assert_eq!(
        first[0].method, "GET",
        "the URL is known before the deletion"
    );
}

#[test]
fn without_the_option_nothing_is_read_and_nothing_purged() {
    let all = ids(20);
    let scene = Scene::new(Script::plain())
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited");
    scene.server.ledger().put_all(all.iter().cloned());
    scene.run().exits(0);
    assert_eq!(scene.server.ledger().purged(), Vec::<String>::new());
    assert!(scene.report().rows.iter().all(|row| row.purge.is_empty()));
    scene
        .run_with("--max-purges 5 --overwrite")
        .exits(2)
        .says("--purge-cache");
}

#[test]
fn a_used_up_quota_is_told_and_stops_no_deletion() {
    let ten_days = Some(864_000_000_u64);
    let refusals = [
        (403, "Your monthly purge limit is used up.", None),
        (403, "Forbidden.", None),
        (
            403,
            "Could not purge because of rate limits on purge API.",
            None,
        ),
        (402, "Payment required.", None),
        (400, "You have exceeded the purge quota of your plan.", None),
        (
            400,
            "Could not purge because of rate limits on purge API.",
            None,
        ),
        (400, "The purge request count has exceeded the quota.", None),
        (429, "Purge quota exceeded.", None),
        (
            429,
            "The purge request count has exceeded the quota.",
            Some(1000),
        ),
        (429, "rate limit exceeded", ten_days),
    ];
    for (status, message, reset) in refusals {
        let all = ids(150);
        let script = Script {
            instead: instead::purges_or(100, move || {
                let refusal = Answer::message(status, message);
                match reset {
                    Some(reset) => refusal.header("x-ratelimit-reset", &reset),
                    None => refusal,
                }
            }),
            ..Script::plain()
        };
        let scene = Scene::new(script)
            .input("ids.csv", with_urls(&all))
            .option("--rate unlimited --purge-cache");
        scene.server.ledger().put_all(all.iter().cloned());
        scene.run().exits(1).says("--resume");
        let report = scene.report();
        assert_eq!(report.count("deleted"), 150, "{status}");
        let state = |purge: &str| report.rows.iter().filter(|row| row.purge == purge).count();
        assert_eq!(
            (state("requested"), state("over_limit")),
            (100, 50),
            "{status} {message}"
        );
        let refused = scene.server.ledger().answered_with(status);
        assert!((1..=16).contains(&refused), "{refused} for {status}");
        assert!(scene.path("ids.report.csv.state").exists());
    }
}

#[test]
fn a_rate_limit_on_purges_is_waited_for() {
    let all = ids(20);
    let busy = || Fault::TooMany(Some("300"));
    let script = Script {
        faults_at: (2..12).map(|request| (request, busy())).collect(),
        ..Script::plain()
    };
    let scene = Scene::new(script)
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited --purge-cache");
    scene.server.ledger().put_all(all.iter().cloned());
    scene.run().exits(0).says("20 requested");
    assert_eq!(scene.server.ledger().answered_with(429), 10);
    check_purges(&scene, &scene.report());
}

#[test]
fn equal_urls_are_purged_once_and_all_their_rows_say_so() {
    let all = ids(40);
    let folder = "https://ik.imagekit.io/sandbox/photos/old/*";
    let rows = |id: &String| format!("{id},{folder}\n");
    let text = format!("fileId,url\n{}", all.iter().map(rows).collect::<String>());
    let scene = Scene::new(Script::plain())
        .input("ids.csv", text)
        .option("--rate unlimited --purge-cache --batch-size 1 --max-purges 1");
    scene.server.ledger().put_all(all.iter().cloned());
    scene.run().exits(0);
    assert_eq!(scene.server.ledger().purged(), [folder]);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    let first = &report.rows[0].purge_request_id;
    assert!(!first.is_empty());
    let told = |row: &fixture::Row| row.purge == "requested" && row.purge_request_id == *first;
    assert!(report.rows.iter().all(told), "{report:?}");
}

#[test]
fn a_url_that_imagekit_told_is_purged_with_its_versions_else_exactly() {
    let all = ids(3);
    let told = format!("{}?updatedAt=1700000000000", url(&all[0]));
    let text = format!(
        "fileId,url\n{},{told}\n{},{}?v=2\n{},\n",
        all[0],
        all[1],
        url(&all[1]),
        all[2]
    );
    for refuses_wildcards in [false, true] {
        let (scene, front) = Scene::new(Script::plain())
            .input("ids.csv", &text)
            .option("--rate unlimited --purge-cache -j 1")
            .behind(move |asked| {
                if refuses_wildcards {
                    without_wildcards(asked)
                } else {
                    Reply::Pass
                }
            });
        scene.server.ledger().put_all(all.iter().cloned());
        scene.run().exits(0);
        let star = if refuses_wildcards { "" } else { "*" };
        let expected = HashMap::from([
            (format!("{}{star}", url(&all[0])), 1),
            (format!("{}?v=2", url(&all[1])), 1),
            (format!("{}{star}", url(&all[2])), 1),
        ]);
        assert_eq!(purged(&scene), expected);
        let asked = front.asked();
        let purges = asked.iter().filter(|asked| asked.is_purge()).count();
        assert_eq!(purges, if refuses_wildcards { 5 } else { 3 });
        let report = scene.report();
        assert!(report.rows.iter().all(|row| row.purge == "requested"));
        assert_eq!(
            report.row(&all[0]).url,
            told,
            "the row keeps the input's own"
        );
    }
}

#[test]
fn what_its_own_look_up_calls_no_file_is_not_deleted() {
    let all = ids(10);
    for how in ["--batch-size 1", "--batch-size 100"] {
        let scene = Scene::with_files(Script::plain(), &all)
            .option("--rate unlimited --purge-cache")
            .option(how);
        for (number, kind) in [(3, "folder"), (4, "file-version")] {
            instead::put_kind(scene.server.ledger(), &id(number), kind);
        }
        let check = || {
            let report = scene.report();
            report.has_a_row_for_each_of(&all);
            assert_eq!((report.count("deleted"), report.count("invalid")), (8, 2));
            for (number, kind) in [(3, "folder"), (4, "file-version")] {
                let row = report.row(&id(number));
                let told = (row.status.as_str(), row.error.as_str(), row.attempts);
                assert_eq!(told, ("invalid", "not_a_file", 0));
                assert!(
                    row.message.contains(kind) && row.purge.is_empty(),
                    "{row:?}"
                );
            }
            let ledger = scene.server.ledger();
            assert!(ledger.exists(&id(3)) && ledger.exists(&id(4)));
            assert_eq!(ledger.purged().len(), 8);
        };
        scene.run().exits(1);
        check();
        scene.run_with("--resume").exits(1);
        check();
    }
}

/// An account that purges no URL with a `*`.
fn without_wildcards(asked: &Asked) -> Reply {
    if asked.is_purge() && asked.body.contains('*') {
        let message = r#"{"message":"The URL is not valid for cache purging.","help":""}"#;
        Reply::imagekit(400, message)
    } else {
        Reply::Pass
    }
}

#[test]
fn a_folder_of_a_column_is_sent_as_it_stands_and_once() {
    let folder = "https://ik.imagekit.io/sandbox/photos/old/*";
    let (scene, front) = Scene::new(Script::plain())
        .input("ids.csv", format!("fileId,url\n{},{folder}\n", id(0)))
        .option("--rate unlimited --purge-cache")
        .behind(without_wildcards);
    scene.server.ledger().put(id(0));
    scene.run().exits(1);
    let report = scene.report();
    let row = report.row(&id(0));
    assert_eq!(
        (row.status.as_str(), row.purge.as_str()),
        ("deleted", "failed")
    );
    assert_eq!(front.asked().len(), 2);
}

#[test]
fn a_key_that_may_not_purge_stops_no_deletion_and_claims_no_quota() {
    let all = ids(150);
    for accepted in [0, 40] {
        let script = Script {
            instead: instead::purges(accepted, 403, "Your account cannot be authenticated."),
            ..Script::plain()
        };
        let scene = Scene::new(script)
            .input("ids.csv", with_urls(&all))
            .option("--rate unlimited --purge-cache");
        scene.server.ledger().put_all(all.iter().cloned());
        scene.run().exits(1);
        let report = scene.report();
        assert_eq!(report.count("deleted"), 150);
        let with = |purge: &str| report.rows.iter().filter(|row| row.purge == purge).count();
        assert_eq!(with("failed"), 150 - accepted);
        assert_eq!(with("over_limit"), 0);
        assert!(
            report
                .rows
                .iter()
                .any(|row| row.message.contains("purge: "))
        );
    }
}

#[test]
fn a_key_that_may_not_read_deletes_all_the_same() {
    let all = ids(250);
    let (scene, front) = Scene::with_files(Script::plain(), &all)
        .option("--rate unlimited --purge-cache")
        .behind(|asked| match asked.method.as_str() {
            "GET" => Reply::imagekit(
                403,
                r#"{"message":"Your account cannot be authenticated."}"#,
            ),
            _ => Reply::Pass,
        });
    scene.run().exits(0);
    let report = scene.report();
    assert_eq!(report.count("deleted"), 250);
    assert!(report.rows.iter().all(|row| row.purge == "no_url"));
    let asked = front.asked();
    let reads = asked.iter().filter(|asked| asked.method == "GET");
    assert!(reads.count() <= 3);
}

#[test]
fn a_wrong_key_still_stops_at_the_first_deletion() {
    let scene = Scene::with_files(Script::plain(), &ids(2000))
        .option("--purge-cache --max-purges 2000")
        .variable("IMAGEKIT_PRIVATE_KEY", "private_wrong");
    scene.run().exits(3);
    let posts = scene.server.ledger().requests();
    let deletions = posts.iter().filter(|one| one.method != "GET").count();
    assert_eq!(deletions, 1, "{posts:?}");
}

#[test]
fn a_failed_purge_is_tried_again_by_a_resume_and_the_row_keeps_deleted() {
    let all = ids(20);
    let bad = |request: u64| Fault::Status(if request.is_multiple_of(2) { 400 } else { 500 });
    let script = Script {
        faults_at: (5..9).map(|request| (request, bad(request))).collect(),
        ..Script::plain()
    };
    let scene = Scene::new(script)
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited --purge-cache --max-attempts 1");
    scene.server.ledger().put_all(all.iter().cloned());
    scene.run().exits(1).says("4 failed");
    let report = scene.report();
    assert_eq!(report.count("deleted"), 20);
    scene.run_with("--resume").exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    check_purges(&scene, &report);
    assert!(report.rows.iter().all(|row| row.message.is_empty()));
    assert_eq!(
        scene.server.ledger().request_count(),
        1 + 20 + 4,
        "nothing is deleted again"
    );
    assert!(!scene.path("ids.report.csv.state").exists());
}

#[test]
fn a_lost_answer_is_the_only_reason_to_purge_twice() {
    let all = ids(200);
    let script = Script {
        random_faults: vec![
            (Fault::ResetAfter, 0.08),
            (Fault::Json500After, 0.04),
            (Fault::Html500, 0.04),
        ],
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--rate unlimited --purge-cache");
    scene.run().exits(0);
    let report = scene.true_report_of(&all);
    check_purges(&scene, &report);
    let twice: usize = purged(&scene).values().map(|times| times - 1).sum();
    let ledger = scene.server.ledger();
    let lost = ledger.answered_with(0) + ledger.answered_with(500);
    assert!(twice as u64 <= lost, "{twice} twice, {lost} lost");
}

#[test]
fn a_death_between_deletion_and_purge_leaves_the_purge_to_the_resume() {
    let all = ids(10);
    // The deletion is done and its row written; its first purge is never answered, and goes alone.
    let script = Script {
        faults_at: [(2, Fault::HangBefore)].into(),
        ..Script::plain()
    };
    let scene = Scene::new(script)
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited --purge-cache");
    scene.server.ledger().put_all(all.iter().cloned());
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(2);
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    let report = scene.report();
    assert_eq!(report.count("deleted"), 10);
    assert!(report.rows.iter().all(|row| row.purge.is_empty()));
    // The URLs stand in the report: the input may have lost them.
    fs::write(scene.path("ids.csv"), list(&all)).unwrap();
    scene.run_with("--resume").exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    assert_eq!(report.count("deleted"), 10);
    check_purges(&scene, &report);
}

#[test]
fn a_death_in_the_middle_of_a_deletion_keeps_the_url_that_was_looked_up() {
    let all = ids(10);
    // The look-up, then the deletion, which is done and never answered.
    let scene = Scene::with_files(
        Script {
            faults_at: [(2, Fault::HangAfter)].into(),
            ..Script::plain()
        },
        &all,
    )
    .option("--rate unlimited --purge-cache");
    let child = Scene::start(&mut scene.command());
    wait_until(|| scene.server.ledger().deleted_count() == 10);
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    scene.run_with("--resume").exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    assert_eq!(report.count("gone"), 10);
    check_purges(&scene, &report);
}

#[test]
fn two_deaths_at_any_moment_lose_no_purge() {
    for seed in 0..8_u64 {
        let all = ids(60);
        let script = Script {
            random_faults: vec![(Fault::ResetAfter, 0.05), (Fault::Json500After, 0.05)],
            instead: instead::trouble(BatchTrouble::ErrorButDeleted, 9),
            latency: Duration::from_millis(1)..Duration::from_millis(4),
            seed,
            ..Script::plain()
        };
        let scene = Scene::with_files(script, &all).option("--rate unlimited --purge-cache");
        for kill_after in [seed * 5 % 23, 9 + seed * 7 % 31] {
            let mut child = Scene::start(scene.command().arg("--resume"));
            let before = scene.server.ledger().request_count();
            wait_until(|| {
                scene.server.ledger().request_count() >= before + kill_after
                    || child.try_wait().unwrap().is_some()
            });
            if child.try_wait().unwrap().is_none() {
                signal(&child, "KILL");
            }
            child.wait().unwrap();
        }
        scene.run_with("--resume").exits(0);
        let report = scene.true_report_of(&all);
        assert_eq!(report.count("not_found"), 0, "seed {seed}");
        check_purges(&scene, &report);
    }
}

#[test]
fn only_purges_in_flight_at_a_kill_are_asked_for_again() {
    const IN_FLIGHT: usize = 5;
    let all = ids(300);
    let script = Script {
        latency: Duration::from_millis(1)..Duration::from_millis(6),
        ..Script::plain()
    };
    let scene = Scene::new(script)
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited --purge-cache --resume")
        .option(&format!("--concurrency {IN_FLIGHT}"));
    scene.server.ledger().put_all(all.iter().cloned());
    let repeats = || {
        purged(&scene)
            .values()
            .map(|times| times - 1)
            .sum::<usize>()
    };
    let mut known = HashMap::new();
    let kills = [17, 40, 9, 61, 33, 28];
    for kill_after in kills {
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(scene.server.ledger().request_count() + kill_after);
        signal(&child, "KILL");
        child.wait_with_output().unwrap();
        for row in scene.report().rows {
            if row.purge == "requested" {
                known.entry(row.url).or_insert(0);
            }
        }
        let asked = purged(&scene);
        for (url, times) in &mut known {
            let settled_at = std::mem::replace(times, asked[url]);
            assert!(settled_at == 0 || settled_at == asked[url], "{url}");
        }
    }
    scene.run().exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    check_purges(&scene, &report);
    assert!(repeats() <= kills.len() * IN_FLIGHT, "{}", repeats());
    let asked = purged(&scene);
    assert!(known.len() > 100, "{} purges stood at a kill", known.len());
    assert!(known.iter().all(|(url, times)| asked[url] == *times));
}

#[test]
fn on_stdout_each_record_has_one_row_with_its_purge() {
    let all = ids(40);
    let scene = Scene::new(Script::plain())
        .input("ids.csv", with_urls(&all))
        .option("--rate unlimited --purge-cache -o -");
    scene.server.ledger().put_all(all[..30].iter().cloned());
    let ran = scene.run();
    ran.exits(0);
    let report = Report::parse(ran.stdout.as_bytes());
    report.has_a_row_for_each_of(&all);
    check_purges(&scene, &report);
}

#[test]
fn on_a_stdout_that_breaks_each_deletion_is_told_as_a_row_or_as_in_doubt() {
    let all = ids(30);
    for reads in [0, 1] {
        let scene = Scene::new(Script::plain())
            .input("ids.csv", with_urls(&all))
            .option("--rate unlimited --batch-size 5 --concurrency 1 --purge-cache -o -")
            .option("--summary-json s.json");
        scene.server.ledger().put_all(all.iter().cloned());
        let mut child = Scene::start(&mut scene.command());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut rows = 0;
        for _ in 0..reads {
            // Behind the header.
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            rows += u64::from(line.contains(",deleted,"));
        }
        drop(stdout);
        let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(5);
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(scene.path("s.json")).unwrap()).unwrap();
        let count = |name: &str| json["counts"][name].as_u64().unwrap();
        assert!(count("deleted") >= rows);
        let told = count("deleted") + json["in_doubt"].as_u64().unwrap();
        let deleted = scene.server.ledger().deleted_count() as u64;
        assert!(deleted >= 5, "{deleted}");
        assert_eq!(told, deleted, "{json}");
    }
}
