//! Jobs as clients see them.

use async_graphql::{Context, Enum, ID, Json, Object, Result};
use domain::{
    authz::Principal,
    expectation::Expectation,
    id::JobId,
    jobs::{
        job::{Job as Recorded, JobState as State},
        requirements::JobRequirements,
        spec::TrainingSpec,
    },
};
use projections::{
    history::AsOf,
    jobs::{
        job::{AttemptRow, JobRow},
        queue,
    },
};
use time::OffsetDateTime;

use crate::graphql::{
    as_of::{LogInstant, ResolvedAsOf},
    context::{app, ledger, readable},
    errors::read_failed,
    models::{Metric, metrics},
    mutation::Entity,
    scalars::Long,
};

/// State of a job. New values may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobState {
    /// It waits for a worker.
    Queued,
    /// A worker has leased it and is preparing.
    Starting,
    /// It is training.
    Running,
    /// It is paused; it still counts against the owner's concurrent jobs.
    Paused,
    /// It completed with a model.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Starting => Self::Starting,
            State::Running => Self::Running,
            State::Paused => Self::Paused,
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
            JobState::Paused => Self::Paused,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// One attempt at a job. A job has several when a worker was lost or drained, or it was paused or restarted.
pub struct JobAttempt(AttemptRow);

/// One attempt at a job, on one worker.
#[Object]
impl JobAttempt {
    /// Number, from 1; restarts continue the count.
    async fn number(&self) -> i32 {
        self.0.number
    }
    /// The worker: host and device.
    async fn worker(&self) -> &str {
        &self.0.worker
    }
    /// When the worker leased the job.
    async fn leased_at(&self) -> OffsetDateTime {
        self.0.leased_at
    }
    /// Step from which it started; null until training starts.
    async fn from_step(&self) -> Option<i32> {
        self.0.from_step
    }
    /// When it ended; null while in progress.
    async fn ended_at(&self) -> Option<OffsetDateTime> {
        self.0.ended_at
    }
    /// How it ended: `completed`, `failed`, `cancelled`, `paused` or `interrupted`. New values may be added.
    async fn end(&self) -> Option<&str> {
        self.0.end.as_deref()
    }
    /// Why it ended.
    async fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
    /// Seconds on the worker; null while in progress.
    async fn worker_seconds(&self) -> Option<f64> {
        self.0.milliseconds.map(seconds)
    }
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// Requirements on the worker of a job.
pub struct Requirements(JobRequirements);

/// Requirements on the worker of a job.
#[Object(name = "JobRequirements")]
impl Requirements {
    /// Required worker labels.
    async fn labels(&self) -> Vec<&str> {
        self.0.labels.iter().map(String::as_str).collect()
    }
    /// Required worker memory in bytes.
    async fn memory_bytes(&self) -> Option<Long> {
        self.0.memory_bytes.map(Long)
    }
    /// Minimum engine version of the worker.
    async fn engine(&self) -> u32 {
        self.0.engine
    }
}

/// A job.
pub struct Job(pub JobRow, pub ResolvedAsOf);

impl Entity for Job {
    type Id = JobId;

    fn expectation(id: JobId, version: u64) -> Expectation {
        Expectation::version(version).of::<Recorded>(id)
    }

    async fn load(context: &Context<'_>, id: JobId) -> Result<Option<Self>> {
        let Some(viewer) = readable(context) else {
            return Ok(None);
        };
        let row = projections::jobs::job::find(&app(context)?.pool, AsOf::Now, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Self::now))
    }
}

impl Job {
    /// A job as it stands.
    #[must_use]
    pub fn now(row: JobRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
    }

    async fn place(&self, context: &Context<'_>) -> Result<Option<queue::Place>> {
        if self.0.state != State::Queued {
            return Ok(None);
        }
        let place = queue::place(&app(context)?.pool, self.1.as_of, self.0.id).await;
        place.map_err(|error| read_failed(&error))
    }

    /// What keeps it from workers with GPUs, if its owner has used the hours of the month up.
    async fn without_hours(&self, context: &Context<'_>) -> Result<Option<String>> {
        let app = app(context)?;
        let Some(Principal::User(owner)) = app.directory.user(self.0.owner_id) else {
            return Ok(None);
        };
        let ledger = ledger(app, self.0.owner_id).await?;
        let left = ledger.gpu_hours_left(&owner.quotas, app.now());
        Ok(left.err().map(|exceeded| exceeded.to_string()))
    }
}

