//! The progress on stderr: a bar on a terminal, a plain line now and then elsewhere.
//!
//! It only looks: at the tally, the traffic and what the throttle waits for.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use imagekit_bulk_delete::line::Traffic;
use imagekit_bulk_delete::summary::{Tally, grouped};
use imagekit_bulk_delete::throttle::{Throttle, Waiting};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::ProgressMode;

const REDRAW: Duration = Duration::from_millis(200);
const PLAIN_LINE: Duration = Duration::from_secs(30);

/// What the progress looks at.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) tally: Arc<Tally>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) throttle: Arc<Throttle>,
}

/// The one that writes to stderr while the run goes on.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    mode: ProgressMode,
    is_quiet: bool,
}

impl Progress {
    /// Chooses how to show; draws nothing yet.
    pub(crate) fn new(mode: ProgressMode, quiet: bool) -> Self {
        let mode = match mode {
            _ if quiet => ProgressMode::None,
            ProgressMode::Auto if io::stderr().is_terminal() => ProgressMode::Bar,
            ProgressMode::Auto => ProgressMode::Plain,
            chosen => chosen,
        };
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            mode,
            is_quiet: quiet,
        }
    }

    /// Shows until it is dropped; `total` records where the number is known.
    pub(crate) async fn show(&self, sight: Sight, total: Option<u64>) -> Infallible {
        let every = match self.mode {
            ProgressMode::Bar => {
                self.start_bar(total);
                REDRAW
            }
            ProgressMode::Plain => PLAIN_LINE,
            ProgressMode::None | ProgressMode::Auto => return std::future::pending().await,
        };
        let started = Instant::now();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.draw(&sight, total, started.elapsed());
        }
    }

    /// Shows how far a check has come, until it is dropped: IDs asked for, and those that exist.
    pub(crate) async fn show_check(&self, counts: &Cell<(u64, u64)>) -> Infallible {
        let mut ticks = interval(PLAIN_LINE);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let (asked, there) = counts.get();
            self.notice(&format!(
                "{} asked for, {} exist",
                grouped(asked),
                grouped(there)
            ));
        }
    }

    fn start_bar(&self, total: Option<u64>) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        let template = match total {
            Some(total) => {
                self.bar.set_length(total);
                "{bar:20} {human_pos}/{human_len} {wide_msg}"
            }
            None => "{spinner} {human_pos} {wide_msg}",
        };
        let style =
            ProgressStyle::with_template(template).expect("the template is a constant that parses");
        self.bar.set_style(style.progress_chars("=> "));
    }

    fn draw(&self, sight: &Sight, total: Option<u64>, elapsed: Duration) {
        let done = sight.tally.total();
        let words = words(sight, done, total, elapsed);
        if self.mode == ProgressMode::Bar {
            self.bar.set_position(done);
            self.bar.set_message(words);
        } else {
            let of = total
                .map(|total| format!("/{}", grouped(total)))
                .unwrap_or_default();
            self.say(&format!("{}{of} {words}", grouped(done)));
        }
    }

    /// Tells what a person should know, unless told to be quiet.
    pub(crate) fn notice(&self, notice: &str) {
        if !self.is_quiet {
            self.say(notice);
        }
    }

    /// Tells the closing text, unless told to be quiet.
    pub(crate) fn summary(&self, text: &str) {
        self.notice(text.trim_end());
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line to stderr without tearing the bar.
    pub(crate) fn say(&self, line: &str) {
        // A closed stderr is no reason to stop deleting or recording.
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{line}")));
    }
}

fn words(sight: &Sight, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut parts = vec![format!("{rate:.0}/s")];
    if let Some(total) = total.filter(|total| *total > done && rate > 0.0) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate to look at")]
        let left = Duration::from_secs_f64(((total - done) as f64 / rate).min(1e9));
        parts.push(format!(
            "{} left",
            imagekit_bulk_delete::summary::seconds(left)
        ));
    }
    parts.push(sight.tally.in_words());
    parts.extend(waiting(&sight.throttle));
    if sight.traffic.retries() > 0 {
        parts.push(format!("{} retries", grouped(sight.traffic.retries())));
    }
    parts.join(", ")
}

fn waiting(throttle: &Throttle) -> Option<String> {
    let whole_seconds =
        |until: Instant| until.saturating_duration_since(Instant::now()).as_secs() + 1;
    Some(match throttle.waiting()? {
        Waiting::Paused { until, .. } => format!("paused {} s by ImageKit", whole_seconds(until)),
        Waiting::Outage { next_try } => {
            format!(
                "ImageKit is not answering, trying again in {} s",
                whole_seconds(next_try)
            )
        }
    })
}

/// The log goes where the progress goes, so that neither tears the other.
impl<'a> MakeWriter<'a> for Progress {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine(self.bar.clone())
    }
}

/// Writes whole log lines around the bar.
#[derive(Debug)]
pub(crate) struct LogLine(ProgressBar);

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
