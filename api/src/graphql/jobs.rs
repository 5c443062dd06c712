//! Training jobs.

use async_graphql::{
    Context, Enum, ID, InputObject, Object, OneofObject, Result, SimpleObject, connection::Connection,
};
use domain::{
    id::{DatasetId, ExperimentId, JobId, ModelId},
    jobs::{
        job::JobState as State,
        spec::{self, HyperParameters, Method, TrainingSpec},
        start::{CancelJob, CancelRefusal, StartJob, StartJobRefusal},
    },
};
use projections::jobs::job::JobRow;
use time::OffsetDateTime;

use super::{
    access::id_or_not_found,
    context::{Outcome, app, at_least, reach, run, unreadable, user, viewer},
    fault::Fault,
    models::{Metric, metrics},
    paging::{connect, page, weight},
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
pub struct Job(pub JobRow);

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
    /// `scratch` or `lora`; the list may grow.
    async fn method(&self) -> &str {
        self.0.spec.method.name()
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
        let before = projections::jobs::job::queue_position(&app(context)?.pool, self.0.id).await;
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
}

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
        let default = Self::default();
        Self {
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
    fn wrong(user_errors: Vec<Fault<JobsErrorCode>>) -> Self {
        Self {
            job: None,
            position: None,
            user_errors,
        }
    }
}

fn refused(reason: StartJobRefusal) -> Vec<Fault<JobsErrorCode>> {
    let message = reason.to_string();
    match reason {
        StartJobRefusal::Spec(problems) => {
            let fault = |problem: spec::SpecProblem| {
                let path = match problem.field.strip_prefix("architecture.") {
                    Some(field) => format!("method.scratch.{field}"),
                    None => problem.field.replace("lora.", "method.lora."),
                };
                Fault::of(&path, problem.message, JobsErrorCode::Invalid)
            };
            problems.0.into_iter().map(fault).collect()
        }
        StartJobRefusal::Name(_) => vec![Fault::of("name", message, JobsErrorCode::Invalid)],
        StartJobRefusal::NoDatasetVersion => {
            vec![Fault::of("datasetVersion", message, JobsErrorCode::NotFound)]
        }
        StartJobRefusal::NoBaseVersion => {
            vec![Fault::of(
                "method.lora.baseModelVersion",
                message,
                JobsErrorCode::NotFound,
            )]
        }
        StartJobRefusal::BaseMissing | StartJobRefusal::BaseUnwanted | StartJobRefusal::BaseIsAdapter => {
            vec![Fault::of("method", message, JobsErrorCode::BaseModel)]
        }
        StartJobRefusal::Quota(_) => vec![Fault::whole(message, JobsErrorCode::QuotaExceeded)],
        StartJobRefusal::IdTaken => vec![Fault::whole(message, JobsErrorCode::Invalid)],
    }
}

/// The ids of an input, or every one of them that is none.
fn start_ids(
    input: &StartJobInput,
) -> std::result::Result<(ExperimentId, DatasetId, Option<ModelId>), Vec<Fault<JobsErrorCode>>> {
    let fault =
        |path: &str, error: &domain::id::IdError| Fault::of(path, error.to_string(), JobsErrorCode::Invalid);
    let experiment = input
        .experiment_id
        .parse::<ExperimentId>()
        .map_err(|error| fault("experimentId", &error));
    let dataset = input
        .dataset_id
        .parse::<DatasetId>()
        .map_err(|error| fault("datasetId", &error));
    let base = match &input.method {
        MethodInput::Scratch(_) => Ok(None),
        MethodInput::Lora(lora) => lora
            .base_model_id
            .parse()
            .map(Some)
            .map_err(|error| fault("method.lora.baseModelId", &error)),
    };
    match (experiment, dataset, base) {
        (Ok(experiment), Ok(dataset), Ok(base)) => Ok((experiment, dataset, base)),
        (experiment, dataset, base) => Err([experiment.err(), dataset.err(), base.err()]
            .into_iter()
            .flatten()
            .collect()),
    }
}

fn method(input: MethodInput) -> (Method, Option<u32>) {
    match input {
        MethodInput::Scratch(shape) => {
            let architecture = spec::Architecture {
                layers: shape.layers,
                heads: shape.heads,
                width: shape.width,
                context: shape.context,
                vocabulary: shape.vocabulary,
            };
            (Method::Scratch(architecture), None)
        }
        MethodInput::Lora(lora) => {
            let adapter = spec::Lora {
                rank: lora.rank,
                alpha: lora.alpha,
                dropout: lora.dropout,
                target_modules: lora.target_modules,
            };
            (Method::Lora(adapter), lora.base_model_version)
        }
    }
}

/// Jobs that the caller may see.
///
/// # Errors
/// Missing sign-in, a bad page, or a failing database.
pub async fn list(
    context: &Context<'_>,
    experiment: Option<ExperimentId>,
    state: Option<JobState>,
    first: Option<i32>,
    after: Option<String>,
) -> Result<Connection<String, Job>> {
    let (viewer, request) = (viewer(context)?, page(first, after.as_deref())?);
    let state = state.map(State::from);
    let rows = projections::jobs::job::list(&app(context)?.pool, viewer, experiment, state, &request).await;
    let rows = rows.map_err(|error| unreadable(&error))?;
    Ok(connect(rows, after.as_deref(), |row| {
        (row.id.0.to_string(), Job(row))
    }))
}

/// Queries about jobs.
#[derive(Default)]
pub struct JobsQuery;

#[Object]
impl JobsQuery {
    /// The jobs that one may see, the newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only jobs in this state.")] state: Option<JobState>,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Connection<String, Job>> {
        at_least(context, min_position).await?;
        list(context, None, state, first, after).await
    }

    /// One job.
    async fn job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] id: ID,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Option<Job>> {
        let viewer = viewer(context)?;
        at_least(context, min_position).await?;
        let Ok(id) = id_or_not_found::<JobId>(&id) else {
            return Ok(None);
        };
        let row = projections::jobs::job::find(&app(context)?.pool, viewer, id).await;
        Ok(row.map_err(|error| unreadable(&error))?.map(Job))
    }
}

