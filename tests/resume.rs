//! Resume, write by write: a run that dies behind any write, or in the middle of one, is gone on with, and each
//! record has exactly one true row. The server is a set here, so that every moment can be tried.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fixture::library::{admit, open, outcome, target};
use fixture::{Ran, Report, Scene, ids, list};
use imagekit_bulk_delete::journal::Intent;
use imagekit_bulk_delete::outcome::{Outcome, Status};
use imagekit_bulk_delete::report::Admission;
use imagekit_bulk_delete::sandbox::{Fault, Script};
use imagekit_bulk_delete::target::{Doubt, Target};
use tempfile::TempDir;

/// Which files the server has, and which a request of ours deleted.
#[derive(Debug, Clone, Default)]
struct Server {
    there: HashSet<String>,
    deleted: HashSet<String>,
}

impl Server {
    fn delete(&mut self, id: &str) -> bool {
        let was_there = self.there.remove(id);
        if was_there {
            self.deleted.insert(id.into());
        }
        was_there
    }
}

/// A folder with a report and its state, copied as they are at one moment.
#[derive(Debug, Clone)]
struct Moment {
    name: String,
    server: Server,
    files: Vec<(String, Vec<u8>)>,
}

struct Job1 {
    folder: TempDir,
    server: Server,
    moments: Vec<Moment>,
}

impl Job1 {
    fn new(all: &[String]) -> Self {
        let there = all
            .iter()
            .enumerate()
            .filter(|(n, _)| n % 4 != 3)
            .map(|(_, id)| id.clone())
            .collect();
        Self {
            folder: TempDir::new().unwrap(),
            server: Server {
                there,
                deleted: HashSet::new(),
            },
            moments: Vec::new(),
        }
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            files.push((
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(path).unwrap(),
            ));
        }
        files
    }

    /// Notes the moment, and each moment at which the last write to a file had come half-way.
    fn note(&mut self, name: &str, before: &[(String, Vec<u8>)]) {
        let now = self.files();
        for (file, new) in &now {
            let old = before
                .iter()
                .find(|(known, _)| known == file)
                .map_or(&[][..], |(_, old)| old);
            if old == new {
                continue;
            }
            let first = old.iter().zip(new).take_while(|(a, b)| a == b).count();
            for cut in first..new.len() {
                // Up to `cut` the new bytes are there, behind it the old ones, if there were any.
                let mut torn = new[..cut].to_vec();
                torn.extend(old.get(cut..).unwrap_or_default());
                let mut files = before.to_vec();
                files.retain(|(known, _)| known != file);
                files.push((file.clone(), torn));
                self.moments.push(Moment {
                    name: format!("{name}, {file} to byte {cut}"),
                    server: self.server.clone(),
                    files,
                });
                if cut > first + 400 && cut + 400 < new.len() {
                    // The padding of a header has nothing to tell.
                    break;
                }
            }
        }
        self.moments.push(Moment {
            name: name.into(),
            server: self.server.clone(),
            files: now,
        });
    }

    /// A run over all IDs, two a request, that notes each moment and never ends.
    fn run(&mut self, all: &[String], fails: impl Fn(usize) -> bool) {
        let mut opened = open(self.folder.path()).unwrap();
        let journal = opened.report.journal().unwrap();
        let mut intents: Vec<Intent> = Vec::new();
        for (number, pair) in all.chunks(2).enumerate() {
            let targets: Vec<Target> = pair.iter().map(|id| target(id, 1)).collect();
            let sent: Vec<Target> = targets
                .into_iter()
                .filter_map(|target| match admit(&mut opened.index, target) {
                    Admission::Send(target) => Some(target),
                    Admission::Decided(_) | Admission::Settled => None,
                })
                .collect();
            if sent.is_empty() {
                continue;
            }
            let before = self.files();
            let intent = journal.intend(&sent.iter().collect::<Vec<_>>()).unwrap();
            self.note(&format!("intent {number}"), &before);
            let outcomes: Vec<Outcome> = sent
                .iter()
                .map(|target| self.ask(target, fails(number)))
                .collect();
            let before = self.files();
            self.note(&format!("answer {number}"), &before);
            opened.report.append(&outcomes, &mut opened.index).unwrap();
            self.note(&format!("row {number}"), &before);
            // Every other request stays in its slot, so that slots are stale and reused by turns.
            if number % 2 == 0 {
                drop(intent);
            } else {
                intents.push(intent);
            }
        }
    }

    fn ask(&mut self, target: &Target, fails: bool) -> Outcome {
        if fails {
            return outcome(target, Status::Failed);
        }
        let status = match (
            self.server.delete(target.file_id.as_str()),
            target.doubt != Doubt::None,
        ) {
            (true, _) => Status::Deleted,
            (false, true) => Status::Gone,
            (false, false) => Status::NotFound,
        };
        outcome(target, status)
    }
}

