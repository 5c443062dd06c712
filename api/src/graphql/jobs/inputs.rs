//! What clients send to start and change jobs, and what comes back.

use async_graphql::{Enum, ID, InputObject, OneofObject, SimpleObject};
use domain::jobs::{
    job::RestartFrom,
    spec::{self, HyperParameters},
    terms::Terms,
};

use super::{
    estimate::JobEstimate,
    types::{Job, JobsErrorCode},
};
use crate::graphql::{fault::Fault, scalars::Long};

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
    /// Which layers get adapters: of `c_attn`, `c_proj`, `c_fc`.
    #[graphql(default_with = "vec![\"c_attn\".to_owned()]")]
    pub target_modules: Vec<String>,
}

/// How weights are trained: exactly one of these.
#[derive(OneofObject)]
pub enum MethodInput {
    /// A new model with a tokenizer, both made from the dataset.
    Scratch(ScratchInput),
    /// An adapter on a base model.
    Lora(LoraInput),
}

/// How the learning rate moves after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls in a straight line to 0.
    Linear,
    /// Falls along half a cosine to 0.
    Cosine,
}

/// Hyper-parameters. What is not given takes the default.
#[derive(Default, InputObject)]
pub struct HyperParametersInput {
    /// Optimiser steps, from 1; 200 if not given.
    pub steps: Option<u32>,
    /// Sequences per micro-batch, 1 to 1,024; 8 if not given.
    pub batch_size: Option<u32>,
    /// Micro-batches per step, 1 to 1,024; 1 if not given.
    pub gradient_accumulation: Option<u32>,
    /// Peak learning rate, above 0, at most 1; 0.001 if not given.
    pub learning_rate: Option<f64>,
    /// How the rate moves; along a cosine if not given.
    pub schedule: Option<Schedule>,
    /// Steps of linear warm-up, fewer than steps; 10 if not given.
    pub warmup_steps: Option<u32>,
    /// Decoupled weight decay, 0 to 1; 0.01 if not given.
    pub weight_decay: Option<f64>,
    /// The global gradient norm is cut to this, above 0; 1 if not given.
    pub clip_norm: Option<f64>,
    /// Tokens per sequence, 8 to 4,096, at most the context; 128 if not given.
    pub sequence_length: Option<u32>,
    /// Share of the data held back for evaluation, 0 to 0.5; 0.05 if not given.
    pub evaluation_share: Option<f64>,
    /// Steps between evaluations, 0 for only at the end; 50 if not given.
    pub evaluate_every: Option<u32>,
    /// Steps between checkpoints, from 1; 50 if not given.
    pub checkpoint_every: Option<u32>,
    /// Seed of everything random, below 2^53; 1 if not given.
    pub seed: Option<Long>,
    /// Prompt of the samples before and after, at most 1,000 characters.
    pub sample_prompt: Option<String>,
    /// Tokens of each sample, 0 to 512; 64 if not given.
    pub sample_tokens: Option<u32>,
}

impl From<HyperParametersInput> for HyperParameters {
    fn from(given: HyperParametersInput) -> Self {
        given.over(Self::default())
    }
}

impl HyperParametersInput {
    /// What is given here, and `default` for the rest.
    #[must_use]
    pub fn over(self, default: HyperParameters) -> HyperParameters {
        let given = self;
        HyperParameters {
            steps: given.steps.unwrap_or(default.steps),
            batch_size: given.batch_size.unwrap_or(default.batch_size),
            gradient_accumulation: given
                .gradient_accumulation
                .unwrap_or(default.gradient_accumulation),
            learning_rate: given.learning_rate.unwrap_or(default.learning_rate),
            schedule: match given.schedule {
                Some(Schedule::Constant) => spec::Schedule::Constant,
                Some(Schedule::Linear) => spec::Schedule::Linear,
                Some(Schedule::Cosine) => spec::Schedule::Cosine,
                None => default.schedule,
            },
            warmup_steps: given.warmup_steps.unwrap_or(default.warmup_steps),
            weight_decay: given.weight_decay.unwrap_or(default.weight_decay),
            clip_norm: given.clip_norm.unwrap_or(default.clip_norm),
            sequence_length: given.sequence_length.unwrap_or(default.sequence_length),
            evaluation_share: given.evaluation_share.unwrap_or(default.evaluation_share),
            evaluate_every: given.evaluate_every.unwrap_or(default.evaluate_every),
            checkpoint_every: given.checkpoint_every.unwrap_or(default.checkpoint_every),
            seed: given.seed.map_or(default.seed, |seed| seed.0),
            sample_prompt: given.sample_prompt.unwrap_or(default.sample_prompt),
            sample_tokens: given.sample_tokens.unwrap_or(default.sample_tokens),
        }
    }
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
    /// Hyper-parameters.
    #[graphql(default)]
    pub parameters: HyperParametersInput,
    /// When and where it may run.
    #[graphql(default)]
    pub terms: JobTermsInput,
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
    pub user_errors: Vec<Fault<JobsErrorCode>>,
}

impl JobPayload {
    pub(super) fn wrong(user_errors: Vec<Fault<JobsErrorCode>>) -> Self {
        Self {
            job: None,
            position: None,
            estimate: None,
            user_errors,
        }
    }
}
