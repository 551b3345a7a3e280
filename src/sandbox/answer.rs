//! Answers: their parts, and how they go over the wire, whole or as a scripted fault leaves them.

use std::io;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use serde_json::{Value, json};

pub(super) type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

pub(super) const HELP: &str = "For support kindly contact us at support@imagekit.io .";
pub(super) const PAGE: &str = "<html><body><h1>Internal Server Error</h1></body></html>";

/// How an answer goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    Half,
    Hang,
    Reset,
}

/// An answer before it is sent.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: String,
    pub(super) delivery: Delivery,
}

impl Answer {
    /// One with a body of this type.
    pub fn text(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = vec![(CONTENT_TYPE, content_type.into())];
        Self {
            status,
            headers,
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    /// One with a body of JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    /// An error as ImageKit tells it.
    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"message": message, "help": HELP}))
    }

    pub(super) fn no_content() -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: String::new(),
            delivery: Delivery::Whole,
        }
    }

    /// It with a header more.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &impl ToString) -> Self {
        let name = HeaderName::from_static(name);
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The response; of one that breaks off the first half, and an error behind it.
    pub(super) fn into_response(self) -> hyper::Response<AnswerBody> {
        let (mut headers, body) = (self.headers, Bytes::from(self.body));
        let body = if self.delivery == Delivery::Half {
            headers.push((CONTENT_LENGTH, body.len().to_string()));
            let half = Frame::data(body.slice(..body.len() / 2));
            let frames = [Ok(half), Err(io::ErrorKind::ConnectionReset.into())];
            StreamBody::new(stream::iter(frames)).boxed_unsync()
        } else {
            Full::new(body)
                .map_err(|never| match never {})
                .boxed_unsync()
        };
        let mut response = hyper::Response::new(body);
        *response.status_mut() = hyper::StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
