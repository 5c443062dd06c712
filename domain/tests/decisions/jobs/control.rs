//! Pausing, resuming, restarting, cloning and moving jobs (JB-3), and the time that is metered for them.

mod cancellation;
mod ends;

use domain::{
    access::{
        ledger::QuotaLedger,
        quota::{Quota, QuotaExceeded, Quotas},
    },
    authz::{Concealment, Principal},
    execute::Command,
    id::{JobId, ModelId},
    jobs::{
        control::{ChangeJobPriority, ControlRefusal, PauseJob, RestartJob, ResumeJob},
        copy::CloneJob,
        job::{Job, JobEvent, JobState, RestartFrom},
        lease::{InterruptJob, LeaseJob},
        report::{AttemptReport, ReportRefusal},
        requirements::{JobRequirements, WorkerCapabilities},
        spec::HyperParameters,
        start::{CancelJob, StartJobRefusal},
    },
    models::model::{Model, ModelKind},
};
use uuid::Uuid;

use super::scenario::*;
use crate::support::{log::Outcome, *};

const WHY: &str = "others first";

fn pause() -> PauseJob {
    PauseJob {
        job: JOB,
        reason: WHY.into(),
    }
}

fn requested(attempt: u32) -> JobEvent {
    JobEvent::PauseRequested {
        attempt,
        reason: WHY.into(),
    }
}

fn paused(attempt: u32) -> JobEvent {
    JobEvent::Paused {
        attempt,
        reason: WHY.into(),
    }
}

fn given_back(attempt: u32, counts: bool) -> JobEvent {
    JobEvent::Interrupted {
        attempt,
        cause: "the job is paused".into(),
        counts,
    }
}

fn give_back(attempt: u32, counts: bool) -> InterruptJob {
    InterruptJob {
        job: JOB,
        attempt,
        cause: "the job is paused".into(),
        counts,
    }
}

fn completed(attempt: u32) -> JobEvent {
    JobEvent::Completed {
        attempt,
        model: domain::models::model::ModelVersionRef {
            model: MODEL,
            version: 1,
        },
        metrics: std::collections::BTreeMap::new(),
    }
}

fn saved(attempt: u32, step: u32) -> JobEvent {
    JobEvent::CheckpointSaved {
        attempt,
        checkpoint: checkpoint(step),
    }
}

/// JB-3: what waits leaves the queue at once, and nobody can lease it.
#[test]
fn a_waiting_job_is_paused_at_once() {
    let after = a_job([])
        .when(pause())
        .by(ada())
        .then_records([expected_job_event(&paused(0))]);
    assert_eq!(after.log.state::<Job>(JOB).state, JobState::Paused);
    assert_eq!(
        after.log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs),
        1,
        "it keeps its place"
    );
    let lease = LeaseJob {
        job: JOB,
        worker: WORKER,
        worker_name: "host/cpu".into(),
        capabilities: WorkerCapabilities::default(),
    };
    after
        .when(lease)
        .by(worker())
        .then_refused(domain::jobs::lease::LeaseRefusal::NotWaiting);
}

/// JB-3: a running job is asked back; when its worker gives it back it is paused and not queued.
#[test]
fn a_running_job_is_paused_when_its_worker_gives_it_back() {
    a_job([leased(1), started(1)])
        .when(pause())
        .by(ada())
        .then_records([expected_job_event(&requested(1))]);
    let after = a_job([leased(1), started(1), requested(1), saved(1, 50)])
        .when(give_back(1, false))
        .by(worker())
        .then_records([
            expected_job_event(&given_back(1, false)),
            expected_job_event(&paused(1)),
        ]);
    let job: Job = after.log.state(JOB);
    assert_eq!(
        (job.state, job.worker, job.checkpoint, job.pausing),
        (JobState::Paused, None, Some(checkpoint(50)), None)
    );
}

/// JB-3: a worker that is lost while it should pause pauses the job too, unless the budget is used up.
#[test]
fn a_worker_that_is_lost_while_pausing_leaves_a_paused_or_failed_job() {
    a_job([leased(1), requested(1)])
        .when(give_back(1, true))
        .by(Principal::System("reaper"))
        .then_records([
            expected_job_event(&given_back(1, true)),
            expected_job_event(&paused(1)),
        ]);
    let lost = [1, 2]
        .map(|attempt| [leased(attempt), given_back(attempt, true)])
        .concat();
    let after = a_job(lost.into_iter().chain([leased(3), requested(3)])).log;
    let mut after = after;
    after.run(&give_back(3, true), &Principal::System("reaper"), NOW);
    assert_eq!(after.state::<Job>(JOB).state, JobState::Failed);
}

