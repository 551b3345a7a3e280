//! The command line: what can be typed, in groups as the help has them.
//!
//! The doc comments of [`Cli`] are the help text; [`values`] reads what stands behind an option.

mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, ValueEnum};
use imagekit_bulk_delete::source::{self, Column, Header, Input};
use imagekit_bulk_delete::throttle::Rate;

pub(crate) use values::Share;
use values::{Pace, delimiter, duration, pace, share};

/// ImageKit's documented limit for deletions is 5 a second with bursts of 20 and 100 IDs a request.
const MOST_IDS_A_REQUEST: u64 = 100;

/// Delete very many files from an ImageKit.io media library
///
/// Reads file IDs from CSV files or stdin, deletes them within the account's rate limit, and writes one true
/// report row for each. ImageKit has no trash: what is deleted is gone for good.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// CSV files (or plain lists, .gz and .zst too), read in this order; - is stdin, and so is none
    pub(crate) input: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
    #[command(flatten)]
    pub(crate) speed: Speed,
    #[command(flatten)]
    pub(crate) look: Look,
    #[command(flatten)]
    pub(crate) safety: Safety,
    #[command(flatten)]
    pub(crate) cache: Cache,
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(flatten)]
    pub(crate) display: Display,
}

const EXAMPLES: &str = "Examples:
  See it work, nothing real is touched:
    imagekit-bulk-delete --sandbox export.csv
  Delete what a list names, asking first:
    imagekit-bulk-delete --private-key-file key.txt --column fileId export.csv
  From cron, going on where the last run ended:
    imagekit-bulk-delete --yes --resume --report old-files.{date}.csv old-files.csv

Exit codes: 0 all settled, 1 some failed, unknown or invalid, 2 usage, 3 key refused or not ImageKit,
4 a limit of yours was reached, 5 report cannot be written, 6 input broke, 75 report in use, 129/130/143 signal";

#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Reading {
    /// Column that holds the IDs, by its header's name or its number from 1 [default: fileId, file_id, fileid, id,
    /// _id, or the only one]
    #[arg(short, long, value_name = "NAME|NUMBER")]
    column: Option<String>,
    /// Character between cells; `tab` is one [default: a comma, a tab for .tsv]
    #[arg(short, long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// The first line is a record, not a header
    #[arg(long)]
    no_header: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportOptions {
    /// Where the report goes; - is stdout; {date} and {datetime} are filled in, UTC [default: <input>.report.csv]
    #[arg(short = 'o', long, value_name = "PATH")]
    pub(crate) report: Option<String>,
    /// Go on with the report's job: what is settled there is not asked again; starts fresh without a report
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) resume: bool,
    /// Start a new job and keep an existing report as <report>.bak
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Speed and retry")]
pub(crate) struct Speed {
    /// IDs a request; 1 uses the single-file endpoint
    #[arg(short, long, value_name = "N", default_value_t = MOST_IDS_A_REQUEST,
        value_parser = clap::value_parser!(u64).range(1..=MOST_IDS_A_REQUEST))]
    batch_size: u64,
    /// Requests in the air
    #[arg(short = 'j', long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    concurrency: u64,
    /// Requests: auto follows what ImageKit allows, or N a second, N/m a minute, or unlimited
    #[arg(short, long, value_name = "auto|N[/s|/m]|unlimited", default_value = "auto", value_parser = pace)]
    rate: Pace,
    /// Requests that may leave at once under --rate N [default: 1, from 100/s on N/100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
    /// Attempts for each ID or batch; 429s and outages are not counted
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_attempts: u32,
    /// Longest that one attempt may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Longest that making a connection may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// Stop after this time without one success, resumable
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) max_outage: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Look {
    /// Read and check all input and say what the run would do; nothing is sent
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: ask ImageKit, by reads alone, which files exist, and list them [default: <input>.check.csv]
    #[arg(long, requires = "dry_run", conflicts_with = "resume")]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Safety {
    /// Do not ask; required where there is no terminal
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Refuse to start if more than this many IDs would be sent
    #[arg(long, value_name = "N")]
    pub(crate) max_delete: Option<u64>,
    /// Refuse to start unless the input holds exactly this many distinct valid IDs
    #[arg(long, value_name = "N")]
    pub(crate) expect_count: Option<u64>,
    /// Stop when more than this many, or more than P% after 1000 decided, failed or are unknown
    #[arg(long, value_name = "N|P%", value_parser = share)]
    pub(crate) max_failures: Option<Share>,
    /// Stop likewise when so many were not found
    #[arg(long, value_name = "N|P%", value_parser = share)]
    pub(crate) max_not_found: Option<Share>,
    /// Send nothing new after this time, resumable
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) max_duration: Option<Duration>,
    /// Run against an ImageKit look-alike inside this process: no key, nothing real is touched
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Serve the look-alike alone, for other clients, until Ctrl-C
    #[arg(long, value_name = "ADDR")]
    pub(crate) sandbox_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct Cache {
    /// Purge each deleted file's URL from the CDN, which ImageKit does not do by itself
    #[arg(long)]
    pub(crate) purge_cache: bool,
    /// Refuse to start if more than this many would be purged: plans have a monthly quota
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        requires = "purge_cache"
    )]
    max_purges: u64,
}

