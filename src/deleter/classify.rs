//! Classification: what one exchange means for the IDs that it named.
//!
//! What all endpoints have in common is said in `line`; here is what a final answer to a deletion says.

use crate::client::{Body, Exchange, Response};
use crate::line::verdict::{Verdict, not_imagekit, shared, unreadable};

/// What a final answer of `DELETE /v1/files/{fileId}` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum One {
    Deleted,
    Missing,
    Refused,
}

/// What a final answer of the batch endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Many {
    /// 2xx: what was deleted is listed.
    Listed,
    /// 404 with `missingFileIds`: nothing was deleted. `[spec]`
    Missing(Vec<String>),
    /// A 404 without a usable list, or a 2xx without any.
    Unlisted,
    /// The host has no such route.
    NoRoute,
    /// 400 "cannot have more than N items". `[spec]`
    AtMost(usize),
    /// Refused as a whole, because of one of them or of all.
    Refused,
}

/// Classifies the answer of the single-file endpoint.
pub(super) fn one(exchange: &Exchange) -> Verdict<One> {
    shared(exchange).unwrap_or_else(|response| match response.status {
        204 => Verdict::Final(One::Deleted),
        404 => match (&response.body, response.is_imagekit()) {
            (Body::Json(_), true) => Verdict::Final(One::Missing),
            _ => unreadable(response),
        },
        200..=299 => unreadable(response),
        _ => Verdict::Final(One::Refused),
    })
}

/// Classifies the answer of the batch endpoint.
pub(super) fn many(exchange: &Exchange) -> Verdict<Many> {
    shared(exchange).unwrap_or_else(|response| match response.status {
        200..=299 => match response.batch_body() {
            Some(body) if body.successfully_deleted_file_ids.is_some() || body.errors.is_some() => {
                Verdict::Final(Many::Listed)
            }
            // A success of ImageKit's that lists nobody says of nobody what became of it.
            _ if response.body != Body::Cut && response.is_imagekit() => {
                Verdict::Final(Many::Unlisted)
            }
            _ => unreadable(response),
        },
        404 => batch_404(response),
        405 => Verdict::Final(Many::NoRoute),
        400 => Verdict::Final(most_items(response).map_or(Many::Refused, Many::AtMost)),
        _ => Verdict::Final(Many::Refused),
    })
}

fn batch_404(response: &Response) -> Verdict<Many> {
    if response.body == Body::Cut {
        return unreadable(response);
    }
    if let Some(missing) = response.batch_body().and_then(|body| body.missing_file_ids) {
        return Verdict::Final(Many::Missing(missing));
    }
    match &response.body {
        Body::Json(_)
            if response
                .message()
                .is_some_and(|message| message.contains("exist")) =>
        {
            Verdict::Final(Many::Unlisted)
        }
        Body::Json(_) => Verdict::Final(Many::NoRoute),
        _ if response.is_imagekit() => Verdict::Final(Many::NoRoute),
        _ => not_imagekit(response),
    }
}

