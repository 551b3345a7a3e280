//! The progress at one moment, in words: what stands on each line.

use std::time::Duration;

use imagekit_bulk_delete::human::{counted, grouped, limit, seconds};
use imagekit_bulk_delete::job::{Expected, RunStats};
use imagekit_bulk_delete::outcome::{Purge, Status};
use imagekit_bulk_delete::throttle::{Endpoint, SeenLimit, Waiting};
use indicatif::ProgressStyle;
use tokio::time::Instant;

use super::eta::{Forecast, Seen, Speed, time_for};
use super::style::{Colours, Span, Style, in_place, text, wrapped};

/// Where there is no room for a bar of so many cells, brackets included, the time so far is left out.
const MIN_BAR: usize = 10;
const MIN_BRACKETS: usize = 2;

/// Between two numbers.
const GAP: &str = "  ";

/// A key of the template, and the number that it stands for.
type Number = (&'static str, String);

/// A pause that is over in a moment is not worth a word.
const MIN_PAUSE: Duration = Duration::from_millis(300);

/// A batch, as against single calls, shows by how many records a request settles.
const MIN_BATCH: f64 = 1.5;

/// All that is told at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    pub(super) done: u64,
    pub(super) total: Expected,
    pub(super) counts: Vec<(Status, u64)>,
    pub(super) speed: Option<Speed>,
    pub(super) time_left: Option<Duration>,
    pub(super) elapsed: Duration,
    pub(super) activity: Activity,
    pub(super) retries: u64,
    pub(super) throttled: u64,
    pub(super) in_flight: u64,
    /// URLs to purge, those that are purged included.
    pub(super) purges: Option<Purging>,
}

/// How far the purges are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Purging {
    done: u64,
    total: u64,
    /// Nothing else is left to do just now, so that the bar is theirs.
    is_alone: bool,
    time_left: Option<Duration>,
}

/// How fast it goes, of both kinds of work.
#[derive(Debug)]
pub(super) struct Forecasts {
    records: Forecast,
    purges: Forecast,
}

impl Forecasts {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            records: Forecast::new(now),
            purges: Forecast::new(now),
        }
    }
}

/// What goes on just now.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Activity {
    Sending {
        limit: Option<SeenLimit>,
    },
    /// A 429 told to wait so long.
    Paused(Duration),
    /// The API as a whole is failing; the next try is so far away.
    Outage(Duration),
    /// The run ends as soon as what is in flight is answered.
    Stopping,
}

impl View {
    /// Looks, and takes what it sees into the forecast.
    pub(super) fn take(stats: &RunStats, forecasts: &mut Forecasts, now: Instant) -> Self {
        let throttle = stats.throttle();
        let waiting = throttle.as_ref().and_then(|throttle| throttle.waiting());
        let rate = |endpoint| {
            throttle
                .as_ref()
                .map_or(f64::INFINITY, |throttle| throttle.rate(endpoint))
        };
        let landed = stats.requests_ended();
        let seen = Seen {
            decided: stats.decided(),
            underway: stats.underway(),
            landed,
            singles: stats.single_requests(),
            is_waiting: is_waiting(waiting, rate),
        };
        forecasts.records.look(now, seen);
        let speed = forecasts.records.speed(|records| rate(endpoint(records)));
        let activity = activity(stats, waiting, now);
        let left = stats.left().filter(|left| *left > 0);
        let sending = left.and_then(|left| time_for(left, speed.as_ref()?));
        let counts = Status::ALL.map(|status| (status, stats.count(status)));
        // What a stop left in doubt is not done.
        let in_doubt = if stats.is_stopping() {
            stats.count(Status::Unknown)
        } else {
            0
        };
        Self {
            done: stats.done().saturating_sub(in_doubt),
            total: stats.expected(),
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            speed,
            time_left: sending.and_then(|sending| Some(activity.wait()? + sending)),
            elapsed: stats.elapsed(),
            activity,
            retries: stats.retries(),
            throttled: stats.throttled(),
            in_flight: stats.requests().saturating_sub(landed),
            purges: Purging::take(stats, &mut forecasts.purges, now),
        }
    }

