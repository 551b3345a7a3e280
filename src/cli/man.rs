//! The man page: what clap knows of the options, and the sections that a man page has beside them.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use imagekit_bulk_delete::outcome::Status;

use super::help;

/// When what the page says last changed.
const REVISED: &str = "2026-11-28";

const USAGE: &str = "imagekit-bulk-delete [OPTION]... [INPUT]...
imagekit-bulk-delete --sandbox-listen ADDR
imagekit-bulk-delete --generate WHAT";

const ENVIRONMENT: &str = "\
IMAGEKIT_PRIVATE_KEY: The private key, unless --private-key-file is given.
IMAGE_KIT_BASE_URL: Base URL of the API, unless --base-url is given.
HTTPS_PROXY, NO_PROXY: The proxy to use, and the hosts to reach without it. This machine is never reached through a proxy.
SSL_CERT_FILE, SSL_CERT_DIR: Certificates to trust instead of the system's.
NO_COLOR: If set and not empty, print no colours.
TMPDIR: Where piped input is stored while its records are counted.";

const FILES: &str = "\
<input>.report.csv: The report, in the working directory or where --report says: one row per record. It is valid input for another run.
<report>.state: The IDs in flight, and the lock that keeps a second run out. It is removed once everything is settled; do not delete it earlier.
<report>.bak, .bak.2, ...: Reports that --overwrite replaced.
<report>.torn: The cut-off end of a report that --resume repaired.
<report>.sandbox.csv: The report of a rehearsal with --sandbox.";

/// The report's columns.
const COLUMNS: &str = "\
file_id: The ID as read, trimmed.
status: See STATUSES.
http_status: Status code of the last response; empty if there was none.
error: A stable code for grouping: not_found, invalid_id, not_a_file, rejected, server_error, timeout, connection, bad_response, duplicate, excluded or interrupted. Empty for deleted.
attempts: Requests of this run that named the ID, whatever came back; a batch counts once for each of its IDs.
duration_ms: Milliseconds from the first attempt of this run to the decision.
finished_at: When it was decided, UTC.
request_id: ImageKit's x-ik-requestId of the deciding response, by which their support finds the request.
line, input: Where the record is: the line as an editor shows it, and the name of the input.
message: The reason, in words.
url: From the input's url column, or looked up for the purge.
purge, purge_request_id: With --purge-cache: requested, failed, no_url or over_limit, and ImageKit's ID of the purge.";

const DURATIONS: &str = "\
90s, 10m, 1h30m: Options that take a DURATION accept these forms. A bare number is in seconds.";

/// The page in roff, ready for man(1).
pub(super) fn page(command: Command) -> io::Result<String> {
    let title = command.get_name().to_uppercase();
    let man = Man::new(command.override_usage(USAGE))
        .title(title)
        .date(REVISED)
        .manual("User Commands");
    let text = written(|out| {
        man.render_title(out)?;
        man.render_name_section(out)?;
        man.render_synopsis_section(out)?;
        man.render_description_section(out)
    })?;
    Ok(text + &options(&man)? + &written(|out| more_sections().to_writer(out))?)
}

fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The options under one section, their headings below it, and no blank lines, which man pages must not have.
fn options(man: &Man) -> io::Result<String> {
    let text = written(|out| man.render_options_section(out))?;
    Ok(text
        .replace("\n\n", "\n.sp\n")
        .replace("\n.SH ", "\n.SS ")
        .replacen("\n.SS OPTIONS", "\n.SH OPTIONS", 1))
}

fn more_sections() -> Roff {
    let mut roff = Roff::new();
    let statuses = Status::ALL.map(|status| format!("{}: {}\n", status.as_str(), status.meaning()));
    list(&mut roff, "DURATIONS", DURATIONS);
    list(&mut roff, "STATUSES", &statuses.concat());
    list(&mut roff, "REPORT COLUMNS", COLUMNS);
    list(&mut roff, "EXIT STATUS", help::EXIT_CODES);
    list(&mut roff, "ENVIRONMENT", ENVIRONMENT);
    list(&mut roff, "FILES", FILES);
    roff.control("SH", ["EXAMPLES"]);
    for (what, command) in help::pairs(help::EXAMPLES) {
        roff.control("TP", []);
        roff.text([roman(format!("{what}:"))]);
        roff.text([bold(command)]);
    }
    roff
}

fn list(roff: &mut Roff, heading: &str, entries: &str) {
    roff.control("SH", [heading]);
    for (name, meaning) in help::pairs(entries) {
        roff.control("TP", []);
        roff.text([italic(name)]);
        roff.text([roman(meaning)]);
    }
}
