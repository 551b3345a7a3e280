//! The real binary on a real pseudo-terminal: what stands on the screen while it runs and after its end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write};
use std::num::NonZeroU16;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use fixture::instead::{self, BatchTrouble};
use fixture::{Scene, ids, list};
use imagekit_bulk_delete::sandbox::{Fault, Sandbox, Script};

const ROWS: u16 = 30;
const WIDTHS: [u16; 2] = [60, 120];
const CTRL_C: &[u8] = &[3];

/// What a terminal makes of long lines when it is resized.
#[derive(Clone, Copy)]
enum Resizing {
    Cuts,
    Wraps,
}

/// A terminal on which a run shows.
struct Terminal {
    session: OsSession,
    screen: vt100::Parser,
    /// All bytes that came, as they came.
    raw: Vec<u8>,
}

impl Terminal {
    fn run(scene: &Scene, columns: u16, options: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = scene.command();
        command.args(options.split_whitespace());
        command.envs(variables.iter().copied());
        Self::spawn(command, columns)
    }

    fn spawn(mut command: Command, columns: u16) -> Self {
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        let mut session = OsSession::spawn(command).unwrap();
        let process = session.get_process_mut();
        process.set_window_size(columns, ROWS).unwrap();
        // An interactive shell leaves it on: a Ctrl-C shows as ^C.
        process.set_echo(true, None).unwrap();
        let size = |number| NonZeroU16::new(number).unwrap();
        Self {
            session,
            screen: vt100::Parser::new(size(ROWS), size(columns), 1000),
            raw: Vec::new(),
        }
    }

