//! Text from a network: samples before and after a training.
//!
//! Rule: the same network, prompt, settings and seed give the same text.

use rand::Rng;

use crate::{
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

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// 0 takes the likeliest token; above, scores are divided by it.
    pub temperature: f64,
    /// Only this many of the likeliest tokens are considered; 0 is all.
    pub top_k: usize,
    /// Where the random numbers come from.
    pub seed: u64,
}

impl Choice {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 1,
        seed: 0,
    };
}

impl<B: TransformerOps> Network<B> {
    /// Continues `prompt` by at most `count` tokens, up to the end of a text or of the context; returns the
    /// new tokens. A prompt that leaves no room is shortened at its start; an empty one gives none.
    ///
    /// # Errors
    /// An internal failure when scores cannot be read from the device.
    pub fn generate(&self, prompt: &[u32], count: usize, choice: Choice) -> Result<Vec<u32>, Failure> {
        let context = self.model.config().context();
        let room = count.min(context / 2);
        let prompt = &prompt[prompt.len().saturating_sub(context - room)..];
        if prompt.is_empty() || room == 0 {
            return Ok(Vec::new());
        }
        let mut cache = Cache::default();
        let mut rng = stream(choice.seed, Purpose::Sampling, 0, 0);
        let mut continuation = Vec::new();
        let mut current = prompt.to_vec();
        while continuation.len() < room {
            let scores = self.next_scores(&current, &mut cache)?;
            let token = choose(&scores, choice, &mut rng);
            if self.model.config().ends_of_text().contains(&token) {
                break;
            }
            continuation.push(token);
            current = vec![token];
        }
        Ok(continuation)
    }

    /// Scores of the token after `tokens`, which follow those of `cache`.
    fn next_scores(&self, tokens: &[u32], cache: &mut Cache<B>) -> Result<Vec<f32>, Failure> {
        let ids = Tokens::rows(tokens.iter().map(|id| *id as i32).collect(), 1);
        let mut pass = self.adapter.as_ref().map(AdapterPass::exact);
        let hidden = self.model.hidden(&ids, pass.as_mut(), Some(cache));
        let width = self.model.config().width();
        values(
            self.model
                .logits(hidden.slice([tokens.len() - 1..tokens.len(), 0..width])),
        )
    }
}

fn choose(scores: &[f32], choice: Choice, rng: &mut impl Rng) -> u32 {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    // Ties go to the lower token, so the order never depends on the sort.
    order.sort_unstable_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
    if choice.temperature <= 0.0 {
        return order[0];
    }
    let kept = if choice.top_k == 0 {
        order.len()
    } else {
        choice.top_k.min(order.len())
    };
    let best = f64::from(scores[order[0] as usize]);
    let weight = |token: &u32| ((f64::from(scores[*token as usize]) - best) / choice.temperature).exp();
    let weights: Vec<f64> = order[..kept].iter().map(weight).collect();
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (token, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    order[kept - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_token_is_taken_without_temperature_and_only_the_top_with_it() {
        let scores = [0.0, 3.0, 2.9, -1.0];
        let mut rng = stream(1, Purpose::Sampling, 0, 0);
        assert_eq!(choose(&scores, Choice::GREEDY, &mut rng), 1);
        let choice = Choice {
            temperature: 1.0,
            top_k: 2,
            seed: 1,
        };
        let drawn: std::collections::BTreeSet<_> =
            (0..200).map(|_| choose(&scores, choice, &mut rng)).collect();
        assert_eq!(drawn, [1, 2].into());
    }
}
