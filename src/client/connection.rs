//! How the host is reached: https, no redirects, the system's proxy and certificates.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Url, redirect, retry};
use thiserror::Error;

use super::key::Key;
use crate::secret;

/// ImageKit's own host. `[spec]`
pub(super) const IMAGEKIT: &str = "https://api.imagekit.io";

/// Where ImageKit's API is: https, or plain http on this machine only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
    text: Box<str>,
    loopback: bool,
}

/// Why a base URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BaseUrlError {
    /// Not a URL at all.
    #[error("{0:?} is not a URL; write it like {IMAGEKIT}")]
    NotAUrl(String),
    /// There is a key in it, whose text must not stand in an error.
    #[error(
        "the base URL holds a private key; give the key in IMAGEKIT_PRIVATE_KEY or --private-key-file, and a URL like {IMAGEKIT}"
    )]
    AKey,
    /// Neither https nor http.
    #[error("{0:?} is not an https URL; write it like {IMAGEKIT}")]
    Scheme(String),
    /// The key would cross a network in the open.
    #[error(
        "plain http would show the key to the network; use https (http is for this machine only)"
    )]
    PlainHttp,
    /// A user name or password in the URL would stand in every log; a query belongs to no base.
    #[error("the base URL must hold only scheme, host, port and path, like {IMAGEKIT}")]
    TooMuch,
}

impl BaseUrl {
    /// Checks a base URL; a `/` at its end is cut.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        if secret::is_in(text) {
            return Err(BaseUrlError::AKey);
        }
        let url = Url::parse(text).map_err(|_| BaseUrlError::NotAUrl(text.into()))?;
        let host = url
            .host_str()
            .ok_or_else(|| BaseUrlError::NotAUrl(text.into()))?;
        let loopback = is_loopback(host);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BaseUrlError::PlainHttp),
            _ => return Err(BaseUrlError::Scheme(text.into())),
        }
        let extras = url.password().is_some() || url.query().is_some() || url.fragment().is_some();
        if extras || !url.username().is_empty() {
            return Err(BaseUrlError::TooMuch);
        }
        Ok(Self {
            text: url.as_str().trim_end_matches('/').into(),
            url,
            loopback,
        })
    }

    /// The URL with a path behind its own.
    pub(super) fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }

    /// The URL as text, without a `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// How to reach the host.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where the API is.
    pub base_url: BaseUrl,
    /// The longest that one attempt may take, from its first byte to the answer's last.
    pub timeout: Duration,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// The most connections that are kept open while they are idle.
    pub max_idle: usize,
}

/// The HTTP client could not be set up.
#[derive(Debug, Error)]
#[error("cannot set up the connection (certificates, proxy); check HTTPS_PROXY and SSL_CERT_FILE")]
pub struct ConnectionError(#[source] reqwest::Error);

impl Connection {
    /// An attempt that times out while it connects must be told from one that may have arrived, so connecting gets
    /// the shorter time.
    fn connect_timeout(&self) -> Duration {
        self.connect_timeout.min(self.timeout.mul_f64(0.9))
    }

    pub(super) fn build(&self, key: &Key) -> Result<reqwest::Client, ConnectionError> {
        let mut builder = reqwest::Client::builder()
            .default_headers(default_headers(key))
            .user_agent(concat!("imagekit-bulk-delete/", env!("CARGO_PKG_VERSION")))
            .timeout(self.timeout)
            .connect_timeout(self.connect_timeout())
            .http1_only()
            // A repeat that nobody counted would make `attempts` a lie. Where none can come, no request is copied for it.
            .retry(retry::never().max_retries_per_request(0))
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(self.max_idle);
        if self.base_url.loopback {
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| ConnectionError(error.without_url()))
    }
}

fn default_headers(key: &Key) -> HeaderMap {
    let mut authorization =
        HeaderValue::try_from(key.authorization()).expect("base64 is always a valid header value");
    authorization.set_sensitive(true);
    HeaderMap::from_iter([(AUTHORIZATION, authorization)])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only_and_a_base_holds_no_more_than_it_must() {
        for good in [
            "https://api.imagekit.io",
            "http://127.0.0.1:8080",
            "http://[::1]:1",
            "http://localhost",
            "https://host/base",
        ] {
            for text in [good.to_owned(), format!("{good}/")] {
                assert_eq!(BaseUrl::parse(&text).unwrap().as_str(), good);
            }
        }
        for (text, why) in [
            ("http://api.imagekit.io", BaseUrlError::PlainHttp),
            ("http://127.0.0.1.example.com", BaseUrlError::PlainHttp),
            ("https://user@host", BaseUrlError::TooMuch),
            ("https://host/?a=b", BaseUrlError::TooMuch),
            ("ftp://host", BaseUrlError::Scheme("ftp://host".into())),
            ("imagekit.io", BaseUrlError::NotAUrl("imagekit.io".into())),
            ("private_abc", BaseUrlError::AKey),
            ("https://private_abc:@host", BaseUrlError::AKey),
            ("https://host/?key=private_abc", BaseUrlError::AKey),
            ("https://host/private_abc", BaseUrlError::AKey),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap_err(), why);
        }
    }
}
