//! From dataset files to the batches of a training step.
//!
//! Rule: a batch is a pure function of the files, the tokenizer and (seed, step, micro-batch), so a resumed training
//! continues exactly where it stopped.

pub mod batch;
pub mod chat;
pub mod document;
pub mod formats;
mod plain_chat;
pub mod sample_encoder;
pub mod sampler;
pub mod source;
pub mod template;
pub mod tokenizer;

use rand::seq::SliceRandom;

pub use self::document::Document;
use crate::{
    failure::{Failure, FailureCode},
    random::{Purpose, stream},
    spec::{HyperParameters, Objective},
};
use sample_encoder::{SampleEncoder, SampleStats};
use source::Source;
use tokenizer::Tokenizer;

/// A tokenized dataset, split for training and evaluation.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The training split.
    pub train: Vec<Document>,
    /// The evaluation split; empty when nothing is held out.
    pub evaluation: Vec<Document>,
    /// How many samples were used, truncated and skipped.
    pub stats: SampleStats,
    /// Whether all samples are conversations.
    is_chat: bool,
}

impl Corpus {
    /// Tokenizes `sources` and splits them: held out are the end of each text, and conversations and prompts selected
    /// by the seed.
    ///
    /// # Errors
    /// [`FailureCode::DatasetEmpty`] when a split that is needed has no samples;
    /// [`FailureCode::ChatTemplateInvalid`].
    pub fn new(
        sources: &[Source],
        tokenizer: &Tokenizer,
        objective: &Objective,
        hyperparameters: &HyperParameters,
    ) -> Result<Self, Failure> {
        let encoder = SampleEncoder::new(tokenizer, objective, hyperparameters.sequence_length as usize + 1)?;
        let mut corpus = Self {
            train: Vec::new(),
            evaluation: Vec::new(),
            stats: SampleStats::default(),
            is_chat: sources.iter().all(|source| matches!(source, Source::Chat(_))),
        };
        let mut samples = Vec::new();
        for source in sources {
            match source {
                Source::Text(text) => {
                    let tokens = tokenizer.encode_document(text)?;
                    corpus.add_text(tokens, hyperparameters.evaluation_share);
                }
                Source::Chat(chats) => {
                    for chat in chats {
                        samples.extend(encoder.conversation(chat, &mut corpus.stats)?);
                    }
                }
                Source::Pairs(pairs) => {
                    for pair in pairs {
                        samples.extend(encoder.pair(pair, &mut corpus.stats)?);
                    }
                }
            }
        }
        corpus.add_samples(samples, hyperparameters);
        corpus.check(hyperparameters)?;
        Ok(corpus)
    }

    /// Tokens of the training split.
    #[must_use]
    pub fn train_tokens(&self) -> u64 {
        self.train
            .iter()
            .map(|document| document.tokens.len() as u64)
            .sum()
    }

    /// Tokens of the evaluation split.
    #[must_use]
    pub fn evaluation_tokens(&self) -> u64 {
        self.evaluation
            .iter()
            .map(|document| document.tokens.len() as u64)
            .sum()
    }

    /// Whether all samples are conversations.
    #[must_use]
    pub fn is_chat(&self) -> bool {
        self.is_chat
    }

    fn add_text(&mut self, mut tokens: Vec<u32>, held_out: f64) {
        let tail = (tokens.len() as f64 * held_out).round() as usize;
        let rest = tokens.split_off(tokens.len() - tail);
        for (tokens, documents) in [(tokens, &mut self.train), (rest, &mut self.evaluation)] {
            // A single token has no next token to predict.
            if tokens.len() > 1 {
                documents.push(Document {
                    loss_mask: vec![true; tokens.len()],
                    tokens,
                    splittable: true,
                });
            }
        }
    }

    fn add_samples(&mut self, mut samples: Vec<Document>, hyperparameters: &HyperParameters) {
        samples.shuffle(&mut stream(hyperparameters.seed, Purpose::Split, 0, 0));
        let share = samples.len() as f64 * hyperparameters.evaluation_share;
        let at_least = usize::from(hyperparameters.evaluation_share > 0.0 && samples.len() > 1);
        let held_out = (share.round() as usize).max(at_least);
        self.evaluation.extend(samples.drain(..held_out));
        self.train.extend(samples);
    }

