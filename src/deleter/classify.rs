//! Classification: what one response means for the IDs that its request named.
//!
//! What all endpoints have in common is said in `api`; here is what a final response to a deletion says.

use crate::api::class::{Class, file_404, not_imagekit, shared, unusable_success};
use crate::client::{Response, Sent};

/// What a final response of `DELETE /v1/files/{fileId}` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum One {
    Deleted,
    Missing,
    Refused,
}

/// What a final response of the batch endpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    /// 2xx: what was deleted is listed.
    Listed,
    /// 404 with `missingFileIds`: nothing was deleted. `[spec]`
    Missing,
    /// A 404 without a usable list, or a 2xx without any.
    Unlisted,
    /// The host has no such route.
    NoRoute,
    /// 400 "cannot have more than N items". `[spec]`
    AtMost(usize),
    /// Refused as a whole, because of one of them or of all.
    Refused,
}

/// Classifies the response of the single-file endpoint.
pub(super) fn one(sent: &Sent) -> Class<One> {
    shared(sent).unwrap_or_else(|response| match response.status {
        204 => Class::Final(One::Deleted),
        404 => file_404(response, One::Missing),
        200..=299 => unusable_success(response),
        _ => Class::Final(One::Refused),
    })
}

/// Classifies the response of the batch endpoint.
pub(super) fn many(sent: &Sent) -> Class<Many> {
    shared(sent).unwrap_or_else(|response| match response.status {
        200..=299 if response.is_batch_list() => Class::Final(Many::Listed),
        // A success of ImageKit's that lists nobody says of nobody what became of it.
        200..=299 if response.is_imagekit_success() => Class::Final(Many::Unlisted),
        200..=299 => not_imagekit(response),
        404 if !response.is_imagekit_404() => not_imagekit(response),
        404 if response.missing_file_ids().is_some() => Class::Final(Many::Missing),
        404 if response.is_about_the_route() => Class::Final(Many::NoRoute),
        404 => Class::Final(Many::Unlisted),
        405 => Class::Final(Many::NoRoute),
        400 => Class::Final(max_items(response).map_or(Many::Refused, Many::AtMost)),
        _ => Class::Final(Many::Refused),
    })
}

