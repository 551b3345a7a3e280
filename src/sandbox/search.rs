//! The search of `GET /v1/files`: a query's text becomes a [`Search`].
//!
//! It knows what ImageKit documents of its language, and refuses the rest; the words say that it is the sandbox that
//! does not know it.

use std::iter::Peekable;
use std::vec::IntoIter;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

use super::file::{File, HEIGHT, WIDTH};

/// A parsed query.
#[derive(Debug, Clone)]
pub(super) enum Search {
    All(Vec<Search>),
    Any(Vec<Search>),
    Not(Box<Search>),
    Is(Condition),
}

/// A property held against values.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    property: &'static Property,
    operator: String,
    values: Vec<Value>,
}

/// What a search can look at.
#[derive(Debug)]
pub(super) struct Property {
    name: &'static str,
    kind: ValueKind,
    /// The operators that ImageKit documents for it.
    operators: &'static str,
}

/// How a field's values are written.
#[derive(Debug, Clone, Copy)]
enum ValueKind {
    Text,
    Folder,
    Bytes,
    Pixels,
    Time,
    Truth,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(super) enum Value {
    Text(String),
    /// Bytes, pixels, or seconds since 1970.
    Number(i64),
}

const COMPARED: &str = "= < <= > >= IN";

const PROPERTIES: &[Property] = &[
    property("name", ValueKind::Text, "= : IN HAS"),
    property("path", ValueKind::Folder, "= : IN"),
    property("type", ValueKind::Text, "= IN"),
    property("id", ValueKind::Text, "= IN"),
    property("format", ValueKind::Text, "= IN"),
    property("tags", ValueKind::Text, "IN HAS EXISTS"),
    property("size", ValueKind::Bytes, COMPARED),
    property("width", ValueKind::Pixels, COMPARED),
    property("height", ValueKind::Pixels, COMPARED),
    property("createdAt", ValueKind::Time, COMPARED),
    property("updatedAt", ValueKind::Time, COMPARED),
    property("private", ValueKind::Truth, "="),
    property("published", ValueKind::Truth, "="),
    property("transparency", ValueKind::Truth, "="),
];

/// Custom and embedded metadata, of which no file here has any.
const METADATA: &Property = &property("metadata", ValueKind::Text, "= : < <= > >= IN HAS EXISTS");

const fn property(name: &'static str, kind: ValueKind, operators: &'static str) -> Property {
    Property {
        name,
        kind,
        operators,
    }
}

impl Search {
    /// Reads a query; the error says what is wrong with it.
    pub(super) fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let tokens = tokens(query)?.into_iter().peekable();
        let mut parser = QueryParser { tokens, now };
        let search = parser.any()?;
        match parser.tokens.next() {
            None => Ok(search),
            Some(token) => Err(format!("unexpected {}", token.text)),
        }
    }

    pub(super) fn matches(&self, file: &File) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(file)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(file)),
            Self::Not(part) => !part.matches(file),
            Self::Is(condition) => condition.matches(file),
        }
    }

    /// The second since 1970 before which nothing that it finds was uploaded: who searches for a late page need not
    /// look at all files.
    pub(super) fn since(&self) -> i64 {
        let parts = match self {
            Self::All(parts) => parts.iter().map(Self::since).max(),
            Self::Any(parts) => parts.iter().map(Self::since).min(),
            Self::Is(condition) => condition.since(),
            Self::Not(_) => None,
        };
        parts.unwrap_or(i64::MIN)
    }

    /// The IDs that it names, where it finds no others.
    pub(super) fn ids(&self) -> Option<&[Value]> {
        match self {
            Self::All(parts) => parts.iter().find_map(Self::ids),
            Self::Any(parts) if parts.len() == 1 => parts[0].ids(),
            Self::Is(condition) if condition.property.name == "id" => Some(&condition.values),
            _ => None,
        }
    }
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) => None,
        }
    }
}

