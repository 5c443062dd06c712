//! Pausing, resuming, restarting, cloning and moving jobs (JB-3), and the time that is metered for them.

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
        report::{News, ReportRefusal},
        spec::HyperParameters,
        start::{CancelJob, StartJobRefusal},
        terms::{Abilities, Terms},
    },
    models::model::{Model, ModelKind},
};
use uuid::Uuid;

use super::scene::*;
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
        .then_records([job_fact(&paused(0))]);
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
        abilities: Abilities::default(),
        owner: ada(),
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
        .then_records([job_fact(&requested(1))]);
    let after = a_job([leased(1), started(1), requested(1), saved(1, 50)])
        .when(give_back(1, false))
        .by(worker())
        .then_records([job_fact(&given_back(1, false)), job_fact(&paused(1))]);
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
        .then_records([job_fact(&given_back(1, true)), job_fact(&paused(1))]);
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
    let resumed = |attempt| job_fact(&JobEvent::Resumed { attempt });
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
        .then_records([job_fact(&given_back(1, false))]);
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

fn restart(from: RestartFrom) -> RestartJob {
    RestartJob { job: JOB, from }
}

fn over(since: impl IntoIterator<Item = JobEvent>) -> crate::support::sentence::Given {
    given()
        .a_workshop()
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
            job_fact(&restarted),
            fact::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
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
            abilities: Abilities::default(),
            owner: ada(),
        })
        .by(worker())
        .then_records([job_fact(&leased_before(3, 0))]);
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
    let changed = |priority| job_fact(&JobEvent::PriorityChanged { priority });
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

fn copy() -> CloneJob {
    CloneJob {
        source: JOB,
        job: JobId(Uuid::from_u128(0x10c)),
        model: ModelId(Uuid::from_u128(0x30de2)),
        owner: ADA,
        name: None,
        experiment: None,
        base_shape: None,
        spec: None,
        terms: None,
        max_attempts: 3,
        longest_run_seconds: None,
    }
}

fn queued_by(given: crate::support::sentence::Given, command: &CloneJob) -> domain::jobs::job::Order {
    let mut log = given.log;
    let outcome = log.run(command, &ada(), NOW);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    log.state::<Job>(command.job).order.expect("queued")
}

/// JB-3: a clone has the same specification and versions, and nothing of the past.
#[test]
fn a_clone_is_the_same_order_but_for_what_is_given() {
    let first = over([leased(1), saved(1, 50), failed(1, "X", "x")]);
    let order = queued_by(first, &copy());
    let expected = domain::jobs::job::Order {
        job: copy().job,
        model: copy().model,
        cloned_from: Some(JOB),
        ..super::scene::order()
    };
    assert_eq!(order, expected);
    let mut spec = scratch();
    spec.parameters = HyperParameters {
        steps: 70,
        ..spec.parameters
    };
    let other = CloneJob {
        name: Some("Another".into()),
        spec: Some(spec),
        terms: Some(Terms {
            priority: -2,
            ..Terms::default()
        }),
        ..copy()
    };
    let order = queued_by(a_job([]), &other);
    assert_eq!(
        (order.name.as_str(), order.spec.parameters.steps),
        ("Another", 70)
    );
    assert_eq!((order.terms.priority, order.cloned_from), (-2, Some(JOB)));
}

/// JB-1, JB-3: a clone is checked like any other order.
#[test]
fn a_bad_clone_is_refused_with_all_its_problems() {
    let mut spec = scratch();
    spec.parameters.steps = 0;
    let bad = CloneJob {
        name: Some(String::new()),
        spec: Some(spec),
        ..copy()
    };
    let outcome = a_job([]).log.run(&bad, &ada(), NOW);
    let Outcome::Refused(refusal, facts) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(facts.is_empty());
    let each = refusal.each();
    assert!(
        matches!(&each[..], [StartJobRefusal::Name(_), StartJobRefusal::Spec(problems)] if problems.0.len() == 2),
        "{each:?}"
    );
}