async fn payload(
    context: &Context<'_>,
    job: JobId,
    position: domain::event_store::Position,
) -> Result<JobPayload> {
    reach(context, position).await?;
    let row = projections::jobs::job::find(&app(context)?.pool, viewer(context)?, job).await;
    let job = row.map_err(|error| unreadable(&error))?.map(Job);
    Ok(JobPayload {
        job,
        position: Some(position.into()),
        user_errors: Vec::new(),
    })
}

/// Changes of jobs.
#[derive(Default)]
pub struct JobsMutation;

#[Object]
impl JobsMutation {
    /// Queues a training job. Needs `training.create`, a part in the project, and access to dataset and base.
    async fn start_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] input: StartJobInput,
    ) -> Result<JobPayload> {
        let owner = user(context)?.user;
        let (experiment, dataset, base) = match start_ids(&input) {
            Ok(ids) => ids,
            Err(faults) => return Ok(JobPayload::wrong(faults)),
        };
        let app = app(context)?;
        let (method, base_version) = method(input.method);
        let command = StartJob {
            job: JobId(app.ports.ids.next()),
            model: ModelId(app.ports.ids.next()),
            owner,
            name: input.name,
            experiment,
            dataset: (dataset, input.dataset_version),
            base: base.map(|base| (base, base_version)),
            spec: TrainingSpec {
                method,
                parameters: input.parameters.into(),
            },
            max_attempts: app.settings.job_attempts,
        };
        match run(context, &command).await? {
            Outcome::Done(position) => payload(context, command.job, position).await,
            Outcome::Refused(reason) => Ok(JobPayload::wrong(refused(reason))),
            Outcome::NotFound => {
                let message = "the experiment, the dataset or the base model does not exist";
                Ok(JobPayload::wrong(vec![Fault::whole(
                    message,
                    JobsErrorCode::NotFound,
                )]))
            }
        }
    }

    /// Ends a job within a second. Its last checkpoint stays usable.
    async fn cancel_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job, and why.")] input: CancelJobInput,
    ) -> Result<JobPayload> {
        user(context)?;
        let unknown = || {
            JobPayload::wrong(vec![Fault::of(
                "jobId",
                "there is no such job",
                JobsErrorCode::NotFound,
            )])
        };
        let Ok(job) = input.job_id.parse::<JobId>() else {
            return Ok(unknown());
        };
        match run(
            context,
            &CancelJob {
                job,
                reason: input.reason,
            },
        )
        .await?
        {
            Outcome::Done(position) => payload(context, job, position).await,
            Outcome::Refused(reason @ CancelRefusal::AlreadyEnded) => Ok(JobPayload::wrong(vec![Fault::of(
                "jobId",
                reason.to_string(),
                JobsErrorCode::AlreadyEnded,
            )])),
            Outcome::Refused(reason) => Ok(JobPayload::wrong(vec![Fault::of(
                "reason",
                reason.to_string(),
                JobsErrorCode::Invalid,
            )])),
            Outcome::NotFound => Ok(unknown()),
        }
    }
}
