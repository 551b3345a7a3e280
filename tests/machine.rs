//! A machine that is short of something: all is deleted and recorded all the same, or nothing is begun.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use fixture::front::{Front, Reply};
use fixture::{BINARY, Ran, Report, Scene, ids, list, wait_until};
use imagekit_bulk_delete::sandbox::{LoggedRequest, Script, Window};

const EXPORTS: &str = "--summary-json s.json --metrics-file m.prom --html p.html";

fn slow() -> Script {
    Script {
        latency: Duration::from_millis(5)..Duration::from_millis(20),
        ..Script::plain()
    }
}

fn run_in(scene: &Scene, script: &str) -> Ran {
    let output = scene.command_in(script).output().unwrap();
    Ran::new(output, scene.folder.path())
}

/// All is deleted and recorded, and the run says so.
#[track_caller]
fn all_is_well(scene: &Scene, ran: &Ran, all: &[String]) {
    ran.exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(all);
    assert_eq!(report.count("deleted"), all.len(), "{:?}", report.counts());
    scene.check_truth(&report);
    assert!(!scene.path("ids.report.csv.state").exists());
}

/// Nothing was begun, and nothing is in the way of the next try.
#[track_caller]
fn nothing_was_begun(scene: &Scene, ran: &Ran) {
    ran.exits(2);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: "), "{}", ran.stderr);
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert!(!scene.report_path().exists() && !scene.path("ids.report.csv.state").exists());
}

#[test]
fn with_few_open_files_all_is_deleted_with_fewer_requests_in_flight() {
    let all = ids(600);
    for (limit, options) in [
        (24, "-b 1"),
        (24, "-b 10 -j 256"),
        (32, "-b 1 -j 1024"),
        (64, "-b 1 -j 64"),
        (256, "-b 1 -j 256"),
        (1024, "-b 1 -j 1024"),
    ] {
        let scene = Scene::with_files(slow(), &all)
            .option("--rate unlimited")
            .option(EXPORTS)
            .option(options);
        let ran = run_in(&scene, &format!("ulimit -n {limit}; exec \"$@\""));
        all_is_well(&scene, &ran, &all);
        assert!(scene.path("p.html").exists() && scene.path("m.prom").exists());
        if limit < 1024 {
            ran.says("requests are in flight").says("ulimit -n");
        }
    }
}

#[test]
fn however_few_open_files_there_are_it_is_all_or_nothing() {
    let all = ids(40);
    let mut completed = 0;
    for limit in 3..30 {
        let scene = Scene::with_files(slow(), &all)
            .option("--rate unlimited -b 1 -j 100")
            .option(EXPORTS);
        let ran = run_in(&scene, &format!("ulimit -n {limit}; exec \"$@\""));
        // Where not even the loader can open its libraries there is no program to say anything.
        if ran.code == 127 {
            continue;
        }
        if ran.code == 0 {
            completed += 1;
            all_is_well(&scene, &ran, &all);
        } else {
            nothing_was_begun(&scene, &ran);
        }
    }
    assert!(completed > 3, "{completed}");
}

#[test]
fn a_soft_limit_on_open_files_is_raised_as_far_as_it_goes() {
    let all = ids(600);
    let script = Script {
        latency: Duration::from_millis(100)..Duration::from_millis(100),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--rate unlimited -b 1 -j 100");
    let ran = run_in(&scene, "ulimit -S -n 24; exec \"$@\"");
    all_is_well(&scene, &ran, &all);
    assert!(!ran.stderr.contains("in flight"), "{}", ran.stderr);
    // Each is answered 100 ms after it came.
    let requests = scene.server.ledger().requests();
    let together = |first: &LoggedRequest| {
        let until = first.at + Duration::from_millis(100);
        let behind = requests.iter().filter(|request| request.at >= first.at);
        behind.filter(|request| request.at < until).count()
    };
    assert!(requests.iter().map(together).max().unwrap() > 24);
}

/// How many files a child may open from now on; what is open stays open.
fn limit_open_files(child: &Child, files: &str) {
    let pid = child.id().to_string();
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid, &format!("--nofile={files}:")]);
    assert!(prlimit.status().unwrap().success());
}