/// JB-3: pausing and resuming twice is once.
#[test]
fn what_is_already_so_needs_no_fact() {
    a_job([paused(0)]).when(pause()).by(ada()).then_already_so();
    a_job([leased(1), requested(1)])
        .when(pause())
        .by(ada())
        .then_already_so();
    let resume = ResumeJob { job: JOB };
    a_job([]).when(resume).by(ada()).then_already_so();
    a_job([leased(1)]).when(resume).by(ada()).then_already_so();
}

/// JB-3: back to the queue, with the checkpoint; a pause under way is withdrawn.
#[test]
fn a_paused_job_is_resumed_with_its_checkpoint() {
    let resumed = |attempt| expected_job_event(&JobEvent::Resumed { attempt });
    let history = [
        leased(1),
        saved(1, 50),
        requested(1),
        given_back(1, false),
        paused(1),
    ];
    let after = a_job(history)
        .when(ResumeJob { job: JOB })
        .by(ada())
        .then_records([resumed(1)]);
    let job: Job = after.log.state(JOB);
    assert_eq!(
        (job.state, job.checkpoint),
        (JobState::Queued, Some(checkpoint(50)))
    );
    let after = a_job([leased(1), started(1), requested(1)])
        .when(ResumeJob { job: JOB })
        .by(ada())
        .then_records([resumed(1)]);
    let job: Job = after.log.state(JOB);
    assert_eq!((job.state, job.pausing), (JobState::Running, None));
    // The worker had heard of the pause already.
    let after = after
        .when(give_back(1, false))
        .by(worker())
        .then_records([expected_job_event(&given_back(1, false))]);
    assert_eq!(after.log.state::<Job>(JOB).state, JobState::Queued);
}

/// JB-3: what is over can be neither paused nor resumed nor moved, and the refusal says what can be done.
#[test]
fn a_job_that_is_over_says_what_can_be_done_instead() {
    for end in [completed(1), failed(1, "X", "x"), cancelled(1)] {
        let over = || a_job([leased(1), end.clone()]);
        over()
            .when(pause())
            .by(ada())
            .then_refused(ControlRefusal::AlreadyEnded);
        over()
            .when(ResumeJob { job: JOB })
            .by(ada())
            .then_refused(ControlRefusal::AlreadyEnded);
        over()
            .when(ChangeJobPriority {
                job: JOB,
                priority: -1,
            })
            .by(ada())
            .then_refused(ControlRefusal::AlreadyEnded);
    }
    assert!(
        ControlRefusal::AlreadyEnded
            .to_string()
            .contains("restart or clone")
    );
}

pub(crate) fn restart(from: RestartFrom) -> RestartJob {
    RestartJob { job: JOB, from }
}

fn over(since: impl IntoIterator<Item = JobEvent>) -> crate::support::given_when_then::Given {
    given()
        .a_project_with_data()
        .stream::<Job>(JOB, std::iter::once(queued()).chain(since))
}

/// JB-3: a job that failed goes on from its checkpoint, with a new retry budget and its attempts numbered on.
#[test]
fn a_failed_job_is_restarted_from_its_checkpoint() {
    let history = [
        leased(1),
        saved(1, 50),
        given_back(1, true),
        leased(2),
        failed(2, "DISK_FULL", "full"),
    ];
    let restarted = JobEvent::Restarted {
        attempt: 2,
        from: RestartFrom::Checkpoint,
    };
    let after = over(history)
        .when(restart(RestartFrom::Checkpoint))
        .by(ada())
        .then_records([
            expected_job_event(&restarted),
            expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
        ]);
    let job: Job = after.log.state(JOB);
    assert_eq!((job.state, job.attempt, job.losses), (JobState::Queued, 2, 0));
    assert_eq!((job.checkpoint, job.floor), (Some(checkpoint(50)), 0));
    // Asked twice, it is restarted once.
    let after = after
        .when(restart(RestartFrom::Checkpoint))
        .by(ada())
        .then_already_so();
    let after = after
        .when(LeaseJob {
            job: JOB,
            worker: WORKER,
            worker_name: "host/cpu".into(),
            capabilities: WorkerCapabilities::default(),
        })
        .by(worker())
        .then_records([expected_job_event(&leased_before(3, 0))]);
    after
        .when(restart(RestartFrom::Checkpoint))
        .by(ada())
        .then_refused(ControlRefusal::NotEnded);
}

