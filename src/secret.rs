//! The scrubber: takes private keys out of text before it leaves the process.
//!
//! A key is known by its shape (`private_...`, plain, percent-encoded or in base64), wherever it was typed, and by its
//! text once [`Key::parse`](crate::client::Key::parse) has seen it. Everything that is printed or written goes through
//! [`scrub`]; what must stay exact, such as a URL, goes through [`scrub_exact`].

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in a text where a key stood.
pub const REDACTED: &str = "[key]";

/// How private keys begin, up to what percent-encoding may change. `[spec]`
const PLAIN: &str = "private";

/// What follows then.
const SEPARATORS: [&str; 3] = ["_", "%5F", "%5f"];

/// How they begin in base64, as in an `Authorization` header.
const BASE64: &str = "cHJpdmF0ZV";

/// A shorter one would be found in the middle of ordinary words.
const MIN_KNOWN_LEN: usize = 6;

/// What counts as a key by its shape.
#[derive(Clone, Copy)]
enum Shape {
    /// `private_` and anything behind it.
    Any,
    /// As many characters without a separator as ImageKit's keys have, and names of folders have not.
    Long,
}

/// Every spelling of the keys that were parsed, the longest of each first.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Whether one of those does not begin as private keys do, so that every text must be searched for it.
static IS_ODD_KNOWN: AtomicBool = AtomicBool::new(false);

static PLAIN_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PLAIN));
static BASE64_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(BASE64));

/// Whether there is no key in a text, by a quick look, since it is asked of every ID and URL.
fn is_clean(text: &str) -> bool {
    !has_start(text) && !IS_ODD_KNOWN.load(Ordering::Relaxed)
}

/// Whether a text has the beginning of a key by its shape.
fn has_start(text: &str) -> bool {
    let text = text.as_bytes();
    PLAIN_FINDER.find(text).is_some() || BASE64_FINDER.find(text).is_some()
}

/// Text without the keys in it: for people, logs and documents. Anything shaped like a key counts as one.
pub fn scrub(text: &str) -> Cow<'_, str> {
    redact(text, Shape::Any)
}

/// A cell that must stay exact, such as a URL, without the keys in it: `/private_photos/a.jpg` is an ordinary path.
/// In a query anything shaped like a key counts as one.
pub fn scrub_exact(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return text.into();
    }
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    match (redact(path, Shape::Long), redact(query, Shape::Any)) {
        (Cow::Borrowed(_), Cow::Borrowed(_)) => text.into(),
        (path, query) => (path + query).into_owned().into(),
    }
}

/// Whether there is anything like a key in a text.
pub fn is_in(text: &str) -> bool {
    matches!(scrub(text), Cow::Owned(_))
}

/// Remembers a key that is in use, so that it is found whatever its shape.
pub(crate) fn remember(key: &str) {
    if key.len() < MIN_KNOWN_LEN {
        return;
    }
    let with_colon = STANDARD.encode(format!("{key}:"));
    let without_colon = STANDARD.encode(key);
    let mut spellings = vec![
        utf8_percent_encode(key, NON_ALPHANUMERIC).to_string(),
        with_colon.trim_end_matches('=').to_owned(),
        without_colon.trim_end_matches('=').to_owned(),
        with_colon,
        without_colon,
        key.to_owned(),
    ];
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    spellings.retain(|spelling| !known.contains(spelling));
    let is_odd = spellings.iter().any(|spelling| !has_start(spelling));
    IS_ODD_KNOWN.fetch_or(is_odd, Ordering::Relaxed);
    known.append(&mut spellings);
    known.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
}