/// Goes on from a moment to the end and holds the report against the server.
fn check(moment: &Moment, all: &[String]) {
    let mut job = Job1 {
        folder: TempDir::new().unwrap(),
        server: moment.server.clone(),
        moments: Vec::new(),
    };
    for (name, bytes) in &moment.files {
        fs::write(job.folder.path().join(name), bytes).unwrap();
    }
    let mut opened = open(job.folder.path()).unwrap();
    for (line, id) in all.iter().enumerate() {
        if let Admission::Send(target) = admit(&mut opened.index, target(id, line as u64 + 1)) {
            let row = job.ask(&target, false);
            opened.report.append(&[row], &mut opened.index).unwrap();
        }
    }
    let records = all.len() as u64;
    let (finished, closed) = opened.report.finish(&mut opened.index, None, records);
    closed.unwrap_or_else(|error| panic!("{}: {error}", moment.name));
    assert_eq!(finished.kept.rows, 0, "{}", moment.name);
    let report = Report::read(&job.folder.path().join("r.csv"));
    report.has_a_row_for_each_of(all);
    for row in &report.rows {
        let deleted = job.server.deleted.contains(&row.file_id);
        match row.status.as_str() {
            "deleted" => assert!(deleted, "{}: {row:?}", moment.name),
            "not_found" => assert!(!deleted, "{}: {row:?}", moment.name),
            "gone" => assert!(
                !job.server.there.contains(&row.file_id),
                "{}: {row:?}",
                moment.name
            ),
            status => panic!("{}: {status}", moment.name),
        }
    }
    // A state that was torn leaves everything in doubt for good; a torn row is kept.
    let is_left = |name: &str| job.folder.path().join(name).exists();
    assert!(!is_left("r.csv.part"), "{}", moment.name);
    assert!(
        !is_left("r.csv.state") || moment.name.contains(".state to byte"),
        "{}",
        moment.name
    );
    assert!(
        !is_left("r.csv.torn") || moment.name.contains("r.csv to byte"),
        "{}",
        moment.name
    );
}

#[test]
fn a_death_behind_any_write_or_within_it_loses_nothing() {
    let all = ids(8);
    let mut job = Job1::new(&all);
    job.run(&all, |number| number == 1);
    assert!(job.moments.len() > 300, "{}", job.moments.len());
    for moment in &job.moments {
        check(moment, &all);
    }
}

#[test]
fn a_death_in_a_run_that_goes_on_from_a_death_loses_nothing() {
    let all = ids(8);
    let mut job = Job1::new(&all);
    job.run(&all[..4], |number| number == 1);
    job.moments.clear();
    job.run(&all, |number| number == 2);
    for moment in job.moments.iter().step_by(3) {
        check(moment, &all);
    }
}

#[test]
fn a_death_while_the_report_is_compacted_loses_nothing() {
    let all = ids(6);
    let mut job = Job1::new(&all);
    job.run(&all, |number| number != 0);
    let mut opened = open(job.folder.path()).unwrap();
    for id in &all {
        if let Admission::Send(target) = admit(&mut opened.index, target(id, 1)) {
            let row = job.ask(&target, false);
            opened.report.append(&[row], &mut opened.index).unwrap();
        }
    }
    // The copy cannot be made: the report stays as it was, and a resume loses nothing.
    let part = job.folder.path().join("r.csv.part");
    fs::create_dir_all(part.join("full")).unwrap();
    let (finished, closed) = opened.report.finish(&mut opened.index, None, 6);
    assert!(closed.is_err());
    assert_eq!(
        finished.counts.iter().sum::<u64>(),
        6,
        "the account is of the rows that count"
    );
    fs::remove_dir_all(&part).unwrap();
    let files = job.files();
    let find = |name: &str| {
        files
            .iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
            .clone()
    };
    let (old, state) = (find("r.csv"), find("r.csv.state"));
    let mut opened = open(job.folder.path()).unwrap();
    for id in &all {
        assert!(matches!(
            admit(&mut opened.index, target(id, 1)),
            Admission::Settled
        ));
    }
    opened.report.finish(&mut opened.index, None, 6).1.unwrap();
    let whole = fs::read(job.folder.path().join("r.csv")).unwrap();
    assert!(whole.len() < old.len(), "rows were left out");
    for cut in 0..=whole.len() {
        let files = vec![
            ("r.csv".into(), old.clone()),
            ("r.csv.state".into(), state.clone()),
            ("r.csv.part".into(), whole[..cut].to_vec()),
        ];
        let name = format!("copy to byte {cut}");
        let server = job.server.clone();
        check(
            &Moment {
                name,
                server,
                files,
            },
            &all,
        );
    }
}

