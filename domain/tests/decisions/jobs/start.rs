//! Starting and cancelling.

use domain::{
    access::{
        ledger::QuotaLedger,
        quota::{Quota, QuotaExceeded},
    },
    authz::{Concealment, Principal, Visibility},
    datasets::dataset::{Dataset, DatasetEvent},
    jobs::{
        job::{Job, JobEvent},
        spec::Precision,
        start::{CancelJob, CancelRefusal, StartJob, StartJobRefusal},
    },
    models::model::{Model, ModelEvent, ModelKind},
    projects::{experiment::Experiment, project::Project},
};

use super::scenario::*;
use crate::support::{log::Outcome, *};

/// JB-1, QU-1: what was ordered is fixed, and a place among the concurrent jobs is taken.
#[test]
fn a_job_from_scratch_is_queued() {
    given()
        .a_project_with_data()
        .when(start())
        .by(ada())
        .then_records([
            expected_job_event(&queued()),
            expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
        ]);
}

/// JB-1
#[test]
fn a_job_on_a_base_fixes_the_newest_version_of_both() {
    let queued = JobEvent::Queued(Box::new(order_lora()));
    given()
        .a_project_with_data()
        .when(start_lora())
        .by(ada())
        .then_records([
            expected_job_event(&queued),
            expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
        ]);
}

/// DS-2: old versions stay usable.
#[test]
fn an_older_version_of_the_dataset_can_be_named() {
    let command = StartJob {
        dataset: (DATASET, Some(1)),
        ..start()
    };
    given()
        .a_project_with_data()
        .stream::<Dataset>(
            DATASET,
            [DatasetEvent::VersionAdded(dataset_version(2, "second"))],
        )
        .when(command)
        .by(ada())
        .then_records([
            expected_job_event(&queued()),
            expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
        ]);
}

/// AC-6: project, dataset, base model and the permission to train are each needed.
#[test]
fn each_thing_that_a_job_uses_must_be_accessible() {
    given()
        .a_project_with_data()
        .when(start())
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .a_project_with_data()
        .when(start())
        .by(user(ADA, &["analyst"]))
        .then_denied("role", Concealment::Forbidden);
    given()
        .a_project_with_data()
        .when(start())
        .by(Principal::Anonymous)
        .then_denied("anonymous", Concealment::Unauthenticated);
    given()
        .when(start())
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
    let project_and_experiment = || {
        given()
            .stream::<Project>(PROJECT, [project_created()])
            .stream::<Experiment>(EXPERIMENT, [experiment_created()])
    };
    project_and_experiment()
        .when(start())
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
    let no_base = StartJob {
        base: Some((MODEL, None)),
        ..start_lora()
    };
    given()
        .a_project_with_data()
        .when(no_base)
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
}

/// AC-6: Ada's project does not open Bob's dataset or base to her.
#[test]
fn a_dataset_or_base_of_others_is_not_found() {
    let of_bob = DatasetEvent::Created {
        dataset: DATASET,
        owner: BOB,
        name: "Poems".into(),
        description: String::new(),
        visibility: Visibility::Private,
    };
    let place = || {
        given()
            .stream::<Project>(PROJECT, [project_created()])
            .stream::<Experiment>(EXPERIMENT, [experiment_created()])
    };
    place()
        .stream::<Dataset>(
            DATASET,
            [of_bob, DatasetEvent::VersionAdded(dataset_version(1, "first"))],
        )
        .when(start())
        .by(ada())
        .then_denied("stranger", Concealment::NotFound);
    let base_of_bob = ModelEvent::Registered {
        model: BASE,
        owner: BOB,
        name: "Base".into(),
        description: String::new(),
        content: ModelKind::Full,
        visibility: Visibility::Private,
    };
    place()
        .stream::<Dataset>(
            DATASET,
            [
                dataset_created(Visibility::Private),
                DatasetEvent::VersionAdded(dataset_version(1, "first")),
            ],
        )
        .stream::<Model>(BASE, [base_of_bob, ModelEvent::VersionAdded(imported())])
        .when(start_lora())
        .by(ada())
        .then_denied("stranger", Concealment::NotFound);
}

