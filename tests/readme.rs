//! README's commands, each run as it stands, and each sample.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fixture::{Report, ids, list};
use imagekit_bulk_delete::sandbox::{Sandbox, Script};
use tempfile::TempDir;

/// Of the twenty files that README's lists name, how many are in `keep.csv`.
const KEPT: usize = 3;

/// Stands in for cargo: `run` runs the binary that these tests were built with, `tree` is cargo's own, the rest is the
/// gate's own work, or (a release, a package) takes longer than a test may; what the package needs is checked below.
fn cargo() -> String {
    let own = |name: &str| std::env::var(name).unwrap_or_default();
    let here = std::env::current_dir().unwrap();
    let mut script = String::from(
        "#!/bin/sh\ncase \"$1\" in\nrun) shift 3; exec imagekit-bulk-delete \"$@\";;\ntree)\n",
    );
    for name in ["HOME", "PATH", "CARGO_HOME", "RUSTUP_HOME"] {
        if !own(name).is_empty() {
            script += &format!("export {name}='{}'\n", own(name));
        }
    }
    let (cargo, manifest) = (own("CARGO"), here.join("Cargo.toml"));
    let manifest = manifest.display();
    script + &format!("exec '{cargo}' \"$@\" --offline --manifest-path '{manifest}';;\nesac\n")
}

fn readme() -> String {
    fs::read_to_string("README.md").unwrap()
}

fn commands() -> Vec<String> {
    let readme = readme();
    let blocks = readme
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// A folder with all that README's commands name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let put = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    let all = ids(20);
    put(
        "old-files.csv",
        format!(
            "fileId,path\n{}",
            all.iter()
                .map(|id| format!("{id},\"/old/a, b.jpg\"\n"))
                .collect::<String>()
        ),
    );
    put(
        "export.csv",
        format!(
            "a,b,c\n{}",
            all.iter()
                .map(|id| format!("1,2,{id}\n"))
                .collect::<String>()
        ),
    );
    for name in ["export.tsv", "more.tsv"] {
        put(
            name,
            format!(
                "x\tFile ID\n{}",
                all.iter()
                    .map(|id| format!("1\t{id}\n"))
                    .collect::<String>()
            ),
        );
    }
    put("ids.txt", list(&all));
    put("keep.csv", list(&all[..KEPT]));
    put("key.txt", Sandbox::key().into());
    fs::create_dir_all(folder.path().join("bin")).unwrap();
    let cargo = folder.path().join("bin/cargo");
    fs::write(&cargo, self::cargo()).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(
        fixture::BINARY,
        folder.path().join("bin/imagekit-bulk-delete"),
    )
    .unwrap();
    fs::create_dir_all(folder.path().join("target/release")).unwrap();
    std::os::unix::fs::symlink(
        fixture::BINARY,
        folder.path().join("target/release/imagekit-bulk-delete"),
    )
    .unwrap();
    let here = std::env::current_dir().unwrap();
    std::os::unix::fs::symlink(here.join("samples"), folder.path().join("samples")).unwrap();
    folder
}

fn run(command: &str, folder: &Path, server: &Sandbox) -> (i32, String) {
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    let output = Command::new("sh")
        .args(["-euc", command])
        .current_dir(folder)
        .env_clear()
        .envs([
            ("PATH", path.as_str()),
            ("IMAGE_KIT_BASE_URL", &server.base_url()),
        ])
        .env("IMAGEKIT_PRIVATE_KEY", Sandbox::key())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn every_command_of_readme_does_what_it_says() {
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        if command.starts_with("tests/bench/") {
            assert!(
                Command::new("bash")
                    .args(["-n", &command])
                    .status()
                    .unwrap()
                    .success()
            );
            continue;
        }
        if let Some(target) = command.strip_prefix("rustup target add ") {
            // It would change the toolchain of this machine.
            assert!(readme().contains(&format!("cargo build --release --target {target}\n")));
            continue;
        }
        let folder = folder();
        let server = Sandbox::start(Script::plain()).unwrap();
        server.ledger().put_all(ids(20));
        if command.contains("--from-report") {
            let (code, said) = run(
                "imagekit-bulk-delete --yes old-files.csv",
                folder.path(),
                &server,
            );
            assert_eq!(code, 0, "{said}");
        }
        if command.contains("--list") {
            fs::remove_file(folder.path().join("old-files.csv")).unwrap();
        }
        let (code, said) = run(&command, folder.path(), &server);
        if command.contains("paths.txt") {
            let paths = fs::read_to_string(folder.path().join("paths.txt")).unwrap();
            assert_eq!(paths, "/old/a, b.jpg\n".repeat(20));
        }
        let is_job = command.contains("imagekit-bulk-delete ")
            && !["target/package", "--sandbox"]
                .iter()
                .any(|part| command.contains(part));
        let only_reads = ["--dry-run", "--from-report", "--list"]
            .iter()
            .any(|part| command.contains(part));
        let asks = is_job && !only_reads && !command.contains("--yes");
        let expected = if asks {
            2
        } else {
            i32::from(command.contains("media-library-export"))
        };
        assert_eq!(code, expected, "{command}: {said}");
        for (option, file) in [
            ("--html", "page.html"),
            ("--summary-json", "summary.json"),
            ("--metrics-file", "run.prom"),
        ] {
            let is_written = folder.path().join(file).exists();
            assert_eq!(is_written, command.contains(option), "{command}: {file}");
        }
        if asks {
            assert!(said.contains("--yes"), "{said}");
        }
        let deleted = match command.as_str() {
            _ if !is_job || only_reads || asks => 0,
            part if part.contains("head -n 11") => 10,
            part if part.contains("--except keep.csv") => 20 - KEPT,
            _ => 20,
        };
        let was_deleted = if command.contains("--from-report") {
            20
        } else {
            0
        };
        assert_eq!(
            server.ledger().deleted_count(),
            deleted + was_deleted,
            "{command}: {said}"
        );
    }
}

