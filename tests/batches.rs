//! Batches, by count: how many requests a mix of answers costs, and that each ID still has its own true row.

mod fixture;

use fixture::instead::{self, BatchMissing, BatchTrouble};
use fixture::{Report, Scene, id, ids, list};
use imagekit_bulk_delete::sandbox::{Fault, Script};

/// Runs 5000 IDs of which every `missing_one_in`th is not there, and gives the report and the requests.
fn run(script: Script, missing_one_in: u64) -> (Report, u64) {
    let all = ids(5000);
    let scene = Scene::new(script)
        .input("ids.txt", list(&all))
        .option("--rate unlimited");
    // Spread by a stride that shares no factor with the batch, so that the missing fall anywhere.
    let is_there = |n: u64| missing_one_in == 0 || !(n * 37).is_multiple_of(missing_one_in);
    scene
        .server
        .ledger()
        .put_all((0..5000).filter(|n| is_there(*n)).map(id));
    scene.run().exits(0);
    let report = scene.true_report_of(&all);
    (report, scene.server.ledger().request_count())
}

#[test]
fn five_thousand_ids_are_fifty_requests() {
    let (report, requests) = run(Script::plain(), 0);
    assert_eq!((report.count("deleted"), requests), (5000, 50));
}

#[test]
fn missing_ids_cost_one_more_request_a_batch_at_the_most() {
    let (report, requests) = run(Script::plain(), 50);
    assert_eq!(report.count("not_found"), 100);
    assert!(requests <= 105, "{requests}");
    let (report, requests) = run(Script::plain(), 3);
    assert_eq!(report.count("not_found"), 1667);
    assert!(requests <= 160, "{requests}");
}

#[test]
fn a_server_that_takes_fifty_is_learnt_once() {
    let (report, requests) = run(
        Script {
            instead: instead::batches_of(50),
            ..Script::plain()
        },
        0,
    );
    assert_eq!(report.count("deleted"), 5000);
    assert!(requests <= 140, "{requests}");
}

#[test]
fn what_a_batch_does_not_say_clearly_is_asked_by_the_single_call() {
    let troubles = [
        BatchTrouble::Error207,
        BatchTrouble::ErrorButDeleted,
        BatchTrouble::Error200,
        BatchTrouble::Neither,
        BatchTrouble::Both,
    ];
    for trouble in troubles {
        let (report, requests) = run(
            Script {
                instead: instead::trouble(trouble, 50),
                ..Script::plain()
            },
            0,
        );
        let asked = report.rows.iter().filter(|row| row.attempts == 2).count();
        assert_eq!(requests, 50 + asked as u64, "{trouble:?}");
        assert!((50..200).contains(&asked), "{asked} in trouble");
        let gone = if trouble == BatchTrouble::ErrorButDeleted {
            asked
        } else {
            0
        };
        assert_eq!(
            (report.count("gone"), report.count("deleted")),
            (gone, 5000 - gone),
            "{trouble:?}"
        );
    }
}

#[test]
fn a_404_that_names_nobody_or_strangers_is_settled_one_by_one() {
    for how in [BatchMissing::Bare, BatchMissing::Strangers] {
        let (report, _) = run(
            Script {
                instead: instead::missing(how),
                ..Script::plain()
            },
            500,
        );
        assert_eq!(report.count("deleted"), 4990, "{how:?}");
        assert_eq!(
            report.count("gone") + report.count("not_found"),
            10,
            "{how:?}"
        );
    }
}

#[test]
fn a_host_without_the_route_is_asked_one_by_one() {
    let (report, requests) = run(
        Script {
            instead: instead::missing(BatchMissing::NoRoute),
            ..Script::plain()
        },
        0,
    );
    assert_eq!(report.count("deleted"), 5000);
    assert_eq!(requests, 5001, "one batch was tried");
}

#[test]
fn a_lossy_line_does_not_turn_batches_into_singles() {
    let script = Script {
        random_faults: vec![
            (Fault::ResetAfter, 0.10),
            (Fault::HalfBody, 0.05),
            (Fault::Json500After, 0.05),
        ],
        ..Script::plain()
    };
    let (report, requests) = run(script, 50);
    assert!(requests < 250, "{requests}");
    assert_eq!(
        report.count("not_found") + report.count("gone") + report.count("deleted"),
        5000
    );
}

#[test]
fn several_malformed_ids_are_isolated_from_their_neighbours() {
    let all = ids(100);
    let bad = [3, 40, 41, 99];
    let script = Script {
        instead: instead::malformed(bad.iter().map(|n| all[*n].clone())),
        ..Script::plain()
    };
    let scene = Scene::with_files(script, &all).option("--rate unlimited");
    scene.run().exits(1);
    let report = scene.report();
    assert_eq!((report.count("failed"), report.count("deleted")), (4, 96));
    scene.check_truth(&report);
    assert!(scene.server.ledger().request_count() <= 60);
}