/// JB-1: the dataset must have something to train on.
#[test]
fn a_dataset_without_the_version_is_refused() {
    let missing = StartJob {
        dataset: (DATASET, Some(9)),
        ..start()
    };
    given()
        .a_project_with_data()
        .when(missing)
        .by(ada())
        .then_refused(StartJobRefusal::NoDatasetVersion);
    given()
        .stream::<Project>(PROJECT, [project_created()])
        .stream::<Experiment>(EXPERIMENT, [experiment_created()])
        .stream::<Dataset>(DATASET, [dataset_created(Visibility::Private)])
        .when(start())
        .by(ada())
        .then_refused(StartJobRefusal::NoDatasetVersion);
}

/// JB-1: method and base fit each other.
#[test]
fn the_base_must_fit_the_method() {
    let without = StartJob {
        base: None,
        ..start_lora()
    };
    given()
        .a_project_with_data()
        .when(without)
        .by(ada())
        .then_refused(StartJobRefusal::BaseMissing);
    let unwanted = StartJob {
        base: Some((BASE, None)),
        ..start()
    };
    given()
        .a_project_with_data()
        .when(unwanted)
        .by(ada())
        .then_refused(StartJobRefusal::BaseUnwanted);
    let missing = StartJob {
        base: Some((BASE, Some(2))),
        ..start_lora()
    };
    given()
        .a_project_with_data()
        .when(missing)
        .by(ada())
        .then_refused(StartJobRefusal::NoBaseVersion);
    let adapter = base_registered(ModelKind::Adapter, Visibility::Private);
    given()
        .a_project_with_data()
        .stream::<Model>(BASE, [adapter])
        .when(start_lora())
        .by(ada())
        .then_refused(StartJobRefusal::BaseIsAdapter);
}

/// JB-1: validated completely before it is queued, with every problem at once.
#[test]
fn a_bad_specification_is_refused_with_every_problem() {
    let mut command = start();
    command.spec.parameters.steps = 0;
    command.spec.parameters.batch_size = 0;
    let outcome = given().a_project_with_data().log.run(&command, &ada(), NOW);
    let Outcome::Refused(StartJobRefusal::Spec(problems), events) = outcome else {
        panic!("two settings are wrong: {outcome:?}");
    };
    let fields: Vec<_> = problems.0.iter().map(|problem| problem.field).collect();
    assert_eq!(
        fields,
        [
            "parameters.steps",
            "parameters.batchSize",
            "parameters.warmupSteps"
        ]
    );
    assert_eq!(events, []);
}

#[test]
fn a_job_needs_a_name() {
    let outcome = given().a_project_with_data().log.run(
        &StartJob {
            name: " ".into(),
            ..start()
        },
        &ada(),
        NOW,
    );
    assert!(
        matches!(&outcome, Outcome::Refused(StartJobRefusal::Name(_), _)),
        "{outcome:?}"
    );
}

/// QU-1
#[test]
fn a_guest_has_one_job_at_a_time() {
    given()
        .a_project_with_data()
        .stream::<QuotaLedger>(ADA, [taken(Quota::ConcurrentJobs, "another")])
        .when(start())
        .by(user(ADA, &["guest"]))
        .then_refused(
            QuotaExceeded {
                quota: Quota::ConcurrentJobs,
                limit: 1,
                used: 1,
            }
            .into(),
        );
}

