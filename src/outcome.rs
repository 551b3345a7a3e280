//! The noun that goes out: what is known of one record, ready to be a report row.
//!
//! Made by `deleter` (and by `job` for records that are never sent), written by `report`, counted by the job's stats.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use jiff::Timestamp;

use crate::target::{Doubt, Origin, Reject, Rejected, Target};

/// How the request ids of a rehearsal in the sandbox begin (contract: Sandbox).
pub const REHEARSAL_PREFIX: &str = "sandbox-";

/// An enum whose variants are words of the contract, in its order.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// All of them, in the contract's order.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// The word in the report.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// What a word in a report means; `None` for any other word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == word)
            }
        }
    };
}

words! {
    /// What became of a record (contract: Report, Truth).
    Status {
        /// ImageKit said that this job's request deleted it.
        Deleted = "deleted",
        /// It was not there, and this job did not delete it.
        NotFound = "not_found",
        /// It is not there, and whether this job deleted it cannot be known.
        Gone = "gone",
        /// As far as ImageKit says, it is still there.
        Failed = "failed",
        /// It may have been deleted or not.
        Unknown = "unknown",
        /// It was never sent.
        Invalid = "invalid",
        /// The ID stood in an earlier record, whose row tells.
        Duplicate = "duplicate",
        /// The ID is one that `--except` protects; it was never sent.
        Excluded = "excluded",
    }
}

words! {
    /// A stable code for grouping (contract: Report, `error`).
    ErrorCode {
        /// ImageKit does not have the file.
        NotFound = "not_found",
        /// The cell cannot be an ID.
        InvalidId = "invalid_id",
        /// The row is a file version or a folder.
        NotAFile = "not_a_file",
        /// ImageKit refused this ID with a 4xx.
        Rejected = "rejected",
        /// 5xx.
        ServerError = "server_error",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection failed or broke.
        Connection = "connection",
        /// An answer that cannot be read or is not ImageKit's.
        BadResponse = "bad_response",
        /// The ID stood in an earlier record.
        Duplicate = "duplicate",
        /// `--except` protects the ID.
        Excluded = "excluded",
        /// The run ended before the answer was known.
        Interrupted = "interrupted",
    }
}

words! {
    /// What became of the purge of a file's URL from the CDN (contract: Cache).
    Purge {
        /// ImageKit took the request.
        Requested = "requested",
        /// It was refused, or got no clear answer.
        Failed = "failed",
        /// The file's URL is not known.
        NoUrl = "no_url",
        /// The account's purges are used up.
        OverLimit = "over_limit",
    }
}

impl Status {
    /// What it means, for people: the same words wherever it is explained.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Deleted => "ImageKit confirmed that this job deleted the file",
            Self::NotFound => "the file does not exist, and this job did not delete it",
            Self::Gone => {
                "the file does not exist; an earlier attempt without a clear response may have deleted it"
            }
            Self::Failed => "the file still exists, as far as ImageKit says",
            Self::Unknown => "the file may or may not have been deleted; --resume finds out",
            Self::Invalid => {
                "not a file ID, or the row of a folder or file version; nothing was sent"
            }
            Self::Duplicate => "the ID appeared in an earlier record, whose row has the result",
            Self::Excluded => "listed in a file given with --except; nothing was sent",
        }
    }

    /// Whether a row with this status settles its ID, so that a resume does not ask again.
    ///
    /// A `duplicate` row settles its own record only, never the ID; an `excluded` one holds for its run only.
    pub const fn settles_id(self) -> bool {
        matches!(
            self,
            Self::Deleted | Self::NotFound | Self::Gone | Self::Invalid
        )
    }

    /// Whether a row with this status is its ID's own: an ID has one at most, however many records name it.
    pub const fn is_own(self) -> bool {
        !matches!(self, Self::Duplicate | Self::Invalid)
    }

    /// Whether a row with this status is of an ID that a request named.
    pub const fn was_sent(self) -> bool {
        !matches!(self, Self::Duplicate | Self::Invalid | Self::Excluded)
    }

    /// Whether a row with this status needs a person's attention, so that the exit code is 1.
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::Failed | Self::Unknown | Self::Invalid)
    }
}

