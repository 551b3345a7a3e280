//! The list: complete and without doubles while the library changes, or an error; and what it feeds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use fixture::front::{Asked, Reply};
use fixture::{NOBODY, Ran, Report, Scene, id, ids, instead, signal};
use imagekit_bulk_delete::sandbox::{Fault, File, Script};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::Value;

const LIST: &str = "imagekit-bulk-delete.list.csv";

/// What every command here has before its query.
fn list(scene: &Scene, query: &str, options: &str) -> Ran {
    let options = options.split(' ').filter(|option| !option.is_empty());
    let output = scene
        .command()
        .args(["--list", query, "--rate", "unlimited"])
        .args(options)
        .output()
        .unwrap();
    Ran::new(output, scene.folder.path())
}

/// The IDs of a list, in its order.
fn listed(path: &Path) -> Vec<String> {
    listed_in(&fs::read(path).unwrap())
}

fn listed_in(bytes: &[u8]) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header: Vec<&str> = reader.headers().unwrap().iter().collect();
    let expected = "file_id,exists,type,name,path,size,created_at,url";
    assert_eq!(header.join(","), expected);
    let rows = reader.records().map(|row| row.unwrap());
    rows.inspect(|row| assert_eq!((&row[1], &row[2]), ("true", "file")))
        .map(|row| row[0].to_owned())
        .collect()
}

/// Every one of these that was there throughout is listed, and none twice.
fn check_complete(scene: &Scene, listed: &[String], from_the_start: &[String]) {
    let once: HashSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a file is listed twice");
    let ledger = scene.server.ledger();
    let throughout = from_the_start.iter().filter(|id| !ledger.was_deleted(id));
    let lost: Vec<&String> = throughout.filter(|id| !once.contains(id)).collect();
    assert!(
        lost.is_empty(),
        "{} files are lost: {:?}",
        lost.len(),
        lost[0]
    );
}

fn file(number: u64, created_at: &str) -> File {
    File {
        created_at: created_at.parse().unwrap(),
        ..File::of(&id(number))
    }
}

/// A server whose library has this many files of one second, and some of others.
fn with_one_second_of(count: u64, script: Script) -> (Scene, Vec<String>) {
    let scene = Scene::new(script);
    let ledger = scene.server.ledger();
    for number in 0..count {
        ledger.put_file(file(number, "2024-02-29T23:59:59.5Z"));
    }
    for number in count..count + 700 {
        let at = if number % 2 == 0 {
            "2024-02-29T23:59:58.999Z"
        } else {
            "2024-03-01T00:00:00Z"
        };
        ledger.put_file(file(number, at));
    }
    (scene, ids(count + 700))
}

#[test]
fn a_list_of_a_library_in_use_is_complete_and_without_doubles() {
    let all = ids(100_000);
    let scene = Scene::new(Script {
        instead: instead::churn(50, all.clone()),
        ..Script::plain()
    });
    scene.server.ledger().put_all(all.iter().cloned());
    list(&scene, "size >= 0", "").exits(0).says("listed: ");
    let ledger = scene.server.ledger();
    assert!(ledger.deleted_count() >= 5000);
    let listed = listed(&scene.path(LIST));
    check_complete(&scene, &listed, &all);
    // Pages overlap by the files of one second, which are few here. What is uploaded meanwhile is not waited for.
    let (requests, pages) = (ledger.request_count(), listed.len().div_ceil(1000) as u64);
    assert!(
        requests <= pages + 8,
        "{requests} requests for {pages} pages"
    );
}

#[test]
fn a_list_takes_as_many_requests_as_it_has_pages_and_one_that_finds_nothing_more() {
    for (files, requests) in [(0, 1), (1, 2), (999, 2), (1500, 3), (2500, 4)] {
        let scene = Scene::new(Script::plain());
        scene.server.ledger().put_all(ids(files));
        list(&scene, "size >= 0", "").exits(0);
        check_complete(&scene, &listed(&scene.path(LIST)), &ids(files));
        assert_eq!(
            scene.server.ledger().request_count(),
            requests,
            "{files} files"
        );
    }
}