#[test]
fn an_input_that_changed_in_between_has_one_row_for_each_record_that_it_has_now() {
    let all = ids(30);
    let scene = Scene::with_files(Script::plain(), &all[..20]).option("--rate unlimited");
    scene.run().exits(0);
    // Reordered, one dropped, one added, one given twice, and an empty record.
    let mut now: Vec<String> = all[1..21].iter().rev().cloned().collect();
    now.extend([all[5].clone(), String::from("\"\""), String::from("\"\"")]);
    fs::write(scene.path("ids.txt"), list(&now)).unwrap();
    scene
        .run_with("--resume --no-header")
        .exits(1)
        .says("kept: 1 row of earlier runs");
    let mut expected = now.clone();
    expected.push(all[0].clone());
    let expected: Vec<String> = expected
        .iter()
        .map(|id| id.trim_matches('"').to_owned())
        .collect();
    scene.report().has_a_row_for_each_of(&expected);
    let asked = scene.server.ledger().request_count();
    for _ in 0..2 {
        scene.run_with("--resume --no-header").exits(1);
        scene.report().has_a_row_for_each_of(&expected);
    }
    assert_eq!(
        scene.server.ledger().request_count(),
        asked,
        "settled IDs are not asked again"
    );
}

#[test]
fn a_duplicate_names_the_line_of_its_ids_first_record_in_the_inputs_of_this_run() {
    let all = ids(3);
    let [one, two, three] = &all[..] else {
        panic!("there are three")
    };
    let scene = Scene::with_files(Script::plain(), &all).option("--rate unlimited");
    let scene = scene
        .input("b.csv", format!("fileId\n{three}\n{one}\n{three}\n"))
        .option("-");
    fs::write(scene.path("ids.txt"), format!("{one}\n\n{two}\n{two}\n")).unwrap();
    let told = || {
        let mut told: Vec<_> = scene.report().rows.into_iter().collect();
        told.retain(|row| row.status == "duplicate");
        let mut told: Vec<_> = told
            .into_iter()
            .map(|row| (row.input, row.line, row.message))
            .collect();
        told.sort();
        told
    };
    let row = |input: &str, line, message: &str| (input.to_owned(), line, message.to_owned());
    scene.run_with_stdin(format!("{two}\n{three}\n")).exits(0);
    let mut expected = vec![
        row("-", 1, "same ID as line 3 of ids.txt"),
        row("-", 2, "same ID as line 2 of b.csv"),
        row("b.csv", 3, "same ID as line 1 of ids.txt"),
        row("b.csv", 4, "same ID as line 2"),
        row("ids.txt", 4, "same ID as line 3"),
    ];
    assert_eq!(told(), expected);
    // All are settled, the first record of the second one stands elsewhere now, and it has one more.
    let edited = [one, two, two, two, two].map(String::from);
    fs::write(scene.path("ids.txt"), list(&edited)).unwrap();
    let resumed = scene.command().arg("--resume").output().unwrap();
    Ran::new(resumed, scene.folder.path()).exits(0);
    expected.push(row("ids.txt", 5, "same ID as line 2"));
    expected.sort();
    assert_eq!(told(), expected);
}

