//! What clients send to start and change jobs, and what comes back.

use async_graphql::{Enum, ID, InputObject, OneofObject, SimpleObject};
use domain::jobs::{job::RestartFrom, spec::Outputs, terms::Terms};

use super::{
    estimate::JobEstimate,
    settings::{HyperParametersInput, LoraBias, ObjectiveInput},
    types::Job,
};
use crate::graphql::{scalars::Long, user_error::UserError};

/// The shape of a new GPT-2.
#[derive(InputObject)]
pub struct ScratchInput {
    /// Transformer blocks, 1 to 48.
    #[graphql(default = 4)]
    pub layers: u32,
    /// Attention heads, 1 to 64; must divide the width.
    #[graphql(default = 4)]
    pub heads: u32,
    /// Width of the residual stream, 16 to 2,048.
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
    /// What is made besides the result.
    #[graphql(default)]
    pub outputs: JobOutputsInput,
    /// When and where it may run.
    #[graphql(default)]
    pub terms: JobTermsInput,
}

/// What a job makes besides its result. What is not given takes the default.
#[derive(Default, InputObject)]
pub struct JobOutputsInput {
    /// Whether the base model with the adapter merged into it is made too, in Hugging Face layout; false if not
    /// given. For method `lora` only. It is as large as the base, and counts against the storage quota.
    pub merged: Option<bool>,
}

impl JobOutputsInput {
    /// What is given here, and `default` for the rest.
    #[must_use]
    pub fn over(self, default: Outputs) -> Outputs {
        Outputs {
            merged: self.merged.unwrap_or(default.merged),
        }
    }
}

/// When and where a job may run. What is not given takes the default.
#[derive(Default, InputObject)]
pub struct JobTermsInput {
    /// -10 to 10; 0 if not given. Higher goes first; above 0 takes the permission `training.advanced`.
    pub priority: Option<i32>,
    /// Labels that the worker must have, as `cuda`; none if not given.
    pub labels: Option<Vec<String>>,
    /// Bytes of memory that the worker must have; what the training is estimated to need if not given.
    pub memory_bytes: Option<Long>,
    /// Seconds on workers, over all attempts, after which the job is failed with its checkpoint kept; the system's
    /// limit if not given.
    pub max_run_seconds: Option<u32>,
}

impl JobTermsInput {
    /// What is given here, and `default` for the rest.
    #[must_use]
    pub fn over(self, default: Terms) -> Terms {
        // A number that does not fit is out of range either way.
        let far = |priority: i32| i8::try_from(priority).unwrap_or(i8::MAX);
        Terms {
            priority: self.priority.map_or(default.priority, far),
            labels: self
                .labels
                .map_or(default.labels, |labels| labels.into_iter().collect()),
            memory_bytes: self.memory_bytes.map(|bytes| bytes.0).or(default.memory_bytes),
            max_run_seconds: self.max_run_seconds.or(default.max_run_seconds),
            engine: default.engine,
        }
    }
}

/// Holds a job back.
#[derive(InputObject)]
pub struct PauseJobInput {
    /// The job.
    pub job_id: ID,
    /// Why, at most 500 characters; recorded.
    #[graphql(default)]
    pub reason: String,
}

/// Puts a paused job back into the queue.
#[derive(InputObject)]
pub struct ResumeJobInput {
    /// The job.
    pub job_id: ID,
}

/// Where a restarted job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RestartPoint {
    /// At its newest checkpoint.
    Checkpoint,
    /// At the beginning; its checkpoints are not looked at any more.
    Scratch,
}

impl From<RestartPoint> for RestartFrom {
    fn from(point: RestartPoint) -> Self {
        match point {
            RestartPoint::Checkpoint => Self::Checkpoint,
            RestartPoint::Scratch => Self::Scratch,
        }
    }
}

/// Queues a job again that failed or was cancelled.
#[derive(InputObject)]
pub struct RestartJobInput {
    /// The job.
    pub job_id: ID,
    /// Where it begins.
    pub from: RestartPoint,
}

/// Queues a job after the example of another one.
#[derive(InputObject)]
pub struct CloneJobInput {
    /// The job to copy: its versions of dataset and base, its experiment, method, hyper-parameters and terms.
    pub job_id: ID,
    /// Its name; that of the first if not given.
    pub name: Option<String>,
    /// Where it belongs; as the first if not given.
    pub experiment_id: Option<ID>,
    /// Hyper-parameters that shall be others; the rest as the first has them.
    #[graphql(default)]
    pub parameters: HyperParametersInput,
    /// Outputs that shall be others; the rest as the first has them.
    #[graphql(default)]
    pub outputs: JobOutputsInput,
    /// Terms that shall be others; the rest as the first was ordered.
    #[graphql(default)]
    pub terms: JobTermsInput,
}

/// Moves a job in the queue.
#[derive(InputObject)]
pub struct ChangeJobPriorityInput {
    /// The job.
    pub job_id: ID,
    /// -10 to 10; higher goes first. To raise it above 0 takes the permission `training.advanced`.
    pub priority: i32,
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
    /// What the training is likely to need; null when no job was ordered, or it is unknown.
    pub estimate: Option<JobEstimate>,
    /// Everything that was wrong.
    pub user_errors: Vec<UserError>,
}

impl JobPayload {
    pub(super) fn wrong(user_errors: Vec<UserError>) -> Self {
        Self {
            job: None,
            position: None,
            estimate: None,
            user_errors,
        }
    }
}