    fn check(&self, hyperparameters: &HyperParameters) -> Result<(), Failure> {
        let empty = |message: String| Err(Failure::new(FailureCode::DatasetEmpty, message));
        let length = hyperparameters.sequence_length;
        if self.train.is_empty() && self.stats.total > 0 {
            return empty(format!(
                "none of the {} samples can be used for training within the first {length} tokens: {}; raise \
                 sequence_length, check the roles (answers are the assistant's), or set objective.learn to everything",
                self.stats.total,
                self.stats.warnings().join("; ")
            ));
        }
        if self.train.is_empty() {
            return empty("the dataset has no text; add files with content".to_owned());
        }
        let texts = self.train.iter().filter(|document| document.splittable);
        let longest = texts.map(|document| document.tokens.len()).max();
        if let Some(tokens) = longest
            && !self.train.iter().any(|document| !document.splittable)
            && tokens <= length as usize
        {
            return empty(format!(
                "the longest text has {tokens} tokens to train on, fewer than a sequence of {length}; add \
                 text or lower sequence_length"
            ));
        }
        if hyperparameters.evaluation_share > 0.0 && self.evaluation.is_empty() {
            return empty(
                "the held-out share of the dataset is empty; add data, raise evaluation_share or set it to 0"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::chat::{Chat, Message};

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["the quick brown fox jumps over the lazy dog"].into_iter(), 300).expect("trained")
    }

    fn hyperparameters() -> HyperParameters {
        HyperParameters {
            sequence_length: 32,
            evaluation_share: 0.2,
            ..HyperParameters::default()
        }
    }

    fn chat(question: &str, answer: &str) -> Chat {
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        Chat {
            messages: vec![message("user", question), message("assistant", answer)],
        }
    }

    fn refusal(sources: &[Source]) -> Failure {
        let failure = Corpus::new(sources, &tokenizer(), &Objective::default(), &hyperparameters())
            .expect_err("refused");
        assert_eq!(failure.code, FailureCode::DatasetEmpty);
        failure
    }

    #[test]
    fn empty_short_and_answerless_datasets_are_refused_with_what_to_do() {
        assert!(refusal(&[]).message.contains("no text"));
        assert!(
            refusal(&[Source::Text(String::new())])
                .message
                .contains("no text")
        );
        assert!(
            refusal(&[Source::Text("the quick".to_owned())])
                .message
                .contains("sequence_length")
        );
        let late = chat("where does the quick brown fox jump over the lazy dog", "there");
        assert!(refusal(&[Source::Chat(vec![late])]).message.contains("roles"));
        let single = chat("fox", "dog");
        assert!(
            refusal(&[Source::Chat(vec![single])])
                .message
                .contains("evaluation_share")
        );
    }

    /// JB-8
    #[test]
    fn the_split_is_disjoint_complete_and_repeats() {
        let text = "the quick brown fox jumps over the lazy dog ".repeat(20);
        let chats = (0..10).map(|number| chat(&number.to_string(), "fox")).collect();
        let sources = [Source::Text(text.clone()), Source::Chat(chats)];
        let corpus =
            Corpus::new(&sources, &tokenizer(), &Objective::default(), &hyperparameters()).expect("a corpus");
        let again =
            Corpus::new(&sources, &tokenizer(), &Objective::default(), &hyperparameters()).expect("a corpus");
        assert_eq!(
            (&corpus.train, &corpus.evaluation),
            (&again.train, &again.evaluation)
        );
        assert_eq!((corpus.train.len(), corpus.evaluation.len()), (9, 3));
        let joined = [
            corpus.train[0].tokens.clone(),
            corpus.evaluation[0].tokens.clone(),
        ]
        .concat();
        assert_eq!(tokenizer().decode(&joined).expect("decoded"), text);
        assert!(
            corpus.evaluation[1..]
                .iter()
                .all(|held_out| !corpus.train.contains(held_out))
        );
    }
}
