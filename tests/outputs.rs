//! What a run writes beside its report: never over other people's files, and refused at the start where it cannot be.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::thread;

use fixture::{Ran, Scene, ids};
use imagekit_bulk_delete::sandbox::Script;

/// Every output that is named by an option.
const OPTIONS: [&str; 4] = ["--report", "--html", "--summary-json", "--metrics-file"];

fn scene() -> Scene {
    Scene::with_files(Script::plain(), &ids(5)).option("--rate unlimited")
}

#[track_caller]
fn nothing_was_sent(scene: &Scene, ran: &Ran) {
    ran.exits(2);
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert!(!scene.path("ids.report.csv.state").exists());
}

fn mode(scene: &Scene, name: &str) -> u32 {
    fs::metadata(scene.path(name)).unwrap().mode() & 0o777
}

fn set_mode(scene: &Scene, name: &str, mode: u32) {
    fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_not_of_this_program_is_neither_replaced_nor_changed_not_even_through_a_link() {
    for option in ["--html", "--summary-json", "--metrics-file"] {
        for text in [
            "alias rm='rm -i'\n",
            "{\"other\": \"json\"}\n",
            "<svg/>",
            "fileId\n",
            "\0\0",
        ] {
            for is_link in [true, false] {
                let scene = scene();
                fs::write(scene.path("bashrc"), text).unwrap();
                set_mode(&scene, "bashrc", 0o600);
                symlink("bashrc", scene.path("link")).unwrap();
                let named = if is_link { "link" } else { "bashrc" };
                let ran = scene.run_with(&format!("{option} {named}"));
                nothing_was_sent(&scene, &ran);
                ran.says(named).says(option);
                assert_eq!(fs::read(scene.path("bashrc")).unwrap(), text.as_bytes());
                assert_eq!(mode(&scene, "bashrc"), 0o600);
                assert!(scene.path("link").is_symlink());
            }
        }
    }
}

#[test]
fn what_an_earlier_run_wrote_is_replaced_through_a_link_too_and_keeps_its_mode() {
    let exports = "--html p --summary-json s --metrics-file m";
    let scene = scene();
    scene.run_with(exports).exits(0);
    for (name, mode) in [("p", 0o644), ("s", 0o600), ("m", 0o664)] {
        set_mode(&scene, name, mode);
        symlink(name, scene.path(&format!("{name}.link"))).unwrap();
        symlink(format!("{name}.link"), scene.path(&format!("{name}.link2"))).unwrap();
    }
    let exports = "--overwrite --html p.link2 --summary-json s.link --metrics-file m.link2";
    scene.run_with(exports).exits(0);
    for (name, expected) in [("p", 0o644), ("s", 0o600), ("m", 0o664)] {
        assert_eq!(mode(&scene, name), expected, "{name}");
        assert!(!scene.path(name).is_symlink() && scene.path(&format!("{name}.link")).is_symlink());
    }
    let summary = fs::read_to_string(scene.path("s")).unwrap();
    assert!(summary.contains("\"not_found\": 5"), "{summary}");
    // An empty file is nobody's text, and a link that leads nowhere names a file that is to come.
    fs::write(scene.path("empty"), "").unwrap();
    symlink("to-come", scene.path("dangling")).unwrap();
    let exports = "--resume --summary-json empty --metrics-file dangling";
    scene.run_with(exports).exits(0);
    assert!(scene.path("to-come").is_file() && scene.path("dangling").is_symlink());
}

#[test]
fn a_link_that_another_user_has_put_there_is_not_followed() {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        // Only root can make a link that belongs to somebody else.
        return;
    }
    for option in ["--html", "--summary-json", "--metrics-file"] {
        let scene = scene();
        fs::write(scene.path("target"), "").unwrap();
        symlink("target", scene.path("planted")).unwrap();
        let lchown = Command::new("chown")
            .args(["-h", "65534:65534", "planted"])
            .current_dir(scene.folder.path())
            .status();
        assert!(lchown.unwrap().success());
        let ran = scene.run_with(&format!("{option} planted"));
        nothing_was_sent(&scene, &ran);
        ran.says("another user");
        assert_eq!(fs::read(scene.path("target")).unwrap(), b"");
    }
}

