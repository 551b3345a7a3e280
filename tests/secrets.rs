//! The private key, wherever it is typed, stands in no byte that leaves the process: stderr, stdout, files, their names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::path::Path;
use std::process::Output;

use fixture::front::Reply;
use fixture::{Ran, Report, Scene, id, ids, instead};
use imagekit_bulk_delete::sandbox::{Sandbox, Script};

/// Shaped as ImageKit's own, with everything that base64 may hold.
const KEY: &str = "private_Zq9+Secret/0x1w2e3r4t5y=";

/// What an output may hold of a key in no spelling: plain, percent-encoded, in base64 with and without a colon.
const SPELLINGS: [&str; 4] = [
    "Zq9+Secret",
    "Zq9%2BSecret",
    "cHJpdmF0ZV9acTkrU2VjcmV0",
    "acTkrU2VjcmV0",
];

const OUTPUTS: [&str; 3] = [
    "--summary-json s.json --metrics-file m.prom --html p.html --log-level trace",
    "--summary-json s.json --log-format json --log-level debug",
    "--summary-json - --quiet",
];

fn with_key(key: &str) -> Script {
    Script {
        key: key.into(),
        ..Script::plain()
    }
}

#[track_caller]
fn holds_no_key(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for spelling in SPELLINGS {
        assert!(!text.contains(spelling), "{spelling} is in {what}: {text}");
    }
}

/// No byte of what a run said and left holds the key; `inputs` are the test's own files.
#[track_caller]
fn nothing_holds_the_key(scene: &Scene, output: &Output, inputs: &[&str]) {
    holds_no_key("stderr", &output.stderr);
    holds_no_key("stdout", &output.stdout);
    check_folder(scene.folder.path(), inputs);
}