#[test]
fn the_debian_package_finds_all_its_files() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let assets = manifest.split("\nassets = [\n").nth(1).unwrap();
    let sources = assets
        .lines()
        .map_while(|line| line.trim().strip_prefix("[\""))
        .map(|line| line.split('"').next().unwrap());
    let sources: Vec<&str> = sources.collect();
    assert!(sources.len() > 5, "{sources:?}");
    let recipes = commands().into_iter();
    let recipes: Vec<String> = recipes
        .filter(|command| command.contains("target/package/"))
        .collect();
    assert_eq!(recipes.len(), 2, "{recipes:?}");
    let folder = folder();
    let server = Sandbox::start(Script::plain()).unwrap();
    for recipe in recipes {
        let (code, said) = run(&recipe, folder.path(), &server);
        assert_eq!(code, 0, "{said}");
    }
    let licences = fs::read_to_string(folder.path().join("target/package/THIRD-PARTY")).unwrap();
    for (package, licence) in [
        ("tokio v", "MIT"),
        ("rustls v", "Apache-2.0"),
        ("zstd-sys v", "BSD-3-Clause"),
    ] {
        let line = licences.lines().find(|line| line.starts_with(package));
        assert!(
            line.is_some_and(|line| line.contains(licence)),
            "{package}: {line:?}"
        );
    }
    let has_licence = |line: &&str| !line.trim_end_matches(" (*)").ends_with(':');
    assert_eq!(licences.lines().find(|line| !has_licence(line)), None);
    assert!(
        !licences.contains("proptest"),
        "tests' own crates are not in the package"
    );
    for source in sources {
        let path = source.trim_end_matches("/*");
        let root = if source.starts_with("target/") {
            folder.path()
        } else {
            Path::new(".")
        };
        assert!(root.join(path).exists(), "{source}");
        let is_empty = fs::metadata(root.join(path)).unwrap().len() == 0;
        assert!(!is_empty, "{source}");
    }
}

#[test]
fn links_of_readme_lead_somewhere() {
    for link in readme().split("](").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(
            target.starts_with("https://") || Path::new(target).exists(),
            "{target}"
        );
    }
}

#[test]
fn every_sample_runs_in_the_sandbox_and_shows_what_can_happen() {
    let mut samples = 0;
    for sample in fs::read_dir("samples").unwrap() {
        let path = sample.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !matches!(
            path.extension().and_then(|last| last.to_str()),
            Some("csv" | "txt")
        ) {
            continue;
        }
        samples += 1;
        assert!(
            fs::read_to_string(&path).unwrap().lines().count() <= 200,
            "{name} is short"
        );
        let folder = folder();
        let server = Sandbox::start(Script::plain()).unwrap();
        let command = format!("imagekit-bulk-delete --sandbox -o out.csv samples/{name}");
        let (code, said) = run(&command, folder.path(), &server);
        let report = Report::read(&folder.path().join("out.sandbox.csv"));
        assert!(report.count("deleted") > 20, "{name}: {said}");
        assert_eq!(
            code,
            i32::from(report.count("invalid") > 0),
            "{name}: {said}"
        );
        assert!(
            report.rows.iter().any(|row| row.attempts > 1),
            "{name} shows a retry"
        );
        assert!(
            report
                .rows
                .iter()
                .all(|row| row.request_id.is_empty() || row.request_id.starts_with("sandbox-"))
        );
        assert_eq!(
            server.ledger().request_count(),
            0,
            "nothing leaves the process"
        );
        if name.contains("export") {
            assert!(
                report.count("not_found") > 0 && report.count("invalid") == 2,
                "{:?}",
                report.counts()
            );
        }
        if name.contains("messy") {
            assert_eq!(
                (report.count("invalid"), report.count("duplicate")),
                (5, 2),
                "{said}"
            );
        }
    }
    assert_eq!(samples, 5);
}

#[test]
fn the_sample_of_what_to_keep_protects_files_of_the_export() {
    let folder = folder();
    let server = Sandbox::start(Script::plain()).unwrap();
    let command = "imagekit-bulk-delete --sandbox --except samples/keep.csv -o out.csv samples/media-library-export.csv";
    let (code, said) = run(command, folder.path(), &server);
    let report = Report::read(&folder.path().join("out.sandbox.csv"));
    let keep = fs::read_to_string("samples/keep.csv").unwrap();
    let kept: Vec<&str> = keep.lines().skip(1).map(|line| &line[..24]).collect();
    assert_eq!(code, 1, "two records are invalid: {said}");
    assert_eq!(report.count("excluded"), kept.len(), "{said}");
    assert!(kept.iter().all(|id| report.row(id).status == "excluded"));
}