#[test]
fn an_output_that_cannot_be_created_is_refused_at_the_start_in_the_same_words() {
    for option in OPTIONS {
        let scene = scene();
        fs::write(scene.path("file"), "").unwrap();
        for name in ["missing/out", "missing/deeper/out", "file/out"] {
            let ran = scene.run_with(&format!("{option} {name}"));
            nothing_was_sent(&scene, &ran);
            let (folder, _) = name.rsplit_once('/').unwrap();
            ran.says(&format!("cannot create {name}"))
                .says(&format!("in the folder {folder}"))
                .says(&format!("give {option} another path"));
            assert!(!scene.report_path().exists());
        }
        // The sandbox's file would lie in the same folder; a check writes a report as well.
        for more in ["--sandbox", "--dry-run --check"] {
            let ran = scene.run_with(&format!("{more} {option} missing/out"));
            nothing_was_sent(&scene, &ran);
            ran.says("in the folder missing");
        }
    }
}

#[test]
fn a_read_only_folder_is_named() {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    for option in OPTIONS {
        let scene = scene();
        // To root only what belongs to the kernel is read-only.
        let folder = if is_root {
            "/proc/self".to_owned()
        } else {
            fs::create_dir(scene.path("locked")).unwrap();
            set_mode(&scene, "locked", 0o500);
            "locked".to_owned()
        };
        let ran = scene.run_with(&format!("{option} {folder}/out"));
        nothing_was_sent(&scene, &ran);
        ran.says("cannot").says(&folder).says(option);
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_refused_and_holds_nothing_up() {
    for option in ["--summary-json", "--metrics-file"] {
        let scene = scene();
        fixture::make_pipe(&scene.path("pipe"));
        let ran = scene.run_with(&format!("{option} pipe"));
        nothing_was_sent(&scene, &ran);
        ran.says("pipe").says("nothing reads").says(option);
        symlink("pipe", scene.path("link")).unwrap();
        nothing_was_sent(&scene, &scene.run_with(&format!("{option} link")));
    }
}

#[test]
fn a_pipe_with_a_reader_is_written_to_at_the_end() {
    for (option, words) in [
        ("--summary-json", "\"exit_code\": 0"),
        ("--metrics-file", "imagekit_bulk_delete_exit_code 0"),
    ] {
        let scene = scene();
        let pipe = scene.path("pipe");
        fixture::make_pipe(&scene.path("pipe"));
        let reader = thread::spawn(move || fs::read_to_string(pipe).unwrap());
        // The reader waits in its open until the run opens the other end; before that the run is refused.
        fixture::wait_until(|| scene.run_with(&format!("--resume {option} pipe")).code == 0);
        let text = reader.join().unwrap();
        assert!(text.contains(words), "{text}");
        assert!(fs::symlink_metadata(scene.path("pipe")).is_ok_and(|there| !there.is_file()));
    }
}

#[test]
fn what_a_shell_hands_over_open_is_written_to() {
    let scene = scene();
    let output = scene
        .command_in("exec \"$@\" --resume --summary-json >(cat >s.txt; echo done >>s.txt) --metrics-file /dev/fd/7 7>m.txt")
        .output()
        .unwrap();
    Ran::new(output, scene.folder.path()).exits(0);
    fixture::wait_until(|| {
        fs::read_to_string(scene.path("s.txt")).is_ok_and(|text| text.ends_with("done\n"))
    });
    assert!(
        fs::read_to_string(scene.path("s.txt"))
            .unwrap()
            .contains("\"exit_code\": 0")
    );
    assert!(
        fs::read_to_string(scene.path("m.txt"))
            .unwrap()
            .contains("_exit_code 0")
    );
    // A file behind /dev/stdout is the shell's, and keeps what others wrote to it.
    let output = scene
        .command_in(
            "{ echo before; \"$@\" --resume --summary-json /dev/stdout; echo after; } >all.txt",
        )
        .output()
        .unwrap();
    Ran::new(output, scene.folder.path()).exits(0);
    let all = fs::read_to_string(scene.path("all.txt")).unwrap();
    assert!(all.starts_with("before\n"), "{all}");
    assert!(all.contains("\"exit_code\": 0"), "{all}");
}

#[test]
fn a_reader_that_stops_reading_does_not_hold_the_end_up() {
    let scene = scene();
    fixture::make_pipe(&scene.path("pipe"));
    // Opened for both, a pipe has a reader, who never reads; it is full before the run.
    let script = "exec 9<>pipe; dd if=/dev/zero of=pipe bs=65536 count=1 oflag=nonblock 2>/dev/null; exec \"$@\" --summary-json pipe";
    let mut command = scene.command_in(script);
    let child = Scene::start(&mut command);
    let output = child.wait_with_output().unwrap();
    let ran = Ran::new(output, scene.folder.path());
    ran.exits(5).says("--summary-json");
    assert_eq!(scene.report().count("deleted"), 5);
}

/// A run some of whose outputs are lost in its midst: their folder is taken away once it has begun.
fn run_that_loses(outputs: &[&str], more: &str) -> (Scene, Ran) {
    let scene = Scene::with_files(Script::plain(), &ids(300)).option("--rate 10 --batch-size 20");
    fs::create_dir(scene.path("lost")).unwrap();
    let mut command = scene.command();
    for (option, name) in [
        ("--html", "page.html"),
        ("--metrics-file", "run.prom"),
        ("--summary-json", "run.json"),
    ] {
        let folder = if outputs.contains(&option) {
            "lost"
        } else {
            "."
        };
        command.args([option, &format!("{folder}/{name}")]);
    }
    let child = Scene::start(command.args(more.split_whitespace()));
    scene.wait_for_requests(2);
    fs::remove_dir_all(scene.path("lost")).unwrap();
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    (scene, ran)
}

#[test]
fn an_output_that_is_lost_at_the_end_is_exit_code_5_everywhere_and_nothing_else_is_lost() {
    for outputs in [
        &["--html"][..],
        &["--metrics-file"],
        &["--summary-json"],
        &["--html", "--metrics-file", "--summary-json"],
    ] {
        for more in ["", "--quiet", "--max-duration 1s"] {
            let (scene, ran) = run_that_loses(outputs, more);
            ran.exits(5).says("the report does not depend on it");
            if more.is_empty() {
                assert_eq!(scene.true_report_of(&ids(300)).count("deleted"), 300);
            }
            let names = [
                ("--html", "cannot write the page lost/page.html"),
                (
                    "--metrics-file",
                    "cannot write the metrics for --metrics-file",
                ),
                (
                    "--summary-json",
                    "cannot write the summary for --summary-json",
                ),
            ];
            for (option, words) in names {
                let said = ran.stderr.matches(&format!("error: {words}")).count();
                assert_eq!(
                    said,
                    usize::from(outputs.contains(&option)),
                    "{}",
                    ran.stderr
                );
            }
            if !outputs.contains(&"--metrics-file") {
                let metrics = fs::read_to_string(scene.path("run.prom")).unwrap();
                assert!(metrics.contains("_exit_code 5\n"), "{metrics}");
            }
            if !outputs.contains(&"--summary-json") {
                let summary = fs::read_to_string(scene.path("run.json")).unwrap();
                assert!(summary.contains("\"exit_code\": 5,"), "{summary}");
            }
        }
    }
}

#[test]
fn metrics_that_fail_in_the_midst_are_a_warning_and_those_of_a_refused_run_change_nothing() {
    let full = "--metrics-file /dev/full";
    let scene = scene();
    let ran = scene.run_with(full);
    ran.exits(5)
        .says("warning: cannot write the metrics")
        .says("the run continues");
    assert_eq!(ran.stderr.matches("the run continues").count(), 1);
    ran.says("error: cannot write the metrics");
    assert_eq!(scene.report().count("deleted"), 5);
    // Refused for another reason, which the summary tells, too.
    let ran = scene.run_with(&format!("{full} --summary-json s.json"));
    ran.exits(2).says("--resume");
    let summary = fs::read_to_string(scene.path("s.json")).unwrap();
    assert!(summary.contains("\"exit_code\": 2,"), "{summary}");
}

#[test]
fn a_page_that_does_not_fit_on_the_disk_is_exit_code_5() {
    let scene = scene();
    for options in ["", "--from-report ids.report.csv"] {
        let mut command = scene.command_in("ulimit -f 12; exec \"$@\" -j 1 -b 5 --html page.html");
        if !options.is_empty() {
            command = scene.command_in(&format!("ulimit -f 12; \"$1\" --html page.html {options}"));
        }
        let ran = Ran::new(command.output().unwrap(), scene.folder.path());
        ran.exits(5)
            .says("cannot write the page page.html: File too large");
        assert_eq!(scene.report().count("deleted"), 5);
        assert!(!scene.path("page.html").exists());
    }
}
