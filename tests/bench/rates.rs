//! Prints how close `--rate auto` comes to each kind of limit, in virtual time.
//!
//! `cargo run --release --example rates [SEEDS] [FILTER]`; a row is the mean and, after a slash, the worst of its seeds:
//! the time as a multiple of what a client takes that knows the limit, and the share of its requests that were refused.

#![expect(dead_code, reason = "the model has more than a table needs")]
#![expect(clippy::print_stdout, reason = "a table for people")]

#[path = "model.rs"]
mod model;

use std::collections::VecDeque;
use std::time::Duration;

use imagekit_bulk_delete::sandbox::{Window, pass};
use model::{Client, Headers, Server};
use tokio::time::{Instant, advance, sleep_until};

const SECOND: Duration = Duration::from_secs(1);
const HEADERS: [Headers; 4] = [
    Headers::Always,
    Headers::On429,
    Headers::WaitOn429,
    Headers::Never,
];

/// What one run cost.
struct Cost {
    /// Time as a multiple of the ideal.
    time: f64,
    /// Percent of our requests that were refused.
    refused: f64,
    /// Percent of the other client's.
    others_refused: f64,
}

/// Another client in the same limit: so many requests at once, again after each period.
#[derive(Clone, Copy)]
struct Other {
    burst: u32,
    period: Duration,
}

#[derive(Clone)]
struct Scenario {
    windows: Vec<Window>,
    requests: u64,
    client: Client,
    other: Option<Other>,
}

fn percent(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a model")]
    let share = part as f64 / whole.max(1) as f64;
    share * 100.0
}

impl Scenario {
    fn cost(&self, headers: Headers, seed: u64) -> Cost {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime of one thread starts");
        runtime.block_on(self.run(headers, seed))
    }

    async fn run(&self, headers: Headers, seed: u64) -> Cost {
        fastrand::seed(seed);
        let server = Server::new(&self.windows, headers);
        // A window that is counted in a fixed grid began before we did.
        let _ = server.pass();
        advance(SECOND.mul_f64(fastrand::f64())).await;
        let mut others = (0, 0);
        let other = async {
            let Some(Other { burst, period }) = self.other else {
                return std::future::pending().await;
            };
            for round in 1_u32.. {
                sleep_until(server.start + round * period).await;
                for _ in 0..burst {
                    others.0 += 1;
                    others.1 += usize::from(server.pass().is_err());
                }
            }
        };
        let throttle = self.client.auto();
        let took = tokio::select! {
            took = self.client.send(self.requests, &throttle, &server) => took,
            () = other => f64::INFINITY,
        };
        Cost {
            time: took / self.ideal(),
            refused: percent(server.refused(), server.requests()),
            others_refused: percent(others.1, others.0),
        }
    }

    /// The other client's share is not ours to use.
    fn ideal(&self) -> f64 {
        let alone = ideal(self.client, self.requests, &self.windows);
        let Some(Other { burst, period }) = self.other else {
            return alone;
        };
        let mut total = self.requests;
        loop {
            let took = ideal(self.client, total, &self.windows);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "hundreds"
            )]
            let theirs = (took / period.as_secs_f64()).floor() as u64 * u64::from(burst);
            if self.requests + theirs <= total {
                return took;
            }
            total = self.requests + theirs;
        }
    }

    fn print(&self, name: &str, seeds: u64) {
        for headers in HEADERS {
            let costs: Vec<Cost> = (1..=seeds).map(|seed| self.cost(headers, seed)).collect();
            let column = |figure: fn(&Cost) -> f64| {
                let figures = costs.iter().map(figure);
                #[expect(clippy::cast_precision_loss, reason = "a handful")]
                let mean = figures.clone().sum::<f64>() / costs.len() as f64;
                format!("{mean:.2}/{:.2}", figures.fold(0.0, f64::max))
            };
            let others = match self.other {
                Some(_) => column(|cost| cost.others_refused),
                None => String::new(),
            };
            let headers = format!("{headers:?}");
            let (time, refused) = (column(|cost| cost.time), column(|cost| cost.refused));
            println!("{name:<44} {headers:<10} {time:>11} {refused:>12} {others:>12}");
        }
    }
}

/// The seconds that the same requests take a client that knows the limits and is never refused.
fn ideal(client: Client, requests: u64, windows: &[Window]) -> f64 {
    let (mut windows, start) = (windows.to_vec(), Instant::now());
    let mut free_at = VecDeque::from(vec![start; client.concurrency]);
    let mut last = start;
    for _ in 0..requests {
        last = last.max(free_at.pop_front().unwrap_or(start));
        while let Err(state) = pass(&mut windows, last) {
            last += state.reset;
        }
        free_at.push_back(last + client.round_trip);
    }
    (last + client.round_trip - start).as_secs_f64()
}

