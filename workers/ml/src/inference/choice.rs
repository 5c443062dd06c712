//! Which token follows, by the scores of all.
//!
//! Rule: the steps and their order are those of Hugging Face's `generate`: penalty for repetitions, temperature,
//! the likeliest k, the likeliest share p, a draw. Ties go to the lower token.

use rand::Rng;

use crate::model::generation::GenerationSettings;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// 0 takes the likeliest token; above, scores are divided by it.
    pub temperature: f64,
    /// Only this many of the likeliest tokens are considered; 0 is all.
    pub top_k: usize,
    /// Only the fewest of the likeliest tokens that have at least this probability together are considered, above
    /// 0; 1 is all (Holtzman et al., arXiv:1904.09751).
    pub top_p: f64,
    /// Scores above 0 of tokens that were there before are divided by it, others multiplied; above 0, and 1 does
    /// nothing (CTRL, arXiv:1909.05858).
    pub repetition_penalty: f64,
    /// Where the random numbers come from.
    pub seed: u64,
}

impl Choice {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        repetition_penalty: 1.0,
        seed: 0,
    };

    /// As the makers of a model want it.
    #[must_use]
    pub fn of(settings: &GenerationSettings, seed: u64) -> Self {
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

    /// The token after `before`, by the `scores` of all tokens.
    pub(super) fn token(self, scores: &[f32], before: &[u32], random: &mut impl Rng) -> u32 {
        let scores = self.penalised(scores, before);
        if self.temperature <= 0.0 {
            return likeliest(&scores);
        }
        let candidates = self.candidates(&scores);
        let mut left = random.random::<f64>() * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        // Rounding may leave a little.
        candidates.last().map_or(0, |(token, _)| *token)
    }

    fn penalised(self, scores: &[f32], before: &[u32]) -> Vec<f32> {
        let mut penalised = scores.to_vec();
        if self.repetition_penalty != 1.0 {
            let penalty = self.repetition_penalty as f32;
            for token in before {
                let index = *token as usize;
                // From the scores as they were: a token that was there twice is not punished twice.
                if let Some(score) = scores.get(index) {
                    penalised[index] = if *score < 0.0 {
                        score * penalty
                    } else {
                        score / penalty
                    };
                }
            }
        }
        penalised
    }

    /// The tokens that are drawn from with their weights, the likeliest first. Scores are finite, so there is one
    /// at least.
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

fn likeliest(scores: &[f32]) -> u32 {
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

    fn lively() -> Choice {
        Choice {
            temperature: 1.0,
            ..Choice::GREEDY
        }
    }

    fn drawn(choice: Choice, scores: &[f32]) -> BTreeSet<u32> {
        let mut random = stream(1, Purpose::Sampling, 0, 0);
        (0..300).map(|_| choice.token(scores, &[], &mut random)).collect()
    }

    #[test]
    fn the_likeliest_token_is_taken_without_temperature_and_only_the_top_with_it() {
        let scores = [0.0, 3.0, 2.9, -1.0];
        assert_eq!(drawn(Choice::GREEDY, &scores), [1].into());
        assert_eq!(drawn(Choice { top_k: 2, ..lively() }, &scores), [1, 2].into());
        assert_eq!(
            drawn(
                Choice {
                    top_p: 0.5,
                    ..lively()
                },
                &scores
            ),
            [1].into()
        );
        assert_eq!(
            drawn(
                Choice {
                    top_p: 0.6,
                    ..lively()
                },
                &scores
            ),
            [1, 2].into()
        );
        assert_eq!(
            drawn(
                Choice {
                    temperature: 9.0,
                    ..lively()
                },
                &scores
            ),
            [0, 1, 2, 3].into()
        );
        assert_eq!(likeliest(&[2.0, 2.0]), 0, "ties go to the lower token");
    }

    /// What transformers' logits processors make of the same scores; see `fixtures/make_generation_fixtures.py`.
    #[derive(Deserialize)]
    struct Case {
        scores: Vec<f32>,
        before: Vec<u32>,
        temperature: f64,
        top_k: usize,
        top_p: f64,
        repetition_penalty: f64,
        /// Of the tokens that are left, by token.
        probabilities: Vec<(u32, f64)>,
    }

    /// WK-3
    #[test]
    fn what_is_drawn_from_is_that_of_transformers() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../fixtures/choices.json")).expect("cases");
        assert!(cases.len() >= 20, "{}", cases.len());
        for case in cases {
            let choice = Choice {
                temperature: case.temperature,
                top_k: case.top_k,
                top_p: case.top_p,
                repetition_penalty: case.repetition_penalty,
                seed: 0,
            };
            let mut candidates = choice.candidates(&choice.penalised(&case.scores, &case.before));
            let sum: f64 = candidates.iter().map(|(_, weight)| weight).sum();
            candidates.sort_unstable_by_key(|(token, _)| *token);
            let tokens = |pairs: &[(u32, f64)]| pairs.iter().map(|(token, _)| *token).collect::<Vec<_>>();
            assert_eq!(tokens(&candidates), tokens(&case.probabilities), "{choice:?}");
            for ((_, ours), (_, theirs)) in candidates.iter().zip(&case.probabilities) {
                // Theirs are 32-bit.
                assert!(
                    (ours / sum - theirs).abs() < 1e-5,
                    "{choice:?}: {} {theirs}",
                    ours / sum
                );
            }
        }
    }
}
