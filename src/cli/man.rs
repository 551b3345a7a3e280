//! The man page: what clap knows of the options, and the sections that a man page has beside them.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::help;

/// When what the page says last changed.
const REVISED: &str = "2026-11-25";

const USAGE: &str = "imagekit-bulk-delete [OPTION]... [INPUT]...
imagekit-bulk-delete --sandbox-listen ADDR
imagekit-bulk-delete --generate WHAT";

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "IMAGEKIT_PRIVATE_KEY",
        "The private key, where --private-key-file names no file.",
    ),
    (
        "IMAGE_KIT_BASE_URL",
        "Where the API is, where --base-url does not say it.",
    ),
    (
        "HTTPS_PROXY, NO_PROXY",
        "The proxy to go through, and the hosts that need none. This machine never does.",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "Certificates to trust in place of the system's.",
    ),
    ("NO_COLOR", "No colours, whatever it is set to."),
    (
        "TMPDIR",
        "Where piped input is kept while it is counted before it is sent.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "<input>.report.csv",
        "The report, in the working directory, or where --report says: one row for each record. It is valid input again.",
    ),
    (
        "<report>.state",
        "What was in the air, and the lock that keeps a second run out. It goes away when all is settled; do not delete it before.",
    ),
    ("<report>.bak", "The report that --overwrite replaced."),
    (
        "<report>.sandbox.csv",
        "The same of a rehearsal with --sandbox.",
    ),
];

/// Lines of the source that are longer are hard to read in an editor, and `mandoc -T lint` says so.
const LONGEST_LINE: usize = 80;

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
    let text = text + &options(&man)? + &written(|out| more_sections().to_writer(out))?;
    Ok(folded(&text))
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

/// Breaks long lines of text at spaces, which changes nothing on the page.
fn folded(text: &str) -> String {
    let mut lines = Vec::new();
    let mut before = "";
    for line in text.lines() {
        // What follows .TP is a tag, which is one line; a line with a dot first is a request.
        if line.len() > LONGEST_LINE && before != ".TP" && !line.starts_with('.') {
            lines.extend(wrapped(line));
        } else {
            lines.push(line.to_owned());
        }
        before = line;
    }
    lines.join("\n") + "\n"
}

fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        // A word such as .gz would be a request at the start of a line.
        let may_begin_a_line = !last.is_empty() && !word.starts_with(['.', '\'']);
        if may_begin_a_line && last.len() + 1 + word.len() > LONGEST_LINE {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

fn more_sections() -> Roff {
    let mut roff = Roff::new();
    list(&mut roff, "EXIT STATUS", help::EXIT_CODES);
    list(&mut roff, "ENVIRONMENT", ENVIRONMENT);
    list(&mut roff, "FILES", FILES);
    roff.control("SH", ["EXAMPLES"]);
    for (what, command) in help::EXAMPLES {
        roff.control("TP", []);
        roff.text([roman(format!("{what}:"))]);
        roff.text([bold(*command)]);
    }
    roff
}

fn list(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([italic(*name)]);
        roff.text([roman(*meaning)]);
    }
}