#[test]
fn a_server_that_does_not_fill_its_pages_loses_nothing() {
    let habits: [(&str, u64, Habit); 5] = [
        ("pages of any length", 0, |asked| match asked.before % 3 {
            0 => Reply::Pass,
            1 => Reply::Edit(|rows| rows.truncate(130)),
            _ => Reply::Edit(|rows| rows.truncate(400)),
        }),
        ("pages of 100", 0, |_| {
            Reply::Edit(|rows| rows.truncate(100))
        }),
        ("pages of 999", 0, |_| {
            Reply::Edit(|rows| rows.truncate(999))
        }),
        ("pages of 1", 0, |_| Reply::Edit(|rows| rows.truncate(1))),
        ("some files are left out of a full page", 7, |_| {
            Reply::Edit(|rows| rows.retain(|row| row["size"].as_u64().unwrap() % 500 != 7))
        }),
    ];
    for (habit, left_out, reply) in habits {
        // Few of one second, all of one second, and a second that is longer than a page.
        for (of_one, files) in [(0_u64, 4000_u64), (300, 0), (1100, 200)] {
            let files = if habit == "pages of 1" {
                files.min(20)
            } else {
                files
            };
            let of_one = if habit == "pages of 1" {
                of_one.min(20)
            } else {
                of_one
            };
            let scene = Scene::new(Script::plain());
            let mut all = Vec::new();
            for number in 0..of_one + files {
                let at = 1_700_000_000 + number.saturating_sub(of_one) / 3;
                let file = File {
                    created_at: jiff::Timestamp::from_second(at.cast_signed()).unwrap(),
                    size: number,
                    ..File::of(&id(number))
                };
                scene.server.ledger().put_file(file);
                if left_out == 0 || number % 500 != left_out {
                    all.push(id(number));
                }
            }
            let scene = with_habit(scene, reply);
            let ran = list(&scene, "size >= 0", "");
            let is_uneven = left_out > 0 || habit == "pages of any length";
            if is_uneven && of_one > 1000 && ran.code == 3 {
                // Uneven pages may make the walk through a second fail: an error, and no list that looks complete.
                ran.says("cannot be completed");
                assert!(!scene.path(LIST).exists());
                continue;
            }
            ran.exits(0);
            let listed = listed(&scene.path(LIST));
            check_complete(&scene, &listed, &all);
            assert_eq!(listed.len(), all.len(), "{habit}");
        }
    }
}

#[test]
fn a_second_that_fills_pages_is_complete_too() {
    for churn in [0, 40] {
        let script = Script {
            instead: instead::churn(churn, ids(3700)),
            ..Script::plain()
        };
        let (scene, all) = with_one_second_of(3000, script);
        list(&scene, "size >= 0", "").exits(0);
        assert_eq!(scene.server.ledger().deleted_count() > 0, churn > 0);
        check_complete(&scene, &listed(&scene.path(LIST)), &all);
    }
}

#[test]
fn deletions_beyond_the_overlap_within_one_second_lose_nothing() {
    for deleted in [150, 300] {
        let script = Script {
            instead: instead::shrinking(deleted, ids(6700)),
            ..Script::plain()
        };
        let (scene, all) = with_one_second_of(6000, script);
        list(&scene, "size >= 0", "").exits(0);
        assert!(scene.server.ledger().deleted_count() >= deleted);
        check_complete(&scene, &listed(&scene.path(LIST)), &all);
        let requests = scene.server.ledger().request_count();
        assert!(requests > 10, "{requests}: a gap was gone back over");
    }
}

#[test]
fn a_page_that_ends_at_any_row_of_a_second_loses_nothing() {
    for at_the_end in [1, 2, 499, 998, 999, 1000, 1001] {
        let scene = Scene::new(Script::plain());
        for number in 0..2000 {
            let at = if number < 1000 - at_the_end.min(1000) {
                "2024-01-01T00:00:00.1Z"
            } else if number < 1500 {
                "2024-01-01T00:00:01Z"
            } else {
                "2024-01-01T00:00:02.9Z"
            };
            scene.server.ledger().put_file(file(number, at));
        }
        list(&scene, "size >= 0", "").exits(0);
        check_complete(&scene, &listed(&scene.path(LIST)), &ids(2000));
    }
}

