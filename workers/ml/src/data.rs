//! From dataset files to the numbers a training step sees.
//!
//! Rule: what a step sees is a pure function of the files, the tokenizer and (seed, step, micro-batch), so
//! that a resumed training goes on as if nothing had happened.

pub mod batch;
pub mod chat;
pub mod documents;
pub mod formats;
pub mod sampler;
pub mod source;
pub mod template;
pub mod tokenizer;

use rand::seq::SliceRandom;

use crate::{
    failure::{Failure, FailureCode},
    random::{Purpose, stream},
    spec::{Hyperparameters, Objective},
};
use documents::{Tally, Writer};
use source::Source;
use tokenizer::Tokenizer;

/// Tokens that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The tokens in order.
    pub tokens: Vec<u32>,
    /// For each token whether the model learns to predict it.
    pub learned: Vec<bool>,
    /// Whether a piece may begin anywhere (text) or only at the start (a conversation, a prompt).
    pub cut_anywhere: bool,
}

/// A tokenised dataset, split for training and evaluation.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// What is learnt.
    pub train: Vec<Document>,
    /// What is held out; empty when nothing is.
    pub evaluation: Vec<Document>,
    /// What became of the samples.
    pub tally: Tally,
    /// Whether all of it is conversations.
    is_chat: bool,
}

impl Corpus {
    /// Tokenises `sources` and splits them: the last share of each text, and conversations and prompts chosen by
    /// the seed, are held out.
    ///
    /// # Errors
    /// [`FailureCode::DatasetEmpty`] when nothing is left to learn from or to evaluate with;
    /// [`FailureCode::ChatTemplateInvalid`].
    pub fn new(
        sources: &[Source],
        tokenizer: &Tokenizer,
        objective: &Objective,
        chosen: &Hyperparameters,
    ) -> Result<Self, Failure> {
        let writer = Writer::new(tokenizer, objective, chosen.sequence_length as usize + 1)?;
        let mut corpus = Self {
            train: Vec::new(),
            evaluation: Vec::new(),
            tally: Tally::default(),
            is_chat: sources.iter().all(|source| matches!(source, Source::Chat(_))),
        };
        let mut samples = Vec::new();
        for source in sources {
            match source {
                Source::Text(text) => corpus.add_text(tokenizer.encode_framed(text)?, chosen.eval_fraction),
                Source::Chat(chats) => {
                    for chat in chats {
                        samples.extend(writer.conversation(chat, &mut corpus.tally)?);
                    }
                }
                Source::Pairs(pairs) => {
                    for pair in pairs {
                        samples.extend(writer.pair(pair, &mut corpus.tally)?);
                    }
                }
            }
        }
        corpus.add_samples(samples, chosen);
        corpus.check(chosen)?;
        Ok(corpus)
    }

    /// Tokens to learn from.
    #[must_use]
    pub fn train_tokens(&self) -> u64 {
        self.train
            .iter()
            .map(|document| document.tokens.len() as u64)
            .sum()
    }

    /// Tokens held out.
    #[must_use]
    pub fn evaluation_tokens(&self) -> u64 {
        self.evaluation
            .iter()
            .map(|document| document.tokens.len() as u64)
            .sum()
    }

    /// Whether all of it is conversations.
    #[must_use]
    pub fn is_chat(&self) -> bool {
        self.is_chat
    }

    fn add_text(&mut self, mut tokens: Vec<u32>, held_out: f64) {
        let tail = (tokens.len() as f64 * held_out).round() as usize;
        let rest = tokens.split_off(tokens.len() - tail);
        for (tokens, documents) in [(tokens, &mut self.train), (rest, &mut self.evaluation)] {
            // A single token has nothing to predict.
            if tokens.len() > 1 {
                documents.push(Document {
                    learned: vec![true; tokens.len()],
                    tokens,
                    cut_anywhere: true,
                });
            }
        }
    }

    fn add_samples(&mut self, mut samples: Vec<Document>, chosen: &Hyperparameters) {
        samples.shuffle(&mut stream(chosen.seed, Purpose::Split, 0, 0));
        let share = samples.len() as f64 * chosen.eval_fraction;
        let at_least = usize::from(chosen.eval_fraction > 0.0 && samples.len() > 1);
        let held_out = (share.round() as usize).max(at_least);
        self.evaluation.extend(samples.drain(..held_out));
        self.train.extend(samples);
    }

    fn check(&self, chosen: &Hyperparameters) -> Result<(), Failure> {
        let empty = |message: String| Err(Failure::new(FailureCode::DatasetEmpty, message));
        let length = chosen.sequence_length;
        if self.train.is_empty() && self.tally.met > 0 {
            return empty(format!(
                "none of the {} samples can be learnt from within the first {length} tokens: {}; raise \
                 sequence_length, check the roles (answers are the assistant's), or learn everything",
                self.tally.met,
                self.tally.lines().join("; ")
            ));
        }
        if self.train.is_empty() {
            return empty("the dataset has no text; add files with content".to_owned());
        }
        let texts = self.train.iter().filter(|document| document.cut_anywhere);
        let longest = texts.map(|document| document.tokens.len()).max();
        if let Some(tokens) = longest
            && !self.train.iter().any(|document| !document.cut_anywhere)
            && tokens <= length as usize
        {
            return empty(format!(
                "the longest text has {tokens} tokens to learn from, fewer than a sequence of {length}; add \
                 text or lower sequence_length"
            ));
        }
        if chosen.eval_fraction > 0.0 && self.evaluation.is_empty() {
            return empty(
                "the held-out share of the dataset is empty; add data, raise eval_fraction or set it to 0"
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

    fn chosen() -> Hyperparameters {
        Hyperparameters {
            sequence_length: 32,
            eval_fraction: 0.2,
            ..Hyperparameters::default()
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
        let failure =
            Corpus::new(sources, &tokenizer(), &Objective::default(), &chosen()).expect_err("refused");
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
                .contains("eval_fraction")
        );
    }

    /// JB-8
    #[test]
    fn the_split_is_disjoint_complete_and_repeats() {
        let text = "the quick brown fox jumps over the lazy dog ".repeat(20);
        let chats = (0..10).map(|number| chat(&number.to_string(), "fox")).collect();
        let sources = [Source::Text(text.clone()), Source::Chat(chats)];
        let corpus = Corpus::new(&sources, &tokenizer(), &Objective::default(), &chosen()).expect("a corpus");
        let again = Corpus::new(&sources, &tokenizer(), &Objective::default(), &chosen()).expect("a corpus");
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
