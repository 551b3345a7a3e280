//! The real wire: TLS by a private certificate authority, through proxies or without, and connections that are closed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
#[path = "fixture/tls.rs"]
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use fixture::{Ran, Report, Scene, ids, signal, wait_until};
use imagekit_bulk_delete::sandbox::Script;
use tls::{Authority, HOST, Line, Proxy, Tunnel, Validity};

/// A scene that trusts `authority`, whose file is named by `SSL_CERT_FILE`.
fn trusting(scene: Scene, authority: &Authority) -> Scene {
    let path = scene.path("ca.pem");
    fs::write(&path, authority.pem()).unwrap();
    scene.variable("SSL_CERT_FILE", path.to_str().unwrap())
}

fn direct(scene: Scene, address: SocketAddr) -> Scene {
    scene.at(&format!("https://localhost:{}", address.port()))
}

/// A scene of `count` files behind a proxy, which answers like `tunnel` at first.
fn by_proxy(script: Script, count: u64, tunnel: Tunnel) -> (Scene, Proxy) {
    let authority = Authority::new("ours");
    let scene = trusting(Scene::with_files(script, &ids(count)), &authority);
    let host = authority.serves(&scene.server, HOST, Validity::Now);
    let proxy = Proxy::to(host, tunnel);
    let scene = scene
        .variable("HTTPS_PROXY", &proxy.url())
        .at(&format!("https://{HOST}"));
    (scene, proxy)
}

fn slow() -> Script {
    let latency = Duration::from_millis(10);
    Script {
        latency: latency..latency,
        ..Script::plain()
    }
}

#[track_caller]
fn all_are_deleted(scene: &Scene, count: u64) {
    let report = scene.report();
    report.has_a_row_for_each_of(&ids(count));
    scene.check_truth(&report);
    assert_eq!(
        report.count("deleted") as u64,
        count,
        "{:?}",
        report.counts()
    );
}

#[track_caller]
fn leaves_nothing(scene: &Scene) {
    assert!(!scene.report_path().exists());
    assert!(!scene.path("ids.report.csv.state").exists());
    assert_eq!(scene.server.ledger().request_count(), 0);
}

#[test]
fn over_tls_files_are_deleted_singly_and_in_batches() {
    for options in [
        "--batch-size 1",
        "--batch-size 100",
        "--concurrency 64 --batch-size 3",
    ] {
        let authority = Authority::new("ours");
        let scene = trusting(Scene::with_files(Script::plain(), &ids(300)), &authority);
        let host = authority.serves(&scene.server, "localhost", Validity::Now);
        let scene = direct(scene, host).option("--rate unlimited");
        scene.run_with(options).exits(0);
        all_are_deleted(&scene, 300);
    }
}

#[test]
fn over_tls_a_run_that_was_interrupted_or_killed_is_resumed() {
    for (name, code, batch_size) in [
        ("INT", 130, 1),
        ("KILL", -1, 1),
        ("INT", 130, 5),
        ("KILL", -1, 5),
    ] {
        let authority = Authority::new("ours");
        let scene = trusting(Scene::with_files(slow(), &ids(300)), &authority);
        let host = authority.serves(&scene.server, "localhost", Validity::Now);
        let scene = direct(scene, host).option("--rate unlimited --concurrency 4 --resume");
        let scene = scene.option(&format!("--batch-size {batch_size}"));
        let child = Scene::start(&mut scene.command());
        scene.wait_for_requests(40 / batch_size);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code().unwrap_or(-1), code);
        scene.run().exits(0);
        let report = scene.true_report_of(&ids(300));
        assert_eq!(report.count("deleted") + report.count("gone"), 300);
        // What was in flight may be asked for again, an ID at a time.
        assert!(
            scene.server.ledger().request_count() < 340 / batch_size + 4 * batch_size,
            "what is settled is not sent again"
        );
    }
}

#[test]
fn a_certificate_that_does_not_hold_ends_the_run_before_it_begins_and_the_words_say_what_to_do() {
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    for (authority, name, validity, word) in [
        (&known, "localhost", Validity::Past, "has expired"),
        (&known, "localhost", Validity::Future, "not valid yet"),
        (
            &known,
            "api.example.com",
            Validity::Now,
            "not valid for name",
        ),
        (&unknown, "localhost", Validity::Now, "does not trust"),
    ] {
        let scene = trusting(Scene::with_files(Script::plain(), &ids(50)), &known);
        let host = authority.serves(&scene.server, name, validity);
        let scene = direct(scene, host);
        let ran = scene.run();
        ran.exits(2).says("certificate").says("SSL_CERT_FILE");
        assert!(
            ran.stderr.contains(word),
            "{word:?} is not in {}",
            ran.stderr
        );
        leaves_nothing(&scene);
    }
}

