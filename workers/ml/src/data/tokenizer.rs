//! Text to tokens and back.
//!
//! Rule: a text can never forge a special token; the end of a text is put where we put it. Only what a chat
//! template writes itself is read with special tokens ([`Tokenizer::encode_written`]).

mod special;

use std::{ops::Range, path::Path, sync::OnceLock};

use serde_json::{Value, json};
use tokenizers::{
    AddedToken, Tokenizer as Inner,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::byte_level::ByteLevel,
};

use super::chat::JINJA;
use crate::failure::{Failure, FailureCode};
pub use special::Settings;

/// The token at the end of a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text is encoded in pieces of about this many bytes, in parallel; pieces end at line ends.
const PIECE: usize = 1 << 16;

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Takes special tokens in texts for ordinary letters.
    inner: Inner,
    /// Takes them for what they are; made when a chat template first needs it.
    written: OnceLock<Inner>,
    settings: Settings,
    end_of_text: Option<u32>,
    frame: Frame,
}

/// Tokens that the tokenizer itself (its post-processor) puts around a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// A token and the bytes of the text that it stands for.
pub type Placed = (u32, Range<usize>);

impl Tokenizer {
    /// Trains a byte-level BPE (GPT-2's kind) of at most `size` tokens on `texts`; a small text gives fewer.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn train<S: AsRef<str> + Send>(
        texts: impl Iterator<Item = S> + Send,
        size: usize,
    ) -> Result<Self, Failure> {
        let mut inner = Inner::new(BPE::default());
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        inner.with_decoder(Some(ByteLevel::default()));
        let trainer = BpeTrainer::builder()
            .vocab_size(size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build();
        inner
            .train(&mut TrainerWrapper::BpeTrainer(trainer), texts)
            .map_err(|error| Failure::internal("train a tokenizer", error))?;
        Self::of(inner, Settings::default())
    }

    /// Reads the tokenizer of a model folder: `tokenizer.json` and what stands beside it.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when a file is missing, damaged, or names a token that is not there.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|error| Failure::io(FailureCode::BaseModelInvalid, "read", &path, &error))?;
        Self::with_settings(&bytes, Settings::read(folder)?)
    }

    /// Reads a `tokenizer.json` that stands alone.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        Self::with_settings(bytes, Settings::default())
    }

    fn with_settings(bytes: &[u8], settings: Settings) -> Result<Self, Failure> {
        let inner = Inner::from_bytes(bytes).map_err(|error| {
            Failure::new(
                FailureCode::BaseModelInvalid,
                format!("tokenizer.json cannot be read: {error}"),
            )
        })?;
        Self::of(inner, settings)
    }

    fn of(mut inner: Inner, settings: Settings) -> Result<Self, Failure> {
        inner.set_encode_special_tokens(true);
        // Cutting and padding are decided here, not by what a file was saved with.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Failure::internal("read a tokenizer", error))?;
        for (name, token) in settings.tokens() {
            if inner.token_to_id(&token).is_none() {
                return Err(special::invalid(format!(
                    "tokenizer_config.json names {token:?} as its {name}, which tokenizer.json does not have; they \
                     do not belong together"
                )));
            }
        }
        let end = settings.token("eos_token").unwrap_or(END_OF_TEXT);
        Ok(Self {
            end_of_text: inner.token_to_id(end),
            frame: frame(&inner)?,
            inner,
            written: OnceLock::new(),
            settings,
        })
    }

    /// Its `tokenizer.json`.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let json = self
            .inner
            .to_string(false)
            .map_err(|error| Failure::internal("write a tokenizer", error))?;
        Ok(json.into_bytes())
    }

    /// The `tokenizer_config.json` for a model of `context` tokens, with the template of conversations.
    /// One that was read from a folder stays as it was.
    #[must_use]
    pub fn settings(&self, context: usize) -> Value {
        if !self.settings.is_empty() {
            return self.settings.to_json();
        }
        let end = self.end_of_text.map(|_| END_OF_TEXT);
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context,
            "bos_token": end, "eos_token": end, "unk_token": end,
            "clean_up_tokenization_spaces": false, "chat_template": JINJA,
        })
    }

    /// How many tokens there are, special ones included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// How many rows a token embedding needs: one more than the greatest token.
    #[must_use]
    pub fn rows(&self) -> usize {
        let tokens = self.inner.get_vocab(true);
        tokens.values().max().map_or(0, |token| *token as usize + 1)
    }

    /// The token at the end of a text, where the tokenizer has one.
    #[must_use]
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// The special tokens and templates that its folder names.
    #[must_use]
    pub fn named(&self) -> &Settings {
        &self.settings
    }

    /// The texts of its special tokens.
    #[must_use]
    pub fn special_tokens(&self) -> Vec<String> {
        let tokens = self.inner.get_added_tokens_decoder();
        let special = tokens.into_values().filter(|token| token.special);
        special.map(|token| token.content).collect()
    }

    /// The tokens of a whole `text` as the base model met them in its own training: with what the tokenizer puts
    /// around it, and the end of a text.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode_framed(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let mut tokens = self.frame.before.clone();
        tokens.extend(self.encode(text)?);
        self.end(&mut tokens);
        Ok(tokens)
    }

    /// What the tokenizer puts before a text.
    #[must_use]
    pub fn start(&self) -> &[u32] {
        &self.frame.before
    }

    /// Puts what stands after a text, which is the end of a text at least, where there is one.
    pub fn end(&self, tokens: &mut Vec<u32>) {
        tokens.extend(&self.frame.after);
        if let Some(end) = self.end_of_text
            && !self.frame.after.contains(&end)
        {
            tokens.push(end);
        }
    }

    /// The tokens of `text` that follows other text of the same sample: without the space that some tokenizers
    /// put before the first word.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode_following(&self, text: &str) -> Result<Vec<u32>, Failure> {
        Ok(following(&self.inner, text)?
            .into_iter()
            .map(|(id, _)| id)
            .collect())
    }

    /// The tokens of `text` that a chat template has written, special ones recognised, with the bytes that they
    /// stand for. `literal`, in order, are those parts of it that come from outside, in which none is.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode_written(&self, text: &str, literal: &[Range<usize>]) -> Result<Vec<Placed>, Failure> {
        let written = self.written.get_or_init(|| {
            let mut inner = self.inner.clone();
            inner.set_encode_special_tokens(false);
            inner
        });
        let mut tokens = Vec::new();
        let mut add = |inner: &Inner, part: Range<usize>| -> Result<(), Failure> {
            if part.is_empty() {
                return Ok(());
            }
            let found = match part.start {
                0 => placed(inner, &text[part])?,
                start => following(inner, &text[part])?
                    .into_iter()
                    .map(|(id, bytes)| (id, bytes.start + start..bytes.end + start))
                    .collect(),
            };
            tokens.extend(found);
            Ok(())
        };
        let mut done = 0;
        for part in literal {
            add(written, done..part.start)?;
            add(&self.inner, part.clone())?;
            done = part.end;
        }
        add(written, done..text.len())?;
        Ok(tokens)
    }

    /// The tokens of `text`, without special ones.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let encoded = self
            .inner
            .encode_batch_fast(pieces(text), false)
            .map_err(|error| Failure::internal("tokenise text", error))?;
        Ok(encoded
            .iter()
            .flat_map(tokenizers::Encoding::get_ids)
            .copied()
            .collect())
    }

    /// The text of `tokens`, special ones left out.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Failure> {
        self.inner
            .decode(tokens, true)
            .map_err(|error| Failure::internal("decode tokens", error))
    }
}

