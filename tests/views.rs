//! One account: after any end the closing text, the JSON, the metrics, both pages and the exit code tell the numbers
//! of the report's rows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use fixture::front::revoked_after;
use fixture::{Ran, Report, STATUSES, Scene, ids, instead, list, signal, wait_until};
use imagekit_bulk_delete::sandbox::{Fault, Script, Window};
use serde_json::Value;

fn told(scene: Scene) -> Scene {
    scene.option("--summary-json s.json --metrics-file m.prom --html run.html")
}

/// What each view says of a run that has ended.
struct Views {
    report: Report,
    json: Value,
    text: String,
    metrics: String,
    pages: [String; 2],
}

impl Views {
    fn of(scene: &Scene, ran: &Ran) -> Self {
        let mut command = std::process::Command::new(fixture::BINARY);
        command
            .args(["--html", "later.html", "--from-report", "ids.report.csv"])
            .current_dir(scene.folder.path())
            .env_clear();
        Ran::new(command.output().unwrap(), scene.folder.path()).exits(0);
        let read = |name: &str| fs::read_to_string(scene.path(name)).unwrap();
        Self {
            report: scene.report(),
            json: serde_json::from_str(&read("s.json")).unwrap(),
            text: ran.stderr.clone(),
            metrics: read("m.prom"),
            pages: [read("run.html"), read("later.html")],
        }
    }

    /// All of them tell the rows' numbers, and this exit code.
    #[track_caller]
    fn agree(&self, code: i32) -> &Self {
        for status in STATUSES {
            let rows = self.report.count(status) as u64;
            assert_eq!(self.json["counts"][status], rows, "{status} in JSON");
            assert_eq!(
                in_text(&self.text, status),
                rows,
                "{status} in {}",
                self.text
            );
            assert_eq!(
                in_metrics(&self.metrics, status),
                rows,
                "{status} in metrics"
            );
            for page in &self.pages {
                assert_eq!(in_page(page, status), rows, "{status} on a page");
            }
        }
        assert_eq!(self.json["exit_code"], code);
        assert!(self.metrics.contains(&format!("_exit_code {code}\n")));
        self.purges_agree();
        self
    }

    #[track_caller]
    fn purges_agree(&self) {
        if self.json["purges"].is_null() {
            return;
        }
        for purge in ["requested", "failed", "no_url", "over_limit"] {
            let rows = self.report.rows.iter().filter(|row| row.purge == purge);
            assert_eq!(self.json["purges"][purge], rows.count() as u64, "{purge}");
        }
    }

    /// Each record that has a row has one: none is superseded by a later one.
    #[track_caller]
    fn is_whole(&self) -> &Self {
        let mut rows = HashMap::new();
        for row in self
            .report
            .rows
            .iter()
            .filter(|row| row.status != "duplicate")
        {
            *rows.entry(row.file_id.as_str()).or_insert(0) += 1;
        }
        let several = rows.iter().find(|(_, rows)| **rows > 1);
        assert_eq!(several, None, "more rows than one");
        self
    }

    /// Decided, in doubt and not begun are all of `records`.
    #[track_caller]
    fn add_up_to(&self, records: u64) -> &Self {
        let number = |name: &str| self.json[name].as_u64().unwrap();
        let rows = self.report.rows.len() as u64;
        assert_eq!(number("records"), records);
        assert_eq!(
            rows + number("in_doubt") + number("not_begun"),
            records,
            "{}",
            self.json
        );
        self
    }
}

/// `1,234  deleted` on a line of its own.
fn in_text(text: &str, status: &str) -> u64 {
    let count = |line: &str| {
        let (count, found) = line.trim().split_once("  ")?;
        (found == status).then(|| count.replace(',', "").parse().unwrap())
    };
    text.lines().find_map(count).unwrap_or(0)
}

