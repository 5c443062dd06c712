//! Text to tokens and back.
//!
//! Rule: a text can never forge a special token; the end of a text is put where we put it.

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

/// The token at the end of a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text is encoded in pieces of about this many bytes, in parallel; pieces end at line ends.
const PIECE: usize = 1 << 16;

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    end_of_text: Option<u32>,
}

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
        Ok(Self::of(inner))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        let inner = Inner::from_bytes(bytes).map_err(|error| {
            Failure::new(
                FailureCode::BaseModelInvalid,
                format!("tokenizer.json cannot be read: {error}"),
            )
        })?;
        Ok(Self::of(inner))
    }

    fn of(mut inner: Inner) -> Self {
        inner.set_encode_special_tokens(true);
        let end_of_text = inner.token_to_id(END_OF_TEXT);
        Self { inner, end_of_text }
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
    #[must_use]
    pub fn settings(&self, context: usize) -> Value {
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
