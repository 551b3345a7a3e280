//! Strange answers: one broken route, another API's JSON, bodies that break off, hosts and proxies that let nothing
//! through, and batches that are refused for one ID's sake.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fixture::front::{Asked, Front, Reply};
use fixture::{Ran, Scene, id, ids, instead, list, signal, wait_until};
use imagekit_bulk_delete::sandbox::Script;

const SINGLY: &str = "--batch-size 1 --rate unlimited";
const IN_BATCHES: &str = "--rate unlimited";

/// Deletes `count` files that are there through a front, to the last one.
fn delete_all(
    script: Script,
    count: u64,
    options: &str,
    decide: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> Front {
    let all = ids(count);
    let scene = Scene::with_files(script, &all).option("--rate unlimited");
    let (scene, front) = scene.behind(decide);
    scene.run_with(options).exits(0);
    let report = scene.true_report_of(&all);
    assert_eq!(report.count("deleted"), all.len(), "{:?}", report.counts());
    front
}

fn batches(front: &Front) -> usize {
    front
        .asked()
        .iter()
        .filter(|asked| asked.is_batch())
        .count()
}

fn singles(front: &Front) -> usize {
    front
        .asked()
        .iter()
        .filter(|asked| asked.is_single())
        .count()
}

fn only_batches(reply: Reply) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| {
        if asked.is_batch() {
            reply.clone()
        } else {
            Reply::Pass
        }
    }
}

fn error(status: u16) -> Reply {
    Reply::imagekit(
        status,
        r#"{"message": "We have encountered an internal error."}"#,
    )
}

#[test]
fn where_the_batch_route_answers_5xx_every_id_is_deleted_by_the_single_call() {
    thread::scope(|scope| {
        for (status, count) in [(500, 16), (501, 100), (503, 17), (502, 99)] {
            scope.spawn(move || {
                let decide = only_batches(error(status));
                delete_all(Script::plain(), count, "--max-outage 1m", decide)
            });
        }
    });
}

#[test]
fn where_the_batch_route_fails_for_many_groups_at_once_a_single_call_ends_the_outage() {
    let options = "--max-outage 30s";
    let front = delete_all(Script::plain(), 2000, options, only_batches(error(500)));
    let batches = batches(&front);
    assert!(
        batches < 100,
        "{batches} batches, of which none ever worked"
    );
}

#[test]
fn where_the_batch_route_hangs_or_breaks_off_every_id_is_deleted_by_the_single_call() {
    let options = "--timeout 1s --connect-timeout 1s --max-attempts 2";
    thread::scope(|scope| {
        for reply in [
            Reply::Hang,
            Reply::Close,
            Reply::Cut(200),
            Reply::Stall(500),
        ] {
            for count in [16, 1000] {
                let decide = only_batches(reply.clone());
                scope.spawn(move || delete_all(Script::plain(), count, options, decide));
            }
        }
    });
}

#[test]
fn where_every_other_batch_fails_batches_go_on() {
    let front = delete_all(Script::plain(), 2000, "--max-outage 1m", |asked| {
        if asked.is_batch() && asked.before.is_multiple_of(2) {
            error(503)
        } else {
            Reply::Pass
        }
    });
    let singles = singles(&front);
    assert!(singles < 1000, "{singles} of 2000 by the single call");
}

#[test]
fn where_all_fails_and_comes_back_batches_go_on() {
    let script = Script {
        instead: instead::outage(3, Duration::from_secs(4)),
        ..Script::plain()
    };
    let front = delete_all(script, 3000, "--max-outage 1m", |_| Reply::Pass);
    let singles = singles(&front);
    assert!(singles < 100, "{singles} of 3000 by the single call");
}

#[test]
fn where_single_calls_fail_and_batches_work_every_id_is_deleted_by_batches() {
    delete_all(Script::plain(), 1000, "--max-outage 1m", |asked| {
        if asked.is_single() {
            error(500)
        } else {
            Reply::Pass
        }
    });
}

/// Bodies of a 404 that are not ImageKit's, or are about a route.
const STRANGERS: [&str; 10] = [
    r#"{"success": false, "errors": ["no such thing"]}"#,
    r#"{"errors": []}"#,
    "null",
    "[]",
    "404",
    r#"{"help": 1}"#,
    r#"{"message": 1, "help": "x"}"#,
    r#"{"message": "Not Found"}"#,
    r#"{"message": "Cannot DELETE /v1/files/0"}"#,
    r#"{"message": "The requested file does not exist."}"#,
];

