//! Answers: their parts, and how they go over the wire, whole or as a scripted fault leaves them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderName};
use serde_json::{Value, json};

pub(super) const HELP: &str = "For support kindly contact us at support@imagekit.io .";
pub(super) const PAGE: &str = "<html><body><h1>Internal Server Error</h1></body></html>";

/// How an answer goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Whole,
    Half,
    Hang,
    Reset,
}

/// An answer before it is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: String,
    pub(super) ending: Ending,
}

impl Answer {
    pub(super) fn text(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = vec![(CONTENT_TYPE, content_type.into())];
        Self {
            status,
            headers,
            body: body.into(),
            ending: Ending::Whole,
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(super) fn message(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"message": message, "help": HELP}))
    }

    pub(super) fn no_content() -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: String::new(),
            ending: Ending::Whole,
        }
    }

    pub(super) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }
}

/// A body that is whole, or breaks off in its middle.
#[derive(Debug)]
pub(super) struct AnswerBody {
    bytes: Option<Bytes>,
    length: u64,
    breaks_off: bool,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.bytes.take() {
            Some(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            _ if self.breaks_off => {
                self.breaks_off = false;
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
            }
            _ => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.length)
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }
}

impl Answer {
    /// The response, or its first half.
    pub(super) fn into_response(self, is_half: bool) -> hyper::Response<AnswerBody> {
        let length = self.body.len() as u64;
        let bytes = if is_half {
            Bytes::from(self.body[..self.body.len() / 2].to_owned())
        } else {
            self.body.into()
        };
        let mut response = hyper::Response::new(AnswerBody {
            bytes: Some(bytes),
            length,
            breaks_off: is_half,
        });
        *response.status_mut() = hyper::StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
