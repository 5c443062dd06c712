//! What to train and how: the specification as the server stores it and hands it to the engine.
//!
//! Rule: a specification is plain JSON in which every field has a unit, a range and (where one is sensible)
//! a default; an unknown field is refused, and [`TrainingSpec::validate`] names every problem at once. A field
//! that is added later is left out while it has its default: old specifications decode and encode unchanged.

mod adapter;
mod hyperparameters;
mod objective;
mod validate;

pub use adapter::{ALL_LINEAR, LoraBias, LoraSettings};
pub use hyperparameters::{Adam, EarlyStopping, Hyperparameters, MOST_STEPS, Precision, Schedule, Steps};
pub use objective::{ChatTemplate, Learn, Objective};
use serde::{Deserialize, Serialize};
pub use validate::Problem;

/// A whole training, apart from its data and its base model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// What is trained.
    pub method: Method,
    /// The shape of the new model; demanded for [`Method::Scratch`], forbidden otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// The shape of the adapter; demanded for [`Method::Lora`], forbidden otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
    /// What is learnt of the samples.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: Objective,
    /// How the training goes; each has a default.
    #[serde(default)]
    pub hyperparameters: Hyperparameters,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A new GPT-2 with a new tokenizer, both from the dataset.
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

/// The shape of a GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Transformer blocks, 1–48.
    pub layers: u32,
    /// Attention heads of each block, 1–64; divides `width`.
    pub heads: u32,
    /// Numbers per token between the blocks, 8–4096.
    pub width: u32,
    /// Longest text in tokens that the model can see, 8–4096; at least the sequence length.
    pub context: u32,
    /// Tokens of the tokenizer, 257–65536: 256 bytes, the end of a text, and what training merges.
    pub vocab_size: u32,
}

/// Whether a value says nothing that its absence would not say.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
