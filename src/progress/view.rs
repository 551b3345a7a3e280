//! The progress at one moment, in words: what stands on each line.

use std::iter;
use std::time::Duration;

use imagekit_bulk_delete::human::{self, counted, grouped, seconds};
use imagekit_bulk_delete::job::RunStats;
use imagekit_bulk_delete::outcome::{Purge, Status};
use imagekit_bulk_delete::throttle::{Endpoint, Waiting};
use indicatif::ProgressStyle;
use tokio::time::Instant;

use super::eta::{Speed, time_for};
use super::style::{Colours, Span, Style, in_place, wrapped};

/// The cells of the bar, brackets included: as many as there is room for.
const MIN_BAR: usize = 5;
const MAX_BAR: usize = 30;

/// Between two numbers.
const GAP: &str = "  ";

/// A pause that is over in a moment is not worth a word.
const MIN_PAUSE: Duration = Duration::from_millis(300);

/// A batch, as against single calls, shows by how many records a request settles.
const MIN_BATCH: f64 = 1.5;

/// Whose requests a second are shown.
const SHOWN: [Endpoint; 3] = [Endpoint::DeleteBatch, Endpoint::Delete, Endpoint::Purge];

/// What a speed remembers: long enough to be steady, and for requests as short as the limit beside them.
const STEADY: Duration = Duration::from_secs(15);
const RECENT: Duration = Duration::from_secs(4);

/// Everything that is shown at one moment.
#[derive(Debug)]
pub(super) struct View {
    /// What the bar shows: how much of how much; `None` where nobody knows.
    pub(super) share: Option<(u64, u64)>,
    /// The most telling first: those at the end are left out where there is no room.
    numbers: Vec<String>,
    counts: Vec<Span>,
    activity: Vec<Span>,
}

/// How fast it goes.
#[derive(Debug)]
pub(super) struct Speeds {
    records: Speed,
    purges: Speed,
    /// To each endpoint that is shown.
    requests: [Speed; SHOWN.len()],
}

impl Speeds {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            records: Speed::new(now, STEADY),
            purges: Speed::new(now, STEADY),
            requests: SHOWN.map(|_| Speed::new(now, RECENT)),
        }
    }

    fn look(&mut self, stats: &RunStats, is_waiting: bool, now: Instant) {
        let purged = Purge::ALL.map(|purge| stats.purged(purge)).iter().sum();
        let (decided, traffic) = (stats.decided(), stats.traffic());
        let progress = [
            // Until the first are decided, requests are sent and nothing comes of them yet.
            (&mut self.records, decided, is_waiting || decided == 0),
            (&mut self.purges, purged, false),
        ];
        let requests = self.requests.iter_mut().zip(SHOWN);
        let requests =
            requests.map(|(speed, endpoint)| (speed, traffic.ended_at(endpoint), is_waiting));
        for (speed, count, is_passed_over) in progress.into_iter().chain(requests) {
            if is_passed_over {
                speed.pass_over(now, count);
            } else {
                speed.look(now, count);
            }
        }
    }

    /// IDs a second, but no more than the limit that holds lets through: a burst at the start promises too much.
    #[expect(clippy::cast_precision_loss, reason = "a speed to look at")]
    fn ids(&self, stats: &RunStats, rate: impl Fn(Endpoint) -> f64) -> Option<f64> {
        let traffic = stats.traffic();
        let deletions =
            traffic.ended_at(Endpoint::DeleteBatch) + traffic.ended_at(Endpoint::Delete);
        let ids_per_request = stats.decided() as f64 / deletions.max(1) as f64;
        let endpoint = if ids_per_request > MIN_BATCH {
            Endpoint::DeleteBatch
        } else {
            Endpoint::Delete
        };
        let by_limit = rate(endpoint) * ids_per_request;
        Some(self.records.per_second()?.min(by_limit))
    }

    /// Requests a second to these endpoints.
    fn requests(&self, endpoints: &[Endpoint]) -> Option<f64> {
        let speeds = SHOWN.iter().zip(&self.requests);
        let speeds = speeds.filter(|(endpoint, _)| endpoints.contains(endpoint));
        speeds.map(|(_, speed)| speed.per_second()).sum()
    }

    /// Whether most deletions of the last seconds named one ID each, after others that named more.
    fn is_one_by_one(&self, stats: &RunStats) -> bool {
        let singles = self.requests(&[Endpoint::Delete]);
        singles > self.requests(&[Endpoint::DeleteBatch])
            && stats.traffic().ended_at(Endpoint::DeleteBatch) > 0
    }
}

