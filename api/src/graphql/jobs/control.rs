//! Pausing, resuming, restarting, cloning and moving jobs.

use async_graphql::{Context, Object, Result};
use domain::{
    id::{ExperimentId, JobId},
    jobs::{
        control::{ChangeJobPriority, PauseJob, RestartJob, ResumeJob},
        copy::CloneJob,
        requirements::JobRequirements,
        spec::TrainingSpec,
        start::StartJobRefusal,
    },
};
use projections::{
    history::AsOf,
    jobs::job::{JobRow, Jobs},
    read_model::{self, Viewer},
};

use super::{
    ChangeJobPriorityInput, CloneJobInput, JobPayload, PauseJobInput, RestartJobInput, ResumeJobInput,
    estimate,
};
use crate::graphql::{
    context::{user, viewer},
    errors::read_failed,
    mutation::MutationCall,
    user_error::{UserError, UserErrorCode},
};

/// The copy of a job that an input stands for; `None` when the call was told what is wrong.
async fn copy(call: &mut MutationCall<'_, '_>, input: CloneJobInput) -> Result<Option<CloneJob>> {
    let source: JobId = call.id("jobId", &input.job_id);
    let experiment = input
        .experiment_id
        .as_ref()
        .map(|id| call.id::<ExperimentId>("experimentId", id));
    let viewer = viewer(call.context())?;
    let row = read_model::find::<Jobs>(&call.app().read_models, &viewer, AsOf::Now, source.0).await;
    let row = row.map_err(|error| read_failed(&error))?;
    let Some(row) = row.filter(|_| !call.is_wrong()) else {
        if !call.is_wrong() {
            call.refuse([UserError::absent("jobId")]);
        }
        return Ok(None);
    };
    let (name, app) = (input.name.clone(), call.app());
    let Some(spec) = row.spec.clone() else {
        call.refuse([UserError::at(
            "jobId",
            StartJobRefusal::NoTraining.to_string(),
            UserErrorCode::Invalid,
        )]);
        return Ok(None);
    };
    let (spec, requirements, base) = overridden(call, &viewer, (row, spec), input).await?;
    Ok(Some(CloneJob {
        source,
        job: call.fresh(),
        model: call.fresh(),
        owner: user(call.context())?.user,
        name,
        experiment,
        base_shape: base.as_ref().and_then(|base| base.shape),
        spec: Some(spec),
        requirements: Some(requirements),
        max_attempts: app.settings.job_attempts,
        longest_run_seconds: app.settings.longest_run_seconds,
    }))
}

/// What the copy of `row` trains and demands, and its base. Memory that was estimated is estimated anew.
async fn overridden(
    call: &MutationCall<'_, '_>,
    viewer: &Viewer,
    (row, recorded): (JobRow, TrainingSpec),
    input: CloneJobInput,
) -> Result<(TrainingSpec, JobRequirements, Option<estimate::Base>)> {
    let version = row
        .base_model_version
        .and_then(|version| u32::try_from(version).ok());
    let named = row.base_model_id.map(|base| (base, version));
    let base = estimate::base(call.app(), viewer, named).await?;
    let derived = row.requirements.memory_bytes == estimate::memory(&recorded, base.as_ref());
    let spec = TrainingSpec {
        parameters: input.parameters.over(recorded.parameters),
        outputs: input.outputs.over(recorded.outputs),
        ..recorded
    };
    let given = input.requirements.memory_bytes.is_some();
    let mut requirements = input.requirements.over(row.requirements);
    if derived && !given && spec.validate().is_ok() {
        requirements.memory_bytes = estimate::memory(&spec, base.as_ref());
    }
    Ok((spec, requirements, base))
}

/// What people do with jobs that there are.
#[derive(Default)]
pub struct JobControlMutation;

#[Object]
impl JobControlMutation {
    /// Pauses a job: a queued job leaves the queue, a running job saves a checkpoint and releases its worker. It
    /// still counts against the owner's concurrent jobs.
    async fn pause_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and the reason.")] input: PauseJobInput,
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (job, reason) = (call.id("jobId", &input.job_id), input.reason);
        call.finish(job, &PauseJob { job, reason }).await
    }

    /// Resumes a paused job from its checkpoint, keeping its original place in the queue. Cancels a pause that is
    /// still in progress.
    async fn resume_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] input: ResumeJobInput,
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let job = call.id("jobId", &input.job_id);
        call.finish(job, &ResumeJob { job }).await
    }

    /// Restarts a failed or cancelled job; an import always begins anew. Attempt numbers continue and earlier attempts stay readable; retry budget
    /// and run time start over. To rerun a completed job, clone it.
    async fn restart_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and where it resumes.")] input: RestartJobInput,
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (job, from) = (call.id("jobId", &input.job_id), input.from.into());
        call.finish(job, &RestartJob { job, from }).await
    }

    /// Changes a job's priority in the queue. For a running job it applies when the job is queued again.
    async fn change_job_priority(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and its priority.")] input: ChangeJobPriorityInput,
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let job = call.id("jobId", &input.job_id);
        // A number that does not fit is out of range either way.
        let priority = i8::try_from(input.priority).unwrap_or(i8::MAX);
        call.finish(job, &ChangeJobPriority { job, priority }).await
    }

    /// Queues a copy of a training job, with overrides. Requires the permissions to start a job and read access to the source
    /// job.
    async fn clone_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The source job and the overrides.")] input: CloneJobInput,
    ) -> Result<Option<JobPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        match copy(&mut call, input).await? {
            Some(command) => call.finish(command.job, &command).await,
            None => Ok(Some(call.rejected())),
        }
    }
}
