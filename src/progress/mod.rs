//! The progress on stderr: lines that change in place on a terminal, a plain line now and then elsewhere.
//!
//! On a terminal it is a bar of indicatif, which draws it by a template (`view`). The progress only looks at the
//! account of the run. Whatever else is said on stderr goes through here too, so that neither tears the other.
//!
//! indicatif would count its lines upwards from the last one, which is wrong once a window was resized or something else
//! was printed. So the template ends by putting the cursor back to the start of the first line: each draw begins where
//! the cursor is, and clears what is below.

mod eta;
mod job_control;
mod style;
mod view;

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use imagekit_bulk_delete::job::RunStats;
use imagekit_bulk_delete::secret;
use imagekit_bulk_delete::summary::Summary;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::Timestamp;
use rustix::termios::tcgetwinsize;
use serde_json::Value;
use tokio::select;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{Display, LogFormat, ProgressMode};
use job_control::JobControl;
use style::{CLEAR, Colours, Span, Style};
pub(crate) use style::{broken, sanitize};
use view::{Speeds, View};

const REDRAW: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);
const PLAIN_LINE: Duration = Duration::from_secs(30);

/// What a terminal has if it does not say; indicatif takes the same.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// The one that writes to stderr while the run goes on.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    mode: ProgressMode,
    is_quiet: bool,
    colours: Colours,
    format: LogFormat,
}

/// How grave it is, for a log that wants to know.
#[derive(Debug, Clone, Copy)]
enum Level {
    Info,
    Warn,
    Error,
}

impl Progress {
    /// Chooses how to show; draws nothing yet.
    pub(crate) fn new(display: &Display) -> Self {
        let can_draw = io::stderr().is_terminal() && !is_dumb();
        let mode = match display.progress {
            _ if display.quiet => ProgressMode::None,
            ProgressMode::None => ProgressMode::None,
            // A bar in a log file helps nobody, not even who asked for it.
            ProgressMode::Auto | ProgressMode::Bar if can_draw => ProgressMode::Bar,
            ProgressMode::Auto | ProgressMode::Bar | ProgressMode::Plain => ProgressMode::Plain,
        };
        let colours = if can_draw && !is_set("NO_COLOR") {
            Colours::Yes
        } else {
            Colours::No
        };
        Self {
            bar: ProgressBar::hidden(),
            mode,
            is_quiet: display.quiet,
            colours,
            format: display.log_format,
        }
    }

