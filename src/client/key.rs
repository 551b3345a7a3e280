//! The private key: read once, shown nowhere.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::secret;

/// An ImageKit private key.
#[derive(Clone)]
pub struct Key(Arc<Secret>);

struct Secret {
    key: SecretString,
    /// `base64("<key>:")`, as it goes over the wire. `[spec]`
    basic: SecretString,
}

/// Why a text cannot be the private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nothing there.
    #[error("the private key is empty; copy it from ImageKit's dashboard, Developer options")]
    Empty,
    /// Public keys cannot delete. `[spec]`
    #[error("that is a public key (public_...); deleting needs the private key (private_...)")]
    Public,
    /// A key is one line of visible ASCII characters.
    #[error(
        "the private key has a space or a character that no key has; copy it again, complete and on a line of its own"
    )]
    Malformed,
}

impl Key {
    /// Checks a key as a person or a file gave it; white space around it is cut. From then on [`secret`] knows it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.starts_with("public_") {
            return Err(KeyError::Public);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed);
        }
        secret::remember(text);
        let basic = STANDARD.encode(format!("{text}:"));
        Ok(Self(Arc::new(Secret {
            key: text.into(),
            basic: basic.into(),
        })))
    }

    /// The key as a question may name it: `private_ab...yz`.
    pub fn masked(&self) -> String {
        let key = self.0.key.expose_secret();
        let prefix = if key.starts_with("private_") {
            "private_"
        } else {
            ""
        };
        let secret = &key[prefix.len()..];
        if secret.len() < 12 {
            return format!("{prefix}...");
        }
        format!("{prefix}{}...{}", &secret[..2], &secret[secret.len() - 2..])
    }

    /// A fingerprint by which a later run knows the same key again; tells nothing of the key.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(format!(
            "imagekit-bulk-delete {}",
            self.0.key.expose_secret()
        ));
        let mut text = String::new();
        for byte in digest.iter().take(8) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The value of the `Authorization` header.
    pub(super) fn authorization(&self) -> String {
        format!("Basic {}", self.0.basic.expose_secret())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key([key])")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_refused_with_a_hint() {
        assert_eq!(Key::parse("public_abc").unwrap_err(), KeyError::Public);
        assert_eq!(Key::parse(" \n").unwrap_err(), KeyError::Empty);
        assert_eq!(Key::parse("private_a b").unwrap_err(), KeyError::Malformed);
    }

    #[test]
    fn the_key_is_masked_and_fingerprinted() {
        let key = Key::parse("private_abcdefghijklmnopyz\n").unwrap();
        assert_eq!(key.masked(), "private_ab...yz");
        assert_eq!(Key::parse("private_short").unwrap().masked(), "private_...");
        assert!(!format!("{key:?}").contains("abc"));
        assert_eq!(key.fingerprint().len(), 16);
        assert_ne!(
            key.fingerprint(),
            Key::parse("private_other").unwrap().fingerprint()
        );
    }

    #[test]
    fn the_key_is_the_user_name_and_the_password_is_empty() {
        let key = Key::parse("private_x").unwrap();
        assert_eq!(
            key.authorization(),
            format!("Basic {}", STANDARD.encode("private_x:"))
        );
    }
}
