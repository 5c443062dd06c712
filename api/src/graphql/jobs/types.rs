//! Jobs as clients see them.

use async_graphql::{Context, Enum, ID, Json, Object, Result};
use domain::jobs::{job::JobState as State, spec::TrainingSpec, terms::Terms};
use projections::jobs::{
    job::{AttemptRow, JobRow},
    queue,
};
use time::OffsetDateTime;

use crate::graphql::{
    as_of::{Moment, View},
    context::{app, ledger, unreadable},
    models::{Metric, metrics},
    scalars::Long,
};

/// Where a job stands. May grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// A worker has it and prepares.
    Starting,
    /// It trains.
    Running,
    /// Somebody holds it back; it keeps its place among the owner's concurrent jobs.
    Paused,
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
    /// Its number, from 1, counted on over restarts.
    async fn number(&self) -> i32 {
        self.0.number
    }
    /// The worker: host and device.
    async fn worker(&self) -> &str {
        &self.0.worker
    }
    /// When the worker took the job.
    async fn leased_at(&self) -> OffsetDateTime {
        self.0.leased_at
    }
    /// Steps that were done before it; null until training began.
    async fn from_step(&self) -> Option<i32> {
        self.0.from_step
    }
    /// When it ended; null while it is under way.
    async fn ended_at(&self) -> Option<OffsetDateTime> {
        self.0.ended_at
    }
    /// How it ended: `completed`, `failed`, `cancelled`, `paused` or `interrupted`. The list may grow.
    async fn end(&self) -> Option<&str> {
        self.0.end.as_deref()
    }
    /// Why it ended, in words.
    async fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
    /// Seconds on the worker; null while it is under way.
    async fn worker_seconds(&self) -> Option<f64> {
        self.0.milliseconds.map(seconds)
    }
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// What a job demands of its worker.
pub struct JobDemands(Terms);

/// What a job demands of its worker.
#[Object]
impl JobDemands {
    /// Labels that the worker must have.
    async fn labels(&self) -> Vec<&str> {
        self.0.labels.iter().map(String::as_str).collect()
    }
    /// Bytes of memory that the worker must have.
    async fn memory_bytes(&self) -> Option<Long> {
        self.0.memory_bytes.map(Long)
    }
    /// The newest specification that the worker must be able to run.
    async fn engine(&self) -> u32 {
        self.0.engine
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

    async fn place(&self, context: &Context<'_>) -> Result<Option<queue::Place>> {
        if self.0.state != State::Queued {
            return Ok(None);
        }
        let place = queue::place(&app(context)?.pool, self.1.moment, self.0.id).await;
        place.map_err(|error| unreadable(&error))
    }

    /// What keeps it from workers with GPUs, if its owner has used the hours of the month up.
    async fn without_hours(&self, context: &Context<'_>) -> Result<Option<String>> {
        let app = app(context)?;
        let quotas = app.directory.user(self.0.owner_id).map(|owner| owner.quotas());
        let Some(quotas) = quotas else {
            return Ok(None);
        };
        let ledger = ledger(app, self.0.owner_id).await?;
        let left = ledger.gpu_hours_left(&quotas, app.now());
        Ok(left.err().map(|exceeded| exceeded.to_string()))
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
    /// Number of the latest attempt; above 1 when a worker was lost, or it was paused or restarted.
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
    /// Jobs that go before it; null when it does not wait. Higher priorities go first, then users take turns.
    async fn queue_position(&self, context: &Context<'_>) -> Result<Option<i32>> {
        let place = self.place(context).await?;
        Ok(place.map(|place| i32::try_from(place.before).unwrap_or(i32::MAX)))
    }
    /// Seconds until a worker takes it, estimated from what is under way and how long jobs took of late. Null
    /// when it does not wait, no worker is there that could take it, or nothing is known; and for the past.
    async fn expected_start_seconds(&self, context: &Context<'_>) -> Result<Option<f64>> {
        Ok(self.place(context).await?.and_then(|place| place.wait_seconds))
    }
    /// Why no worker that is there can take it, in words; null when one can, or it does not wait.
    async fn waiting_reason(&self, context: &Context<'_>) -> Result<Option<String>> {
        let Some(place) = self.place(context).await? else {
            return Ok(None);
        };
        match place.unfit {
            None if place.only_gpus => self.without_hours(context).await,
            unfit => Ok(unfit),
        }
    }
    /// Its priority, -10 to 10; higher goes first.
    async fn priority(&self) -> i32 {
        self.0.priority
    }
    /// What it demands of its worker.
    async fn demands(&self) -> JobDemands {
        JobDemands(self.0.terms.clone())
    }
    /// Seconds on workers, over all attempts since it was queued or restarted, after which it is failed.
    async fn max_run_seconds(&self) -> Option<u32> {
        self.0.terms.max_run_seconds
    }
    /// Whether it is to be paused and its worker has not given it back yet.
    async fn pausing(&self) -> bool {
        self.0.pausing
    }
    /// The job that it was made after, by id.
    async fn cloned_from(&self) -> Option<ID> {
        self.0.cloned_from.map(|id| id.to_string().into())
    }
    /// Its latest attempts, at most 100, the newest last.
    async fn attempts(&self) -> Vec<JobAttempt> {
        self.0.attempts.iter().cloned().map(JobAttempt).collect()
    }
    /// Seconds on workers, over all attempts that have ended.
    async fn worker_seconds(&self) -> f64 {
        seconds(self.0.worker_milliseconds)
    }
    /// Seconds of them on GPUs.
    async fn gpu_seconds(&self) -> f64 {
        seconds(self.0.gpu_milliseconds)
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
    /// Where its whole log is to be had: `GET` with an access token; `?format=text` for people, `?after=POSITION` to
    /// go on.
    async fn log_path(&self) -> String {
        format!("/api/jobs/{}/log", self.0.id)
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