impl Purge {
    /// Whether there is nothing left to do, so that a resume does not try again.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Requested | Self::NoUrl)
    }
}

/// What is known of one record; one row of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The ID as read, trimmed.
    pub file_id: CompactString,
    /// Where it stood.
    pub origin: Origin,
    /// What became of it.
    pub status: Status,
    /// Status of the last HTTP response of any attempt of this run; `None` if none came.
    pub http_status: Option<u16>,
    /// Why it is not `deleted`.
    pub error: Option<ErrorCode>,
    /// Requests of this run that named this ID.
    pub attempts: u32,
    /// From this run's first attempt to the decision.
    pub duration: Duration,
    /// When it was decided.
    pub finished_at: Timestamp,
    /// `x-ik-requestId` of the deciding response.
    pub request_id: Option<Arc<str>>,
    /// Why, for people; already free of the key. `report` cleans and cuts it.
    pub message: Option<Box<str>>,
    /// What became of the purge; `None` without `--purge-cache`, or while it is still due.
    pub purge: Option<Purge>,
    /// `requestId` of the purge, by which ImageKit tells its progress.
    pub purge_request_id: Option<Box<str>>,
}

impl Outcome {
    /// Whether the file is not there any more, by this job or perhaps by it.
    pub fn is_gone(&self) -> bool {
        matches!(self.status, Status::Deleted | Status::Gone)
    }

    /// Whether the file is gone and its URL is still to be purged, where that is wanted.
    pub fn is_purge_due(&self) -> bool {
        self.is_gone() && self.origin.url.is_some() && !self.purge.is_some_and(Purge::is_settled)
    }

    /// The row of a record that is never sent.
    pub fn rejected(rejected: Rejected) -> Self {
        let error = match &rejected.reason {
            Reject::InvalidId(_) => ErrorCode::InvalidId,
            Reject::NotAFile(_) | Reject::FoundNotAFile(_) => ErrorCode::NotAFile,
        };
        Self::unsent(
            rejected.file_id,
            rejected.origin,
            Status::Invalid,
            error,
            &rejected.reason.to_string(),
        )
    }

    /// The row of a record whose ID stood in an earlier one: `first` is that one's input and line, if known.
    pub fn duplicate(target: Target, first: Option<(&str, u64)>) -> Self {
        let file_id = target.file_id.into_text();
        let message = match first {
            None => "same ID as an earlier record".into(),
            Some((input, line)) if *input == *target.origin.input => {
                format!("same ID as line {line}")
            }
            Some(("-", line)) => format!("same ID as line {line} of stdin"),
            Some((input, line)) => format!("same ID as line {line} of {input}"),
        };
        Self::unsent(
            file_id,
            target.origin,
            Status::Duplicate,
            ErrorCode::Duplicate,
            &message,
        )
    }

    /// The row of a record that names an ID that `--except` protects. One that an earlier run may have deleted stays
    /// `unknown`: it was sent.
    pub fn excluded(target: Target) -> Self {
        let file_id = target.file_id.into_text();
        let (status, error, message) = if target.doubt == Doubt::Ambiguous {
            (
                Status::Unknown,
                ErrorCode::Interrupted,
                "a list of --except protects the ID now, but an earlier run may have deleted it",
            )
        } else {
            (
                Status::Excluded,
                ErrorCode::Excluded,
                "a list of --except protects the ID",
            )
        };
        Self::unsent(file_id, target.origin, status, error, message)
    }

    /// The row of an ID that an earlier run had in flight when it died.
    pub(crate) fn interrupted(file_id: CompactString, origin: Origin) -> Self {
        let (status, error) = (Status::Unknown, ErrorCode::Interrupted);
        let message = "the run ended while this ID was in flight";
        Self::unsent(file_id, origin, status, error, message)
    }

    fn unsent(
        file_id: CompactString,
        origin: Origin,
        status: Status,
        error: ErrorCode,
        message: &str,
    ) -> Self {
        Self {
            file_id,
            origin,
            status,
            http_status: None,
            error: Some(error),
            attempts: 0,
            duration: Duration::ZERO,
            finished_at: Timestamp::now(),
            request_id: None,
            message: Some(message.into()),
            purge: None,
            purge_request_id: None,
        }
    }
}