/// The number behind the last file that a child keeps in reserve: whatever it opened later has a higher one.
fn behind_its_reserve(child: &Child) -> String {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let reserve = open.filter_map(|file| {
        let path = file.unwrap().path();
        let is_reserve = fs::read_link(&path).is_ok_and(|to| to == Path::new("/dev/null"));
        let number = path.file_name()?.to_str()?.parse::<u32>().ok()?;
        is_reserve.then_some(number)
    });
    (reserve.max().unwrap() + 1).to_string()
}

/// A run of many requests, each over a connection of its own.
fn with_new_connections(all: &[String], host: &str) -> (Scene, Front) {
    let scene = Scene::with_files(slow(), all).option(EXPORTS);
    let front = Front::before(&scene.server, |_| Reply::Pass);
    let scene = scene
        .at(&front.base_url().replace("127.0.0.1", host))
        .option("--rate unlimited -b 20 -j 8");
    (scene, front)
}

/// Starts it, and lets it open nothing more once it is under way; waits until it says so.
fn starved(scene: &Scene, options: &str) -> Child {
    let said = fs::File::create(scene.path("said.txt")).unwrap();
    let mut command = scene.command();
    command.args(options.split_whitespace()).stderr(said);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    scene.wait_for_requests(20);
    limit_open_files(&child, &behind_its_reserve(&child));
    wait_until(|| said_by(scene).contains("this machine cannot open another connection"));
    child
}

fn said_by(scene: &Scene) -> String {
    fs::read_to_string(scene.path("said.txt")).unwrap()
}

#[test]
fn a_shortage_of_open_files_in_mid_run_is_waited_for_and_fails_no_id() {
    let all = ids(8_000);
    for host in ["127.0.0.1", "localhost"] {
        let (scene, _front) = with_new_connections(&all, host);
        let child = starved(&scene, "--max-outage 1m --max-attempts 2");
        limit_open_files(&child, "1000");
        let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        assert!(said_by(&scene).contains("Too many open files"), "{host}");
        all_is_well(&scene, &ran, &all);
    }
}

#[test]
fn a_shortage_of_open_files_that_lasts_ends_the_run_as_what_it_is() {
    let all = ids(8_000);
    for host in ["127.0.0.1", "localhost"] {
        let (scene, _front) = with_new_connections(&all, host);
        let child = starved(&scene, "--max-outage 1s --max-attempts 2");
        let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(4);
        let said = said_by(&scene);
        assert!(said.contains("--max-outage") && said.contains("Too many open files"));
        assert!(!said.contains("one request at a time"), "{said}");
        for export in ["s.json", "m.prom", "p.html"] {
            assert!(scene.path(export).exists(), "{host}: {export}");
        }
        let report = scene.report();
        assert_eq!(
            report.count("deleted"),
            report.rows.len(),
            "{:?}",
            report.counts()
        );
        scene.check_truth(&report);
        all_is_well(&scene, &scene.run_with("--resume"), &all);
    }
}

#[test]
fn a_list_waits_for_open_files_too_and_is_complete_or_says_that_it_is_not() {
    for (max_outage, code) in [("1m", 0), ("1s", 4)] {
        let scene = Scene::new(slow()).option("--list size>=0 -o list.csv --summary-json s.json");
        scene.server.ledger().put_all(ids(30_000));
        let (scene, _front) = scene.option("--rate unlimited").behind(|_| Reply::Pass);
        let child = starved(&scene, &format!("--max-outage {max_outage}"));
        if code == 0 {
            limit_open_files(&child, "1000");
        }
        Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(code);
        let lines =
            |name: &str| fs::read_to_string(scene.path(name)).map(|rows| rows.lines().count());
        let (list, part) = (lines("list.csv").ok(), lines("list.csv.part").ok());
        if code == 0 {
            assert_eq!((list, part), (Some(30_001), None));
        } else {
            assert!(list.is_none() && part.is_some_and(|lines| lines > 10_000));
        }
        assert!(scene.path("s.json").exists());
    }
}

/// A folder and a copy of the program that a user without rights can use.
struct Stranger {
    scene: Scene,
    uid: u32,
}

