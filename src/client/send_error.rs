//! Why a request has no response, and whether ImageKit may have seen it.

use std::error::Error;
use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::secret;

/// What hyper-util says of a proxy that wants a password for `CONNECT`; it has no other sign.
const PROXY_PASSWORD: &str = "proxy authorization required";

/// What it says of one that refuses for another reason.
const TUNNEL: &str = "unsuccessful";

/// What rustls says before it says what is wrong with a certificate.
const CERTIFICATE: &str = "invalid peer certificate: ";

/// Why a request has no response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// The connection was never made (DNS, refused, TLS, connect timeout): ImageKit saw nothing.
    #[error("cannot connect: {0}")]
    NeverLeft(Box<str>),
    /// Something that this machine is short of (file descriptors, ports, memory): nothing was sent.
    #[error("this machine cannot open another connection: {0}")]
    Shortage(Box<str>),
    /// A proxy answered `CONNECT` with 407: nothing was sent.
    #[error("the proxy wants a user name and a password (407)")]
    ProxyPassword,
    /// No response within `--timeout`; the request may have arrived.
    #[error("no response in time: {0}")]
    Timeout(Box<str>),
    /// The connection broke; the request may have arrived.
    #[error("the connection broke: {0}")]
    Broken(Box<str>),
}

impl SendError {
    /// What reqwest's error means.
    pub(super) fn of(error: reqwest::Error) -> Self {
        let (never_left, timed_out) = (error.is_connect(), error.is_timeout());
        let error = error.without_url();
        let cause = innermost(&error);
        let text = secret::scrub(&words(cause)).into();
        match (never_left, timed_out) {
            (true, _) if is_shortage(&error) => Self::Shortage(text),
            (true, _) if cause.to_string().contains(PROXY_PASSWORD) => Self::ProxyPassword,
            (true, _) => Self::NeverLeft(text),
            (false, true) => Self::Timeout(text),
            (false, false) => Self::Broken(text),
        }
    }
}

/// The first cause: reqwest's own words ("error sending request") say little.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

fn words(cause: &(dyn Error + 'static)) -> String {
    let text = cause.to_string();
    if text.ends_with(TUNNEL) {
        return "the proxy did not make the connection (CONNECT)".into();
    }
    match text.strip_prefix(CERTIFICATE) {
        Some(why) => format!(
            "{}; if a certificate authority of your own signed it, name its file by SSL_CERT_FILE",
            certificate_words(why)
        ),
        None => text,
    }
}

/// What is wrong with the host's certificate, and what to look at.
fn certificate_words(why: &str) -> String {
    const CLOCK: &str = "check this machine's clock, or ask whoever runs the host";
    if why.contains("expired") {
        format!("its certificate has expired: {CLOCK}")
    } else if why.contains("not valid yet") {
        format!("its certificate is not valid yet: {CLOCK}")
    } else if why.contains("UnknownIssuer") {
        "its certificate was signed by an authority that this machine does not trust".into()
    } else {
        format!("its certificate is not accepted: {why}")
    }
}

/// Whether the cause is a limit of this machine and says nothing of the other side.
fn is_shortage(error: &(dyn Error + 'static)) -> bool {
    const SHORTAGES: [Errno; 6] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::AGAIN,
        Errno::ADDRNOTAVAIL,
    ];
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error
            .downcast_ref::<io::Error>()
            .and_then(Errno::from_io_error);
        if errno.is_some_and(|errno| SHORTAGES.contains(&errno)) {
            return true;
        }
        cause = error.source();
    }
    false
}