/// What the server makes of a list that it is asked for.
type Habit = fn(&Asked) -> Reply;

/// Its requests meet a server with this habit.
fn with_habit(scene: Scene, habit: Habit) -> Scene {
    scene.behind(habit).0
}

#[test]
fn a_list_that_breaks_a_promise_is_an_error_and_has_no_complete_lists_name() {
    let habits: [(&str, &str, Habit); 5] = [
        ("an order of its own", "not sorted by createdAt", |_| {
            Reply::Edit(|rows| rows.sort_by_key(|row| row["size"].as_u64()))
        }),
        ("the newest first", "not sorted by createdAt", |_| {
            Reply::Edit(|rows| rows.reverse())
        }),
        ("any time", "not sorted by createdAt", |asked| {
            let since = "createdAt%20%3E%3D%20%2220";
            Reply::PassAs(asked.path.replace(since, "createdAt%20%3E%3D%20%2210"))
        }),
        ("no skip", "repeat themselves", |asked| {
            Reply::PassAs(asked.path.split("&skip=").next().unwrap().into())
        }),
        ("no times", "has no createdAt that can be read", |_| {
            Reply::Edit(|rows| rows.last_mut().unwrap()["createdAt"] = Value::Null)
        }),
    ];
    for (trouble, words, habit) in habits {
        let (scene, _) = with_one_second_of(2500, Script::plain());
        let scene = with_habit(scene, habit);
        list(
            &scene,
            "size >= 0",
            "--summary-json s.json --metrics-file m.prom",
        )
        .exits(3)
        .says(words)
        .says("the list cannot be completed");
        assert!(!scene.path(LIST).exists(), "{trouble}");
        assert!(!scene.path(&format!("{LIST}.state")).exists(), "{trouble}");
        let json = fs::read_to_string(scene.path("s.json")).unwrap();
        assert!(
            json.contains("\"exit_code\": 3") && json.contains(words),
            "{json}"
        );
        let metrics = fs::read_to_string(scene.path("m.prom")).unwrap();
        assert!(metrics.contains("imagekit_bulk_delete_exit_code 3\n"));
    }
}

#[test]
fn a_list_is_right_where_it_is_told_oddly() {
    let habits: [(&str, Habit); 2] = [
        ("rows twice", |_| {
            Reply::Edit(|rows| {
                let twice = rows.iter().flat_map(|row| [row.clone(), row.clone()]);
                *rows = twice.take(1000).collect();
            })
        }),
        ("another time zone", |_| {
            Reply::Edit(|rows| {
                for row in rows {
                    let at: Timestamp = row["createdAt"].as_str().unwrap().parse().unwrap();
                    let there = Offset::constant(-9).to_datetime(at);
                    row["createdAt"] = format!("{there:.3}-09:00").into();
                }
            })
        }),
    ];
    for (oddity, habit) in habits {
        let (scene, all) = with_one_second_of(2500, Script::plain());
        let scene = with_habit(scene, habit);
        list(&scene, "size >= 0", "").exits(0);
        let listed = listed(&scene.path(LIST));
        check_complete(&scene, &listed, &all);
        assert_eq!(listed.len(), all.len(), "{oddity}");
    }
}

#[test]
fn versions_and_folders_that_come_all_the_same_are_left_out_and_told() {
    let all = ids(30);
    let scene = Scene::new(Script::plain());
    scene.server.ledger().put_all(all.iter().cloned());
    for (number, kind) in [(3, "folder"), (4, "file-version")] {
        instead::put_kind(scene.server.ledger(), &id(number), kind);
    }
    let scene = with_habit(scene, |asked| {
        Reply::PassAs(
            asked
                .path
                .replace("type%20%3D%20%22file%22", "size%20%3E%3D%200"),
        )
    });
    list(&scene, "size >= 0", "")
        .exits(0)
        .says("listed: 28 files")
        .says("2 rows were versions or folders");
    let listed = listed(&scene.path(LIST));
    assert!(listed.len() == 28 && !listed.contains(&id(3)) && !listed.contains(&id(4)));
}

