//! The job itself: its facts and the state they fold into.
//!
//! `QUEUED → STARTING → RUNNING → COMPLETED | FAILED | CANCELLED`; a lost worker sends it back to `QUEUED`
//! with its checkpoint. Attempts are numbered; the number is the fencing token: what an older attempt
//! reports is refused (JB-4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::TrainingSpec;
use crate::{
    aggregate::{Aggregate, Event},
    authz::Resource,
    datasets::format::Format,
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId, WorkerId},
    models::model::ModelVersionRef,
    personal::{KindFields, Subject},
};

/// Where a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    #[default]
    Queued,
    /// A worker has it and prepares.
    Starting,
    /// It trains.
    Running,
    /// It ended with a model.
    Completed,
    /// It ended with an error.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl JobState {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a worker has it.
    #[must_use]
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

/// The dataset version that a job trains on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetUse {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// What they are.
    pub format: Format,
}

/// The base model version that a job trains on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseUse {
    /// The version.
    #[serde(flatten)]
    pub version: ModelVersionRef,
    /// Hash over its files.
    pub sha256: String,
    /// Where they lie in the object store.
    pub artifact: String,
}

/// Everything that was fixed when the job was queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Who started it.
    pub owner: UserId,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// The project of the experiment.
    pub project: ProjectId,
    /// What it trains on.
    pub dataset: DatasetUse,
    /// What it starts from; `None` for `scratch`.
    pub base: Option<BaseUse>,
    /// The model that will be registered.
    pub model: ModelId,
    /// What it does.
    pub spec: TrainingSpec,
    /// After how many lost workers it is given up.
    pub max_attempts: u32,
}

/// A saved state that training can go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// After this many steps.
    pub step: u32,
    /// Where it lies, relative to the jobs folder of the workers.
    pub location: String,
    /// Hash over its files.
    pub sha256: String,
}

/// A job.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// What was ordered, once queued.
    pub order: Option<Order>,
    /// Where it stands.
    pub state: JobState,
    /// The number of the latest attempt; 0 before the first.
    pub attempt: u32,
    /// The worker of the latest attempt.
    pub worker: Option<WorkerId>,
    /// How many attempts ended in a way that counts against the job.
    pub losses: u32,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
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
    /// The worker was lost or gave up; the job is queued again.
    #[serde(rename = "jobs.JobInterrupted")]
    Interrupted {
        /// The attempt that ended.
        attempt: u32,
        /// Why.
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
        /// What happened and what to do.
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
            "spec.parameters.steps",
            "spec.parameters.batch_size",
            "spec.parameters.gradient_accumulation",
            "spec.parameters.learning_rate",
            "spec.parameters.schedule",
            "spec.parameters.warmup_steps",
            "spec.parameters.weight_decay",
            "spec.parameters.clip_norm",
            "spec.parameters.sequence_length",
            "spec.parameters.evaluation_share",
            "spec.parameters.evaluate_every",
            "spec.parameters.checkpoint_every",
            "spec.parameters.seed",
            "spec.parameters.sample_prompt",
            "spec.parameters.sample_tokens",
        ]),
        KindFields::of("jobs.JobLeased", Subject::Nobody).plain(&["attempt", "worker", "worker_name"]),
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
    ];
}

impl Aggregate for Job {
    const CATEGORY: &'static str = "jobs.job";
    type Event = JobEvent;

    fn evolve(&mut self, event: &JobEvent) {
        match event {
            JobEvent::Queued(order) => self.order = Some(order.as_ref().clone()),
            JobEvent::Leased { attempt, worker, .. } => {
                self.state = JobState::Starting;
                self.attempt = *attempt;
                self.worker = Some(*worker);
            }
            JobEvent::Started { .. } => self.state = JobState::Running,
            JobEvent::CheckpointSaved { checkpoint, .. } => self.checkpoint = Some(checkpoint.clone()),
            JobEvent::Interrupted { counts, .. } => {
                self.state = JobState::Queued;
                self.worker = None;
                self.losses += u32::from(*counts);
            }
            JobEvent::Completed { .. } => self.state = JobState::Completed,
            JobEvent::Failed { .. } => self.state = JobState::Failed,
            JobEvent::Cancelled { .. } => self.state = JobState::Cancelled,
        }
    }
}

impl Job {
    /// What the access decision needs to know of it.
    #[must_use]
    pub fn resource(&self, id: JobId) -> Resource {
        let worker = self.worker.filter(|_| self.state.is_leased());
        Resource::of(id, self.order.as_ref().map(|order| order.owner)).leased_to(worker)
    }
}