/// JB-3: from scratch nothing of the earlier attempts is gone on from.
#[test]
fn a_restart_from_scratch_forgets_the_checkpoints() {
    let mut after = over([leased(1), saved(1, 50), cancelled(1)]).log;
    after.run(&restart(RestartFrom::Scratch), &ada(), NOW);
    let job: Job = after.state(JOB);
    assert_eq!((job.checkpoint, job.floor), (None, 1));
    over([leased(1), cancelled(1)])
        .when(restart(RestartFrom::Checkpoint))
        .by(ada())
        .then_refused(ControlRefusal::NoCheckpoint);
}

/// JB-3, MO-2: a completed job stays what its model says it was.
#[test]
fn what_cannot_be_restarted_says_what_can() {
    over([leased(1), completed(1)])
        .when(restart(RestartFrom::Scratch))
        .by(ada())
        .then_refused(ControlRefusal::Completed);
    assert!(ControlRefusal::Completed.to_string().contains("clone it"));
    for since in [vec![], vec![leased(1)], vec![paused(0)]] {
        a_job(since)
            .when(restart(RestartFrom::Scratch))
            .by(ada())
            .then_refused(ControlRefusal::NotEnded);
    }
}

/// QU-1: a restarted job takes its place again.
#[test]
fn a_restart_needs_a_free_place() {
    let none = Quotas {
        concurrent_jobs: Some(0),
        ..Quotas::UNLIMITED
    };
    let exceeded = QuotaExceeded {
        quota: Quota::ConcurrentJobs,
        limit: 0,
        used: 0,
    };
    over([cancelled(0)])
        .when(restart(RestartFrom::Scratch))
        .by(with_quotas(ada(), none))
        .then_refused(ControlRefusal::Quota(exceeded));
}

/// JB-6: standing back is free, going before others takes a permission.
#[test]
fn the_priority_of_a_job_is_changed() {
    let change = |priority| ChangeJobPriority { job: JOB, priority };
    let changed = |priority| expected_job_event(&JobEvent::PriorityChanged { priority });
    a_job([]).when(change(-3)).by(ada()).then_records([changed(-3)]);
    a_job([leased(1)])
        .when(change(-3))
        .by(ada())
        .then_records([changed(-3)]);
    a_job([]).when(change(0)).by(ada()).then_already_so();
    a_job([])
        .when(change(1))
        .by(ada())
        .then_denied("role", Concealment::Forbidden);
    a_job([])
        .when(change(10))
        .by(user(ADA, &["engineer_ii"]))
        .then_records([changed(10)]);
    a_job([])
        .when(change(11))
        .by(user(ADA, &["engineer_ii"]))
        .then_refused(ControlRefusal::Priority(11));
    // Who was given a high place may give some of it up.
    a_job([JobEvent::PriorityChanged { priority: 9 }])
        .when(change(5))
        .by(ada())
        .then_records([changed(5)]);
}

/// AC-4: what one may not see one may not touch, and what belongs to others stays theirs.
#[test]
fn others_jobs_are_not_touched() {
    fn denied<C: Command>(command: C) {
        a_job([])
            .when(command)
            .by(bob())
            .then_denied("stranger", Concealment::NotFound);
    }
    denied(pause());
    denied(ResumeJob { job: JOB });
    denied(restart(RestartFrom::Scratch));
    denied(ChangeJobPriority {
        job: JOB,
        priority: -1,
    });
    denied(copy());
    given()
        .when(pause())
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
}

pub(crate) fn copy() -> CloneJob {
    CloneJob {
        source: JOB,
        job: JobId(Uuid::from_u128(0x10c)),
        model: ModelId(Uuid::from_u128(0x30de2)),
        owner: ADA,
        name: None,
        experiment: None,
        base_shape: None,
        spec: None,
        requirements: None,
        max_attempts: 3,
        longest_run_seconds: None,
    }
}
