//! The shape of a LoRA adapter.
//!
//! Rule: a field that earlier versions did not know is left out of the JSON while it has its default, so that an
//! old specification keeps its bytes.

use serde::{Deserialize, Serialize};

use super::is_default;

/// The word in [`LoraSettings::target_modules`] that stands for every linear layer but the head.
pub const ALL_LINEAR: &str = "all-linear";

/// The shape of a LoRA adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of the update of each matrix, 1–256. Default 8.
    pub rank: u32,
    /// The update is scaled by alpha / rank; above 0, at most 1024. Default 16.
    pub alpha: f64,
    /// Share of an adapter's inputs dropped while training, 0 to below 1. Default 0.
    pub dropout: f64,
    /// Which matrices get an update, as PEFT names them: the whole name inside a block (`attn.c_attn`,
    /// `self_attn.q_proj`) or its end after a dot (`c_attn`, `q_proj`), or [`ALL_LINEAR`] alone. Which names
    /// there are is up to the base model; an unknown one is refused when it is loaded. Default `["c_attn"]`.
    pub target_modules: Vec<String>,
    /// Whether the update is scaled by alpha / √rank instead (rsLoRA, arXiv:2312.03732). Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub use_rslora: bool,
    /// Which biases of the base learn too. Default none.
    #[serde(skip_serializing_if = "is_default")]
    pub bias: LoraBias,
    /// Whole modules of the base that learn and are saved with the adapter, as PEFT names them (`wte`,
    /// `lm_head`, `ln_f`); each is copied. An unknown one is refused when the base is loaded. Default none.
    #[serde(skip_serializing_if = "is_default")]
    pub modules_to_save: Vec<String>,
}

/// Which biases of the base learn with an adapter, in PEFT's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None.
    #[default]
    None,
    /// Every one of the network.
    All,
    /// Those of the layers that get an update.
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
