//! What clients send to start and change jobs, and what comes back.

pub use super::settings::{HyperParametersInput, LoraBias, ObjectiveInput};
use super::types::{Job, JobsErrorCode};
use crate::graphql::{fault::Fault, scalars::Long};
use async_graphql::{Enum, ID, InputObject, OneofObject, SimpleObject};

/// The shape of a new GPT-2.
#[derive(InputObject)]
pub struct ScratchInput {
    /// Transformer blocks, 1 to 48.
    #[graphql(default = 4)]
    pub layers: u32,
    /// Attention heads, 1 to 64; must divide the width.
    #[graphql(default = 4)]
    pub heads: u32,
    /// Width of the residual stream, 16 to 4,096.
    #[graphql(default = 128)]
    pub width: u32,
    /// Positions that the model can see, 16 to 4,096 tokens.
    #[graphql(default = 128)]
    pub context: u32,
    /// Size of the vocabulary, 260 to 65,536 tokens.
    #[graphql(default = 2048)]
    pub vocabulary: u32,
}

/// A low-rank adapter on a base model.
#[derive(InputObject)]
pub struct LoraInput {
    /// The base model.
    pub base_model_id: ID,
    /// Its version; the newest if not given.
    pub base_model_version: Option<u32>,
    /// Rank, 1 to 256.
    #[graphql(default = 8)]
    pub rank: u32,
    /// Updates are multiplied by `alpha / rank`; above 0, at most 1,024.
    #[graphql(default = 16.0)]
    pub alpha: f64,
    /// Share of adapter inputs dropped while training, 0 to below 1.
    #[graphql(default = 0.0)]
    pub dropout: f64,
    /// Which layers get adapters, by the names of the base model (GPT-2: `c_attn`, `c_proj`, `c_fc`; Llama:
    /// `q_proj`, `down_proj` and so on), or `all-linear` alone.
    #[graphql(default_with = "vec![\"c_attn\".to_owned()]")]
    pub target_modules: Vec<String>,
    /// Whether updates are multiplied by `alpha / √rank` instead (rsLoRA).
    #[graphql(default = false)]
    pub use_rslora: bool,
    /// Which biases of the base learn too.
    #[graphql(default_with = "LoraBias::None")]
    pub bias: LoraBias,
    /// Whole modules of the base that learn and are saved with the adapter, such as `lm_head`.
    #[graphql(default)]
    pub modules_to_save: Vec<String>,
}

/// All weights of a base model.
#[derive(InputObject)]
pub struct FullInput {
    /// The base model.
    pub base_model_id: ID,
    /// Its version; the newest if not given.
    pub base_model_version: Option<u32>,
}

/// How weights are trained: exactly one of these.
#[derive(OneofObject)]
pub enum MethodInput {
    /// A new model with a tokenizer, both made from the dataset.
    Scratch(ScratchInput),
    /// An adapter on a base model.
    Lora(LoraInput),
    /// All weights of a base model.
    Full(FullInput),
}

/// A new job.
#[derive(InputObject)]
pub struct StartJobInput {
    /// 1 to 100 characters; the model gets the same name.
    pub name: String,
    /// Where it belongs.
    pub experiment_id: ID,
    /// What it trains on.
    pub dataset_id: ID,
    /// The version of the dataset; the newest if not given.
    pub dataset_version: Option<u32>,
    /// How weights are trained.
    pub method: MethodInput,
    /// What of the samples is learnt.
    #[graphql(default)]
    pub objective: ObjectiveInput,
    /// Hyper-parameters.
    #[graphql(default)]
    pub parameters: HyperParametersInput,
}

/// Ends a job.
#[derive(InputObject)]
pub struct CancelJobInput {
    /// The job.
    pub job_id: ID,
    /// Why, at most 500 characters; recorded.
    #[graphql(default)]
    pub reason: String,
}

/// What came of a change of a job.
#[derive(SimpleObject)]
pub struct JobPayload {
    /// The job; null when nothing was done.
    pub job: Option<Job>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Vec<Fault<JobsErrorCode>>,
}

impl JobPayload {
    pub(super) fn wrong(user_errors: Vec<Fault<JobsErrorCode>>) -> Self {
        Self {
            job: None,
            position: None,
            user_errors,
        }
    }
}