impl View {
    /// Looks, and takes what it sees into the speeds.
    pub(super) fn take(stats: &RunStats, speeds: &mut Speeds, now: Instant) -> Self {
        let throttle = stats.throttle();
        let waiting = throttle.as_ref().and_then(|throttle| throttle.waiting());
        let rate = |endpoint| match &throttle {
            Some(throttle) => throttle.rate(endpoint),
            None => f64::INFINITY,
        };
        speeds.look(stats, is_work_held_up(waiting, rate), now);
        let purging = Purging::of(stats, speeds);
        let (share, mut numbers) = match &purging {
            // Nothing else is left to do just now, so that the bar is theirs.
            Some(purging) if stats.underway() == 0 => purging.numbers(),
            _ => {
                let wait = wait(stats, waiting, now);
                numbers(stats, speeds.ids(stats, rate), wait)
            }
        };
        numbers.push(format!("running {}", whole(stats.elapsed())));
        let mut activity = activity(stats, speeds, waiting, now);
        if stats.underway() > 0 {
            activity.extend(purging.map(|purging| Span::plain(purging.words())));
        }
        let traffic = stats.traffic();
        let in_flight = traffic.requests.saturating_sub(traffic.ended());
        let traffic = [
            (traffic.retries, "retry", "retries"),
            (stats.throttled(), "refused (429)", "refused (429)"),
            (in_flight, "in flight", "in flight"),
        ];
        let traffic = traffic.into_iter().filter(|(count, ..)| *count > 0);
        activity.extend(traffic.map(|(count, one, many)| Span::plain(counted(count, one, many))));
        Self {
            share,
            numbers,
            counts: counts(stats),
            activity,
        }
    }

    /// What stands on a terminal of this size.
    pub(super) fn style(&self, (columns, rows): (usize, usize), colours: Colours) -> ProgressStyle {
        let mut numbers = self.numbers.clone();
        let width = |number: &String| number.chars().count() + GAP.len();
        let room = |numbers: &[String]| columns.saturating_sub(numbers.iter().map(width).sum());
        while numbers.len() > 1 && room(&numbers) < MIN_BAR {
            numbers.pop();
        }
        let cells = room(&numbers).clamp(MIN_BAR, MAX_BAR) - 2;
        let bar = Span::new(format!("{{bar:{cells}}}"), Style::Good).styled(colours);
        let bar = self.share.map(|_| format!("[{bar}] "));
        let first = bar.unwrap_or_default() + &numbers.join(GAP);
        let words = [&self.counts, &self.activity].map(|spans| wrapped(spans, columns, colours));
        let lines = iter::once(first.as_str()).chain(words.iter().flat_map(|words| words.lines()));
        let lines: Vec<String> = lines.take(rows).map(str::to_owned).collect();
        in_place(&lines).progress_chars("=> ")
    }

    /// One line for a log.
    pub(super) fn plain(&self) -> String {
        let words = self.counts.iter().chain(&self.activity);
        let all = self.numbers.iter().chain(words.map(|span| &span.text));
        let all: Vec<&str> = all.map(String::as_str).collect();
        all.join(", ").trim_start().into()
    }
}

/// How far the deletion is, how fast, and how long it will take where nothing leaves for `wait`.
fn numbers(
    stats: &RunStats,
    ids: Option<f64>,
    wait: Option<Duration>,
) -> (Option<(u64, u64)>, Vec<String>) {
    // What a stop left in doubt is not done.
    let in_doubt = if stats.is_stopping() {
        stats.count(Status::Unknown)
    } else {
        0
    };
    let done = stats.done().saturating_sub(in_doubt);
    let total = stats.total();
    let mut numbers = match total {
        None => vec![format!("{} done", grouped(done))],
        Some(total) => vec![
            percent(done, total),
            format!("{}/{}", grouped(done), grouped(total)),
        ],
    };
    if let Some(ids) = ids {
        numbers.push(format!("{} IDs/s", rounded(ids)));
        let left = stats.left().filter(|left| *left > 0);
        let left = left.and_then(|left| Some(time_for(left, ids)? + wait?));
        numbers.extend(left.map(|left| format!("{} left", whole(left))));
    }
    (total.map(|total| (done, total)), numbers)
}

fn counts(stats: &RunStats) -> Vec<Span> {
    let counts = Status::ALL.map(|status| (status, stats.count(status)));
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let span = |(status, count): (Status, u64)| {
        let style = match status {
            Status::Deleted => Style::Good,
            _ if status.is_trouble() => Style::Bad,
            _ => Style::Plain,
        };
        Span::new(format!("{} {}", grouped(count), status.as_str()), style)
    };
    counts.map(span).collect()
}

