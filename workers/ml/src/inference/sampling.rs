//! Sampling of the next token.
//!
//! Rule: the steps and their order are those of Hugging Face's `generate`: repetition penalty, temperature, top-k,
//! top-p, draw. Ties are resolved in favour of the lower token ID.

use rand::Rng;

use crate::model::generation::GenerationSettings;

/// How the next token is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 selects the most likely token; otherwise scores are divided by it.
    pub temperature: f64,
    /// Only this many of the most likely tokens are considered; 0 considers all.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens with at least this total probability is considered (nucleus
    /// sampling, Holtzman et al., arXiv:1904.09751); above 0, and 1 considers all.
    pub top_p: f64,
    /// Positive scores of tokens that have occurred before are divided by it, negative ones multiplied (CTRL,
    /// arXiv:1909.05858); above 0, and 1 has no effect.
    pub repetition_penalty: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl SamplingParams {
    /// Always the most likely token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        repetition_penalty: 1.0,
        seed: 0,
    };

    /// The parameters that the model's authors recommend.
    #[must_use]
    pub fn from_generation_settings(settings: &GenerationSettings, seed: u64) -> Self {
        Self {
            temperature: if settings.sample {
                settings.temperature
            } else {
                0.0
            },
            top_k: settings.top_k,
            top_p: settings.top_p,
            repetition_penalty: settings.repetition_penalty,
            seed,
        }
    }

    /// Samples the token after `before`, given the `scores` of all tokens.
    pub(super) fn next_token(self, scores: &[f32], before: &[u32], random: &mut impl Rng) -> u32 {
        let scores = self.penalize_repetitions(scores, before);
        if self.temperature <= 0.0 {
            return argmax(&scores);
        }
        let candidates = self.candidates(&scores);
        let mut left = random.random::<f64>() * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        // Rounding can leave a remainder.
        candidates.last().map_or(0, |(token, _)| *token)
    }

    fn penalize_repetitions(self, scores: &[f32], before: &[u32]) -> Vec<f32> {
        let mut penalize_repetitions = scores.to_vec();
        if self.repetition_penalty != 1.0 {
            let penalty = self.repetition_penalty as f32;
            for token in before {
                let index = *token as usize;
                // From the original scores: a token that has occurred twice is penalised once.
                if let Some(score) = scores.get(index) {
                    penalize_repetitions[index] = if *score < 0.0 {
                        score * penalty
                    } else {
                        score / penalty
                    };
                }
            }
        }
        penalize_repetitions
    }

    /// The tokens to draw from with their weights, most likely first. Scores are finite, so there is at least one.
    fn candidates(self, scores: &[f32]) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        if self.top_k > 0 && self.top_k < order.len() {
            order.select_nth_unstable_by(self.top_k - 1, by_score);
            order.truncate(self.top_k);
        }
        order.sort_unstable_by(by_score);
        let best = order
            .first()
            .map_or(0.0, |token| f64::from(scores[*token as usize]));
        let weight = |token: u32| ((f64::from(scores[token as usize]) - best) / self.temperature).exp();
        let mut candidates: Vec<(u32, f64)> = order.into_iter().map(|token| (token, weight(token))).collect();
        if self.top_p < 1.0 {
            let enough = self.top_p * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
            let mut sum = 0.0;
            let kept = candidates.iter().take_while(|(_, weight)| {
                let wanted = sum < enough;
                sum += weight;
                wanted
            });
            let kept = kept.count().max(1);
            candidates.truncate(kept);
        }
        candidates
    }
}

fn argmax(scores: &[f32]) -> u32 {
    let better = |best: usize, token: usize| {
        if scores[token].total_cmp(&scores[best]).is_gt() {
            token
        } else {
            best
        }
    };
    (0..scores.len()).reduce(better).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;
    use crate::random::{Purpose, stream};

    fn lively() -> SamplingParams {
        SamplingParams {
            temperature: 1.0,
            ..SamplingParams::GREEDY
        }
    }

    fn drawn(sampling: SamplingParams, scores: &[f32]) -> BTreeSet<u32> {
        let mut random = stream(1, Purpose::Sampling, 0, 0);
        (0..300)
            .map(|_| sampling.next_token(scores, &[], &mut random))
            .collect()
    }

    #[test]
    fn the_likeliest_token_is_taken_without_temperature_and_only_the_top_with_it() {
        let scores = [0.0, 3.0, 2.9, -1.0];
        assert_eq!(drawn(SamplingParams::GREEDY, &scores), [1].into());
        assert_eq!(
            drawn(SamplingParams { top_k: 2, ..lively() }, &scores),
            [1, 2].into()
        );
        assert_eq!(
            drawn(
                SamplingParams {
                    top_p: 0.5,
                    ..lively()
                },
                &scores
            ),
            [1].into()
        );
        assert_eq!(
            drawn(
                SamplingParams {
                    top_p: 0.6,
                    ..lively()
                },
                &scores
            ),
            [1, 2].into()
        );
        assert_eq!(
            drawn(
                SamplingParams {
                    temperature: 9.0,
                    ..lively()
                },
                &scores
            ),
            [0, 1, 2, 3].into()
        );
        assert_eq!(argmax(&[2.0, 2.0]), 0, "ties go to the lower token");
    }

    /// What transformers' logits processors compute from the same scores; see `fixtures/make_generation_fixtures.py`.
    #[derive(Deserialize)]
    struct Case {
        scores: Vec<f32>,
        before: Vec<u32>,
        temperature: f64,
        top_k: usize,
        top_p: f64,
        repetition_penalty: f64,
        /// Probabilities of the remaining tokens, in order of token.
        probabilities: Vec<(u32, f64)>,
    }

    /// WK-3
    #[test]
    fn what_is_drawn_from_is_that_of_transformers() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../fixtures/choices.json")).expect("cases");
        assert!(cases.len() >= 20, "{}", cases.len());
        for case in cases {
            let sampling = SamplingParams {
                temperature: case.temperature,
                top_k: case.top_k,
                top_p: case.top_p,
                repetition_penalty: case.repetition_penalty,
                seed: 0,
            };
            let mut candidates =
                sampling.candidates(&sampling.penalize_repetitions(&case.scores, &case.before));
            let sum: f64 = candidates.iter().map(|(_, weight)| weight).sum();
            candidates.sort_unstable_by_key(|(token, _)| *token);
            let tokens = |pairs: &[(u32, f64)]| pairs.iter().map(|(token, _)| *token).collect::<Vec<_>>();
            assert_eq!(tokens(&candidates), tokens(&case.probabilities), "{sampling:?}");
            for ((_, ours), (_, theirs)) in candidates.iter().zip(&case.probabilities) {
                // Theirs are 32-bit.
                assert!(
                    (ours / sum - theirs).abs() < 1e-5,
                    "{sampling:?}: {} {theirs}",
                    ours / sum
                );
            }
        }
    }
}
