//! Jobs as clients see them.

use async_graphql::{Context, ID, Object, Result};
use domain::{authz::Principal, id::ExperimentId, jobs::job::JobState as State};
use projections::jobs::{
    job::{self, Jobs},
    queue::Place,
};

use super::{
    Dataset, Experiment, Job, JobAttempt, JobImport, JobKind, JobState, Metric, Model, Project, Requirements,
    User, job_parts::seconds, metrics, references,
};
use crate::graphql::{
    as_of::{LogInstant, ResolvedAsOf},
    context::{app, log_failed},
    errors::read_failed,
    loaders::{LedgerLoader, PlaceLoader, load},
    paging::{AsOfInfo, Connection, List},
    reads,
    reads::Wanted,
    scalars::{DateTime, JsonValue, Long},
};

/// The list of jobs.
const JOBS: List = List::by_id("jobs");

impl Job {
    async fn place(&self, context: &Context<'_>) -> Result<Option<Place>> {
        if self.0.state != State::Queued {
            return Ok(None);
        }
        let place = load::<PlaceLoader, _>(context, (self.0.id, self.1.as_of)).await?;
        place.map_err(|error| read_failed(&error))
    }

    /// What keeps it from workers with GPUs, if its owner has used the hours of the month up.
    async fn without_hours(&self, context: &Context<'_>) -> Result<Option<String>> {
        let app = app(context)?;
        let Some(Principal::User(owner)) = app.directory.user(self.0.owner_id) else {
            return Ok(None);
        };
        if owner.quotas.gpu_hours.is_none() {
            return Ok(None);
        }
        let ledger = load::<LedgerLoader, _>(context, self.0.owner_id).await?;
        let ledger = ledger
            .map_err(|error| log_failed("quotas", &error))?
            .unwrap_or_default();
        let left = ledger.gpu_hours_left(&owner.quotas, app.now());
        Ok(left.err().map(|exceeded| exceeded.to_string()))
    }
}