/// URLs to purge, as long as there are any.
struct Purging {
    done: u64,
    total: u64,
    time_left: Option<Duration>,
}

impl Purging {
    fn of(stats: &RunStats, speeds: &Speeds) -> Option<Self> {
        let total = stats.purges_due();
        let purged = Purge::ALL.map(|purge| stats.purged(purge));
        let done = purged.iter().sum::<u64>().min(total);
        let left = total - done;
        let time_left = speeds
            .purges
            .per_second()
            .and_then(|speed| time_for(left, speed));
        (left > 0).then_some(Self {
            done,
            total,
            time_left,
        })
    }

    fn words(&self) -> String {
        format!("purging {}/{}", grouped(self.done), grouped(self.total))
    }

    fn numbers(&self) -> (Option<(u64, u64)>, Vec<String>) {
        let mut numbers = vec![percent(self.done, self.total), self.words()];
        numbers.extend(self.time_left.map(|left| format!("{} left", whole(left))));
        (Some((self.done, self.total)), numbers)
    }
}

/// Whether this time must not count as time of work.
fn is_work_held_up(waiting: Option<Waiting>, rate: impl Fn(Endpoint) -> f64) -> bool {
    match waiting {
        Some(Waiting::Outage { .. }) => true,
        // Without a limit of its own a run goes from pause to pause: they are its pace.
        Some(Waiting::Paused { endpoint, .. }) => rate(endpoint).is_finite(),
        None => false,
    }
}

/// How long nothing leaves; `None` if nobody knows.
fn wait(stats: &RunStats, waiting: Option<Waiting>, now: Instant) -> Option<Duration> {
    match waiting {
        _ if stats.is_stopping() => None,
        Some(Waiting::Outage { .. }) => None,
        Some(Waiting::Paused { until, .. }) => Some(until.saturating_duration_since(now)),
        None => Some(Duration::ZERO),
    }
}

/// What goes on just now.
fn activity(
    stats: &RunStats,
    speeds: &Speeds,
    waiting: Option<Waiting>,
    now: Instant,
) -> Vec<Span> {
    let seconds_to = |until: Instant| {
        let wait = until.saturating_duration_since(now);
        wait.as_millis().div_ceil(1000)
    };
    match waiting {
        _ if stats.is_stopping() => vec![Span::new("stopping", Style::Notable)],
        Some(Waiting::Outage { next_try }) => {
            let when = match seconds_to(next_try) {
                0 => "now".into(),
                seconds => format!("in {seconds} s"),
            };
            let words = format!("nothing succeeds, trying again {when}");
            vec![Span::new(words, Style::Bad)]
        }
        Some(Waiting::Paused { until, .. }) if until >= now + MIN_PAUSE => {
            let words = format!("paused {} s by ImageKit", seconds_to(until));
            vec![Span::new(words, Style::Notable)]
        }
        Some(Waiting::Paused { .. }) | None => pace(stats, speeds),
    }
}

/// How many requests end a second, and the limit that is theirs.
fn pace(stats: &RunStats, speeds: &Speeds) -> Vec<Span> {
    let is_one_by_one = speeds.is_one_by_one(stats);
    let endpoints = match stats.underway() {
        0 if stats.purges_due() > 0 => &[Endpoint::Purge][..],
        _ if is_one_by_one => &[Endpoint::Delete],
        _ => &[Endpoint::DeleteBatch, Endpoint::Delete],
    };
    let requests = speeds.requests(endpoints).filter(|speed| *speed > 0.0);
    let requests = requests.map(|requests| format!("{} requests/s", rounded(requests)));
    let why = is_one_by_one.then(|| "checking IDs one by one".to_owned());
    let limits = stats.limits();
    let limit = limits
        .iter()
        .find(|seen| endpoints.contains(&seen.endpoint));
    let limit = limit.map(|seen| format!("limit seen {}", human::limit(seen.limit, seen.interval)));
    let all = requests.into_iter().chain(why).chain(limit);
    all.map(Span::plain).collect()
}

/// Always as wide, and never 100% before the end.
fn percent(done: u64, total: u64) -> String {
    format!("{:>3}%", done.min(total).saturating_mul(100) / total.max(1))
}

fn rounded(per_second: f64) -> String {
    if per_second < 10.0 {
        return format!("{per_second:.1}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive and far below 2^53"
    )]
    grouped(per_second.round() as u64)
}

/// A duration without parts of a second, which only flicker.
fn whole(duration: Duration) -> String {
    match duration.as_secs() {
        short @ 0..10 => format!("{short} s"),
        long => seconds(Duration::from_secs(long)),
    }
}
