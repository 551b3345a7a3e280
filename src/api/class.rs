//! Classes: what one response, or its absence, means, as far as all endpoints have it in common.
//!
//! One `match` on the status, without a catch-all for what matters, says whether it is transient, final or the end of
//! the run.

use crate::client::{Body, Response, SendError, Sent, Unreadable};
use crate::outcome::ErrorCode;
use crate::stop::Reason;

/// What a request came to; `F` is what a final response of the endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class<F> {
    /// The response decides.
    Final(F),
    /// A 429: everybody waits, nobody is failed.
    Throttled,
    /// Worth another attempt.
    Transient(Transient),
    /// This machine is short of something: nothing was sent, and it is nobody's failure.
    Shortage,
    /// The run cannot go on.
    Abort(Reason, Arrival),
}

/// A failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transient {
    pub(crate) error: ErrorCode,
    pub(crate) arrival: Arrival,
}

/// Whether an attempt without a clear response may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It never left, or the server said that it did nothing.
    Nothing,
    /// It may have been carried out: ambiguous.
    Possible,
}

const fn transient<F>(error: ErrorCode, arrival: Arrival) -> Class<F> {
    Class::Transient(Transient { error, arrival })
}

/// What all endpoints have in common; `Err` is a response that the endpoint must read.
pub(crate) fn shared<F>(sent: &Sent) -> Result<Class<F>, &Response> {
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Ok(unsent(error)),
    };
    Ok(match (response.status, &response.body) {
        (408, _) => transient(ErrorCode::Timeout, Arrival::Possible),
        (425, _) => transient(ErrorCode::Rejected, Arrival::Nothing),
        (429, _) => Class::Throttled,
        (500..=599, _) => transient(ErrorCode::ServerError, Arrival::Possible),
        // Half a refusal may be another one than it seems, so it is asked again before anything is decided by it.
        (_, Body::Unreadable(why)) => unreadable(*why),
        (403, _) if is_csrf(response) => return Err(response),
        (401 | 403, _) => Class::Abort(Reason::KeyRefused(summary(response)), Arrival::Nothing),
        (407, _) => not_imagekit(response),
        (200..=299 | 400..=499, _) => return Err(response),
        _ => not_imagekit(response),
    })
}

fn unsent<F>(error: &SendError) -> Class<F> {
    match error {
        SendError::NeverLeft(_) => transient(ErrorCode::Connection, Arrival::Nothing),
        SendError::Shortage(_) => Class::Shortage,
        SendError::ProxyPassword => {
            Class::Abort(Reason::NotImageKit(error.to_string()), Arrival::Nothing)
        }
        SendError::Timeout(_) => transient(ErrorCode::Timeout, Arrival::Possible),
        SendError::Broken(_) => transient(ErrorCode::Connection, Arrival::Possible),
    }
}

fn unreadable<F>(why: Unreadable) -> Class<F> {
    let error = match why {
        Unreadable::Broken => ErrorCode::BadResponse,
        Unreadable::TimedOut => ErrorCode::Timeout,
    };
    transient(error, Arrival::Possible)
}

/// A success that says nothing usable: of ImageKit's, it is asked again; of anybody else's, it ends the run.
pub(crate) fn unusable_success<F>(response: &Response) -> Class<F> {
    if response.is_imagekit_success() {
        transient(ErrorCode::BadResponse, Arrival::Possible)
    } else {
        not_imagekit(response)
    }
}

/// A 404 about one file; `missing` is what it means if it is ImageKit's.
pub(crate) fn file_404<F>(response: &Response, missing: F) -> Class<F> {
    if response.is_imagekit_404() && !response.is_about_the_route() {
        Class::Final(missing)
    } else {
        not_imagekit(response)
    }
}

pub(crate) fn not_imagekit<F>(response: &Response) -> Class<F> {
    Class::Abort(Reason::NotImageKit(summary(response)), Arrival::Possible)
}

/// Status and message in one line.
pub(crate) fn summary(response: &Response) -> String {
    let message = response.message().unwrap_or("no message");
    let line = message.lines().next().unwrap_or_default();
    format!("HTTP {}: {}", response.status, line.trim_end_matches('.'))
}

/// An ID that reaches no route is answered like this; it looks like a key problem and is not one. `[seen]`
fn is_csrf(response: &Response) -> bool {
    response
        .message()
        .is_some_and(|message| message.contains("CSRF"))
}

/// Classifies a response that decides nothing of a file: to a read, or to a purge.
pub(super) fn harmless(sent: &Sent) -> Class<()> {
    shared(sent).unwrap_or_else(|response| match (response.status, &response.body) {
        (200..=299, Body::Json(_)) => Class::Final(()),
        (200..=299, _) => unusable_success(response),
        (404, _) => file_404(response, ()),
        _ => Class::Final(()),
    })
}
