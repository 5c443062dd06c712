//! The quota of GPU hours (QU-1): counted while an attempt is under way, asked for when a job is started and
//! leased.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{GpuHoursExceeded, Quotas},
    },
    authz::Principal,
    jobs::{
        control::{ControlRefusal, RestartJob},
        job::{Job, JobEvent, JobState, RestartFrom},
        lease::{InterruptJob, LeaseJob, LeaseRefusal},
        report::AttemptReport,
        requirements::{JobRequirements, WorkerCapabilities},
        start::{StartJob, StartJobRefusal},
    },
};
use time::{Duration, OffsetDateTime, Time};

use super::scenario::*;
use crate::support::{
    given_when_then::Given,
    log::{Log, Outcome},
    *,
};

const HOUR: u64 = 3_600_000;
const TWO_HOURS: std::time::Duration = std::time::Duration::from_secs(7_200);
const USED_UP: GpuHoursExceeded = GpuHoursExceeded {
    limit: 2,
    used: 2 * HOUR,
};

fn on_a_gpu() -> JobRequirements {
    JobRequirements {
        labels: ["cuda".to_owned()].into(),
        ..JobRequirements::default()
    }
}

const TWO_GPU_HOURS: Quotas = Quotas {
    gpu_hours: Some(2),
    ..Quotas::UNLIMITED
};

fn ada_with_two_hours() -> Principal {
    with_quotas(ada(), TWO_GPU_HOURS)
}

fn used(month: &str, milliseconds: u64) -> LedgerEvent {
    LedgerEvent::GpuTimeTaken {
        month: month.into(),
        milliseconds,
        item: "job_before/1".into(),
    }
}

fn project_with_data(of_ada: LedgerEvent) -> Given {
    given()
        .a_project_with_data()
        .person(&ada_with_two_hours())
        .stream::<QuotaLedger>(ADA, [of_ada])
}

fn start_on_a_gpu() -> StartJob {
    StartJob {
        requirements: on_a_gpu(),
        ..start()
    }
}

#[test]
fn a_job_for_a_gpu_is_refused_when_the_hours_of_the_month_are_used_up() {
    project_with_data(used("2026-11", 2 * HOUR))
        .when(start_on_a_gpu())
        .by(ada_with_two_hours())
        .then_refused(StartJobRefusal::GpuHours(USED_UP));
    let done = |ledger, command: &StartJob, at: OffsetDateTime| {
        matches!(
            project_with_data(ledger)
                .log
                .run(command, &ada_with_two_hours(), at),
            Outcome::Done(_)
        )
    };
    assert!(done(used("2026-11", 2 * HOUR - 1), &start_on_a_gpu(), NOW));
    assert!(
        done(used("2026-11", 2 * HOUR), &start(), NOW),
        "a processor takes it"
    );
    assert!(done(
        used("2026-11", 2 * HOUR),
        &start_on_a_gpu(),
        NOW + Duration::days(11)
    ));
}

#[test]
fn a_job_for_a_gpu_is_not_restarted_without_hours() {
    let order = domain::jobs::job::Order {
        requirements: on_a_gpu(),
        ..order()
    };
    project_with_data(used("2026-11", 2 * HOUR))
        .stream::<Job>(JOB, [JobEvent::Queued(Box::new(order)), cancelled(0)])
        .when(RestartJob {
            job: JOB,
            from: RestartFrom::Scratch,
        })
        .by(ada_with_two_hours())
        .then_refused(ControlRefusal::GpuHours(USED_UP));
}

fn lease(label: &str) -> LeaseJob {
    LeaseJob {
        job: JOB,
        worker: WORKER,
        worker_name: format!("host/{label}"),
        capabilities: WorkerCapabilities {
            labels: [label.to_owned()].into(),
            ..WorkerCapabilities::default()
        },
    }
}

/// A job that demands no GPU waits for a worker without one.
#[test]
fn a_worker_with_a_gpu_does_not_take_the_job_of_somebody_without_hours() {
    let waiting = || project_with_data(used("2026-11", 2 * HOUR)).stream::<Job>(JOB, [queued()]);
    waiting()
        .when(lease("cuda"))
        .by(worker())
        .then_refused(LeaseRefusal::GpuHours(USED_UP));
    let mut log = waiting().log;
    assert!(matches!(log.run(&lease("cpu"), &worker(), NOW), Outcome::Done(_)));
}

/// What is counted is what is metered, whoever ends the attempt, and in the months that it lies in.
#[test]
fn the_time_of_an_attempt_is_counted_with_its_end() {
    let leased = |gpu, since| JobEvent::Leased {
        attempt: 1,
        worker: WORKER,
        worker_name: "host/gpu".into(),
        leased_at: Some(since),
        gpu,
    };
    let failure = AttemptReport::Failed {
        code: "X".into(),
        message: "x".into(),
    };
    let after = |gpu, since| {
        let mut log = a_job([leased(gpu, since), started(1)]).log;
        log.run(&report(1, failure.clone()), &worker(), NOW);
        log.state::<QuotaLedger>(ADA).gpu_hours_left(&TWO_GPU_HOURS, NOW)
    };
    let since = NOW - Duration::hours(2);
    assert_eq!(after(true, since), Err(USED_UP));
    assert_eq!(after(false, since), Ok(Some(TWO_HOURS)));
    let first = NOW.replace_day(1).expect("a day").replace_time(Time::MIDNIGHT);
    let used = u64::try_from((NOW - first).whole_milliseconds()).expect("of this month");
    let exceeded = GpuHoursExceeded { limit: 2, used };
    assert_eq!(after(true, first - Duration::hours(9)), Err(exceeded));
}

/// An attempt counts while it is under way, and once when it has ended.
#[test]
fn an_attempt_under_way_counts_from_its_lease() {
    let mut log = given()
        .a_project_with_data()
        .person(&ada_with_two_hours())
        .stream::<Job>(JOB, [queued()])
        .log;
    let left = |log: &Log, at| log.state::<QuotaLedger>(ADA).gpu_hours_left(&TWO_GPU_HOURS, at);
    let Outcome::Done(_) = log.run(&lease("cuda"), &worker(), NOW) else {
        panic!("it is leased");
    };
    assert_eq!(left(&log, NOW + Duration::hours(1)), Ok(Some(TWO_HOURS / 2)));
    let later = NOW + Duration::hours(2);
    assert_eq!(left(&log, later), Err(USED_UP));
    let interrupt = InterruptJob {
        job: JOB,
        attempt: 1,
        cause: USED_UP.to_string(),
        counts: false,
    };
    let Outcome::Done(_) = log.run(&interrupt, &worker(), later) else {
        panic!("it is interrupted");
    };
    assert_eq!(left(&log, later + Duration::hours(1)), Err(USED_UP));
    assert_eq!(log.state::<Job>(JOB).state, JobState::Queued);
}
