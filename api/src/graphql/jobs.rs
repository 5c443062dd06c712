//! Jobs of all kinds, and the order of trainings.

mod control;
mod estimate;
mod inputs;
mod refusals;
mod settings;

use async_graphql::{Context, ID, Object, Result};
use domain::{
    id::{JobId, ModelId},
    jobs::{
        requirements::JobRequirements,
        spec::{self, Method, TrainingSpec},
        start::{CancelJob, StartJob},
    },
};
use projections::jobs::job::Jobs;

pub use super::types::{Job, JobFilter, JobOrder, JobState};
pub use control::JobControlMutation;
pub use estimate::{JobEstimate, JobEstimateQuery, JobTimeEstimate, JobValidation};
pub use inputs::*;
pub use settings::*;

use super::{
    as_of::{AsOfInput, resolve_as_of},
    context::{honor_min_position, user, viewer},
    ids::id_or_not_found,
    mutation::MutationCall,
    paging::{AsOfInfo, Connection},
    reads::{self, Wanted},
    scalars::Long,
    types::list_jobs,
};

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

/// The order that an input stands for, and its base as far as the caller sees it. The call is told of every id in it
/// that is none. A job that does not say how much memory it demands demands what it is estimated to need.
async fn order(
    call: &mut MutationCall<'_, '_>,
    input: StartJobInput,
) -> Result<(StartJob, Option<estimate::Base>)> {
    let (experiment, dataset) = (
        call.id("experimentId", &input.experiment_id),
        call.id("datasetId", &input.dataset_id),
    );
    let base = match &input.method {
        MethodInput::Scratch(_) => None,
        MethodInput::Lora(lora) => Some(call.id("method.lora.baseModelId", &lora.base_model_id)),
        MethodInput::Full(full) => Some(call.id("method.full.baseModelId", &full.base_model_id)),
    };
    let (app, owner) = (call.app(), user(call.context())?.user);
    let (method, base_version) = method(input.method);
    let base = base.map(|base: ModelId| (base, base_version));
    let seen = estimate::base(app, &viewer(call.context())?, base).await?;
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
        job: call.fresh(),
        model: call.fresh(),
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
    Ok((command, seen))
}

/// Queries about jobs.
#[derive(Default)]
pub struct JobsQuery;

#[Object]
impl JobsQuery {
    /// The jobs visible to the caller.
    #[expect(
        clippy::too_many_arguments,
        reason = "a resolver has an argument for each of its field"
    )]
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all jobs if omitted.")] filter: Option<JobFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<JobOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Job, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted::of(filter, order, first, after)?;
        list_jobs(context, resolved, wanted).await.map(Some)
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
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (command, base) = order(&mut call, input).await?;
        let mut payload: Option<JobPayload> = call.finish(command.job, &command).await?;
        if let Some(queued) = payload.as_mut().filter(|payload| payload.position.is_some()) {
            let estimate = estimate::estimated(call.app(), &command.spec, base.as_ref()).await;
            queued.estimate = call.or_null("estimate", estimate);
        }
        Ok(payload)
    }

    /// Cancels a job within a second. Its last checkpoint remains usable.
    async fn cancel_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and the reason.")] input: CancelJobInput,
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (job, reason) = (call.id("jobId", &input.job_id), input.reason);
        call.finish(job, &CancelJob { job, reason }).await
    }
}