impl Cache {
    /// The most purges that the run may have to do; `None` where nothing is purged.
    pub(crate) fn max_purges(&self) -> Option<u64> {
        self.purge_cache.then_some(self.max_purges)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionOptions {
    /// File whose first line is the private key [default: the variable IMAGEKIT_PRIVATE_KEY]
    #[arg(long, value_name = "PATH")]
    pub(crate) private_key_file: Option<PathBuf>,
    /// Where the API is; plain http only to this machine
    #[arg(
        long,
        value_name = "URL",
        env = "IMAGE_KIT_BASE_URL",
        default_value = "https://api.imagekit.io"
    )]
    pub(crate) base_url: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub(crate) struct Display {
    /// Progress on stderr
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ProgressMode::Auto)]
    pub(crate) progress: ProgressMode,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What is logged to stderr
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    pub(crate) log_level: LogLevel,
    /// How it is logged
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, plain lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// A line every 30 s
    Plain,
    /// Nothing
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing
    Off,
    /// What ends the run
    Error,
    /// What an operator should know
    Warn,
    /// What the run does
    Info,
    /// Each request
    Debug,
    /// Everything
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

impl Reading {
    pub(crate) fn options(&self) -> Result<source::Options> {
        let column = match self
            .column
            .as_deref()
            .map(|column| (column, column.parse::<usize>()))
        {
            None => None,
            Some((_, Ok(0))) => bail!("--column counts from 1"),
            Some((_, Ok(number))) => Some(Column::Number(number)),
            Some((name, Err(_))) => Some(Column::Name(name.into())),
        };
        if self.no_header && matches!(column, Some(Column::Name(_))) {
            bail!("--no-header leaves no names; give --column as a number");
        }
        let header = if self.no_header {
            Header::None
        } else {
            Header::Detect
        };
        Ok(source::Options {
            column,
            header,
            delimiter: self.delimiter,
        })
    }
}

impl Speed {
    pub(crate) fn batch_size(&self) -> usize {
        usize::try_from(self.batch_size).unwrap_or(1)
    }

    pub(crate) fn concurrency(&self) -> usize {
        usize::try_from(self.concurrency).unwrap_or(1)
    }

    pub(crate) fn rate(&self) -> Result<Rate> {
        match self.rate {
            Pace::PerSecond(per_second) => Ok(Rate::PerSecond {
                per_second,
                burst: self.burst.unwrap_or(default_burst(per_second)),
            }),
            Pace::Auto | Pace::Unlimited if self.burst.is_some() => {
                bail!("--burst goes with --rate N")
            }
            Pace::Auto => Ok(Rate::Auto),
            Pace::Unlimited => Ok(Rate::Unlimited),
        }
    }
}

/// One request, but a hundredth of a second's worth where a timer is too coarse for single ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive and at most 1e6"
)]
fn default_burst(per_second: f64) -> u32 {
    if per_second < 100.0 {
        1
    } else {
        (per_second / 100.0).round() as u32
    }
}

impl Cli {
    /// The inputs to open; stdin where none is named.
    pub(crate) fn inputs(&self) -> Result<Vec<Input>> {
        let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
        if self.input.iter().filter(|path| is_stdin(path)).count() > 1 {
            bail!("stdin (-) can be read only once");
        }
        if self.input.is_empty() {
            return Ok(vec![Input::Stdin]);
        }
        let input = |path: &PathBuf| {
            if is_stdin(path) {
                Input::Stdin
            } else {
                Input::File(path.clone())
            }
        };
        Ok(self.input.iter().map(input).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_burst_grows_where_a_timer_is_too_coarse() {
        assert_eq!(default_burst(99.0), 1);
        assert_eq!(default_burst(100.0), 1);
        assert_eq!(default_burst(1000.0), 10);
    }
}
