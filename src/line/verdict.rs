//! The verdict: what one exchange means, as far as all endpoints have it in common.
//!
//! One `match` on the status, without a catch-all for what matters, says whether an answer is transient,
//! final or the end of the run.

use crate::client::{Body, Exchange, Response, SendError};
use crate::outcome::ErrorCode;
use crate::stop::Reason;

/// What an exchange means; `F` is what a final answer of the endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict<F> {
    /// The answer decides.
    Final(F),
    /// A 429: everybody waits, nobody is failed.
    Throttled,
    /// Worth another attempt.
    Transient(Transient),
    /// The run cannot go on.
    Abort(Reason, Arrival),
}

/// A failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transient {
    pub(crate) error: ErrorCode,
    pub(crate) arrival: Arrival,
}

/// Whether an attempt without a clear answer may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It never left, or the server said that it did nothing.
    Nothing,
    /// It may have been carried out: ambiguous.
    Possible,
}

const fn transient<F>(error: ErrorCode, arrival: Arrival) -> Verdict<F> {
    Verdict::Transient(Transient { error, arrival })
}

/// What all endpoints have in common; `Err` is an answer that the endpoint must read.
pub(crate) fn shared<F>(exchange: &Exchange) -> Result<Verdict<F>, &Response> {
    let response = match exchange {
        Ok(response) => response,
        Err(SendError::NeverLeft(_)) => {
            return Ok(transient(ErrorCode::Connection, Arrival::Nothing));
        }
        Err(SendError::Timeout(_)) => return Ok(transient(ErrorCode::Timeout, Arrival::Possible)),
        Err(SendError::Broken(_)) => {
            return Ok(transient(ErrorCode::Connection, Arrival::Possible));
        }
    };
    Ok(match response.status {
        403 if is_csrf(response) => return Err(response),
        // Half a 403 may be the one about CSRF: ask again before the run is ended over it.
        403 if response.body == Body::Cut => transient(ErrorCode::BadResponse, Arrival::Possible),
        401 | 403 => Verdict::Abort(Reason::KeyRefused(told(response)), Arrival::Nothing),
        407 => not_imagekit(response),
        408 => transient(ErrorCode::Timeout, Arrival::Possible),
        425 => transient(ErrorCode::Rejected, Arrival::Nothing),
        429 => Verdict::Throttled,
        200..=299 | 400..=499 => return Err(response),
        500..=599 => transient(ErrorCode::ServerError, Arrival::Possible),
        _ => not_imagekit(response),
    })
}

/// A success or a 404 that cannot be believed: broken on its way, or not ImageKit's at all.
pub(crate) fn unreadable<F>(response: &Response) -> Verdict<F> {
    match response.body {
        Body::Cut => transient(ErrorCode::BadResponse, Arrival::Possible),
        Body::Json(_) | Body::Empty if response.is_imagekit() => {
            transient(ErrorCode::BadResponse, Arrival::Possible)
        }
        Body::Json(_) | Body::Empty | Body::Foreign(_) => not_imagekit(response),
    }
}

pub(crate) fn not_imagekit<F>(response: &Response) -> Verdict<F> {
    Verdict::Abort(Reason::NotImageKit(told(response)), Arrival::Possible)
}

pub(super) fn told(response: &Response) -> String {
    let message = response.message().unwrap_or("no message");
    format!(
        "HTTP {}: {}",
        response.status,
        message
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches('.')
    )
}

/// An ID that reaches no route is answered like this; it looks like a key problem and is not one. `[seen]`
fn is_csrf(response: &Response) -> bool {
    response
        .message()
        .is_some_and(|message| message.contains("CSRF"))
}

/// Classifies an answer that decides nothing of a file: to a read, or to a purge.
pub(super) fn harmless(exchange: &Exchange) -> Verdict<()> {
    shared(exchange).unwrap_or_else(|response| match response.status {
        200..=299 => match response.body {
            Body::Json(_) => Verdict::Final(()),
            Body::Empty | Body::Cut | Body::Foreign(_) => unreadable(response),
        },
        404 => match (&response.body, response.is_imagekit()) {
            (Body::Json(_), true) => Verdict::Final(()),
            _ => unreadable(response),
        },
        _ => Verdict::Final(()),
    })
}
