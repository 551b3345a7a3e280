//! The account: which host, which key, and where the report of its job goes.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use imagekit_bulk_delete::api::Api;
use imagekit_bulk_delete::client::{BaseUrl, Client, Connection, Key};
use imagekit_bulk_delete::journal::{Owner, REHEARSAL_HOST};
use imagekit_bulk_delete::report::Existing;
use imagekit_bulk_delete::sandbox::{Sandbox, Script};
use imagekit_bulk_delete::stop::Stop;
use imagekit_bulk_delete::throttle::Throttle;

use super::options::Cli;
use super::signals::Signals;
use crate::progress::Progress;

const KEY_VARIABLE: &str = "IMAGEKIT_PRIVATE_KEY";

/// Who is asked, and by which key.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) connection: Connection,
    pub(crate) key: Key,
    /// Serves as long as the account is used.
    sandbox: Option<Sandbox>,
}

impl Account {
    /// Reads the key and checks the host, or starts the sandbox.
    pub(crate) fn open(cli: &Cli, progress: &Progress) -> Result<Self> {
        let connection = |base_url: &str| -> Result<Connection> {
            Ok(Connection {
                base_url: BaseUrl::parse(base_url)?,
                timeout: cli.speed.timeout,
                connect_timeout: cli.speed.connect_timeout,
                max_idle: cli.speed.concurrency,
            })
        };
        let real = connection(&cli.connection.base_url)
            .context("--base-url (or IMAGE_KIT_BASE_URL) cannot be used")?;
        let key_file = cli.connection.private_key_file.as_deref();
        if cli.safety.sandbox {
            if key_file.is_some() || std::env::var_os(KEY_VARIABLE).is_some() {
                // A key is not needed, but one that could not be used would refuse the real command.
                read_key(key_file, progress)?;
            }
            let sandbox =
                Sandbox::start(Script::rehearsal()).context("cannot start the sandbox")?;
            let connection = connection(&sandbox.base_url())?;
            progress
                .notice("sandbox: nothing real is touched; the files and some faults are made up");
            return Ok(Self {
                connection,
                key: Key::parse(Sandbox::key())?,
                sandbox: Some(sandbox),
            });
        }
        Ok(Self {
            connection: real,
            key: read_key(key_file, progress)?,
            sandbox: None,
        })
    }

    /// Access to the account, as fast and as patient as the options say.
    pub(crate) fn api(&self, cli: &Cli, stop: &Stop) -> Result<Rc<Api>> {
        let speed = &cli.speed;
        let throttle = Throttle::new(speed.rate()?, speed.concurrency, speed.max_outage);
        let client = Client::new(&self.connection, &self.key)?;
        Ok(Rc::new(Api::new(
            client,
            Arc::new(throttle),
            stop.clone(),
            speed.max_attempts,
        )))
    }

    /// Whose job it is, for the state.
    pub(crate) fn owner(&self) -> Owner {
        let host = self.connection.base_url.as_str();
        let host = if self.sandbox.is_some() {
            REHEARSAL_HOST
        } else {
            host
        };
        Owner {
            host: host.into(),
            key: self.key.fingerprint(),
        }
    }
}

/// What to do with a report that is there.
pub(crate) fn existing(cli: &Cli) -> Existing {
    match (cli.report.resume, cli.report.overwrite) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    }
}

fn read_key(file: Option<&Path>, progress: &Progress) -> Result<Key> {
    let Some(path) = file else {
        let Ok(text) = std::env::var(KEY_VARIABLE) else {
            bail!(
                "no private key; set {KEY_VARIABLE}, or name a file that holds it with --private-key-file"
            );
        };
        return Key::parse(&text).with_context(|| format!("{KEY_VARIABLE} cannot be used"));
    };
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        anyhow!("cannot read the key from {shown}: {error}; check the path and its permissions")
    })?;
    if others_can_read(path) {
        progress.notice(&format!(
            "warning: others can read {shown}; protect it with `chmod 600 {shown}`"
        ));
    }
    Key::parse(text.lines().next().unwrap_or_default())
        .with_context(|| format!("the first line of {shown} cannot be used"))
}

fn others_can_read(path: &Path) -> bool {
    // systemd gives a credential to one user by an access list, whose mask looks like a group's right to read.
    let is_credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder));
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    !is_credential && mode & 0o077 != 0
}

/// Serves the sandbox alone, until a signal.
pub(crate) async fn serve_sandbox(address: SocketAddr) -> Result<u8> {
    let sandbox = match Sandbox::listen(address, Script::rehearsal()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("{address} is already in use; choose another port")
        }
        Err(error) => bail!("cannot serve the sandbox: {error}; try 127.0.0.1:8080"),
        Ok(sandbox) => sandbox,
    };
    // Not through the progress, which shows no keys: this one opens nothing.
    let (url, key) = (sandbox.base_url(), Sandbox::key());
    writeln!(
        io::stderr(),
        "sandbox: serving at {url}, key {key}; Ctrl-C ends it"
    )?;
    Signals::listen()
        .context("cannot listen for signals")?
        .next()
        .await;
    Ok(0)
}
