//! How a training goes: length, rates, batches, looks and checkpoints.
//!
//! Rule: a field that earlier versions did not know is left out of the JSON while it has its default, so that an
//! old specification keeps its bytes; what depends on the size of the dataset is worked out once, in
//! [`Hyperparameters::steps_over`].

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Updates of a training that names neither steps nor epochs.
const DEFAULT_STEPS: u32 = 200;
/// Steps of warm-up of a training that names neither steps nor a share of them.
const DEFAULT_WARMUP: u32 = 10;
/// Longest training in steps.
pub const MOST_STEPS: u32 = 10_000_000;

/// How the training goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperparameters {
    /// Updates of the parameters, 1–10 000 000; samples are drawn at random. 200 where neither this nor
    /// `epochs` is given; at most one of the two may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Passes over the dataset instead of `steps`, above 0, at most 1000; each pass sees every sample once,
    /// in an order of its own. The last step is filled up from the next pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Sequences of one micro-batch, 1–1024. Default 8.
    pub batch_size: u32,
    /// Micro-batches of one update, 1–1024; their loss is the mean over the learnt tokens of all of them.
    /// Default 1.
    pub gradient_accumulation: u32,
    /// Highest learning rate, above 0, at most 1. Default 0.001.
    pub learning_rate: f64,
    /// How the learning rate falls after the warm-up. Default cosine.
    pub schedule: Schedule,
    /// What cosine and linear schedules fall to, as a share of the learning rate, 0–1. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub minimum_share: f64,
    /// Steps over which the learning rate rises from 0, 0 to `steps`. 10 (or all steps, if fewer) where
    /// neither this nor `warmup_ratio` is given; at most one of the two may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u32>,
    /// The same as a share of all steps, 0–1, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// AdamW's decay of matrices (not of biases and norms) per step and learning rate, 0–1. Default 0.01.
    pub weight_decay: f64,
    /// AdamW's other numbers.
    #[serde(skip_serializing_if = "is_default")]
    pub adam: Adam,
    /// The gradient is scaled down to this norm over all parameters, 0–1 000 000; 0 is off. Default 1.
    pub clip_norm: f64,
    /// Tokens of a sequence, 8–131 072, at most the model's context. Default 128.
    pub sequence_length: u32,
    /// Whether several samples share a row, without seeing each other; no padding is computed then. Each pass
    /// sees every sample once, as with `epochs`. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub packing: bool,
    /// In which numbers the network is computed. Default 32-bit.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Share of the dataset held out for evaluation, 0–0.5; 0 is no evaluation. Default 0.05.
    pub eval_fraction: f64,
    /// Steps between evaluations, 0 to any; 0 is at the start and the end only. Default 50.
    pub eval_every: u32,
    /// Ends the training when evaluations get no better; needs evaluations. Default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Whether the result is the state with the best evaluation rather than the last; needs evaluations.
    /// Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_best: bool,
    /// Steps between checkpoints, 1 to any. Default 50.
    pub checkpoint_every: u32,
    /// Where all random numbers come from, 0 to 2⁵³ − 1 (so that every JSON reader keeps it). Default 42.
    pub seed: u64,
    /// What samples continue, at most 4000 bytes; empty is no sample. For a dataset of chats it is the
    /// question of a user. Default empty.
    pub sample_prompt: String,
    /// Longest sample in tokens, 0–1024; 0 is no sample. Default 64.
    pub sample_tokens: u32,
    /// Steps between samples, 0 to any; 0 is before and after the training only. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_every: u32,
}

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls along half a cosine, to [`Hyperparameters::minimum_share`] of itself.
    #[default]
    Cosine,
    /// It falls in a straight line, to [`Hyperparameters::minimum_share`] of itself.
    Linear,
}

/// What AdamW remembers and how it divides (arXiv:1711.05101).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Decay of the running mean of gradients, 0 to below 1. Default 0.9.
    pub beta_1: f64,
    /// Decay of the running mean of their squares, 0 to below 1. Default 0.999.
    pub beta_2: f64,
    /// Added to the denominator, above 0, at most 1. Default 1e-8.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// When a training ends before its last step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Evaluations in a row without a better one, 1–1000.
    pub patience: u32,
    /// Nats by which an evaluation must be below the best so far to be better, 0–10. Default 0.
    #[serde(default)]
    pub min_delta: f64,
}

/// In which numbers a network is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// The frozen base and activations in bfloat16, what is trained and the optimiser in 32 bits; CUDA only.
    Bf16,
}

impl Precision {
    /// What a frozen base and activations are.
    #[must_use]
    pub fn floats(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }
}

/// Steps of a training whose dataset is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Updates in all, at least 1.
    pub total: u32,
    /// Of these, over how many the learning rate rises.
    pub warmup: u32,
}

impl Hyperparameters {
    /// Sequences of one update.
    #[must_use]
    pub fn sequences_per_step(&self) -> u64 {
        u64::from(self.batch_size) * u64::from(self.gradient_accumulation)
    }

    /// The steps of a training over a dataset of `sequences` rows (packed ones where samples are packed).
    #[must_use]
    pub fn steps_over(&self, sequences: u64) -> Steps {
        let passes = self.epochs.map(|epochs| {
            let steps = (epochs * sequences as f64 / self.sequences_per_step() as f64).ceil();
            // Saturates; never below one step.
            (steps as u32).clamp(1, MOST_STEPS)
        });
        let total = passes.or(self.steps).unwrap_or(DEFAULT_STEPS);
        let share = self
            .warmup_ratio
            .map(|ratio| (ratio * f64::from(total)).ceil() as u32);
        let warmup = share.or(self.warmup_steps).unwrap_or(DEFAULT_WARMUP).min(total);
        Steps { total, warmup }
    }
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batch_size: 8,
            gradient_accumulation: 1,
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            minimum_share: 0.0,
            warmup_steps: None,
            warmup_ratio: None,
            weight_decay: 0.01,
            adam: Adam::default(),
            clip_norm: 1.0,
            sequence_length: 128,
            packing: false,
            precision: Precision::default(),
            eval_fraction: 0.05,
            eval_every: 50,
            early_stopping: None,
            keep_best: false,
            checkpoint_every: 50,
            seed: 42,
            sample_prompt: String::new(),
            sample_tokens: 64,
            sample_every: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_ratios_become_steps_once_the_dataset_is_known() {
        let chosen = Hyperparameters {
            epochs: Some(1.5),
            warmup_ratio: Some(0.1),
            batch_size: 4,
            gradient_accumulation: 2,
            ..Hyperparameters::default()
        };
        assert_eq!(chosen.steps_over(100), Steps { total: 19, warmup: 2 });
        assert_eq!(chosen.steps_over(1), Steps { total: 1, warmup: 1 });
        assert_eq!(chosen.steps_over(u64::MAX).total, MOST_STEPS);
        let defaults = Hyperparameters::default();
        assert_eq!(
            defaults.steps_over(100),
            Steps {
                total: 200,
                warmup: 10
            }
        );
        let short = Hyperparameters {
            steps: Some(3),
            ..defaults
        };
        assert_eq!(short.steps_over(100), Steps { total: 3, warmup: 3 });
    }
}