impl Condition {
    fn matches(&self, file: &File) -> bool {
        let values = self.property.values_of(file);
        if self.operator == "EXISTS" {
            return !values.is_empty();
        }
        let is_wanted = |value| self.values.iter().any(|wanted| self.holds(value, wanted));
        values.iter().any(is_wanted)
    }

    fn holds(&self, value: &Value, wanted: &Value) -> bool {
        match (self.operator.as_str(), value, wanted) {
            ("<", ..) => value < wanted,
            ("<=", ..) => value <= wanted,
            (">", ..) => value > wanted,
            (">=", ..) => value >= wanted,
            (":", Value::Text(value), Value::Text(wanted)) => {
                let rest = value.strip_prefix(wanted.trim_end_matches('/'));
                // A folder's beginning is not another folder's.
                rest.is_some_and(|rest| {
                    self.property.name != "path" || rest.is_empty() || rest.starts_with('/')
                })
            }
            ("HAS", Value::Text(value), Value::Text(wanted)) => has(value, wanted),
            _ => value == wanted,
        }
    }

    fn since(&self) -> Option<i64> {
        match (self.property.name, self.operator.as_str(), &self.values[..]) {
            ("createdAt", ">=", [Value::Number(since)]) => Some(*since),
            _ => None,
        }
    }
}

/// Full text: every word is there, in any case, the last one perhaps only as a beginning. `[docs]`
fn has(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (text.to_lowercase(), wanted.to_lowercase());
    let is_between = |character: char| !character.is_alphanumeric();
    let there: Vec<&str> = text.split(is_between).collect();
    let mut wanted = wanted.split(is_between).filter(|word| !word.is_empty());
    let Some(last) = wanted.next_back() else {
        return false;
    };
    wanted.all(|word| there.contains(&word)) && there.iter().any(|word| word.starts_with(last))
}

impl Property {
    fn of_name(name: &str) -> Option<&'static Self> {
        if name.starts_with("customMetadata.") || name.starts_with("embeddedMetadata.") {
            return Some(METADATA);
        }
        PROPERTIES.iter().find(|property| property.name == name)
    }

    fn values_of(&self, file: &File) -> Vec<Value> {
        let text = |text: &str| vec![Value::Text(text.into())];
        match self.name {
            "name" => text(&file.name),
            "path" => text(&file.folder),
            "type" => text(file.kind),
            "id" => text(&file.id),
            "format" => text(file.name.rsplit('.').next().unwrap_or_default()),
            "tags" => file.tags.iter().cloned().map(Value::Text).collect(),
            "size" => vec![Value::Number(file.size.cast_signed())],
            "width" => vec![Value::Number(WIDTH)],
            "height" => vec![Value::Number(HEIGHT)],
            "published" => text("true"),
            "private" | "transparency" => text("false"),
            "metadata" => Vec::new(),
            // To the second. [docs]
            _ => vec![Value::Number(file.created_at.as_second())],
        }
    }
}

impl ValueKind {
    fn read(self, text: &str, now: Timestamp) -> Option<Value> {
        Some(match self {
            Self::Text => Value::Text(text.into()),
            // `/a/b/`, `a/b` and `/a/b` are one folder.
            Self::Folder => Value::Text(format!("/{}", text.trim_matches('/'))),
            Self::Bytes => Value::Number(bytes(text)?),
            Self::Pixels => Value::Number(text.parse().ok()?),
            Self::Time => Value::Number(time(text, now)?),
            Self::Truth => Value::Text(text.parse::<bool>().ok()?.to_string()),
        })
    }
}

/// `2020-01-01`, `2020-01-01T12:12:12`, or a time that has passed since: `1h`, `2d`, `3w`, `4m` (months), `1y`. `[docs]`
fn time(text: &str, now: Timestamp) -> Option<i64> {
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(at) = text.parse::<DateTime>() {
        Offset::UTC.to_timestamp(at).ok()?
    } else {
        let passed: Span = text.replace('m', "mo").parse().ok()?;
        let past = Offset::UTC.to_datetime(now).checked_sub(passed).ok()?;
        Offset::UTC.to_timestamp(past).ok()?
    };
    Some(at.as_second())
}

