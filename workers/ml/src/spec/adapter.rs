//! Settings of a LoRA adapter.
//!
//! Rule: fields that earlier versions did not have are omitted from the JSON while they have their default, so old
//! specifications keep their bytes.

use serde::{Deserialize, Serialize};

use super::is_default;

/// The name in [`LoraSettings::target_modules`] that stands for every linear layer except the output matrix.
pub const ALL_LINEAR: &str = "all-linear";

/// Settings of a LoRA adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of the update of each matrix, 1–256. Default 8.
    pub rank: u32,
    /// The update is scaled by alpha / rank; above 0, at most 1024. Default 16.
    pub alpha: f64,
    /// Probability that an input of an update is dropped in training, 0 to below 1. Default 0.
    pub dropout: f64,
    /// Linear layers with an update, as in PEFT: the full name within a block (`attn.c_attn`, `self_attn.q_proj`),
    /// its suffix after a dot (`c_attn`, `q_proj`), or [`ALL_LINEAR`] alone. The names depend on the base model;
    /// unknown ones are rejected when it is loaded. Default `["c_attn"]`.
    pub target_modules: Vec<String>,
    /// Whether the update is scaled by alpha / √rank instead (rsLoRA, arXiv:2312.03732). Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub use_rslora: bool,
    /// Which biases of the base are trained too. Default none.
    #[serde(skip_serializing_if = "is_default")]
    pub bias: LoraBias,
    /// Modules of the base that are copied, trained in full and saved with the adapter, as in PEFT (`wte`, `lm_head`,
    /// `ln_f`). Unknown ones are rejected when the base is loaded. Default none.
    #[serde(skip_serializing_if = "is_default")]
    pub modules_to_save: Vec<String>,
}

/// Which biases of the base are trained with an adapter, in PEFT's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None.
    #[default]
    None,
    /// All biases.
    All,
    /// The biases of layers with an update.
    LoraOnly,
}

impl Default for LoraSettings {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: vec!["c_attn".to_owned()],
            use_rslora: false,
            bias: LoraBias::None,
            modules_to_save: Vec::new(),
        }
    }
}