/// QU-1: two starts that both saw the last place free cannot both have it.
#[test]
fn concurrent_starts_do_not_pass_the_quota() {
    let guest = user(ADA, &["guest"]);
    let mut log = given().a_project_with_data().person(&guest).log;
    let other = StartJob {
        job: domain::id::JobId(uuid::Uuid::from_u128(0x10c)),
        ..start()
    };
    let (seen_by_one, seen_by_other) = (log.load(&start()), log.load(&other));
    log.run_on(&seen_by_one, &start(), &guest, NOW)
        .expect("the first is recorded");
    let conflict = log.run_on(&seen_by_other, &other, &guest, NOW);
    assert_eq!(
        conflict.expect_err("the ledger has moved on").category(),
        "access.ledger"
    );
    assert!(matches!(
        log.run(&other, &guest, NOW),
        Outcome::Refused(StartJobRefusal::Quota(_), _)
    ));
}

#[test]
fn an_id_names_one_job() {
    a_job([])
        .when(start())
        .by(ada())
        .then_refused(StartJobRefusal::IdTaken);
}

/// The model that will come of it must not be somebody's already.
#[test]
fn the_model_of_a_job_is_a_new_one() {
    given()
        .a_project_with_data()
        .when(StartJob {
            model: BASE,
            ..start()
        })
        .by(ada())
        .then_refused(StartJobRefusal::IdTaken);
}

fn cancel() -> CancelJob {
    CancelJob {
        job: JOB,
        reason: " a typo ".into(),
    }
}

/// JB-3, QU-1
#[test]
fn a_job_is_cancelled_in_every_state_before_its_end() {
    let interrupted = JobEvent::Interrupted {
        attempt: 1,
        cause: "lost".into(),
        counts: true,
    };
    for (since, attempt) in [
        (vec![], 0),
        (vec![leased(1)], 1),
        (vec![leased(1), started(1)], 1),
        (vec![leased(1), interrupted], 1),
    ] {
        let after = a_job(since)
            .when(cancel())
            .by(ada())
            .then_records([expected_job_event(&cancelled(attempt)), place_released()]);
        assert_eq!(after.log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs), 0);
        after.when(cancel()).by(ada()).then_already_so();
    }
}

/// JB-3: the last checkpoint stays usable.
#[test]
fn a_cancelled_job_keeps_its_checkpoint() {
    let saved = JobEvent::CheckpointSaved {
        attempt: 1,
        checkpoint: checkpoint(50),
    };
    let after = a_job([leased(1), started(1), saved])
        .when(cancel())
        .by(ada())
        .then_records([expected_job_event(&cancelled(1)), place_released()]);
    assert_eq!(after.log.state::<Job>(JOB).checkpoint, Some(checkpoint(50)));
}

#[test]
fn a_job_that_has_ended_is_not_cancelled() {
    a_job([failed(0, "ACCESS_LOST", "gone")])
        .when(cancel())
        .by(ada())
        .then_refused(CancelRefusal::AlreadyEnded);
}

#[test]
fn the_reason_of_a_cancellation_has_a_limit_and_stands_on_one_line() {
    for reason in ["x".repeat(501), "gone\u{1b}[2J".to_owned()] {
        let problem = domain::text::reason(&reason).expect_err("unfit");
        a_job([])
            .when(CancelJob { reason, ..cancel() })
            .by(ada())
            .then_refused(CancelRefusal::Reason(problem));
    }
}

#[test]
fn the_job_of_others_is_not_found() {
    a_job([])
        .when(cancel())
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .when(cancel())
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
}

/// WK-1, JB-6: only GPUs compute in bfloat16, so the job waits for one without being told to.
#[test]
fn a_job_in_bfloat16_demands_a_gpu() {
    let mut command = start();
    command.spec.parameters.precision = Precision::Bf16;
    let mut order = with_spec(order(), |spec| spec.parameters.precision = Precision::Bf16);
    order.requirements.labels.insert("cuda".to_owned());
    given()
        .a_project_with_data()
        .when(command)
        .by(ada())
        .then_records([
            expected_job_event(&JobEvent::Queued(Box::new(order))),
            expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
        ]);
}
