//! The samples of where it runs: each command line as its scheduler runs it, by the real binary against a server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use fixture::{BINARY, Ran, Report, id, ids, instead, list, wait_until};
use imagekit_bulk_delete::sandbox::{Sandbox, Script};
use tempfile::TempDir;

const FILES: u64 = 20;

fn sample(name: &str) -> String {
    fs::read_to_string(format!("samples/{name}")).unwrap()
}

/// A service's folder with the list and the key that the samples name, and a server that has the files.
struct Place {
    folder: TempDir,
    server: Sandbox,
}

impl Place {
    fn new(script: Script) -> Self {
        let (folder, server) = (TempDir::new().unwrap(), Sandbox::start(script).unwrap());
        server.ledger().put_all(ids(FILES));
        let place = Self { folder, server };
        fs::write(place.path("old-files.csv"), list(&ids(FILES))).unwrap();
        fs::create_dir(place.path("bin")).unwrap();
        symlink(BINARY, place.path("bin/imagekit-bulk-delete")).unwrap();
        for name in ["key", "key.txt"] {
            fs::write(place.path(name), Sandbox::key()).unwrap();
            fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with nothing around it but what is given, as a scheduler starts it.
    fn command(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", path)
            .env("IMAGE_KIT_BASE_URL", self.server.base_url());
        command.envs(variables.iter().copied());
        command
    }

    fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = self
            .command(program, arguments, variables)
            .output()
            .unwrap();
        // The key's own file is no leak.
        for name in ["key", "key.txt"] {
            let _ = fs::rename(self.path(name), self.path("bin").join(name));
        }
        let ran = Ran::new(output, self.folder.path());
        for name in ["key", "key.txt"] {
            let _ = fs::rename(self.path("bin").join(name), self.path(name));
        }
        ran
    }

    /// The report of the day, whatever day it is, or the workflow's.
    fn report(&self) -> Report {
        for name in ["reports/old-files.csv", "reports/old-files.sandbox.csv"] {
            if self.path(name).exists() {
                return Report::read(&self.path(name));
            }
        }
        let files = fs::read_dir(&self.folder).unwrap();
        let mut reports = files.map(|file| file.unwrap().path()).filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("nightly.20") && path.extension().is_some_and(|last| last == "csv")
        });
        Report::read(&reports.next().unwrap())
    }

    #[track_caller]
    fn has_deleted_all(&self) {
        assert_eq!(self.server.ledger().deleted_count() as u64, FILES);
        assert_eq!(self.report().count("deleted") as u64, FILES);
    }
}

/// A crontab's variables, and its commands as cron hands them to the shell.
struct Crontab {
    variables: Vec<(String, String)>,
    command: String,
    heartbeat: String,
}

impl Crontab {
    fn read() -> Self {
        let text = sample("nightly.crontab");
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (jobs, variables): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        let [job, heartbeat] = jobs[..] else {
            panic!("a job and its heartbeat: {jobs:?}");
        };
        let pairs = variables.iter().map(|line| line.split_once('=').unwrap());
        Self {
            variables: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            command: command_of(job),
            heartbeat: command_of(heartbeat),
        }
    }

    /// As cron runs it, with this place for HOME. What it prints would be mailed.
    fn mails(&self, place: &Place) -> String {
        self.mails_of(&self.command, place)
    }

    fn mails_of(&self, command: &str, place: &Place) -> String {
        let home = place.folder.path().to_str().unwrap();
        let shell = self
            .variables
            .iter()
            .find(|(name, _)| name == "SHELL")
            .unwrap();
        let ran = place.run(
            &shell.1,
            &["-c", command],
            &[("HOME", home), ("LOGNAME", "imagekit")],
        );
        ran.stdout + &ran.stderr
    }
}

/// A line's command, after its five fields of time.
fn command_of(line: &str) -> String {
    assert!(line.len() < 998, "Debian's cron takes no longer command");
    let command = line.splitn(6, ' ').nth(5).unwrap();
    let has_bare_percent = command.replace("\\%", "").contains('%');
    assert!(!has_bare_percent, "a bare percent sign ends the line");
    command.replace("\\%", "%")
}

#[test]
fn the_crontab_mails_of_last_nights_list_of_an_empty_one_and_of_no_good_night() {
    let (crontab, place) = (Crontab::read(), Place::new(Script::plain()));
    let heartbeat = || crontab.mails_of(&crontab.heartbeat, &place);
    assert!(heartbeat().contains("no run has succeeded"));
    assert_eq!(crontab.mails(&place), "");
    assert_eq!(heartbeat(), "");

    let next_night = || {
        let files = fs::read_dir(&place.folder).unwrap();
        for path in files.map(|file| file.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("nightly.") || name == "last-success" {
                fs::remove_file(path).unwrap();
            }
        }
    };
    next_night();
    let mail = crontab.mails(&place);
    assert!(mail.contains("not found"), "{mail}");
    assert!(heartbeat().contains("no run has succeeded"));

    next_night();
    fs::write(place.path("old-files.csv"), "").unwrap();
    let mail = crontab.mails(&place);
    assert!(
        mail.contains("no records") || mail.contains("0 records"),
        "{mail}"
    );
    assert!(heartbeat().contains("no run has succeeded"));
}