/// N of "fileIds cannot have more than N items." `[spec]`
fn max_items(response: &Response) -> Option<usize> {
    let (_, rest) = response.message()?.split_once("more than ")?;
    let max = rest.split_whitespace().next()?.parse().ok()?;
    (max > 0).then_some(max)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::class::{Arrival, Transient};
    use crate::client::{Body, SendError, Unreadable};
    use crate::outcome::ErrorCode;
    use crate::stop::Reason;
    use crate::throttle::RateLimitHeaders;

    const fn transient<F>(error: ErrorCode, arrival: Arrival) -> Class<F> {
        Class::Transient(Transient { error, arrival })
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the tables hold sents, answered or not"
    )]
    fn answer(status: u16, body: Body) -> Sent {
        Ok(Response {
            status,
            request_id: None,
            limits: RateLimitHeaders::default(),
            retry_after: None,
            body,
        })
    }

    fn says(status: u16, message: &str) -> Sent {
        answer(
            status,
            Body::Json(json!({"message": message, "help": "support"})),
        )
    }

    fn cut(status: u16) -> Sent {
        answer(status, Body::Unreadable(Unreadable::Broken))
    }

    fn html(status: u16) -> Sent {
        answer(status, Body::Foreign("<html>hello</html>".into()))
    }

    fn aborts<F>(class: &Class<F>) -> u8 {
        match class {
            Class::Abort(Reason::NotImageKit(_), _) => 3,
            _ => 0,
        }
    }

    #[test]
    fn each_status_of_a_single_deletion_has_its_reason() {
        use Arrival::{Nothing, Possible};
        let transient = |error, arrival| transient::<One>(error, arrival);
        let never_left = Err(SendError::NeverLeft("refused".into()));
        let lost = Err(SendError::Timeout("".into()));
        let reset = Err(SendError::Broken("".into()));
        let table = [
            (answer(204, Body::Empty), Class::Final(One::Deleted)),
            (
                says(404, "The requested file does not exist."),
                Class::Final(One::Missing),
            ),
            // A bad ID is final for the ID.
            (
                says(400, "invalid fileId parameter"),
                Class::Final(One::Refused),
            ),
            // No route, which is not the key.
            (says(403, "Invalid CSRF Token"), Class::Final(One::Refused)),
            (says(422, "no"), Class::Final(One::Refused)),
            // Errors are not always JSON.
            (html(400), Class::Final(One::Refused)),
            // Only a 204 deletes.
            (says(200, "ok"), transient(ErrorCode::BadResponse, Possible)),
            // Half an answer is none.
            (cut(404), transient(ErrorCode::BadResponse, Possible)),
            (says(408, ""), transient(ErrorCode::Timeout, Possible)),
            // Too early: nothing was done.
            (says(425, ""), transient(ErrorCode::Rejected, Nothing)),
            (says(429, "rate limit exceeded"), Class::Throttled),
            (says(500, ""), transient(ErrorCode::ServerError, Possible)),
            (html(503), transient(ErrorCode::ServerError, Possible)),
            (never_left, transient(ErrorCode::Connection, Nothing)),
            (lost, transient(ErrorCode::Timeout, Possible)),
            (reset, transient(ErrorCode::Connection, Possible)),
        ];
        for (sent, verdict) in table {
            assert_eq!(one(&sent), verdict, "{sent:?}");
        }
    }

    #[test]
    fn a_refused_key_and_a_strangers_page_end_the_run() {
        for status in [401, 403] {
            assert!(matches!(
                one(&says(status, "no")),
                Class::Abort(Reason::KeyRefused(_), Arrival::Nothing)
            ));
        }
        for status in [200, 301, 302, 404, 407] {
            assert_eq!(aborts(&one(&html(status))), 3, "{status}");
            assert_eq!(aborts(&many(&html(status))), 3, "{status}");
        }
        // Another API's JSON, or a route that does not exist, says nothing about ImageKit's files.
        for json in [
            json!({"success": false, "errors": ["no"]}),
            json!(null),
            json!([]),
            json!({"help": 1}),
            json!({"message": "Not Found"}),
            json!({"message": "The requested file does not exist."}),
            json!({"message": 1, "help": "x"}),
        ] {
            let sent = answer(404, Body::Json(json));
            let aborts = (aborts(&one(&sent)), aborts(&many(&sent)));
            assert_eq!(aborts, (3, 3), "{sent:?}");
        }
        for message in ["Not Found", "Cannot DELETE /v1/files/a", "No such route."] {
            assert_eq!(aborts(&one(&says(404, message))), 3, "{message}");
        }
        let password = Err(SendError::ProxyPassword);
        assert_eq!((aborts(&one(&password)), aborts(&many(&password))), (3, 3));
    }

    #[test]
    fn what_does_not_come_whole_is_asked_again_whatever_its_status() {
        for status in [200, 400, 401, 403, 404, 409, 422] {
            for (why, error) in [
                (Unreadable::Broken, ErrorCode::BadResponse),
                (Unreadable::TimedOut, ErrorCode::Timeout),
            ] {
                let sent = answer(status, Body::Unreadable(why));
                assert_eq!(one(&sent), transient(error, Arrival::Possible), "{status}");
                assert_eq!(many(&sent), transient(error, Arrival::Possible), "{status}");
            }
        }
        let shortage = Err(SendError::Shortage("too many open files".into()));
        assert_eq!(one(&shortage), Class::Shortage);
    }

    #[test]
    fn each_batch_answer_has_its_meaning() {
        let missing = json!({"message": "no", "help": "", "missingFileIds": ["a"]});
        let json = |status, json| answer(status, Body::Json(json));
        let listed = json!({"successfullyDeletedFileIds": []});
        let table = [
            (json(200, listed), Class::Final(Many::Listed)),
            (json(207, json!({"errors": []})), Class::Final(Many::Listed)),
            (json(404, missing), Class::Final(Many::Missing)),
            (says(404, "No such file(s)."), Class::Final(Many::Unlisted)),
            (says(404, "Not Found"), Class::Final(Many::NoRoute)),
            (says(405, "Method not allowed"), Class::Final(Many::NoRoute)),
            (
                says(400, "fileIds cannot have more than 50 items."),
                Class::Final(Many::AtMost(50)),
            ),
            (
                says(400, "fileIds should be an Array."),
                Class::Final(Many::Refused),
            ),
            (
                cut(200),
                transient(ErrorCode::BadResponse, Arrival::Possible),
            ),
            (says(200, "ok"), Class::Final(Many::Unlisted)),
        ];
        for (sent, verdict) in table {
            assert_eq!(many(&sent), verdict, "{sent:?}");
        }
    }
}
