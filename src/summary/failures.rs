//! Rows grouped by why they are not `deleted`: how often each reason came, and the first IDs of each. Memory is bounded.
//!
//! The closing text and the page tell the same groups.

use std::collections::HashMap;

use crate::outcome::{ErrorCode, Outcome, Status};
use crate::target::Origin;

/// More reasons than these are counted together: a server may put anything into a message.
const MAX_GROUPS: usize = 100;

/// Rows that are named of each group.
const MAX_EXAMPLES: usize = 5;

/// What is kept of a message, in characters: what fits beside its count.
const MAX_MESSAGE: usize = 120;

/// What is kept of an ID, in characters: a longer one is none of ImageKit's.
const MAX_ID: usize = 80;

/// Rows grouped by status, error code and message.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    groups: HashMap<String, FailureGroup>,
    /// Rows by status that no group had room for.
    others: [u64; Status::ALL.len()],
    key: String,
}

/// Rows that say the same, but for numbers and IDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// What became of them.
    pub status: Status,
    /// The stable code.
    pub error: Option<ErrorCode>,
    /// The message of the first, free of control characters; where it named the ID, that reads `...`.
    pub message: Box<str>,
    /// Whether others differ in numbers or IDs.
    pub is_varied: bool,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// One row of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its ID, cut where it is long, free of control characters.
    pub file_id: Box<str>,
    /// Where it stood.
    pub origin: Origin,
}

impl Failures {
    /// Takes in one row.
    pub fn add(&mut self, outcome: &Outcome) {
        let message = message_without_id(outcome);
        write_key(&mut self.key, outcome, &message);
        if let Some(group) = self.groups.get_mut(&self.key) {
            group.add(outcome, &message);
        } else if self.groups.len() < MAX_GROUPS {
            let group = FailureGroup::new(outcome, message);
            self.groups.insert(self.key.clone(), group);
        } else {
            self.others[outcome.status as usize] += 1;
        }
    }

    /// The groups of these statuses, in the order of the statuses, the largest of each first.
    pub fn groups(&self, statuses: &[Status]) -> Vec<&FailureGroup> {
        let place =
            |group: &FailureGroup| statuses.iter().position(|status| *status == group.status);
        let groups = self.groups.values();
        let mut groups: Vec<&FailureGroup> =
            groups.filter(|group| place(group).is_some()).collect();
        groups.sort_by(|a, b| {
            let order = (place(a), b.count).cmp(&(place(b), a.count));
            order.then_with(|| a.message.cmp(&b.message))
        });
        groups
    }

    /// The groups of all statuses, the largest first.
    pub fn largest_first(&self) -> Vec<&FailureGroup> {
        let mut groups = self.groups(&Status::ALL);
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }

    /// Rows of these statuses that no group had room for.
    pub fn others(&self, statuses: &[Status]) -> u64 {
        let others = statuses.iter().map(|status| self.others[*status as usize]);
        others.sum()
    }
}

impl FailureGroup {
    fn new(outcome: &Outcome, message: Box<str>) -> Self {
        Self {
            status: outcome.status,
            error: outcome.error,
            message,
            is_varied: false,
            count: 1,
            examples: vec![Example::of(outcome)],
        }
    }

    fn add(&mut self, outcome: &Outcome, message: &str) {
        self.count += 1;
        self.is_varied |= *self.message != *message;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(Example::of(outcome));
        }
    }
}

impl Example {
    fn of(outcome: &Outcome) -> Self {
        Self {
            file_id: clean(&outcome.file_id, MAX_ID),
            origin: outcome.origin.clone(),
        }
    }
}

/// A message that names its ID would be a group of its own each time.
fn message_without_id(outcome: &Outcome) -> Box<str> {
    let message = outcome.message.as_deref().unwrap_or_default();
    if outcome.file_id.is_empty() {
        clean(message, MAX_MESSAGE)
    } else {
        clean(&message.replace(&*outcome.file_id, "..."), MAX_MESSAGE)
    }
}

/// A terminal must not obey what a server or an input says.
fn clean(text: &str, max_characters: usize) -> Box<str> {
    let mut characters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut clean: String = characters.by_ref().take(max_characters).collect();
    if characters.next().is_some() {
        clean.push('…');
    }
    clean.into()
}

/// Status, error and message; each word of the message with a digit in it counts as any other such word.
fn write_key(key: &mut String, outcome: &Outcome, message: &str) {
    key.clear();
    key.push_str(outcome.status.as_str());
    key.push('\n');
    key.push_str(outcome.error.map_or("", ErrorCode::as_str));
    key.push('\n');
    let is_of_word =
        |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '.');
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        key.push_str(if has_digit { "#" } else { word });
        let end = after.find(is_of_word).unwrap_or(after.len());
        key.push_str(&after[..end]);
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Doubt, FileId, Target};

    fn failure(id: &str, message: &str) -> Outcome {
        let target = Target {
            file_id: FileId::parse(id).expect("a test's ID"),
            origin: Origin {
                line: 7,
                input: "ids.txt".into(),
                url: None,
            },
            doubt: Doubt::None,
        };
        Outcome {
            status: Status::Failed,
            error: Some(ErrorCode::Rejected),
            message: Some(message.into()),
            ..Outcome::duplicate(target, None)
        }
    }

    #[test]
    fn rows_are_grouped_by_message_even_where_it_names_the_id() {
        let mut failures = Failures::default();
        failures.add(&failure("a1", "too busy"));
        for id in ["bb", "xy"] {
            failures.add(&failure(id, &format!("{id} is locked")));
        }
        let groups = failures.largest_first();
        assert_eq!(groups.len(), 2);
        let first = groups[0];
        assert_eq!((&*first.message, first.count), ("... is locked", 2));
        assert_eq!(&*first.examples[0].file_id, "bb");
        assert!(!first.is_varied);
    }

    #[test]
    fn messages_that_differ_in_numbers_or_other_ids_are_one_group() {
        let mut failures = Failures::default();
        for number in 0..1_000_u64 {
            let message = format!("file 5f{number:022x} is busy (took {number} ms, <é>)");
            failures.add(&failure("a", &message));
        }
        failures.add(&failure("a", "another reason"));
        let groups = failures.groups(&[Status::Failed]);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].count, groups[0].is_varied), (1_000, true));
        assert_eq!(groups[0].examples.len(), MAX_EXAMPLES);
        assert_eq!((groups[1].count, groups[1].is_varied), (1, false));
    }

    #[test]
    fn beyond_the_first_hundred_reasons_rows_are_only_counted() {
        let mut failures = Failures::default();
        let letters = || ('a'..='l').map(String::from);
        for message in
            letters().flat_map(|first| letters().map(move |second| first.clone() + &second))
        {
            failures.add(&failure("x", &message));
        }
        assert_eq!(failures.largest_first().len(), MAX_GROUPS);
        assert_eq!(failures.others(&[Status::Failed, Status::Unknown]), 44);
        assert!(failures.groups(&[Status::Invalid]).is_empty());
    }

    #[test]
    fn a_long_id_is_cut_between_characters_and_the_cut_shows() {
        let example = Example::of(&failure(&"é".repeat(100), ""));
        assert_eq!(*example.file_id, *format!("{}…", "é".repeat(80)));
    }
}
