//! One HTTP request to ImageKit, and no opinion on retry.
//!
//! IDs come in, a typed [`Response`] or [`SendError`] leaves. This room knows
//! addresses, the key and JSON; it never sleeps and never repeats. What is known
//! of ImageKit's wire format is stated here and in `response`, with how sure
//! each fact is: `[spec]` its own documents, `[seen]` a real response quoted by a
//! user, `[inferred]` our reading.

mod connection;
mod file;
mod key;
mod rate_limit_headers;
mod response;
mod send_error;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;

pub use connection::{BaseUrl, BaseUrlError, Connection, ConnectionError};
pub use file::FileInfo;
pub use key::{Key, KeyError};
pub use response::{BatchBody, BatchError, Body, Response, Unreadable};
pub use send_error::SendError;

use crate::target::FileId;

/// Characters that stay as they are in a path segment (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A page of a list.
#[derive(Debug, Clone, Copy)]
pub struct ListPage<'a> {
    /// The `searchQuery`.
    pub search: &'a str,
    /// In which order files come.
    pub sort: Sort,
    /// How many are passed over.
    pub skip: usize,
}

impl ListPage<'_> {
    /// The most files on a page, which is what is asked for. `[spec]`
    pub const MAX_LIMIT: usize = 1000;
}

/// An order of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// By `createdAt`, the oldest first.
    Created,
    /// By name.
    Name,
}

impl Sort {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "ASC_CREATED",
            Self::Name => "ASC_NAME",
        }
    }
}

/// What came of one request.
pub type Sent = Result<Response, SendError>;

/// The body of a batch deletion. `[spec]`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchRequest<'a> {
    file_ids: Vec<&'a str>,
}

impl BatchRequest<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text can always be written as JSON")
    }
}

/// A client for one account on one host.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// `.../v1/files`, parsed once: parsing the host anew for each ID would cost as much as the rest of a request.
    files: Url,
}

impl Client {
    /// A client that sends over the given connection settings.
    pub fn new(connection: &Connection, key: &Key) -> Result<Self, ConnectionError> {
        Ok(Self {
            http: connection.build(key)?,
            files: connection.base_url.join("/v1/files"),
        })
    }

    /// The host, with its port where that is not the usual one.
    pub fn host(&self) -> &str {
        self.files.authority()
    }

    /// `DELETE /v1/files/{fileId}`: deletes one file and all its versions for good. `[spec]`
    ///
    /// The ID is percent-encoded as one path segment: a raw `/` reaches no route and is
    /// answered "Invalid CSRF Token". `[seen]`
    pub async fn delete(&self, file_id: &FileId) -> Sent {
        let url = self.below_files(["/"].into_iter().chain(segment(file_id)));
        self.send(self.http.request(Method::DELETE, url)).await
    }

    /// `POST /v1/files/batch/deleteByFileIds`: deletes up to 100 files. `[spec]`
    pub async fn delete_batch(&self, file_ids: &[&FileId]) -> Sent {
        let file_ids: Vec<&str> = file_ids.iter().map(|id| id.as_str()).collect();
        let body = BatchRequest { file_ids }.to_json();
        self.post("/batch/deleteByFileIds", body).await
    }

    /// `GET /v1/files` with a `searchQuery` for these IDs: an array of what there is of them. `[spec]`
    ///
    /// With a `searchQuery`, `type` is ignored `[spec]`, so versions and folders may come too. An ID that
    /// [`cannot be quoted`](Self::is_searchable) must not be among them.
    pub async fn find(&self, file_ids: &[&FileId]) -> Sent {
        let quoted: Vec<String> = file_ids.iter().map(|id| format!("\"{id}\"")).collect();
        self.search(&format!("id IN [{}]", quoted.join(",")), "")
            .await
    }

    /// `GET /v1/files`: a page of what a query finds. `[spec]`
    pub async fn list(&self, page: &ListPage<'_>) -> Sent {
        let skip = match page.skip {
            0 => String::new(),
            skip => format!("&skip={skip}"),
        };
        let order = format!("&sort={}{skip}", page.sort.as_str());
        self.search(page.search, &order).await
    }

    async fn search(&self, query: &str, order: &str) -> Sent {
        let mut url = self.files.clone();
        // A space is `%20`: not every server reads a `+` as one.
        let query = utf8_percent_encode(query, SEGMENT);
        let limit = ListPage::MAX_LIMIT;
        url.set_query(Some(&format!("searchQuery={query}&limit={limit}{order}")));
        self.send(self.http.request(Method::GET, url)).await
    }

    /// Whether an ID can stand between the quotes of a search; how a quote would be escaped is not documented.
    pub fn is_searchable(file_id: &FileId) -> bool {
        !file_id.as_str().contains(['"', '\\'])
    }

    /// `GET /v1/files/{fileId}/details`: what ImageKit knows of one file. `[spec]`
    pub async fn details(&self, file_id: &FileId) -> Sent {
        let path = ["/"].into_iter().chain(segment(file_id));
        let url = self.below_files(path.chain(["/details"]));
        self.send(self.http.request(Method::GET, url)).await
    }

    /// `POST /v1/files/purge`: asks for one URL's removal from the CDN's caches. `[spec]`
    pub async fn purge(&self, url: &str) -> Sent {
        let body = serde_json::json!({ "url": url }).to_string();
        self.post("/purge", body).await
    }

    async fn post(&self, path: &str, body: String) -> Sent {
        let request = self
            .http
            .request(Method::POST, self.below_files([path]))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body);
        self.send(request).await
    }

    fn below_files<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut path = self.files.path().to_owned();
        path.extend(parts);
        let mut url = self.files.clone();
        url.set_path(&path);
        url
    }

    async fn send(&self, request: RequestBuilder) -> Sent {
        let response = request.send().await.map_err(SendError::of)?;
        Ok(Response::read(response).await)
    }
}

fn segment(file_id: &FileId) -> PercentEncode<'_> {
    utf8_percent_encode(file_id.as_str(), SEGMENT)
}
