//! The table of truth: from what the last response said, and how ambiguous the attempts before it were, to the status
//! that may be claimed (contract: Truth).

use crate::outcome::Status;
use crate::target::Doubt;

/// What the final response for an ID was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Final {
    /// A single 204, or a batch 2xx that lists the ID as deleted only.
    Deleted,
    /// A 404 of ImageKit's, or named missing.
    Missing,
    /// Refused by a 4xx for this ID.
    Refused,
    /// Attempts used up, or stopped, without a final response.
    Exhausted,
}

/// The status that may be claimed.
pub(super) const fn status(last: Final, doubt: Doubt) -> Status {
    match (last, doubt) {
        (Final::Deleted, _) => Status::Deleted,
        (Final::Missing, Doubt::None) => Status::NotFound,
        (Final::Missing, Doubt::Weak | Doubt::Ambiguous) => Status::Gone,
        (Final::Refused | Final::Exhausted, Doubt::None | Doubt::Weak) => Status::Failed,
        (Final::Refused | Final::Exhausted, Doubt::Ambiguous) => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_claimed() {
        let table = [
            (
                Final::Deleted,
                [Status::Deleted, Status::Deleted, Status::Deleted],
            ),
            (
                Final::Missing,
                [Status::NotFound, Status::Gone, Status::Gone],
            ),
            (
                Final::Refused,
                [Status::Failed, Status::Failed, Status::Unknown],
            ),
            (
                Final::Exhausted,
                [Status::Failed, Status::Failed, Status::Unknown],
            ),
        ];
        for (last, statuses) in table {
            let doubts = [Doubt::None, Doubt::Weak, Doubt::Ambiguous];
            assert_eq!(
                doubts.map(|doubt| status(last, doubt)),
                statuses,
                "{last:?}"
            );
        }
    }
}