/// `1024`, `10kb`, `1mb`, `2gb`.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        _ => return None,
    };
    let number: i64 = digits.trim().parse().ok()?;
    number.checked_mul(factor)
}

struct Token {
    text: String,
    is_quoted: bool,
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [&str; 11] = ["<=", ">=", "=", ":", "<", ">", "(", ")", "[", "]", ","];
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_quoted = matches!(first, '"' | '\'');
        let (text, after) = if is_quoted {
            rest[1..].split_once(first).ok_or("a quote is not closed")?
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            rest.split_at(sign.len())
        } else {
            // A bare time of day has colons inside.
            let is_of_word = |character: char| {
                character.is_alphanumeric()
                    || "._-/".contains(character)
                    || character == ':' && first.is_ascii_digit()
            };
            rest.split_at(
                rest.find(|character| !is_of_word(character))
                    .unwrap_or(rest.len()),
            )
        };
        if text.is_empty() && !is_quoted {
            return Err(format!("unexpected {first}"));
        }
        tokens.push(Token {
            text: text.into(),
            is_quoted,
        });
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// Reads tokens by recursive descent.
struct QueryParser {
    tokens: Peekable<IntoIter<Token>>,
    now: Timestamp,
}

impl QueryParser {
    fn any(&mut self) -> Result<Search, String> {
        self.joined("OR", Self::all).map(Search::Any)
    }

    fn all(&mut self) -> Result<Search, String> {
        self.joined("AND", Self::one).map(Search::All)
    }

    /// What stands before, between and behind a word.
    fn joined<T>(
        &mut self,
        word: &str,
        mut part: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut parts = vec![part(self)?];
        while self.takes(word) {
            parts.push(part(self)?);
        }
        Ok(parts)
    }

    fn one(&mut self) -> Result<Search, String> {
        if self.takes("NOT") {
            return Ok(Search::Not(Box::new(self.one()?)));
        }
        if self.takes("(") {
            let inner = self.any()?;
            return self.expect(")").map(|()| inner);
        }
        let name = self.next("a field")?.text;
        let property =
            Property::of_name(&name).ok_or_else(|| format!("the sandbox knows no field {name}"))?;
        let is_negated = self.takes("NOT");
        let Token {
            text: operator,
            is_quoted,
        } = self.next("an operator")?;
        if is_quoted || property.operators.split(' ').all(|known| known != operator) {
            return Err(format!("the sandbox knows no {operator} for {name}"));
        }
        let values = match operator.as_str() {
            "IN" => {
                self.expect("[")?;
                let values = self.joined(",", |parser| parser.value(property))?;
                self.expect("]")?;
                values
            }
            "EXISTS" => Vec::new(),
            _ => vec![self.value(property)?],
        };
        let condition = Search::Is(Condition {
            property,
            operator,
            values,
        });
        Ok(if is_negated {
            Search::Not(Box::new(condition))
        } else {
            condition
        })
    }

    fn value(&mut self, property: &Property) -> Result<Value, String> {
        let text = self.next("a value")?.text;
        let value = property.kind.read(&text, self.now);
        value.ok_or_else(|| format!("invalid value {text} for {}", property.name))
    }

    fn next(&mut self, what: &str) -> Result<Token, String> {
        self.tokens
            .next()
            .ok_or_else(|| format!("{what} is missing"))
    }

    /// Whether a word or a sign is next, which is passed then.
    fn takes(&mut self, word: &str) -> bool {
        let is_next = |token: &Token| !token.is_quoted && token.text == word;
        self.tokens.next_if(is_next).is_some()
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) {
            Ok(())
        } else {
            Err(format!("{sign} is missing"))
        }
    }
}