    /// Takes in what came; false at the end.
    fn listen(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.session.try_read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.raw.extend(&bytes[..count]);
                self.screen.process(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
                true
            }
            // Linux says so where nobody holds the other side any more.
            Err(_) => false,
        }
    }

    fn contents(&self) -> String {
        self.screen.screen().contents()
    }

    fn line_with(&self, words: &str) -> Option<String> {
        let mut rows = (0..ROWS).map(|row| self.row(row));
        rows.find(|row| row.contains(words))
    }

    /// Waits for words on the screen; all that changes in place must be whole lines then.
    #[track_caller]
    fn shows(&mut self, words: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(line) = self.line_with(words).filter(|_| !self.is_changing()) {
                self.has_whole_lines();
                return line;
            }
            let is_on = self.listen();
            assert!(
                is_on && Instant::now() < deadline,
                "{words:?} never showed:\n{}",
                self.contents()
            );
        }
    }

    /// Waits until words are gone again.
    #[track_caller]
    fn no_longer_shows(&mut self, words: &str) {
        while self.line_with(words).is_some() || self.is_changing() {
            assert!(self.listen(), "{words:?} stayed:\n{}", self.contents());
        }
        self.has_whole_lines();
    }

    /// No line of the progress runs over the edge, there are two to four of them, nothing above that is left of
    /// earlier ones and nothing below, and the cursor rests at the start of the first.
    #[track_caller]
    fn has_whole_lines(&self) {
        let screen = self.screen.screen();
        let Some(first) = (0..ROWS).find(|row| self.row(*row).starts_with('[')) else {
            return;
        };
        let contents = self.contents();
        let is_blank = |row: &u16| self.row(*row).is_empty();
        let end = (first..ROWS).find(is_blank).unwrap_or(ROWS);
        assert!((2..=4).contains(&(end - first)), "{contents}");
        assert_eq!(screen.cursor_position(), (first, 0), "{contents}");
        assert!((end..ROWS).all(|row| is_blank(&row)), "{contents}");
        // A line that ran over the edge would fill its row.
        let columns = screen.size().1.get().into();
        let is_short = |row: u16| self.row(row).chars().count() < columns;
        let rows: Vec<String> = (first..end).map(|row| self.row(row)).collect();
        assert!((first + 1..end).all(is_short), "{rows:#?}");
        let bars = (0..ROWS).filter(|row| self.row(*row).starts_with('['));
        assert_eq!(bars.count(), 1, "{contents}");
        let counts = (0..first).filter(|row| self.row(*row).contains(" deleted"));
        assert_eq!(counts.count(), 0, "{contents}");
    }

    /// The window is resized between two changes.
    fn resize(&mut self, columns: u16, resizing: Resizing) {
        self.stop();
        let process = self.session.get_process_mut();
        process.set_window_size(columns, ROWS).unwrap();
        let size = |number| NonZeroU16::new(number).unwrap();
        match resizing {
            Resizing::Cuts => self.screen.screen_mut().set_size(size(ROWS), size(columns)),
            Resizing::Wraps => self.wrap_anew(columns.into()),
        }
        self.signal("-CONT");
    }

    /// As most terminals do it: lines that were wrapped are joined and wrapped at the new width, and the cursor stays on
    /// its character.
    fn wrap_anew(&mut self, columns: usize) {
        let screen = self.screen.screen();
        let old = usize::from(screen.size().1.get());
        let cursor = screen.cursor_position();
        let (mut lines, mut place) = (vec![String::new()], (0, 0));
        for row in 0..ROWS {
            let line = lines.last_mut().unwrap();
            if row == cursor.0 {
                place = (
                    line.chars().count() + usize::from(cursor.1),
                    lines.len() - 1,
                );
            }
            let line = lines.last_mut().unwrap();
            if screen.row_wrapped(row) {
                line.push_str(&format!("{:old$}", self.row(row)));
            } else {
                line.push_str(&self.row(row));
                lines.push(String::new());
            }
        }
        let rows_of = |line: &String| line.chars().count().div_ceil(columns).max(1);
        let row = lines[..place.1].iter().map(rows_of).sum::<usize>() + place.0 / columns;
        let text = lines.join("\r\n");
        let text = text.trim_end_matches(['\r', '\n']);
        let all: usize = text.split("\r\n").map(|line| rows_of(&line.into())).sum();
        let row = row - all.saturating_sub(ROWS.into());
        let size = |number| NonZeroU16::new(number).unwrap();
        let narrow = u16::try_from(columns).unwrap();
        self.screen = vt100::Parser::new(size(ROWS), size(narrow), 1000);
        let cursor = format!("\x1b[{};{}H", row + 1, place.0 % columns + 1);
        self.screen.process((text.to_owned() + &cursor).as_bytes());
    }

    /// Stops the program, and takes in what it wrote until then.
    fn stop(&mut self) {
        self.signal("-STOP");
        let pid = self.session.get_process().pid().to_string();
        let is_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.unwrap().contains(") T ")
        };
        while !is_stopped() {
            thread::yield_now();
        }
        let mut before = None;
        while before != Some(self.raw.len()) {
            before = Some(self.raw.len());
            assert!(self.listen(), "{}", self.contents());
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.session.get_process().pid().to_string();
        let kill = Command::new("kill").args([name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    fn row(&self, row: u16) -> String {
        let screen = self.screen.screen();
        let columns = screen.size().1.get();
        let text = screen.rows(0, columns).nth(row.into()).unwrap_or_default();
        text.trim_end().into()
    }

    /// A change of the progress is under way.
    fn is_changing(&self) -> bool {
        let has_bar = (0..ROWS).any(|row| self.row(row).starts_with('['));
        has_bar && !self.is_at_rest()
    }

    /// The cursor is where it rests between two changes.
    fn is_at_rest(&self) -> bool {
        let (row, column) = self.screen.screen().cursor_position();
        column == 0 && self.row(row).starts_with('[')
    }

    /// Listens until this holds.
    #[track_caller]
    fn listen_until(&mut self, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            let is_on = self.listen();
            assert!(is_on && Instant::now() < deadline, "{}", self.contents());
        }
    }

    /// Waits for the next change of the numbers.
    #[track_caller]
    fn changes(&mut self) {
        let before = self.line_with("/20,000");
        self.listen_until(|this| this.line_with("/20,000") != before && this.is_at_rest());
    }

    fn press(&mut self, keys: &[u8]) {
        self.session.write_all(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Waits for the end: the exit code, and what stands then.
    fn end(&mut self) -> (i32, String) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.listen() {
            assert!(Instant::now() < deadline, "no end:\n{}", self.contents());
        }
        let status = self.session.get_process().wait().unwrap();
        let WaitStatus::Exited(_, code) = status else {
            panic!("{status:?}");
        };
        (code, self.contents())
    }
}

/// Nothing that changed in place is left, not even a hole.
#[track_caller]
fn nothing_is_left_but_the_summary(screen: &str) {
    nothing_that_changed_is_left(screen);
    assert!(
        screen.contains(" request") && screen.contains("report: ids.report.csv"),
        "{screen}"
    );
    assert!(!screen.contains("\n\n"), "no hole:\n{screen}");
}

#[track_caller]
fn nothing_that_changed_is_left(screen: &str) {
    for left_over in [
        "[=",
        "[>",
        "IDs/s",
        "requests/s",
        "running",
        "1 in flight",
        "^C",
    ] {
        assert!(
            !screen.contains(left_over),
            "{left_over:?} is left:\n{screen}"
        );
    }
}

/// At each width, side by side.
fn at_each_width(test: fn(u16)) {
    let tests = WIDTHS.map(|columns| thread::spawn(move || test(columns)));
    for test in tests {
        if let Err(panic) = test.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Two hundred requests, a few seconds of them.
fn scene(script: Script) -> Scene {
    let latency = Duration::from_millis(10)..Duration::from_millis(30);
    let script = Script { latency, ..script };
    Scene::with_files(script, &ids(20_000))
}

#[test]
fn a_run_shows_how_far_it_is_how_fast_and_how_long_it_will_take() {
    at_each_width(|columns| {
        let scene = scene(Script::plain()).option("--rate 40");
        let mut terminal = Terminal::run(&scene, columns, "", &[]);
        let line = terminal.shows(" left");
        assert!(line.starts_with("[==") && line.contains("%  "), "{line}");
        assert!(
            line.contains("/20,000  ") && line.contains(" IDs/s  "),
            "{line}"
        );
        terminal.shows(" requests/s");
        assert!(
            terminal
                .line_with(" deleted")
                .is_some_and(|line| !line.contains('['))
        );
        let (code, screen) = terminal.end();
        assert_eq!(code, 0, "{screen}");
        nothing_is_left_but_the_summary(&screen);
        assert!(screen.contains("done: 20,000 records in "), "{screen}");
    });
}

#[test]
fn what_is_typed_and_a_window_that_is_resized_leave_nothing() {
    for resizing in [Resizing::Cuts, Resizing::Wraps] {
        let scene = scene(Script::plain()).option("--rate 20");
        let mut terminal = Terminal::run(&scene, 120, "", &[]);
        terminal.shows(" deleted");
        for columns in [120, 90, 47, 60, 200, 33, 120] {
            terminal.resize(columns, resizing);
            for typed in ["", "\r", "abc\r", "x"] {
                terminal.press(typed.as_bytes());
                terminal.changes();
                terminal.has_whole_lines();
            }
        }
        terminal.press(CTRL_C);
        let (code, screen) = terminal.end();
        assert_eq!(code, 130, "{screen}");
        assert!(!screen.contains("abc"), "{screen}");
        nothing_is_left_but_the_summary(&screen);
        let first = screen.lines().next().unwrap();
        assert!(first.starts_with("ids.txt: "), "{screen}");
        assert!(terminal.session.get_process().get_echo().unwrap());
    }
}

#[test]
fn a_window_of_one_or_two_rows_shows_the_first_lines() {
    for rows in [1, 2] {
        let scene = scene(Script::plain()).option("--rate 20");
        let mut terminal = Terminal::run(&scene, 100, "", &[]);
        let process = terminal.session.get_process_mut();
        process.set_window_size(100, rows).unwrap();
        let size = |number| NonZeroU16::new(number).unwrap();
        terminal.screen = vt100::Parser::new(size(rows), size(100), 1000);
        for _ in 0..5 {
            terminal.changes();
        }
        terminal.screen.screen_mut().set_scrollback(usize::MAX);
        let scrolled = terminal.screen.screen().scrollback();
        assert_eq!(
            scrolled,
            1,
            "the line on the header alone: {}",
            terminal.contents()
        );
        terminal.press(CTRL_C);
        assert_eq!(terminal.end().0, 130);
    }
}

#[test]
fn ctrl_backslash_leaves_at_once_and_a_terminal_that_shows_what_is_typed() {
    let scene = scene(Script {
        random_faults: vec![(Fault::HangBefore, 1.0)],
        ..Script::plain()
    });
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.shows("in flight");
    assert!(!terminal.session.get_process().get_echo().unwrap());
    terminal.press(&[28]);
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    nothing_is_left_but_the_summary(&screen);
    assert!(screen.contains("left at once"), "{screen}");
    assert!(terminal.session.get_process().get_echo().unwrap());
}

/// A shell with job control runs the program; the terminal of a stopped job is as it was, and `fg` draws anew.
#[test]
fn ctrl_z_takes_the_progress_away_and_fg_brings_it_back() {
    let scene = scene(Script::plain()).option("--rate 20");
    let script = "set -m; \"$@\"; echo stopped $?; stty -a </dev/tty | grep -ow -e '-*echo'; until test -e go; do sleep 0.1; done; clear; fg; echo ended $?";
    let mut terminal = Terminal::spawn(scene.command_in(script), 100);
    terminal.shows(" deleted");
    terminal.press(&[26]);
    terminal.listen_until(|this| this.contents().contains("\necho"));
    let stopped = terminal.contents();
    assert!(!stopped.contains("-echo"), "{stopped}");
    nothing_that_changed_is_left(&stopped);
    std::fs::write(scene.path("go"), "").unwrap();
    terminal.shows("/20,000  ");
    terminal.press(b"abc\r");
    terminal.changes();
    terminal.press(CTRL_C);
    terminal.shows("ended 130");
    let (_, screen) = terminal.end();
    nothing_is_left_but_the_summary(&screen);
    assert!(!screen.contains("abc"), "{screen}");
}

#[test]
fn ctrl_z_does_not_stop_what_no_shell_would_continue() {
    let scene = scene(Script::plain()).option("--rate 20");
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.shows(" deleted");
    terminal.press(&[26]);
    terminal.changes();
    terminal.changes();
    terminal.press(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    nothing_is_left_but_the_summary(&screen);
}

#[test]
fn after_a_stop_and_a_continue_nothing_of_others_is_written_over() {
    let scene = scene(Script::plain()).option("--rate 20");
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.shows(" deleted");
    terminal.stop();
    let shell = "\r\nzsh: suspended\r\n$ fg\r\nimagekit-bulk-delete\r\n";
    terminal.screen.process(shell.as_bytes());
    let before = terminal.raw.len();
    terminal.signal("-CONT");
    terminal.listen_until(|this| this.raw.len() > before && this.is_at_rest());
    for words in ["zsh: suspended", "$ fg", "imagekit-bulk-delete"] {
        assert!(
            terminal.line_with(words).is_some(),
            "{}",
            terminal.contents()
        );
    }
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn a_check_shows_how_far_it_is_and_leaves_nothing_of_that() {
    let script = Script {
        latency: Duration::from_millis(400)..Duration::from_millis(500),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &ids(1_000))
        .without("--yes")
        .option("--dry-run --check -j 2");
    let mut terminal = Terminal::run(&scene, 60, "", &[]);
    terminal.shows(" asked for, ");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("1,000 of 1,000\n  exist"), "{screen}");
    assert!(!screen.contains("asked for"), "{screen}");
    assert!(!screen.contains("\n\n"), "no hole:\n{screen}");
}

#[test]
fn purges_show_how_far_they_are_and_how_long_they_will_take() {
    let urls = ids(40).into_iter().enumerate();
    let rows = urls.map(|(number, id)| format!("{id},https://ik.imagekit.io/x/{number}.jpg\n"));
    let input = format!("id,url\n{}", rows.collect::<String>());
    let scene = Scene::new(Script {
        latency: Duration::from_millis(10)..Duration::from_millis(20),
        ..Script::plain()
    })
    .input("ids.txt", input)
    .option("--purge-cache --rate 5");
    scene.server.ledger().put_all(ids(40));
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    let line = terminal.shows("/40  ");
    assert!(line.starts_with('[') && line.contains("purging "), "{line}");
    assert!(!line.contains("100%"), "{line}");
    let line = terminal.shows(" left");
    assert!(line.contains("purging "), "{line}");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    nothing_is_left_but_the_summary(&screen);
}

#[test]
fn speeds_are_those_of_the_deletions_also_while_purges_go_on_beside_them() {
    let all = ids(20_000);
    let rows = all.iter().enumerate();
    let rows = rows.map(|(number, id)| format!("{id},https://ik.imagekit.io/x/{number}.jpg\n"));
    let scene = Scene::new(Script::rehearsal())
        .input("ids.txt", format!("id,url\n{}", rows.collect::<String>()))
        .option("--purge-cache --max-purges 20000");
    scene.server.ledger().put_all(all);
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.listen_until(|this| this.line_with("running 6 s").is_some() && this.is_at_rest());
    let number = |words: &str| -> f64 {
        let line = terminal.line_with(words).unwrap();
        let (before, _) = line.split_once(words).unwrap();
        let digits = before.trim_end().rsplit(' ').next().unwrap();
        digits.replace(',', "").parse().unwrap()
    };
    let (done, ids) = (number("/20,000"), number(" IDs/s"));
    assert!(
        ids > done / 6.0 / 3.0 && ids < done / 6.0 * 3.0,
        "{}",
        terminal.contents()
    );
    // Five a second, and twenty at first, with hundreds of purges beside them.
    assert!(number(" requests/s") < 20.0, "{}", terminal.contents());
    terminal.shows("purging ");
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn where_ids_are_checked_one_by_one_the_progress_says_so() {
    // No batch says what became of its IDs.
    let script = Script {
        instead: instead::trouble(BatchTrouble::Neither, 1),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &ids(1_000)).option("--rate 40");
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.shows("checking IDs one by one");
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn a_pause_told_by_a_429_shows_with_its_end_and_is_gone_after_it() {
    at_each_width(|columns| {
        let scene = scene(Script {
            faults_at: [(30, Fault::TooMany(Some("2900")))].into(),
            ..Script::plain()
        })
        .option("--rate 50");
        let mut terminal = Terminal::run(&scene, columns, "", &[]);
        terminal.shows("paused 3 s by ImageKit");
        terminal.shows("paused 2 s by ImageKit");
        terminal.shows("paused 1 s by ImageKit");
        terminal.no_longer_shows("paused");
        assert!(terminal.contents().contains("1 refused (429)"));
        terminal.press(CTRL_C);
        assert_eq!(terminal.end().0, 130);
    });
}

#[test]
fn an_outage_shows_with_the_next_try_and_is_gone_after_it() {
    at_each_width(|columns| {
        let scene = scene(Script {
            instead: instead::outage(30, Duration::from_secs(1)),
            ..Script::plain()
        })
        .option("--rate 50");
        let mut terminal = Terminal::run(&scene, columns, "", &[]);
        let line = terminal.shows("nothing succeeds, trying again in ");
        assert!(line.contains(" s"), "{line}");
        assert!(terminal.line_with(" left").is_none(), "nobody knows");
        terminal.shows("ImageKit answers again");
        terminal.no_longer_shows("trying again");
        terminal.press(CTRL_C);
        assert_eq!(terminal.end().0, 130);
    });
}

#[test]
fn after_ctrl_c_nothing_stands_but_what_was_done_and_what_to_type() {
    at_each_width(|columns| {
        let scene = scene(Script {
            latency: Duration::from_millis(400)..Duration::from_millis(500),
            ..Script::plain()
        });
        let mut terminal = Terminal::run(&scene, columns, "--metrics-file m.prom", &[]);
        terminal.shows("/20,000");
        terminal.shows(" deleted");
        terminal.press(CTRL_C);
        terminal.shows("stopping: waiting for the requests in flight");
        let (code, screen) = terminal.end();
        assert_eq!(code, 130, "{screen}");
        nothing_is_left_but_the_summary(&screen);
        let joined = screen.replace('\n', " ");
        for words in [
            "stopped after ",
            "SIGINT (Ctrl-C)",
            " records decided, ",
            "to continue with what is left:",
            "--resume",
        ] {
            assert!(joined.contains(words), "{words:?} is not in:\n{screen}");
        }
        let deleted = scene.server.ledger().deleted_count() as u64;
        let deleted = imagekit_bulk_delete::human::grouped(deleted);
        assert!(screen.contains(&format!("{deleted}  deleted")), "{screen}");
    });
}

#[test]
fn what_a_stop_leaves_in_doubt_is_not_done() {
    // The fourth request hangs; whatever else is sent fails, and its ID waits for the next attempt.
    let faults_at = (2..200).map(|number| match number {
        4 => (number, Fault::HangBefore),
        _ => (number, Fault::Text503),
    });
    let script = Script {
        faults_at: faults_at.collect(),
        ..Script::plain()
    };
    let scene =
        Scene::with_files(script, &ids(6)).option("-b 1 -j 6 --rate unlimited --max-delete 6");
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.shows(" retries");
    terminal.press(CTRL_C);
    terminal.shows("4 unknown");
    let contents = terminal.contents();
    let line = terminal.line_with("6  running").expect(&contents);
    assert!(line.contains(" 16%  1/"), "{line}");
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_nothing_of_the_bar() {
    let scene = scene(Script {
        random_faults: vec![(Fault::HangBefore, 1.0)],
        ..Script::plain()
    })
    .option("--rate 20");
    let mut terminal = Terminal::run(&scene, 60, "", &[]);
    terminal.shows("1 in flight");
    terminal.press(CTRL_C);
    terminal.shows("(Ctrl-C again leaves at once)");
    terminal.press(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    nothing_is_left_but_the_summary(&screen);
    assert!(screen.contains("left at once"), "{screen}");
}

#[test]
fn colours_are_for_terminals_that_have_them_and_people_who_want_them() {
    let colour = "\x1b[32m";
    for (variables, is_coloured, is_drawn) in [
        (&[][..], true, true),
        (&[("NO_COLOR", "")][..], true, true),
        (&[("NO_COLOR", "1")][..], false, true),
        (&[("TERM", "dumb")][..], false, false),
    ] {
        let scene = Scene::with_files(Script::plain(), &ids(300)).option("--rate 4");
        let mut terminal = Terminal::run(&scene, 80, "", variables);
        assert_eq!(terminal.end().0, 0);
        let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
        assert_eq!(raw.contains(colour), is_coloured, "{variables:?}: {raw:?}");
        assert_eq!(
            raw.contains("\x1b["),
            is_coloured || is_drawn,
            "{variables:?}: {raw:?}"
        );
    }
}

#[test]
fn log_lines_do_not_tear_the_bar_nor_the_bar_them() {
    let scene = Scene::with_files(Script::plain(), &ids(100)).option("--batch-size 1 --rate 100");
    let mut terminal = Terminal::run(&scene, 60, "--log-level debug --log-format json", &[]);
    let (code, _) = terminal.end();
    assert_eq!(code, 0);
    let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
    let text = without_escapes(&raw.replace("\x1b[J", "\n"));
    let lines = text
        .split(['\n', '\r'])
        .filter(|line| line.contains("\"timestamp\""));
    let parsed = lines.map(|line| serde_json::from_str::<serde_json::Value>(line.trim()).unwrap());
    assert!(
        parsed.count() >= 200,
        "an attempt and a decision for each ID"
    );
    assert!(raw.contains("  running "), "and there was a bar");
}

/// What is left without the sequences that move the cursor, clear and colour.
fn without_escapes(raw: &str) -> String {
    let mut parts = raw.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let behind = |part: &str| {
        part.trim_start_matches(|character: char| !character.is_ascii_alphabetic())
            .chars()
            .skip(1)
            .collect::<String>()
    };
    parts.fold(first, |text, part| text + &behind(part))
}

#[test]
fn quiet_and_none_draw_nothing() {
    for options in ["--quiet", "--progress none"] {
        let scene = Scene::with_files(Script::plain(), &ids(300)).option("--rate 4");
        let mut terminal = Terminal::run(&scene, 60, options, &[("NO_COLOR", "1")]);
        let (code, screen) = terminal.end();
        assert_eq!(code, 0);
        let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
        assert!(!raw.contains('\x1b'), "{options}: {raw:?}");
        assert_eq!(screen.trim().is_empty(), options == "--quiet", "{screen}");
    }
}

/// Answers the question on the terminal; the exit code and what stood on the screen.
fn answered(count: u64, options: &str, keys: &[u8]) -> (Scene, i32, String) {
    let scene = Scene::with_files(Script::plain(), &ids(count)).without("--yes");
    let mut terminal = Terminal::run(&scene, 100, options, &[]);
    terminal.shows("Type ");
    assert_eq!(
        scene.server.ledger().request_count(),
        0,
        "nothing is sent before the answer"
    );
    terminal.press(keys);
    let (code, screen) = terminal.end();
    (scene, code, screen)
}

#[test]
fn a_thousand_files_are_deleted_only_where_their_number_is_typed() {
    for (keys, is_yes) in [
        ("1500\r", true),
        ("1,500\r", true),
        ("150\r", false),
        ("y\r", false),
        ("yes\r", false),
        ("\r", false),
        ("\u{4}", false),
    ] {
        let (scene, code, screen) = answered(1500, "--rate unlimited", keys.as_bytes());
        assert_eq!(code, if is_yes { 0 } else { 2 }, "{keys:?}: {screen}");
        let deleted = scene.server.ledger().deleted_count();
        assert_eq!(deleted, if is_yes { 1500 } else { 0 }, "{keys:?}");
        assert_eq!(
            scene.report_path().exists(),
            is_yes,
            "a declined question leaves no report"
        );
        if keys == "150\r" {
            assert!(
                screen.contains("you typed 150, not 1,500; nothing"),
                "{screen}"
            );
        }
        for words in ["1,500 files", "ids.txt", "127.0.0.1", "private_sa...ly"] {
            assert!(
                screen.contains(words),
                "the question names {words}: {screen}"
            );
        }
    }
}

#[test]
fn fewer_files_are_deleted_after_a_y_and_after_nothing_else() {
    for (keys, is_yes) in [
        ("y\r", true),
        ("YES\r", true),
        ("n\r", false),
        ("\r", false),
    ] {
        let (scene, code, screen) = answered(5, "--purge-cache", keys.as_bytes());
        assert_eq!(code, if is_yes { 0 } else { 2 }, "{keys:?}: {screen}");
        let deleted = scene.server.ledger().deleted_count();
        assert_eq!(deleted, if is_yes { 5 } else { 0 }, "{keys:?}");
        assert!(screen.contains("purged"), "{screen}");
    }
}

#[test]
fn ctrl_c_at_the_question_leaves_nothing() {
    let (scene, code, screen) = answered(5, "", CTRL_C);
    assert_eq!(code, 130, "{screen}");
    let (_, after) = screen.split_once("Type y").unwrap();
    let said = after.lines().nth(1).unwrap_or_default();
    assert!(
        said.contains("SIGINT") && said.contains("nothing was deleted"),
        "{screen}"
    );
    assert_eq!(scene.server.ledger().request_count(), 0);
    assert!(!scene.report_path().exists());
    assert!(!scene.path("ids.report.csv.state").exists());
}

#[test]
fn the_terminal_is_asked_even_where_stdin_is_the_input() {
    for (keys, deleted) in [("y\r", 7), ("n\r", 0)] {
        let scene = Scene::new(Script::plain()).without("--yes");
        scene.server.ledger().put_all(ids(7));
        std::fs::write(scene.path("piped.txt"), list(&ids(7))).unwrap();
        let piped = scene.command_in("cat piped.txt | \"$@\"");
        let mut terminal = Terminal::spawn(piped, 100);
        terminal.shows("Type y");
        terminal.press(keys.as_bytes());
        let (code, screen) = terminal.end();
        assert_eq!(code, if deleted == 0 { 2 } else { 0 }, "{screen}");
        assert!(screen.contains("7 files"), "{screen}");
        assert_eq!(scene.server.ledger().deleted_count(), deleted);
    }
}

/// The question for this input, as it stands on a screen of so many columns; the answer is no.
fn question(scene: &Scene, columns: u16, options: &str) -> String {
    let mut terminal = Terminal::run(scene, columns, options, &[]);
    terminal.shows(" to continue:");
    let screen = terminal.contents();
    terminal.press(b"n\r");
    assert_eq!(terminal.end().0, 2);
    assert_eq!(scene.server.ledger().request_count(), 0);
    screen
}

#[test]
fn the_question_tells_what_is_skipped_what_is_odd_and_the_first_and_last_id() {
    let all = ids(6);
    let text = list(&all) + &list(&all[..2]) + "not an id\nodd-one\n";
    let scene = Scene::new(Script::plain())
        .input("ids.txt", text)
        .without("--yes")
        .option("--except kept.txt");
    std::fs::write(scene.path("kept.txt"), list(&all[2..3])).unwrap();
    let screen = question(&scene, 100, "");
    for words in [
        "Permanently delete the 6 files listed in ids.txt",
        "127.0.0.1",
        "private_sa...ly",
        "1 invalid, 2 duplicate, 1 excluded",
        "1 ID does not look like ImageKit's",
        &format!("First ID: {}, last ID: odd-one", all[0]),
    ] {
        assert!(screen.contains(words), "{words:?} is not in\n{screen}");
    }
    // What an earlier run settled is done already.
    let scene = Scene::with_files(Script::plain(), &all[..4]).without("--yes");
    let ran = scene.run_with("--yes");
    ran.exits(0);
    scene.server.ledger().put_all(all.iter().cloned());
    let sent = scene.server.ledger().request_count();
    std::fs::write(scene.path("ids.txt"), list(&all)).unwrap();
    let mut terminal = Terminal::run(&scene, 100, "--resume", &[]);
    terminal.shows("delete the 2 files");
    terminal.shows("Skipped: 4 done already.");
    terminal.press(b"\x04");
    assert_eq!(terminal.end().0, 2);
    assert_eq!(scene.server.ledger().request_count(), sent);
}

#[test]
fn names_from_outside_do_not_rewrite_the_question() {
    for name in [
        "a\u{1b}[2A\u{1b}[2KPermanently delete the 1 file from test.csv",
        "a\rPermanently delete the 1 file?\u{1b}[8m.csv",
        "a\u{202e}vsc.b\u{2066}.csv",
        "a\u{9b}2J\u{7}\nPermanently delete the 1 file.csv",
        "my private_Zq9SecretSecret.csv",
    ] {
        let scene = Scene::new(Script::plain())
            .input(name, list(&ids(5)))
            .without("--yes");
        let mut terminal = Terminal::run(&scene, 100, "", &[]);
        terminal.shows("Type y");
        let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
        let (before, _) = raw.split_once("Type y").unwrap();
        for steering in [
            "\u{1b}",
            "\u{202e}",
            "\u{2066}",
            "\u{9b}",
            "\u{7}",
            "\rPermanently",
            "Zq9Secret",
        ] {
            assert!(!before.contains(steering), "{steering:?} is in {before:?}");
        }
        let lines: Vec<&str> = before.lines().collect();
        let is_first = lines
            .iter()
            .filter(|line| line.starts_with("Permanently "))
            .count();
        assert_eq!(is_first, 1, "{before:?}");
        assert!(
            before.contains("Permanently delete the 5 files listed in "),
            "{before:?}"
        );
        terminal.press(CTRL_C);
        assert_eq!(terminal.end().0, 130);
    }
}

#[test]
fn no_word_of_the_question_is_broken_at_any_width() {
    for columns in [30, 41, 60, 79, 120] {
        let scene = Scene::with_files(Script::plain(), &ids(5)).without("--yes");
        let screen = question(&scene, columns, "--purge-cache");
        for word in [
            "brought",
            "deleted",
            "private_sa...ly)?",
            "ImageKit",
            "purged",
            "ids.txt",
        ] {
            assert!(
                screen.contains(word),
                "{columns}: {word:?} is broken in\n{screen}"
            );
        }
        for line in screen
            .lines()
            .skip_while(|line| !line.starts_with("Permanently"))
        {
            assert!(
                line.chars().count() < usize::from(columns),
                "{columns}: {line}"
            );
        }
    }
}

#[test]
fn a_command_without_anything_says_what_to_give_and_not_that_the_key_is_missing() {
    let mut command = Command::new(fixture::BINARY);
    command.env_clear();
    let mut terminal = Terminal::spawn(command, 100);
    let (code, screen) = terminal.end();
    assert_eq!(code, 2, "{screen}");
    assert!(
        screen.contains("error: no input; name a CSV file"),
        "{screen}"
    );
}

#[test]
fn what_is_typed_before_the_question_is_no_answer() {
    let scene = Scene::new(Script::plain()).without("--yes").option("-");
    scene.server.ledger().put_all(ids(5));
    // The input comes from a pipe that stays open until the answer was typed too early.
    let fifo = scene.path("pipe");
    fixture::make_pipe(&fifo);
    let script = "exec <pipe; \"$@\"";
    let mut command = scene.command_in(script);
    command.stdin(std::process::Stdio::inherit());
    let mut terminal = Terminal::spawn(command, 100);
    let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    writer.write_all(list(&ids(5)).as_bytes()).unwrap();
    terminal.press(b"y\r");
    // Its echo shows that the terminal has it.
    terminal.shows("y");
    drop(writer);
    terminal.shows("Type y");
    terminal.press(b"n\r");
    assert_eq!(terminal.end().0, 2);
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn after_a_stop_and_a_continue_the_question_is_asked_again() {
    let scene = Scene::with_files(Script::plain(), &ids(5)).without("--yes");
    let mut terminal = Terminal::run(&scene, 100, "", &[]);
    terminal.shows("Type y");
    terminal.signal("-STOP");
    terminal.signal("-CONT");
    terminal.listen_until(|this| this.contents().matches("delete the 5 files").count() == 2);
    terminal.press(b"y\r");
    assert_eq!(terminal.end().0, 0);
    assert_eq!(scene.server.ledger().deleted_count(), 5);
}

/// What a line says, without its numbers, names and addresses, part by part.
fn parts(line: &str) -> Vec<String> {
    let line = line.replace(['=', '>'], "");
    let part = |part: &str| {
        let words = part.split_whitespace().map(|word| {
            let is_number = word.contains(|letter: char| letter.is_ascii_digit());
            match word {
                _ if is_number || word.contains("://") => "#",
                _ if word.starts_with("private_") => "KEY",
                _ => word,
            }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let parts = line.split(", ").map(part);
    parts.filter(|part| !part.is_empty()).collect()
}

/// README's first blocks: what a person sees who serves the sandbox in one terminal, as README says, and runs the
/// command in another.
#[test]
fn readme_begins_with_what_a_run_shows() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    for words in [
        "--sandbox-listen 127.0.0.1:8080",
        &format!("IMAGEKIT_PRIVATE_KEY={}", Sandbox::key()),
        "--base-url http://127.0.0.1:8080",
    ] {
        assert!(readme.contains(words), "{words}");
    }
    let mut server = Command::new(fixture::BINARY)
        .args(["--sandbox-listen", "127.0.0.1:0"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(server.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    let url = said
        .split(' ')
        .find(|word| word.starts_with("http://"))
        .unwrap();
    assert!(said.contains(Sandbox::key()), "{said}");

    let folder = tempfile::TempDir::new().unwrap();
    let rows = ids(2000).into_iter().map(|id| format!("{id},a.jpg,1\n"));
    let again = ids(2).into_iter().map(|id| format!("{id},a.jpg,1\n"));
    let list = rows.chain(again).chain(["not an id,b.jpg,1\n".into()]);
    let list = format!("fileId,name,size\n{}", list.collect::<String>());
    std::fs::write(folder.path().join("old-files.csv"), list).unwrap();
    let mut command = Command::new(fixture::BINARY);
    command
        .args(["--base-url", url.trim_end_matches(','), "old-files.csv"])
        .current_dir(folder.path())
        .env_clear()
        .env("IMAGEKIT_PRIVATE_KEY", Sandbox::key());
    let mut terminal = Terminal::spawn(command, 100);
    terminal.shows("Type the number of files to continue:");
    terminal.press(b"2,000\r");
    let mut seen = HashSet::new();
    while terminal.listen() {
        if terminal.is_at_rest() {
            seen.extend((0..ROWS).flat_map(|row| parts(&terminal.row(row))));
        }
    }
    let (code, screen) = terminal.end();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(code, 1, "{screen}");

    let blocks = readme.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines);
    let shown: HashSet<String> = lines
        .filter(|line| !line.starts_with('$'))
        .flat_map(parts)
        .collect();
    seen.extend(screen.lines().flat_map(parts));
    for part in &shown {
        assert!(
            seen.contains(part),
            "README shows {part:?}, not one of {seen:#?}"
        );
    }
    for part in screen.lines().flat_map(parts) {
        assert!(shown.contains(&part), "README lacks {part:?} of\n{screen}");
    }
}
