//! What an answer says, typed: status, request id, limits, body.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde_json::Value;

use super::file::FileInfo;
use super::rate_limit_headers::{self, text};
use crate::human::without_markup;
use crate::secret;
use crate::throttle::RateLimitHeaders;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-ik-requestid");

/// The most of a body that is read, in bytes. A list of 1000 files has some 1 MB, with much metadata more.
const MAX_BODY_BYTES: usize = 32 << 20;

/// One answer, read whole or as far as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `x-ik-requestId`, by which ImageKit's support finds the request. `[spec]`
    pub request_id: Option<Arc<str>>,
    /// What the headers say about limits.
    pub limits: RateLimitHeaders,
    /// `Retry-After`, seconds or a date; not documented by ImageKit, honoured if it comes.
    pub retry_after: Option<Duration>,
    /// What the body holds.
    pub body: Body,
}

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON, whole.
    Json(Value),
    /// It did not come whole, or begins like JSON and is none: nothing in it can be believed.
    Unreadable(Unreadable),
    /// HTML, plain text, anything else: a page's title, or the beginning of its words.
    Foreign(Box<str>),
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It broke off, or is garbage.
    Broken,
    /// It had not come to its end within `--timeout`.
    TimedOut,
}

/// The body of a batch answer. `[spec]`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchBody<'a> {
    /// Those are deleted.
    #[serde(borrow)]
    pub successfully_deleted_file_ids: Option<Vec<&'a str>>,
    /// Those may be deleted or not; newer prose shows them on a 200 too.
    #[serde(borrow)]
    pub errors: Option<Vec<BatchError<'a>>>,
}

/// One ID that a batch could not delete cleanly.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchError<'a> {
    /// The ID.
    pub file_id: &'a str,
}

impl Response {
    pub(super) async fn read(answer: reqwest::Response) -> Self {
        let status = answer.status();
        let headers = answer.headers();
        let retry_after = rate_limit_headers::retry_after(headers);
        Self {
            status: status.as_u16(),
            request_id: text(headers, &REQUEST_ID).map(|id| secret::scrub(id).into()),
            limits: rate_limit_headers::read(headers, retry_after),
            retry_after,
            // A 204 has no body by definition; waiting for one would cost time.
            body: if status == StatusCode::NO_CONTENT {
                Body::Empty
            } else {
                body(answer).await
            },
        }
    }

    /// ImageKit's message for people; `None` where it sent none.
    pub fn message(&self) -> Option<&str> {
        match &self.body {
            Body::Json(json) => json.get("message").and_then(Value::as_str),
            Body::Foreign(text) => Some(&**text),
            Body::Empty | Body::Unreadable(_) => None,
        }
        .filter(|message| !message.is_empty())
    }

    /// Whether a success bears a mark of ImageKit's API: a request ID, or a JSON object with one of its fields. A
    /// portal's page and another API's JSON have none. `[inferred]`
    pub fn is_imagekit_success(&self) -> bool {
        const FIELDS: [&str; 3] = ["help", "successfullyDeletedFileIds", "errors"];
        let has_field = |json: &Value| FIELDS.iter().any(|field| json.get(field).is_some());
        match &self.body {
            Body::Json(json) => self.request_id.is_some() || has_field(json),
            Body::Empty => self.request_id.is_some(),
            Body::Unreadable(_) | Body::Foreign(_) => false,
        }
    }

    /// Whether a 404 is recognisably ImageKit's: a JSON object with a string `message`, and either a request ID or a
    /// `help` field. `[spec]` It may still be about a route that does not exist; see
    /// [`is_about_the_route`](Self::is_about_the_route).
    pub fn is_imagekit_404(&self) -> bool {
        match &self.body {
            Body::Json(Value::Object(fields)) => {
                let has_message = fields.get("message").is_some_and(Value::is_string);
                has_message && (self.request_id.is_some() || fields.contains_key("help"))
            }
            _ => false,
        }
    }

    /// Whether a message says that the address does not exist, and so nothing of any file. `[inferred]`
    pub fn is_about_the_route(&self) -> bool {
        const WORDS: [&str; 6] = [
            "cannot delete /",
            "cannot post /",
            "cannot get /",
            "route",
            "endpoint",
            "url",
        ];
        let message = self.message().unwrap_or_default().to_lowercase();
        let message = message.trim_end_matches('.');
        message == "not found" || WORDS.iter().any(|word| message.contains(word))
    }