/// A job. Fields that only a training has, from `method` to `baseModelVersion`, are null of any other kind.
#[Object]
impl Job {
    /// Global ID.
    pub async fn id(&self) -> ID {
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
    /// Kind.
    async fn kind(&self) -> JobKind {
        self.0.kind.into()
    }
    /// What it imports; null of any other kind.
    async fn import(&self) -> Option<JobImport> {
        let ordered = self.0.import.clone()?;
        let copied = self.0.imported_bytes.unwrap_or_default();
        Some(JobImport { ordered, copied })
    }
    /// State.
    async fn state(&self) -> JobState {
        self.0.state.into()
    }
    /// `scratch`, `lora` or `full`; new values may be added.
    async fn method(&self) -> Option<&str> {
        self.0.spec.as_ref().map(|spec| spec.method.name())
    }
    /// The recorded specification: method, objective and hyperparameters. Omitted fields have their defaults.
    async fn specification(&self) -> Result<Option<JsonValue>> {
        self.0.spec.as_ref().map(JsonValue::of).transpose()
    }
    /// The owner's ID.
    async fn owner_id(&self) -> ID {
        self.0.owner_id.to_string().into()
    }
    /// The owner; null if the caller may not read the account.
    async fn owner(&self, context: &Context<'_>) -> Result<Option<User>> {
        references::user(context, self.0.owner_id).await
    }
    /// ID of the experiment's project.
    async fn project_id(&self) -> Option<ID> {
        self.0.project_id.map(|id| id.to_string().into())
    }
    /// The project; null if the caller may not read it.
    async fn project(&self, context: &Context<'_>) -> Result<Option<Project>> {
        let Some(project) = self.0.project_id else {
            return Ok(None);
        };
        references::project(context, self.1, project).await
    }
    /// ID of the experiment.
    async fn experiment_id(&self) -> Option<ID> {
        self.0.experiment_id.map(|id| id.to_string().into())
    }
    /// The experiment; null if the caller may not read it.
    async fn experiment(&self, context: &Context<'_>) -> Result<Option<Experiment>> {
        let Some(experiment) = self.0.experiment_id else {
            return Ok(None);
        };
        references::experiment(context, self.1, experiment).await
    }
    /// ID of the dataset.
    async fn dataset_id(&self) -> Option<ID> {
        self.0.dataset_id.map(|id| id.to_string().into())
    }
    /// The dataset, as of the same moment; null if the caller may not read it.
    async fn dataset(&self, context: &Context<'_>) -> Result<Option<Dataset>> {
        let Some(dataset) = self.0.dataset_id else {
            return Ok(None);
        };
        references::dataset(context, self.1, dataset).await
    }
    /// The version of the dataset.
    async fn dataset_version(&self) -> Option<i32> {
        self.0.dataset_version
    }
    /// ID of the base model; null if trained from scratch.
    async fn base_model_id(&self) -> Option<ID> {
        self.0.base_model_id.map(|id| id.to_string().into())
    }
    /// The base model, as of the same moment; null if trained from scratch, or if the caller may not read it.
    async fn base_model(&self, context: &Context<'_>) -> Result<Option<Model>> {
        let Some(base) = self.0.base_model_id else {
            return Ok(None);
        };
        references::model(context, self.1, base).await
    }
    /// The version of the base model.
    async fn base_model_version(&self) -> Option<i32> {
        self.0.base_model_version
    }
    /// ID of the resulting model; readable once the job is completed.
    async fn model_id(&self) -> ID {
        self.0.model_id.to_string().into()
    }
    /// The resulting model, as of the same moment; null until the job is completed, or if the caller may not read it.
    async fn model(&self, context: &Context<'_>) -> Result<Option<Model>> {
        references::model(context, self.1, self.0.model_id).await
    }
    /// Number of the latest attempt; above 1 if a worker was lost, or the job was paused or restarted.
    async fn attempt(&self) -> i32 {
        self.0.attempt
    }
    /// The current or latest worker: host and device.
    async fn worker(&self) -> Option<&str> {
        self.0.worker_name.as_deref()
    }
    /// Completed steps; of an import, files that are stored.
    async fn step(&self) -> i32 {
        self.0.step
    }
    /// Total steps; of an import, its files.
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
    /// Number of jobs of its kind ahead of it; null if it is not queued. Higher priorities run first, then users take turns.
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
    async fn cloned_from_id(&self) -> Option<ID> {
        self.0.cloned_from.map(|id| id.to_string().into())
    }
    /// The job it was cloned from; null if there is none, or if the caller may not read it.
    async fn cloned_from(&self, context: &Context<'_>) -> Result<Option<Self>> {
        let Some(source) = self.0.cloned_from else {
            return Ok(None);
        };
        references::job(context, self.1, source).await
    }
    /// Latest attempts, newest last; at most 100.
    async fn attempts(&self) -> Vec<JobAttempt> {
        self.0.attempts.iter().cloned().map(JobAttempt).collect()
    }
    /// Worker seconds over all ended attempts; never null. Nullable like `Project.workerSeconds`, so that one selection
    /// may name both.
    async fn worker_seconds(&self) -> Option<f64> {
        Some(seconds(self.0.worker_milliseconds))
    }
    /// Of those, seconds on GPU workers.
    async fn gpu_seconds(&self) -> Option<f64> {
        Some(seconds(self.0.gpu_milliseconds))
    }
    /// When it was queued.
    async fn queued_at(&self) -> DateTime {
        self.0.queued_at.into()
    }
    /// When the work first started.
    async fn started_at(&self) -> Option<DateTime> {
        self.0.started_at.map(DateTime)
    }
    /// When it ended.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
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
/// Jobs that the caller may see.
///
/// # Errors
/// Missing sign-in, a bad page, or a failing database.
pub async fn list(
    context: &Context<'_>,
    resolved: ResolvedAsOf,
    wanted: Wanted,
) -> Result<Connection<Job, AsOfInfo>> {
    reads::list::<Jobs, _>(context, JOBS, resolved, wanted, |row| {
        (row.id.0.to_string(), Job(row, resolved))
    })
    .await
}

/// As [`list`], of those in an experiment.
///
/// # Errors
/// As there.
pub(super) async fn list_of(
    context: &Context<'_>,
    resolved: ResolvedAsOf,
    experiment: ExperimentId,
    wanted: Wanted,
) -> Result<Connection<Job, AsOfInfo>> {
    let of = (job::EXPERIMENT, experiment.0);
    reads::nested::<Jobs, _>(context, JOBS, resolved, of, wanted, |row| {
        (row.id.0.to_string(), Job(row, resolved))
    })
    .await
}
