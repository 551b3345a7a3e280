//! Why a request has no response, and whether ImageKit may have seen it.

use std::error::Error;
use std::fs::File;
use std::io;
use std::iter::successors;

use rustix::io::Errno;
use thiserror::Error;

use crate::secret;

/// What hyper-util says of a proxy that wants a password for `CONNECT`; it has no other sign.
const PROXY_PASSWORD: &str = "proxy authorization required";

/// What it says of one that refuses for another reason.
const TUNNEL: &str = "unsuccessful";

/// What rustls says of a server that speaks plain HTTP.
const NO_TLS: &str = "InvalidContentType";

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
            (true, _) => match shortage(&error) {
                Some(what) => Self::Shortage(what.into()),
                None if cause.to_string().contains(PROXY_PASSWORD) => Self::ProxyPassword,
                None => Self::NeverLeft(text),
            },
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
    if text.contains(NO_TLS) {
        return "it does not speak TLS (https)".into();
    }
    match text.strip_prefix(CERTIFICATE) {
        Some(why) => format!(
            "{}; if your own certificate authority signed it, set SSL_CERT_FILE to its certificate",
            certificate_words(why)
        ),
        None => text,
    }
}

/// What is wrong with the host's certificate, and what to look at.
fn certificate_words(why: &str) -> String {
    const CLOCK: &str = "check this machine's clock, or ask the host's operator";
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

/// What this machine was short of, in its own words; `None` where that was not the cause. Name resolution keeps it
/// to itself that it could not open its files, so one is opened here.
fn shortage(error: &(dyn Error + 'static)) -> Option<String> {
    let caused = limit_in(error);
    caused.or_else(|| limit_in(&File::open("/dev/null").err()?))
}

/// A cause that is a limit of this machine and says nothing of the other side.
fn limit_in(error: &(dyn Error + 'static)) -> Option<String> {
    const LIMITS: [Errno; 6] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::AGAIN,
        Errno::ADDRNOTAVAIL,
    ];
    let is_limit = |error: &&(dyn Error + 'static)| {
        let error = error.downcast_ref::<io::Error>();
        let errno = error.and_then(Errno::from_io_error);
        errno.is_some_and(|errno| LIMITS.contains(&errno))
    };
    let causes = successors(Some(error), |&error| error.source());
    causes.filter(is_limit).map(ToString::to_string).next()
}
