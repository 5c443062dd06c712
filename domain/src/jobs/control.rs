//! What people do with jobs that there are: pause, resume, restart them, change their place in the queue
//! (JB-3). Cancelling stands beside starting, in [`super::start`].
//!
//! One rule: what already is so succeeds without a fact, and what cannot be says why and what can.

use super::{
    job::{Job, JobEvent, JobState, Order, RestartFrom},
    requirements::{self, PRIORITIES},
};
use crate::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{GpuHoursExceeded, Quota, QuotaExceeded, Quotas, StorageExceeded},
    },
    authz::{Action, Needs, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::JobId,
    rights,
    text::{self, TextProblem},
};

/// Why a job is not paused, resumed, restarted or moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlRefusal {
    /// It is over.
    #[error("the job has already ended; restart or clone it instead")]
    AlreadyEnded,
    /// A model came of it.
    #[error("the job is completed, and its model names it; clone it to train again")]
    Completed,
    /// It is not over.
    #[error("the job has not ended; cancel it first, or pause and resume it")]
    NotEnded,
    /// There is nothing to go on from.
    #[error("the job has no checkpoint; restart it from scratch")]
    NoCheckpoint,
    /// The reason is too long, or would steer a terminal.
    #[error(transparent)]
    Reason(#[from] TextProblem),
    /// The priority is out of range.
    #[error("{}", requirements::priority_problem(*.0))]
    Priority(i8),
    /// QU-1
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// QU-1: it demands a GPU, and the hours of the month are used up.
    #[error(transparent)]
    GpuHours(#[from] GpuHoursExceeded),
    /// DS-3: it imports a model, and there is no room for it any more.
    #[error(transparent)]
    Storage(#[from] StorageExceeded),
}

fn may_update(loaded: &LoadedState, id: JobId) -> Needs {
    Needs::one(Action::TrainingUpdate, loaded.get::<Job>(id).resource(id))
}

/// Holds a job back. One that waits leaves the queue at once; one that a worker has is given back after it
/// has saved its state. It keeps its place among the owner's concurrent jobs.
#[derive(Clone, Debug)]
pub struct PauseJob {
    /// The job.
    pub job: JobId,
    /// Why; may be empty.
    pub reason: String,
}

impl Command for PauseJob {
    type Refusal = ControlRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        may_update(loaded, self.job).into()
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<ControlRefusal> {
        let job: Job = loaded.get(self.job);
        let (attempt, reason) = (
            job.attempt,
            text::reason(&self.reason).map_err(ControlRefusal::Reason)?,
        );
        Ok(match job.state {
            state if state.is_final() => return Err(ControlRefusal::AlreadyEnded.into()),
            JobState::Queued => NewEvents::record::<Job>(self.job, &JobEvent::Paused { attempt, reason }),
            state if state.is_leased() && job.pausing.is_none() => {
                NewEvents::record::<Job>(self.job, &JobEvent::PauseRequested { attempt, reason })
            }
            _ => NewEvents::none(),
        })
    }
}

/// Puts a paused job back into the queue, with its checkpoint and the time of its order. While a pause is
/// under way it is withdrawn: the worker may already have given the job back, then it waits for the next.
#[derive(Clone, Copy, Debug)]
pub struct ResumeJob {
    /// The job.
    pub job: JobId,
}

impl Command for ResumeJob {
    type Refusal = ControlRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        may_update(loaded, self.job).into()
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<ControlRefusal> {
        let job: Job = loaded.get(self.job);
        let resumed = JobEvent::Resumed { attempt: job.attempt };
        match job.state {
            state if state.is_final() => Err(ControlRefusal::AlreadyEnded.into()),
            JobState::Paused => Ok(NewEvents::record::<Job>(self.job, &resumed)),
            _ if job.pausing.is_some() => Ok(NewEvents::record::<Job>(self.job, &resumed)),
            _ => Ok(NewEvents::none()),
        }
    }
}

/// Queues a job again that failed or was cancelled. Its attempts are numbered on and stay readable; its
/// retry budget and its run time begin anew. A completed job stays what its model's lineage says it was:
/// that one is cloned.
#[derive(Clone, Copy, Debug)]
pub struct RestartJob {
    /// The job.
    pub job: JobId,
    /// Where it begins.
    pub from: RestartFrom,
}

impl Command for RestartJob {
    type Refusal = ControlRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
        if let Some(order) = loaded.get::<Job>(self.job).order {
            rights::read_quotas(order.owner, loaded, reads);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        may_update(loaded, self.job).into()
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<ControlRefusal> {
        let job: Job = loaded.get(self.job);
        let Some(order) = &job.order else {
            return Ok(NewEvents::none());
        };
        match job.state {
            JobState::Completed => return Err(ControlRefusal::Completed.into()),
            JobState::Failed | JobState::Cancelled => {}
            _ if job.restarted => return Ok(NewEvents::none()),
            _ => return Err(ControlRefusal::NotEnded.into()),
        }
        // What a failed import had stored is deleted: it begins anew either way.
        let gone_on_from = order.import().is_none() && self.from == RestartFrom::Checkpoint;
        if gone_on_from && job.checkpoint.is_none() {
            return Err(ControlRefusal::NoCheckpoint.into());
        }
        let ledger: QuotaLedger = loaded.get(order.owner);
        let quotas = rights::quotas(order.owner, loaded);
        if order.requirements.demands_gpu() {
            ledger
                .gpu_hours_left(&quotas, context.now)
                .map_err(ControlRefusal::GpuHours)?;
        }
        let room = self.room(order, &ledger, &quotas, context)?;
        let taken = ledger
            .take(&quotas, Quota::ConcurrentJobs, self.job.to_string())
            .map_err(ControlRefusal::Quota)?;
        let restarted = JobEvent::Restarted {
            attempt: job.attempt,
            from: self.from,
        };
        let restarted = NewEvents::record::<Job>(self.job, &restarted);
        let events = match self.from {
            RestartFrom::Checkpoint => restarted,
            RestartFrom::Scratch => job.releasing(self.job, &job.stored, restarted),
        };
        let ledger = room.iter().chain([&taken]);
        Ok(ledger.fold(events, |all, event| all.and::<QuotaLedger>(order.owner, event)))
    }
}

impl RestartJob {
    /// The room that the job needs reserved before it runs again.
    fn room(
        &self,
        order: &Order,
        ledger: &QuotaLedger,
        quotas: &Quotas,
        context: &Context<'_>,
    ) -> Result<Vec<LedgerEvent>, ControlRefusal> {
        match order.import() {
            Some(import) => Ok(import.reserved(self.job, ledger, quotas, context.now)?),
            None => Ok(Vec::new()),
        }
    }
}

/// Moves a job in the queue; of one that runs, for the next time that it waits. To go before the jobs of
/// others (above 0) takes `training.advanced`; standing back takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct ChangeJobPriority {
    /// The job.
    pub job: JobId,
    /// From now on; see [`PRIORITIES`].
    pub priority: i8,
}

/// `needs`, and what it takes to give a job `priority` that has `present`.
pub(super) fn for_priority(needs: Needs, priority: i8, present: i8) -> Needs {
    match priority > 0.max(present) {
        true => needs.and(Action::TrainingAdvanced, Resource::kind(Job::KIND)),
        false => needs,
    }
}

impl Command for ChangeJobPriority {
    type Refusal = ControlRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let present = loaded.get::<Job>(self.job).priority;
        for_priority(may_update(loaded, self.job), self.priority, present).into()
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<ControlRefusal> {
        let job: Job = loaded.get(self.job);
        let priority = self.priority;
        if !PRIORITIES.contains(&priority) {
            return Err(ControlRefusal::Priority(priority).into());
        }
        if job.state.is_final() {
            return Err(ControlRefusal::AlreadyEnded.into());
        }
        if job.priority == priority {
            return Ok(NewEvents::none());
        }
        Ok(NewEvents::record::<Job>(
            self.job,
            &JobEvent::PriorityChanged { priority },
        ))
    }
}
