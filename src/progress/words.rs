//! The progress in words: what stands on each line.

use std::time::Duration;

use imagekit_bulk_delete::human::{counted, grouped, limit, seconds};
use imagekit_bulk_delete::job::{Expected, RunStats};
use imagekit_bulk_delete::outcome::Status;
use imagekit_bulk_delete::throttle::{Endpoint, SeenLimit, Waiting};
use tokio::time::Instant;

use super::forecast::{Forecast, Seen, Speed, time_for};
use super::paint::{Colours, Ink, Piece, lines, one_line};
use super::screen::Line;

/// The bar is no longer than this, and left out where there is no room for so much.
const LONGEST_BAR: usize = 40;
const SHORTEST_BAR: usize = 8;

/// A pause that is over in a moment is not worth a word.
const SHORTEST_PAUSE: Duration = Duration::from_millis(300);

/// A batch, as against single calls, shows by how many records a request settles.
const LEAST_OF_A_BATCH: f64 = 1.5;

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
    pub(super) in_air: u64,
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
    /// The run ends as soon as what is in the air has come down.
    Stopping,
}

impl View {
    /// Looks, and takes what it sees into the forecast.
    pub(super) fn take(stats: &RunStats, forecast: &mut Forecast, now: Instant) -> Self {
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
            is_waiting: is_waiting(waiting, rate),
        };
        forecast.look(now, seen);
        let speed = forecast.speed(|records| rate(endpoint(records)));
        let activity = activity(stats, waiting, now);
        let left = stats.left().filter(|left| *left > 0);
        let sending = left.and_then(|left| time_for(left, speed.as_ref()?));
        let counts = Status::ALL.map(|status| (status, stats.count(status)));
        Self {
            done: stats.done(),
            total: stats.expected(),
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            speed,
            time_left: sending.and_then(|sending| Some(activity.wait()? + sending)),
            elapsed: stats.elapsed(),
            activity,
            retries: stats.retries(),
            throttled: stats.throttled(),
            in_air: stats.requests().saturating_sub(landed),
        }
    }

    /// The lines that stand on a terminal.
    pub(super) fn lines(&self, columns: usize, colours: Colours) -> Vec<Line> {
        let mut all = vec![self.first_line(columns, colours)];
        all.extend(lines(&self.counts(), ", ", columns, colours));
        all.extend(lines(&self.activity(), ", ", columns, colours));
        all
    }

    /// The bar and the numbers; the time so far only where there is room for all of it.
    fn first_line(&self, columns: usize, colours: Colours) -> Line {
        let numbers = self.numbers();
        let with_time = [numbers.clone(), vec![self.running()]].concat();
        let line = |pieces: &[Piece]| one_line(pieces, "  ", columns, colours);
        let room = |line: &Line| columns.saturating_sub(line.width + 1);
        let longer = line(&with_time);
        let mut first = if self.total == Expected::Unknown || room(&longer) >= SHORTEST_BAR {
            longer
        } else {
            line(&numbers)
        };
        if let Some((bar, width)) = self.bar(room(&first), colours) {
            first.text = format!("{bar} {}", first.text);
            first.width += width + 1;
        }
        first
    }

    /// One line for a log.
    pub(super) fn plain(&self) -> String {
        let numbers = [self.numbers(), vec![self.running()]].concat();
        let pieces = [numbers, self.counts(), self.activity()].concat();
        let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.trim_start()).collect();
        texts.join(", ")
    }

    /// The most telling first: those at the end are left out where there is no room.
    fn numbers(&self) -> Vec<Piece> {
        let done = grouped(self.done);
        let mut pieces = match self.total {
            Expected::Unknown => vec![Piece::plain(format!("{done} done"))],
            Expected::Exact(total) => vec![
                Piece::plain(percent(self.done, total)),
                Piece::plain(format!("{done}/{}", grouped(total))),
            ],
            Expected::Estimate(total) => vec![
                Piece::plain(percent(self.done, total)),
                Piece::plain(format!("{done}/~{}", grouped(total))),
            ],
        };
        if let Some(records) = self.speed.and_then(|speed| speed.records) {
            pieces.push(Piece::plain(format!("{} IDs/s", rounded(records))));
        }
        if let Some(time_left) = self.time_left {
            let about = if matches!(self.total, Expected::Estimate(_)) {
                "~"
            } else {
                ""
            };
            pieces.push(Piece::plain(format!("{about}{} left", whole(time_left))));
        }
        pieces
    }

    fn running(&self) -> Piece {
        Piece::plain(format!("running {}", whole(self.elapsed)))
    }

    fn counts(&self) -> Vec<Piece> {
        let piece = |(status, count): &(Status, u64)| {
            let ink = match status {
                Status::Deleted => Ink::Good,
                Status::Failed | Status::Unknown | Status::Invalid => Ink::Bad,
                Status::NotFound | Status::Gone | Status::Duplicate | Status::Excluded => {
                    Ink::Plain
                }
            };
            Piece::new(format!("{} {}", grouped(*count), status.as_str()), ink)
        };
        self.counts.iter().map(piece).collect()
    }

    fn activity(&self) -> Vec<Piece> {
        let mut pieces = match &self.activity {
            Activity::Outage(wait) => {
                let when = match up(*wait) {
                    0 => "now".into(),
                    seconds => format!("in {seconds} s"),
                };
                let words = format!("ImageKit is not answering, trying again {when}");
                vec![Piece::new(words, Ink::Bad)]
            }
            Activity::Paused(wait) => {
                let words = format!("paused {} s by ImageKit", up(*wait));
                vec![Piece::new(words, Ink::Notable)]
            }
            Activity::Stopping => vec![Piece::new("stopping", Ink::Notable)],
            Activity::Sending { limit: seen } => self.pace(seen.as_ref()),
        };
        let counts = [
            (self.retries, "retry", "retries"),
            (self.throttled, "refused (429)", "refused (429)"),
            (self.in_air, "in the air", "in the air"),
        ];
        let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
        pieces.extend(counts.map(|(count, one, many)| Piece::plain(counted(count, one, many))));
        pieces
    }

    fn pace(&self, seen: Option<&SeenLimit>) -> Vec<Piece> {
        let speed = self
            .speed
            .map(|speed| format!("{} requests/s", rounded(speed.requests)));
        let limit = seen.map(|seen| format!("limit seen {}", limit(seen)));
        speed.into_iter().chain(limit).map(Piece::plain).collect()
    }

    /// The bar, and how wide it is; `None` where there is no total or no room.
    fn bar(&self, room: usize, colours: Colours) -> Option<(String, usize)> {
        let (Expected::Exact(total) | Expected::Estimate(total)) = self.total else {
            return None;
        };
        let width = room.min(LONGEST_BAR);
        if width < SHORTEST_BAR {
            return None;
        }
        let cells = width - 2;
        let full = usize::try_from(self.done.saturating_mul(cells as u64) / total.max(1))
            .unwrap_or(cells)
            .min(cells);
        let head = if full < cells { ">" } else { "" };
        let done = Piece::new(format!("{}{head}", "=".repeat(full)), Ink::Good).painted(colours);
        let rest = " ".repeat(cells - full - head.len());
        Some((format!("[{done}{rest}]"), width))
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
        Some(Waiting::Paused { until, .. }) if wait(until) >= SHORTEST_PAUSE => {
            Activity::Paused(wait(until))
        }
        Some(Waiting::Paused { .. }) | None => Activity::Sending {
            limit: stats.limits().into_iter().next(),
        },
    }
}

fn endpoint(records_a_request: f64) -> Endpoint {
    if records_a_request > LEAST_OF_A_BATCH {
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
