//! The log: warnings read like every other message, the rest like a log.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::options::{Cli, LogFormat};
use crate::progress::Progress;

/// Starts to log, as far as the options ask for it.
pub(crate) fn start(cli: &Cli, progress: &Progress) {
    let level = match cli.display.log_level {
        LevelFilter::WARN if cli.display.quiet => LevelFilter::ERROR,
        level => level,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(progress.clone())
        .with_target(false)
        .with_ansi(false);
    match cli.display.log_format {
        LogFormat::Text => log.event_format(Text::default()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Lines for people.
#[derive(Default)]
struct Text(Format);

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let prefix = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => return self.0.format_event(context, writer, event),
        };
        write!(writer, "{prefix}")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
