//! Requests, as far as the server looks at them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A request as far as the server looks at it.
#[derive(Debug)]
pub(super) struct ParsedRequest {
    pub(super) method: Method,
    pub(super) query: HashMap<String, String>,
    pub(super) raw_path: String,
    /// The key that was sent.
    pub(super) authorization: Option<String>,
    pub(super) body: Value,
    pub(super) route: Route,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Delete(String),
    DeleteBatch(Vec<String>),
    Purge,
    List,
    Details(String),
    None,
}

impl ParsedRequest {
    pub(super) fn new(head: &Parts, body: &[u8]) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_default();
        Self {
            method: head.method.clone(),
            query: head.uri.query().map(query).unwrap_or_default(),
            raw_path: head.uri.to_string(),
            authorization: authorization(&head.headers),
            route: route(&head.method, head.uri.path(), &body),
            body,
        }
    }

    pub(super) fn file_ids(&self) -> Vec<String> {
        match &self.route {
            Route::Delete(id) | Route::Details(id) => vec![id.clone()],
            Route::DeleteBatch(ids) => ids.clone(),
            _ => Vec::new(),
        }
    }
}

fn route(method: &Method, path: &str, body: &Value) -> Route {
    let Some(rest) = path.strip_prefix("/v1/files") else {
        return Route::None;
    };
    let segments: Vec<&str> = rest.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("DELETE", [id]) => Route::Delete(decoded(id)),
        ("POST", ["batch", "deleteByFileIds"]) => batch(body),
        ("POST", ["purge"]) => Route::Purge,
        // Old SDKs ask with a slash at the end.
        ("GET", [] | [""]) => Route::List,
        ("GET", [id, "details"]) => Route::Details(decoded(id)),
        _ => Route::None,
    }
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn query(text: &str) -> HashMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(&value.replace('+', " ")))
    };
    text.split('&').map(pair).collect()
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    let encoded = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    // Any password is ignored. [spec]
    decoded.split_once(':').map(|(key, _)| key.to_owned())
}

/// What is no list of texts is as none, and refused.
fn batch(body: &Value) -> Route {
    let ids = body.get("fileIds").and_then(Value::as_array);
    let ids = ids.into_iter().flatten().filter_map(Value::as_str);
    Route::DeleteBatch(ids.map(str::to_owned).collect())
}
