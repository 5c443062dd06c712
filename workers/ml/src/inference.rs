//! Text from a network, for many prompts at once.
//!
//! Rule: what a prompt is continued with is a function of the network, the prompt and its own settings; it does
//! not depend on the prompts beside it, apart from the rounding of sums over other shapes.

mod choice;
mod rows;

pub use choice::Choice;
use rand_chacha::ChaCha8Rng;
use rows::Rows;

use crate::{
    data::tokenizer::Tokenizer,
    failure::Failure,
    lora::{Adapter, AdapterPass},
    model::{Cache, CausalModel, Tokens, ops::TransformerOps},
    parameters::values,
    random::{Purpose, stream},
};

/// A model and, where there is one, its adapter.
#[derive(Clone, Debug)]
pub struct Network<B: TransformerOps> {
    /// The model.
    pub model: CausalModel<B>,
    /// The adapter on it.
    pub adapter: Option<Adapter<B>>,
}

/// Something to be continued.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The tokens so far. Where they leave no room in the context, those at the start are left out.
    pub tokens: Vec<u32>,
    /// How many tokens are written at most; never more than half of the context.
    pub longest: usize,
    /// How each is chosen.
    pub choice: Choice,
}

/// Where texts end besides at the end of the context.
#[derive(Clone, Debug, Default)]
pub struct Ends<'a> {
    /// Tokens that end a text; they are not part of it.
    pub tokens: Vec<u32>,
    /// Words that end a text, and what makes text of tokens; from the first of them on the text is cut off.
    pub words: Option<(&'a Tokenizer, Vec<String>)>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model ended it.
    EndOfText,
    /// One of the words was written, as the last thing in the tokens.
    Word,
    /// It is as long as it may be.
    Length,
}

/// What a prompt is continued with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub ended: Ended,
}

impl Continuation {
    /// Its text, without the word that ended it.
    ///
    /// # Errors
    /// An internal failure when the tokens are none of the tokenizer.
    pub fn text(&self, ends: &Ends<'_>, tokenizer: &Tokenizer) -> Result<String, Failure> {
        let mut text = tokenizer.decode(&self.tokens)?;
        let words = ends.words.iter().flat_map(|(_, words)| words);
        if let Some(cut) = words.filter_map(|word| text.find(word)).min() {
            text.truncate(cut);
        }
        Ok(text)
    }
}

/// A prompt that is being continued.
struct Writing {
    choice: Choice,
    random: ChaCha8Rng,
    /// Tokens of the prompt, then the new ones.
    tokens: Vec<u32>,
    begins: usize,
    longest: usize,
    ended: Option<Ended>,
}

impl Writing {
    fn written(&self) -> &[u32] {
        &self.tokens[self.begins..]
    }

    /// Takes the token that `scores` and the settings give.
    fn go_on(&mut self, scores: &[f32], ends: &Ends<'_>) -> Result<(), Failure> {
        let token = self.choice.token(scores, &self.tokens, &mut self.random);
        if ends.tokens.contains(&token) {
            self.ended = Some(Ended::EndOfText);
            return Ok(());
        }
        self.tokens.push(token);
        if let Some((tokenizer, words)) = &ends.words {
            let text = tokenizer.decode(self.written())?;
            if words.iter().any(|word| !word.is_empty() && text.contains(word)) {
                self.ended = Some(Ended::Word);
            }
        }
        if self.ended.is_none() && self.written().len() >= self.longest {
            self.ended = Some(Ended::Length);
        }
        Ok(())
    }
}

impl<B: TransformerOps> Network<B> {
    /// Continues `tokens` by at most `longest` tokens, up to the model's own end of a text. An empty prompt is
    /// not continued.
    ///
    /// # Errors
    /// An internal failure when scores cannot be read from the device.
    pub fn generate(&self, tokens: &[u32], longest: usize, choice: Choice) -> Result<Vec<u32>, Failure> {
        let ends = Ends {
            tokens: self.model.config().ends_of_text().to_vec(),
            words: None,
        };
        let prompt = Prompt {
            tokens: tokens.to_vec(),
            longest,
            choice,
        };
        let mut written = self.generate_all(&[prompt], &ends)?;
        Ok(written.pop().map(|written| written.tokens).unwrap_or_default())
    }

    /// Continues all of `prompts` in one batch: each pass reads one more token of every text that has not ended.
    /// Empty prompts are not continued.
    ///
    /// # Errors
    /// An internal failure when scores cannot be read from the device.
    pub fn generate_all(&self, prompts: &[Prompt], ends: &Ends<'_>) -> Result<Vec<Continuation>, Failure> {
        let mut writings: Vec<Writing> = prompts.iter().map(|prompt| self.begin(prompt)).collect();
        let open: Vec<usize> = (0..writings.len())
            .filter(|row| writings[*row].ended.is_none())
            .collect();
        let mut rows = Rows::new(
            open.iter().map(|row| writings[*row].tokens.as_slice()),
            self.model.config().context(),
        );
        let mut cache = Cache::default();
        let mut next = rows.prompts();
        while let Some(tokens) = next {
            let scores = self.scores(&tokens, &mut cache)?;
            let vocabulary = scores.len() / open.len();
            for (row, scores) in open.iter().zip(scores.chunks_exact(vocabulary)) {
                let writing = &mut writings[*row];
                if writing.ended.is_none() {
                    writing.go_on(scores, ends)?;
                }
            }
            // A text that has ended reads its last token again, to no effect; the batch keeps its shape.
            let all_ended = open.iter().all(|row| writings[*row].ended.is_some());
            let last = open
                .iter()
                .filter_map(|row| writings[*row].tokens.last().copied());
            next = (!all_ended).then(|| rows.following(last));
        }
        let continued = writings.into_iter().map(|writing| Continuation {
            tokens: writing.written().to_vec(),
            ended: writing.ended.unwrap_or(Ended::Length),
        });
        Ok(continued.collect())
    }

    fn begin(&self, prompt: &Prompt) -> Writing {
        let context = self.model.config().context();
        let longest = prompt.longest.min(context / 2);
        let kept = prompt.tokens.len().min(context - longest);
        let tokens = prompt.tokens[prompt.tokens.len() - kept..].to_vec();
        Writing {
            ended: (tokens.is_empty() || longest == 0).then_some(Ended::Length),
            random: stream(prompt.choice.seed, Purpose::Sampling, 0, 0),
            choice: prompt.choice,
            begins: tokens.len(),
            tokens,
            longest,
        }
    }

    /// Scores of the token after the last one of each row of `tokens`, which follow those of `cache`:
    /// `[rows · vocabulary]`.
    fn scores(&self, tokens: &Tokens, cache: &mut Cache<B>) -> Result<Vec<f32>, Failure> {
        let mut pass = self.adapter.as_ref().map(AdapterPass::exact);
        let hidden = self.model.hidden(tokens, pass.as_mut(), Some(cache));
        let (length, width) = (tokens.length(), self.model.config().width());
        let last = hidden.reshape([tokens.batch, length, width]).slice([
            0..tokens.batch,
            length - 1..length,
            0..width,
        ]);
        values(self.model.logits(last.reshape([tokens.batch, width])))
    }
}
