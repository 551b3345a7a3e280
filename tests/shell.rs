//! What the shell gets: help, hints, the man page and the completions, all from the real binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use fixture::{BINARY, Ran, Scene, id, ids};
use imagekit_bulk_delete::sandbox::{Sandbox, Script};
use tempfile::TempDir;

const DOCUMENTS: [&str; 4] = ["man", "complete-bash", "complete-zsh", "complete-fish"];

/// Runs it in an empty folder with nothing around it but the key, which it must not show.
fn run(arguments: &[&str]) -> Ran {
    let folder = TempDir::new().unwrap();
    let output = Command::new(BINARY)
        .args(arguments)
        .current_dir(&folder)
        .env_clear()
        .env("IMAGEKIT_PRIVATE_KEY", Sandbox::key())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran::new(output, folder.path())
}

#[test]
fn a_wrong_command_line_is_told_in_json_even_where_a_variable_is_no_text() {
    let output = Command::new(BINARY)
        .args(["--log-format", "json", "ids.txt"])
        .env("IMAGE_KIT_BASE_URL", OsStr::from_bytes(b"http://\xff"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["level"], "ERROR", "{line}");
}

fn generated(document: &str) -> String {
    let ran = run(&["--generate", document]);
    ran.exits(0);
    assert_eq!(ran.stderr, "");
    ran.stdout
}

/// The options as the short help lists them, each with the line that it stands on.
fn options() -> Vec<(String, String)> {
    let help = run(&["-h"]).stdout;
    let lines = help
        .lines()
        .filter(|line| line.trim().starts_with('-') && line.starts_with("  "));
    let named = lines.map(|line| {
        let name = line
            .split("--")
            .nth(1)
            .unwrap()
            .split([' ', '='])
            .next()
            .unwrap();
        (name.to_owned(), line.to_owned())
    });
    named.collect()
}

#[test]
fn the_short_help_has_a_line_an_option_and_the_long_one_examples_and_exit_codes() {
    assert!(options().len() > 30);
    let (short, long) = (run(&["-h"]), run(&["--help"]));
    let body = short
        .exits(0)
        .stdout
        .lines()
        .skip_while(|line| *line != "Input:");
    for line in body.filter(|line| line.starts_with(' ')) {
        assert!(
            line.trim().starts_with('-'),
            "it goes on where a line should do: {line}"
        );
    }
    for part in [
        "Examples:",
        "--sandbox export.csv",
        "Exit codes:",
        "129, 130, 143",
        "Speed and retry:",
    ] {
        assert!(long.exits(0).stdout.contains(part), "{part}");
    }
    assert!(long.stdout.lines().count() > 2 * short.stdout.lines().count());
}

#[test]
fn the_version_is_the_packages() {
    let version = run(&["--version"]);
    assert_eq!(
        version.exits(0).stdout,
        format!("imagekit-bulk-delete {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_use_ends_in_the_way_out() {
    let id = id(7);
    for (arguments, hint) in [
        (&["--reprot", "x"][..], "'--report'"),
        (&["--progress", "bra"], "auto, bar, plain, none"),
        (&["--rate", "fast"], "5/s, 300/m, auto or unlimited"),
        (&["--max-duration", "soon"], "30s, 10m or 1h30m"),
        (&["--generate", "man", "ids.txt"], "--generate <WHAT>"),
        (&["--yes", &id], "echo"),
        (&["--yes", Sandbox::key()], "--private-key-file"),
        (
            &["--yes", "--private-key-file", Sandbox::key(), "ids.txt"],
            "IMAGEKIT_PRIVATE_KEY",
        ),
        (
            &["--yes", "--private-key", Sandbox::key(), "ids.txt"],
            "--private-key-file",
        ),
        (&["--key", "private_x", "ids.txt"], "--private-key-file"),
        (&["--yes", "--api-key=x", "ids.txt"], "IMAGEKIT_PRIVATE_KEY"),
        (&["--yes", "missing.csv"], "check the path"),
        (&["missing.csv"], "check the path"),
        (
            &["--yes", "--report", "{day}.csv", "ids.txt"],
            "only {date} and {datetime}",
        ),
    ] {
        run(arguments).exits(2).says(hint);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["--sandbox-listen", &address])
        .exits(2)
        .says(&format!("{address} is already in use; choose another port"));
}

#[test]
fn what_is_refused_at_the_start_leaves_no_report() {
    let scene = Scene::with_files(Script::plain(), &ids(3)).option("--burst 5");
    scene.run().exits(2).says("--burst needs --rate N");
    let no_certificates = Scene::with_files(Script::plain(), &ids(3))
        .variable("SSL_CERT_FILE", "/dev/null")
        .variable("SSL_CERT_DIR", "/dev/null");
    if cfg!(target_os = "linux") {
        // Elsewhere the certificates are the system's own affair.
        no_certificates.run().exits(2).says("SSL_CERT_FILE");
    }
    for scene in [scene, no_certificates] {
        assert!(!scene.report_path().exists());
        assert!(!scene.path("ids.report.csv.state").exists());
    }
}

#[test]
fn the_man_page_names_all_options_exit_codes_and_variables() {
    let page = generated("man");
    let plain = page.replace('\\', "");
    for (option, _) in options() {
        assert!(plain.contains(&format!("fB--{option}fR")), "--{option}");
    }
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
    ] {
        let quoted = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
        assert!(
            quoted.iter().any(|heading| page.contains(heading)),
            "{section}"
        );
    }
    for word in [
        "IMAGEKIT_PRIVATE_KEY",
        "IMAGE_KIT_BASE_URL",
        ".state",
        ".bak",
    ] {
        assert!(plain.contains(word), "{word}");
    }
    let mut text = page.lines().filter(|line| !line.starts_with('.'));
    assert!(
        text.all(|line| !line.is_empty()),
        "a man page has no blank lines"
    );
}

#[test]
fn help_man_page_and_readme_have_the_same_exit_codes() {
    let readme = fs::read_to_string("README.md").unwrap();
    let table = readme.split("\n| exit code |").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let codes: Vec<&str> = rows
        .map(|row| row.split('|').nth(1).unwrap().trim())
        .take(9)
        .collect();
    assert_eq!(
        codes,
        ["0", "1", "2", "3", "4", "5", "6", "75", "129, 130, 143"]
    );
    let (help, page) = (run(&["--help"]).stdout, generated("man"));
    for code in codes {
        assert!(
            help.contains(&format!("\n  {code:<13}  ")),
            "{code} in --help"
        );
        assert!(
            page.contains(&format!(".TP\n\\fI{code}\\fR\n")),
            "{code} in the man page"
        );
    }
}

#[test]
fn completions_know_every_long_option() {
    for document in &DOCUMENTS[1..] {
        let script = generated(document);
        for (option, _) in options() {
            let written = [format!("--{option}"), format!("-l {option} ")];
            assert!(
                written.iter().any(|text| script.contains(text)),
                "{document}: --{option}"
            );
        }
    }
}

/// What bash offers for the last of these words; nothing means files.
fn bash_offers(words: &str) -> String {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("completion");
    fs::write(&script, generated("complete-bash")).unwrap();
    // Bash calls the function with the command, the word begun, and the word before.
    let ask = format!(
        "source {}; COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); \
         f=$(complete -p imagekit-bulk-delete | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); \
         compopt() {{ :; }}; \
         $f imagekit-bulk-delete \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         echo \"${{COMPREPLY[*]}}\"",
        script.display()
    );
    assert!(
        Command::new("bash")
            .arg("-n")
            .arg(&script)
            .status()
            .unwrap()
            .success()
    );
    let output = Command::new("bash")
        .args(["-c", &ask])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_options_values_and_files() {
    assert_eq!(
        bash_offers("imagekit-bulk-delete --re"),
        "--report --resume"
    );
    assert_eq!(
        bash_offers("imagekit-bulk-delete --yes --sandbox-"),
        "--sandbox-listen"
    );
    assert_eq!(
        bash_offers("imagekit-bulk-delete --progress ''"),
        "auto bar plain none"
    );
    assert_eq!(
        bash_offers("imagekit-bulk-delete --generate comp"),
        "complete-bash complete-zsh complete-fish"
    );
    for words in ["''", "exp", "--yes ''", "--yes exp"] {
        assert_eq!(
            bash_offers(&format!("imagekit-bulk-delete {words}")),
            "",
            "an input is a file"
        );
    }
    assert_eq!(
        bash_offers("imagekit-bulk-delete --report compl"),
        "completion"
    );
}