    /// The files of a list; `None` if the answer is no list. What is no file in it is passed over.
    pub fn files(&self) -> Option<Vec<FileInfo>> {
        match &self.body {
            Body::Json(Value::Array(files)) => {
                Some(files.iter().filter_map(FileInfo::parse).collect())
            }
            _ => None,
        }
    }

    /// The files of a list; `None` if the answer is no list, or holds what is no file.
    pub fn files_of_list(&self) -> Option<Vec<FileInfo>> {
        match &self.body {
            Body::Json(Value::Array(files)) => files.iter().map(FileInfo::parse).collect(),
            _ => None,
        }
    }

    /// The file that details tell of; `None` if they are of another form.
    pub fn file(&self) -> Option<FileInfo> {
        match &self.body {
            Body::Json(file @ Value::Object(_)) => FileInfo::parse(file),
            _ => None,
        }
    }

    /// The `requestId` of a purge. `[spec]`
    pub fn purge_request_id(&self) -> Option<&str> {
        match &self.body {
            Body::Json(json) => json.get("requestId").and_then(Value::as_str),
            _ => None,
        }
    }

    /// Whether a batch answer lists what became of its IDs.
    pub fn is_batch_list(&self) -> bool {
        let is_list = |name: &str| match &self.body {
            Body::Json(json) => json.get(name).is_some_and(Value::is_array),
            _ => false,
        };
        is_list("successfullyDeletedFileIds") || is_list("errors")
    }

    /// The `missingFileIds` of a batch 404; `None` if it has no such list of texts. `[spec]`
    pub fn missing_file_ids(&self) -> Option<Vec<&str>> {
        let Body::Json(json) = &self.body else {
            return None;
        };
        let ids = json.get("missingFileIds")?.as_array()?;
        ids.iter().map(Value::as_str).collect()
    }

    /// The body of a batch answer; `None` if it is not of that form.
    pub fn batch_body(&self) -> Option<BatchBody<'_>> {
        match &self.body {
            Body::Json(json @ Value::Object(_)) => BatchBody::deserialize(json).ok(),
            _ => None,
        }
    }
}

async fn body(mut answer: reqwest::Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_BODY_BYTES => {
                bytes.extend_from_slice(&chunk);
            }
            Ok(None) => return typed(&bytes),
            Err(error) if error.is_timeout() => return Body::Unreadable(Unreadable::TimedOut),
            // Too long to be ImageKit's, or broken off.
            Ok(Some(_)) | Err(_) => return Body::Unreadable(Unreadable::Broken),
        }
    }
}

fn typed(bytes: &[u8]) -> Body {
    const FOREIGN_CHARACTERS: usize = 300;
    /// Where a page's title is found.
    const HEAD_CHARACTERS: usize = 4_000;
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text.is_empty() {
        return Body::Empty;
    }
    match serde_json::from_str(text) {
        Ok(mut json) => {
            redact_messages(&mut json);
            Body::Json(json)
        }
        Err(_) if text.starts_with(['{', '[']) => Body::Unreadable(Unreadable::Broken),
        Err(_) => {
            let head: String = secret::scrub(text).chars().take(HEAD_CHARACTERS).collect();
            let words = without_markup(&head);
            Body::Foreign(words.chars().take(FOREIGN_CHARACTERS).collect())
        }
    }
}

/// Takes keys and markup out of what is shown to people: once it is parsed, as JSON may write a character in several ways. Lists
/// of IDs stay as they are, since they are only compared.
fn redact_messages(json: &mut Value) {
    let Value::Object(fields) = json else { return };
    for name in ["message", "help", "reason"] {
        if let Some(Value::String(text)) = fields.get_mut(name) {
            *text = without_markup(&secret::scrub_exact(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_cut_foreign_or_empty() {
        secret::remember("private_secret");
        assert_eq!(typed(b" \n"), Body::Empty);
        assert_eq!(typed(b"{\"a\":"), Body::Unreadable(Unreadable::Broken));
        assert_eq!(
            typed("\u{feff}{\"a\":1}".as_bytes()),
            Body::Json(serde_json::json!({"a": 1}))
        );
        let page = b"<html><title>502 Bad Gateway</title><p>nginx";
        assert_eq!(typed(page), Body::Foreign("502 Bad Gateway".into()));
        assert_eq!(
            typed(b"{\"message\":\"private_secret\"}"),
            Body::Json(serde_json::json!({"message": "[key]"}))
        );
        secret::remember("private_ab/cd");
        assert_eq!(
            typed(br#"{"message":"private_ab\/c\u0064"}"#),
            Body::Json(serde_json::json!({"message": "[key]"}))
        );
    }
}
