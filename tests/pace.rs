//! The pace of `--rate auto` against limits of every kind, stated or not: in virtual time, so that minutes cost nothing
//! and figures are exact. The server's side is the sandbox's own windows; round trips take 40 to 60 ms.

#[path = "bench/model.rs"]
mod model;

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use imagekit_bulk_delete::sandbox::Window;
use imagekit_bulk_delete::throttle::{
    Endpoint, GotResponse, Rate, RateLimitHeaders, SeenLimit, Throttle,
};
use model::{Client, Headers, Server};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const SECOND: Duration = Duration::from_secs(1);

const CLIENT: Client = Client {
    concurrency: 16,
    round_trip: Duration::from_millis(50),
};

/// The same round trips in each run, so that the figures are the same.
fn auto() -> Throttle {
    fastrand::seed(5);
    CLIENT.auto()
}

async fn send(requests: u64, throttle: &Throttle, server: &Server) -> f64 {
    CLIENT.send(requests, throttle, server).await
}

/// A limit as accounts have them, so many requests, and the least time in which it lets them through.
struct Case {
    name: &'static str,
    windows: Vec<Window>,
    requests: u64,
    ideal: f64,
}

/// Runs of `seconds` at the limit, a multiple of ten.
fn cases(seconds: u32) -> Vec<Case> {
    let ideal = f64::from(seconds);
    let of = |per_second: u64| per_second * u64::from(seconds);
    let case = |name, windows, requests, ideal| Case {
        name,
        windows,
        requests,
        ideal,
    };
    let ten = 10 * SECOND;
    vec![
        case(
            "a bucket of 5/s, burst 20",
            vec![Window::bucket(5, 20)],
            20 + of(5),
            ideal,
        ),
        case(
            "a bucket of 100/s, burst 100",
            vec![Window::bucket(100, 100)],
            100 + of(100),
            ideal,
        ),
        case(
            "20 in each second",
            vec![Window::fixed(20, SECOND)],
            of(20),
            ideal - 1.0,
        ),
        case(
            "20 in any second",
            vec![Window::sliding(20, SECOND)],
            of(20),
            ideal - 1.0,
        ),
        case(
            "100 in any second",
            vec![Window::sliding(100, SECOND)],
            of(100),
            ideal - 1.0,
        ),
        case(
            "50 in each second and 250 in each 10 s",
            vec![Window::fixed(50, SECOND), Window::fixed(250, ten)],
            of(25),
            ideal - 6.0,
        ),
        case(
            "50 in any second and 250 in any 10 s",
            vec![Window::sliding(50, SECOND), Window::sliding(250, ten)],
            of(25),
            ideal - 6.0,
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_stated_are_used_to_the_full_at_the_price_of_few_refusals() {
    for headers in [Headers::Always, Headers::On429] {
        for case in cases(40) {
            let server = Server::new(&case.windows, headers);
            let took = send(case.requests, &auto(), &server).await;
            let (refused, requests) = (server.refused(), server.requests());
            let figures = format!("{}, {headers:?}: {took:.1} s, {refused} refused", case.name);
            assert!(took <= 1.03 * case.ideal + 1.4, "{figures}");
            assert!(
                share(refused, requests) <= 0.005 + 20.0 * share(1, requests),
                "{figures}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_headers_the_limit_is_found_and_held() {
    for case in cases(80) {
        let server = Server::new(&case.windows, Headers::Never);
        let took = send(case.requests, &auto(), &server).await;
        let refused = share(server.refused(), server.requests());
        let figures = format!(
            "{}: {took:.1} s, {:.1} % refused",
            case.name,
            refused * 100.0
        );
        assert!(took <= 1.13 * case.ideal, "{figures}");
        assert!(refused <= 0.045, "{figures}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_window_that_nobody_states_is_used_to_the_full() {
    for window in [
        Window::fixed(300, 60 * SECOND),
        Window::sliding(300, 60 * SECOND),
    ] {
        for headers in [Headers::WaitOn429, Headers::Never] {
            let server = Server::new(std::slice::from_ref(&window), headers);
            let took = send(2000, &auto(), &server).await;
            assert!(took <= 1.12 * 361.0, "{window:?}, {headers:?}: {took:.1} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_429_with_a_long_stated_wait_is_no_window_yet() {
    for (rest, work) in [(0, 100), (0, 12_000), (120, 100), (3600, 100)] {
        for stated in [2, 10, 60, 290] {
            let server = Server::new(&[Window::sliding(20, SECOND)], Headers::Never);
            let throttle = auto();
            sleep(rest * SECOND).await;
            send(work, &throttle, &server).await;
            let permit = throttle.permit(Endpoint::Delete).await;
            permit.throttled(&wait(stated * SECOND));
            let took = send(400, &throttle, &server).await;
            let case = format!("{stated} s stated after {rest} s of rest and {work} requests");
            assert!(took < f64::from(stated) + 40.0, "{case}: {took}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn long_waits_that_are_stated_ten_minutes_apart_are_no_window() {
    let server = Server::new(&[Window::sliding(20, SECOND)], Headers::Never);
    let throttle = auto();
    for times in 0..3 {
        send(12_000, &throttle, &server).await;
        let permit = throttle.permit(Endpoint::Delete).await;
        permit.throttled(&wait(2 * SECOND));
        let took = send(400, &throttle, &server).await;
        assert!(took < 42.0, "{took} after {times} times before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_window_is_learnt_more_exactly_each_time_it_is_used_up() {
    let server = Server::new(&[Window::sliding(250, 10 * SECOND)], Headers::WaitOn429);
    send(1500, &auto(), &server).await;
    let late = server.refused_since(25.0);
    assert!(late <= 3, "{late} refused after the second time");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_halves_is_found_again_within_ten_seconds() {
    let kinds = [
        (
            vec![Window::fixed(20, SECOND)],
            vec![Window::fixed(10, SECOND)],
        ),
        (
            vec![Window::sliding(20, SECOND)],
            vec![Window::sliding(10, SECOND)],
        ),
        (vec![Window::bucket(20, 20)], vec![Window::bucket(10, 20)]),
    ];
    for headers in [Headers::Always, Headers::On429, Headers::Never] {
        for (before, after) in &kinds {
            let server = Server::new(before, headers).changing(20 * SECOND, after);
            send(800, &auto(), &server).await;
            let asked = server.asked.borrow();
            let let_through = asked
                .iter()
                .filter(|asked| (30.0..50.0).contains(&asked.at) && !asked.is_refused)
                .count();
            let figures = format!("{headers:?}, {after:?}: {let_through} in 20 s");
            let (least, most_refused) = if headers == Headers::Never {
                (120, 10)
            } else {
                (180, 3)
            };
            assert!(let_through >= least, "{figures}");
            assert!(server.refused_since(30.0) <= most_refused, "{figures}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_is_found_within_two_minutes_though_only_429s_state_it() {
    let server = Server::new(&[Window::sliding(10, SECOND)], Headers::On429)
        .changing(30 * SECOND, &[Window::sliding(40, SECOND)]);
    let throttle = auto();
    send(8000, &throttle, &server).await;
    let asked = server.asked.borrow();
    let late = asked
        .iter()
        .filter(|asked| (150.0..160.0).contains(&asked.at));
    assert!(late.count() > 350, "{:?}", throttle.seen_limits());
    assert!(server.refused() < 50);
}

/// Requests of another client in the same limit and how many of them are refused: `burst` at once, again after each
/// period, as long as ours take.
async fn beside(
    (burst, period): (u32, Duration),
    server: &Server,
    ours: impl Future<Output = f64>,
) -> (f64, usize, usize) {
    let others = Cell::new((0, 0));
    let other_client = async {
        for round in 1_u32.. {
            sleep_until(server.start + round * period).await;
            for _ in 0..burst {
                let (sent, refused) = others.get();
                others.set((sent + 1, refused + usize::from(server.pass().is_err())));
            }
        }
    };
    let took = select! {
        () = other_client => f64::INFINITY,
        took = ours => took,
    };
    let (sent, refused) = others.get();
    (took, sent, refused)
}

#[tokio::test(start_paused = true)]
async fn with_another_client_in_the_same_limit_both_make_progress() {
    for headers in [Headers::Always, Headers::On429, Headers::Never] {
        for window in [
            Window::fixed(20, SECOND),
            Window::sliding(20, SECOND),
            Window::bucket(20, 20),
        ] {
            let server = Server::new(std::slice::from_ref(&window), headers);
            let throttle = auto();
            let ours = send(600, &throttle, &server);
            let (took, sent, refused) = beside((1, SECOND / 10), &server, ours).await;
            let figures = format!(
                "{window:?}, {headers:?}: {took:.1} s, others' refused {refused} of {sent}"
            );
            assert!(took < 1.5 * 60.0, "{figures}");
            assert!(
                share(server.refused(), server.requests()) < 0.05,
                "{figures}"
            );
            assert!(share(refused, sent) < 0.09, "{figures}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_client_in_bursts_costs_few_refusals_of_ours_and_of_its_own() {
    for headers in [Headers::Always, Headers::On429] {
        for window in [Window::fixed(20, SECOND), Window::sliding(20, SECOND)] {
            for period in [SECOND, 2 * SECOND] {
                let server = Server::new(std::slice::from_ref(&window), headers);
                // A window that is counted in a fixed grid began before us.
                let _ = server.pass();
                sleep(SECOND / 3).await;
                let throttle = auto();
                let ours = send(1200, &throttle, &server);
                let (took, sent, refused) = beside((10, period), &server, ours).await;
                let figures = format!(
                    "{window:?}, {headers:?}, {period:?}: {took:.1} s, {} refused, others' {refused} of {sent}",
                    server.refused()
                );
                assert!(took < 1.2 * 120.0, "{figures}");
                assert!(
                    share(server.refused(), server.requests()) <= 0.0125,
                    "{figures}"
                );
                assert!(share(refused, sent) < 0.07, "{figures}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_stated_as_something_else_is_still_kept() {
    for stated_as in [
        (20, SECOND),
        (20, 4 * SECOND),
        (300, 60 * SECOND),
        (1, SECOND / 5),
    ] {
        for headers in [Headers::Always, Headers::On429] {
            let mut server = Server::new(&[Window::bucket(5, 20)], headers);
            server.stated_as = Some(stated_as);
            let took = send(220, &auto(), &server).await;
            let figures = format!(
                "{stated_as:?}, {headers:?}: {took:.1} s, {} refused",
                server.refused()
            );
            assert!(took < 1.15 * 40.0, "{figures}");
            assert!(server.refused() <= 20, "{figures}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_at_the_start_that_states_no_limit_costs_its_pause_and_no_more() {
    let throttle = auto();
    let pause = Duration::from_millis(400);
    let refusal = RateLimitHeaders {
        wait: Some(pause),
        ..RateLimitHeaders::default()
    };
    let start = Instant::now();
    throttle.permit(Endpoint::Delete).await.throttled(&refusal);
    for _ in 0..20 {
        let permit = throttle.permit(Endpoint::Delete).await;
        permit.succeeded(&RateLimitHeaders::default());
    }
    let took = start.elapsed();
    assert!(pause <= took && took < pause + SECOND / 10, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_429_is_followed_by_a_wait_as_any_other() {
    let (throttle, no_header) = (auto(), RateLimitHeaders::default());
    let permit = throttle.permit(Endpoint::Delete).await;
    permit.succeeded(&no_header);
    let late = throttle.permit(Endpoint::Delete).await;
    let first = throttle.permit(Endpoint::Delete).await;
    first.throttled(&no_header);
    sleep(10 * SECOND).await;
    let refused = Instant::now();
    late.throttled(&no_header);
    throttle
        .permit(Endpoint::Delete)
        .await
        .succeeded(&no_header);
    assert!(refused.elapsed() >= Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn an_hour_at_the_limit_is_an_hour() {
    let server = Server::new(&[Window::sliding(5, SECOND)], Headers::Always);
    let took = send(18_000, &auto(), &server).await;
    assert!((3599.0..3700.0).contains(&took), "{took}");
    assert!(server.refused() <= 20, "{} refused", server.refused());
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_the_user_caps_what_is_learnt() {
    let server = Server::new(&[Window::sliding(100, SECOND)], Headers::Always);
    let rate = Rate::PerSecond {
        per_second: 30.0,
        burst: 3,
    };
    let throttle = CLIENT.throttle(rate);
    send(900, &throttle, &server).await;
    let asked = server.asked.borrow();
    for (first, asked_first) in asked.iter().enumerate() {
        let in_ten_seconds = asked[first..]
            .iter()
            .take_while(|asked| asked.at < asked_first.at + 10.0)
            .count();
        // Requests leave within the cap; 20 ms more or less on their way make one more here.
        assert!(in_ten_seconds <= 30 * 10 + 3 + 1, "{in_ten_seconds}");
    }
    let seen = SeenLimit {
        endpoint: Endpoint::Delete,
        limit: 100,
        interval: SECOND,
    };
    assert_eq!(throttle.seen_limits(), [seen]);
}

#[tokio::test(start_paused = true)]
async fn absurd_limits_stop_nobody_for_good() {
    for stated_as in [
        (1, Duration::from_secs(u64::MAX / 1000)),
        (u64::MAX, Duration::from_nanos(1)),
    ] {
        let mut server = Server::new(&[Window::bucket(5, 20)], Headers::Always);
        server.stated_as = Some(stated_as);
        let took = send(40, &auto(), &server).await;
        assert!(took < 40.0 * 300.0, "{stated_as:?}: {took}");
    }
}

/// A bare 429 but for the time it says to wait.
fn wait(wait: Duration) -> RateLimitHeaders {
    RateLimitHeaders {
        wait: Some(wait),
        ..RateLimitHeaders::default()
    }
}

/// Requests let through in that time, one after the other, by a server that refuses none.
async fn let_through_in(period: Duration, throttle: &Throttle) -> u32 {
    let (end, mut count) = (Instant::now() + period, 0);
    while Instant::now() < end {
        throttle
            .permit(Endpoint::Delete)
            .await
            .succeeded(&RateLimitHeaders::default());
        count += 1;
    }
    count
}

fn twenty_a_second() -> Throttle {
    let rate = Rate::PerSecond {
        per_second: 20.0,
        burst: 1,
    };
    CLIENT.throttle(rate)
}

#[tokio::test(start_paused = true)]
async fn a_429_costs_a_rate_of_the_user_its_stated_wait_and_no_more() {
    for stated in [Duration::from_millis(100), 10 * SECOND, 200 * SECOND] {
        let throttle = twenty_a_second();
        let_through_in(5 * SECOND, &throttle).await;
        let refused = Instant::now();
        let permit = throttle.permit(Endpoint::Delete).await;
        permit.throttled(&wait(stated));
        throttle
            .permit(Endpoint::Delete)
            .await
            .succeeded(&RateLimitHeaders::default());
        let waited = refused.elapsed();
        assert!(
            stated <= waited && waited < stated + SECOND / 2,
            "{waited:?}"
        );
        let count = let_through_in(10 * SECOND, &throttle).await;
        assert!((199..=201).contains(&count), "{count} after {stated:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_429_however_many_slows_a_rate_of_the_user_beyond_its_stated_wait() {
    for (every, stated) in [
        (20, SECOND),
        (50, SECOND / 10),
        (7, SECOND / 4),
        (2, 3 * SECOND),
    ] {
        let (throttle, start) = (twenty_a_second(), Instant::now());
        for request in 1..=600 {
            let permit = throttle.permit(Endpoint::Delete).await;
            if request % every == 0 {
                permit.throttled(&wait(stated));
            } else {
                permit.succeeded(&RateLimitHeaders::default());
            }
        }
        let least = 600.0 / 20.0 + f64::from(600 / every) * stated.as_secs_f64();
        let took = start.elapsed().as_secs_f64();
        assert!(
            took <= least + 0.1,
            "{took} s, {least} s for a 429 in {every}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_the_user_above_the_limit_ends_in_time_with_or_without_a_stated_limit() {
    for headers in [Headers::Always, Headers::On429, Headers::WaitOn429] {
        let server = Server::new(&[Window::sliding(10, SECOND)], headers);
        let took = send(600, &twenty_a_second(), &server).await;
        let (refused, figures) = (server.refused(), format!("{headers:?}: {took:.1} s"));
        assert!(took < 1.15 * 60.0, "{figures}");
        assert!(
            headers == Headers::WaitOn429 || refused < 6,
            "{figures}, {refused} refused"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fits_into_a_long_window_does_not_wait_for_its_end() {
    for (limit, seconds) in [(300, 60), (60, 60), (1000, 300), (100, 20)] {
        let interval = seconds * SECOND;
        for window in [
            Window::fixed(limit, interval),
            Window::sliding(limit, interval),
        ] {
            for headers in [Headers::Always, Headers::On429] {
                let server = Server::new(std::slice::from_ref(&window), headers);
                let took = send(limit * 2 / 3, &auto(), &server).await;
                assert!(took < 5.0, "{window:?}, {headers:?}: {took}");
                assert_eq!(server.refused(), 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_a_long_window_is_spread_so_that_others_find_room() {
    let server = Server::new(&[Window::fixed(300, 60 * SECOND)], Headers::Always);
    let took = send(1000, &auto(), &server).await;
    let at_once = server.let_through(0.0, 6.0);
    assert!((284..=287).contains(&at_once), "{at_once}");
    let in_a_minute = server.let_through(0.0, 60.0);
    assert!((297..=300).contains(&in_a_minute), "{in_a_minute}");
    assert!(took < 190.0, "{took}");
    assert_eq!(server.refused(), 0);
}

/// The seconds until the throttle gives up on a server that answers each request like `refusal`; `None` if it does
/// not within an hour.
async fn gives_up_after(max_outage: Duration, refusal: RateLimitHeaders) -> Option<f64> {
    let (throttle, start) = (Throttle::new(Rate::Auto, 4, max_outage), Instant::now());
    let refused_for_ever = async {
        loop {
            throttle.permit(Endpoint::Delete).await.throttled(&refusal);
        }
    };
    let hour = async {
        select! {
            () = throttle.gave_up() => {}
            () = refused_for_ever => {}
        }
    };
    timeout(3600 * SECOND, hour).await.ok()?;
    Some(start.elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn any_429_for_ever_ends_after_max_outage() {
    for refusal in [
        RateLimitHeaders::default(),
        wait(Duration::ZERO),
        wait(SECOND / 50),
        wait(SECOND),
        wait(7 * SECOND),
    ] {
        let after = gives_up_after(60 * SECOND, refusal).await;
        let is_right = after.is_some_and(|after| (60.0..68.0).contains(&after));
        assert!(is_right, "{refusal:?}: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stated_end_beyond_max_outage_is_waited_for() {
    let throttle = Throttle::new(Rate::Auto, 4, 5 * SECOND);
    let run = async {
        throttle
            .permit(Endpoint::Delete)
            .await
            .throttled(&wait(60 * SECOND));
        throttle
            .permit(Endpoint::Delete)
            .await
            .succeeded(&RateLimitHeaders::default());
        sleep(60 * SECOND).await;
    };
    select! {
        () = throttle.gave_up() => panic!("gave up"),
        () = run => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_absurd_max_outage_never_comes() {
    for max_outage in [
        Duration::MAX,
        3600 * Duration::from_secs(2_562_047_788_015_215),
    ] {
        assert_eq!(
            gives_up_after(max_outage, RateLimitHeaders::default()).await,
            None
        );
        let throttle = Throttle::new(Rate::Auto, 4, max_outage);
        let outage = async {
            for group in 0..100 {
                let _ = throttle.permit(Endpoint::Delete).await.failed(
                    group,
                    GotResponse::Yes,
                    String::new,
                );
            }
        };
        select! {
            () = throttle.gave_up() => panic!("gave up"),
            () = outage => {}
        }
    }
}

fn window() -> impl Strategy<Value = (Window, f64, f64)> {
    let interval = prop_oneof![
        Just(250_u32),
        Just(1000),
        Just(1000),
        Just(5000),
        Just(10_000)
    ];
    (0..3_u8, 3..=100_u32, interval, 1..=3_u32).prop_map(
        |(kind, per_second, milliseconds, burst)| {
            let interval = Duration::from_millis(milliseconds.into());
            let limit = u64::from(per_second) * u64::from(milliseconds) / 1000;
            let limit = limit.max(1);
            #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
            let rate = limit as f64 / interval.as_secs_f64();
            match kind {
                0 => (Window::fixed(limit, interval), rate, interval.as_secs_f64()),
                1 => (
                    Window::sliding(limit, interval),
                    rate,
                    interval.as_secs_f64(),
                ),
                _ => (
                    Window::bucket(per_second, per_second * burst),
                    per_second.into(),
                    1.0,
                ),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn any_limit_of_any_kind_is_found_and_held(
        (window, rate, interval) in window(),
        headers in prop_oneof![Just(Headers::Always), Just(Headers::On429)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime of one thread starts");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
        let requests = (rate * 60.0).ceil() as u64;
        let (took, refused) = runtime.block_on(async {
            let server = Server::new(std::slice::from_ref(&window), headers);
            let took = send(requests, &auto(), &server).await;
            (took, share(server.refused(), server.requests()))
        });
        prop_assert!(took <= 1.08 * 60.0 + interval + 2.0, "{took:.1} s");
        prop_assert!(refused <= 0.02 + 16.0 / (rate * 60.0), "{:.1} % refused", refused * 100.0);
    }
}
