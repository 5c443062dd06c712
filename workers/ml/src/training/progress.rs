//! The state of a training besides its tensors, as checkpoints store it (`state.json`).
//!
//! Rule: the JSON names of fields never change; a new field has a default.

use serde::{Deserialize, Serialize};

/// An evaluation on the held-out data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps completed before it.
    pub step: u32,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// State of a training besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Completed steps.
    pub step: u32,
    /// Sequences drawn from the corpus: the position in the data.
    pub sequences: u64,
    /// Tokens processed.
    pub tokens: u64,
    /// The seed; together with the step it determines every random number.
    pub seed: u64,
    /// SHA-256 over the specification, the dataset and the base model.
    pub fingerprint: String,
    /// Loss of the last step; `None` before the first.
    pub loss: Option<f64>,
    /// All evaluations.
    pub evaluations: Vec<Evaluation>,
    /// The best of them; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Evaluation>,
    /// Evaluations since the last one that improved on the best by at least early stopping's `min_delta`.
    #[serde(rename = "without_progress", default, skip_serializing_if = "is_zero")]
    pub evaluations_since_best: u32,
    /// Whether early stopping has ended the training.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped_early: bool,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
