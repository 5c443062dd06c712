//! What is recorded with the end of an attempt: its time, and the model unless somebody else has it.

use super::*;

/// JB-6: the time on a worker is recorded with the end of each attempt, before it.
#[test]
fn worker_time_is_metered_at_every_end() {
    let under_way = || a_job([leased_before(1, 12), started(1)]);
    let after = under_way().when(give_back(1, false)).by(worker()).then_records([
        expected_job_event(&metered(1, 12_000)),
        expected_job_event(&given_back(1, false)),
    ]);
    assert_eq!(after.log.state::<Job>(JOB).used, 12_000);
    let cancel = CancelJob {
        job: JOB,
        reason: "a typo".into(),
    };
    under_way().when(cancel).by(ada()).then_records([
        expected_job_event(&metered(1, 12_000)),
        expected_job_event(&cancelled(1)),
        place_released(),
    ]);
    let failure = AttemptReport::Failed {
        code: "X".into(),
        message: "x".into(),
    };
    under_way().when(report(1, failure)).by(worker()).then_records([
        expected_job_event(&metered(1, 12_000)),
        expected_job_event(&failed(1, "X", "x")),
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
        .then_records([
            expected_job_event(&metered(1, 0)),
            expected_job_event(&given_back(1, false)),
        ]);
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
        matches!(&outcome, Outcome::Refused(ReportRefusal::ModelTaken, events) if events.len() == 2),
        "{outcome:?}"
    );
    assert_eq!(log.events::<Model>(MODEL).len(), before);
    assert!(matches!(
        log.events::<Job>(JOB).last(),
        Some(JobEvent::Failed { code, .. }) if code == "MODEL_TAKEN"
    ));
    assert_eq!(log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs), 0);
}