/// What the post-processor puts around a text, found by trying it.
fn frame(inner: &Inner) -> Result<Frame, Failure> {
    let encode = |special: bool| {
        inner
            .encode("a", special)
            .map_err(|error| Failure::internal("tokenise text", error))
    };
    let (bare, framed) = (encode(false)?, encode(true)?);
    let (bare, framed) = (bare.get_ids(), framed.get_ids());
    let place = framed
        .windows(bare.len().max(1))
        .position(|window| window == bare);
    Ok(place.map_or_else(Frame::default, |place| Frame {
        before: framed[..place].to_vec(),
        after: framed[place + bare.len()..].to_vec(),
    }))
}

fn placed(inner: &Inner, text: &str) -> Result<Vec<Placed>, Failure> {
    let encoded = inner
        .encode(text, false)
        .map_err(|error| Failure::internal("tokenise text", error))?;
    let places = encoded.get_offsets().iter().map(|(start, end)| *start..*end);
    Ok(encoded.get_ids().iter().copied().zip(places).collect())
}

/// Encodes after a line end, so that nothing is put before the first word, and takes the line end away again;
/// where the two have grown together, `text` alone.
fn following(inner: &Inner, text: &str) -> Result<Vec<Placed>, Failure> {
    let line = placed(inner, "\n")?;
    let both = placed(inner, &format!("\n{text}"))?;
    let same = both.len() >= line.len() && line.iter().zip(&both).all(|(one, other)| one.0 == other.0);
    if !same {
        return placed(inner, text);
    }
    let back = |bytes: Range<usize>| bytes.start.saturating_sub(1)..bytes.end.saturating_sub(1);
    let rest = both.into_iter().skip(line.len());
    Ok(rest.map(|(id, bytes)| (id, back(bytes))).collect())
}

fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut end) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        if end - start >= PIECE {
            pieces.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_even_one_that_names_the_special_token() {
        let tokenizer = Tokenizer::train(["aaa bbb aaa"].into_iter(), 300).expect("trained");
        for text in ["", "aaa bbb", "naïve 日本 \u{1F600}\r\n\n x", "a<|endoftext|>b"] {
            let ids = tokenizer.encode(text).expect("encoded");
            assert_eq!(tokenizer.decode(&ids).expect("decoded"), text);
            assert!(
                !ids.contains(&tokenizer.end_of_text().expect("an end")),
                "{text:?}"
            );
        }
    }

    #[test]
    fn long_texts_are_encoded_in_pieces_that_join_again() {
        let text = "a line of text\n".repeat(3 * PIECE / 15);
        assert!(pieces(&text).len() >= 3);
        assert_eq!(pieces(&text).concat(), text);
    }

    #[test]
    fn training_repeats_exactly_and_survives_its_file() {
        let text = "low lower lowest new newer newest wide wider widest ".repeat(9);
        let train = || {
            Tokenizer::train([text.as_str()].into_iter(), 290)
                .expect("trained")
                .to_bytes()
                .expect("bytes")
        };
        assert_eq!(train(), train());
        let read = Tokenizer::from_bytes(&train()).expect("read");
        assert_eq!(read.to_bytes().expect("bytes"), train());
        assert!(read.size() > 257 && read.size() <= 290, "{}", read.size());
    }
}
