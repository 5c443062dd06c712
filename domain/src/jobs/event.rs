//! The facts of a job, in the words of the log.
//!
//! One rule: every fact of an attempt names the attempt, and none follows the attempt's end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::job::{Checkpoint, Order};
use crate::{
    aggregate::Event,
    id::{ProjectId, UserId, WorkerId},
    models::model::ModelVersionRef,
    personal::{KindFields, Subject},
};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Where a job begins that is queued again after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartFrom {
    /// From its newest checkpoint.
    #[default]
    Checkpoint,
    /// From the beginning; its checkpoints are not looked at any more.
    Scratch,
}

/// Facts about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum JobEvent {
    /// It was ordered.
    #[serde(rename = "jobs.JobQueued")]
    Queued(Box<Order>),
    /// A worker took it.
    #[serde(rename = "jobs.JobLeased")]
    Leased {
        /// Number of the attempt, from 1: the fencing token.
        attempt: u32,
        /// The worker.
        worker: WorkerId,
        /// Its name: host and device.
        worker_name: String,
        /// When, by the clock of the process that decided; `None` in facts that earlier builds recorded.
        #[serde(
            default,
            with = "time::serde::rfc3339::option",
            skip_serializing_if = "Option::is_none"
        )]
        leased_at: Option<OffsetDateTime>,
        /// Whether it computes on a GPU.
        #[serde(default, skip_serializing_if = "is_false")]
        gpu: bool,
    },
    /// Training began, or went on from a checkpoint.
    #[serde(rename = "jobs.JobStarted")]
    Started {
        /// The attempt.
        attempt: u32,
        /// Steps already done in earlier attempts.
        from_step: u32,
        /// Steps in all.
        total_steps: u32,
        /// Trained parameters.
        trained_parameters: u64,
    },
    /// Its state was saved.
    #[serde(rename = "jobs.CheckpointSaved")]
    CheckpointSaved {
        /// The attempt.
        attempt: u32,
        /// What was saved.
        #[serde(flatten)]
        checkpoint: Checkpoint,
    },
    /// Somebody wants a job paused that a worker has; the worker saves its state and gives it back.
    #[serde(rename = "jobs.JobPauseRequested")]
    PauseRequested {
        /// The attempt that is under way.
        attempt: u32,
        /// Why, in the words of who asked.
        reason: String,
    },
    /// It has no worker and waits for nobody but whoever resumes it.
    #[serde(rename = "jobs.JobPaused")]
    Paused {
        /// The latest attempt; 0 when it was paused before the first.
        attempt: u32,
        /// Why, in the words of who asked.
        reason: String,
    },
    /// It waits for a worker again; or, while a pause was under way, that is withdrawn.
    #[serde(rename = "jobs.JobResumed")]
    Resumed {
        /// The latest attempt.
        attempt: u32,
    },
    /// After its end it was queued again. Attempts are numbered on, and its retry budget and run time begin
    /// anew.
    #[serde(rename = "jobs.JobRestarted")]
    Restarted {
        /// The latest attempt before.
        attempt: u32,
        /// Where the next attempt begins.
        from: RestartFrom,
    },
    /// It waits before or after others than until now.
    #[serde(rename = "jobs.JobPriorityChanged")]
    PriorityChanged {
        /// From now on.
        priority: i8,
    },
    /// How long an attempt had its worker: recorded with the attempt's end, before it.
    #[serde(rename = "jobs.WorkerTimeMetered")]
    Metered {
        /// The attempt.
        attempt: u32,
        /// The worker.
        worker: WorkerId,
        /// The owner of the job.
        owner: UserId,
        /// The project of the job.
        project: ProjectId,
        /// From the lease to the end of the attempt, by the clocks of the processes that decided them.
        milliseconds: u64,
        /// Whether it was a GPU.
        gpu: bool,
    },
    /// The worker was lost or gave up; the job is queued again.
    #[serde(rename = "jobs.JobInterrupted")]
    Interrupted {
        /// The attempt that ended.
        attempt: u32,
        /// The reason.
        cause: String,
        /// Whether it counts against the attempts: not when a worker drains.
        counts: bool,
    },
    /// It ended with a model.
    #[serde(rename = "jobs.JobCompleted")]
    Completed {
        /// The attempt.
        attempt: u32,
        /// The model version that came of it.
        model: ModelVersionRef,
        /// Its metrics: names and values, as decimal text.
        metrics: BTreeMap<String, String>,
    },
    /// It ended with an error.
    #[serde(rename = "jobs.JobFailed")]
    Failed {
        /// The attempt; 0 when it failed before the first.
        attempt: u32,
        /// A stable code.
        code: String,
        /// The error, with its remedy.
        message: String,
    },
    /// Somebody ended it.
    #[serde(rename = "jobs.JobCancelled")]
    Cancelled {
        /// The attempt that was under way, if any.
        attempt: u32,
        /// Why, in the words of who did it.
        reason: String,
    },
}