#[test]
fn without_ssl_cert_file_a_private_authority_is_not_trusted_and_with_an_empty_one_nobody_is() {
    let authority = Authority::new("ours");
    let scene = Scene::with_files(Script::plain(), &ids(50));
    let host = authority.serves(&scene.server, "localhost", Validity::Now);
    let scene = direct(scene, host);
    scene.run().exits(2).says("SSL_CERT_FILE");
    leaves_nothing(&scene);
    for text in ["", "no certificate at all\n"] {
        fs::write(scene.path("empty.pem"), text).unwrap();
        let path = scene.path("empty.pem");
        let mut command = scene.command();
        command.env("SSL_CERT_FILE", path);
        let ran = Ran::new(command.output().unwrap(), scene.folder.path());
        ran.exits(2).says("SSL_CERT_FILE");
        leaves_nothing(&scene);
    }
}

#[test]
fn a_host_that_speaks_no_tls_cannot_be_reached() {
    let scene = Scene::with_files(Script::plain(), &ids(50));
    let address = scene
        .server
        .base_url()
        .replace("http://127.0.0.1", "https://localhost");
    let scene = scene.at(&address);
    scene.run().exits(2).says("cannot be reached");
    assert!(!scene.report_path().exists());
}

#[test]
fn through_a_proxy_all_files_are_deleted_and_it_sees_no_key() {
    for options in ["--batch-size 1", "--batch-size 100"] {
        let (scene, proxy) = by_proxy(Script::plain(), 300, Tunnel::Open);
        scene.option("--rate unlimited").run_with(options).exits(0);
        // Tunnels are used again and again.
        assert!(proxy.connects() < 100, "{}", proxy.connects());
        for head in proxy.heads() {
            assert!(head.starts_with("CONNECT imagekit.test:443 "), "{head}");
            assert!(!head.to_lowercase().contains("\r\nauthorization"), "{head}");
        }
    }
}

#[test]
fn a_proxy_is_given_the_password_that_its_address_holds() {
    let (scene, proxy) = by_proxy(Script::plain(), 30, Tunnel::Open);
    let url = proxy.url().replace("http://", "http://me:secret@");
    scene.variable("HTTPS_PROXY", &url).run().exits(0);
    // "me:secret" in Base64.
    assert!(
        proxy.heads()[0].contains("Basic bWU6c2VjcmV0"),
        "{:?}",
        proxy.heads()
    );
}

#[test]
fn a_proxy_that_wants_a_password_stops_the_run_at_the_start() {
    for options in ["--batch-size 1", "--batch-size 100"] {
        let (scene, proxy) = by_proxy(Script::plain(), 50, Tunnel::Refused(407));
        scene.run_with(options).exits(3).says("407").says("proxy");
        assert_eq!(
            (proxy.connects(), scene.server.ledger().request_count()),
            (1, 0)
        );
        proxy.becomes(Tunnel::Open);
        scene.run_with("--resume").exits(0);
        all_are_deleted(&scene, 50);
    }
}

#[test]
fn a_proxy_that_wants_a_password_stops_the_run_in_its_midst() {
    let (scene, proxy) = by_proxy(slow(), 400, Tunnel::Open);
    let scene = scene.option("--rate unlimited --batch-size 1 --resume");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(60);
    proxy.becomes(Tunnel::Refused(407));
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(3).says("407").says("--resume");
    scene.check_truth(&scene.report());
    proxy.becomes(Tunnel::Open);
    scene.run().exits(0);
    let report = scene.true_report_of(&ids(400));
    assert_eq!(report.count("deleted") + report.count("gone"), 400);
}

#[test]
fn a_proxy_that_makes_no_connection_is_tried_three_times_and_leaves_nothing() {
    let times = "--connect-timeout 1s";
    for tunnel in [
        Tunnel::Refused(502),
        Tunnel::Refused(403),
        Tunnel::Silent,
        Tunnel::Closed,
    ] {
        let (scene, proxy) = by_proxy(Script::plain(), 50, tunnel);
        scene
            .run_with(times)
            .exits(2)
            .says("cannot be reached")
            .says("proxy");
        assert_eq!(proxy.connects(), 3, "{tunnel:?}");
        leaves_nothing(&scene);
    }
}

