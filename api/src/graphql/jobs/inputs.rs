//! What clients send to start and change jobs, and what comes back.

use async_graphql::{Enum, ID, InputObject, OneofObject, SimpleObject};
use domain::{
    event_store::Position,
    jobs::{job::RestartFrom, requirements::JobRequirements, spec::Outputs},
};
use uuid::Uuid;

use super::{
    Job,
    estimate::JobEstimate,
    settings::{HyperParametersInput, LoraBias, ObjectiveInput},
};
use crate::graphql::{mutation::Payload, scalars::Long, user_error::UserError};

/// Architecture of a new GPT-2 model.
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
    /// Context length, 16 to 4,096 tokens.
    #[graphql(default = 128)]
    pub context: u32,
    /// Vocabulary size, 260 to 65,536 tokens.
    #[graphql(default = 2048)]
    pub vocabulary: u32,
}

/// A low-rank adapter on a base model.
#[derive(InputObject)]
pub struct LoraInput {
    /// The base model.
    pub base_model_id: ID,
    /// Version; the newest if omitted.
    pub base_model_version: Option<u32>,
    /// LoRA rank, 1 to 256.
    #[graphql(default = 8)]
    pub rank: u32,
    /// LoRA alpha: updates are scaled by `alpha / rank`; above 0, at most 1,024.
    #[graphql(default = 16.0)]
    pub alpha: f64,
    /// LoRA dropout, 0 to below 1.
    #[graphql(default = 0.0)]
    pub dropout: f64,
    /// Which layers get adapters, by the names of the base model (GPT-2: `c_attn`, `c_proj`, `c_fc`; Llama:
    /// `q_proj`, `down_proj` and so on), or `all-linear` alone.
    #[graphql(default_with = "vec![\"c_attn\".to_owned()]")]
    pub target_modules: Vec<String>,
    /// Whether updates are scaled by `alpha / √rank` instead (rsLoRA).
    #[graphql(default = false)]
    pub use_rslora: bool,
    /// Which biases of the base model are trained.
    #[graphql(default_with = "LoraBias::None")]
    pub bias: LoraBias,
    /// Modules of the base model that are fully trained and saved with the adapter, such as `lm_head`.
    #[graphql(default)]
    pub modules_to_save: Vec<String>,
}

/// Full fine-tuning of a base model.
#[derive(InputObject)]
pub struct FullInput {
    /// The base model.
    pub base_model_id: ID,
    /// Version; the newest if omitted.
    pub base_model_version: Option<u32>,
}

/// Training method: exactly one of these.
#[derive(OneofObject)]
pub enum MethodInput {
    /// A new model, trained from scratch with a new tokenizer.
    Scratch(ScratchInput),
    /// An adapter on a base model.
    Lora(LoraInput),
    /// Full fine-tuning of a base model.
    Full(FullInput),
}

/// A new job.
#[derive(InputObject)]
pub struct StartJobInput {
    /// 1 to 100 characters; the model gets the same name.
    pub name: String,
    /// The experiment.
    pub experiment_id: ID,
    /// The dataset.
    pub dataset_id: ID,
    /// The version of the dataset; the newest if omitted.
    pub dataset_version: Option<u32>,
    /// Training method.
    pub method: MethodInput,
    /// Training objective.
    #[graphql(default)]
    pub objective: ObjectiveInput,
    /// Hyperparameters.
    #[graphql(default)]
    pub parameters: HyperParametersInput,
    /// Additional outputs.
    #[graphql(default)]
    pub outputs: JobOutputsInput,
    /// Scheduling requirements.
    #[graphql(default)]
    pub requirements: JobRequirementsInput,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// Additional outputs of a job. Omitted fields take their defaults.
#[derive(Default, InputObject)]
pub struct JobOutputsInput {
    /// Whether to also store the base model with the adapter merged into it, in Hugging Face layout; default false.
    /// For method `lora` only. It is as large as the base model and counts against the storage quota.
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

/// Scheduling requirements of a job. Omitted fields take their defaults.
#[derive(Default, InputObject)]
pub struct JobRequirementsInput {
    /// -10 to 10; default 0. Higher runs first; above 0 requires the permission `training.advanced`.
    pub priority: Option<i32>,
    /// Required worker labels, such as `cuda`; default none.
    pub labels: Option<Vec<String>>,
    /// Required worker memory in bytes; default the estimate.
    pub memory_bytes: Option<Long>,
    /// Maximum worker seconds over all attempts; then the job fails and keeps its checkpoint. Default the system's
    /// limit.
    pub max_run_seconds: Option<u32>,
}

impl JobRequirementsInput {
    /// What is given here, and `default` for the rest.
    #[must_use]
    pub fn over(self, default: JobRequirements) -> JobRequirements {
        // A number that does not fit is out of range either way.
        let far = |priority: i32| i8::try_from(priority).unwrap_or(i8::MAX);
        JobRequirements {
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

/// Pauses a job.
#[derive(InputObject)]
pub struct PauseJobInput {
    /// The job.
    pub job_id: ID,
    /// Reason, at most 500 characters; recorded in the log.
    #[graphql(default)]
    pub reason: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

/// Resumes a paused job.
#[derive(InputObject)]
pub struct ResumeJobInput {
    /// The job.
    pub job_id: ID,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

/// Where a restarted job resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RestartPoint {
    /// From its newest checkpoint.
    Checkpoint,
    /// From the beginning; existing checkpoints are ignored.
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

/// Restarts a failed or cancelled job.
#[derive(InputObject)]
pub struct RestartJobInput {
    /// The job.
    pub job_id: ID,
    /// Where it resumes.
    pub from: RestartPoint,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

/// Clones a job.
#[derive(InputObject)]
pub struct CloneJobInput {
    /// The source job: its dataset version, base model version, experiment, method, hyperparameters and requirements are
    /// copied.
    pub job_id: ID,
    /// Name; the source job's if omitted.
    pub name: Option<String>,
    /// The experiment; the source job's if omitted.
    pub experiment_id: Option<ID>,
    /// Hyperparameter overrides; omitted fields are copied from the source job.
    #[graphql(default)]
    pub parameters: HyperParametersInput,
    /// Output overrides; omitted fields are copied from the source job.
    #[graphql(default)]
    pub outputs: JobOutputsInput,
    /// Requirement overrides; omitted fields are copied from the source job.
    #[graphql(default)]
    pub requirements: JobRequirementsInput,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// Changes a job's priority.
#[derive(InputObject)]
pub struct ChangeJobPriorityInput {
    /// The job.
    pub job_id: ID,
    /// -10 to 10; higher runs first. Raising it above 0 requires the permission `training.advanced`.
    pub priority: i32,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

/// Cancels a job.
#[derive(InputObject)]
pub struct CancelJobInput {
    /// The job.
    pub job_id: ID,
    /// Reason, at most 500 characters; recorded in the log.
    #[graphql(default)]
    pub reason: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

/// Payload of job mutations.
#[derive(SimpleObject)]
pub struct JobPayload {
    /// The job; null on error.
    pub job: Option<Job>,
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Estimated resources; null if no job was created, or if unknown.
    pub estimate: Option<JobEstimate>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

impl Payload for JobPayload {
    type Entity = Job;
    const SHOWN: &'static str = "job";

    fn of(job: Option<Job>, position: Option<Position>, user_errors: Vec<UserError>) -> Self {
        Self {
            job,
            position: position.map(Into::into),
            estimate: None,
            user_errors,
        }
    }
}
