//! How jobs come to workers, and come back when a worker is lost (JB-4).

use super::{
    job::{Job, JobEvent, JobKind, JobState, Order, gpu_item},
    requirements::{Unfit, WorkerCapabilities},
    start::release,
    worker::Worker,
};
use time::OffsetDateTime;

use crate::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::GpuHoursExceeded,
    },
    authz::{self, Circumstances, Principal, Requirement},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{JobId, WorkerId},
    identity::user::User,
    rights,
};

/// Why a worker does not get a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefusal {
    /// Another worker was first, or the job is over.
    #[error("the job is not waiting for a worker")]
    NotWaiting,
    /// AC-6: the owner has lost access since; the job has been failed.
    #[error("the owner of the job no longer has access to what it uses; the job has been failed")]
    AccessLost,
    /// WK-2: it was told to take no more jobs.
    #[error("the worker is draining and takes no more jobs")]
    Draining,
    /// JB-6: it is not what the job demands.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// QU-1: it computes on a GPU, and the owner has no hours left. The job waits for another worker, or month.
    #[error(transparent)]
    GpuHours(#[from] GpuHoursExceeded),
}

/// Takes a waiting job. Whether the owner may still do what was ordered, with all that it uses, is checked again (AC-6),
/// by the rights that the log gives the owner now.
#[derive(Clone, Debug)]
pub struct LeaseJob {
    /// The job.
    pub job: JobId,
    /// The worker.
    pub worker: WorkerId,
    /// Its name: host and device.
    pub worker_name: String,
    /// What it can do.
    pub capabilities: WorkerCapabilities,
}

impl LeaseJob {
    /// Why the owner may not do what was ordered any more, by the rights of now.
    fn access_lost(loaded: &LoadedState, order: &Order, now: OffsetDateTime) -> Option<String> {
        if loaded
            .peek::<User>(order.owner)
            .is_none_or(|account| account.profile.is_none())
        {
            return Some("the owner of the job has no account any more".to_owned());
        }
        let needs = match &order.kind {
            JobKind::Training(training) => training.needs(loaded, order.owner),
            JobKind::Import(import) => import.needs(),
        };
        let owner = Principal::User(Box::new(rights::of_account(order.owner, loaded)));
        authz::permit(&owner, &needs.into(), &Circumstances::at(now))
            .err()
            .map(|denied| denied.to_string())
    }
}

impl Command for LeaseJob {
    type Refusal = LeaseRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job).read::<Worker>(self.worker);
        if let Some(order) = loaded.get::<Job>(self.job).order {
            rights::read_quotas(order.owner, loaded, reads);
            match &order.kind {
                JobKind::Training(training) => training.reads(loaded, reads),
                JobKind::Import(_) => {}
            }
        }
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Worker(self.worker)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<LeaseRefusal> {
        let job: Job = loaded.get(self.job);
        let Some(order) = &job.order else {
            return Err(LeaseRefusal::NotWaiting.into());
        };
        if job.state != JobState::Queued {
            return Err(LeaseRefusal::NotWaiting.into());
        }
        if loaded.get::<Worker>(self.worker).draining {
            return Err(LeaseRefusal::Draining.into());
        }
        self.capabilities
            .fit(order.kind.name(), &order.requirements)
            .map_err(LeaseRefusal::Unfit)?;
        if let Some(why) = Self::access_lost(loaded, order, context.now) {
            let failed = JobEvent::Failed {
                attempt: job.attempt,
                code: "ACCESS_LOST".to_owned(),
                message: why,
            };
            let record = release(NewEvents::record::<Job>(self.job, &failed), order, loaded);
            return Err(crate::execute::Refused {
                reason: LeaseRefusal::AccessLost,
                record,
            });
        }
        let (attempt, gpu) = (job.attempt + 1, self.capabilities.gpu());
        if gpu {
            let ledger: QuotaLedger = loaded.get(order.owner);
            ledger
                .gpu_hours_left(&rights::quotas(order.owner, loaded), context.now)
                .map_err(LeaseRefusal::GpuHours)?;
        }
        let leased = JobEvent::Leased {
            attempt,
            worker: self.worker,
            worker_name: self.worker_name.clone(),
            leased_at: Some(context.now),
            gpu,
        };
        let changes = NewEvents::record::<Job>(self.job, &leased);
        if !gpu {
            return Ok(changes);
        }
        let began = LedgerEvent::GpuTimeBegan {
            began_at: context.now,
            item: gpu_item(self.job, attempt),
        };
        Ok(changes.and::<QuotaLedger>(order.owner, &began))
    }
}

/// Why an interruption is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterruptRefusal {
    /// A newer attempt is under way, or the job is over or waiting.
    #[error("this attempt is not under way")]
    StaleAttempt,
}

/// Takes a job from a worker that is lost or gives it back. It is queued again; or paused, when that was
/// asked for; or failed when its attempts are used up, so that a poison job is set aside and cannot block the
/// queue (JB-6).
#[derive(Clone, Debug)]
pub struct InterruptJob {
    /// The job.
    pub job: JobId,
    /// The attempt that ended.
    pub attempt: u32,
    /// The reason.
    pub cause: String,
    /// Whether it counts against the attempts: not when a worker drains.
    pub counts: bool,
}

impl Command for InterruptJob {
    type Refusal = InterruptRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
        if let Some(order) = loaded.get::<Job>(self.job).order {
            reads.read::<QuotaLedger>(order.owner);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        Requirement::LeaseOf(loaded.get::<Job>(self.job).resource(self.job))
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<InterruptRefusal> {
        let job: Job = loaded.get(self.job);
        let Some(order) = &job.order else {
            return Err(InterruptRefusal::StaleAttempt.into());
        };
        if !job.state.is_leased() || job.attempt != self.attempt {
            return Err(InterruptRefusal::StaleAttempt.into());
        }
        let interrupted = JobEvent::Interrupted {
            attempt: self.attempt,
            cause: self.cause.clone(),
            counts: self.counts,
        };
        let closing = job.closing(self.job, context.now);
        let changes = closing.and::<Job>(self.job, &interrupted);
        let losses = job.losses + u32::from(self.counts);
        if !self.counts || losses < order.max_attempts {
            return Ok(match job.pausing {
                None => changes,
                Some(reason) => {
                    let attempt = self.attempt;
                    changes.and::<Job>(self.job, &JobEvent::Paused { attempt, reason })
                }
            });
        }
        let failed = JobEvent::Failed {
            attempt: self.attempt,
            code: "ATTEMPTS_USED_UP".to_owned(),
            message: format!(
                "given up after {losses} attempts; the last one ended: {}",
                self.cause
            ),
        };
        Ok(release(changes.and::<Job>(self.job, &failed), order, loaded))
    }
}
