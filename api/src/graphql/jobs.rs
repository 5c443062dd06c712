//! Training jobs.

mod control;
mod estimate;
mod inputs;
mod settings;

use async_graphql::{Context, ID, Object, Result};
use domain::{
    id::{DatasetId, ExperimentId, JobId, ModelId},
    jobs::{
        requirements::JobRequirements,
        spec::{self, Method, TrainingSpec},
        start::{CancelJob, CancelRefusal, StartJob, StartJobRefusal},
    },
};
use projections::{history::AsOf, jobs::job::Jobs};

pub use super::types::{Job, JobState};
pub use control::JobControlMutation;
pub use estimate::{JobEstimate, JobEstimateQuery, JobTimeEstimate, JobValidation};
pub use inputs::*;
pub use settings::*;

use super::{
    as_of::{AsOfInput, resolve_as_of},
    context::{Outcome, app, honor_min_position, run, user, viewer, wait_for_position},
    ids::id_or_not_found,
    paging::{AsOfInfo, Connection},
    reads,
    scalars::Long,
    types::list_jobs,
    user_error::{UserError, UserErrorCode},
};

/// Fields of the requirements, by the domain's names.
const REQUIREMENT_FIELDS: [&str; 4] = ["priority", "labels", "memoryBytes", "maxRunSeconds"];

fn refused(reason: StartJobRefusal) -> Vec<UserError> {
    reason.each().into_iter().flat_map(user_errors).collect()
}

fn user_errors(reason: StartJobRefusal) -> Vec<UserError> {
    let message = reason.to_string();
    match reason {
        StartJobRefusal::Spec(problems) => {
            let user_error = |problem: spec::SpecProblem| {
                let path = match problem.field.strip_prefix("architecture.") {
                    Some(field) => format!("method.scratch.{field}"),
                    None if REQUIREMENT_FIELDS.contains(&problem.field) => {
                        format!("requirements.{}", problem.field)
                    }
                    None => problem.field.replace("lora.", "method.lora."),
                };
                UserError::at(&path, problem.message, UserErrorCode::Invalid)
            };
            problems.0.into_iter().map(user_error).collect()
        }
        StartJobRefusal::Name(_) => vec![UserError::at("name", message, UserErrorCode::Invalid)],
        StartJobRefusal::NoDatasetVersion => {
            vec![UserError::at("datasetVersion", message, UserErrorCode::NotFound)]
        }
        StartJobRefusal::NoBaseVersion => {
            vec![UserError::at(
                "method.lora.baseModelVersion",
                message,
                UserErrorCode::NotFound,
            )]
        }
        StartJobRefusal::BaseMissing | StartJobRefusal::BaseUnwanted | StartJobRefusal::BaseIsAdapter => {
            vec![UserError::at("method", message, UserErrorCode::BaseModel)]
        }
        StartJobRefusal::Quota(_) | StartJobRefusal::Storage(_) | StartJobRefusal::GpuHours(_) => {
            vec![UserError::whole(message, UserErrorCode::QuotaExceeded)]
        }
        StartJobRefusal::IdTaken | StartJobRefusal::Several(_) => {
            vec![UserError::whole(message, UserErrorCode::Invalid)]
        }
    }
}

/// The ids of an input, or every one of them that is none.
fn start_ids(
    input: &StartJobInput,
) -> std::result::Result<(ExperimentId, DatasetId, Option<ModelId>), Vec<UserError>> {
    let user_error = |path: &str, error: &domain::id::IdError| {
        UserError::at(path, error.to_string(), UserErrorCode::Invalid)
    };
    let experiment = input
        .experiment_id
        .parse::<ExperimentId>()
        .map_err(|error| user_error("experimentId", &error));
    let dataset = input
        .dataset_id
        .parse::<DatasetId>()
        .map_err(|error| user_error("datasetId", &error));
    let base = match &input.method {
        MethodInput::Scratch(_) => Ok(None),
        MethodInput::Lora(lora) => lora
            .base_model_id
            .parse()
            .map(Some)
            .map_err(|error| user_error("method.lora.baseModelId", &error)),
        MethodInput::Full(full) => full
            .base_model_id
            .parse()
            .map(Some)
            .map_err(|error| user_error("method.full.baseModelId", &error)),
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
                use_rslora: lora.use_rslora,
                bias: lora.bias.into(),
                modules_to_save: lora.modules_to_save,
            };
            (Method::Lora(adapter), lora.base_model_version)
        }
        MethodInput::Full(full) => (Method::Full, full.base_model_version),
    }
}

