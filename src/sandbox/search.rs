//! The search language of `GET /v1/files`, as far as ImageKit documents it: a query's text becomes a [`Search`].

use std::ops::RangeInclusive;

use jiff::Timestamp;

use super::field::{Field, Operator, Value};
use super::file::File;

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Search {
    All(Vec<Search>),
    Any(Vec<Search>),
    Not(Box<Search>),
    Is(Condition),
}

/// One field held against values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    field: Field,
    operator: Operator,
    values: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

const SIGNS: [&str; 11] = ["<=", ">=", "=", ":", "<", ">", "(", ")", "[", "]", ","];

impl Search {
    /// Reads a query; the error says what is wrong with it.
    pub(super) fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut parser = Parser {
            tokens: tokens(query)?.into_iter().peekable(),
            now,
        };
        let search = parser.any()?;
        match parser.tokens.next() {
            None => Ok(search),
            Some(token) => Err(format!("unexpected {}", token.text())),
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

    /// The milliseconds in which all that it finds was uploaded: a search for a late page need not look at all files.
    pub(super) fn created(&self) -> RangeInclusive<i64> {
        let whole = i64::MIN..=i64::MAX;
        match self {
            Self::All(parts) => parts.iter().map(Self::created).fold(whole, |one, other| {
                *one.start().max(other.start())..=*one.end().min(other.end())
            }),
            Self::Is(condition) if condition.field == Field::Created => {
                match (condition.operator, condition.values.as_slice()) {
                    (Operator::Greater | Operator::GreaterOrEqual, [Value::Number(from)]) => {
                        *from..=i64::MAX
                    }
                    (Operator::Less | Operator::LessOrEqual, [Value::Number(to)]) => i64::MIN..=*to,
                    _ => whole,
                }
            }
            _ => whole,
        }
    }

    /// The IDs that it names, where it finds no others.
    pub(super) fn ids(&self) -> Option<Vec<&str>> {
        match self {
            Self::All(parts) => parts.iter().find_map(Self::ids),
            Self::Is(condition) if condition.field == Field::Id => Some(
                condition
                    .values
                    .iter()
                    .filter_map(|value| match value {
                        Value::Text(text) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => None,
        }
    }
}

impl Condition {
    fn matches(&self, file: &File) -> bool {
        let values = self.field.of(file);
        if self.operator == Operator::Exists {
            return !values.is_empty();
        }
        values
            .iter()
            .any(|value| self.values.iter().any(|wanted| self.holds(value, wanted)))
    }

    fn holds(&self, value: &Value, wanted: &Value) -> bool {
        match (value, wanted) {
            (Value::Text(value), Value::Text(wanted)) => self.holds_text(value, wanted),
            (Value::Number(value), Value::Number(wanted)) => {
                // Times are compared to the second. [docs]
                let same = |number: i64| match self.field {
                    Field::Created => number.div_euclid(1000),
                    _ => number,
                };
                match self.operator {
                    Operator::Less => value < wanted,
                    Operator::LessOrEqual => value <= wanted,
                    Operator::Greater => value > wanted,
                    Operator::GreaterOrEqual => value >= wanted,
                    _ => same(*value) == same(*wanted),
                }
            }
            (value, wanted) => value == wanted,
        }
    }

    fn holds_text(&self, value: &str, wanted: &str) -> bool {
        match (self.operator, self.field) {
            (Operator::Prefix, Field::Path) => {
                let below = format!("{}/", wanted.trim_end_matches('/'));
                value == wanted || value.starts_with(&below)
            }
            (Operator::Prefix, _) => value.starts_with(wanted),
            (Operator::Has, _) => has(value, wanted),
            _ => value == wanted,
        }
    }
}

/// Full text: every word is there, in any case, the last one perhaps only as a beginning. `[docs]`
fn has(text: &str, wanted: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split(|character: char| !character.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let (there, wanted) = (words(text), words(wanted));
    let Some((last, others)) = wanted.split_last() else {
        return false;
    };
    others.iter().all(|word| there.contains(word))
        && there.iter().any(|word| word.starts_with(last.as_str()))
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Quoted(text) => text,
            Self::Sign(sign) => sign,
        }
    }
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else if first == '"' || first == '\'' {
            let inner = &rest[1..];
            let end = inner.find(first).ok_or("a quote is not closed")?;
            tokens.push(Token::Quoted(inner[..end].into()));
            end + 2
        } else {
            // A bare time of day has colons inside.
            let is_word = |character: char| match character {
                '.' | '_' | '-' | '/' => true,
                ':' => first.is_ascii_digit(),
                _ => character.is_alphanumeric(),
            };
            let end = rest
                .find(|character| !is_word(character))
                .unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected {first}"));
            }
            tokens.push(Token::Word(rest[..end].into()));
            end
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Reads tokens by recursive descent.
struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    now: Timestamp,
}

impl Parser {
    fn any(&mut self) -> Result<Search, String> {
        let mut parts = vec![self.all()?];
        while self.takes_word("OR") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Search::Any(parts)
        })
    }

    fn all(&mut self) -> Result<Search, String> {
        let mut parts = vec![self.one()?];
        while self.takes_word("AND") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Search::All(parts)
        })
    }

    fn one(&mut self) -> Result<Search, String> {
        if self.takes_word("NOT") {
            return Ok(Search::Not(Box::new(self.one()?)));
        }
        if self.takes_sign("(") {
            let inner = self.any()?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Search, String> {
        let name = match self.tokens.next() {
            Some(Token::Word(name) | Token::Quoted(name)) => name,
            Some(Token::Sign(sign)) => return Err(format!("unexpected {sign}")),
            None => return Err("it ends too early".into()),
        };
        let field = Field::parse(&name).ok_or_else(|| format!("unknown field {name}"))?;
        let is_negated = self.takes_word("NOT");
        let operator = self.operator()?;
        if !field.takes(operator) {
            return Err(format!("this operator is not supported for {name}"));
        }
        let condition = Search::Is(Condition {
            field,
            operator,
            values: self.values(field, operator)?,
        });
        Ok(if is_negated {
            Search::Not(Box::new(condition))
        } else {
            condition
        })
    }

    fn operator(&mut self) -> Result<Operator, String> {
        const OPERATORS: [(&str, Operator); 9] = [
            ("=", Operator::Equal),
            (":", Operator::Prefix),
            ("<", Operator::Less),
            ("<=", Operator::LessOrEqual),
            (">", Operator::Greater),
            (">=", Operator::GreaterOrEqual),
            ("IN", Operator::In),
            ("HAS", Operator::Has),
            ("EXISTS", Operator::Exists),
        ];
        let token = self.tokens.next().ok_or("an operator is missing")?;
        let mut operators = OPERATORS.iter();
        let found =
            operators.find(|(text, _)| !matches!(token, Token::Quoted(_)) && *text == token.text());
        found
            .map(|(_, operator)| *operator)
            .ok_or_else(|| format!("{} is no operator", token.text()))
    }

    fn values(&mut self, field: Field, operator: Operator) -> Result<Vec<Value>, String> {
        match operator {
            Operator::Exists => return Ok(Vec::new()),
            Operator::In => self.expect("[")?,
            _ => return Ok(vec![self.value(field)?]),
        }
        let mut values = vec![self.value(field)?];
        while self.takes_sign(",") {
            values.push(self.value(field)?);
        }
        self.expect("]")?;
        Ok(values)
    }

    fn value(&mut self, field: Field) -> Result<Value, String> {
        match self.tokens.next() {
            Some(Token::Word(text) | Token::Quoted(text)) => field.value(&text, self.now),
            Some(Token::Sign(sign)) => Err(format!("unexpected {sign}")),
            None => Err("a value is missing".into()),
        }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_next = |token: &Token| matches!(token, Token::Word(text) if text == word);
        self.tokens.next_if(is_next).is_some()
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_next = |token: &Token| matches!(token, Token::Sign(text) if *text == sign);
        self.tokens.next_if(is_next).is_some()
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.takes_sign(sign) {
            Ok(())
        } else {
            Err(format!("{sign} is missing"))
        }
    }
}
