//! Jobs as clients see them.

use async_graphql::{Context, Enum, ID, Json, Object, Result};
use domain::jobs::{job::JobState as State, spec::TrainingSpec};
use projections::jobs::job::JobRow;
use time::OffsetDateTime;

use crate::graphql::{
    as_of::{Moment, View},
    context::{app, unreadable},
    models::{Metric, metrics},
    scalars::Long,
};

/// Why a job was not started or changed. May grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobsErrorCode {
    /// A field does not have the right form or is out of range.
    Invalid,
    /// A quota is used up.
    QuotaExceeded,
    /// There is no such thing for the caller.
    NotFound,
    /// The base model does not fit the method.
    BaseModel,
    /// The job has already ended.
    AlreadyEnded,
}

/// Where a job stands. May grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobState {
    /// Waits for a worker.
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

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Starting => Self::Starting,
            State::Running => Self::Running,
            State::Completed => Self::Completed,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Starting => Self::Starting,
            JobState::Running => Self::Running,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A job.
pub struct Job(pub JobRow, pub View);

impl Job {
    /// A job as it stands.
    #[must_use]
    pub fn now(row: JobRow) -> Self {
        Self(row, View::NOW)
    }
}

/// A training job.
#[Object]
impl Job {
    /// Global id.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Its name; the model that comes of it has the same.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Where it stands.
    async fn state(&self) -> JobState {
        self.0.state.into()
    }
    /// `scratch`, `lora` or `full`; the list may grow.
    async fn method(&self) -> &str {
        self.0.spec.method.name()
    }
    /// All that was ordered, as it is recorded: method, objective and hyper-parameters. What is not there had its
    /// default.
    async fn specification(&self) -> Json<&TrainingSpec> {
        Json(&self.0.spec)
    }
    /// Who started it, by id.
    async fn owner_id(&self) -> ID {
        self.0.owner_id.to_string().into()
    }
    /// The project of its experiment, by id.
    async fn project_id(&self) -> ID {
        self.0.project_id.to_string().into()
    }
    /// Its experiment, by id.
    async fn experiment_id(&self) -> ID {
        self.0.experiment_id.to_string().into()
    }
    /// What it trains on, by id.
    async fn dataset_id(&self) -> ID {
        self.0.dataset_id.to_string().into()
    }
    /// The version of the dataset.
    async fn dataset_version(&self) -> i32 {
        self.0.dataset_version
    }
    /// What it starts from, by id; null when from scratch.
    async fn base_model_id(&self) -> Option<ID> {
        self.0.base_model_id.map(|id| id.to_string().into())
    }
    /// The version of the base model.
    async fn base_model_version(&self) -> Option<i32> {
        self.0.base_model_version
    }
    /// The model that comes of it, by id; readable once the job is completed.
    async fn model_id(&self) -> ID {
        self.0.model_id.to_string().into()
    }
    /// Number of the latest attempt; above 1 when a worker was lost.
    async fn attempt(&self) -> i32 {
        self.0.attempt
    }
    /// The worker that has or had it: host and device.
    async fn worker(&self) -> Option<&str> {
        self.0.worker_name.as_deref()
    }
    /// Steps done.
    async fn step(&self) -> i32 {
        self.0.step
    }
    /// Steps to do in all.
    async fn total_steps(&self) -> i32 {
        self.0.total_steps
    }
    /// Latest training loss: mean negative log-likelihood per token, in nats.
    async fn loss(&self) -> Option<f64> {
        self.0.loss
    }
    /// Latest loss on the held-out share.
    async fn evaluation_loss(&self) -> Option<f64> {
        self.0.evaluation_loss
    }
    /// Latest speed.
    async fn tokens_per_second(&self) -> Option<f64> {
        self.0.tokens_per_second
    }
    /// Estimated seconds to the end.
    async fn eta_seconds(&self) -> Option<i32> {
        self.0.eta_seconds
    }
    /// Steps that the newest checkpoint holds.
    async fn checkpoint_step(&self) -> Option<i32> {
        self.0.checkpoint_step
    }
    /// Final metrics.
    async fn metrics(&self) -> Vec<Metric> {
        metrics(&self.0.metrics)
    }
    /// Code of the failure, if it failed.
    async fn failure_code(&self) -> Option<&str> {
        self.0.failure_code.as_deref()
    }
    /// What happened and what to do, if it failed.
    async fn failure_message(&self) -> Option<&str> {
        self.0.failure_message.as_deref()
    }
    /// Jobs that wait before it; null when it does not wait.
    async fn queue_position(&self, context: &Context<'_>) -> Result<Option<i32>> {
        if self.0.state != State::Queued {
            return Ok(None);
        }
        let (pool, moment) = (&app(context)?.pool, self.1.moment);
        let before = projections::jobs::job::queue_position(pool, moment, self.0.id).await;
        Ok(Some(
            i32::try_from(before.map_err(|error| unreadable(&error))?).unwrap_or(i32::MAX),
        ))
    }
    /// When it was queued.
    async fn queued_at(&self) -> OffsetDateTime {
        self.0.queued_at
    }
    /// When training first began.
    async fn started_at(&self) -> Option<OffsetDateTime> {
        self.0.started_at
    }
    /// When it ended.
    async fn ended_at(&self) -> Option<OffsetDateTime> {
        self.0.ended_at
    }
    /// Position of the last event that this shows: follow `jobFeed` from here.
    async fn position(&self) -> Long {
        self.0.position.into()
    }
    /// The moment of the past that this shows; null for the present.
    async fn as_of(&self) -> Option<Moment> {
        self.1.shown
    }
}