#[test]
fn failed_and_unknown_rows_are_done_again_and_doubt_is_kept() {
    let all = ids(12);
    let script = Script {
        faults_for: [
            (all[3].clone(), vec![Fault::ResetAfter; 2]),
            (all[4].clone(), vec![Fault::Status(400); 1]),
        ]
        .into(),
        ..Script::plain()
    };
    let scene =
        Scene::with_files(script, &all).option("--rate unlimited --batch-size 1 --max-attempts 1");
    scene.run().exits(1);
    let report = scene.report();
    assert_eq!(
        (
            report.row(&all[3]).status.as_str(),
            report.row(&all[4]).status.as_str()
        ),
        ("unknown", "failed")
    );
    assert!(scene.path("ids.report.csv.state").exists());
    scene.run_with("--resume").exits(1);
    assert_eq!(scene.report().row(&all[3]).status, "unknown", "lost again");
    scene.run_with("--resume").exits(0);
    let report = scene.report();
    report.has_a_row_for_each_of(&all);
    assert_eq!(
        (
            report.row(&all[3]).status.as_str(),
            report.row(&all[4]).status.as_str()
        ),
        ("gone", "deleted")
    );
    assert!(!scene.path("ids.report.csv.state").exists());
}

#[test]
fn the_state_stays_while_a_kept_row_is_unknown() {
    let all = ids(12);
    let script = Script {
        faults_for: [(all[3].clone(), vec![Fault::ResetAfter; 1])].into(),
        ..Script::plain()
    };
    let scene =
        Scene::with_files(script, &all).option("--rate unlimited --batch-size 1 --max-attempts 1");
    scene.run().exits(1);
    fs::write(scene.path("ids.txt"), fixture::list(&all[6..])).unwrap();
    scene.run_with("--resume").exits(0).says(
        "kept: 6 rows of earlier runs whose IDs are not in this input, 1 of them failed or unknown",
    );
    assert!(scene.path("ids.report.csv.state").exists());
    let mut other = scene.command();
    other
        .env("IMAGEKIT_PRIVATE_KEY", "private_other")
        .arg("--resume");
    fixture::Ran::new(other.output().unwrap(), scene.folder.path())
        .exits(2)
        .says("another key");
    fs::write(scene.path("ids.txt"), fixture::list(&all)).unwrap();
    scene.run_with("--resume").exits(0);
    assert_eq!(scene.report().row(&all[3]).status, "gone");
    assert!(!scene.path("ids.report.csv.state").exists());
}

#[test]
fn a_disk_that_fills_up_stops_the_run_and_loses_nothing() {
    let all = ids(400);
    for how in ["--batch-size 1", "--batch-size 20"] {
        let latency = Duration::from_millis(1)..Duration::from_millis(3);
        let scene = Scene::with_files(
            Script {
                latency,
                ..Script::plain()
            },
            &all,
        )
        .option("--rate unlimited")
        .option(how);
        // A limit on a file's size stands for a full disk; the signal that comes with it is ignored.
        let mut limited = scene.command_in("trap '' XFSZ; ulimit -f 24; exec \"$@\"");
        let ran = fixture::Ran::new(limited.output().unwrap(), scene.folder.path());
        ran.exits(5)
            .says("cannot write ids.report.csv")
            .says("--resume");
        let deleted = scene.server.ledger().deleted_count();
        assert!((50..390).contains(&deleted), "{deleted}");
        scene.check_truth(&scene.report());
        scene.run_with("--resume").exits(0);
        let report = scene.true_report_of(&all);
        assert_eq!(
            report.count("not_found"),
            0,
            "what was deleted without a row is told gone: {how}"
        );
    }
}