    /// What stands on a terminal of so many columns.
    pub(super) fn style(&self, columns: usize, colours: Colours) -> ProgressStyle {
        let numbers = self.numbers_for(columns);
        let mut counts = wrapped(&self.counts(), columns, colours);
        let activity = wrapped(&self.activity(), columns, colours);
        if !counts.is_empty() && !activity.is_empty() {
            counts.push('\n');
        }
        let bar = Span::new("{wide_bar}", Style::Good).styled(colours);
        let bar = self.share().map(|_| format!("[{bar}] "));
        let keys = numbers.iter().map(|(key, _)| format!("{{{key}}}"));
        let first = bar.unwrap_or_default() + &keys.collect::<Vec<_>>().join(GAP);
        let style = in_place(&format!("{first}\n{{counts}}{{activity}}"))
            .progress_chars("=> ")
            .with_key("counts", text(counts))
            .with_key("activity", text(activity));
        let with_key = |style: ProgressStyle, (key, number)| style.with_key(key, text(number));
        numbers.into_iter().fold(style, with_key)
    }

    /// The numbers that there is room for.
    fn numbers_for(&self, columns: usize) -> Vec<Number> {
        let mut numbers = self.numbers();
        let mut bar = MIN_BAR;
        let width = |(_, number): &Number| number.chars().count() + GAP.len();
        while numbers.len() > 1 && numbers.iter().map(width).sum::<usize>() + bar > columns {
            numbers.pop();
            bar = MIN_BRACKETS;
        }
        numbers
    }

    /// One line for a log.
    pub(super) fn plain(&self) -> String {
        let numbers = self.numbers().into_iter().map(|(_, number)| number);
        let words = [self.counts(), self.activity()].concat();
        let all = numbers.chain(words.into_iter().map(|span| span.text));
        let all: Vec<String> = all.collect();
        all.join(", ").trim_start().into()
    }

    /// What the bar shows: how much of how much; `None` where nobody knows.
    pub(super) fn share(&self) -> Option<(u64, u64)> {
        match (self.purges, self.total) {
            (Some(purges), _) if purges.is_alone => Some((purges.done, purges.total)),
            (_, Expected::Exact(total) | Expected::Estimate(total)) => Some((self.done, total)),
            (_, Expected::Unknown) => None,
        }
    }

    /// The most telling first: those at the end are left out where there is no room.
    fn numbers(&self) -> Vec<Number> {
        let running = ("running", format!("running {}", whole(self.elapsed)));
        if let Some(purges) = self.purges.filter(|purges| purges.is_alone) {
            return [purges.numbers(), vec![running]].concat();
        }
        let done = grouped(self.done);
        let (total, about) = match self.total {
            Expected::Unknown => (None, ""),
            Expected::Exact(total) => (Some(total), ""),
            Expected::Estimate(total) => (Some(total), "~"),
        };
        let mut numbers = match total {
            None => vec![("done", format!("{done} done"))],
            Some(total) => vec![
                ("share", percent(self.done, total)),
                ("done", format!("{done}/{about}{}", grouped(total))),
            ],
        };
        let records = self.speed.and_then(|speed| speed.records);
        numbers.extend(records.map(|rate| ("rate", format!("{} IDs/s", rounded(rate)))));
        let left = |left| ("time_left", format!("{about}{} left", whole(left)));
        numbers.extend(self.time_left.map(left));
        numbers.push(running);
        numbers
    }

    fn counts(&self) -> Vec<Span> {
        let span = |(status, count): &(Status, u64)| {
            let style = match status {
                Status::Deleted => Style::Good,
                Status::Failed | Status::Unknown | Status::Invalid => Style::Bad,
                Status::NotFound | Status::Gone | Status::Duplicate | Status::Excluded => {
                    Style::Plain
                }
            };
            Span::new(format!("{} {}", grouped(*count), status.as_str()), style)
        };
        self.counts.iter().map(span).collect()
    }

