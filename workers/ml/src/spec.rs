//! What to train and how: the specification as the server stores it and hands it to the engine.
//!
//! Rule: a specification is plain JSON in which every field has a unit, a range and (where one is sensible)
//! a default; an unknown field is refused, and [`TrainingSpec::validate`] names every problem at once.

mod validate;

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
}

/// The shape of a GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Transformer blocks, 1–48.
    pub layers: u32,
    /// Attention heads of each block, 1–64; divides `width`.
    pub heads: u32,
    /// Numbers per token between the blocks, 8–2048.
    pub width: u32,
    /// Longest text in tokens that the model can see, 8–4096; at least the sequence length.
    pub context: u32,
    /// Tokens of the tokenizer, 257–65536: 256 bytes, the end of a text, and what training merges.
    pub vocab_size: u32,
}

/// The shape of a LoRA adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of the update of each matrix, 1–256. Default 8.
    #[serde(default = "default_rank")]
    pub rank: u32,
    /// The update is scaled by alpha / rank; above 0, at most 1024. Default 16.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// Share of an adapter's inputs dropped while training, 0 to below 1. Default 0.
    #[serde(default)]
    pub dropout: f64,
    /// Which matrices get an update, as PEFT names them: `c_attn`, `c_proj`, `c_fc`, or one of
    /// `attn.c_attn`, `attn.c_proj`, `mlp.c_fc`, `mlp.c_proj`. Default `["c_attn"]`.
    #[serde(default = "default_targets")]
    pub target_modules: Vec<String>,
}

/// How the training goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperparameters {
    /// Updates of the parameters, 1–1 000 000. Default 200.
    pub steps: u32,
    /// Sequences of one micro-batch, 1–1024. Default 8.
    pub batch_size: u32,
    /// Micro-batches averaged into one update, 1–1024. Default 1.
    pub gradient_accumulation: u32,
    /// Highest learning rate, above 0, at most 1. Default 0.001.
    pub learning_rate: f64,
    /// How the learning rate falls after the warm-up. Default cosine.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0, 0 to `steps`. Default 10.
    pub warmup_steps: u32,
    /// AdamW's decay of matrices (not of biases and norms) per step and learning rate, 0–1. Default 0.01.
    pub weight_decay: f64,
    /// The gradient is scaled down to this norm over all parameters, 0–1000; 0 is off. Default 1.
    pub clip_norm: f64,
    /// Tokens of a sequence, 8–4096. Default 128.
    pub sequence_length: u32,
    /// Share of the dataset held out for evaluation, 0–0.5; 0 is no evaluation. Default 0.05.
    pub eval_fraction: f64,
    /// Steps between evaluations, 0–1 000 000; 0 is at the start and the end only. Default 50.
    pub eval_every: u32,
    /// Steps between checkpoints, 1–1 000 000. Default 50.
    pub checkpoint_every: u32,
    /// Where all random numbers come from, 0 to 2⁵³ − 1 (so that every JSON reader keeps it). Default 42.
    pub seed: u64,
    /// What the samples before and after continue, at most 4000 bytes; empty is no sample. For a dataset
    /// of chats it is the question of a user. Default empty.
    pub sample_prompt: String,
    /// Longest sample in tokens, 0–1024; 0 is no sample. Default 64.
    pub sample_tokens: u32,
}

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to 0 along half a cosine.
    #[default]
    Cosine,
    /// It falls to 0 in a straight line.
    Linear,
}

fn default_rank() -> u32 {
    8
}

fn default_alpha() -> f64 {
    16.0
}

fn default_targets() -> Vec<String> {
    vec!["c_attn".to_owned()]
}

impl Default for LoraSettings {
    fn default() -> Self {
        Self {
            rank: default_rank(),
            alpha: default_alpha(),
            dropout: 0.0,
            target_modules: default_targets(),
        }
    }
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            steps: 200,
            batch_size: 8,
            gradient_accumulation: 1,
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            warmup_steps: 10,
            weight_decay: 0.01,
            clip_norm: 1.0,
            sequence_length: 128,
            eval_fraction: 0.05,
            eval_every: 50,
            checkpoint_every: 50,
            seed: 42,
            sample_prompt: String::new(),
            sample_tokens: 64,
        }
    }
}
