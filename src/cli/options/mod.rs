//! The command line: what can be typed, in groups as the help has them.
//!
//! The doc comments of [`Cli`] are the help text; [`values`] reads what stands behind an option.

mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, ValueEnum, ValueHint};
use imagekit_bulk_delete::job::Threshold;
use imagekit_bulk_delete::source::{self, Column, Header, Input};
use imagekit_bulk_delete::throttle::Rate;

use super::help;
use values::{Pace, delimiter, duration, pace, threshold};

/// ImageKit's documented limit for deletions is 5 a second with bursts of 20 and 100 IDs a request.
const MOST_IDS_A_REQUEST: u64 = 100;

/// Delete very many files from an ImageKit.io media library
///
/// Reads file IDs from CSV files or stdin, deletes them within the account's rate limit, and writes one true
/// report row for each. ImageKit has no trash: what is deleted is gone for good.
#[derive(Debug, Parser)]
#[command(version, allow_negative_numbers = true, max_term_width = 100, after_help = help::MORE, after_long_help = help::after_long_help())]
pub(crate) struct Cli {
    /// CSV files or plain lists, .gz and .zst too; - is stdin [default: stdin]
    ///
    /// They are read in this order. All are opened, and their headers checked, before anything is sent.
    #[arg(value_hint = ValueHint::FilePath)]
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

#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Reading {
    /// Column of the IDs [default: fileId, id and the like, or the only one]
    ///
    /// By its header's name, or by its number from 1. Without it, a column named fileId, file_id, fileid, id or
    /// _id (in any case) is taken, else the only column there is.
    #[arg(short, long, value_name = "NAME|NUMBER", value_hint = ValueHint::Other)]
    column: Option<String>,
    /// Character between cells, or tab [default: a comma, a tab for .tsv]
    #[arg(short, long, value_name = "CHAR", value_parser = delimiter, value_hint = ValueHint::Other)]
    delimiter: Option<u8>,
    /// The first line is a record, not a header
    #[arg(long)]
    no_header: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportOptions {
    /// Where the report goes; - is stdout [default: <input>.report.csv]
    ///
    /// {date} and {datetime} in it are filled in, UTC: 2026-11-24, 20261124T070846Z. Only you can read the file,
    /// and one that exists is never overwritten: see --resume and --overwrite.
    #[arg(short = 'o', long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<String>,
    /// Go on with the report's job; start fresh where there is no report
    ///
    /// What is settled there (deleted, not_found, gone, invalid) is not asked again; the rest of the input is
    /// done, whatever ended the last run. It goes by ID, so the input may have changed in between.
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) resume: bool,
    /// Start a new job and keep an existing report as <report>.bak
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Write the report as one page to look at, too
    ///
    /// One HTML file that needs nothing else, for a browser or a mail; - is stdout, and {date} and {datetime} in
    /// it are filled in.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<String>,
    /// Only make the page, from a finished report
    ///
    /// It needs no input and no key, and nothing is sent.
    #[arg(long, value_name = "REPORT", requires = "html", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["input", "report", "resume", "overwrite", "sandbox", "sandbox_listen"])]
    pub(crate) from_report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Speed and retry")]
pub(crate) struct Speed {
    /// IDs a request; 1 uses the single-file endpoint
    #[arg(short, long, value_name = "N", default_value_t = MOST_IDS_A_REQUEST,
        value_parser = clap::value_parser!(u64).range(1..=MOST_IDS_A_REQUEST), value_hint = ValueHint::Other)]
    batch_size: u64,
    /// Requests in the air
    #[arg(short = 'j', long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u64).range(1..=1024), value_hint = ValueHint::Other)]
    concurrency: u64,
    /// Requests: N a second, N/m, auto or unlimited
    ///
    /// auto starts from ImageKit's documented limits and follows what its answers say. A number is kept to: in any
    /// T seconds at most N*T + burst requests leave, retries counted.
    #[arg(short, long, value_name = "RATE", default_value = "auto", value_parser = pace, value_hint = ValueHint::Other)]
    rate: Pace,
    /// Requests that may leave at once under --rate N [default: 1]
    ///
    /// From 100/s on the default is N/100, since timers are too coarse for single ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), value_hint = ValueHint::Other)]
    burst: Option<u32>,
    /// Attempts for each ID or batch, 429s not counted
    ///
    /// Attempts during an outage are not counted either. Connection errors, time-outs, broken answers, 408, 425
    /// and 5xx are tried again, with a growing and random delay; other refusals are final.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..), value_hint = ValueHint::Other)]
    pub(crate) max_attempts: u32,
    /// Longest that one attempt may take
    ///
    /// A stop waits for the requests in the air, so whatever stops this program should give it longer than this.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) timeout: Duration,
    /// Longest that making a connection may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) connect_timeout: Duration,
    /// Stop, resumable, after this without a success
    ///
    /// While ImageKit as a whole is failing the run slows to one request at a time instead of failing every ID.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) max_outage: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Look {
    /// Read all input and say what the run would do
    ///
    /// Nothing is sent, and no key is needed without --check. Counts, the requests and the time that the run would
    /// take, the first and last IDs; --max-delete, --expect-count and --max-purges refuse as they would the run.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: ask ImageKit which files exist
    ///
    /// By reads alone. A row for each ID goes to --report [default: <input>.check.csv], with its type, path, size,
    /// age and URL; it is valid input for the run.
    #[arg(long, requires = "dry_run", conflicts_with = "resume")]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Safety {
    /// Do not ask; required where there is no terminal
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Refuse to start if more IDs than this would be sent
    #[arg(long, value_name = "N", value_hint = ValueHint::Other)]
    pub(crate) max_delete: Option<u64>,
    /// Refuse to start unless the input has exactly so many IDs
    ///
    /// Distinct valid ones are counted.
    #[arg(long, value_name = "N", value_hint = ValueHint::Other)]
    pub(crate) expect_count: Option<u64>,
    /// Stop, resumable, when more than this are failed or unknown
    ///
    /// A share such as 5% is judged once 1000 are decided.
    #[arg(long, value_name = "N|P%", value_parser = threshold, value_hint = ValueHint::Other)]
    pub(crate) max_failures: Option<Threshold>,
    /// Stop, resumable, when more than this were not found
    ///
    /// A list for the wrong account is mostly that. A share such as 5% is judged once 1000 are decided. What earlier
    /// runs did not find counts too: to go on, give more.
    #[arg(long, value_name = "N|P%", value_parser = threshold, value_hint = ValueHint::Other)]
    pub(crate) max_not_found: Option<Threshold>,
    /// Send nothing new after this time, resumable
    #[arg(long, value_name = "DURATION", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) max_duration: Option<Duration>,
    /// Rehearse against a built-in look-alike; nothing real is touched
    ///
    /// The whole job runs against an ImageKit inside this process that needs no key, misses some files and has some
    /// faults. Files that it writes get .sandbox before their extension.
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Serve the look-alike alone, for other clients, until Ctrl-C
    #[arg(long, value_name = "ADDR", value_hint = ValueHint::Other)]
    pub(crate) sandbox_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct Cache {
    /// Purge the CDN of each file that is gone
    ///
    /// ImageKit goes on serving a deleted file from its caches until its URL is purged. The URL comes from the
    /// input's url column, or is read from ImageKit before the deletion.
    #[arg(long)]
    pub(crate) purge_cache: bool,
    /// Refuse to start if more would be purged
    ///
    /// ImageKit's plans have a monthly quota of purges, some 1000.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "purge_cache", value_hint = ValueHint::Other)]
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
    /// File with the private key [default: $IMAGEKIT_PRIVATE_KEY]
    ///
    /// Its first line is taken. There is no option for the key itself: others could read it in the list of processes.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) private_key_file: Option<PathBuf>,
    /// Where the API is [default: https://api.imagekit.io]
    ///
    /// The variable IMAGE_KIT_BASE_URL says it too. Plain http only to this machine. HTTPS_PROXY and the system's
    /// certificates are honoured.
    // clap's own words on the default and the variable would make a second line of it in the short help.
    #[arg(
        long,
        value_name = "URL",
        env = "IMAGE_KIT_BASE_URL",
        hide_env = true,
        default_value = "https://api.imagekit.io",
        hide_default_value = true,
        value_hint = ValueHint::Url
    )]
    pub(crate) base_url: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub(crate) struct Display {
    /// Progress on stderr: auto, bar, plain or none
    ///
    /// auto is a bar on a terminal and plain elsewhere; plain is a line every 30 s.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ProgressMode::Auto, hide_possible_values = true)]
    pub(crate) progress: ProgressMode,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Log to stderr: off, error, warn, info, debug or trace
    ///
    /// error is what ends the run, warn what an operator should know, info what the run does, debug each request.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn, hide_possible_values = true)]
    pub(crate) log_level: LogLevel,
    /// How it is logged: text or json, an object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
    /// Print the man page or a completion: man, complete-bash, ...
    ///
    /// man, complete-bash, complete-zsh or complete-fish, to stdout; nothing else is done.
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        hide_possible_values = true,
        conflicts_with = "input"
    )]
    pub(crate) generate: Option<Document>,
    /// Write what the run came to as a JSON object
    ///
    /// At every end of the run, an early stop included; - is stdout. A dry run writes none.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) summary_json: Option<PathBuf>,
    /// Keep a file of metrics for Prometheus
    ///
    /// Replaced every 10 s and at the end, for node_exporter's textfile collector, say.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) metrics_file: Option<PathBuf>,
}

/// What `--generate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// The man page, for man(1)
    Man,
    /// Completions for bash
    CompleteBash,
    /// Completions for zsh
    CompleteZsh,
    /// Completions for fish
    CompleteFish,
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
        self.input.iter().map(|path| input(path)).collect()
    }
}

fn input(path: &Path) -> Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(Input::Stdin);
    }
    if path.to_str().is_some_and(looks_like_an_id) && !path.exists() {
        let id = path.display();
        bail!(
            "{id} is no file; if it is an ID, pipe it in, as in `echo {id} | imagekit-bulk-delete --yes`"
        );
    }
    Ok(Input::File(path.to_owned()))
}

fn looks_like_an_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
