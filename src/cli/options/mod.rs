//! The command line: what can be typed, in groups as the help has them.
//!
//! The doc comments of [`Cli`] are the help text; [`values`] reads what stands behind an option.

mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{
    Arg, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum, ValueHint,
};
use imagekit_bulk_delete::job::Threshold;
use imagekit_bulk_delete::source::{self, Column, Header, Input};
use imagekit_bulk_delete::target::is_hex_id;
use imagekit_bulk_delete::throttle::Rate;
use tracing::level_filters::LevelFilter;

use super::help;
use values::{
    Pace, address, at_least_one, count, delimiter, duration, log_level, pace, pattern, threshold,
    up_to,
};

/// Delete very many files from an ImageKit.io media library
///
/// Reads file IDs from CSV files or stdin, deletes the files within the account's rate limit, and writes one true
/// report row for each ID. ImageKit has no trash: a deleted file cannot be brought back.
#[derive(Debug, Parser)]
#[command(version, allow_negative_numbers = true, max_term_width = 100, after_help = help::MORE, after_long_help = help::after_long_help())]
pub(crate) struct Cli {
    /// CSV files or plain lists, also .gz and .zst; - is stdin [default: stdin]
    ///
    /// They are read in the order given. All are opened, and their headers checked, before anything is sent.
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
    /// What was typed, as it was typed.
    #[arg(skip)]
    typed: ArgMatches,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Reading {
    /// Column of the IDs [default: fileId, id or similar, or the only one]
    ///
    /// The name in its header, or its number counted from 1. By default it is the column named fileId, file_id,
    /// fileid, id or _id (in any case), otherwise the only column.
    #[arg(short, long, value_name = "NAME|NUMBER", value_hint = ValueHint::Other)]
    column: Option<String>,
    /// Character between cells, or its name [default: detected]
    ///
    /// The names are comma, semicolon, tab and pipe. By default it is a tab in .tsv files and otherwise a comma; a
    /// semicolon or a tab if the first line has one and no comma; or what a first line such as sep=; says.
    #[arg(short, long, value_name = "CHAR", value_parser = delimiter, value_hint = ValueHint::Other)]
    delimiter: Option<u8>,
    /// File of IDs that must not be deleted; repeatable
    ///
    /// A list, an export or a report, read by the same rules as the input, with its own header. A record that names
    /// one of its IDs is excluded: nothing is sent for it. A file that cannot be read or has no ID is an error.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) except: Vec<PathBuf>,
    /// Treat the first line as a record, not as a header
    #[arg(long)]
    no_header: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportOptions {
    /// Where to write the report; - is stdout [default: <input>.report.csv]
    ///
    /// {date} and {datetime} are filled in (UTC): 2026-11-24, 20261124T070846Z. Only you can read the file. An
    /// existing report is never overwritten: see --resume and --overwrite.
    #[arg(short = 'o', long, value_name = "PATH", value_parser = pattern, value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<String>,
    /// Continue the job of an existing report, or start it
    ///
    /// IDs that the report has settled (deleted, not_found, gone, invalid) are not sent again; everything else in
    /// the input is, whatever ended the last run. Without a report it starts a new one. IDs are matched, not
    /// lines, so the input may have changed in between.
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) resume: bool,
    /// Start a new job; an existing report is kept as <report>.bak
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Also write the report as an HTML page
    ///
    /// One self-contained file for a browser or an email; - is stdout, {date} and {datetime} are filled in.
    #[arg(long, value_name = "PATH", value_parser = pattern, value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<String>,
    /// Only make the page, from an existing report
    ///
    /// Needs no input and no key; nothing is sent.
    #[arg(long, value_name = "REPORT", requires = "html", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["input", "report", "resume", "overwrite", "sandbox", "sandbox_listen"])]
    pub(crate) from_report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Speed and retry")]
pub(crate) struct Speed {
    /// IDs per request; 1 uses the single-file endpoint
    #[arg(short, long, value_name = "N", default_value_t = values::MAX_BATCH_SIZE,
        value_parser = up_to::<{ values::MAX_BATCH_SIZE }>, value_hint = ValueHint::Other)]
    pub(crate) batch_size: usize,
    /// Requests in flight at the same time
    #[arg(short = 'j', long, value_name = "N", default_value_t = 16,
        value_parser = up_to::<{ values::MAX_CONCURRENCY }>, value_hint = ValueHint::Other)]
    pub(crate) concurrency: usize,
    /// Requests per second, or N/m, auto or unlimited
    ///
    /// auto starts from ImageKit's documented limits and follows what its responses say. A number is never
    /// exceeded: at most N*T + burst requests in any T seconds, retries included.
    #[arg(short, long, value_name = "RATE", default_value = "auto", value_parser = pace, value_hint = ValueHint::Other)]
    rate: Pace,
    /// Requests that may be sent at once under --rate N [default: 1]
    ///
    /// From 100/s on the default is N/100, since timers are too coarse for single requests.
    #[arg(long, value_name = "N", value_parser = at_least_one, value_hint = ValueHint::Other)]
    burst: Option<u32>,
    /// Attempts per ID or batch, not counting 429s
    ///
    /// Attempts during an outage do not count either. Connection errors, timeouts, broken responses, 408, 425 and
    /// 5xx are retried with exponential backoff and jitter; any other refusal is final.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = at_least_one, value_hint = ValueHint::Other)]
    pub(crate) max_attempts: u32,
    /// Time limit for one attempt
    ///
    /// A stop waits for the requests in flight: whatever stops this program should give it longer than this.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) timeout: Duration,
    /// Time limit for connecting
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) connect_timeout: Duration,
    /// Stop, resumable, after this long with no success
    ///
    /// While the API as a whole is failing, the run slows to one request at a time instead of failing every ID.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) max_outage: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Look {
    /// Read all input and report what a run would do
    ///
    /// Nothing is sent, and no key is needed without --check. Prints counts, the requests and the time a run would
    /// take, and the first and last IDs. --max-delete, --expect-count and --max-purges refuse as they would a run.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: ask ImageKit which files exist
    ///
    /// Only reads. Writes a row per ID to --report [default: <input>.check.csv] with type, path, size, age and URL;
    /// that file is valid input for a run. Until it is complete, its name ends in .part.
    #[arg(long, requires = "dry_run", conflicts_with = "resume")]
    pub(crate) check: bool,
    /// List the files that a search finds; delete nothing
    ///
    /// QUERY is in ImageKit's searchQuery language, as in 'path : "/old/" AND createdAt < "1y"'. The list goes to
    /// --report [default: imagekit-bulk-delete.list.csv] and is valid input for a run and for --dry-run --check. It
    /// is complete even while files come and go. Until it is, its name ends in .part.
    #[arg(long, value_name = "QUERY", value_hint = ValueHint::Other,
        conflicts_with_all = ["input", "column", "delimiter", "no_header", "except", "resume", "html", "from_report", "batch_size",
            "dry_run", "check", "max_delete", "expect_count", "max_failures", "max_not_found", "sandbox_listen",
            "purge_cache"])]
    pub(crate) list: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Safety {
    /// Do not ask for confirmation; required without a terminal
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Refuse to start if more IDs than this would be sent
    #[arg(long, value_name = "N", value_parser = count, value_hint = ValueHint::Other)]
    pub(crate) max_delete: Option<u64>,
    /// Refuse to start unless the input has exactly this many IDs
    ///
    /// Counts distinct valid IDs.
    #[arg(long, value_name = "N", value_parser = count, value_hint = ValueHint::Other)]
    pub(crate) expect_count: Option<u64>,
    /// Stop, resumable, when more than this failed or are unknown
    ///
    /// A percentage such as 5% is of all records decided so far, and applies once 1000 are. Earlier runs of the job
    /// count; what they left failed or unknown is tried again and counts as it turns out now.
    #[arg(long, value_name = "N|P%", value_parser = threshold, value_hint = ValueHint::Other)]
    pub(crate) max_failures: Option<Threshold>,
    /// Stop, resumable, when more than this were not found
    ///
    /// With a list for the wrong account, most IDs are not found. A percentage such as 5% is of all records decided so
    /// far, and applies once 1000 are. IDs that earlier runs of the job did not find count too: raise it to continue.
    #[arg(long, value_name = "N|P%", value_parser = threshold, value_hint = ValueHint::Other)]
    pub(crate) max_not_found: Option<Threshold>,
    /// Stop, resumable, after this much time
    #[arg(long, value_name = "DURATION", value_parser = duration, value_hint = ValueHint::Other)]
    pub(crate) max_duration: Option<Duration>,
    /// Rehearse against a built-in ImageKit look-alike
    ///
    /// The whole job runs against a server inside this process: no key is needed, nothing leaves the machine, some
    /// files are missing and some responses fail. Files it writes get .sandbox before their extension.
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Only serve the look-alike, for other clients, until Ctrl-C
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with_all = ["input", "yes"], value_hint = ValueHint::Other)]
    pub(crate) sandbox_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct Cache {
    /// Also purge deleted files from the CDN cache
    ///
    /// ImageKit's CDN keeps serving a deleted file until its URL is purged. The URL comes from the input's url
    /// column, or is looked up before the deletion.
    #[arg(long)]
    pub(crate) purge_cache: bool,
    /// Refuse to start if more purges than this would be needed
    ///
    /// ImageKit's plans have a monthly purge quota, 1000 by default.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "purge_cache", value_parser = count, value_hint = ValueHint::Other)]
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
    /// Its first line is used. There is no option for the key itself, because other users could read it in the list of
    /// processes.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) private_key_file: Option<PathBuf>,
    /// Base URL of the API [default: https://api.imagekit.io]
    ///
    /// Can also be set by IMAGE_KIT_BASE_URL. Plain http is allowed only to this machine. HTTPS_PROXY and the
    /// system's certificates are honoured.
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
    /// auto is a bar on a terminal and plain elsewhere; plain prints a line every 30 s. What is typed while there is a
    /// bar does not show.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ProgressMode::Auto, hide_possible_values = true)]
    pub(crate) progress: ProgressMode,
    /// Print only errors and what needs attention
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Log to stderr: off, error, warn, info, debug or trace
    ///
    /// error: what ends the run; warn: what an operator should know; info: what the run does; debug: each request.
    #[arg(long, value_name = "LEVEL", value_parser = log_level(), default_value = "warn", hide_possible_values = true)]
    pub(crate) log_level: LevelFilter,
    /// Log format: text or json (one object per line)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
    /// Print the man page or a shell completion: man, complete-bash, ...
    ///
    /// man, complete-bash, complete-zsh or complete-fish, to stdout; does nothing else.
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        hide_possible_values = true,
        conflicts_with = "input"
    )]
    pub(crate) generate: Option<Document>,
    /// Write a summary of the run as a JSON object
    ///
    /// Written whenever a run ends, also early; - is stdout. A dry run writes none.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) summary_json: Option<PathBuf>,
    /// Write metrics for Prometheus to a file
    ///
    /// Replaced every 10 s and at the end, for node_exporter's textfile collector for example.
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
    pub(crate) fn rate(&self) -> Result<Rate> {
        match self.rate {
            Pace::PerSecond(per_second) => Ok(Rate::PerSecond {
                per_second,
                burst: self.burst.unwrap_or(default_burst(per_second)),
            }),
            Pace::Auto | Pace::Unlimited if self.burst.is_some() => {
                bail!("--burst needs --rate N")
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
    /// Reads the command line.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let typed = Self::command().try_get_matches()?;
        let cli = Self::from_arg_matches(&typed);
        let cli = cli.map_err(|error| error.format(&mut Self::command()))?;
        Ok(Self { typed, ..cli })
    }

    /// What stands behind each option and input, typed or not, by the name under which it is typed.
    pub(crate) fn values(&self) -> Vec<(String, Vec<OsString>)> {
        let values = |argument: &Arg| {
            let place = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => "an input".into(),
            };
            let raw = self.typed.get_raw(argument.get_id().as_str());
            let values = raw.into_iter().flatten().map(ToOwned::to_owned);
            (place, values.collect())
        };
        Self::command().get_arguments().map(values).collect()
    }

    /// The inputs to open; stdin where none is named.
    pub(crate) fn inputs(&self) -> Result<Vec<Input>> {
        let is_stdin = |path: &&PathBuf| path.as_os_str() == "-";
        let named = self.input.iter().chain(&self.reading.except);
        if named.filter(is_stdin).count() + usize::from(self.input.is_empty()) > 1 {
            bail!("stdin can be read only once; give a file for the other");
        }
        if self.input.is_empty() {
            return Ok(vec![Input::Stdin]);
        }
        self.input.iter().map(|path| input(path)).collect()
    }

    /// The lists of `--except`.
    pub(crate) fn exceptions(&self) -> Result<Vec<Input>> {
        self.reading.except.iter().map(|path| input(path)).collect()
    }
}

fn input(path: &Path) -> Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(Input::Stdin);
    }
    if path.to_str().is_some_and(is_hex_id) && !path.exists() {
        let id = path.display();
        bail!(
            "{id} is no file; if it is an ID, pipe it in, as in `echo {id} | imagekit-bulk-delete --yes`"
        );
    }
    Ok(Input::File(path.to_owned()))
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