#[test]
fn a_bad_line_does_not_end_a_list() {
    let all = ids(5500);
    let scene = Scene::new(Script {
        random_faults: vec![
            (Fault::ResetAfter, 0.2),
            (Fault::HalfBody, 0.2),
            (Fault::Html500, 0.1),
        ],
        ..Script::plain()
    });
    scene.server.ledger().put_all(all.iter().cloned());
    list(&scene, "size >= 0", "--max-attempts 1").exits(0);
    let listed = listed(&scene.path(LIST));
    check_complete(&scene, &listed, &all);
    assert_eq!(listed.len(), all.len());
}

#[test]
fn what_cannot_be_listed_is_refused_with_words_and_leaves_nothing() {
    let scene = Scene::new(Script::plain());
    scene.server.ledger().put_all(ids(5));
    list(&scene, "nam = \"a\"", "--summary-json s.json")
        .exits(2)
        .says("Invalid search query - the sandbox knows no field nam");
    let json = fs::read_to_string(scene.path("s.json")).unwrap();
    assert!(json.contains("\"exit_code\": 2") && json.contains("knows no field nam"));
    fs::remove_file(scene.path("s.json")).unwrap();
    let asked = scene.server.ledger().request_count();
    for (query, options, words) in [
        ("", "", "the query is empty"),
        ("size > 1) OR (size > 0", "", "do not match"),
        ("size > 0", "--dry-run", "cannot be used with"),
        ("size > 0", "--purge-cache", "cannot be used with"),
        ("size > 0", "--max-delete 5", "cannot be used with"),
        ("size > 0", "--resume", "cannot be used with"),
        ("size > 0", "ids.csv", "cannot be used with"),
        ("size > 0", "-o no/such/list.csv", "no/such"),
    ] {
        let ran = list(&scene, query, options);
        ran.exits(2).says(words);
        assert!(!ran.stderr.contains("Usage:"), "{}", ran.stderr);
    }
    assert_eq!(scene.server.ledger().request_count(), asked);
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_refused_key_and_a_host_that_cannot_be_reached_leave_nothing() {
    let scene = Scene::new(Script {
        key: "private_another".into(),
        ..Script::plain()
    });
    list(&scene, "size > 0", "").exits(3);
    assert_eq!(scene.server.ledger().request_count(), 1);
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 0);
    let scene = scene.at(NOBODY);
    list(&scene, "size > 0", "")
        .exits(2)
        .says("cannot be reached");
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_query_that_finds_nothing_says_so_even_when_quiet() {
    let scene = Scene::new(Script::plain());
    list(&scene, "name : \"x\"", "--quiet")
        .exits(0)
        .says("the query finds no files");
    assert_eq!(listed(&scene.path(LIST)), Vec::<String>::new());
    scene.server.ledger().put_all(ids(3));
    let ran = list(&scene, "size > 0", "--quiet --overwrite");
    assert_eq!(ran.exits(0).stderr, "");
}

#[test]
fn older_lists_are_kept_and_incomplete_ones_replaced() {
    let scene = Scene::new(Script::plain());
    scene.server.ledger().put_all(ids(3));
    list(&scene, "size > 0", "-o a.csv").exits(0);
    let first = fs::read(scene.path("a.csv")).unwrap();
    let mode = fs::metadata(scene.path("a.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    list(&scene, "size > 0", "-o a.csv")
        .exits(2)
        .says("--overwrite");
    for (backup, files) in [("a.csv.bak", 4), ("a.csv.bak.2", 5), ("a.csv.bak.3", 6)] {
        scene.server.ledger().put(id(files));
        list(&scene, "size > 0", "-o a.csv --overwrite").exits(0);
        assert!(scene.path(backup).exists(), "{backup}");
    }
    assert_eq!(fs::read(scene.path("a.csv.bak")).unwrap(), first);
    // A refused query takes nothing away.
    let last = fs::read(scene.path("a.csv")).unwrap();
    list(&scene, "bad", "-o a.csv --overwrite").exits(2);
    assert_eq!(fs::read(scene.path("a.csv")).unwrap(), last);
    fs::write(
        scene.path("b.csv.part"),
        "file_id,exists,type,name,path,size,created_at,url\nx",
    )
    .unwrap();
    list(&scene, "size > 0", "-o b.csv").exits(0);
    assert!(!scene.path("b.csv.part").exists());
    fs::write(scene.path("c.csv.part"), "a download of somebody else").unwrap();
    list(&scene, "size > 0", "-o c.csv")
        .exits(2)
        .says("c.csv.part");
    assert!(scene.path("c.csv.part").exists() && !scene.path("c.csv").exists());
    fs::write(scene.path("d.csv.state"), "{\"version\":1}").unwrap();
    list(&scene, "size > 0", "-o d.csv")
        .exits(2)
        .says("needs the name d.csv.state");
    assert!(scene.path("d.csv.state").exists());
}

#[test]
fn a_list_that_somebody_changes_while_it_is_written_is_never_taken_for_one() {
    let part = format!("{LIST}.part");
    let changes: [fn(&Path); 4] = [
        |part| {
            fs::remove_file(part).unwrap();
            fs::write(part, "precious\n").unwrap();
        },
        |part| {
            let file = OpenOptions::new().write(true).open(part).unwrap();
            file.set_len(100).unwrap();
        },
        |part| {
            let mut file = OpenOptions::new().append(true).open(part).unwrap();
            file.write_all(b"foreign\n").unwrap();
        },
        |part| fs::remove_file(part).unwrap(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let scene = Scene::new(Script {
            latency: Duration::from_millis(200)..Duration::from_millis(201),
            ..Script::plain()
        });
        scene.server.ledger().put_all(ids(5000));
        let mut command = scene.command();
        let child = Scene::start(command.args(["--list", "size > 0"]));
        scene.wait_for_requests(3);
        change(&scene.path(&part));
        let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(5).says("changed, replaced or removed");
        assert!(!scene.path(LIST).exists(), "change {index}");
        let is_foreign_kept = || fs::read(scene.path(&part)).unwrap() == b"precious\n";
        assert!(index != 0 || is_foreign_kept());
    }
}

#[test]
fn a_stopped_list_says_how_far_it_came_and_is_not_taken_for_a_complete_one() {
    let slow = Duration::from_millis(300)..Duration::from_millis(301);
    let scene = Scene::new(Script {
        latency: slow,
        ..Script::plain()
    });
    scene.server.ledger().put_all(ids(9000));
    let mut command = scene.command();
    command.args(["--list", "size > 0", "--summary-json", "s.json"]);
    let child = Scene::start(&mut command);
    scene.wait_for_requests(3);
    // Meanwhile nobody else writes it.
    list(&scene, "size > 0", "").exits(75);
    signal(&child, "INT");
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(130).says("the list is not complete");
    assert!(!scene.path(LIST).exists());
    let part = listed(&scene.path(&format!("{LIST}.part")));
    assert!(part.len() >= 2000 && part.len() < 9000);
    let json = fs::read_to_string(scene.path("s.json")).unwrap();
    let records = format!("\"records\": {}", part.len());
    assert!(
        json.contains(&records) && json.contains("\"exit_code\": 130"),
        "{json}"
    );
    list(&scene, "size > 0", "--max-duration 700ms")
        .exits(4)
        .says("--max-duration");
    list(&scene, "size > 0", "").exits(0);
    assert_eq!(listed(&scene.path(LIST)).len(), 9000);
    assert!(!scene.path(&format!("{LIST}.part")).exists());
}

#[test]
fn an_outage_is_waited_out_or_ends_the_list() {
    let outage = |lasting| Script {
        instead: instead::outage(2, Duration::from_secs(lasting)),
        ..Script::plain()
    };
    let scene = Scene::new(outage(3));
    scene.server.ledger().put_all(ids(2500));
    list(&scene, "size > 0", "--max-attempts 2").exits(0);
    assert_eq!(listed(&scene.path(LIST)).len(), 2500);
    let scene = Scene::new(outage(600));
    scene.server.ledger().put_all(ids(2500));
    list(&scene, "size > 0", "--max-outage 2s")
        .exits(4)
        .says("--max-outage");
    assert!(!scene.path(LIST).exists());
}

#[test]
fn a_list_is_input_for_a_check_and_a_run_with_no_edit() {
    let scene = Scene::new(Script::plain());
    for number in 0..1200 {
        let folder = if number % 2 == 0 { "/old" } else { "/new" };
        scene.server.ledger().put_file(File {
            folder: folder.into(),
            ..File::of(&id(number))
        });
    }
    list(&scene, "path : \"/old/\"", "-o old.csv")
        .exits(0)
        .says("listed: 600 files");
    scene
        .run_with("--dry-run --check --rate unlimited old.csv")
        .exits(0)
        .says("600 of 600 exist");
    scene
        .run_with("--rate unlimited --purge-cache old.csv")
        .exits(0);
    let ledger = scene.server.ledger();
    assert_eq!(ledger.deleted_count(), 600);
    assert!((0..1200).all(|number| ledger.was_deleted(&id(number)) == (number % 2 == 0)));
    let purged = ledger.purged();
    assert_eq!(purged.len(), 600);
    assert!(purged.iter().all(
        |url| url.starts_with("https://ik.imagekit.io/sandbox/old/") && url.ends_with(".jpg*")
    ));
    let report = Report::read(&scene.path("old.report.csv"));
    assert!(report.rows.iter().all(|row| row.purge == "requested"));
    scene
        .run_with("--dry-run --check --rate unlimited old.report.csv -o after.csv")
        .exits(0)
        .says("checked 600 IDs (nothing was deleted): none of these files exists");
}

#[test]
fn a_list_on_stdout_is_piped_into_a_run() {
    let scene = Scene::new(Script::plain());
    scene.server.ledger().put_all(ids(2100));
    let script = "set -o pipefail; \"$@\" --list 'size > 0' -o - | \"$@\"";
    let output = scene.command_in(script).output().unwrap();
    Ran::new(output, scene.folder.path())
        .exits(0)
        .says("listed: 2,100 files");
    assert_eq!(scene.server.ledger().deleted_count(), 2100);
    let ran = list(&scene, "size > 0", "-o -");
    assert_eq!(
        listed_in(ran.exits(0).stdout.as_bytes()),
        Vec::<String>::new()
    );
}

#[test]
fn a_rehearsal_lists_something_and_only_where_its_mark_is() {
    let scene = Scene::new(Script::plain());
    let output = std::process::Command::new(fixture::BINARY)
        .args([
            "--sandbox",
            "--list",
            "path : \"/old/\" AND createdAt < \"1y\"",
        ])
        .args(["-o", "old.{date}.csv", "--summary-json", "s.json"])
        .env_clear()
        .current_dir(scene.folder.path())
        .output()
        .unwrap();
    Ran::new(output, scene.folder.path()).exits(0);
    let names: Vec<String> = fs::read_dir(scene.folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let lists: Vec<&String> = names
        .iter()
        .filter(|name| name.starts_with("old.20"))
        .collect();
    assert!(
        lists.len() == 1 && lists[0].ends_with(".sandbox.csv"),
        "{names:?}"
    );
    assert!(!listed(&scene.path(lists[0])).is_empty());
    let json = fs::read_to_string(scene.path("s.sandbox.json")).unwrap();
    assert!(json.contains("\"sandbox\": true"));
    assert_eq!(scene.server.ledger().request_count(), 0);
    fs::write(scene.path("real.csv"), "not to be lost").unwrap();
    let ran = list(&scene, "size > 0", "--sandbox -o real.csv");
    ran.exits(2).says("real.csv exists; use --overwrite");
    assert!(!ran.stderr.contains("needs --yes"), "{}", ran.stderr);
}
