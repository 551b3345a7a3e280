//! Why records were not deleted: rows grouped by what they say, the first IDs of each, in bounded memory.

use std::collections::HashMap;

use crate::outcome::{ErrorCode, Outcome, Status};

/// More different reasons than a person reads.
const MOST_GROUPS: usize = 100;

/// IDs that are named of each group.
const FIRST_IDS: usize = 5;

/// An ID that is longer is none of ImageKit's, and is cut for the page.
const ID_CHARACTERS: usize = 80;

/// Rows that say the same but for numbers and IDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) status: Status,
    pub(super) error: Option<ErrorCode>,
    pub(super) http_status: Option<u16>,
    /// The message of the first.
    pub(super) message: String,
    /// Others differ in numbers or IDs.
    pub(super) is_varied: bool,
    pub(super) count: u64,
    pub(super) first: Vec<Example>,
}

/// One row of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) file_id: String,
    pub(super) line: u64,
}

/// The groups, as rows come in.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    groups: HashMap<String, Group>,
    /// Rows by status that found no place in a group.
    others: [u64; Status::ALL.len()],
    key: String,
}

impl Reasons {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        write_key(&mut self.key, outcome);
        if let Some(group) = self.groups.get_mut(&self.key) {
            group.add(outcome);
        } else if self.groups.len() < MOST_GROUPS {
            self.groups.insert(self.key.clone(), Group::of(outcome));
        } else {
            self.others[outcome.status as usize] += 1;
        }
    }

    /// The groups of these statuses, the largest first within each, in the order given.
    pub(super) fn of(&self, statuses: &[Status]) -> Vec<&Group> {
        let place = |group: &Group| statuses.iter().position(|status| *status == group.status);
        let mut groups: Vec<&Group> = self
            .groups
            .values()
            .filter(|group| place(group).is_some())
            .collect();
        groups.sort_by(|a, b| {
            let order = (place(a), b.count).cmp(&(place(b), a.count));
            order.then_with(|| a.message.cmp(&b.message))
        });
        groups
    }

    /// Rows of these statuses that found no place in a group.
    pub(super) fn others(&self, statuses: &[Status]) -> u64 {
        statuses
            .iter()
            .map(|status| self.others[*status as usize])
            .sum()
    }
}

impl Group {
    fn of(outcome: &Outcome) -> Self {
        Self {
            status: outcome.status,
            error: outcome.error,
            http_status: outcome.http_status,
            message: outcome.message.as_deref().unwrap_or_default().to_owned(),
            is_varied: false,
            count: 1,
            first: vec![example(outcome)],
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.count += 1;
        self.is_varied |= self.message != outcome.message.as_deref().unwrap_or_default();
        if self.first.len() < FIRST_IDS {
            self.first.push(example(outcome));
        }
    }
}

fn example(outcome: &Outcome) -> Example {
    let mut file_id: String = outcome.file_id.chars().take(ID_CHARACTERS).collect();
    if file_id.len() < outcome.file_id.len() {
        file_id.push('…');
    }
    Example {
        file_id,
        line: outcome.origin.line,
    }
}

/// Status, error and message; each word of the message with a digit in it counts as any other such word.
fn write_key(key: &mut String, outcome: &Outcome) {
    key.clear();
    key.push_str(outcome.status.as_str());
    key.push('\n');
    key.push_str(outcome.error.map_or("", ErrorCode::as_str));
    if let Some(status) = outcome.http_status {
        key.push_str(&format!(" {status}"));
    }
    key.push('\n');
    let is_of_word =
        |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '.');
    let message = outcome.message.as_deref().unwrap_or_default();
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        key.push_str(if word.contains(|c: char| c.is_ascii_digit()) {
            "#"
        } else {
            word
        });
        let end = after.find(is_of_word).unwrap_or(after.len());
        key.push_str(&after[..end]);
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::target::Origin;

    fn failed(file_id: &str, message: &str) -> Outcome {
        Outcome {
            file_id: file_id.into(),
            origin: Origin {
                line: 3,
                input: Arc::from("a"),
                url: None,
            },
            status: Status::Failed,
            http_status: Some(400),
            error: Some(ErrorCode::Rejected),
            attempts: 1,
            duration: Duration::ZERO,
            finished_at: Timestamp::UNIX_EPOCH,
            request_id: None,
            message: Some(message.into()),
            purge: None,
            purge_request_id: None,
        }
    }

    #[test]
    fn messages_that_differ_in_numbers_or_ids_are_one_group() {
        let mut reasons = Reasons::default();
        for number in 0..1_000_u64 {
            let id = format!("5f{number:022x}");
            reasons.add(&failed(
                &id,
                &format!("no file {id} (took {number} ms, <é>)"),
            ));
        }
        reasons.add(&failed("x", "another thing"));
        let groups = reasons.of(&[Status::Failed]);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].count, groups[0].is_varied), (1_000, true));
        assert_eq!(groups[0].first.len(), FIRST_IDS);
        assert_eq!(
            groups[0].message,
            "no file 5f0000000000000000000000 (took 0 ms, <é>)"
        );
        assert_eq!((groups[1].count, groups[1].is_varied), (1, false));
    }

    #[test]
    fn beyond_the_first_hundred_reasons_rows_are_only_counted() {
        let mut reasons = Reasons::default();
        let words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        for (first, second) in words
            .iter()
            .flat_map(|first| words.map(|second| (first, second)))
        {
            reasons.add(&failed("x", &format!("{first} {second}")));
        }
        assert_eq!(reasons.of(&[Status::Failed]).len(), 100);
        assert_eq!(reasons.others(&[Status::Failed, Status::Unknown]), 44);
        assert!(reasons.of(&[Status::Invalid]).is_empty());
    }

    #[test]
    fn a_long_id_is_cut_between_characters() {
        let example = example(&failed(&"é".repeat(200), ""));
        assert_eq!(example.file_id, format!("{}…", "é".repeat(80)));
    }
}
