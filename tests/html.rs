//! The page of `--html`: its figures are the report's, it needs nothing else, and nothing that a report says breaks out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fixture::{BINARY, HEADER, Ran, Report, STATUSES, Scene, ids, instead, list};
use imagekit_bulk_delete::sandbox::{Fault, Script, Window};
use tempfile::TempDir;

const SCRIPT: &str = include_str!("../src/html/page.js");
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

    /// Rows that need a look and are shown one by one.
    fn troubles(&self) -> usize {
        match self.0.split_once("id=\"rows\"") {
            Some((_, table)) => {
                table
                    .split("</table>")
                    .next()
                    .unwrap()
                    .matches("<tr>")
                    .count()
                    - 1
            }
            None => 0,
        }
    }

    /// The sum over the groups of a status.
    fn reasons(&self, status: &str) -> usize {
        let tag = format!("<li class=\"{status}\">");
        let groups = self.0.split(&tag).skip(1);
        groups.map(|group| figures(group)[0]).sum()
    }

    /// All tags, and what stands between `<style>` and `</style>`; no text, and not the one script, which is ours.
    fn markup(&self) -> String {
        let style = self.0.split_once("<style>").unwrap().1;
        let style = style.split_once("</style>").unwrap().0;
        let (before, script) = self.0.split_once("<script>").unwrap();
        let (script, after) = script.split_once("</script>").unwrap();
        assert_eq!(script, SCRIPT);
        let tags = |html: &str| -> Vec<String> {
            let tags = html.split('<').skip(1);
            tags.map(|tag| tag.split('>').next().unwrap().to_owned())
                .collect()
        };
        [tags(before), tags(after), vec![style.to_owned()]]
            .concat()
            .join("\n")
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
        let trouble = ["unknown", "failed", "invalid"].map(|status| report.count(status));
        assert_eq!(self.troubles(), trouble.iter().sum::<usize>());
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
                    .replace("script-src 'sha256-", "")
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
        faults_at: [(2, Fault::Text503)].into(),
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
            instead: instead::poison([all[7].clone()]),
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
    for id in ["statuses", "rows"] {
        assert_eq!(run.table(id), later.table(id));
    }
    for page in [&run, &later] {
        assert!(
            page.at("inputs")
                .starts_with("><dt>Input</dt><dd>ids.txt</dd>")
        );
    }
    assert!(run.at("host").contains("http://127.0.0.1:"));
    let is_unfinished = |page: &Page| page.0.contains("may not have finished");
    assert!(!is_unfinished(&run));
    // As a kill leaves it.
    std::fs::write(scene.path("ids.report.csv.state"), "").unwrap();
    program(
        scene.folder.path(),
        &["--html", "later.html", "--from-report", "ids.report.csv"],
    )
    .exits(0);
    assert!(is_unfinished(&Page::read(&scene.path("later.html"))));
    assert!(!later.0.contains("id=\"host\""));
    assert!(run.0.contains("<dl id=\"run\">") && !later.0.contains("<dl id=\"run\">"));
}