#[test]
fn a_404_of_another_api_says_nothing_of_a_file_and_stops_the_run() {
    for body in STRANGERS {
        for how in [SINGLY, IN_BATCHES] {
            let scene = Scene::new(Script::plain())
                .input("ids.txt", list(&ids(30)))
                .option(how);
            let (scene, front) = scene.behind(move |_| Reply::json(404, body));
            scene.run().exits(3).says("not ImageKit");
            assert_eq!(front.asked().len(), 1, "{body} {how}");
            let report = scene.report();
            assert_eq!(report.rows.len(), report.count("unknown"), "{body} {how}");
        }
    }
}

#[test]
fn a_404_of_another_api_stops_a_check_and_a_purge_too() {
    for body in STRANGERS {
        let scene = Scene::new(Script::plain())
            .input("ids.txt", list(&ids(30)))
            .option(IN_BATCHES);
        let (scene, _front) = scene.behind(move |_| Reply::json(404, body));
        scene
            .run_with("--dry-run --check")
            .exits(3)
            .says("not ImageKit");
        let url = "https://ik.imagekit.io/demo/a.jpg";
        let scene = Scene::new(Script::plain())
            .input("ids.csv", format!("file_id,url\n{},{url}\n", id(1)))
            .option(IN_BATCHES);
        scene.server.ledger().put_all([id(1)]);
        let (scene, _front) = scene.behind(move |asked| {
            if asked.path.ends_with("/purge") {
                Reply::json(404, body)
            } else {
                Reply::Pass
            }
        });
        scene
            .run_with("--purge-cache")
            .exits(3)
            .says("not ImageKit");
    }
}

