//! Failures by message: what went wrong how often, with one example each. Memory is bounded.

use crate::outcome::{ErrorCode, Outcome, Status};
use crate::target::Origin;

/// More different messages than these are counted together: a server may put anything into them.
const MOST_GROUPS: usize = 20;

/// So much of a message or an ID is kept, in characters.
const MOST_CHARACTERS: usize = 200;

/// This run's failures, grouped by status and message.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    groups: Vec<Group>,
    others: u64,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `failed`, `unknown` or `invalid`.
    pub status: Status,
    /// The stable code.
    pub error: Option<ErrorCode>,
    /// The message, one line, free of control characters; where it named the ID, that reads `...`.
    pub message: Box<str>,
    /// How many.
    pub count: u64,
    /// The first one's ID, cleaned likewise.
    pub example: Box<str>,
    /// Where that one stood.
    pub origin: Origin,
}

impl Failures {
    /// Takes in one failure.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        let message = message_without_id(outcome);
        let same = self.groups.iter_mut().find(|group| {
            (group.status, group.error) == (outcome.status, outcome.error)
                && group.message == message
        });
        if let Some(group) = same {
            group.count += 1;
        } else if self.groups.len() == MOST_GROUPS {
            self.others += 1;
        } else {
            self.groups.push(Group {
                status: outcome.status,
                error: outcome.error,
                message,
                count: 1,
                example: clean(&outcome.file_id),
                origin: outcome.origin.clone(),
            });
        }
    }

    /// The groups, the largest first.
    pub fn largest_first(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }

    /// Failures that no group had room for.
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// A message that names its ID would be a group of its own each time.
fn message_without_id(outcome: &Outcome) -> Box<str> {
    let message = outcome.message.as_deref().unwrap_or_default();
    if outcome.file_id.is_empty() {
        clean(message)
    } else {
        clean(&message.replace(&*outcome.file_id, "..."))
    }
}

/// A terminal must not obey what a server or an input says.
fn clean(text: &str) -> Box<str> {
    let is_harmless = |character: &char| !character.is_control();
    text.chars()
        .filter(is_harmless)
        .take(MOST_CHARACTERS)
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{FileId, Target};

    fn failure(id: &str, message: &str) -> Outcome {
        let target = Target {
            file_id: FileId::parse(id).expect("a test's ID"),
            origin: Origin {
                line: 7,
                input: "ids.txt".into(),
                url: None,
            },
            doubt: false,
        };
        Outcome {
            status: Status::Failed,
            error: Some(ErrorCode::Rejected),
            message: Some(message.into()),
            ..Outcome::duplicate(target)
        }
    }

    #[test]
    fn failures_are_grouped_by_message_even_where_it_names_the_id() {
        let mut failures = Failures::default();
        failures.add(&failure("a1", "too busy"));
        for id in ["b1", "b2"] {
            failures.add(&failure(id, &format!("{id} is locked")));
        }
        let groups = failures.largest_first();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (&*groups[0].message, groups[0].count, &*groups[0].example),
            ("... is locked", 2, "b1")
        );
    }

    #[test]
    fn messages_without_end_are_counted_together() {
        let mut failures = Failures::default();
        for number in 0..1000 {
            failures.add(&failure("a1", &format!("trouble {number}")));
        }
        assert_eq!(failures.largest_first().len(), MOST_GROUPS);
        assert_eq!(failures.others(), 980);
    }
}