#[test]
fn a_proxy_that_fails_for_a_while_in_the_midst_costs_no_id_its_settlement() {
    thread::scope(|scope| {
        for tunnel in [Tunnel::Refused(502), Tunnel::Closed, Tunnel::Silent] {
            scope.spawn(move || fails_for_a_while(tunnel));
        }
    });
}

fn fails_for_a_while(tunnel: Tunnel) {
    let (scene, proxy) = by_proxy(slow(), 400, Tunnel::Open);
    let scene = scene.option("--rate unlimited --batch-size 1 --connect-timeout 1s");
    let child = Scene::start(&mut scene.command());
    scene.wait_for_requests(60);
    let before = proxy.connects();
    proxy.becomes(tunnel);
    // Enough of them for probes of an outage to be among them.
    wait_until(|| proxy.connects() >= before + 4);
    proxy.becomes(Tunnel::Open);
    Ran::new(child.wait_with_output().unwrap(), scene.folder.path()).exits(0);
    let report = scene.true_report_of(&ids(400));
    // What was under way when the tunnels were cut may have been deleted: sixteen, and some that came after the first.
    let (deleted, gone) = (report.count("deleted"), report.count("gone"));
    assert!(gone <= 32 && deleted + gone == 400, "{:?}", report.counts());
}

#[test]
fn a_proxy_that_dies_in_the_midst_stops_the_run_after_max_outage_and_another_goes_on() {
    let (scene, proxy) = by_proxy(slow(), 400, Tunnel::Open);
    let scene = scene.option("--rate unlimited --batch-size 1 --resume");
    let mut command = scene.command();
    let child = Scene::start(command.args(["--max-outage", "2s"]));
    scene.wait_for_requests(60);
    proxy.becomes(Tunnel::Closed);
    let ran = Ran::new(child.wait_with_output().unwrap(), scene.folder.path());
    ran.exits(4).says("--max-outage").says("--resume");
    scene.check_truth(&scene.report());
    proxy.becomes(Tunnel::Open);
    scene.run().exits(0);
    scene.true_report_of(&ids(400));
}

#[test]
fn what_no_proxy_names_and_loopback_go_past_the_proxy() {
    let (scene, proxy) = by_proxy(Script::plain(), 50, Tunnel::Open);
    let scene = scene.variable("NO_PROXY", HOST);
    // Nobody knows that name but the proxy.
    scene.run().exits(2).says("cannot be reached");
    assert_eq!(proxy.connects(), 0);
    let authority = Authority::new("ours");
    let host = authority.serves(&scene.server, "localhost", Validity::Now);
    let scene = direct(trusting(scene, &authority), host).variable("NO_PROXY", "");
    scene.run().exits(0);
    assert_eq!(proxy.connects(), 0);
    all_are_deleted(&scene, 50);
}

/// 300 files, every fourth connection to which is like this.
fn over(line: Line, options: &str) -> Report {
    let authority = Authority::new("ours");
    let scene = trusting(Scene::with_files(Script::plain(), &ids(300)), &authority);
    let host = authority.serves_by(&scene.server, "localhost", Validity::Now, line);
    let scene = direct(scene, host).option("--rate unlimited");
    scene.run_with(options).exits(0);
    scene.true_report_of(&ids(300))
}

#[test]
fn a_connection_that_is_closed_as_a_request_leaves_fails_no_id() {
    for options in ["--batch-size 1", "--batch-size 4"] {
        // Nobody read the request that was lost, so the next attempt deletes.
        let report = over(Line::ClosesOnTheSecond, options);
        assert_eq!(report.count("deleted"), 300, "{:?}", report.counts());
        assert!(report.rows.iter().any(|row| row.attempts > 1));
        let report = over(Line::ClosesAfterTheFirst, options);
        assert_eq!(report.count("deleted"), 300, "{:?}", report.counts());
    }
}

#[test]
fn a_connection_that_is_closed_before_the_answer_leaves_files_that_are_gone() {
    for options in ["--batch-size 1", "--batch-size 4"] {
        let report = over(Line::LosesTheSecondAnswer, options);
        let gone = report.count("gone");
        assert!(
            gone > 0 && report.count("deleted") + gone == 300,
            "{:?}",
            report.counts()
        );
    }
}
