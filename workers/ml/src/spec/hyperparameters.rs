//! Hyperparameters of a training.
//!
//! Rule: fields that earlier versions did not have are omitted from the JSON while they have their default, so old
//! specifications keep their bytes; what depends on the size of the dataset is computed once, in
//! [`Hyperparameters::steps_for_dataset`].

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Steps of a training that sets neither steps nor epochs.
const DEFAULT_STEPS: u32 = 200;
/// Warm-up steps of a training that sets neither steps nor a ratio.
const DEFAULT_WARMUP: u32 = 10;
/// Maximum number of steps.
pub const MAX_STEPS: u32 = 10_000_000;

/// Hyperparameters of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperparameters {
    /// Number of steps, 1–10 000 000; samples are drawn at random. 200 where neither this nor `epochs` is set; they
    /// exclude each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Number of epochs instead of `steps`, above 0, at most 1000; each epoch uses every sample once, in a new order.
    /// The last step is completed with samples of the next epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Sequences of one micro-batch, 1–1024. Default 8.
    pub batch_size: u32,
    /// Micro-batches of one step, 1–1024; the loss is the mean over the target tokens of all of them. Default 1.
    pub gradient_accumulation: u32,
    /// Peak learning rate, above 0, at most 1. Default 0.001.
    pub learning_rate: f64,
    /// Schedule of the learning rate after the warm-up. Default cosine.
    pub schedule: Schedule,
    /// Final learning rate of cosine and linear schedules, as a share of the peak, 0–1. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub minimum_share: f64,
    /// Steps over which the learning rate rises from 0, 0 to `steps`. 10 (or all steps, if fewer) where neither this
    /// nor `warmup_ratio` is set; they exclude each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u32>,
    /// The same as a share of all steps, 0–1, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// AdamW's weight decay of matrices (not of biases and norms), 0–1. Default 0.01.
    pub weight_decay: f64,
    /// Other coefficients of AdamW.
    #[serde(skip_serializing_if = "is_default")]
    pub adam: Adam,
    /// Maximum norm of the gradient of all parameters, to which larger ones are scaled down, 0–1 000 000; 0 disables
    /// clipping. Default 1.
    pub clip_norm: f64,
    /// Tokens per sequence, 8–131 072, at most the model's context. Default 128.
    pub sequence_length: u32,
    /// Whether several samples share a row without attending to each other, which avoids padding. Each epoch uses
    /// every sample once, as with `epochs`. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub packing: bool,
    /// Precision of the computation. Default 32-bit.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Share of the dataset held out for evaluation, 0–0.5; 0 disables evaluation. Default 0.05.
    pub eval_fraction: f64,
    /// Steps between evaluations; 0 evaluates at the start and the end only. Default 50.
    pub eval_every: u32,
    /// Ends the training when evaluations stop improving; requires evaluations. Default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Whether the result is the state with the best evaluation instead of the last; requires evaluations. Default
    /// false.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_best: bool,
    /// Steps between checkpoints, at least 1. Default 50.
    pub checkpoint_every: u32,
    /// Seed of all random numbers, 0 to 2⁵³ − 1 (which every JSON reader represents exactly). Default 42.
    pub seed: u64,
    /// Prompt of generated samples, at most 4000 bytes; empty disables samples. For a dataset of chats it is a user's
    /// question. Default empty.
    pub sample_prompt: String,
    /// Maximum length of a sample in tokens, 0–1024; 0 disables samples. Default 64.
    pub sample_tokens: u32,
    /// Steps between samples; 0 generates them before and after the training only. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub sample_every: u32,
}

/// Schedule of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Constant.
    Constant,
    /// Half a cosine wave, down to [`Hyperparameters::minimum_share`] of the peak.
    #[default]
    Cosine,
    /// Linear, down to [`Hyperparameters::minimum_share`] of the peak.
    Linear,
}

/// Coefficients of AdamW (arXiv:1711.05101).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Decay rate of the first moment, 0 to below 1. Default 0.9.
    pub beta_1: f64,
    /// Decay rate of the second moment, 0 to below 1. Default 0.999.
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

/// When a training ends early.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Consecutive evaluations without improvement, 1–1000.
    pub patience: u32,
    /// Minimum improvement over the best evaluation in nats, 0–10. Default 0.
    #[serde(default)]
    pub min_delta: f64,
}

/// Precision of the computation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Frozen base and activations in bfloat16, trained parameters and optimizer in 32-bit floats; CUDA only.
    Bf16,
}

impl Precision {
    /// Type of a frozen base and of activations.
    #[must_use]
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }
}

/// Number of steps of a training with a known dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// All steps, at least 1.
    pub total: u32,
    /// Warm-up steps among them.
    pub warmup: u32,
}

impl Hyperparameters {
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
            // The cast saturates; at least one step.
            (steps as u32).clamp(1, MAX_STEPS)
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
        let hyperparameters = Hyperparameters {
            epochs: Some(1.5),
            warmup_ratio: Some(0.1),
            batch_size: 4,
            gradient_accumulation: 2,
            ..Hyperparameters::default()
        };
        assert_eq!(
            hyperparameters.steps_for_dataset(100),
            Steps { total: 19, warmup: 2 }
        );
        assert_eq!(
            hyperparameters.steps_for_dataset(1),
            Steps { total: 1, warmup: 1 }
        );
        assert_eq!(hyperparameters.steps_for_dataset(u64::MAX).total, MAX_STEPS);
        let defaults = Hyperparameters::default();
        assert_eq!(
            defaults.steps_for_dataset(100),
            Steps {
                total: 200,
                warmup: 10
            }
        );
        let short = Hyperparameters {
            steps: Some(3),
            ..defaults
        };
        assert_eq!(short.steps_for_dataset(100), Steps { total: 3, warmup: 3 });
    }
}