#[test]
fn a_404_of_imagekits_is_known_by_its_request_id_or_by_its_help() {
    let words = r#""message": "The requested file does not exist.""#;
    let replies = [
        Reply::imagekit(404, &format!("{{{words}}}")),
        Reply::json(404, &format!(r#"{{{words}, "help": "write to support"}}"#)),
    ];
    for reply in replies {
        let scene = Scene::new(Script::plain())
            .input("ids.txt", list(&ids(5)))
            .option(SINGLY);
        let (scene, _front) = scene.behind(move |_| reply.clone());
        scene.run().exits(0);
        assert_eq!(scene.report().count("not_found"), 5);
    }
}

#[test]
fn a_host_of_imagekits_without_the_batch_route_is_asked_one_by_one() {
    for message in ["Not Found", "Cannot POST /v1/files/batch/deleteByFileIds"] {
        let body = format!(r#"{{"message": "{message}"}}"#);
        let reply = Reply::imagekit(404, &body);
        let front = delete_all(
            Script::plain(),
            250,
            "--max-attempts 2",
            only_batches(reply),
        );
        assert_eq!((batches(&front), singles(&front)), (1, 250));
    }
}

#[test]
fn a_refusal_that_breaks_off_is_read_again_before_anything_is_decided() {
    for status in [400, 403, 404, 409, 422] {
        for options in ["--batch-size 1", "--batch-size 100"] {
            delete_all(Script::plain(), 20, options, move |asked| {
                if asked.before == 0 {
                    Reply::Cut(status)
                } else {
                    Reply::Pass
                }
            });
        }
    }
}

#[test]
fn a_body_that_times_out_is_a_timeout_and_one_that_breaks_off_a_bad_response() {
    for status in [200, 400, 404, 422] {
        for (reply, error) in [
            (Reply::Stall(status), "timeout"),
            (Reply::Cut(status), "bad_response"),
        ] {
            let scene = Scene::with_files(Script::plain(), &ids(2))
                .option(SINGLY)
                .option("--timeout 1s --connect-timeout 1s --max-attempts 1");
            let (scene, _front) = scene.behind(move |_| reply.clone());
            scene.run().exits(1);
            for row in scene.report().rows {
                assert_eq!(
                    (&*row.status, &*row.error),
                    ("unknown", error),
                    "{status}: {row:?}"
                );
            }
        }
    }
}

/// A listener whose backlog is full: what connects to it gets no answer at all, as from a host that drops SYNs.
struct Deaf {
    address: SocketAddr,
    _waiting: Vec<tokio::net::TcpStream>,
    _listener: tokio::net::TcpListener,
}

impl Deaf {
    async fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let brief = Duration::from_millis(500);
        while let Ok(stream) =
            tokio::time::timeout(brief, tokio::net::TcpStream::connect(address)).await
        {
            waiting.push(stream.unwrap());
            assert!(waiting.len() < 100, "the backlog never fills");
        }
        Self {
            address,
            _waiting: waiting,
            _listener: listener,
        }
    }
}

#[tokio::test]
async fn a_host_that_never_lets_anybody_in_is_unreachable_whatever_the_two_times_are() {
    let deaf = Deaf::new().await;
    for times in [
        "--timeout 1s",
        "--timeout 1s --connect-timeout 1s",
        "--timeout 1s --connect-timeout 30s",
        "--timeout 30s --connect-timeout 1s",
        "--timeout 300ms --connect-timeout 301ms",
    ] {
        for how in [SINGLY, IN_BATCHES] {
            let scene = Scene::new(Script::plain()).input("ids.txt", list(&ids(50)));
            let mut command = std::process::Command::new(fixture::BINARY);
            command
                .args([
                    "--yes",
                    "ids.txt",
                    "--base-url",
                    &format!("http://{}", deaf.address),
                ])
                .args(times.split(' '))
                .args(how.split(' '))
                .current_dir(scene.folder.path())
                .env_clear()
                .env("IMAGEKIT_PRIVATE_KEY", "private_x");
            let ran = Ran::new(command.output().unwrap(), scene.folder.path());
            ran.exits(2).says("cannot be reached");
            assert!(!scene.report_path().exists(), "{times}");
            assert!(!scene.path("ids.report.csv.state").exists(), "{times}");
        }
    }
}

/// A scene that reaches ImageKit's host by a proxy only, which decides by `decide`.
fn by_proxy(
    count: u64,
    decide: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> (Scene, Front) {
    let scene = Scene::new(Script::plain()).input("ids.txt", list(&ids(count)));
    let front = Front::before(&scene.server, decide);
    let scene = scene
        .variable("HTTPS_PROXY", &front.base_url())
        .at("https://imagekit.test");
    (scene, front)
}

#[test]
fn a_proxy_that_wants_a_password_stops_the_run() {
    let (scene, front) = by_proxy(50, |_| {
        Reply::Answer(407, "proxy-authenticate: Basic\r\n", String::new())
    });
    scene.run().exits(3).says("407");
    assert_eq!(front.asked().len(), 1);
    assert_eq!(front.asked()[0].method, "CONNECT");
}

#[test]
fn a_proxy_that_makes_no_connection_is_a_host_that_cannot_be_reached() {
    for status in [400, 403, 502, 503, 504] {
        let (scene, front) = by_proxy(50, move |_| Reply::Answer(status, "", String::new()));
        scene.run().exits(2).says("cannot be reached").says("proxy");
        assert_eq!(front.asked().len(), 3, "{status}");
        assert!(!scene.report_path().exists(), "{status}");
    }
}

/// A 404 that names `missing` and nobody else, as ImageKit does where it deletes nothing.
fn names_missing(missing: &str) -> Reply {
    let body = format!(
        r#"{{"message": "The requested file(s) does not exist.", "help": "h", "missingFileIds": ["{missing}"]}}"#
    );
    Reply::imagekit(404, &body)
}

#[test]
fn ids_whose_batch_was_refused_for_anothers_sake_get_no_row_at_a_stop_and_stay_in_doubt() {
    let all = ids(16);
    let scene = Scene::with_files(Script::plain(), &all[2..])
        .input("more.txt", list(&all[..2]))
        .option(IN_BATCHES);
    let missing = all[0].clone();
    let (scene, front) = scene.behind(move |asked| match asked.before {
        0 => names_missing(&missing),
        1 => Reply::Answer(429, "x-ratelimit-reset: 300000\r\n", String::new()),
        _ => Reply::Pass,
    });
    let child = Scene::start(&mut scene.command());
    wait_until(|| front.asked().len() == 2);
    signal(&child, "INT");
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(130);
    let report = scene.report();
    assert_eq!(
        (report.rows.len(), report.count("not_found")),
        (1, 1),
        "{report:?}"
    );
    scene.run_with("--resume").exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    // The other one that is missing was in doubt when the run was stopped.
    assert_eq!(report.row(&all[1]).status, "gone");
    assert_eq!(report.count("deleted"), 14);
    scene.check_truth(&report);
}

#[test]
fn after_such_a_refusal_what_is_refused_or_never_settled_is_failed_and_what_is_missing_is_gone() {
    let refused = Reply::imagekit(
        400,
        r#"{"message": "Your request contains invalid fileId parameter."}"#,
    );
    let too_early = Reply::imagekit(425, r#"{"message": "Too early."}"#);
    let absent = Reply::imagekit(404, r#"{"message": "The requested file does not exist."}"#);
    for (reply, status) in [(refused, "failed"), (too_early, "failed"), (absent, "gone")] {
        let all = ids(3);
        let scene = Scene::with_files(Script::plain(), &all)
            .option(IN_BATCHES)
            .option("--max-attempts 2");
        let missing = all[0].clone();
        let (scene, _front) = scene.behind(move |asked| match asked.before {
            0 if asked.is_batch() => names_missing(&missing),
            _ => reply.clone(),
        });
        scene.run();
        let report = scene.report();
        assert_eq!(report.row(&all[0]).status, "not_found");
        for other in &all[1..] {
            assert_eq!(report.row(other).status, status, "{report:?}");
        }
    }
}

#[test]
fn durations_of_years_work_and_longer_ones_are_refused() {
    let options = |duration: &str| {
        [
            "--max-outage",
            "--max-duration",
            "--timeout",
            "--connect-timeout",
        ]
        .map(|option| format!("{option} {duration}"))
        .join(" ")
    };
    let all = ids(40);
    for size in [1, 100] {
        let scene = Scene::with_files(Script::plain(), &all)
            .option(&format!("--rate unlimited --batch-size {size}"));
        // Failures are what begins to count the time without success.
        let (scene, front) = scene.behind(|asked| {
            if asked.before < 12 {
                error(500)
            } else {
                Reply::Pass
            }
        });
        let absurd = scene.run_with(&options("2562047788015215h"));
        absurd.exits(2).says("--max-outage");
        assert_eq!(front.asked().len(), 0);
        let ran = scene.run_with(&options("87600h"));
        ran.exits(0);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert_eq!(scene.report().count("deleted"), 40);
    }
}

#[test]
fn of_equally_grave_reasons_to_stop_the_first_is_told() {
    let all = ids(40);
    let scene = Scene::with_files(Script::plain(), &all);
    let report = scene.report_path();
    // Each waits for the row of the one before it, so the limit is passed by one row, and others follow.
    let decide = move |asked: &Asked| {
        let rows = || fs::read_to_string(&report).map_or(0, |rows| rows.lines().count() - 1);
        wait_until(|| rows() >= asked.before);
        Reply::imagekit(400, r#"{"message":"no","help":"none"}"#)
    };
    let (scene, _front) = scene.option(SINGLY).behind(decide);
    let ran = scene.run_with("--max-failures 8 --concurrency 12");
    ran.exits(4).says("9 of 9 failed");
    assert!(scene.report().rows.len() > 10);
}

#[test]
fn of_two_signals_the_first_is_told() {
    let all = ids(3);
    let (scene, front) = Scene::with_files(Script::plain(), &all)
        .option(SINGLY)
        .behind(|asked| {
            if asked.before == 0 {
                Reply::Pass
            } else {
                Reply::Hang
            }
        });
    let mut child = Scene::start(&mut scene.command());
    wait_until(|| front.asked().len() == 3);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    signal(&child, "TERM");
    assert!(said.any(|line| line.unwrap().contains("waiting for the requests in flight")));
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(said.any(|line| line.unwrap().contains("SIGTERM")));
}

#[test]
fn a_retry_after_is_waited_for_whatever_the_status() {
    for status in [429, 503] {
        let came: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let times = Arc::clone(&came);
        delete_all(Script::plain(), 3, "--batch-size 100", move |asked| {
            times.lock().unwrap().push(Instant::now());
            match asked.before {
                0 => Reply::Answer(status, "retry-after: 2\r\n", "busy".into()),
                _ => Reply::Pass,
            }
        });
        let came = came.lock().unwrap();
        assert!(came[1] >= came[0] + Duration::from_secs(2), "{status}");
    }
}
