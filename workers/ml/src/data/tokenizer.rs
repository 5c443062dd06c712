//! Tokenizers.
//!
//! Rule: text from outside never contains special tokens; the end of a text is appended here. Special tokens are
//! recognised only in what a chat template itself renders ([`Tokenizer::encode_rendered`]).

mod config;

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
pub use config::TokenizerConfig;

/// The end-of-text token of tokenizers that are trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text is encoded in parallel, in chunks of about this many bytes that end at line ends.
const CHUNK_BYTES: usize = 1 << 16;

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Encodes special tokens in texts as ordinary characters.
    inner: Inner,
    /// Recognises special tokens; created when a chat template first needs it.
    with_special_tokens: OnceLock<Inner>,
    config: TokenizerConfig,
    eos_token: Option<u32>,
    affixes: SpecialAffixes,
}

/// Tokens that the tokenizer's post-processor adds around a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SpecialAffixes {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// A token and the bytes of the text that it covers.
pub type TokenSpan = (u32, Range<usize>);

impl Tokenizer {
    /// Trains a byte-level BPE tokenizer (as GPT-2's) with at most `size` tokens on `texts`; a short text gives
    /// fewer.
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
        Self::of(inner, TokenizerConfig::default())
    }

    /// Reads the tokenizer of a model folder: `tokenizer.json` and its configuration.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when a file is missing or damaged, or names a token that does not exist.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("tokenizer.json");
        let bytes = crate::files::read(&path, FailureCode::BaseModelInvalid)?;
        Self::with_settings(&bytes, TokenizerConfig::read(folder)?)
    }

    /// Reads a `tokenizer.json` without configuration.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when it is not a tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        Self::with_settings(bytes, TokenizerConfig::default())
    }

    fn with_settings(bytes: &[u8], config: TokenizerConfig) -> Result<Self, Failure> {
        let inner = Inner::from_bytes(bytes).map_err(|error| {
            Failure::new(
                FailureCode::BaseModelInvalid,
                format!("tokenizer.json cannot be read: {error}"),
            )
        })?;
        Self::of(inner, config)
    }

    fn of(mut inner: Inner, config: TokenizerConfig) -> Result<Self, Failure> {
        inner.set_encode_special_tokens(true);
        // Truncation and padding are decided here, whatever the file says.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Failure::internal("read a tokenizer", error))?;
        for (name, token) in config.tokens() {
            if inner.token_to_id(&token).is_none() {
                return Err(config::invalid(format!(
                    "tokenizer_config.json names {token:?} as its {name}, which tokenizer.json does not have; they \
                     do not belong together"
                )));
            }
        }
        let end = config.token("eos_token").unwrap_or(END_OF_TEXT);
        Ok(Self {
            eos_token: inner.token_to_id(end),
            affixes: affixes(&inner)?,
            inner,
            with_special_tokens: OnceLock::new(),
            config,
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

    /// The `tokenizer_config.json` for a model with a context of `context` tokens and the plain chat template. A
    /// configuration that was read from a folder is returned unchanged.
    #[must_use]
    pub fn config_json(&self, context: usize) -> Value {
        if !self.config.is_empty() {
            return self.config.to_json();
        }
        let end = self.eos_token.map(|_| END_OF_TEXT);
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context,
            "bos_token": end, "eos_token": end, "unk_token": end,
            "clean_up_tokenization_spaces": false, "chat_template": JINJA,
        })
    }

    /// Number of tokens, special ones included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Number of rows that a token embedding needs: the largest token ID plus 1.
    #[must_use]
    pub fn embedding_rows(&self) -> usize {
        let tokens = self.inner.get_vocab(true);
        tokens.values().max().map_or(0, |token| *token as usize + 1)
    }

    /// The end-of-text token, where the tokenizer has one.
    #[must_use]
    pub fn eos_token(&self) -> Option<u32> {
        self.eos_token
    }

    /// The configuration that was read from its folder.
    #[must_use]
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// Texts of the special tokens.
    #[must_use]
    pub fn special_tokens(&self) -> Vec<String> {
        let tokens = self.inner.get_added_tokens_decoder();
        let special = tokens.into_values().filter(|token| token.special);
        special.map(|token| token.content).collect()
    }

    /// The tokens of a complete `text` as in pre-training: with the tokens that the tokenizer adds around it, and the
    /// end-of-text token.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let mut tokens = self.affixes.before.clone();
        tokens.extend(self.encode(text)?);
        self.end(&mut tokens);
        Ok(tokens)
    }

    /// The tokens that the tokenizer adds before a text.
    #[must_use]
    pub fn start(&self) -> &[u32] {
        &self.affixes.before
    }

    /// Appends the tokens that follow a text: those that the tokenizer adds, and the end-of-text token where it is
    /// not among them.
    pub fn end(&self, tokens: &mut Vec<u32>) {
        tokens.extend(&self.affixes.after);
        if let Some(end) = self.eos_token
            && !self.affixes.after.contains(&end)
        {
            tokens.push(end);
        }
    }

    /// The tokens of `text` when it continues other text: without the space that some tokenizers add before the first
    /// word.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>, Failure> {
        Ok(encode_continuation_with_spans(&self.inner, text)?
            .into_iter()
            .map(|(id, _)| id)
            .collect())
    }

    /// The tokens of `text`, which a chat template has rendered, with the bytes that they cover. Special tokens are
    /// recognised, except in the ranges `literal`, which come from messages and are sorted.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode_rendered(&self, text: &str, literal: &[Range<usize>]) -> Result<Vec<TokenSpan>, Failure> {
        let with_special = self.with_special_tokens.get_or_init(|| {
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
                0 => encode_with_spans(inner, &text[part])?,
                start => encode_continuation_with_spans(inner, &text[part])?
                    .into_iter()
                    .map(|(id, bytes)| (id, bytes.start + start..bytes.end + start))
                    .collect(),
            };
            tokens.extend(found);
            Ok(())
        };
        let mut done = 0;
        for part in literal {
            add(with_special, done..part.start)?;
            add(&self.inner, part.clone())?;
            done = part.end;
        }
        add(with_special, done..text.len())?;
        Ok(tokens)
    }

    /// The tokens of `text`, without special ones.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let encoded = self
            .inner
            .encode_batch_fast(chunks(text), false)
            .map_err(|error| Failure::internal("tokenise text", error))?;
        Ok(encoded
            .iter()
            .flat_map(tokenizers::Encoding::get_ids)
            .copied()
            .collect())
    }

    /// The text of `tokens`, without special ones.
    ///
    /// # Errors
    /// An internal failure of the library.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Failure> {
        self.inner
            .decode(tokens, true)
            .map_err(|error| Failure::internal("decode tokens", error))
    }
}

