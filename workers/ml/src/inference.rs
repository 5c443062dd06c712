//! Batched text generation.
//!
//! Rule: a continuation is a function of the network, the prompt and its own sampling parameters; the other prompts
//! of the batch affect nothing but the rounding of sums.

mod padded_batch;
mod sampling;

use padded_batch::PaddedBatch;
use rand_chacha::ChaCha8Rng;
pub use sampling::SamplingParams;

use crate::{
    data::tokenizer::Tokenizer,
    failure::Failure,
    model::{Adapter, AdapterPass, CausalModel, KvCache, TokenBatch, ops::TransformerOps},
    parameters::values,
    random::{Purpose, stream},
};

/// A model with an optional adapter.
#[derive(Clone, Debug)]
pub struct Network<B: TransformerOps> {
    /// The model.
    pub model: CausalModel<B>,
    /// The adapter.
    pub adapter: Option<Adapter<B>>,
}

/// A prompt to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The tokens of the prompt. Where they leave no room in the context, the first ones are dropped.
    pub tokens: Vec<u32>,
    /// Maximum number of new tokens; limited to half of the context.
    pub max_new_tokens: usize,
    /// How tokens are sampled.
    pub sampling: SamplingParams,
}

/// Conditions that end a text, besides its maximum length.
#[derive(Clone, Debug, Default)]
pub struct StopConditions<'a> {
    /// Tokens that end a text; they are not part of it.
    pub eos_tokens: Vec<u32>,
    /// Stop sequences, and the tokenizer to find them with; a text ends before the first of them.
    pub stop_sequences: Option<(&'a Tokenizer, Vec<String>)>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model generated an end-of-text token.
    EndOfText,
    /// The text contains a stop sequence.
    StopSequence,
    /// The maximum length is reached.
    Length,
}

/// The continuation of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// The reason for which it ended.
    pub finish_reason: FinishReason,
}

impl Continuation {
    /// Its text up to the first stop sequence.
    ///
    /// # Errors
    /// An internal failure when `tokenizer` does not know the tokens.
    pub fn text(&self, stop: &StopConditions<'_>, tokenizer: &Tokenizer) -> Result<String, Failure> {
        let mut text = tokenizer.decode(&self.tokens)?;
        let words = stop.stop_sequences.iter().flat_map(|(_, words)| words);
        if let Some(cut) = words.filter_map(|word| text.find(word)).min() {
            text.truncate(cut);
        }
        Ok(text)
    }
}

/// A prompt that is being continued.
struct Generation {
    sampling: SamplingParams,
    random: ChaCha8Rng,
    /// Tokens of the prompt, then the generated ones.
    tokens: Vec<u32>,
    prompt_length: usize,
    max_new_tokens: usize,
    finish_reason: Option<FinishReason>,
}

impl Generation {
    fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt_length..]
    }

    /// Samples the next token from `scores` and appends it, or finishes.
    fn append_next(&mut self, scores: &[f32], stop: &StopConditions<'_>) -> Result<(), Failure> {
        let token = self.sampling.next_token(scores, &self.tokens, &mut self.random);
        if stop.eos_tokens.contains(&token) {
            self.finish_reason = Some(FinishReason::EndOfText);
            return Ok(());
        }
        self.tokens.push(token);
        if let Some((tokenizer, words)) = &stop.stop_sequences {
            let text = tokenizer.decode(self.generated())?;
            if words.iter().any(|word| !word.is_empty() && text.contains(word)) {
                self.finish_reason = Some(FinishReason::StopSequence);
            }
        }
        if self.finish_reason.is_none() && self.generated().len() >= self.max_new_tokens {
            self.finish_reason = Some(FinishReason::Length);
        }
        Ok(())
    }
}