/// A training job.
#[Object]
impl Job {
    /// Global ID.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Number of events recorded about it, without its progress: what updates take as `expectedVersion`.
    async fn version(&self) -> i32 {
        self.0.version
    }
    /// Name; the resulting model has the same name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// State.
    async fn state(&self) -> JobState {
        self.0.state.into()
    }
    /// `scratch`, `lora` or `full`; new values may be added.
    async fn method(&self) -> &str {
        self.0.spec.method.name()
    }
    /// The recorded specification: method, objective and hyperparameters. Omitted fields have their defaults.
    async fn specification(&self) -> Json<&TrainingSpec> {
        Json(&self.0.spec)
    }
    /// The owner's ID.
    async fn owner_id(&self) -> ID {
        self.0.owner_id.to_string().into()
    }
    /// ID of the experiment's project.
    async fn project_id(&self) -> ID {
        self.0.project_id.to_string().into()
    }
    /// ID of the experiment.
    async fn experiment_id(&self) -> ID {
        self.0.experiment_id.to_string().into()
    }
    /// ID of the dataset.
    async fn dataset_id(&self) -> ID {
        self.0.dataset_id.to_string().into()
    }
    /// The version of the dataset.
    async fn dataset_version(&self) -> i32 {
        self.0.dataset_version
    }
    /// ID of the base model; null if trained from scratch.
    async fn base_model_id(&self) -> Option<ID> {
        self.0.base_model_id.map(|id| id.to_string().into())
    }
    /// The version of the base model.
    async fn base_model_version(&self) -> Option<i32> {
        self.0.base_model_version
    }
    /// ID of the resulting model; readable once the job is completed.
    async fn model_id(&self) -> ID {
        self.0.model_id.to_string().into()
    }
    /// Number of the latest attempt; above 1 if a worker was lost, or the job was paused or restarted.
    async fn attempt(&self) -> i32 {
        self.0.attempt
    }
    /// The current or latest worker: host and device.
    async fn worker(&self) -> Option<&str> {
        self.0.worker_name.as_deref()
    }
    /// Completed steps.
    async fn step(&self) -> i32 {
        self.0.step
    }
    /// Total steps.
    async fn total_steps(&self) -> i32 {
        self.0.total_steps
    }
    /// Latest training loss: mean negative log-likelihood per token, in nats.
    async fn loss(&self) -> Option<f64> {
        self.0.loss
    }
    /// Latest evaluation loss, on held-out data.
    async fn evaluation_loss(&self) -> Option<f64> {
        self.0.evaluation_loss
    }
    /// Latest throughput.
    async fn tokens_per_second(&self) -> Option<f64> {
        self.0.tokens_per_second
    }
    /// Estimated seconds to the end.
    async fn eta_seconds(&self) -> Option<i32> {
        self.0.eta_seconds
    }
    /// Step of the newest checkpoint.
    async fn checkpoint_step(&self) -> Option<i32> {
        self.0.checkpoint_step
    }
    /// Final metrics.
    async fn metrics(&self) -> Vec<Metric> {
        metrics(&self.0.metrics)
    }
    /// Error code, if the job failed.
    async fn failure_code(&self) -> Option<&str> {
        self.0.failure_code.as_deref()
    }
    /// What happened and what to do, if the job failed.
    async fn failure_message(&self) -> Option<&str> {
        self.0.failure_message.as_deref()
    }
    /// Number of jobs ahead of it; null if it is not queued. Higher priorities run first, then users take turns.
    async fn queue_position(&self, context: &Context<'_>) -> Result<Option<i32>> {
        let place = self.place(context).await?;
        Ok(place.map(|place| i32::try_from(place.before).unwrap_or(i32::MAX)))
    }
    /// Estimated seconds until a worker takes the job, based on running jobs and recent run times. Null if it is not
    /// queued, if no suitable worker is available, or if the estimate is unknown; always null in the past.
    async fn expected_start_seconds(&self, context: &Context<'_>) -> Result<Option<f64>> {
        Ok(self.place(context).await?.and_then(|place| place.wait_seconds))
    }
    /// Why no available worker can take the job; null if one can, or if it is not queued.
    async fn waiting_reason(&self, context: &Context<'_>) -> Result<Option<String>> {
        let Some(place) = self.place(context).await? else {
            return Ok(None);
        };
        match place.unfit {
            None if place.only_gpus => self.without_hours(context).await,
            unfit => Ok(unfit),
        }
    }
    /// Priority, -10 to 10; higher runs first.
    async fn priority(&self) -> i32 {
        self.0.priority
    }
    /// Requirements on the worker.
    async fn requirements(&self) -> Requirements {
        Requirements(self.0.requirements.clone())
    }
    /// Maximum worker seconds, over all attempts since it was queued or restarted; then the job fails.
    async fn max_run_seconds(&self) -> Option<u32> {
        self.0.requirements.max_run_seconds
    }
    /// Whether a pause has been requested and the worker has not released the job yet.
    async fn pausing(&self) -> bool {
        self.0.pausing
    }
    /// ID of the job it was cloned from.
    async fn cloned_from(&self) -> Option<ID> {
        self.0.cloned_from.map(|id| id.to_string().into())
    }
    /// Latest attempts, newest last; at most 100.
    async fn attempts(&self) -> Vec<JobAttempt> {
        self.0.attempts.iter().cloned().map(JobAttempt).collect()
    }
    /// Worker seconds over all ended attempts.
    async fn worker_seconds(&self) -> f64 {
        seconds(self.0.worker_milliseconds)
    }
    /// Of those, seconds on GPU workers.
    async fn gpu_seconds(&self) -> f64 {
        seconds(self.0.gpu_milliseconds)
    }
    /// When it was queued.
    async fn queued_at(&self) -> OffsetDateTime {
        self.0.queued_at
    }
    /// When training first started.
    async fn started_at(&self) -> Option<OffsetDateTime> {
        self.0.started_at
    }
    /// When it ended.
    async fn ended_at(&self) -> Option<OffsetDateTime> {
        self.0.ended_at
    }
    /// URL of the complete log: `GET` with an access token; `?format=text` for plain text, `?after=POSITION` to
    /// resume.
    async fn log_path(&self) -> String {
        format!("/api/jobs/{}/log", self.0.id)
    }
    /// Log position that this reflects: subscribe to `jobFeed` with `after` set to it.
    async fn position(&self) -> Long {
        self.0.position.into()
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}