/// Finds what the post-processor adds around a text by encoding an example.
fn affixes(inner: &Inner) -> Result<SpecialAffixes, Failure> {
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
    Ok(
        place.map_or_else(SpecialAffixes::default, |place| SpecialAffixes {
            before: framed[..place].to_vec(),
            after: framed[place + bare.len()..].to_vec(),
        }),
    )
}

fn encode_with_spans(inner: &Inner, text: &str) -> Result<Vec<TokenSpan>, Failure> {
    let encoded = inner
        .encode(text, false)
        .map_err(|error| Failure::internal("tokenise text", error))?;
    let places = encoded.get_offsets().iter().map(|(start, end)| *start..*end);
    Ok(encoded.get_ids().iter().copied().zip(places).collect())
}

/// Encodes `text` after a line break, so that nothing is added before its first word, and removes the line break's
/// tokens again. Where tokens span both, `text` is encoded alone.
fn encode_continuation_with_spans(inner: &Inner, text: &str) -> Result<Vec<TokenSpan>, Failure> {
    let line = encode_with_spans(inner, "\n")?;
    let both = encode_with_spans(inner, &format!("\n{text}"))?;
    let same = both.len() >= line.len() && line.iter().zip(&both).all(|(one, other)| one.0 == other.0);
    if !same {
        return encode_with_spans(inner, text);
    }
    let back = |bytes: Range<usize>| bytes.start.saturating_sub(1)..bytes.end.saturating_sub(1);
    let rest = both.into_iter().skip(line.len());
    Ok(rest.map(|(id, bytes)| (id, back(bytes))).collect())
}

fn chunks(text: &str) -> Vec<&str> {
    let (mut chunks, mut start, mut end) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        if end - start >= CHUNK_BYTES {
            chunks.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        chunks.push(&text[start..]);
    }
    chunks
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
            assert!(!ids.contains(&tokenizer.eos_token().expect("an end")), "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_encoded_in_pieces_that_join_again() {
        let text = "a line of text\n".repeat(3 * CHUNK_BYTES / 15);
        assert!(chunks(&text).len() >= 3);
        assert_eq!(chunks(&text).concat(), text);
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