impl Event for JobEvent {
    const FIELDS: &'static [KindFields] = &[
        KindFields::of("jobs.JobQueued", Subject::Field("owner")).plain(&[
            "job",
            "name",
            "owner",
            "experiment",
            "project",
            "dataset.dataset",
            "dataset.version",
            "dataset.sha256",
            "dataset.format",
            "base",
            "base.model",
            "base.version",
            "base.sha256",
            "base.artifact",
            "model",
            "max_attempts",
            "terms.priority",
            "terms.labels[]",
            "terms.memory_bytes",
            "terms.max_run_seconds",
            "terms.engine",
            "cloned_from",
            "spec.method.method",
            "spec.method.layers",
            "spec.method.heads",
            "spec.method.width",
            "spec.method.context",
            "spec.method.vocabulary",
            "spec.method.rank",
            "spec.method.alpha",
            "spec.method.dropout",
            "spec.method.target_modules[]",
            "spec.method.use_rslora",
            "spec.method.bias",
            "spec.method.modules_to_save[]",
            "spec.objective.learn",
            "spec.objective.chat_template",
            "spec.objective.chat_template.named",
            "spec.objective.chat_template.custom",
            "spec.parameters.steps",
            "spec.parameters.epochs",
            "spec.parameters.batch_size",
            "spec.parameters.gradient_accumulation",
            "spec.parameters.learning_rate",
            "spec.parameters.schedule",
            "spec.parameters.minimum_share",
            "spec.parameters.warmup_steps",
            "spec.parameters.warmup_ratio",
            "spec.parameters.weight_decay",
            "spec.parameters.adam.beta_1",
            "spec.parameters.adam.beta_2",
            "spec.parameters.adam.epsilon",
            "spec.parameters.clip_norm",
            "spec.parameters.sequence_length",
            "spec.parameters.packing",
            "spec.parameters.precision",
            "spec.parameters.evaluation_share",
            "spec.parameters.evaluate_every",
            "spec.parameters.early_stopping.patience",
            "spec.parameters.early_stopping.min_delta",
            "spec.parameters.keep_best",
            "spec.parameters.checkpoint_every",
            "spec.parameters.seed",
            "spec.parameters.sample_prompt",
            "spec.parameters.sample_tokens",
            "spec.parameters.sample_every",
            "spec.outputs.merged",
        ]),
        KindFields::of("jobs.JobLeased", Subject::Nobody).plain(&[
            "attempt",
            "worker",
            "worker_name",
            "leased_at",
            "gpu",
        ]),
        KindFields::of("jobs.JobStarted", Subject::Nobody).plain(&[
            "attempt",
            "from_step",
            "total_steps",
            "trained_parameters",
        ]),
        KindFields::of("jobs.CheckpointSaved", Subject::Nobody)
            .plain(&["attempt", "step", "location", "sha256"]),
        KindFields::of("jobs.JobInterrupted", Subject::Nobody).plain(&["attempt", "cause", "counts"]),
        KindFields::of("jobs.JobCompleted", Subject::Nobody).plain(&[
            "attempt",
            "model.model",
            "model.version",
            "metrics.*",
        ]),
        KindFields::of("jobs.JobFailed", Subject::Nobody).plain(&["attempt", "code", "message"]),
        KindFields::of("jobs.JobCancelled", Subject::Actor).plain(&["attempt", "reason"]),
        KindFields::of("jobs.JobPauseRequested", Subject::Actor).plain(&["attempt", "reason"]),
        KindFields::of("jobs.JobPaused", Subject::Actor).plain(&["attempt", "reason"]),
        KindFields::of("jobs.JobResumed", Subject::Actor).plain(&["attempt"]),
        KindFields::of("jobs.JobRestarted", Subject::Actor).plain(&["attempt", "from"]),
        KindFields::of("jobs.JobPriorityChanged", Subject::Actor).plain(&["priority"]),
        KindFields::of("jobs.WorkerTimeMetered", Subject::Field("owner")).plain(&[
            "attempt",
            "worker",
            "owner",
            "project",
            "milliseconds",
            "gpu",
        ]),
    ];
}
