//! How jobs come to workers and back.

use domain::{
    access::{assignment::Assignments, ledger::QuotaLedger, quota::Quota, role::Role},
    aggregate::Aggregate,
    authz::{AccountState, Concealment, Principal},
    identity::user::{ErasureReason, User, UserEvent},
    jobs::{
        job::{Job, JobEvent, JobState},
        lease::{InterruptJob, InterruptRefusal, LeaseJob, LeaseRefusal},
        requirements::WorkerCapabilities,
    },
};

use super::scenario::*;
use crate::support::{log::Outcome, *};

fn lease() -> LeaseJob {
    LeaseJob {
        job: JOB,
        worker: WORKER,
        worker_name: "host/cpu".into(),
        capabilities: WorkerCapabilities::default(),
    }
}

/// JB-4: attempts are numbered from 1; the number is the fencing token.
#[test]
fn a_waiting_job_is_leased_under_the_next_number() {
    a_job([])
        .when(lease())
        .by(worker())
        .then_records([expected_job_event(&leased_before(1, 0))]);
    let interrupted = JobEvent::Interrupted {
        attempt: 1,
        cause: "lost".into(),
        counts: true,
    };
    a_job([leased(1), interrupted])
        .when(lease())
        .by(worker())
        .then_records([expected_job_event(&leased_before(2, 0))]);
}

/// JB-4: of two workers that both saw it waiting, one has it.
#[test]
fn of_two_leases_at_once_one_wins() {
    let mut log = a_job([]).person(&ada()).log;
    let other = LeaseJob {
        worker: OTHER_WORKER,
        ..lease()
    };
    let (seen_by_one, seen_by_other) = (log.load(&lease()), log.load(&other));
    log.run_on(&seen_by_one, &lease(), &worker(), NOW)
        .expect("the first is recorded");
    let conflict = log.run_on(&seen_by_other, &other, &Principal::Worker(OTHER_WORKER), NOW);
    assert_eq!(conflict.expect_err("the job has moved on").category(), "jobs.job");
    assert_eq!(log.state::<Job>(JOB).worker, Some(WORKER));
}

#[test]
fn a_job_that_does_not_wait_is_not_leased() {
    for since in [
        vec![leased(1)],
        vec![leased(1), started(1)],
        vec![cancelled(0)],
        vec![failed(0, "X", "x")],
    ] {
        a_job(since)
            .when(lease())
            .by(worker())
            .then_refused(LeaseRefusal::NotWaiting);
    }
    given()
        .when(lease())
        .by(worker())
        .then_refused(LeaseRefusal::NotWaiting);
}

/// AC-6: access is checked again when a worker starts; lost access fails the job and frees its place.
#[test]
fn a_job_whose_owner_lost_access_is_failed() {
    let deactivated = in_state(ada(), AccountState::Deactivated);
    for owner in [deactivated, user(ADA, &["analyst"])] {
        let mut log = a_job([]).person(&owner).log;
        let outcome = log.run(&lease(), &worker(), NOW);
        assert!(
            matches!(&outcome, Outcome::Refused(LeaseRefusal::AccessLost, events) if events.len() == 2),
            "{outcome:?}"
        );
        let job: Job = log.state(JOB);
        assert_eq!((job.state, job.attempt), (JobState::Failed, 0));
        assert!(matches!(
            log.events::<Job>(JOB).last(),
            Some(JobEvent::Failed { code, .. }) if code == "ACCESS_LOST"
        ));
        assert_eq!(log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs), 0);
    }
}

/// AC-6: roles without an account, and an account that was erased, train nothing.
#[test]
fn a_job_whose_owner_is_gone_is_failed() {
    let erased = UserEvent::Erased {
        reason: ErasureReason::Requested,
    };
    let gone = [
        a_job([]).stream::<Assignments>(ADA, [granted(ADA, "of_nobody")]),
        a_job([]).person(&ada()).stream::<User>(ADA, [erased]),
    ];
    for given in gone {
        let mut log = given.log;
        let outcome = log.run(&lease(), &worker(), NOW);
        assert!(
            matches!(&outcome, Outcome::Refused(LeaseRefusal::AccessLost, events) if events.len() == 2),
            "{outcome:?}"
        );
        assert_eq!(log.state::<Job>(JOB).state, JobState::Failed);
    }
}

/// AC-6: the lease stands on the owner's rights at its own place in the log, not on what the worker saw before.
#[test]
fn a_role_taken_away_between_look_and_lease_is_seen() {
    let mut log = a_job([]).person(&ada()).log;
    let seen = log.load(&lease());
    log.person(&user(ADA, &["analyst"]));
    let moved = log.run_on(&seen, &lease(), &worker(), NOW);
    let moved = moved.expect_err("the rights have moved on").category().to_owned();
    assert!(
        moved == Assignments::CATEGORY || moved == Role::CATEGORY,
        "{moved}"
    );
    let again = log.run(&lease(), &worker(), NOW);
    assert!(
        matches!(again, Outcome::Refused(LeaseRefusal::AccessLost, _)),
        "{again:?}"
    );
}

