//! One sealed leaf: its text, its place, and the cipher.
//!
//! The rule: a ciphertext opens in its own place only. AES-256-GCM-SIV (RFC 8452) under the person's key;
//! associated data are the purpose, the person and the place, each with its length in front, and the nonce is
//! derived from those. So sealing the same event again gives the same bytes, and a retried append stays
//! idempotent; the same nonce never meets other associated data, and should it meet another text, GCM-SIV
//! gives away that the two differ and nothing else.

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use domain::id::UserId;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What a sealed leaf begins with.
pub(super) const SEALED: &str = "sealed:1:";
/// What a leaf begins with that could be mistaken for a sealed one and is nobody's to seal.
pub(super) const PLAIN: &str = "plain:1:";
/// What every ciphertext of a leaf is bound to besides its place.
const PURPOSE: &[u8] = b"anneal log personal field 1";

/// A key of 32 random bytes; wiped from memory when dropped, never printed.
pub(super) struct Key(pub(super) Zeroizing<[u8; 32]>);

/// The parts, each with its length in front, so that no two lists give the same bytes.
pub(super) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl Key {
    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new((&*self.0).into())
    }

    /// Seals `text` for `bound`; `None` only for a text beyond the cipher's limit of 64 GiB.
    pub(super) fn encrypt(&self, nonce: [u8; 12], bound: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: text,
            aad: bound,
        };
        self.cipher().encrypt(&Nonce::from(nonce), payload).ok()
    }

    /// Opens `sealed`; `None` when it is not one of this key, nonce and `bound`.
    pub(super) fn decrypt(&self, nonce: [u8; 12], bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let payload = Payload {
            msg: sealed,
            aad: bound,
        };
        let opened = self.cipher().decrypt(&Nonce::from(nonce), payload);
        opened.ok().map(Zeroizing::new)
    }
}

/// Where a leaf lies: what its ciphertext is bound to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The event's id, or what stands for it in metadata.
    pub(super) owner: &'a [u8],
    /// The event's kind; `metadata` there.
    pub(super) kind: &'a str,
    /// The exact path of the leaf.
    pub(super) path: &'a str,
}

impl Place<'_> {
    fn bound(&self, person: UserId) -> Vec<u8> {
        let parts = [
            PURPOSE,
            person.0.as_bytes(),
            self.owner,
            self.kind.as_bytes(),
            self.path.as_bytes(),
        ];
        joined(&parts)
    }

    /// The text that stands for `text` of `person` in this place; `None` as [`Key::encrypt`].
    pub(super) fn seal(&self, person: UserId, key: &Key, text: &str) -> Option<String> {
        let bound = self.bound(person);
        let sealed = key.encrypt(nonce(&bound), &bound, text.as_bytes())?;
        Some(format!("{SEALED}{person}:{}", STANDARD_NO_PAD.encode(sealed)))
    }

    /// What `sealed` holds, if it was sealed for `person` in this very place.
    pub(super) fn open(&self, person: UserId, key: &Key, sealed: &[u8]) -> Option<String> {
        let bound = self.bound(person);
        let text = key.decrypt(nonce(&bound), &bound, sealed)?;
        std::str::from_utf8(&text).ok().map(str::to_owned)
    }
}

fn nonce(bound: &[u8]) -> [u8; 12] {
    let hash = Sha256::new()
        .chain_update("anneal nonce 1")
        .chain_update(bound)
        .finalize();
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&hash[..12]);
    nonce
}

/// Takes the text of a sealed leaf apart: whose, and the ciphertext.
pub(super) fn parse(text: &str) -> Option<(UserId, Vec<u8>)> {
    let (person, sealed) = text.strip_prefix(SEALED)?.split_once(':')?;
    Some((person.parse().ok()?, STANDARD_NO_PAD.decode(sealed).ok()?))
}

#[cfg(test)]
mod tests {
    use domain::id::UserId;
    use zeroize::Zeroizing;

    use super::{Key, Place, parse};

    const PLACE: Place<'static> = Place {
        owner: b"event",
        kind: "identity.EmailVerified",
        path: "email",
    };

    fn key(byte: u8) -> Key {
        Key(Zeroizing::new([byte; 32]))
    }

    fn person(number: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(number))
    }

    /// AU-7: the same leaf gives the same bytes, or a retried append would not be idempotent.
    #[test]
    fn sealing_again_gives_the_same_text_and_it_opens() {
        let text = PLACE.seal(person(1), &key(1), "ada@example.org").expect("sealed");
        assert_eq!(
            PLACE.seal(person(1), &key(1), "ada@example.org").as_deref(),
            Some(&*text)
        );
        assert!(!text.contains("ada"));
        let (whose, sealed) = parse(&text).expect("a sealed leaf");
        assert_eq!(whose, person(1));
        let opened = PLACE.open(whose, &key(1), &sealed);
        assert_eq!(opened.as_deref(), Some("ada@example.org"));
    }

    /// B2: moved anywhere else, it never opens.
    #[test]
    fn a_moved_ciphertext_never_opens() {
        let text = PLACE.seal(person(1), &key(1), "ada@example.org").expect("sealed");
        let (_, sealed) = parse(&text).expect("a sealed leaf");
        let moved = [
            Place {
                owner: b"other",
                ..PLACE
            },
            Place {
                kind: "identity.UserRegistered",
                ..PLACE
            },
            Place {
                path: "profile.email",
                ..PLACE
            },
        ];
        for place in moved {
            assert_eq!(place.open(person(1), &key(1), &sealed), None);
        }
        assert_eq!(PLACE.open(person(2), &key(1), &sealed), None);
        assert_eq!(PLACE.open(person(1), &key(2), &sealed), None);
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(PLACE.open(person(1), &key(1), &bent), None, "byte {at}");
        }
    }

    #[test]
    fn rubbish_is_no_sealed_leaf() {
        for text in [
            "",
            "sealed:1:",
            "sealed:1:usr_1:AA",
            "sealed:2:x:AA",
            "ada@example.org",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
