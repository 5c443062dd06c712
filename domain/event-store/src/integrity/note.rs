//! Signed notes (C2SP signed-note) with Ed25519 keys.
//!
//! The rule: a text counts only after a signature of the expected key over it has been verified; the text of
//! a note that does not verify is never handed out.
//!
//! A note is a text that ends in a newline, an empty line, and lines `— <key name> <base64 of key id and
//! signature>`. Keys are written as in the tools of that specification: public ones as
//! `<name>+<key id, hexadecimal>+<base64 of 01 and the key>`, private ones as
//! `PRIVATE+KEY+<name>+<key id>+<base64 of 01 and the seed>`.

use aws_lc_rs::{
    rand,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Signature type Ed25519, by C2SP.
const ED25519_TYPE: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";
/// A note that is larger is refused before it is looked at, in bytes.
const LARGEST_NOTE: usize = 64 << 10;
/// Signature lines that are looked at; C2SP asks for at least 16.
const MOST_SIGNATURES: usize = 32;

/// Why a note or key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not of the form of a note.
    #[error("it is not a signed note")]
    Malformed,
    /// No signature of the expected key.
    #[error("it is not signed by {0}")]
    Unsigned(String),
    /// A signature that claims to be of the expected key and is not.
    #[error("its signature by {0} is wrong")]
    WrongSignature(String),
    /// Not a key as it is written.
    #[error("it is not a {0} as C2SP signed-note writes it")]
    Key(&'static str),
    /// The name cannot be that of a key.
    #[error("a key's name must be neither empty nor hold spaces, control characters or '+'")]
    Name,
    /// The cryptographic library failed.
    #[error("the cryptographic library could not do it")]
    Library,
}

/// Name and id of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name: the origin of the log.
    pub name: String,
    /// The first four bytes of SHA-256 over name, newline, type and public key.
    pub id: [u8; 4],
}

impl Key {
    fn new(name: &str, public: &[u8]) -> Result<Self, NoteError> {
        let unfit = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
        if name.is_empty() || name.contains(unfit) {
            return Err(NoteError::Name);
        }
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update(b"\n")
            .chain_update([ED25519_TYPE])
            .chain_update(public)
            .finalize();
        let name = name.to_owned();
        Ok(Self {
            name,
            id: [hash[0], hash[1], hash[2], hash[3]],
        })
    }
}

/// Checks notes of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    key: Key,
    public: [u8; 32],
}

impl Verifier {
    /// Reads a public key (`<name>+<id>+<base64>`), and checks that its parts fit each other.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn read(text: &str) -> Result<Self, NoteError> {
        let (name, public) = read_key(text.trim(), "public key")?;
        let key = Key::new(&name, public.as_slice())?;
        checked_id(text.trim(), &key, "public key")?;
        Ok(Self { key, public: *public })
    }

    /// Its name and id.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The text of `note`, if this key has signed it. Signatures of other keys are ignored.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signed = false;
        for line in signatures.lines() {
            let (name, bytes) = signature(line)?;
            if name != self.key.name || bytes[..4] != self.key.id {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, self.public)
                .verify(text.as_bytes(), &bytes[4..])
                .map_err(|_| NoteError::WrongSignature(name.to_owned()))?;
            signed = true;
        }
        match signed {
            true => Ok(text),
            false => Err(NoteError::Unsigned(self.key.name.clone())),
        }
    }
}

impl std::fmt::Display for Verifier {
    /// As [`Verifier::read`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&written(&self.key, &self.public))
    }
}

/// Signs notes. Never printed, and wiped from memory at the end.
pub struct Signer {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    verifier: Verifier,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("key", &self.verifier.key)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A fresh key of that name.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn generate(name: &str) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut()).map_err(|_| NoteError::Library)?;
        Self::from_seed(name, seed)
    }

    /// Reads a private key as [`Signer::write`] wrote it.
    ///
    /// # Errors
    /// [`NoteError`], which holds nothing of the text.
    pub fn read(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim().strip_prefix(PRIVATE);
        let rest = rest.ok_or(NoteError::Key("private key"))?;
        let (name, seed) = read_key(rest, "private key")?;
        let signer = Self::from_seed(&name, seed)?;
        checked_id(rest, &signer.verifier.key, "private key")?;
        Ok(signer)
    }

    fn from_seed(name: &str, seed: Zeroizing<[u8; 32]>) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| NoteError::Library)?;
        let public: [u8; 32] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| NoteError::Library)?;
        let key = Key::new(name, &public)?;
        Ok(Self {
            pair,
            seed,
            verifier: Verifier { key, public },
        })
    }

    /// The private key as text. A secret.
    #[must_use]
    pub fn write(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PRIVATE}{}", *written(&self.verifier.key, &self.seed)))
    }

    /// What checks its notes.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// The note of `text`, which must end in a newline, signed by `signer`.
///
/// # Errors
/// [`NoteError::Malformed`] when the text cannot be that of a note.
pub fn sign(text: &str, signer: &Signer) -> Result<String, NoteError> {
    let key = &signer.verifier.key;
    let mut bytes = key.id.to_vec();
    bytes.extend(signer.pair.sign(text.as_bytes()).as_ref());
    let note = format!("{text}\n— {} {}\n", key.name, STANDARD.encode(bytes));
    // What we would not read we do not write.
    signer.verifier.open(&note)?;
    Ok(note)
}

/// Name of the log that a note claims to be of: its first line. Nothing of it is verified.
#[must_use]
pub fn origin_of(note: &str) -> &str {
    note.lines().next().unwrap_or_default()
}