/// N of "fileIds cannot have more than N items." `[spec]`
fn most_items(response: &Response) -> Option<usize> {
    let (_, rest) = response.message()?.split_once("more than ")?;
    let most = rest.split_whitespace().next()?.parse().ok()?;
    (most > 0).then_some(most)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::SendError;
    use crate::line::verdict::{Arrival, Transient};
    use crate::outcome::ErrorCode;
    use crate::stop::Reason;
    use crate::throttle::Pace;

    const fn transient<F>(error: ErrorCode, arrival: Arrival) -> Verdict<F> {
        Verdict::Transient(Transient { error, arrival })
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the tables hold exchanges, answered or not"
    )]
    fn answer(status: u16, body: Body) -> Exchange {
        Ok(Response {
            status,
            request_id: None,
            pace: Pace::default(),
            retry_after: None,
            body,
        })
    }

    fn says(status: u16, message: &str) -> Exchange {
        answer(
            status,
            Body::Json(json!({"message": message, "help": "support"})),
        )
    }

    fn html(status: u16) -> Exchange {
        answer(status, Body::Foreign("<html>hello</html>".into()))
    }

    fn aborts<F>(verdict: Verdict<F>) -> u8 {
        match verdict {
            Verdict::Abort(reason, _) => reason.exit_code(),
            _ => 0,
        }
    }

    #[test]
    fn each_status_of_a_single_deletion_has_its_reason() {
        use Arrival::{Nothing, Possible};
        let transient = |error, arrival| transient::<One>(error, arrival);
        let table = [
            (
                "deleted [spec]",
                answer(204, Body::Empty),
                Verdict::Final(One::Deleted),
            ),
            (
                "not there [spec]",
                says(404, "The requested file does not exist."),
                Verdict::Final(One::Missing),
            ),
            (
                "a bad id is final for the id [spec]",
                says(400, "invalid fileId parameter"),
                Verdict::Final(One::Refused),
            ),
            (
                "no route, not the key [seen]",
                says(403, "Invalid CSRF Token"),
                Verdict::Final(One::Refused),
            ),
            (
                "any other 4xx refuses the id",
                says(422, "no"),
                Verdict::Final(One::Refused),
            ),
            (
                "errors are not always JSON",
                html(400),
                Verdict::Final(One::Refused),
            ),
            (
                "only a 204 deletes",
                says(200, "ok"),
                transient(ErrorCode::BadResponse, Possible),
            ),
            (
                "half an answer is none",
                answer(404, Body::Cut),
                transient(ErrorCode::BadResponse, Possible),
            ),
            (
                "the server gave up waiting",
                says(408, ""),
                transient(ErrorCode::Timeout, Possible),
            ),
            (
                "too early: nothing was done",
                says(425, ""),
                transient(ErrorCode::Rejected, Nothing),
            ),
            (
                "everybody waits",
                says(429, "rate limit exceeded"),
                Verdict::Throttled,
            ),
            (
                "may have been done",
                says(500, ""),
                transient(ErrorCode::ServerError, Possible),
            ),
            (
                "in any dress",
                html(503),
                transient(ErrorCode::ServerError, Possible),
            ),
            (
                "never left",
                Err(SendError::NeverLeft("refused".into())),
                transient(ErrorCode::Connection, Nothing),
            ),
            (
                "lost answer",
                Err(SendError::Timeout("".into())),
                transient(ErrorCode::Timeout, Possible),
            ),
            (
                "reset",
                Err(SendError::Broken("".into())),
                transient(ErrorCode::Connection, Possible),
            ),
        ];
        for (reason, exchange, verdict) in table {
            assert_eq!(one(&exchange), verdict, "{reason}: {exchange:?}");
        }
    }

    #[test]
    fn a_refused_key_and_a_strangers_page_end_the_run() {
        for status in [401, 403] {
            assert!(matches!(
                one(&says(status, "no")),
                Verdict::Abort(Reason::KeyRefused(_), Arrival::Nothing)
            ));
        }
        for status in [200, 301, 302, 404, 407] {
            assert_eq!(aborts(one(&html(status))), 3, "{status}");
            assert_eq!(aborts(many(&html(status))), 3, "{status}");
        }
        // Another API's JSON says nothing about ImageKit's files.
        assert_eq!(
            aborts(one(&answer(
                404,
                Body::Json(json!({"message": "Not Found"}))
            ))),
            3
        );
        assert_eq!(aborts(one(&answer(404, Body::Json(json!([]))))), 3);
    }

    #[test]
    fn each_batch_answer_has_its_meaning() {
        let missing =
            json!({"message": "The requested file(s) does not exist.", "missingFileIds": ["a"]});
        let table = [
            (
                answer(200, Body::Json(json!({"successfullyDeletedFileIds": []}))),
                Verdict::Final(Many::Listed),
            ),
            (
                answer(207, Body::Json(json!({"errors": []}))),
                Verdict::Final(Many::Listed),
            ),
            (
                answer(404, Body::Json(missing)),
                Verdict::Final(Many::Missing(vec!["a".into()])),
            ),
            (
                says(404, "The requested file(s) does not exist."),
                Verdict::Final(Many::Unlisted),
            ),
            (
                answer(404, Body::Json(json!({"message": "Not Found"}))),
                Verdict::Final(Many::NoRoute),
            ),
            (
                says(405, "Method not allowed"),
                Verdict::Final(Many::NoRoute),
            ),
            (
                says(400, "fileIds cannot have more than 50 items."),
                Verdict::Final(Many::AtMost(50)),
            ),
            (
                says(400, "fileIds should be an Array."),
                Verdict::Final(Many::Refused),
            ),
            (
                answer(200, Body::Cut),
                transient(ErrorCode::BadResponse, Arrival::Possible),
            ),
            (says(200, "ok"), Verdict::Final(Many::Unlisted)),
        ];
        for (exchange, verdict) in table {
            assert_eq!(many(&exchange), verdict, "{exchange:?}");
        }
    }
}
