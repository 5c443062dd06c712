//! The specification of a training, as the server stores it and passes it to the engine.
//!
//! Rule: a specification is plain JSON in which every field has a unit, a range and, where sensible, a default;
//! unknown fields are rejected, and [`TrainingSpec::validate`] reports every problem at once. Fields that were added
//! later are omitted while they have their default, so old specifications decode and encode unchanged.

mod adapter;
mod hyperparameters;
mod objective;
mod validate;

pub use adapter::{ALL_LINEAR, LoraBias, LoraSettings};
pub use hyperparameters::{Adam, EarlyStopping, Hyperparameters, MAX_STEPS, Precision, Schedule, Steps};
pub use objective::{ChatTemplate, Learn, Objective};
use serde::{Deserialize, Serialize};
pub use validate::Problem;

/// A training, without its data and its base model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// What is trained.
    pub method: Method,
    /// Architecture of the new model; required for [`Method::Scratch`], forbidden otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Settings of the adapter; required for [`Method::Lora`], forbidden otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
    /// Which tokens contribute to the loss, and how conversations are formatted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: Objective,
    /// Hyperparameters; each has a default.
    #[serde(default)]
    pub hyperparameters: Hyperparameters,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A new GPT-2 with a new tokenizer, both trained on the dataset.
    Scratch,
    /// A low-rank adapter (LoRA, arXiv:2106.09685) on a frozen base model.
    Lora,
    /// All weights of a base model.
    Full,
}

impl Method {
    /// Whether it starts from a base model.
    #[must_use]
    pub fn needs_base(self) -> bool {
        self != Self::Scratch
    }
}

/// Architecture of a GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Transformer blocks, 1–48.
    pub layers: u32,
    /// Attention heads of each block, 1–64; divides `width`.
    pub heads: u32,
    /// Width of the hidden states, 8–4096.
    pub width: u32,
    /// Context length in tokens, 8–4096; at least the sequence length.
    pub context: u32,
    /// Tokens of the tokenizer, 257–65536: 256 bytes, the end-of-text token, and merges.
    pub vocab_size: u32,
}

/// Whether a value equals its default.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