#[test]
fn people_do_not_lease() {
    a_job([])
        .when(lease())
        .by(ada())
        .then_denied("system_only", Concealment::Forbidden);
}

fn interrupt(attempt: u32) -> InterruptJob {
    InterruptJob {
        job: JOB,
        attempt,
        cause: "the worker is silent".into(),
        counts: true,
    }
}

fn interrupted(attempt: u32) -> JobEvent {
    JobEvent::Interrupted {
        attempt,
        cause: "the worker is silent".into(),
        counts: true,
    }
}

/// JB-4: back into the queue, with its checkpoint, and still holding its place.
#[test]
fn a_lost_worker_sends_the_job_back_with_its_checkpoint() {
    let saved = JobEvent::CheckpointSaved {
        attempt: 1,
        checkpoint: checkpoint(50),
    };
    let after = a_job([leased(1), started(1), saved])
        .when(interrupt(1))
        .by(Principal::System("reaper"))
        .then_records([expected_job_event(&interrupted(1))]);
    let job: Job = after.log.state(JOB);
    assert_eq!(
        (job.state, job.worker, job.checkpoint),
        (JobState::Queued, None, Some(checkpoint(50)))
    );
    assert_eq!(after.log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs), 1);
}

/// JB-6: a poison job cannot block the queue.
#[test]
fn a_job_is_given_up_when_its_attempts_are_used_up() {
    let history = [leased(1), interrupted(1), leased(2), interrupted(2), leased(3)];
    let given_up = failed(
        3,
        "ATTEMPTS_USED_UP",
        "given up after 3 attempts; the last one ended: the worker is silent",
    );
    a_job(history)
        .when(interrupt(3))
        .by(Principal::System("reaper"))
        .then_records([
            expected_job_event(&interrupted(3)),
            expected_job_event(&given_up),
            place_released(),
        ]);
}

/// WK-2: a worker that drains costs its job nothing.
#[test]
fn draining_does_not_use_up_the_last_attempt() {
    let history = [leased(1), interrupted(1), leased(2), interrupted(2), leased(3)];
    a_job(history)
        .when(InterruptJob {
            counts: false,
            ..interrupt(3)
        })
        .by(worker())
        .then_records([expected_job_event(&drained(3))]);
}

fn drained(attempt: u32) -> JobEvent {
    JobEvent::Interrupted {
        attempt,
        cause: "the worker is silent".into(),
        counts: false,
    }
}

/// WK-2, JB-6: attempts that were drained do not bring the end nearer.
#[test]
fn drained_attempts_leave_the_whole_budget() {
    let history = [leased(1), drained(1), leased(2), drained(2), leased(3)];
    a_job(history)
        .when(interrupt(3))
        .by(Principal::System("reaper"))
        .then_records([expected_job_event(&interrupted(3))]);
}

/// JB-4: a worker neither takes a job for another worker nor takes one from it.
#[test]
fn a_worker_speaks_for_itself_only() {
    let other = || Principal::Worker(OTHER_WORKER);
    a_job([])
        .when(lease())
        .by(other())
        .then_denied("system_only", Concealment::Forbidden);
    a_job([leased(1)])
        .when(interrupt(1))
        .by(other())
        .then_denied("lease", Concealment::Forbidden);
}

/// AC-6: access is checked of the job's owner; that others may train, an administrator even, does not help.
#[test]
fn somebody_elses_access_does_not_start_a_job() {
    let outcome = a_job([])
        .person(&user(ADA, &["analyst"]))
        .person(&bob())
        .person(&root())
        .log
        .run(&lease(), &worker(), NOW);
    assert!(
        matches!(&outcome, Outcome::Refused(LeaseRefusal::AccessLost, _)),
        "{outcome:?}"
    );
}

/// JB-4: what is said of an older attempt does not touch the newer one.
#[test]
fn a_stale_or_idle_attempt_is_not_interrupted() {
    let stale = InterruptRefusal::StaleAttempt;
    a_job([leased(1), interrupted(1), leased(2)])
        .when(interrupt(1))
        .then_refused(stale);
    a_job([leased(1), interrupted(1)])
        .when(interrupt(1))
        .then_refused(stale);
    a_job([leased(1), cancelled(1)])
        .when(interrupt(1))
        .then_refused(stale);
    a_job([]).when(interrupt(0)).then_refused(stale);
    given().when(interrupt(1)).then_refused(stale);
}

#[test]
fn people_do_not_interrupt() {
    a_job([leased(1)])
        .when(interrupt(1))
        .by(root())
        .then_denied("system_only", Concealment::Forbidden);
}
