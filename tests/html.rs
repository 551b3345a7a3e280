//! The page of `--html`: its figures are the report's, it needs nothing else, and nothing that a report says breaks out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fixture::{BINARY, Ran, Report, Scene, ids, list};
use imagekit_bulk_delete::sandbox::{Fault, Script};
use tempfile::TempDir;

const HEADER: &str = "file_id,status,http_status,error,attempts,duration_ms,finished_at,request_id,line,input,message,url,purge,purge_request_id\n";
const STATUSES: [&str; 8] = [
    "deleted",
    "not_found",
    "gone",
    "failed",
    "unknown",
    "invalid",
    "duplicate",
    "excluded",
];

/// A page read back.
struct Page(String);

impl Page {
    fn read(path: &Path) -> Self {
        Self(fs::read_to_string(path).unwrap())
    }

    /// What follows the tag with this `id`.
    #[track_caller]
    fn at(&self, id: &str) -> &str {
        let tag = format!("id=\"{id}\"");
        self.0
            .split_once(&tag)
            .unwrap_or_else(|| panic!("no {tag}"))
            .1
    }

    /// The first figure after the tag with this `id`.
    #[track_caller]
    fn figure(&self, id: &str) -> usize {
        figures(self.at(id))[0]
    }

    /// The table with this `id`.
    fn table(&self, id: &str) -> &str {
        self.at(id).split("</table>").next().unwrap()
    }

    /// The sum over the groups of a status.
    fn reasons(&self, status: &str) -> usize {
        let tag = format!("<li class=\"{status}\">");
        let groups = self.0.split(&tag).skip(1);
        groups.map(|group| figures(group)[0]).sum()
    }

    /// All tags, and what stands between `<style>` and `</style>`; no text.
    fn markup(&self) -> String {
        let style = self.0.split_once("<style>").unwrap().1;
        let style = style.split_once("</style>").unwrap().0;
        let tags = self
            .0
            .split('<')
            .skip(1)
            .map(|tag| tag.split('>').next().unwrap());
        tags.chain([style]).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn tells(&self, report: &Report) {
        for status in STATUSES {
            assert_eq!(self.figure(status), report.count(status), "{status}");
            if !matches!(status, "deleted" | "duplicate") {
                assert_eq!(self.reasons(status), report.count(status), "{status}");
            }
        }
        assert_eq!(self.figure("all"), report.rows.len());
        let told: usize = figures(self.table("attempts")).iter().sum();
        let sent = report.rows.iter().filter(|row| row.attempts > 0).count();
        assert_eq!(told, sent);
    }

    /// Nothing in it that is not text can reach out or run.
    #[track_caller]
    fn stays_at_home(&self) {
        let markup = self.markup();
        for way_out in [
            "http:",
            "https:",
            "//",
            "src=",
            "href=",
            "url(",
            "@import",
            "@font-face",
            " on",
            "script",
            "\nimg",
        ] {
            assert!(
                !markup
                    .to_lowercase()
                    .replace("content-security", "")
                    .contains(way_out),
                "{way_out:?} in: {markup}"
            );
        }
    }
}

/// All figures in a piece of a page.
fn figures(html: &str) -> Vec<usize> {
    let values = html.split("<data value=\"").skip(1);
    values
        .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect()
}

/// Runs the program in a folder as one would who has no key and no input.
fn program(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null());
    Ran::new(command.output().unwrap(), folder)
}

fn page_from(rows: &str) -> (TempDir, Page) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("old.csv"), format!("{HEADER}{rows}")).unwrap();
    program(
        folder.path(),
        &["--html", "page.html", "--from-report", "old.csv"],
    )
    .exits(0);
    let page = Page::read(&folder.path().join("page.html"));
    (folder, page)
}

#[test]
fn the_page_of_a_run_tells_what_its_report_tells() {
    let all = ids(400);
    let scene = Scene::new(Script {
        faults_at: [(2, Fault::Text503 { retry_after: None })].into(),
        ..Script::plain()
    });
    scene.server.ledger().put_all(all[..350].iter().cloned());
    let scene = scene
        .input("ids.txt", list(&all) + &all[3] + "\nbad id\n\"\"\n")
        .option("--html page.html");
    scene.run().exits(1).says("page: page.html (403 records)");
    let (report, page) = (scene.report(), Page::read(&scene.path("page.html")));
    page.tells(&report);
    page.stays_at_home();
    assert_eq!(
        page.figure("requests") as u64,
        scene.server.ledger().request_count()
    );
    assert!(page.0.contains(
        "<data value=\"2\">2</data> of <data value=\"403\">403</data> records need a look"
    ));
    assert!(page.0.contains("white space"), "the reason is told");
}

