//! What a search can look at: fields, the operators that each takes, and their values.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

use super::file::File;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Path,
    Kind,
    Id,
    Format,
    Tags,
    Size,
    Width,
    Height,
    Created,
    Private,
    Published,
    Transparency,
    /// Custom metadata and the like, which no file here has.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Prefix,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Has,
    Exists,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// Bytes, pixels, or milliseconds since 1970.
    Number(i64),
    Truth(bool),
}

impl Field {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "path" => Self::Path,
            "type" => Self::Kind,
            "id" => Self::Id,
            "format" => Self::Format,
            "tags" => Self::Tags,
            "size" => Self::Size,
            "width" => Self::Width,
            "height" => Self::Height,
            "createdAt" | "updatedAt" => Self::Created,
            "private" => Self::Private,
            "published" => Self::Published,
            "transparency" => Self::Transparency,
            _ if name.starts_with("customMetadata.") || name.starts_with("embeddedMetadata.") => {
                Self::Absent
            }
            _ => return None,
        })
    }

    pub(super) fn of(self, file: &File) -> Vec<Value> {
        let text = |text: &str| vec![Value::Text(text.into())];
        let number = |number: u64| vec![Value::Number(i64::try_from(number).unwrap_or(i64::MAX))];
        match self {
            Self::Name => text(&file.name),
            Self::Path => text(&file.folder),
            Self::Kind => text(file.kind),
            Self::Id => text(&file.id),
            Self::Format => text(file.format()),
            Self::Tags => file.tags.iter().cloned().map(Value::Text).collect(),
            Self::Size => number(file.size),
            Self::Width => number(800),
            Self::Height => number(600),
            Self::Created => vec![Value::Number(file.created_at.as_millisecond())],
            Self::Private => vec![Value::Truth(file.is_private)],
            Self::Published => vec![Value::Truth(true)],
            Self::Transparency => vec![Value::Truth(false)],
            Self::Absent => Vec::new(),
        }
    }

    /// Whether ImageKit documents this operator for this field.
    pub(super) fn takes(self, operator: Operator) -> bool {
        use Operator::{Equal, Exists, Has, In, Prefix};
        match self {
            Self::Name => matches!(operator, Equal | Prefix | In | Has),
            Self::Path => matches!(operator, Equal | Prefix | In),
            Self::Kind | Self::Id | Self::Format => matches!(operator, Equal | In),
            Self::Tags => matches!(operator, In | Has | Exists),
            Self::Size | Self::Width | Self::Height | Self::Created => {
                !matches!(operator, Prefix | Has | Exists)
            }
            Self::Private | Self::Published | Self::Transparency => operator == Equal,
            Self::Absent => true,
        }
    }

    pub(super) fn value(self, text: &str, now: Timestamp) -> Result<Value, String> {
        let bad = || format!("invalid value {text} for {self:?}");
        match self {
            Self::Created => time(text, now).map(Value::Number).ok_or_else(bad),
            Self::Size => bytes(text).map(Value::Number).ok_or_else(bad),
            Self::Width | Self::Height => text.parse().map(Value::Number).map_err(|_| bad()),
            Self::Private | Self::Published | Self::Transparency => {
                text.parse().map(Value::Truth).map_err(|_| bad())
            }
            Self::Path => Ok(Value::Text(folder(text))),
            _ => Ok(Value::Text(text.into())),
        }
    }
}

/// `/a/b/`, `a/b` and `/a/b` are one folder.
pub(super) fn folder(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// `2020-01-01`, `2020-01-01T12:12:12`, or a time that has passed since: `1h`, `2d`, `3w`, `4m` (months), `1y`. `[docs]`
fn time(text: &str, now: Timestamp) -> Option<i64> {
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(at) = text.parse::<DateTime>() {
        Offset::UTC.to_timestamp(at).ok()?
    } else {
        let (count, unit) = text.split_at(text.len().checked_sub(1)?);
        let count: i64 = count.parse().ok().filter(|count| *count < 10_000)?;
        let span = match unit {
            "h" => Span::new().hours(count),
            "d" => Span::new().days(count),
            "w" => Span::new().weeks(count),
            "m" => Span::new().months(count),
            "y" => Span::new().years(count),
            _ => return None,
        };
        let past = Offset::UTC.to_datetime(now).checked_sub(span).ok()?;
        Offset::UTC.to_timestamp(past).ok()?
    };
    Some(at.as_millisecond())
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
    digits.trim().parse::<i64>().ok()?.checked_mul(factor)
}