#[test]
fn the_crontab_line_is_silent_while_all_goes_well() {
    let (crontab, place) = (Crontab::read(), Place::new(Script::plain()));
    assert_eq!(crontab.mails(&place), "");
    place.has_deleted_all();
    let requests = place.server.ledger().request_count();
    assert_eq!(
        crontab.mails(&place),
        "",
        "the next hour finds nothing left"
    );
    assert_eq!(place.server.ledger().request_count(), requests);
}

#[test]
fn the_crontab_line_is_silent_while_the_run_of_the_hour_before_goes_on() {
    let slow = Script {
        latency: Duration::from_secs(3)..Duration::from_secs(4),
        ..Script::plain()
    };
    let (crontab, place) = (Crontab::read(), Place::new(slow));
    let home = place.folder.path().to_str().unwrap();
    let mut first = place.command("sh", &["-c", &crontab.command], &[("HOME", home)]);
    let first = first
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| place.server.ledger().request_count() > 0);
    assert_eq!(crontab.mails(&place), "");
    let first = first.wait_with_output().unwrap();
    assert_eq!((first.stdout, first.stderr), (Vec::new(), Vec::new()));
    place.has_deleted_all();
}

#[test]
fn the_crontab_line_mails_what_needs_a_person() {
    let crontab = Crontab::read();
    let some_fail = Place::new(Script {
        instead: instead::malformed([id(3)]),
        ..Script::plain()
    });
    let no_list = Place::new(Script::plain());
    fs::remove_file(no_list.path("old-files.csv")).unwrap();
    let other_key = Place::new(Script {
        key: "private_another".into(),
        ..Script::plain()
    });
    for (place, code, words) in [
        (some_fail, 1, "20 records, 1 failed"),
        (no_list, 2, "old-files.csv"),
        (other_key, 3, "key"),
    ] {
        let mail = crontab.mails(&place);
        assert!(
            mail.contains(&format!("ended with {code} in ")) && mail.contains(words),
            "{mail}"
        );
    }
}

/// What a unit file says of `name`, the last time it says it.
fn setting<'a>(unit: &'a str, name: &str) -> &'a str {
    let value = unit
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{name} is not set"))
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap()
}

/// What `--timeout` says in a command line.
fn timeout_of(command: &str) -> u64 {
    let after = command.split("--timeout").nth(1).unwrap();
    seconds(after[1..].split_whitespace().next().unwrap())
}

#[test]
fn the_systemd_service_sees_which_boot_it_is_and_leaves_no_core_with_a_key_in_it() {
    let unit = sample("imagekit-bulk-delete.service");
    assert!(!unit.contains("ProcSubset"), "it hides the boot's ID");
    assert_eq!(setting(&unit, "LimitCORE"), "0");
}

#[test]
fn the_systemd_service_deletes_with_the_key_as_a_credential() {
    let unit = sample("imagekit-bulk-delete.service");
    let line = setting(&unit, "ExecStart").replace("%%", "%");
    let (program, arguments) = line.split_once(' ').unwrap();
    // systemd finds a bare name where the package, and where a person, puts it.
    assert_eq!(program, "imagekit-bulk-delete");
    let place = Place::new(Script::plain());
    // A credential's access list looks like a group that may read.
    fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o440)).unwrap();
    let credentials = place.folder.path().to_str().unwrap();
    let arguments = arguments.replace("${CREDENTIALS_DIRECTORY}", credentials);
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let ran = place.run(
        BINARY,
        &arguments,
        &[("CREDENTIALS_DIRECTORY", credentials)],
    );
    ran.exits(0);
    assert!(!ran.stderr.contains("others can read"), "{}", ran.stderr);
    place.has_deleted_all();
    assert!(
        seconds(setting(&unit, "TimeoutStopSec")) > timeout_of(&line),
        "a stop waits for requests in flight"
    );
    assert!(
        setting(&unit, "SuccessExitStatus")
            .split(' ')
            .eq(["75", "143"])
    );
    assert!(
        setting(&unit, "RestartPreventExitStatus")
            .split(' ')
            .eq(["1", "2", "3", "5", "6"])
    );
}

#[test]
fn the_kubernetes_job_deletes_with_the_key_from_a_secret() {
    let manifest = sample("kubernetes.yaml");
    // The first container's fetch the list.
    let (_, after) = manifest.rsplit_once("args:\n").unwrap();
    let lines = after.lines().map(str::trim);
    let arguments = lines
        .map_while(|line| line.strip_prefix("- "))
        .take_while(|argument| !argument.contains(": "));
    let arguments: Vec<&str> = arguments.collect();
    let place = Place::new(Script::plain());
    place
        .run(
            BINARY,
            &arguments,
            &[("IMAGEKIT_PRIVATE_KEY", Sandbox::key())],
        )
        .exits(0);
    place.has_deleted_all();
    let grace = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: "));
    assert!(
        seconds(grace.unwrap()) > timeout_of(&arguments.join(" ")),
        "a stop waits for requests in flight"
    );
    for line in [
        "concurrencyPolicy: Forbid",
        "restartPolicy: Never",
        "runAsNonRoot: true",
        "values: [1, 2, 3, 5, 6]",
        "emptyDir:",
    ] {
        assert!(manifest.contains(line), "{line}");
    }
    assert!(!manifest.contains("private_"), "the key is elsewhere");
}