/// A run of ten single calls that was killed; what it deleted last has no row.
fn killed_in_its_sixth_request() -> (Scene, Vec<String>) {
    let all = ids(10);
    let script = Script {
        faults_at: [(6, Fault::HangAfter)].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option("--rate unlimited --batch-size 1 --concurrency 1 --timeout 60s");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(6);
    fixture::signal(&child, "KILL");
    child.wait_with_output().unwrap();
    (scene, all)
}

#[test]
fn after_a_power_cut_what_has_no_row_is_in_doubt() {
    let (scene, all) = killed_in_its_sixth_request();
    // Another boot's state, and the last rows lost with it.
    let state_path = scene.path("ids.report.csv.state");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut state = fs::read(&state_path).unwrap();
    let at = state
        .windows(36)
        .position(|window| window == boot.trim().as_bytes())
        .unwrap();
    state[at] = if state[at] == b'0' { b'1' } else { b'0' };
    fs::write(&state_path, state).unwrap();
    let text = fs::read_to_string(scene.report_path()).unwrap();
    let kept: Vec<&str> = text.lines().take(4).collect();
    fs::write(scene.report_path(), kept.join("\n") + "\n").unwrap();
    scene.run_with("--resume").exits(0);
    let report = scene.true_report_of(&all);
    let gone: Vec<&str> = all[3..6]
        .iter()
        .map(|id| report.row(id).status.as_str())
        .collect();
    assert_eq!(gone, ["gone"; 3]);
}

#[test]
fn a_report_that_is_taken_away_stops_the_run_and_its_deletions_are_told_gone() {
    let latency = Duration::from_millis(5)..Duration::from_millis(10);
    for (takes_folder, options) in [(false, "--batch-size 1"), (true, "--batch-size 1")] {
        let all = ids(3000);
        let scene = Scene::with_files(
            Script {
                latency: latency.clone(),
                ..Script::plain()
            },
            &all,
        )
        .option("--rate unlimited --concurrency 4 -o m/r.csv --progress none")
        .option(options);
        fs::create_dir(scene.path("m")).unwrap();
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(50);
        if takes_folder {
            fs::remove_dir_all(scene.path("m")).unwrap();
        } else {
            fs::remove_file(scene.path("m/r.csv")).unwrap();
        }
        let ran = fixture::Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(5).says("removed or replaced");
        let deleted = scene.server.ledger().deleted_count();
        assert!(deleted < 2000, "{deleted}");
        fs::create_dir_all(scene.path("m")).unwrap();
        let ran = scene.run_with("--resume");
        ran.exits(0);
        let report = Report::read(&scene.path("m/r.csv"));
        report.has_a_row_for_each_of(&all);
        if !takes_folder {
            // With the folder its state went too, and nobody knows of an earlier run.
            ran.says("is missing");
            assert_eq!(report.count("not_found"), 0);
            scene.check_truth(&report);
        }
    }
}

#[test]
fn a_report_that_is_cut_stops_the_run_and_the_lost_rows_are_told_gone() {
    let latency = Duration::from_millis(5)..Duration::from_millis(10);
    for left in [0, 50, 3000] {
        let all = ids(600);
        let scene = Scene::with_files(
            Script {
                latency: latency.clone(),
                ..Script::plain()
            },
            &all,
        )
        .option("--rate unlimited --concurrency 4 --batch-size 1 --progress none");
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(100);
        let report = fs::OpenOptions::new()
            .write(true)
            .open(scene.report_path())
            .unwrap();
        report.set_len(left).unwrap();
        let ran = fixture::Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
        ran.exits(5).says("was cut");
        let deleted = scene.server.ledger().deleted_count();
        assert!(deleted < 300, "{deleted}");
        scene.run_with("--resume").exits(0).says("was cut");
        let report = scene.true_report_of(&all);
        assert_eq!(report.count("not_found"), 0);
        assert!(report.count("gone") > 50, "{}", report.count("gone"));
    }
}

#[test]
fn a_state_that_cannot_be_read_puts_everything_in_doubt() {
    let (scene, all) = killed_in_its_sixth_request();
    fs::write(scene.path("ids.report.csv.state"), vec![0; 5000]).unwrap();
    scene.run_with("--resume").exits(0).says("cannot be read");
    let report = scene.true_report_of(&all);
    assert_eq!(report.count("not_found"), 0);
}

#[test]
fn a_rehearsals_report_is_not_gone_on_with_as_the_real_thing() {
    let all = ids(60);
    let scene = Scene::with_files(Script::plain(), &all);
    scene.run_with("--sandbox").exits(0);
    assert_eq!(scene.server.ledger().request_count(), 0);
    let rehearsed = fs::read(scene.path("ids.report.sandbox.csv")).unwrap();
    fs::write(scene.report_path(), &rehearsed).unwrap();
    for options in ["--resume", "--resume --dry-run"] {
        scene.run_with(options).exits(2).says("rehearsal");
    }
    assert_eq!(fs::read(scene.report_path()).unwrap(), rehearsed);
    scene.run_with("--overwrite").exits(0);
    assert_eq!(scene.server.ledger().deleted_count(), 60);
}