fn redact(text: &str, shape: Shape) -> Cow<'_, str> {
    if is_clean(text) {
        return text.into();
    }
    let mut text = Cow::Borrowed(text);
    for spelling in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(spelling.as_str()) {
            text = text.replace(spelling.as_str(), REDACTED).into();
        }
    }
    if text.contains(PLAIN) {
        text = redact_shape(&text, PLAIN, |rest| {
            behind_separator(rest).is_some_and(|secret| shape.fits(secret))
        })
        .map_or(text, Cow::Owned);
    }
    if text.contains(BASE64) {
        text = redact_shape(&text, BASE64, |rest| Shape::Any.fits(rest)).map_or(text, Cow::Owned);
    }
    text
}

fn behind_separator(text: &str) -> Option<&str> {
    SEPARATORS
        .iter()
        .find_map(|separator| text.strip_prefix(separator))
}

/// The text with what begins like this, and goes on for long enough, taken out; `None` if there is no such thing.
fn redact_shape(text: &str, start: &str, is_key: impl Fn(&str) -> bool) -> Option<String> {
    let mut parts = text.split(start);
    let mut redacted = parts.next()?.to_owned();
    let mut is_changed = false;
    for part in parts {
        let rest = part.trim_start_matches(is_of_a_key);
        let is_key = is_key(part);
        is_changed |= is_key;
        redacted.push_str(if is_key { REDACTED } else { start });
        redacted.push_str(if is_key { rest } else { part });
    }
    is_changed.then_some(redacted)
}

impl Shape {
    /// ImageKit's keys have some 28 characters behind `private_`.
    const MIN_LONG: usize = 20;

    /// Whether a text begins as the secret part of a key does.
    fn fits(self, text: &str) -> bool {
        let (separators, min_len) = match self {
            Self::Any => ("", 1),
            Self::Long => ("/_-", Self::MIN_LONG),
        };
        let is_inside = |next| is_of_a_key(next) && !separators.contains(next);
        let behind = text.trim_start_matches(is_inside);
        text.len() - behind.len() >= min_len
    }
}

/// Base64, both alphabets, and what percent-encoding makes of it.
fn is_of_a_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+/=_-%".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_shape_however_it_is_written() {
        for (text, scrubbed) in [
            ("no key", "no key"),
            ("private_Ab+/=9 behind", "[key] behind"),
            ("https://private_ab:@host", "https://[key]:@host"),
            ("ftp://private%5Fab%2Bcd%3D@host", "ftp://[key]@host"),
            ("Basic cHJpdmF0ZV9hYmM6", "Basic [key]"),
            ("private_a, private_b", "[key], [key]"),
            ("a private_... of the help", "a private_... of the help"),
        ] {
            assert_eq!(scrub(text), scrubbed);
        }
    }

    #[test]
    fn an_ordinary_path_stays_exact_and_a_key_in_one_does_not() {
        for path in [
            "https://ik.imagekit.io/x/private_photos/a.jpg",
            "https://ik.imagekit.io/x/private_photos/Summer2024/beach1.jpg?updatedAt=1",
            "/private_my_family_photos_of_2024/a.jpg",
        ] {
            assert_eq!(scrub_exact(path), path);
        }
        for (key, scrubbed) in [
            (
                "https://host/private_0123456789abcdefghij.jpg",
                "https://host/[key].jpg",
            ),
            (
                "https://private_0123456789abcdefghij:@host/a.jpg",
                "https://[key]:@host/a.jpg",
            ),
            (
                "https://host/a.jpg?key=private_ab/c",
                "https://host/a.jpg?key=[key]",
            ),
        ] {
            assert_eq!(scrub_exact(key), scrubbed);
        }
    }

    #[test]
    fn a_known_key_is_found_whatever_its_shape() {
        remember("odd+key/of=an~old");
        let encoded = STANDARD.encode("odd+key/of=an~old:");
        for text in [
            "odd+key/of=an~old",
            "odd%2Bkey%2Fof%3Dan%7Eold",
            encoded.as_str(),
            encoded.trim_end_matches('='),
        ] {
            assert_eq!(scrub(text), REDACTED);
            assert_eq!(scrub_exact(&format!("/a/{text}/b")), "/a/[key]/b");
        }
    }
}