/// The order that an input stands for, and its base as far as the caller sees it; or every id in it that is none.
/// A job that does not say how much memory it demands demands what it is estimated to need.
async fn order(
    context: &Context<'_>,
    input: StartJobInput,
) -> Result<std::result::Result<(StartJob, Option<estimate::Base>), Vec<UserError>>> {
    let (experiment, dataset, base) = match start_ids(&input) {
        Ok(ids) => ids,
        Err(user_errors) => return Ok(Err(user_errors)),
    };
    let (app, owner) = (app(context)?, user(context)?.user);
    let (method, base_version) = method(input.method);
    let base = base.map(|base| (base, base_version));
    let seen = estimate::base(app, &viewer(context)?, base).await?;
    let spec = TrainingSpec {
        method,
        objective: input.objective.into(),
        parameters: input.parameters.into(),
        outputs: input.outputs.over(spec::Outputs::default()),
    };
    let mut requirements = input.requirements.over(JobRequirements::default());
    if requirements.memory_bytes.is_none() && spec.validate().is_ok() {
        requirements.memory_bytes = estimate::memory(&spec, seen.as_ref());
    }
    let command = StartJob {
        job: JobId(app.ports.ids.next()),
        model: ModelId(app.ports.ids.next()),
        owner,
        name: input.name,
        experiment,
        dataset: (dataset, input.dataset_version),
        base,
        base_shape: seen.as_ref().and_then(|seen| seen.shape),
        spec,
        max_attempts: app.settings.job_attempts,
        requirements,
        longest_run_seconds: app.settings.longest_run_seconds,
        cloned_from: None,
    };
    Ok(Ok((command, seen)))
}

fn nothing_there() -> UserError {
    let message = "the experiment, the dataset or the base model does not exist";
    UserError::whole(message, UserErrorCode::NotFound)
}

/// Queries about jobs.
#[derive(Default)]
pub struct JobsQuery;

#[Object]
impl JobsQuery {
    /// The jobs visible to the caller, newest first.
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only jobs in this state.")] state: Option<JobState>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Job, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        list_jobs(context, resolved, None, state, first, after)
            .await
            .map(Some)
    }

    /// One job.
    async fn job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Job>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<JobId>(&id) else {
            return Ok(None);
        };
        let resolved = resolve_as_of(context, as_of).await?;
        let row = reads::find::<Jobs>(context, resolved.as_of, id.0).await?;
        Ok(row.map(|row| Job(row, resolved)))
    }
}

async fn payload(
    context: &Context<'_>,
    job: JobId,
    position: domain::event_store::Position,
) -> Result<JobPayload> {
    wait_for_position(context, position).await?;
    let job = reads::find::<Jobs>(context, AsOf::Now, job.0)
        .await?
        .map(Job::now);
    Ok(JobPayload {
        job,
        position: Some(position.into()),
        estimate: None,
        user_errors: Vec::new(),
    })
}

/// Changes of jobs.
#[derive(Default)]
pub struct JobsMutation;

#[Object]
impl JobsMutation {
    /// Queues a training job. Requires `training.create`, membership of the project, and access to dataset and base
    /// model.
    async fn start_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] input: StartJobInput,
    ) -> Result<JobPayload> {
        user(context)?;
        let (command, base) = match order(context, input).await? {
            Ok(order) => order,
            Err(user_errors) => return Ok(JobPayload::wrong(user_errors)),
        };
        match run(context, &command).await? {
            Outcome::Done(position) => Ok(JobPayload {
                estimate: estimate::estimated(app(context)?, &command.spec, base.as_ref()).await?,
                ..payload(context, command.job, position).await?
            }),
            Outcome::Refused(reason) => Ok(JobPayload::wrong(refused(reason))),
            Outcome::NotFound => Ok(JobPayload::wrong(vec![nothing_there()])),
        }
    }

    /// Cancels a job within a second. Its last checkpoint remains usable.
    async fn cancel_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and the reason.")] input: CancelJobInput,
    ) -> Result<JobPayload> {
        user(context)?;
        let Ok(job) = input.job_id.parse::<JobId>() else {
            return Ok(control::unknown());
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
            Outcome::Refused(reason @ CancelRefusal::AlreadyEnded) => {
                Ok(JobPayload::wrong(vec![UserError::at(
                    "jobId",
                    reason.to_string(),
                    UserErrorCode::AlreadyEnded,
                )]))
            }
            Outcome::Refused(reason) => Ok(JobPayload::wrong(vec![UserError::at(
                "reason",
                reason.to_string(),
                UserErrorCode::Invalid,
            )])),
            Outcome::NotFound => Ok(control::unknown()),
        }
    }
}
