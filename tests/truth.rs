//! The property that matters, under any mix of faults and at any moment of a stop or a kill: rows are records,
//! and no row claims what the server denies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashSet;
use std::time::Duration;

use fixture::instead::{self, BatchMissing, BatchTrouble};
use fixture::{Scene, id, ids, list, signal};
use imagekit_bulk_delete::sandbox::{Fault, Instead, Script};
use proptest::prelude::*;

/// A server's bad habits.
#[derive(Debug, Clone)]
struct Habits {
    missing: u64,
    faults: Vec<(Fault, f64)>,
    trouble: Option<BatchTrouble>,
    batch_missing: BatchMissing,
    batch_limit: usize,
    poison: bool,
    seed: u64,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::ResetBefore),
        Just(Fault::ResetAfter),
        Just(Fault::HalfBody),
        Just(Fault::Html500),
        Just(Fault::Json500After),
        Just(Fault::Garbage200),
        Just(Fault::Status(408)),
        Just(Fault::Status(425)),
        Just(Fault::TooMany(Some("30"))),
    ]
}

fn habits() -> impl Strategy<Value = Habits> {
    let trouble = prop_oneof![
        Just(None),
        Just(Some(BatchTrouble::Error207)),
        Just(Some(BatchTrouble::ErrorButDeleted)),
        Just(Some(BatchTrouble::Error200)),
        Just(Some(BatchTrouble::Neither)),
        Just(Some(BatchTrouble::Both)),
    ];
    let missing = prop_oneof![
        4 => Just(BatchMissing::List),
        1 => Just(BatchMissing::Bare),
        1 => Just(BatchMissing::Strangers),
        1 => Just(BatchMissing::NoRoute),
    ];
    let faults = prop::collection::vec((fault(), 0.01..0.06_f64), 0..4);
    (
        2..30_u64,
        faults,
        trouble,
        missing,
        5..=100_usize,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(
            |(missing, faults, trouble, batch_missing, batch_limit, poison, seed)| Habits {
                missing,
                faults,
                trouble,
                batch_missing,
                batch_limit,
                poison,
                seed,
            },
        )
}

impl Habits {
    fn instead(&self) -> Instead {
        let usual = [
            instead::poison(self.poison.then(|| id(11))),
            instead::batches_of(self.batch_limit),
            instead::missing(self.batch_missing),
        ];
        let trouble = self.trouble.map(|trouble| instead::trouble(trouble, 7));
        instead::any_of(usual.into_iter().chain(trouble))
    }

    fn script(&self) -> Script {
        Script {
            seed: self.seed,
            random_faults: self.faults.clone(),
            instead: self.instead(),
            ..Script::plain()
        }
    }

    fn scene(&self, count: u64) -> (Scene, Vec<String>) {
        let all = ids(count);
        let scene = Scene::new(self.script())
            .input("ids.txt", list(&all))
            .option("--rate unlimited");
        let there = all
            .iter()
            .enumerate()
            .filter(|(n, _)| !(*n as u64).is_multiple_of(self.missing));
        scene
            .server
            .ledger()
            .put_all(there.map(|(_, id)| id.clone()));
        (scene, all)
    }
}

/// 24 in the gate, which are 48 kills; more by a command of its own (`CASES=500 cargo test --test truth`).
fn cases() -> u32 {
    std::env::var("CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_records_and_true(habits in habits(), batch_size in prop_oneof![Just(1_usize), 2..=100_usize]) {
        let (scene, all) = habits.scene(150);
        let ran = scene.run_with(&format!("--max-attempts 4 --batch-size {batch_size}"));
        prop_assert!(matches!(ran.code, 0 | 1), "{}: {}", ran.code, ran.stderr);
        scene.true_report_of(&all);
        // The bound that `Deleter::settle` states; 429s are not counted there.
        let ledger = scene.server.ledger();
        prop_assert!(ledger.request_count() - ledger.answered_with(429) <= 3 * 150 * 4);
    }

    #[test]
    fn a_stop_or_a_kill_and_a_resume_lose_nothing_and_claim_nothing(
        habits in habits(),
        sizes in prop::collection::vec(prop_oneof![Just(1_usize), 2..=100_usize], 3),
        ends in prop::collection::vec((0..60_u64, prop_oneof![Just("KILL"), Just("INT")]), 2),
    ) {
        let (scene, all) = habits.scene(200);
        for (size, (end_after, name)) in sizes.iter().zip(&ends) {
            let options = format!("--resume --max-attempts 3 --batch-size {size}");
            let mut child = Scene::start(scene.command().args(options.split(' ')));
            let before = scene.server.ledger().request_count();
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while scene.server.ledger().request_count() < before + end_after
                && child.try_wait().unwrap().is_none()
                && std::time::Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_micros(200));
            }
            if child.try_wait().unwrap().is_none() {
                signal(&child, name);
            }
            let status = child.wait().unwrap();
            // Only after a kill may rows be left that later ones replace.
            if status.code().is_some() && scene.report_path().exists() {
                let report = scene.report();
                scene.check_truth(&report);
                let named: HashSet<_> = report.rows.iter().map(|row| &row.file_id).collect();
                prop_assert_eq!(named.len(), report.rows.len(), "not made whole");
            }
        }
        let ran = scene.run_with(&format!("--resume --max-attempts 6 --batch-size {}", sizes[2]));
        prop_assert!(matches!(ran.code, 0 | 1), "{}: {}", ran.code, ran.stderr);
        scene.true_report_of(&all);
    }
}