#[track_caller]
fn check_folder(folder: &Path, inputs: &[&str]) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if inputs.contains(&name.as_str()) {
            continue;
        }
        holds_no_key("the name of a file", name.as_bytes());
        if path.is_dir() {
            check_folder(&path, inputs);
        } else {
            holds_no_key(&name, &fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_key_typed_where_another_value_belongs_is_refused_and_never_repeated() {
    let encoded = "private_Zq9%2BSecret%2F0x1w2e3r4t5y%3D";
    let misplaced = [
        format!("--base-url https://{KEY}:@api.imagekit.io"),
        format!("--base-url https://{encoded}:@api.imagekit.io"),
        format!("--base-url {KEY}"),
        format!("--base-url https://api.imagekit.io/?key={KEY}"),
        format!("--base-url https://api.imagekit.io/#{KEY}"),
        format!("--base-url https://api.imagekit.io/{encoded}"),
        format!("--base-url ftp://{KEY}:@api.imagekit.io"),
        format!("--base-url http://{encoded}:@127.0.0.1:1"),
        format!("--private-key-file {KEY}"),
        format!("--column {KEY}"),
        format!("--delimiter {KEY}"),
        format!("--report {KEY}"),
        format!("--report {KEY}.csv"),
        format!("--html {KEY}"),
        format!("--summary-json {KEY}"),
        format!("--metrics-file {KEY}"),
        format!("--except {KEY}"),
        format!("--list {KEY}"),
        format!("--rate {KEY}"),
        format!("--max-failures {KEY}"),
        format!("--timeout {KEY}"),
        format!("--sandbox-listen {KEY}"),
        format!("--generate {KEY}"),
        format!("--log-format {KEY}"),
        format!("--from-report {KEY} --html page.html"),
        format!("--key {KEY}"),
        format!("--private-key {KEY}"),
        format!("--private-key={KEY}"),
        format!("--{KEY}"),
        format!("-k {KEY}"),
        format!("-u {KEY}:"),
        format!("--dry-run --column {KEY}"),
        format!("--sandbox --report {KEY}"),
        KEY.to_owned(),
        format!("{KEY}.csv"),
        format!("dir/{KEY}.csv"),
    ];
    for account_key in [KEY, Sandbox::key()] {
        for options in &misplaced {
            for outputs in OUTPUTS {
                let scene = Scene::with_files(with_key(account_key), &ids(3))
                    .variable("IMAGEKIT_PRIVATE_KEY", account_key);
                // The scene's own --base-url comes last, and must not stand in for the one that is tried.
                let mut command = scene.command();
                command.args(options.split(' '));
                let has_outputs_of_its_own = options.contains("--html")
                    || options.contains("--summary-json")
                    || options.contains("--metrics");
                if !has_outputs_of_its_own {
                    command.args(outputs.split(' '));
                }
                if options.contains("--base-url") {
                    command = without_first_base_url(&command);
                }
                let output = command.output().unwrap();
                nothing_holds_the_key(&scene, &output, &[]);
                assert_eq!(output.status.code(), Some(2), "{options}: {output:?}");
                assert!(
                    !output.stderr.is_empty(),
                    "{options} is refused without a word"
                );
                assert_eq!(scene.server.ledger().request_count(), 0, "{options}");
            }
        }
    }
}

/// The option may be given once only.
fn without_first_base_url(command: &std::process::Command) -> std::process::Command {
    let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let first = arguments
        .iter()
        .position(|argument| argument == "--base-url")
        .unwrap();
    arguments.drain(first..first + 2);
    let mut other = std::process::Command::new(command.get_program());
    other
        .args(arguments)
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    other
}

#[test]
fn a_key_in_the_variable_of_the_base_url_is_not_repeated_either() {
    for url in [
        KEY.to_owned(),
        format!("https://{KEY}:@api.imagekit.io"),
        format!("https://api.imagekit.io?key={KEY}"),
    ] {
        for outputs in OUTPUTS {
            let scene = Scene::with_files(Script::plain(), &ids(3));
            let mut command = without_first_base_url(&scene.command());
            command
                .env("IMAGE_KIT_BASE_URL", &url)
                .args(outputs.split(' '));
            let output = command.output().unwrap();
            nothing_holds_the_key(&scene, &output, &[]);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
        }
    }
}

#[test]
fn a_key_among_the_ids_is_invalid_is_never_sent_and_stands_in_no_row() {
    let all = ids(3);
    let text = format!(
        "fileId,url\n{},https://host/a.jpg?key={KEY}\n{KEY},\n{},https://host/private_photos/b.jpg\n{KEY}:,x\n",
        all[0], all[1]
    );
    for account_key in [KEY, Sandbox::key()] {
        for outputs in OUTPUTS {
            let mut scene = Scene::new(with_key(account_key))
                .input("ids.csv", &text)
                .variable("IMAGEKIT_PRIVATE_KEY", account_key)
                .option("--purge-cache");
            scene.server.ledger().put_all(all.iter().cloned());
            for option in outputs.split(' ') {
                scene = scene.option(option);
            }
            let output = scene.command().output().unwrap();
            nothing_holds_the_key(&scene, &output, &["ids.csv"]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let report = Report::read(&scene.path("ids.report.csv"));
            assert_eq!((report.count("deleted"), report.count("invalid")), (2, 2));
            // An ordinary folder's name is no key: its URL is purged as it is.
            assert_eq!(report.row(&all[1]).url, "https://host/private_photos/b.jpg");
            // The masked row stands for its record on a resume, too.
            let output = scene.command().arg("--resume").output().unwrap();
            nothing_holds_the_key(&scene, &output, &["ids.csv"]);
            let again = Report::read(&scene.path("ids.report.csv"));
            assert_eq!((again.rows.len(), again.count("invalid")), (4, 2));
        }
    }
}

#[test]
fn files_that_are_named_like_a_key_are_read_and_their_names_are_masked() {
    let all = ids(3);
    let input = "private_Zq9+Secret.csv";
    for outputs in OUTPUTS {
        let scene = Scene::new(Script::plain()).input(input, fixture::list(&all));
        scene.server.ledger().put_all(all.iter().cloned());
        let output = scene.command().args(outputs.split(' ')).output().unwrap();
        nothing_holds_the_key(&scene, &output, &[input]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(scene.server.ledger().deleted_count(), 3);
        if !outputs.contains("--quiet") {
            Ran::new(output, scene.folder.path()).says("and is shown as [key]; rename the file");
        }
    }
}

#[test]
fn a_command_that_would_be_shown_without_its_names_is_not_shown() {
    for (input, shown) in [("private_photos.csv", false), ("photos.csv", true)] {
        let all = ids(3);
        let script = Script {
            instead: instead::malformed([all[1].clone()]),
            ..Script::plain()
        };
        let scene = Scene::new(script).input(input, fixture::list(&all));
        scene.server.ledger().put_all(all.iter().cloned());
        let ran = scene.run();
        ran.exits(1);
        let said = &ran.stderr;
        assert_eq!(said.contains(" --resume --yes"), shown, "{said}");
        let instead = "run the same command with --resume";
        assert_eq!(said.contains(instead), !shown, "{said}");
        assert!(!said.contains("photos") || shown, "{said}");
        // What it says works.
        scene.run_with("--resume").exits(1);
    }
}

#[test]
fn a_key_that_imagekit_or_something_before_it_echoes_is_taken_out_of_what_it_said() {
    let all = ids(4);
    for account_key in [KEY, "an-old+key/without=a+Zq9+Secret+prefix"] {
        let (scene, _front) = Scene::with_files(with_key(account_key), &all)
            .variable("IMAGEKIT_PRIVATE_KEY", account_key)
            .option("--batch-size 1 --max-attempts 2")
            .option(OUTPUTS[0])
            .behind(|asked| {
                if asked.path.ends_with(&id(1)) {
                    Reply::echo(400, account_key)
                } else {
                    Reply::Pass
                }
            });
        let output = scene.command().output().unwrap();
        nothing_holds_the_key(&scene, &output, &[]);
        let message = scene.report().row(&all[1]).message.clone();
        assert!(message.contains("[key]"), "{message}");
    }
}
