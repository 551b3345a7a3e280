//! Faults: what a script makes of an answer.

use serde_json::json;

use super::answer::{Answer, Delivery, PAGE};
use super::script::Fault;

/// The answer of a fault that comes before anything is done.
pub(super) fn fault_before(fault: &Fault) -> Option<Answer> {
    Some(match fault {
        Fault::ResetBefore => Answer::no_content().delivered(Delivery::Reset),
        Fault::HangBefore => Answer::no_content().delivered(Delivery::Hang),
        Fault::Html500 => Answer::text(500, "text/html", PAGE),
        Fault::Text503 => Answer::text(503, "text/plain", "service unavailable"),
        Fault::Status(status) => Answer::message(*status, "A scripted answer."),
        Fault::TooMany(reset) => {
            let answer = Answer::json(429, &json!({"message": "rate limit exceeded"}));
            match reset {
                Some(reset) => answer.header("x-ratelimit-reset", reset),
                None => answer,
            }
        }
        Fault::ResetAfter
        | Fault::HangAfter
        | Fault::HalfBody
        | Fault::Json500After
        | Fault::Garbage200 => {
            return None;
        }
    })
}

/// What a fault makes of an answer whose work is done.
pub(super) fn fault_after(fault: &Fault, answer: Answer) -> Answer {
    match fault {
        Fault::ResetAfter => answer.delivered(Delivery::Reset),
        Fault::HangAfter => answer.delivered(Delivery::Hang),
        // A 204 has no body to break off.
        Fault::HalfBody if answer.body.is_empty() => answer.delivered(Delivery::Reset),
        Fault::HalfBody => answer.delivered(Delivery::Half),
        Fault::Json500After => Answer::message(500, "We have encountered an internal error."),
        Fault::Garbage200 => Answer::text(200, "application/json", "{\"successfullyDel"),
        _ => answer,
    }
}
