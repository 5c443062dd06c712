//! Pausing, resuming, restarting, cloning and moving jobs.

use async_graphql::{Context, ID, Object, Result};
use domain::{
    execute::Command,
    id::{ExperimentId, JobId, ModelId},
    jobs::{
        control::{ChangeJobPriority, ControlRefusal, PauseJob, RestartJob, ResumeJob},
        copy::CloneJob,
        spec::TrainingSpec,
    },
};
use projections::{history::AsOf, jobs::job::Jobs};

use super::{
    ChangeJobPriorityInput, CloneJobInput, JobPayload, PauseJobInput, RestartJobInput, ResumeJobInput,
    estimate, payload, refused,
};
use crate::graphql::{
    context::{Outcome, app, run, user, viewer},
    reads,
    user_error::{UserError, UserErrorCode},
};

/// A job that is none for the caller.
pub(super) fn unknown() -> JobPayload {
    JobPayload::wrong(vec![UserError::at(
        "jobId",
        "there is no such job",
        UserErrorCode::NotFound,
    )])
}

fn user_error(refusal: &ControlRefusal) -> UserError {
    let (path, code) = match refusal {
        ControlRefusal::AlreadyEnded => ("jobId", UserErrorCode::AlreadyEnded),
        ControlRefusal::Completed => ("jobId", UserErrorCode::Completed),
        ControlRefusal::NotEnded => ("jobId", UserErrorCode::NotEnded),
        ControlRefusal::NoCheckpoint => ("from", UserErrorCode::NoCheckpoint),
        ControlRefusal::Reason(_) => ("reason", UserErrorCode::Invalid),
        ControlRefusal::Priority(_) => ("priority", UserErrorCode::Invalid),
        ControlRefusal::Quota(_) | ControlRefusal::GpuHours(_) => ("jobId", UserErrorCode::QuotaExceeded),
    };
    UserError::at(path, refusal.to_string(), code)
}

/// Runs a command about one job.
async fn control<C: Command<Refusal = ControlRefusal>>(
    context: &Context<'_>,
    id: &ID,
    command: impl FnOnce(JobId) -> C + Send,
) -> Result<JobPayload> {
    user(context)?;
    let Ok(job) = id.parse::<JobId>() else {
        return Ok(unknown());
    };
    match run(context, &command(job)).await? {
        Outcome::Done(position) => payload(context, job, position).await,
        Outcome::Refused(refusal) => Ok(JobPayload::wrong(vec![user_error(&refusal)])),
        Outcome::NotFound => Ok(unknown()),
    }
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
    ) -> Result<JobPayload> {
        let reason = input.reason;
        control(context, &input.job_id, |job| PauseJob { job, reason }).await
    }

    /// Resumes a paused job from its checkpoint, keeping its original place in the queue. Cancels a pause that is
    /// still in progress.
    async fn resume_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] input: ResumeJobInput,
    ) -> Result<JobPayload> {
        control(context, &input.job_id, |job| ResumeJob { job }).await
    }

    /// Restarts a failed or cancelled job. Attempt numbers continue and earlier attempts stay readable; retry budget
    /// and run time start over. To rerun a completed job, clone it.
    async fn restart_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and where it resumes.")] input: RestartJobInput,
    ) -> Result<JobPayload> {
        let from = input.from.into();
        control(context, &input.job_id, |job| RestartJob { job, from }).await
    }

    /// Changes a job's priority in the queue. For a running job it applies when the job is queued again.
    async fn change_job_priority(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job and its priority.")] input: ChangeJobPriorityInput,
    ) -> Result<JobPayload> {
        // A number that does not fit is out of range either way.
        let priority = i8::try_from(input.priority).unwrap_or(i8::MAX);
        control(context, &input.job_id, |job| ChangeJobPriority { job, priority }).await
    }

    /// Queues a copy of a job, with overrides. Requires the permissions to start a job and read access to the source
    /// job.
    async fn clone_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The source job and the overrides.")] input: CloneJobInput,
    ) -> Result<JobPayload> {
        let owner = user(context)?.user;
        let experiment = match input
            .experiment_id
            .map(|id| id.parse::<ExperimentId>())
            .transpose()
        {
            Ok(experiment) => experiment,
            Err(error) => {
                let user_error = UserError::at("experimentId", error.to_string(), UserErrorCode::Invalid);
                return Ok(JobPayload::wrong(vec![user_error]));
            }
        };
        let Ok(source) = input.job_id.parse::<JobId>() else {
            return Ok(unknown());
        };
        let (app, viewer) = (app(context)?, viewer(context)?);
        let Some(row) = reads::find::<Jobs>(context, AsOf::Now, source.0).await? else {
            return Ok(unknown());
        };
        let version = row
            .base_model_version
            .and_then(|version| u32::try_from(version).ok());
        let base = estimate::base(app, &viewer, row.base_model_id.map(|base| (base, version))).await?;
        let derived = row.requirements.memory_bytes == estimate::memory(&row.spec, base.as_ref());
        let spec = TrainingSpec {
            parameters: input.parameters.over(row.spec.parameters),
            outputs: input.outputs.over(row.spec.outputs),
            ..row.spec
        };
        let given = input.requirements.memory_bytes.is_some();
        let mut requirements = input.requirements.over(row.requirements);
        if derived && !given && spec.validate().is_ok() {
            requirements.memory_bytes = estimate::memory(&spec, base.as_ref());
        }
        let command = CloneJob {
            source,
            job: JobId(app.ports.ids.next()),
            model: ModelId(app.ports.ids.next()),
            owner,
            name: input.name,
            experiment,
            base_shape: base.as_ref().and_then(|base| base.shape),
            spec: Some(spec),
            requirements: Some(requirements),
            max_attempts: app.settings.job_attempts,
            longest_run_seconds: app.settings.longest_run_seconds,
        };
        match run(context, &command).await? {
            Outcome::Done(position) => payload(context, command.job, position).await,
            Outcome::Refused(reason) => Ok(JobPayload::wrong(refused(reason))),
            Outcome::NotFound => Ok(unknown()),
        }
    }
}