    fn activity(&self) -> Vec<Span> {
        let mut spans = match &self.activity {
            Activity::Outage(wait) => {
                let when = match up(*wait) {
                    0 => "now".into(),
                    seconds => format!("in {seconds} s"),
                };
                let words = format!("ImageKit is not answering, trying again {when}");
                vec![Span::new(words, Style::Bad)]
            }
            Activity::Paused(wait) => {
                let words = format!("paused {} s by ImageKit", up(*wait));
                vec![Span::new(words, Style::Notable)]
            }
            Activity::Stopping => vec![Span::new("stopping", Style::Notable)],
            Activity::Sending { limit: seen } => self.pace(seen.as_ref()),
        };
        let purges = self.purges.filter(|purges| !purges.is_alone);
        spans.extend(purges.map(|purges| Span::plain(purges.words())));
        let counts = [
            (self.retries, "retry", "retries"),
            (self.throttled, "refused (429)", "refused (429)"),
            (self.in_flight, "in flight", "in flight"),
        ];
        let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
        spans.extend(counts.map(|(count, one, many)| Span::plain(counted(count, one, many))));
        spans
    }

    fn pace(&self, seen: Option<&SeenLimit>) -> Vec<Span> {
        let speed = self.speed;
        let requests = speed.map(|speed| format!("{} requests/s", rounded(speed.requests)));
        let is_one_by_one = speed.is_some_and(|speed| speed.is_one_by_one);
        let why = is_one_by_one.then(|| "checking IDs one by one".to_owned());
        let limit = seen.map(|seen| format!("limit seen {}", limit(seen)));
        let all = requests.into_iter().chain(why).chain(limit);
        all.map(Span::plain).collect()
    }
}

impl Purging {
    /// `None` where nothing is purged.
    fn take(stats: &RunStats, forecast: &mut Forecast, now: Instant) -> Option<Self> {
        let total = stats.purges_due();
        let purged = Purge::ALL.map(|purge| stats.purged(purge));
        let done = purged.iter().sum::<u64>().min(total);
        let seen = Seen {
            decided: done,
            underway: 0,
            landed: done,
            singles: 0,
            is_waiting: false,
        };
        forecast.look(now, seen);
        let speed = forecast.speed(|_| f64::INFINITY);
        (done < total).then(|| Self {
            done,
            total,
            is_alone: stats.underway() == 0,
            time_left: speed.and_then(|speed| time_for(total - done, &speed)),
        })
    }

    fn words(&self) -> String {
        format!("purging {}/{}", grouped(self.done), grouped(self.total))
    }

    fn numbers(&self) -> Vec<Number> {
        let mut numbers = vec![
            ("share", percent(self.done, self.total)),
            ("done", self.words()),
        ];
        let left = |left| ("time_left", format!("{} left", whole(left)));
        numbers.extend(self.time_left.map(left));
        numbers
    }
}

impl Activity {
    /// How long nothing leaves; `None` if nobody knows.
    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Outage(_) | Self::Stopping => None,
            Self::Paused(wait) => Some(*wait),
            Self::Sending { .. } => Some(Duration::ZERO),
        }
    }
}

/// Whether this time must not count as time of work.
fn is_waiting(waiting: Option<Waiting>, rate: impl Fn(Endpoint) -> f64) -> bool {
    match waiting {
        Some(Waiting::Outage { .. }) => true,
        // Without a limit of its own a run goes from pause to pause: they are its pace.
        Some(Waiting::Paused { endpoint, .. }) => rate(endpoint).is_finite(),
        None => false,
    }
}

fn activity(stats: &RunStats, waiting: Option<Waiting>, now: Instant) -> Activity {
    if stats.is_stopping() {
        return Activity::Stopping;
    }
    let wait = |until: Instant| until.saturating_duration_since(now);
    match waiting {
        Some(Waiting::Outage { next_try }) => Activity::Outage(wait(next_try)),
        Some(Waiting::Paused { until, .. }) if wait(until) >= MIN_PAUSE => {
            Activity::Paused(wait(until))
        }
        Some(Waiting::Paused { .. }) | None => Activity::Sending {
            limit: stats.limits().into_iter().next(),
        },
    }
}

fn endpoint(records_a_request: f64) -> Endpoint {
    if records_a_request > MIN_BATCH {
        Endpoint::DeleteBatch
    } else {
        Endpoint::Delete
    }
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

/// Whole seconds, never 0 while there is some.
fn up(wait: Duration) -> u64 {
    wait.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}