/// The workflow's script of the step Delete.
fn workflow_script() -> String {
    let workflow = sample("github-actions.yml");
    let step = workflow.split("- name: Delete\n").nth(1).unwrap();
    let script = step.split("run: |\n").nth(1).unwrap().lines();
    let lines = script.take_while(|line| line.starts_with("          "));
    lines.map(|line| format!("{}\n", &line[10..])).collect()
}

#[test]
fn the_github_workflow_deletes_and_turns_exit_codes_into_alerts() {
    let script = workflow_script();
    // GitHub's own way to run a step.
    let run = |place: &Place, rehearsal: &str| {
        let variables = [
            ("IMAGEKIT_PRIVATE_KEY", Sandbox::key()),
            ("REHEARSAL", rehearsal),
        ];
        place.run("bash", &["-e", "-c", &script], &variables)
    };
    let place = Place::new(Script::plain());
    assert_eq!(run(&place, "").exits(0).stdout, "");
    place.has_deleted_all();

    let rehearsal = Place::new(Script::plain());
    run(&rehearsal, "--sandbox").exits(0).says("sandbox");
    assert_eq!(rehearsal.server.ledger().request_count(), 0);
    assert!(
        !rehearsal.report().rows.is_empty(),
        "the rehearsal's report is kept too"
    );

    let some_fail = run(
        &Place::new(Script {
            instead: instead::malformed([id(3)]),
            ..Script::plain()
        }),
        "",
    );
    assert!(some_fail.exits(1).stdout.starts_with("::error::some files"));
    // The next run gets the report of the one before, and has nothing to do.
    let requests = place.server.ledger().request_count();
    run(&place, "").exits(0);
    assert_eq!(place.server.ledger().request_count(), requests);
    let over_the_cap = Place::new(Script::plain());
    let list: String = (0..20_001)
        .map(|number| format!("{number:024x}\n"))
        .collect();
    fs::write(over_the_cap.path("old-files.csv"), list).unwrap();
    run(&over_the_cap, "").exits(2).says("--max-delete");
    assert_eq!(over_the_cap.server.ledger().request_count(), 0);
    let other_key = run(
        &Place::new(Script {
            key: "private_another".into(),
            ..Script::plain()
        }),
        "",
    );
    assert!(
        other_key
            .exits(3)
            .stdout
            .starts_with("::error::exit code 3")
    );
}

#[test]
fn the_image_is_the_binary_and_certificates_for_nobody_in_particular() {
    let dockerfile = sample("Dockerfile");
    let (_, last) = dockerfile.rsplit_once("FROM ").unwrap();
    assert!(last.starts_with("scratch\n"));
    let instructions = last.lines().skip(1).filter(|line| !line.starts_with('#'));
    let instructions: Vec<&str> = instructions.collect();
    assert!(
        instructions.contains(&"USER 65532:65532"),
        "as in kubernetes.yaml"
    );
    assert!(instructions.contains(&"ENTRYPOINT [\"/usr/bin/imagekit-bulk-delete\"]"));
    assert!(
        !instructions.iter().any(|line| line.starts_with("RUN")),
        "no shell"
    );
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    assert!(instructions.iter().any(|line| line.ends_with(certificates)));
}

#[test]
fn each_sample_that_deletes_begins_with_its_limits_and_has_them() {
    for name in [
        "nightly.crontab",
        "imagekit-bulk-delete.service",
        "kubernetes.yaml",
        "github-actions.yml",
        "Dockerfile",
    ] {
        let text = sample(name);
        assert!(
            text.starts_with("# Set --max-delete and --max-not-found to"),
            "{name}"
        );
        let (_, after) = text.split_once("\n#\n").unwrap();
        for option in ["--max-delete", "--max-not-found"] {
            assert!(after.contains(option), "{name}: {option}");
        }
    }
}

#[test]
fn samples_are_short_and_name_what_the_program_has() {
    let help = Place::new(Script::plain())
        .run(BINARY, &["--help"], &[])
        .stdout;
    for name in [
        "nightly.crontab",
        "imagekit-bulk-delete.service",
        "imagekit-bulk-delete.timer",
        "kubernetes.yaml",
        "github-actions.yml",
        "Dockerfile",
    ] {
        let text = sample(name);
        assert!(text.lines().count() <= 200, "{name} is short");
        // Other programs' options are not ours.
        let ours = text.lines().filter(|line| {
            let others = [
                "systemctl ",
                "cargo ",
                "curl ",
                "kubectl ",
                "docker ",
                "apk ",
                "COPY ",
            ];
            !others.iter().any(|other| line.contains(other)) && *line != "---"
        });
        let words = ours.flat_map(|line| {
            line.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '-'))
        });
        for word in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(word), "{name}: {word}");
        }
    }
}