impl Stranger {
    /// Each has a user ID of its own: limits on processes count all of a user's.
    fn new(uid: u32, all: &[String]) -> Self {
        let scene = Scene::with_files(Script::plain(), all).option("--rate unlimited");
        // Not by this process: a fork of another test could hold it open for writing, and it could not be run.
        let mut copy = Command::new("cp");
        let copied = copy.arg(BINARY).arg(scene.path("program"));
        assert!(copied.status().unwrap().success());
        for (name, mode) in [(".", 0o777), ("program", 0o755), ("ids.txt", 0o644)] {
            fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { scene, uid }
    }

    /// Runs where this user may have this many processes and threads.
    fn run_with_threads(&self, threads: u32, options: &str) -> Ran {
        let command = self.scene.command();
        let arguments: Vec<_> = command.get_args().collect();
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut limited = Command::new("bash");
        // As root the limit would not bind. bash itself counts, and becomes the program.
        let script = if is_root {
            format!(
                "exec setpriv --reuid {} --regid {} --clear-groups prlimit --nproc={threads} ./program \"$@\"",
                self.uid, self.uid
            )
        } else {
            format!("ulimit -u {threads}; exec ./program \"$@\"")
        };
        limited
            .args(["-c", &script, "bash"])
            .args(arguments)
            .args(options.split_whitespace())
            .current_dir(self.scene.folder.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        let output = limited.output().unwrap();
        fs::remove_file(self.scene.path("program")).unwrap();
        Ran::new(output, self.scene.folder.path())
    }
}

#[test]
fn where_no_thread_can_start_nothing_is_begun() {
    let all = ids(50);
    let kinds = [
        "",
        "--max-delete 1000",
        "--progress plain --summary-json s.json --metrics-file m.prom",
        "--dry-run",
        "--dry-run --check",
        "--sandbox",
    ];
    for (kind, options) in (0..).zip(kinds) {
        let stranger = Stranger::new(61_000 + kind, &all);
        let ran = stranger.run_with_threads(1, options);
        nothing_was_begun(&stranger.scene, &ran);
        assert!(
            ran.stderr.contains("ulimit -u"),
            "{options}: {}",
            ran.stderr
        );
        let left: Vec<PathBuf> = fs::read_dir(stranger.scene.folder.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("report"))
            .collect();
        assert!(left.is_empty(), "{options}: {left:?}");
    }
}

#[test]
fn however_few_threads_there_are_it_is_all_or_nothing() {
    let all = ids(50);
    for threads in 1..7 {
        for (kind, options) in (0..).zip([
            "",
            "--max-delete 1000 --summary-json s.json --metrics-file m.prom",
        ]) {
            let stranger = Stranger::new(62_000 + 10 * threads + kind, &all);
            let ran = stranger.run_with_threads(threads, options);
            let scene = &stranger.scene;
            if ran.code == 0 {
                all_is_well(scene, &ran, &all);
            } else {
                nothing_was_begun(scene, &ran);
                assert!(threads < 4, "{threads} threads are enough: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn a_limit_on_the_size_of_files_ends_the_run_as_a_full_disk_does() {
    let all = ids(3000);
    for options in ["", "--progress plain --log-format json"] {
        let scene = Scene::with_files(Script::plain(), &all)
            .option("--rate unlimited")
            .option("--max-delete 5000");
        // In blocks of 1024 bytes: the report needs some 300 kB, and the state less than the limit.
        let ran = Ran::new(
            scene
                .command_in("ulimit -f 100; exec \"$@\"")
                .args(options.split_whitespace())
                .output()
                .unwrap(),
            scene.folder.path(),
        );
        ran.exits(5).says("cannot write ").says("File too large");
        let report = scene.report();
        assert!(!report.rows.is_empty() && report.rows.len() < all.len());
        scene.check_truth(&report);
        // With room again, the resume settles the rest.
        scene.run_with("--resume").exits(0);
        scene.true_report_of(&all);
        assert_eq!(scene.server.ledger().deleted_count(), all.len());
    }
}

#[test]
fn a_stdout_that_is_closed_or_cannot_be_written_is_refused_before_anything_is_sent() {
    let all = ids(5);
    for options in [
        "--report -",
        "--summary-json -",
        "--html -",
        "--dry-run --check --report -",
    ] {
        for (script, words) in [
            ("exec \"$@\" >&-", "is closed"),
            ("exec \"$@\" 1</dev/null", "cannot be written"),
            ("exec \"$@\" 1<ids.txt", "cannot be written"),
        ] {
            let scene = Scene::with_files(Script::plain(), &all).option(options);
            let ran = run_in(&scene, script);
            nothing_was_begun(&scene, &ran);
            ran.says("stdout").says(words);
        }
    }
    // It is asked for by nothing: then it does not matter.
    let scene = Scene::with_files(Script::plain(), &all);
    let ran = run_in(&scene, "exec \"$@\" >&-");
    all_is_well(&scene, &ran, &all);
    // Thrown away on purpose.
    let scene = Scene::with_files(Script::plain(), &all).option("--report -");
    run_in(&scene, "exec \"$@\" >/dev/null").exits(0);
}

#[test]
fn an_absurd_duration_is_refused_and_a_long_one_works() {
    let all = ids(30);
    for option in [
        "--max-outage",
        "--max-duration",
        "--timeout",
        "--connect-timeout",
    ] {
        for absurd in [
            "2562047788015215h",
            "9223372036854775807s",
            "4294967295",
            "87601h",
        ] {
            let scene =
                Scene::with_files(Script::plain(), &all).option(&format!("{option} {absurd}"));
            let ran = scene.run();
            nothing_was_begun(&scene, &ran);
            ran.says(option).says("10 years");
        }
        for odd in ["87600h", "1ms", "1ns"] {
            // Too short for an answer, but no reason to panic, nor to hang.
            if odd != "87600h" && option.contains("timeout") {
                continue;
            }
            let script = Script {
                limits: vec![Window::bucket(50, 10)],
                ..Script::plain()
            };
            let scene = Scene::with_files(script, &all).option(&format!("{option} {odd} -b 1"));
            let ran = scene.run();
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
            assert!([0, 4].contains(&ran.code), "{option} {odd}: {ran:?}");
        }
    }
}

#[test]
fn the_longest_outage_still_ends_a_run_that_nobody_answers() {
    let all = ids(20);
    let (scene, _front) = Scene::with_files(Script::plain(), &all)
        .option("--max-outage 2s --timeout 87600h --connect-timeout 87600h")
        .behind(|_| Reply::page(503, "down"));
    scene.run().exits(4).says("--max-outage");
}

#[test]
fn a_report_on_stdout_that_is_a_file_has_all_rows() {
    let all = ids(20);
    let scene = Scene::with_files(Script::plain(), &all).option("--report -");
    run_in(&scene, "exec \"$@\" >out.csv").exits(0);
    Report::read(&scene.path("out.csv")).has_a_row_for_each_of(&all);
}

/// The most memory that a run had, in KiB; it must end with 0.
fn peak(scene: &Scene, options: &str) -> u64 {
    let mut command = scene.command();
    let mut child = Scene::start(command.args(options.split_whitespace()));
    let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0);
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let told = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(told) = told {
            peak = told.trim_end_matches("kB").trim().parse().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(0);
    peak
}

#[test]
fn long_lines_take_no_more_memory_than_short_ones() {
    let all = ids(80);
    let peaks = [10, 1_000_000].map(|length| {
        let rows = all.iter();
        let rows = rows.map(|id| format!("{id},https://x/{}\n", "y".repeat(length)));
        let scene = Scene::new(slow()).input(
            "ids.csv",
            format!("fileId,url\n{}", rows.collect::<String>()),
        );
        scene.server.ledger().put_all(all.iter().cloned());
        peak(&scene, "-b 1 -j 1 --rate unlimited")
    });
    // All of them together are 80 MB.
    assert!(peaks[1] < peaks[0] + 8 * 1024, "{peaks:?} KiB");
}

#[test]
fn a_resume_takes_32_bytes_of_memory_an_id_whose_rows_are_many() {
    let row = |id: &String, told: &str| {
        format!("{id},{told},1,5,2026-11-01T00:00:00.000Z,r,1,ids.txt,,,,\n")
    };
    let peaks = [100, 150_000].map(|count| {
        let all = ids(count);
        let scene = Scene::new(Script::plain()).input("ids.txt", list(&all));
        let mut report = fixture::HEADER.to_owned();
        report.extend(all.iter().map(|id| row(id, "failed,400,rejected")));
        report.extend(all.iter().map(|id| row(id, "deleted,204,")));
        fs::write(scene.report_path(), report).unwrap();
        let peak = peak(&scene, "--resume --rate unlimited");
        scene.report().has_a_row_for_each_of(&all);
        assert_eq!(scene.server.ledger().request_count(), 0);
        peak
    });
    let most = 150_000 * 32 / 1024 + 4 * 1024;
    assert!(peaks[1] < peaks[0] + most, "{peaks:?} KiB");
}