    /// Shows no progress, and reports errors in this format.
    pub(crate) fn of_log(format: LogFormat) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            mode: ProgressMode::None,
            is_quiet: false,
            colours: Colours::No,
            format,
        }
    }

    /// Whether there is anything to see while the run goes on.
    pub(crate) fn is_shown(&self) -> bool {
        self.mode != ProgressMode::None
    }

    /// Shows until it is dropped.
    pub(crate) async fn show(&self, stats: &RunStats) -> Infallible {
        let mut speeds = Speeds::new(Instant::now());
        let look = |now| View::take(stats, &mut speeds, now);
        let draw = |view: &View| {
            let (done, total) = view.share.unwrap_or_default();
            self.draw(view.style(size(), self.colours), |state| {
                state.set_len(total);
                state.set_pos(done);
            });
        };
        self.watch(look, draw, View::plain).await
    }

    /// Shows a line about a check or a list, until it is dropped.
    pub(crate) async fn show_line(&self, line: impl Fn() -> String) -> Infallible {
        let draw = |line: &String| self.draw(style::line_in_place(line, columns()), |_| ());
        self.watch(|_| line(), draw, String::clone).await
    }

    /// Looks now and then; draws what it sees, or says it in a plain line.
    async fn watch<Seen>(
        &self,
        mut look: impl FnMut(Instant) -> Seen,
        draw: impl Fn(&Seen),
        plain: impl Fn(&Seen) -> String,
    ) -> Infallible {
        let every = match self.mode {
            ProgressMode::Bar => REDRAW,
            ProgressMode::Plain => LOOK,
            ProgressMode::None | ProgressMode::Auto => return std::future::pending().await,
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut shown_at = ticks.tick().await;
        if self.mode == ProgressMode::Plain {
            loop {
                ticks.tick().await;
                let now = Instant::now();
                let seen = look(now);
                if now >= shown_at + PLAIN_LINE {
                    shown_at = now;
                    self.say(&plain(&seen));
                }
            }
        }
        let _until_dropped = Shown(self);
        let mut job_control = JobControl::begin();
        loop {
            select! {
                _ = ticks.tick() => draw(&look(Instant::now())),
                () = job_control.interrupted() => {
                    self.print("");
                    job_control.stop();
                }
            }
        }
    }

    /// Draws in place of what was drawn before; another thread prints before that or after it.
    fn draw(&self, style: ProgressStyle, set: impl FnOnce(&mut ProgressState)) {
        let _alone = io::stderr().lock();
        self.bar.set_style(style);
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.update(set);
    }

    /// Says what a person must know, even with --quiet.
    pub(crate) fn must_know(&self, text: &str) {
        self.say(&sanitize(text));
    }

    /// Says what a person should know, unless --quiet.
    pub(crate) fn notice(&self, notice: &str) {
        if !self.is_quiet {
            self.say(&sanitize(notice));
        }
    }

    /// Says how the run went: all of it, or with --quiet only what is an error.
    pub(crate) fn summary(&self, summary: &Summary<'_>) {
        if self.is_quiet {
            match summary.quiet_text() {
                Some(text) if text.starts_with("warning: ") => self.must_know(&text),
                Some(text) => self.error(&text),
                None => {}
            }
            return;
        }
        if self.format == LogFormat::Json {
            let mut fields = summary.fields();
            let verdict = summary.ending.reason().unwrap_or_else(|| "done".into());
            fields["message"] = sanitize(&verdict).into();
            let level = match summary.exit_code {
                0 => Level::Info,
                _ => Level::Error,
            };
            return self.print(&object(level, &fields));
        }
        let style = if summary.exit_code == 0 {
            Style::Good
        } else {
            Style::Bad
        };
        let text = self.lines(Level::Info, &sanitize(&summary.text()));
        let (verdict, rest) = text.split_at(text.find([':', ' ']).unwrap_or(0));
        self.print(&(Span::new(verdict, style).styled(self.colours) + rest));
    }

    /// Tells an error.
    pub(crate) fn error(&self, text: &str) {
        self.print(&self.lines(Level::Error, &sanitize(text)));
    }

    fn say(&self, text: &str) {
        self.print(&self.lines(Level::Info, text));
    }

    /// For people in lines that fit their terminal, for programs an object for each line.
    fn lines(&self, level: Level, text: &str) -> String {
        let columns = io::stderr().is_terminal().then(columns);
        let line = |line: &str| match (self.format, columns) {
            (LogFormat::Json, _) => json(level, line),
            // A command is one line, for whoever copies it.
            (LogFormat::Text, Some(columns)) if !is_command(line) => broken(line, columns) + "\n",
            (LogFormat::Text, _) => format!("{line}\n"),
        };
        let prefix = match (level, self.format) {
            (Level::Error, LogFormat::Text) => "error: ",
            _ => "",
        };
        let text = format!("{prefix}{}", text.trim_end());
        text.lines().map(line).collect()
    }

    /// Prints in place of the bar, which is drawn again below at the next tick.
    fn print(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let mut text = secret::scrub(text);
        if !self.bar.is_hidden() {
            text = format!("{CLEAR}{text}").into();
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        // A closed stderr is no reason to stop deleting or recording.
        let _ = stderr.write_all(text.as_bytes());
    }
}

/// Takes the bar off the screen when it is dropped.
struct Shown<'a>(&'a Progress);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.print("");
    }
}

/// How many columns a line of words may have: one less than there are, as the last is where terminals differ.
pub(crate) fn columns() -> usize {
    size().0
}

/// Those columns, and the rows of the terminal.
fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stderr()).map(|size| (size.ws_col, size.ws_row));
    let size = size
        .ok()
        .filter(|(columns, rows)| *columns > 0 && *rows > 0);
    let (columns, rows) = size.unwrap_or(USUAL_SIZE);
    (usize::from(columns - 1), rows.into())
}

/// Indented by two blanks, as commands are.
fn is_command(line: &str) -> bool {
    line.starts_with("  ") && !line.starts_with("   ")
}

/// A line of text as a line of the log.
fn json(level: Level, line: &str) -> String {
    let (level, line) = match line.strip_prefix("warning: ") {
        Some(warning) => (Level::Warn, warning),
        None => (level, line),
    };
    object(level, &serde_json::json!({ "message": line }))
}

/// One line, of the shape that the log has.
fn object(level: Level, fields: &Value) -> String {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let line = serde_json::json!({
        "timestamp": format!("{:.6}", Timestamp::now()),
        "level": level,
        "fields": fields,
    });
    format!("{line}\n")
}

/// A terminal without a name, or of that name, cannot move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// The log goes where the progress goes.
impl<'a> MakeWriter<'a> for Progress {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine(self.clone())
    }
}

/// Writes whole log lines above the progress.
#[derive(Debug)]
pub(crate) struct LogLine(Progress);

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.print(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