fn main() {
    let seeds = std::env::args()
        .nth(1)
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(4);
    let filter = std::env::args().nth(2).unwrap_or_default();
    println!(
        "{:<44} {:<10} {:>11} {:>12} {:>12}",
        "limit", "headers", "time/ideal", "refused %", "others' %"
    );
    for (name, scenario) in scenarios() {
        if name.contains(&filter) {
            scenario.print(&name, seeds);
        }
    }
}

/// What a client of usual speed sends within these limits.
fn usual(name: &str, windows: &[Window], requests: u64) -> (String, Scenario) {
    let scenario = Scenario {
        windows: windows.to_vec(),
        requests,
        client: Client {
            concurrency: 16,
            round_trip: SECOND / 20,
        },
        other: None,
    };
    (name.to_owned(), scenario)
}

fn scenarios() -> Vec<(String, Scenario)> {
    [alone(), with_another_client(), at_other_speeds()].concat()
}

fn alone() -> Vec<(String, Scenario)> {
    let (fixed, sliding, bucket) = (Window::fixed, Window::sliding, Window::bucket);
    let (ten, minute) = (10 * SECOND, 60 * SECOND);
    let two_fixed = [fixed(50, SECOND), fixed(250, ten)];
    let two_sliding = [sliding(50, SECOND), sliding(250, ten)];
    let short_and_long = [fixed(20, SECOND), fixed(300, minute)];
    vec![
        usual("bucket 5/s, burst 20", &[bucket(5, 20)], 320),
        usual("bucket 100/s, burst 100", &[bucket(100, 100)], 6100),
        usual("fixed 20/s", &[fixed(20, SECOND)], 1200),
        usual("sliding 20/s", &[sliding(20, SECOND)], 1200),
        usual("sliding 100/s", &[sliding(100, SECOND)], 6000),
        usual("fixed 50/s and 250/10 s", &two_fixed, 2000),
        usual("sliding 50/s and 250/10 s", &two_sliding, 2000),
        usual("fixed 50/s and 250/10 s, half a minute", &two_fixed, 1000),
        usual("fixed 300/min, 200 requests", &[fixed(300, minute)], 200),
        usual(
            "sliding 300/min, 200 requests",
            &[sliding(300, minute)],
            200,
        ),
        usual("fixed 300/min, 2000 requests", &[fixed(300, minute)], 2000),
        usual(
            "sliding 300/min, 2000 requests",
            &[sliding(300, minute)],
            2000,
        ),
        usual(
            "fixed 20/s and 300/min, 1000 requests",
            &short_and_long,
            1000,
        ),
    ]
}

/// Each kind of a limit of so many a second.
fn kinds(per_second: u32) -> [(&'static str, Window); 3] {
    [
        ("fixed", Window::fixed(per_second.into(), SECOND)),
        ("sliding", Window::sliding(per_second.into(), SECOND)),
        ("bucket", Window::bucket(per_second, per_second)),
    ]
}

fn with_another_client() -> Vec<(String, Scenario)> {
    let others = [
        (1, SECOND / 10),
        (5, SECOND / 2),
        (10, SECOND),
        (10, 2 * SECOND),
    ];
    let of = |(burst, period)| {
        kinds(20).map(|(kind, window)| {
            let name = format!("{kind} 20/s, another {burst} each {period:?}");
            let (name, scenario) = usual(&name, &[window], 600);
            let other = Some(Other { burst, period });
            (name, Scenario { other, ..scenario })
        })
    };
    others.into_iter().flat_map(of).collect()
}

fn at_other_speeds() -> Vec<(String, Scenario)> {
    let speeds = [
        (5, 1),
        (5, 64),
        (50, 1),
        (50, 64),
        (300, 1),
        (300, 16),
        (300, 64),
    ];
    let of = |(milliseconds, concurrency)| {
        kinds(50).map(|(kind, window)| {
            let name = format!("{kind} 50/s, {milliseconds} ms, {concurrency} at once");
            let (name, scenario) = usual(&name, &[window], 1500);
            let client = Client {
                concurrency,
                round_trip: Duration::from_millis(milliseconds),
            };
            (name, Scenario { client, ..scenario })
        })
    };
    speeds.into_iter().flat_map(of).collect()
}