/// JB-6: the time on a worker is recorded with the end of each attempt, before it.
#[test]
fn worker_time_is_metered_at_every_end() {
    let under_way = || a_job([leased_before(1, 12), started(1)]);
    let after = under_way()
        .when(give_back(1, false))
        .by(worker())
        .then_records([job_fact(&metered(1, 12_000)), job_fact(&given_back(1, false))]);
    assert_eq!(after.log.state::<Job>(JOB).used, 12_000);
    let cancel = CancelJob {
        job: JOB,
        reason: "a typo".into(),
    };
    under_way().when(cancel).by(ada()).then_records([
        job_fact(&metered(1, 12_000)),
        job_fact(&cancelled(1)),
        place_released(),
    ]);
    let failure = News::Failed {
        code: "X".into(),
        message: "x".into(),
    };
    under_way().when(report(1, failure)).by(worker()).then_records([
        job_fact(&metered(1, 12_000)),
        job_fact(&failed(1, "X", "x")),
        place_released(),
    ]);
    let mut log = under_way().log;
    log.run(&report(1, completion()), &worker(), NOW);
    assert_eq!(log.state::<Job>(JOB).used, 12_000);
    assert_eq!(log.state::<Job>(JOB).state, JobState::Completed);
}

/// Clocks that jump backwards meter nothing, and nothing breaks.
#[test]
fn a_clock_that_ran_backwards_meters_no_time() {
    a_job([leased_before(1, -3_600)])
        .when(give_back(1, false))
        .by(worker())
        .then_records([job_fact(&metered(1, 0)), job_fact(&given_back(1, false))]);
}

/// Two jobs that write one artefact: the first keeps it, the second fails by name and writes nothing there.
#[test]
fn the_model_of_another_job_is_not_written_again() {
    let registered = base_registered(ModelKind::Full, domain::authz::Visibility::Private);
    let mut log = a_job([leased(1), started(1)])
        .stream::<Model>(MODEL, [registered])
        .log;
    let before = log.events::<Model>(MODEL).len();
    let outcome = log.run(&report(1, completion()), &worker(), NOW);
    assert!(
        matches!(&outcome, Outcome::Refused(ReportRefusal::ModelTaken, facts) if facts.len() == 2),
        "{outcome:?}"
    );
    assert_eq!(log.events::<Model>(MODEL).len(), before);
    assert!(matches!(
        log.events::<Job>(JOB).last(),
        Some(JobEvent::Failed { code, .. }) if code == "MODEL_TAKEN"
    ));
    assert_eq!(log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs), 0);
}

/// JB-1: everything that is wrong with an order is named at once, and its terms are part of it.
#[test]
fn all_problems_of_an_order_are_named_together() {
    let mut wrong = start();
    wrong.name = String::new();
    wrong.dataset = (DATASET, Some(9));
    wrong.base = Some((BASE, None));
    wrong.spec.parameters.steps = 0;
    wrong.terms.labels = ["NO".to_owned()].into();
    wrong.terms.max_run_seconds = Some(61);
    wrong.longest_run_seconds = Some(60);
    let outcome = given().a_workshop().log.run(&wrong, &ada(), NOW);
    let Outcome::Refused(refusal, _) = outcome else {
        panic!("{outcome:?}")
    };
    let each = refusal.each();
    assert!(
        matches!(
            &each[..],
            [
                StartJobRefusal::Name(_),
                StartJobRefusal::NoDatasetVersion,
                StartJobRefusal::BaseUnwanted,
                StartJobRefusal::Spec(problems)
            ] if problems.0.len() == 4
        ),
        "{each:?}"
    );
}

/// JB-6: a job that does not say how long it may run may run as long as any.
#[test]
fn the_longest_run_is_the_default() {
    let mut log = given().a_workshop().log;
    let command = domain::jobs::start::StartJob {
        longest_run_seconds: Some(3_600),
        ..start()
    };
    log.run(&command, &ada(), NOW);
    let order = log.state::<Job>(JOB).order.expect("queued");
    assert_eq!(order.terms.max_run_seconds, Some(3_600));
}

/// JB-6: to be queued before others takes the permission too.
#[test]
fn a_high_priority_takes_a_permission_from_the_start() {
    let command = || domain::jobs::start::StartJob {
        terms: Terms {
            priority: 1,
            ..Terms::default()
        },
        ..start()
    };
    given()
        .a_workshop()
        .when(command())
        .by(ada())
        .then_denied("role", Concealment::Forbidden);
    let outcome = given()
        .a_workshop()
        .log
        .run(&command(), &user(ADA, &["engineer_ii"]), NOW);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}
