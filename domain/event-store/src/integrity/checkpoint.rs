//! Signed checkpoints (C2SP tlog-checkpoint): how many events a log had, and the root over them.
//!
//! The rule: a [`Checkpoint`] exists only verified. Its text is three lines: the log's origin, the number of
//! events, the root in base64; further lines are refused, since nobody could check them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Digest, NoteError, Signer, Verifier, sign};

/// A checkpoint whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log that it is of.
    pub origin: String,
    /// How many events it covers: positions 1 to this.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// The note as it was signed.
    pub note: String,
}

/// Why a checkpoint does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A signed note that is no checkpoint.
    #[error("it is signed, but it is not a checkpoint")]
    Malformed,
    /// A checkpoint of another log.
    #[error("it is of another log: {found}, not {expected}")]
    Origin {
        /// The origin that it names.
        found: String,
        /// The origin of the key.
        expected: String,
    },
}

impl Checkpoint {
    /// Signs the checkpoint of `size` events with this `root`; the origin is the key's name.
    ///
    /// # Errors
    /// As [`sign`].
    pub fn sign(size: u64, root: Digest, signer: &Signer) -> Result<Self, NoteError> {
        let origin = signer.verifier().key().name.clone();
        let text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root));
        Ok(Self {
            note: sign(&text, signer)?,
            origin,
            size,
            root,
        })
    }

    /// Verifies `note` as a checkpoint of the log of `verifier`.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, CheckpointError> {
        let expected = &verifier.key().name;
        let found = super::origin_of(note);
        let text = verifier.open(note).map_err(|error| match error {
            // That it is of another log says more than that our signature is missing.
            NoteError::Unsigned(_) if found != expected => CheckpointError::Origin {
                found: found.chars().take(256).collect(),
                expected: expected.clone(),
            },
            error => CheckpointError::Note(error),
        })?;
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Malformed);
        };
        if origin != expected {
            return Err(CheckpointError::Origin {
                found: origin.chars().take(256).collect(),
                expected: expected.clone(),
            });
        }
        let number: u64 = size.parse().map_err(|_| CheckpointError::Malformed)?;
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        match root {
            Some(root) if number.to_string() == size => Ok(Self {
                origin: origin.to_owned(),
                size: number,
                root,
                note: note.to_owned(),
            }),
            _ => Err(CheckpointError::Malformed),
        }
    }
}

/// The checkpoints in `text`, in which notes follow one another with an empty line between. What was cut off
/// comes out as it is, and does not verify; what follows it is not lost.
#[must_use]
pub fn notes_in(text: &str) -> Vec<String> {
    let (mut notes, mut note) = (Vec::new(), String::new());
    // The text of a checkpoint has no empty line: after one come its signatures, or another note.
    let mut text_ended = false;
    for line in text.split_inclusive('\n') {
        let is_signature = line.starts_with("— ");
        if text_ended && !is_signature && !note.is_empty() {
            notes.push(std::mem::take(&mut note));
        }
        if line == "\n" {
            text_ended = !note.is_empty();
            if text_ended {
                note.push_str(line);
            }
            continue;
        }
        text_ended = is_signature;
        note.push_str(line);
    }
    if !note.is_empty() {
        notes.push(note);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, CheckpointError, notes_in};
    use crate::integrity::{NoteError, Signer, sign};

    fn signer() -> Signer {
        Signer::generate("log.example/a").expect("a key")
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_signed() {
        let signer = signer();
        let checkpoint = Checkpoint::sign(42, [7; 32], &signer).expect("signed");
        assert_eq!(
            Checkpoint::open(&checkpoint.note, signer.verifier()),
            Ok(checkpoint.clone())
        );
        assert!(checkpoint.note.starts_with(
            "log.example/a\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n— log.example/a "
        ));
    }

    #[test]
    fn what_is_signed_and_no_checkpoint_of_this_log_is_refused() {
        let signer = signer();
        let root = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        for text in [
            "log.example/a\n42\n".to_owned(),
            format!("log.example/a\n042\n{root}\n"),
            format!("log.example/a\n+42\n{root}\n"),
            format!("log.example/a\n42\n{root}\nmore\n"),
            "log.example/a\n42\nBwcH\n".to_owned(),
        ] {
            let note = sign(&text, &signer).expect("signed");
            assert_eq!(
                Checkpoint::open(&note, signer.verifier()),
                Err(CheckpointError::Malformed),
                "{text}"
            );
        }
        let foreign = sign(&format!("log.example/b\n42\n{root}\n"), &signer).expect("signed");
        let error = Checkpoint::open(&foreign, signer.verifier()).expect_err("foreign");
        assert!(matches!(error, CheckpointError::Origin { .. }), "{error}");
        let other = Signer::generate("log.example/b").expect("a key");
        let other = Checkpoint::sign(42, [7; 32], &other).expect("signed");
        let error = Checkpoint::open(&other.note, signer.verifier()).expect_err("foreign");
        assert!(
            error.to_string().contains("another log: log.example/b"),
            "{error}"
        );
        let namesake = Checkpoint::sign(42, [7; 32], &self::signer()).expect("signed");
        let error = Checkpoint::open(&namesake.note, signer.verifier()).expect_err("another key");
        assert!(
            matches!(error, CheckpointError::Note(NoteError::Unsigned(_))),
            "{error}"
        );
    }

    #[test]
    fn notes_that_follow_one_another_are_told_apart() {
        let signer = signer();
        let notes: Vec<String> = (1..4)
            .map(|size| Checkpoint::sign(size, [7; 32], &signer).expect("signed").note)
            .collect();
        assert_eq!(notes_in(&notes.join("\n")), notes);
        assert_eq!(notes_in(&notes.concat()), notes);
        assert_eq!(notes_in(""), Vec::<String>::new());
        let cut = notes_in(&notes.join("\n")[..notes[0].len() + 20]);
        assert_eq!(cut.len(), 2);
        let torn = format!("{}\n\n{}", &notes[0][..20], notes[1]);
        assert_eq!(notes_in(&torn)[1..], notes[1..2]);
        assert!(Checkpoint::open(&cut[1], signer.verifier()).is_err());
    }
}