#[test]
fn a_page_made_later_from_the_report_has_the_same_figures() {
    let all = ids(300);
    let scene = Scene::with_files(
        Script {
            poison: [all[7].clone()].into(),
            missing_one_in: Some(9),
            ..Script::plain()
        },
        &all,
    )
    .option("--html run.html --max-attempts 2");
    scene.run().exits(1);
    program(
        scene.folder.path(),
        &["--html", "later.html", "--from-report", "ids.report.csv"],
    )
    .exits(0);
    let (run, later) = (
        Page::read(&scene.path("run.html")),
        Page::read(&scene.path("later.html")),
    );
    later.tells(&scene.report());
    for id in ["statuses", "attempts"] {
        assert_eq!(run.table(id), later.table(id));
    }
    assert!(run.0.contains("<dl id=\"run\">") && !later.0.contains("<dl id=\"run\">"));
}

#[test]
fn pauses_and_429s_of_the_run_are_on_its_page() {
    let all = ids(500);
    let busy = || Fault::TooMany {
        reset: Some("120".into()),
    };
    let script = Script {
        faults_at: [(2, busy()), (5, busy())].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--html page.html -j 1 --rate unlimited");
    scene.run().exits(0);
    let page = Page::read(&scene.path("page.html"));
    assert_eq!(page.figure("throttled"), 2);
    assert_eq!(figures(page.table("pauses")), [1, 1]);
    assert!(page.table("pauses").contains("delete_batch"));
    // A dot on each of both drawings of the chart.
    assert_eq!(page.0.matches("<circle").count(), 4);
    assert!(
        page.0
            .contains("All <data value=\"500\">500</data> files are deleted")
    );
}

#[test]
fn hostile_text_is_text() {
    let (_folder, page) = page_from(concat!(
        "<script>alert(1)</script>,failed,400,rejected,1,12,2026-11-24T07:08:46.000Z,r,1,a,\"<img src=https://evil.example/x onerror=alert(2)> \"\"q\"\" 'a' & b </style>\",,,\n",
        "\"\"\"><svg onload=alert(3)>\",unknown,,timeout,2,60000,2026-11-24T07:09:46.000Z,,2,a,{{ name }} {% if %},,,\n",
        "\"\",invalid,,invalid_id,0,0,2026-11-24T07:09:46.000Z,,3,a,the ID is empty,,,\n",
    ));
    page.stays_at_home();
    assert!(page.0.contains("&#60;script&#62;alert(1)&#60;/script&#62;"));
    assert!(page.0.contains("&#34;&#62;&#60;svg onload=alert(3)&#62;"));
    assert!(page.0.contains("{{ name }} {% if %}"));
    assert!(
        page.0
            .contains("&#34;q&#34; &#39;a&#39; &#38; b &#60;/style&#62;")
    );
    assert_eq!(page.0.matches("</style>").count(), 1);
}

#[test]
fn a_report_with_nothing_in_it_makes_a_page_too() {
    let (_folder, page) = page_from("");
    assert!(page.0.contains("The report has no records"));
    let (_folder, page) =
        page_from("\"\",invalid,,invalid_id,0,0,2026-11-24T07:09:46.000Z,,3,a,x,,,\n");
    assert_eq!(page.figure("invalid"), 1);
    assert!(!page.0.contains("<svg"));
}

#[test]
fn a_report_that_breaks_off_says_so() {
    let row =
        |id: &str| format!("{id},deleted,204,,1,12,2026-11-24T07:08:46.000Z,r,1,a,,,requested,p\n");
    let (_folder, page) = page_from(&(row("5f") + &row("60")));
    assert!(!page.0.contains("breaks off"));
    assert_eq!(page.figure("purge_requested"), 2);
    let (_folder, page) = page_from(&(row("5f") + "no,row\n" + &row("60")));
    assert!(page.0.contains("breaks off"));
    assert_eq!(page.figure("all"), 1);
}

#[test]
fn a_report_whose_job_is_not_complete_says_that_ids_are_counted_for_each_try() {
    let row = |id: &str, status: &str| {
        format!("{id},{status},500,server_error,1,12,2026-11-24T07:08:46.000Z,r,1,a,m,,,\n")
    };
    let (first, second) = (row("5f", "failed"), row("60", "unknown"));
    let duplicate = row("5f", "duplicate");
    let (_folder, page) = page_from(&(first.clone() + &second + &duplicate));
    assert!(!page.0.contains("more than one run"));
    let (_folder, page) = page_from(&(first + &second + &row("5f", "deleted")));
    assert!(page.0.contains("more than one run"));
}

#[test]
fn a_run_that_stops_early_leaves_its_page() {
    let all = ids(300);
    let script = Script {
        poison: [all[0].clone()].into(),
        malformed: [all[1].clone()].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all)
        .option("--html page.html --max-failures 0 --max-attempts 2 -b 1 -j 1 --rate unlimited");
    scene.run().exits(4);
    let page = Page::read(&scene.path("page.html"));
    page.tells(&scene.report());
    assert!(page.0.contains("Stopped early") && page.0.contains("--max-failures 0"));
}

#[test]
fn a_page_that_cannot_be_written_in_the_end_leaves_the_report_and_keeps_the_run_from_0() {
    let all = ids(3);
    let slow = Duration::from_millis(300);
    let scene = Scene::with_files(
        Script {
            latency: slow..slow * 2,
            ..Script::plain()
        },
        &all,
    )
    .option("--html sub/page.html");
    fs::create_dir(scene.path("sub")).unwrap();
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(1);
    fs::remove_dir(scene.path("sub")).unwrap();
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(1)
        .says("cannot write the page sub/page.html")
        .says("--from-report ids.report.csv");
    assert_eq!(scene.report().count("deleted"), 3);
}

#[test]
fn what_cannot_work_is_told_before_anything_is_sent() {
    let all = ids(3);
    let scene = Scene::with_files(Script::plain(), &all);
    for (option, words) in [
        ("--html no/where.html", "cannot write no/where.html"),
        ("--html .", "no regular file"),
        ("--html ids.txt", "is an input"),
        ("--html ids.report.csv", "name the same file"),
        ("--html page.html --report -", "give --report a path"),
        (
            "--html - --report -",
            "--report - and --html - both ask for stdout",
        ),
    ] {
        scene.run_with(option).exits(2).says(words);
        assert!(!scene.report_path().exists(), "{option}");
    }
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert_eq!(
        fs::read_to_string(scene.path("ids.txt")).unwrap(),
        list(&all)
    );
    assert_eq!(
        fs::read_dir(scene.folder.path()).unwrap().count(),
        1,
        "nothing is left"
    );
}

#[test]
fn only_a_report_of_ours_becomes_a_page() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("strange.csv"), "a,b\n1,2\n").unwrap();
    for report in ["strange.csv", "none.csv"] {
        program(
            folder.path(),
            &["--html", "page.html", "--from-report", report],
        )
        .exits(2)
        .says("no page can be made from");
    }
    program(folder.path(), &["--from-report", "strange.csv"])
        .exits(2)
        .says("--html <PATH>");
    program(
        folder.path(),
        &["--html", "p.html", "--from-report", "strange.csv"],
    )
    .says("is not a report of this program");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_page_goes_to_stdout_replaces_an_older_one_and_is_marked_as_a_rehearsal() {
    let scene = Scene::with_files(Script::plain(), &ids(2));
    let ran = scene.run_with("--html -");
    ran.exits(0);
    assert!(ran.stdout.starts_with("<!doctype html>") && ran.stdout.ends_with("</html>\n"));
    for _ in 0..2 {
        program(
            scene.folder.path(),
            &["--html", "page.html", "--from-report", "ids.report.csv"],
        )
        .exits(0);
    }
    let ran = program(
        scene.folder.path(),
        &["--sandbox", "--html", "page.html", "ids.txt"],
    );
    assert!(ran.code < 2, "{ran:?}");
    let page = Page::read(&scene.path("page.sandbox.html"));
    assert!(page.0.contains("Rehearsal in the sandbox"));
}