/// Whether `text` has the form of a signed note. One that was cut off anywhere has not. Nothing of it is verified.
#[must_use]
pub fn is_note(text: &str) -> bool {
    split(text).is_ok_and(|(_, signatures)| signatures.lines().all(|line| signature(line).is_ok()))
}

/// Text and signature lines.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let controls = |letter: char| letter < ' ' && letter != '\n';
    if note.len() > LARGEST_NOTE || note.contains(controls) {
        return Err(NoteError::Malformed);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    let ended = signatures.ends_with('\n');
    match ended && (1..=MOST_SIGNATURES).contains(&signatures.lines().count()) {
        true => Ok((text, signatures)),
        false => Err(NoteError::Malformed),
    }
}

/// Key name, and key id with signature.
fn signature(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let line = line.strip_prefix("— ").ok_or(NoteError::Malformed)?;
    let (name, encoded) = line.split_once(' ').ok_or(NoteError::Malformed)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Malformed)?;
    match !name.is_empty() && bytes.len() > 4 {
        true => Ok((name, bytes)),
        false => Err(NoteError::Malformed),
    }
}

fn written(key: &Key, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut typed = Zeroizing::new(vec![ED25519_TYPE]);
    typed.extend(bytes);
    let encoded = Zeroizing::new(STANDARD.encode(&*typed));
    Zeroizing::new(format!("{}+{}+{}", key.name, hex(key.id), *encoded))
}

fn hex(id: [u8; 4]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name and 32 bytes of a key.
fn read_key(text: &str, what: &'static str) -> Result<(String, Zeroizing<[u8; 32]>), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key(what));
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Key(what))?;
    let bytes = Zeroizing::new(bytes);
    match bytes.split_first() {
        Some((&ED25519_TYPE, key)) => {
            let key = <[u8; 32]>::try_from(key).map_err(|_| NoteError::Key(what))?;
            Ok((name.to_owned(), Zeroizing::new(key)))
        }
        _ => Err(NoteError::Key(what)),
    }
}

/// Whether the id in the text is that of the key: a mistyped key is found before it is used.
fn checked_id(text: &str, key: &Key, what: &'static str) -> Result<(), NoteError> {
    match text.split('+').nth(1) == Some(hex(key.id).as_str()) {
        true => Ok(()),
        false => Err(NoteError::Key(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::{NoteError, Signer, Verifier, sign, signature, split};

    /// Key and note of the tests of golang.org/x/mod/sumdb/note.
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const SIGNED: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n— PeterNeumann \
        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_verifies_and_is_signed_alike() {
        let verifier = Verifier::read(PUBLIC).expect("a key");
        assert_eq!(verifier.open(SIGNED), Ok(TEXT));
        assert_eq!(verifier.to_string(), PUBLIC);
        let signer = Signer::read(SECRET).expect("a key");
        assert_eq!(signer.verifier(), &verifier);
        assert_eq!(signer.write().as_str(), SECRET);
        assert_eq!(sign(TEXT, &signer).as_deref(), Ok(SIGNED));
    }

    /// The example of C2SP signed-note; its key is not given there.
    #[test]
    fn the_example_of_the_specification_is_a_note() {
        let note = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
            — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0\
            xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let (text, signatures) = split(note).expect("a note");
        assert!(text.ends_with("ed è subito sera.\n"));
        let (name, bytes) = signature(signatures.trim_end()).expect("a signature");
        assert_eq!((name, bytes.len()), ("quasimodo.example/salvatore", 68));
    }

    #[test]
    fn other_signatures_are_ignored_and_none_is_refused() {
        let (ours, theirs) = (
            Signer::generate("log.example/a").expect("a key"),
            Signer::generate("log.example/b").expect("a key"),
        );
        let note = sign("text\n", &ours).expect("signed");
        let both = note.clone()
            + sign("text\n", &theirs)
                .expect("signed")
                .lines()
                .last()
                .expect("one")
            + "\n";
        assert_eq!(ours.verifier().open(&both), Ok("text\n"));
        assert_eq!(theirs.verifier().open(&both), Ok("text\n"));
        assert_eq!(
            theirs.verifier().open(&note),
            Err(NoteError::Unsigned("log.example/b".to_owned()))
        );
        let renamed = Signer::from_seed("log.example/b", ours.seed.clone()).expect("a key");
        assert!(matches!(
            renamed.verifier().open(&note),
            Err(NoteError::Unsigned(_))
        ));
    }

    #[test]
    fn every_changed_byte_of_a_note_and_of_a_public_key_is_found() {
        let signer = Signer::generate("log.example/a").expect("a key");
        let note = sign("log.example/a\n5\nroot\n", &signer).expect("signed");
        for (at, bit) in (0..note.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(signer.verifier().open(&changed).is_err(), "{at} {bit}: {changed}");
            }
        }
        for (at, bit) in (0..PUBLIC.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = PUBLIC.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let read = String::from_utf8(bytes)
                .ok()
                .and_then(|text| Verifier::read(&text).ok());
            assert_eq!(read, None, "{at} {bit}");
        }
    }

    #[test]
    fn what_is_no_note_or_key_is_refused_without_its_text() {
        for text in [
            "",
            "\n\n",
            "text\n",
            "text\n\n",
            "text\n\n— a\n",
            "te\u{1}xt\n\n— a AAAA\n",
        ] {
            let verifier = Verifier::read(PUBLIC).expect("a key");
            assert!(verifier.open(text).is_err(), "{text:?}");
        }
        let error = Signer::read(&SECRET.replace("c74f20a3", "c74f20a4")).expect_err("another id");
        assert_eq!(error, NoteError::Key("private key"));
        assert!(!format!("{:?}", Signer::read(SECRET)).contains("AYEKFALV"));
        assert_eq!(Signer::generate("a b").err(), Some(NoteError::Name));
    }
}
