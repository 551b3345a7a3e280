//! A report or a state that is not as it was left: refused and untouched, or gone on with to a report that is true.
//!
//! The property damages a genuine job at random and resumes it, in process, against a server that is a set. Some 150
//! cases run in the gate, more by a command: `CASES=2000 cargo test --test damage`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use fixture::library::{self, admit, target};
use fixture::{Report, id, ids};
use imagekit_bulk_delete::journal::Intent;
use imagekit_bulk_delete::outcome::{Outcome, Status};
use imagekit_bulk_delete::report::{Admission, OpenError, Opened};
use imagekit_bulk_delete::stop::Reason;
use imagekit_bulk_delete::target::{Doubt, FileId, Rejected, Target};
use proptest::prelude::*;
use tempfile::TempDir;

/// IDs of the job; every fifth is missing on the server, every seventh fails once.
const IDS: u64 = 30;

/// How a genuine job was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Killed with requests in flight.
    Killed,
    /// Killed, gone on with, and killed again.
    KilledTwice,
    /// Stopped in order.
    Stopped,
    /// Completed, with rows that failed.
    Failed,
    /// Completed and settled.
    Settled,
}

/// What is done to it; places are fractions of what is there.
#[derive(Debug, Clone)]
enum Damage {
    Cut(f64),
    CutBehindRow(f64),
    Append(&'static str),
    InsertAt(f64, &'static str),
    InsertAtRow(f64, &'static str),
    Nuls(f64, usize),
    Flip(f64, u8),
    Swap(f64, f64),
    Double(f64),
    DropRow(f64),
    Remove,
    Unmark,
    CutState(f64),
    EmptyState,
    NulsInState(f64, usize),
    FlipInState(f64, u8),
    RemoveState,
    OlderState,
    OtherBoot,
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0.0..1.0_f64;
    let strange = prop_oneof![
        Just("\""),
        Just("\u{feff}"),
        Just("\n"),
        Just("\r\n\r\n"),
        Just("\0"),
        Just(","),
        Just("x"),
        Just("\"\"")
    ];
    let tail = prop_oneof![
        Just("\n"),
        Just("\n\n\n"),
        Just("\r\n\r\n"),
        Just("\u{feff}"),
        Just("\u{feff}\n"),
        Just("\0\0\0\0"),
        Just("\""),
        Just("\"a b\",inva"),
        Just("notes\n")
    ];
    let report = prop_oneof![
        at().prop_map(Damage::Cut),
        at().prop_map(Damage::CutBehindRow),
        tail.prop_map(Damage::Append),
        (at(), strange.clone()).prop_map(|(at, text)| Damage::InsertAt(at, text)),
        (at(), strange).prop_map(|(at, text)| Damage::InsertAtRow(at, text)),
        (at(), 1..300_usize).prop_map(|(at, len)| Damage::Nuls(at, len)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), at()).prop_map(|(one, other)| Damage::Swap(one, other)),
        at().prop_map(Damage::Double),
        at().prop_map(Damage::DropRow),
        Just(Damage::Remove),
        Just(Damage::Unmark),
    ];
    let state = prop_oneof![
        at().prop_map(Damage::CutState),
        Just(Damage::EmptyState),
        (at(), 1..2000_usize).prop_map(|(at, len)| Damage::NulsInState(at, len)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::FlipInState(at, bit)),
        Just(Damage::RemoveState),
        Just(Damage::OlderState),
        Just(Damage::OtherBoot),
    ];
    prop_oneof![3 => report, 2 => state]
}

/// A folder with a report, and the server of its job.
struct Scene {
    folder: TempDir,
    there: HashSet<String>,
    deleted: HashSet<String>,
    failed: HashSet<String>,
    /// The state at an earlier moment.
    older: Option<Vec<u8>>,
}

fn all() -> Vec<String> {
    ids(IDS)
}

impl Scene {
    fn left(left: Left) -> Self {
        let there = (0..IDS).filter(|n| n % 5 != 4).map(id).collect();
        let mut scene = Self {
            folder: TempDir::new().unwrap(),
            there,
            deleted: HashSet::new(),
            failed: HashSet::new(),
            older: None,
        };
        match left {
            Left::Killed => drop(scene.run(20, Some(4))),
            Left::KilledTwice => {
                drop(scene.run(12, Some(2)));
                drop(scene.run(24, Some(3)));
            }
            Left::Stopped => scene.end(20, Some(&Reason::Signal(15))),
            Left::Failed => scene.end(IDS, None),
            Left::Settled => {
                scene.end(IDS, None);
                scene.end(IDS, None);
            }
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> Result<Opened, OpenError> {
        library::open(self.folder.path())
    }

    /// A run over the first IDs, two a request; the last `lost` requests are never answered.
    fn run(&mut self, count: u64, lost: Option<usize>) -> Opened {
        let mut opened = self.open().unwrap();
        let journal = opened.report.journal().unwrap();
        let mut in_flight: Vec<Intent> = Vec::new();
        let first: Vec<String> = (0..count).map(id).collect();
        let groups: Vec<&[String]> = first.chunks(2).collect();
        let answered = groups.len() - lost.unwrap_or(0);
        for (number, pair) in groups.into_iter().enumerate() {
            let admitted = pair
                .iter()
                .map(|id| admit(&mut opened.index, target(id, 1)));
            let sent: Vec<Target> = admitted
                .filter_map(|admission| match admission {
                    Admission::Send(target) => Some(target),
                    Admission::Decided(_) | Admission::Settled => None,
                })
                .collect();
            if sent.is_empty() {
                continue;
            }
            let intent = journal.intend(&sent.iter().collect::<Vec<_>>()).unwrap();
            if number == answered / 2 {
                self.older = fs::read(self.path("r.csv.state")).ok();
            }
            let rows: Vec<Outcome> = sent.iter().map(|target| self.ask(target)).collect();
            if number < answered {
                opened.report.append(&rows, &mut opened.index).unwrap();
            } else {
                in_flight.push(intent);
            }
        }
        opened
    }

    /// A run that reads to the end and ends in order; one record of its list is no ID.
    fn end(&mut self, count: u64, reason: Option<&Reason>) {
        let mut opened = self.run(count, None);
        let empty = Rejected {
            file_id: "a b".into(),
            origin: target("x", 99).origin,
            reason: FileId::parse("a b").unwrap_err().into(),
        };
        if let Admission::Decided(row) = opened.index.admit_rejected(empty) {
            opened.report.append(&[*row], &mut opened.index).unwrap();
        }
        let (_, closed) = opened.report.finish(&mut opened.index, reason, count + 1);
        closed.unwrap();
    }

    fn ask(&mut self, target: &Target) -> Outcome {
        let file_id = target.file_id.as_str().to_owned();
        let number = all().iter().position(|known| *known == file_id).unwrap();
        let status = if number % 7 == 3 && self.failed.insert(file_id.clone()) {
            Status::Failed
        } else if self.there.remove(&file_id) {
            self.deleted.insert(file_id.clone());
            Status::Deleted
        } else if target.doubt == Doubt::None {
            Status::NotFound
        } else {
            Status::Gone
        };
        library::outcome(target, status)
    }

    fn damage(&self, damage: &Damage) {
        let (report, state) = (self.path("r.csv"), self.path("r.csv.state"));
        let read = |path: &Path| fs::read(path).unwrap_or_default();
        match damage {
            Damage::Remove => drop(fs::remove_file(report)),
            Damage::Unmark => {
                let bytes = read(&report);
                let _ = fs::remove_file(&report);
                fs::write(report, bytes).unwrap();
            }
            Damage::RemoveState => drop(fs::remove_file(state)),
            Damage::EmptyState
            | Damage::CutState(_)
            | Damage::NulsInState(..)
            | Damage::FlipInState(..)
            | Damage::OlderState
            | Damage::OtherBoot
                if !state.exists() => {}
            Damage::EmptyState => fs::write(state, "").unwrap(),
            Damage::CutState(at) => {
                let bytes = read(&state);
                fs::write(state, &bytes[..place(*at, bytes.len())]).unwrap();
            }
            Damage::NulsInState(at, len) => {
                fs::write(&state, nuls(read(&state), *at, *len)).unwrap();
            }
            Damage::FlipInState(at, bit) => {
                fs::write(&state, flip(read(&state), *at, *bit)).unwrap();
            }
            Damage::OlderState => {
                if let Some(older) = &self.older {
                    fs::write(state, older).unwrap();
                }
            }
            Damage::OtherBoot => fs::write(&state, with_other_boot(&read(&state))).unwrap(),
            report_damage => {
                // In place, as the end mark stays with the file then.
                let bytes = damaged(read(&report), report_damage);
                fs::write(report, bytes).unwrap();
            }
        }
    }

    fn files(&self) -> [Option<Vec<u8>>; 2] {
        ["r.csv", "r.csv.state"].map(|name| fs::read(self.path(name)).ok())
    }

    /// Goes on over the whole list, again and again, until all is settled, and holds the rows against the server.
    fn resume(&mut self) -> Resumed {
        let before = self.files();
        if before.iter().flatten().all(Vec::is_empty) && !self.path("r.csv.state").exists() {
            // Nothing at all is left of the job: it is a new one.
            return Resumed::Refused;
        }
        if let Err(error) = self.open() {
            assert_eq!(self.files(), before, "untouched: {error}");
            return Resumed::Refused;
        }
        for _ in 0..3 {
            self.end(IDS, None);
        }
        let report = Report::read(&self.path("r.csv"));
        let known: HashSet<String> = all().into_iter().collect();
        let mut told = HashSet::new();
        for row in report
            .rows
            .iter()
            .filter(|row| known.contains(&row.file_id))
        {
            assert!(told.insert(&row.file_id), "two rows: {row:?}");
            let (is_there, was_deleted) = (
                self.there.contains(&row.file_id),
                self.deleted.contains(&row.file_id),
            );
            match row.status.as_str() {
                "deleted" => assert!(was_deleted, "{row:?}"),
                "not_found" => assert!(!was_deleted && !is_there, "{row:?}"),
                "gone" => assert!(!is_there, "{row:?}"),
                status => panic!("{status} after a third run: {row:?}"),
            }
        }
        assert_eq!(told.len(), known.len(), "each record has a row");
        let strangers = report.rows.len() - told.len();
        let invalid = report
            .rows
            .iter()
            .filter(|row| row.status == "invalid")
            .count();
        Resumed::Whole {
            phantoms: strangers - invalid,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Resumed {
    Refused,
    /// With that many rows of IDs that were never in the list.
    Whole {
        phantoms: usize,
    },
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a small length"
)]
fn place(at: f64, len: usize) -> usize {
    (at * len as f64) as usize
}

fn nuls(mut bytes: Vec<u8>, at: f64, len: usize) -> Vec<u8> {
    let begin = place(at, bytes.len());
    let end = bytes.len().min(begin + len);
    bytes[begin..end].fill(0);
    bytes
}

fn flip(mut bytes: Vec<u8>, at: f64, bit: u8) -> Vec<u8> {
    let at = place(at, bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
    bytes
}

fn damaged(bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    // Line 0 is the header.
    let row = |at: f64| 1 + place(at, lines.len().saturating_sub(1));
    let mut changed = lines.clone();
    match damage {
        Damage::Cut(at) => return bytes[..place(*at, bytes.len() + 1)].to_vec(),
        Damage::CutBehindRow(at) => changed.truncate(row(*at)),
        Damage::Append(text) => changed.push(text.as_bytes().to_vec()),
        Damage::InsertAt(at, text) => {
            let at = place(*at, bytes.len());
            return [&bytes[..at], text.as_bytes(), &bytes[at..]].concat();
        }
        Damage::InsertAtRow(at, text) => {
            let at = row(*at).min(changed.len());
            changed.insert(at, text.as_bytes().to_vec());
        }
        Damage::Nuls(at, len) => return nuls(bytes, *at, *len),
        Damage::Flip(at, bit) => return flip(bytes, *at, *bit),
        Damage::Swap(one, other) if lines.len() > 2 => changed.swap(row(*one), row(*other)),
        Damage::Double(at) if lines.len() > 2 => changed.insert(row(*at), lines[row(*at)].clone()),
        Damage::DropRow(at) if lines.len() > 2 => drop(changed.remove(row(*at))),
        _ => {}
    }
    changed.concat()
}

/// The state as another boot of the machine left it.
fn with_other_boot(state: &[u8]) -> Vec<u8> {
    let Some(end) = state.iter().position(|byte| *byte == b'\n') else {
        return state.to_vec();
    };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let json = String::from_utf8_lossy(&state[..end]).into_owned();
    let json = json.replace(boot.trim(), "another-boot");
    let mut changed = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes())).into_bytes();
    changed.resize(4096, b' ');
    changed.extend_from_slice(state.get(4096..).unwrap_or_default());
    changed
}

/// 150 in the gate, more by a command of its own.
fn cases() -> u32 {
    let asked = std::env::var("CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_job_is_refused_untouched_or_ends_true(
        left in prop_oneof![
            Just(Left::Killed), Just(Left::KilledTwice), Just(Left::Stopped), Just(Left::Failed), Just(Left::Settled)
        ],
        damages in prop::collection::vec(damage(), 1..=2),
    ) {
        // A report and a state that were both put back to one earlier moment are that moment: nobody can see that.
        let is_older = |damage: &Damage| matches!(damage, Damage::OlderState);
        prop_assume!(damages.len() == 1 || !damages.iter().any(is_older));
        let mut scene = Scene::left(left);
        for damage in &damages {
            scene.damage(damage);
        }
        let resumed = scene.resume();
        // A bit that flips where nothing else tells how it was makes a row of another ID: nobody can see that.
        let may_be_another_id = damages.iter().any(|damage| matches!(damage, Damage::Flip(..) | Damage::InsertAt(..) | Damage::InsertAtRow(_, "x")));
        if let Resumed::Whole { phantoms } = resumed {
            prop_assert!(phantoms == 0 || may_be_another_id, "{phantoms} rows of IDs that were never listed");
        }
    }
}

#[test]
fn without_damage_every_job_goes_on_without_doubt() {
    for left in [
        Left::Killed,
        Left::KilledTwice,
        Left::Stopped,
        Left::Failed,
        Left::Settled,
    ] {
        let mut scene = Scene::left(left);
        let opened = scene.open().unwrap();
        assert!(opened.notices.is_empty(), "{left:?}: {:?}", opened.notices);
        drop(opened.report.discard(&opened.index));
        assert_eq!(scene.resume(), Resumed::Whole { phantoms: 0 });
        assert!(
            !scene.path("r.csv.state").exists(),
            "{left:?}: nothing is left to do"
        );
    }
}