fn in_metrics(metrics: &str, status: &str) -> u64 {
    let name = format!("imagekit_bulk_delete_records{{status=\"{status}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

fn in_page(page: &str, status: &str) -> u64 {
    let (_, row) = page.split_once(&format!("<tr id=\"{status}\"")).unwrap();
    let (_, value) = row.split_once("<data value=\"").unwrap();
    value.split_once('"').unwrap().0.parse().unwrap()
}

/// Stops a run by SIGINT once the server was asked this often.
fn stopped(scene: &Scene, options: &str, requests: u64) -> Ran {
    let mut command = scene.command();
    command.args(options.split_whitespace());
    let child = Scene::start(&mut command);
    scene.wait_for_requests(requests);
    signal(&child, "INT");
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path())
}

fn slow(milliseconds: u64) -> Script {
    let latency = Duration::from_millis(milliseconds);
    Script {
        latency: latency..latency + Duration::from_millis(5),
        ..Script::plain()
    }
}

#[test]
fn a_run_that_completes_with_every_status() {
    let all = ids(400);
    let script = Script {
        instead: instead::malformed(all[..3].iter().cloned()),
        faults_at: [(4, Fault::ResetAfter), (6, Fault::Html500)].into(),
        limits: vec![Window::fixed(40, Duration::from_millis(100))],
        ..Script::plain()
    };
    let text = list(&all) + &list(&all[..7]) + "not an id\n";
    let scene = told(Scene::new(script).input("ids.txt", text)).option("--rate unlimited");
    scene.server.ledger().put_all(all[..350].iter().cloned());
    let ran = scene.run();
    ran.exits(1);
    Views::of(&scene, &ran).agree(1).is_whole().add_up_to(408);
}

#[test]
fn a_purging_run_that_stops_early_and_is_resumed_and_stops_again() {
    let all = ids(1200);
    let rows: String = all
        .iter()
        .map(|id| format!("{id},https://ik.imagekit.io/x/{id}.jpg\n"))
        .collect();
    let scene = told(Scene::new(slow(5)).input("ids.txt", format!("fileId,url\n{rows}")))
        .option("--purge-cache --max-purges 5000 --rate 200 --batch-size 50");
    scene.server.ledger().put_all(all.iter().cloned());
    let ran = stopped(&scene, "", 40);
    ran.exits(130);
    Views::of(&scene, &ran)
        .agree(130)
        .is_whole()
        .add_up_to(1200);
    let ran = stopped(&scene, "--resume", 200);
    ran.exits(130);
    Views::of(&scene, &ran)
        .agree(130)
        .is_whole()
        .add_up_to(1200);
    let ran = scene.run_with("--resume");
    ran.exits(0);
    let views = Views::of(&scene, &ran);
    views.agree(0).is_whole().add_up_to(1200);
    assert_eq!(views.json["purges"]["requested"], 1200);
}

#[test]
fn a_run_that_is_left_at_once_tells_what_is_in_doubt() {
    let all = ids(3000);
    let script = Script {
        faults_at: [(2, Fault::HangAfter), (3, Fault::HangAfter)].into(),
        ..Script::plain()
    };
    let scene = told(Scene::with_files(script, &all))
        .option("--rate unlimited --concurrency 2 --max-delete 3000");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(3);
    wait_until(|| {
        fs::read_to_string(scene.report_path()).is_ok_and(|report| report.lines().count() > 100)
    });
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, "INT");
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(130)
        .says("100 of 3,000 records decided, 200 in doubt (--resume finds out), 2,700 not begun");
    let json: Value =
        serde_json::from_str(&fs::read_to_string(scene.path("s.json")).unwrap()).unwrap();
    assert_eq!(
        (&json["in_doubt"], &json["not_begun"]),
        (&200.into(), &2700.into())
    );
    let resumed = scene.run_with("--resume");
    let views = Views::of(&scene, &resumed);
    assert_eq!(views.report.count("gone"), 200, "what was in doubt");
    views.is_whole();
}

#[test]
fn an_id_in_flight_with_an_older_row_is_in_doubt_and_nothing_else() {
    let all = ids(600);
    let refused = all.iter().map(|id| (id.clone(), vec![Fault::Status(400)]));
    let script = Script {
        faults_for: refused.collect(),
        faults_at: [(602, Fault::HangAfter)].into(),
        ..Script::plain()
    };
    let scene = told(Scene::with_files(script, &all)).option("--rate unlimited --concurrency 1");
    scene.run_with("--batch-size 1").exits(1);
    assert_eq!(scene.report().count("failed"), 600);
    let mut resumed = scene.command();
    let child = Scene::start(resumed.args(["--resume", "--expect-count", "600"]));
    scene.wait_for_requests(602);
    wait_until(|| scene.report().count("deleted") == 100);
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, "INT");
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(130)
        .says("500 of 600 records decided, 100 in doubt (--resume finds out), 0 not begun");
    let json: Value =
        serde_json::from_str(&fs::read_to_string(scene.path("s.json")).unwrap()).unwrap();
    assert_eq!(json["counts"]["failed"], 400);
    let resumed = scene.run_with("--resume");
    let views = Views::of(&scene, &resumed);
    assert_eq!(views.report.count("gone"), 100);
    views.is_whole();
}

#[test]
fn a_limit_and_a_revoked_key() {
    let all = ids(600);
    let scene = told(Scene::new(slow(2)).input("ids.txt", list(&all)))
        .option("--batch-size 1 --max-not-found 20 --max-delete 600");
    scene.server.ledger().put_all(all[..300].iter().cloned());
    let ran = scene.run_with("--rate unlimited");
    ran.exits(4);
    Views::of(&scene, &ran).agree(4).is_whole().add_up_to(600);

    let (scene, _front) = told(Scene::with_files(slow(2), &all))
        .option("--batch-size 1 --expect-count 600")
        .behind(revoked_after(30));
    let ran = scene.run_with("--rate unlimited");
    ran.exits(3);
    Views::of(&scene, &ran).agree(3).is_whole().add_up_to(600);
}

#[test]
fn lost_answers_and_a_stop_leave_doubt_that_is_told() {
    let all = ids(900);
    let script = Script {
        random_faults: vec![(Fault::ResetAfter, 0.3), (Fault::Json500After, 0.2)],
        ..slow(20)
    };
    let scene = told(Scene::with_files(script, &all)).option("--batch-size 10 --max-delete 900");
    let ran = stopped(&scene, "--rate unlimited", 40);
    ran.exits(130);
    Views::of(&scene, &ran).agree(130).is_whole().add_up_to(900);
    scene.check_truth(&scene.report());
    let ran = stopped(&scene, "--rate unlimited --resume", 80);
    ran.exits(130);
    Views::of(&scene, &ran).agree(130).is_whole();
    scene.check_truth(&scene.report());
}
