//! What the process needs of the machine: threads, open files, and an error where the system would end it.
//!
//! All of it is found out before anything is opened or sent.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::panic;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use imagekit_bulk_delete::secret;
use rustix::fs::{OFlags, fcntl_getfl, fstat};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::options::Cli;

/// Files that are open beside the connections at the worst moment: the runtime's own, the report and what belongs to
/// it, name resolution, the files that replace others.
const RESERVED: u64 = 10;

/// Files that the end of a run has open at once: the old report and its copy, or the report and a page.
const AT_THE_END: usize = 3;

/// The most files that are asked for: macOS refuses more, and connections need no more.
const MAX_FILES: u64 = 10_240;

/// What is wrong where not even the runtime starts.
const SHORT: &str = "cannot start: this machine, user or container is short of threads (`ulimit -u`, pids limit) or open files (`ulimit -n`); allow more";

/// A thread that is there stays.
const FOR_GOOD: Duration = Duration::from_hours(365 * 24);

/// The runtime, deaf to the signal of a file that grows too large, with one thread for what blocks.
///
/// Where no further thread can be started, that one does all that blocks; without it tokio would panic later.
pub(crate) fn start_runtime() -> Result<Runtime> {
    // tokio says by panics that there is no thread or file for it; the hook that prints them comes after this.
    panic::set_hook(Box::new(|_| ()));
    let started = panic::catch_unwind(|| -> io::Result<Runtime> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_keep_alive(FOR_GOOD)
            .build()?;
        runtime.spawn_blocking(|| ());
        // From now on a write beyond the limit fails, and the run ends as with a full disk.
        runtime
            .block_on(async { signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop) })?;
        Ok(runtime)
    });
    panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        let _ = writeln!(io::stderr(), "{}", secret::scrub(&text));
    }));
    match started {
        Ok(Ok(runtime)) => Ok(runtime),
        Ok(Err(error)) => Err(error).context(SHORT),
        Err(_) => bail!(SHORT),
    }
}

/// Lets the process open as many files as it may, and takes back concurrency that it still cannot have; what to tell
/// of that.
pub(crate) fn fit_open_files(cli: &mut Cli) -> Result<Option<String>> {
    let Some(limit) = raised_file_limit() else {
        return Ok(None);
    };
    let inputs = cli.input.len().max(1) as u64;
    // A connection of the sandbox has its other end in here, too.
    let files_each = if cli.safety.sandbox { 3 } else { 1 };
    let taken = open_files() + inputs + RESERVED;
    let connections = limit.saturating_sub(taken) / files_each;
    if connections == 0 {
        bail!(
            "this process may open {limit} files only, which is too few; raise `ulimit -n` to {} or more",
            taken + files_each
        );
    }
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    if connections >= cli.speed.concurrency {
        return Ok(None);
    }
    let asked = std::mem::replace(&mut cli.speed.concurrency, connections);
    Ok(Some(format!(
        "warning: this process may open {limit} files only, so at most {connections} requests are in flight, not {asked}; raise `ulimit -n` for more"
    )))
}

/// The limit on open files, as high as it goes; `None` where there is none.
fn raised_file_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let wanted = maximum.unwrap_or(MAX_FILES).min(MAX_FILES).max(current);
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    Some(setrlimit(Resource::Nofile, raised).map_or(current, |()| wanted))
}

/// How many files are open now: those that were handed over, too.
fn open_files() -> u64 {
    const USUAL: u64 = 3;
    // The folder itself is open while it is read.
    fs::read_dir("/dev/fd").map_or(USUAL, |files| files.count().saturating_sub(1) as u64)
}

/// Files that are kept open for the end of a run, so that it can open its own where there are none left by then.
pub(crate) fn reserve_files() -> Vec<File> {
    (0..AT_THE_END)
        .map_while(|_| File::open("/dev/null").ok())
        .collect()
}

/// Refuses a stdout that is closed or cannot be written to, where `option` wants it: Rust's library takes both for
/// success.
pub(crate) fn check_stdout(option: &str) -> Result<()> {
    let stdout = io::stdout();
    let flags = fcntl_getfl(&stdout).context("cannot look at stdout")?;
    let access = flags & OFlags::ACCMODE;
    if access == OFlags::RDONLY {
        bail!("stdout cannot be written to; give {option} a path instead of -");
    }
    // What was closed when the program began is then this device, open for both; a shell's `>/dev/null` only writes.
    let null = fs::metadata("/dev/null").map(|null| null.rdev()).ok();
    let device = fstat(&stdout).map(|stdout| stdout.st_rdev).ok();
    if access == OFlags::RDWR && null.is_some() && device == null {
        bail!("stdout is closed; give {option} a path instead of -");
    }
    Ok(())
}