impl<B: TransformerOps> Network<B> {
    /// Continues `tokens` by at most `max_new_tokens` tokens, until the model's own end of text. An empty prompt is
    /// not continued.
    ///
    /// # Errors
    /// An internal failure when scores cannot be read from the device.
    pub fn generate(
        &self,
        tokens: &[u32],
        max_new_tokens: usize,
        sampling: SamplingParams,
    ) -> Result<Vec<u32>, Failure> {
        let stop = StopConditions {
            eos_tokens: self.model.config().eos_tokens().to_vec(),
            stop_sequences: None,
        };
        let prompt = Prompt {
            tokens: tokens.to_vec(),
            max_new_tokens,
            sampling,
        };
        let mut generated = self.generate_batch(&[prompt], &stop)?;
        Ok(generated
            .pop()
            .map(|generated| generated.tokens)
            .unwrap_or_default())
    }

    /// Continues all `prompts` in one batch, one token of every unfinished text per pass. Empty prompts are not
    /// continued.
    ///
    /// # Errors
    /// An internal failure when scores cannot be read from the device.
    pub fn generate_batch(
        &self,
        prompts: &[Prompt],
        stop: &StopConditions<'_>,
    ) -> Result<Vec<Continuation>, Failure> {
        let mut generations: Vec<Generation> = prompts.iter().map(|prompt| self.start(prompt)).collect();
        let open: Vec<usize> = (0..generations.len())
            .filter(|row| generations[*row].finish_reason.is_none())
            .collect();
        let mut rows = PaddedBatch::new(
            open.iter().map(|row| generations[*row].tokens.as_slice()),
            self.model.config().context(),
        );
        let mut cache = KvCache::default();
        let mut next = rows.prompts();
        while let Some(tokens) = next {
            let scores = self.scores(&tokens, &mut cache)?;
            let vocabulary = scores.len() / open.len();
            for (row, scores) in open.iter().zip(scores.chunks_exact(vocabulary)) {
                let generation = &mut generations[*row];
                if generation.finish_reason.is_none() {
                    generation.append_next(scores, stop)?;
                }
            }
            // A finished text repeats its last token without effect, so that the batch keeps its shape.
            let all_ended = open.iter().all(|row| generations[*row].finish_reason.is_some());
            let last = open
                .iter()
                .filter_map(|row| generations[*row].tokens.last().copied());
            next = (!all_ended).then(|| rows.next_step(last));
        }
        let continued = generations.into_iter().map(|generation| Continuation {
            tokens: generation.generated().to_vec(),
            finish_reason: generation.finish_reason.unwrap_or(FinishReason::Length),
        });
        Ok(continued.collect())
    }

    fn start(&self, prompt: &Prompt) -> Generation {
        let context = self.model.config().context();
        let max_new_tokens = prompt.max_new_tokens.min(context / 2);
        let kept = prompt.tokens.len().min(context - max_new_tokens);
        let tokens = prompt.tokens[prompt.tokens.len() - kept..].to_vec();
        Generation {
            finish_reason: (tokens.is_empty() || max_new_tokens == 0).then_some(FinishReason::Length),
            random: stream(prompt.sampling.seed, Purpose::Sampling, 0, 0),
            sampling: prompt.sampling,
            prompt_length: tokens.len(),
            tokens,
            max_new_tokens,
        }
    }

    /// Scores of the next token after each row of `tokens`, which continue those of `cache`: `[rows · vocabulary]`.
    fn scores(&self, tokens: &TokenBatch, cache: &mut KvCache<B>) -> Result<Vec<f32>, Failure> {
        let mut pass = self.adapter.as_ref().map(AdapterPass::without_dropout);
        let hidden = self.model.hidden_states(tokens, pass.as_mut(), Some(cache));
        let (length, width) = (tokens.length(), self.model.config().width());
        let last = hidden.reshape([tokens.batch, length, width]).slice([
            0..tokens.batch,
            length - 1..length,
            0..width,
        ]);
        values(self.model.logits(last.reshape([tokens.batch, width])))
    }
}
