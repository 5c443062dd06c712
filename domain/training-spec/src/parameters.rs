//! The hyper-parameters that all methods share.
//!
//! One rule: a field that earlier versions did not know is left out of the JSON while it has its default. What depends
//! on the size of the dataset is computed once, in [`HyperParameters::steps_for_dataset`].

use payload::Leaves;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Steps of a training at most.
pub const MAX_STEPS: u32 = 10_000_000;

/// How the learning rate moves after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls in a straight line to its minimum.
    Linear,
    /// Falls along half a cosine to its minimum.
    Cosine,
}

/// The hyper-parameters that all methods share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct HyperParameters {
    /// Optimiser steps, 1 to 10,000,000; 0 where `epochs` are given.
    pub steps: u32,
    /// Passes over the data instead of steps, above 0, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Sequences per micro-batch, 1 to 1,024.
    pub batch_size: u32,
    /// Micro-batches per step, 1 to 1,024; their loss is the mean over the learnt tokens of all of them.
    pub gradient_accumulation: u32,
    /// Peak learning rate, above 0, at most 1.
    pub learning_rate: f64,
    /// See [`Schedule`].
    pub schedule: Schedule,
    /// What a falling rate falls to, as a share of the peak, 0 to 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub minimum_share: f64,
    /// Steps of linear warm-up, fewer than `steps`; 0 where `warmup_ratio` is given.
    pub warmup_steps: u32,
    /// The same as a share of all steps, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Decoupled weight decay, 0 to 1.
    pub weight_decay: f64,
    /// AdamW's other numbers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adam: Adam,
    /// Global gradient norm is cut to this, above 0.
    pub clip_norm: f64,
    /// Tokens per sequence, 8 to 131,072, at most the model's context.
    pub sequence_length: u32,
    /// Whether several samples share a sequence, without seeing each other.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packing: bool,
    /// In which numbers the network is computed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Share of the data held back for evaluation, 0 to 0.5.
    pub evaluation_share: f64,
    /// Steps between evaluations; 0: only at the end.
    pub evaluate_every: u32,
    /// Ends the training when evaluations get no better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Whether the result is the state of the best evaluation rather than the last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_best: bool,
    /// Steps between checkpoints, 1 and up.
    pub checkpoint_every: u32,
    /// Seed of everything random, below 2⁵³.
    pub seed: u64,
    /// Prompt of the samples that are generated before and after, at most 1,000 characters.
    #[plain]
    pub sample_prompt: String,
    /// Tokens of each sample, 0 to 512.
    pub sample_tokens: u32,
    /// Steps between samples; 0: only before and after.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sample_every: u32,
}

/// Number of steps of a training with a known dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// All steps, at least 1.
    pub total: u32,
    /// Warm-up steps among them.
    pub warmup: u32,
}

impl HyperParameters {
    /// Sequences of one step.
    #[must_use]
    pub fn sequences_per_step(&self) -> u64 {
        u64::from(self.batch_size) * u64::from(self.gradient_accumulation)
    }

    /// The number of steps for a dataset of `sequences` rows (after packing, where samples are packed).
    #[must_use]
    pub fn steps_for_dataset(&self, sequences: u64) -> Steps {
        let passes = self.epochs.map(|epochs| {
            let steps = (epochs * sequences as f64 / self.sequences_per_step() as f64).ceil();
            // The cast saturates.
            steps as u32
        });
        let total = passes.unwrap_or(self.steps).clamp(1, MAX_STEPS);
        let share = self
            .warmup_ratio
            .map(|ratio| (ratio * f64::from(total)).ceil() as u32);
        let warmup = share.unwrap_or(self.warmup_steps).min(total);
        Steps { total, warmup }
    }
}

impl Default for HyperParameters {
    fn default() -> Self {
        Self {
            steps: 200,
            epochs: None,
            batch_size: 8,
            gradient_accumulation: 1,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            minimum_share: 0.0,
            warmup_steps: 10,
            warmup_ratio: None,
            weight_decay: 0.01,
            adam: Adam::default(),
            clip_norm: 1.0,
            sequence_length: 128,
            packing: false,
            precision: Precision::F32,
            evaluation_share: 0.05,
            evaluate_every: 50,
            early_stopping: None,
            keep_best: false,
            checkpoint_every: 50,
            seed: 1,
            sample_prompt: String::new(),
            sample_tokens: 64,
            sample_every: 0,
        }
    }
}

/// What AdamW remembers and how it divides (Loshchilov and Hutter, 2019, arXiv:1711.05101).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Adam {
    /// Decay of the running mean of gradients, 0 to below 1.
    pub beta_1: f64,
    /// Decay of the running mean of their squares, 0 to below 1.
    pub beta_2: f64,
    /// Added to the denominator, above 0, at most 1.
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct EarlyStopping {
    /// Evaluations in a row without a better one, 1 to 1,000.
    pub patience: u32,
    /// Nats by which a better one must be below the best so far, 0 to 10.
    pub min_delta: f64,
}

/// In which numbers the network is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// The base and activations in bfloat16, what is trained in 32 bits; only workers with CUDA do that.
    Bf16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_ratios_become_steps_once_the_dataset_is_known() {
        let parameters = HyperParameters {
            steps: 0,
            epochs: Some(1.5),
            warmup_steps: 0,
            warmup_ratio: Some(0.1),
            batch_size: 4,
            gradient_accumulation: 2,
            ..HyperParameters::default()
        };
        assert_eq!(parameters.steps_for_dataset(100), Steps { total: 19, warmup: 2 });
        assert_eq!(parameters.steps_for_dataset(1), Steps { total: 1, warmup: 1 });
        assert_eq!(parameters.steps_for_dataset(u64::MAX).total, MAX_STEPS);
        let defaults = HyperParameters::default();
        assert_eq!(
            defaults.steps_for_dataset(100),
            Steps {
                total: 200,
                warmup: 10
            }
        );
        // A warm-up that is longer than the epochs ends with them.
        let short = HyperParameters {
            steps: 0,
            epochs: Some(1.0),
            ..defaults
        };
        assert_eq!(short.steps_for_dataset(20), Steps { total: 3, warmup: 3 });
    }
}