#[test]
fn the_429s_of_the_run_are_on_its_page() {
    let all = ids(500);
    let busy = || Fault::TooMany(Some("120"));
    let script = Script {
        faults_at: [(2, busy()), (5, busy())].into(),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--html page.html -j 1 --rate unlimited");
    scene.run().exits(0);
    let page = Page::read(&scene.path("page.html"));
    assert_eq!(page.figure("throttled"), 2);
    assert!(
        page.0
            .contains("ImageKit refused <data value=\"2\">2</data> requests")
    );
    assert!(
        page.0
            .contains("All <data value=\"500\">500</data> files are deleted")
    );
}

#[test]
fn hostile_text_is_text() {
    let (_folder, page) = page_from(concat!(
        "<script>alert(1)<script>,failed,400,rejected,1,12,2026-11-24T07:08:46.000Z,r,1,a,\"<img src=https://evil.example/x onerror=alert(2)> \"\"q\"\" 'a' & b </style>\",,,\n",
        "\"\"\"><svg|onload=alert(3)>\",unknown,,timeout,2,60000,2026-11-24T07:09:46.000Z,,2,a,{{ name }} {% if %},,,\n",
        "\"\",invalid,,invalid_id,0,0,2026-11-24T07:09:46.000Z,,3,a,the ID is empty,,,\n",
    ));
    page.stays_at_home();
    assert!(page.0.contains("&#60;script&#62;alert(1)&#60;script&#62;"));
    assert!(page.0.contains("&#34;&#62;&#60;svg|onload=alert(3)&#62;"));
    assert!(page.0.contains("{{ name }} {% if %}"));
    assert!(page.0.contains("&#34;q&#34; &#39;a&#39; &#38; b"));
    assert!(
        !page.0.contains("evil.example"),
        "a message loses its markup"
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
fn a_torn_last_row_is_not_counted_and_the_page_says_so() {
    let row =
        |id: &str| format!("{id},deleted,204,,1,12,2026-11-24T07:08:46.000Z,r,1,a,,,requested,p\n");
    let (_folder, page) = page_from(&(row("5f") + &row("60")));
    assert!(!page.0.contains("incomplete"));
    assert_eq!(page.figure("purge_requested"), 2);
    let (_folder, page) = page_from(&(row("5f") + "60,dele"));
    assert!(page.0.contains("The last row of the report is incomplete"));
    assert_eq!(page.figure("all"), 1);
    // What is no row in the middle is no end: the rows behind it would be missing.
    let folder = TempDir::new().unwrap();
    let damaged = format!("{HEADER}{}no,row\n{}", row("5f"), row("60"));
    fs::write(folder.path().join("old.csv"), damaged).unwrap();
    let arguments = ["--html", "page.html", "--from-report", "old.csv"];
    program(folder.path(), &arguments).exits(2).says("line 3");
    assert!(!folder.path().join("page.html").exists());
}

#[test]
fn of_a_run_that_was_killed_the_last_row_of_an_id_counts() {
    let row = |id: &str, status: &str, purge: &str| {
        format!("{id},{status},500,server_error,1,12,2026-11-24T07:08:46.000Z,r,1,a,m,,{purge},\n")
    };
    let first = [
        row("5f", "failed", ""),
        row("60", "unknown", ""),
        row("61", "deleted", ""),
        row("5f", "duplicate", ""),
    ]
    .concat();
    let (_folder, page) = page_from(&first);
    assert!(!page.0.contains("older rows"));
    assert_eq!((page.figure("all"), page.troubles()), (4, 2));
    let later = [
        row("5f", "deleted", ""),
        row("60", "unknown", ""),
        row("60", "gone", ""),
        row("61", "deleted", "failed"),
    ];
    let (_folder, page) = page_from(&(first + &later.concat()));
    assert!(page.0.contains("<data value=\"4\">4</data> older rows"));
    for (id, count) in [
        ("all", 4),
        ("deleted", 2),
        ("gone", 1),
        ("failed", 0),
        ("unknown", 0),
        ("duplicate", 1),
        ("purge_failed", 1),
    ] {
        assert_eq!(page.figure(id), count, "{id}");
    }
    assert_eq!(page.troubles(), 1, "the purge that failed");
}

#[test]
fn what_needs_a_look_is_shown_gravest_first_and_beyond_five_thousand_counted() {
    let row = |number: u32, status: &str, error: &str| {
        format!(
            "{number:024x},{status},500,{error},1,12,2026-11-24T07:08:46.000Z,r{number},{number},a,m {number},https://ik.imagekit.io/x/{number},,\n"
        )
    };
    let invalid = (0..4_990).map(|number| row(number, "invalid", "invalid_id"));
    let failed = (5_000..5_020).map(|number| row(number, "failed", "connection"));
    let unknown = (6_000..6_003).map(|number| row(number, "unknown", "timeout"));
    let (_folder, page) = page_from(&invalid.chain(failed).chain(unknown).collect::<String>());
    assert_eq!(page.troubles(), 5_000);
    let rows = page.table("rows");
    assert_eq!(rows.matches("<th scope=\"row\">unknown").count(), 3);
    assert_eq!(rows.matches("<th scope=\"row\">failed").count(), 20);
    assert!(rows.find("unknown<").unwrap() < rows.find("failed<").unwrap());
    assert!(rows.contains("https://ik.imagekit.io/x/6002") && rows.contains("<td>6002</td>"));
    assert!(
        page.0
            .contains("The other <data value=\"13\">13</data> are in old.csv")
    );
    let reasons = page.at("unsettled");
    let place = |words: &str| {
        reasons
            .find(words)
            .unwrap_or_else(|| panic!("no {words:?}"))
    };
    assert!(place("the file may or may not have been deleted") < place("No answer came in time"));
    assert!(
        place("No answer came in time") < place("the file still exists, as far as ImageKit says")
    );
    assert!(place("The connection failed or broke") < place("not a file ID"));
    assert!(
        !page.0.contains("What was not deleted"),
        "unknown may be deleted"
    );
}

#[test]
fn a_damaged_report_is_refused_with_its_line() {
    let row = |id: &str| format!("{id},deleted,204,,1,12,2026-11-24T07:08:46.000Z,r,1,a,,,,\n");
    let folder = TempDir::new().unwrap();
    let damaged = format!("{HEADER}{}no,row\n{}", row("5f"), row("60"));
    fs::write(folder.path().join("old.csv"), damaged).unwrap();
    let ran = program(
        folder.path(),
        &["--html", "p.html", "--from-report", "old.csv"],
    );
    ran.exits(2)
        .says("no page can be made from old.csv")
        .says("line 3");
    assert!(!folder.path().join("p.html").exists());
}

#[test]
fn a_hole_between_two_runs_is_explained() {
    let row = |second: u32, day: u32, took: u32| {
        let id = format!("{day:012x}{second:012x}");
        format!("{id},deleted,204,,1,{took},2026-11-{day}T07:08:{second:02}.000Z,r,1,a,,,,\n")
    };
    let two_runs: String = (24..26)
        .flat_map(|day| (0..60).map(move |second| row(second, day, 10)))
        .collect();
    let (_folder, page) = page_from(&two_runs);
    assert_eq!(page.0.matches("between runs</b>").count(), 1);
    // One request a minute is a slow run, not many of them.
    let slow: String = (0..30)
        .map(|minute| row(0, 24, 10).replace("07:08:00", &format!("07:{minute:02}:00")))
        .collect();
    let (_folder, page) = page_from(&slow);
    assert!(!page.0.contains("between runs</b>"));
    // An ID that was under way all night: one long run.
    let (_folder, page) = page_from(&(two_runs + &row(59, 26, 172_800_000)));
    assert!(!page.0.contains("between runs</b>"));
}

#[test]
fn a_run_that_stops_early_leaves_its_page() {
    let all = ids(300);
    let script = Script {
        instead: instead::any_of([
            instead::poison([all[0].clone()]),
            instead::malformed([all[1].clone()]),
        ]),
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
    ran.exits(5)
        .says("cannot write the page sub/page.html")
        .says("--from-report ids.report.csv");
    assert_eq!(scene.report().count("deleted"), 3);
}

#[test]
fn what_cannot_work_is_told_before_anything_is_sent() {
    let all = ids(3);
    let scene = Scene::with_files(Script::plain(), &all);
    for (option, words) in [
        (
            "--html no/where.html",
            "cannot create no/where.html in the folder no",
        ),
        ("--html .", "not a regular file"),
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
        let options = ["--html", "page.html", "--from-report", report];
        let ran = program(folder.path(), &options);
        ran.exits(2).says("no page can be made");
        assert_eq!(ran.stderr.matches(report).count(), 1, "{}", ran.stderr);
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
        &["--sandbox", "--html", "page.html", "-o", "r.csv", "ids.txt"],
    );
    assert!(ran.code < 2, "{ran:?}");
    let page = Page::read(&scene.path("page.sandbox.html"));
    assert!(page.0.contains("Rehearsal in the sandbox"));
}

#[test]
#[expect(clippy::print_stdout, reason = "it says so where it cannot run")]
fn a_browser_shows_the_page_without_a_complaint_where_there_is_one() {
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    if !["chromium", "chromedriver", "python3"]
        .iter()
        .all(|program| is_there(program))
    {
        println!("not run: it needs chromium, chromedriver and python3");
        return;
    }
    let folder = TempDir::new().unwrap();
    let output = Command::new("python3")
        .arg("tests/bench/page.py")
        .args([BINARY.as_ref(), folder.path()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("0 faults; pictures in "), "{said}");
}

#[test]
fn a_page_says_what_is_in_doubt_and_what_was_a_rehearsal_where_no_row_does() {
    // One of a hundred is missing, so nothing is deleted, and there is no second request before the run stops.
    let all = ids(100);
    let limits = vec![Window::fixed(1, Duration::from_mins(1))];
    let script = Script {
        limits,
        ..Script::plain()
    };
    let scene = Scene::new(script)
        .input("ids.txt", list(&all))
        .option("--quiet --html page.html --max-duration 1s");
    scene.server.ledger().put_all(all[1..].iter().cloned());
    scene.run().exits(4);
    let page = fs::read_to_string(scene.path("page.html")).unwrap();
    assert!(
        page.contains("99 more were sent and are in doubt"),
        "{page}"
    );

    let scene = Scene::new(Script::plain()).input("ids.txt", "");
    scene.run_with("--sandbox --html page.html").exits(0);
    let page = fs::read_to_string(scene.path("page.sandbox.html")).unwrap();
    assert!(page.contains("Rehearsal in the sandbox"), "{page}");
}
