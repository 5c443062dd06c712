//! Opaque tokens: 256 bits that nobody can guess, and that mean something only to the log (SE-1, SE-2, ID-3).
//!
//! One rule: what is stored and compared is the SHA-256 of the text. A plain hash is enough because 256 random bits, or a
//! keyed hash of as many, cannot be guessed (ASVS 6.5.2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::secret::{NoRandomness, Secret, fill_random, same};

/// What an opaque token is for. A token of one kind never passes for another: the prefix is hashed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueKind {
    /// Renews a session, once (`anr_`).
    Refresh,
    /// Proves that an e-mail address or a request to reset a password is one's own, once (`anv_`).
    Verification,
}

impl OpaqueKind {
    /// What its tokens begin with, so that scanners for leaked secrets know them.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "anr_",
            Self::Verification => "anv_",
        }
    }
}

/// A fresh token: the text for its owner, the hash for the log.
#[derive(Debug)]
pub struct OpaqueToken {
    /// The only copy of the text.
    pub secret: Secret,
    /// SHA-256 of the text, 64 hexadecimal digits.
    pub hash: String,
}

/// Characters after the prefix: 32 bytes in base64url.
const BODY_CHARACTERS: usize = 43;

impl OpaqueToken {
    /// Makes a token of 256 random bits.
    ///
    /// # Errors
    /// [`NoRandomness`] when the operating system gives no random bytes.
    pub fn generate(kind: OpaqueKind) -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        fill_random(bytes.as_mut())?;
        Ok(Self::of(kind, &bytes))
    }

    /// The token of these 256 bits, which nobody can guess: random ones, or a keyed hash.
    #[must_use]
    pub fn of(kind: OpaqueKind, bytes: &Zeroizing<[u8; 32]>) -> Self {
        let mut text = String::with_capacity(kind.prefix().len() + BODY_CHARACTERS);
        text.push_str(kind.prefix());
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        let hash = digest(&text);
        Self {
            secret: Secret::new(text),
            hash,
        }
    }

    /// The hash under which a presented token is stored; `None` when it is no token of this kind.
    #[must_use]
    pub fn hash(kind: OpaqueKind, presented: &str) -> Option<String> {
        let body = presented.strip_prefix(kind.prefix())?;
        let canonical = body.len() == BODY_CHARACTERS && URL_SAFE_NO_PAD.decode(body).is_ok();
        canonical.then(|| digest(presented))
    }

    /// Whether a presented token has the stored hash, in a time that does not depend on either.
    #[must_use]
    pub fn matches(kind: OpaqueKind, presented: &str, stored_hash: &str) -> bool {
        Self::hash(kind, presented).is_some_and(|hash| same(&hash, stored_hash))
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::{OpaqueKind, OpaqueToken};

    /// SE-1: only the hash can be stored, and it fits the text.
    #[test]
    fn a_refresh_token_has_256_bits_and_matches_its_hash() {
        let token = OpaqueToken::generate(OpaqueKind::Refresh).expect("random");
        let text = token.secret.expose();
        assert!(text.starts_with("anr_") && text.len() == 47, "{}", text.len());
        assert_eq!(token.hash.len(), 64);
        assert_eq!(
            OpaqueToken::hash(OpaqueKind::Refresh, text).as_ref(),
            Some(&token.hash)
        );
        assert!(OpaqueToken::matches(OpaqueKind::Refresh, text, &token.hash));
        assert!(!format!("{token:?}").contains(&text[4..]));
        let other = OpaqueToken::generate(OpaqueKind::Refresh).expect("random");
        assert_ne!(token.hash, other.hash);
        assert!(!OpaqueToken::matches(
            OpaqueKind::Refresh,
            other.secret.expose(),
            &token.hash
        ));
    }

    #[test]
    fn a_token_of_one_kind_is_none_of_the_other() {
        let token = OpaqueToken::generate(OpaqueKind::Verification).expect("random");
        let text = token.secret.expose();
        assert!(text.starts_with("anv_"));
        assert_eq!(OpaqueToken::hash(OpaqueKind::Refresh, text), None);
        let renamed = text.replacen("anv_", "anr_", 1);
        assert!(!OpaqueToken::matches(OpaqueKind::Refresh, &renamed, &token.hash));
    }

    #[test]
    fn what_does_not_have_the_form_has_no_hash() {
        let token = OpaqueToken::generate(OpaqueKind::Refresh).expect("random");
        let text = token.secret.expose();
        for wrong in [
            "",
            "anr_",
            &text[1..],
            &text[..46],
            &format!("{text}A"),
            &format!(" {text}"),
            &format!("{}=", &text[..46]),
        ] {
            assert_eq!(OpaqueToken::hash(OpaqueKind::Refresh, wrong), None, "{wrong}");
        }
        assert_eq!(
            OpaqueToken::hash(OpaqueKind::Refresh, &"x".repeat(1_000_000)),
            None
        );
    }
}
