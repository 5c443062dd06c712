//! What workers report.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::Quota,
    },
    authz::{Concealment, Principal, Visibility},
    execute::{Command, Context},
    jobs::{
        job::{Job, JobEvent},
        progress::{Batch, LogLine, Point, Progress, ProgressEvent, ReportProgress},
        report::{AttemptReport, ReportRefusal},
    },
    models::model::{Lineage, Model, ModelEvent, ModelFile, ModelKind, ModelVersion, ModelVersionRef},
};
use uuid::Uuid;

use super::scenario::*;
use crate::support::*;

fn start_report() -> AttemptReport {
    AttemptReport::Started {
        from_step: 0,
        total_steps: 200,
        trained_parameters: 1_000,
    }
}

fn under_way() -> Vec<JobEvent> {
    vec![leased(1), started(1)]
}

#[test]
fn training_begins() {
    a_job([leased(1)])
        .when(report(1, start_report()))
        .by(worker())
        .then_records([expected_job_event(&started(1))]);
}

/// JB-4
#[test]
fn a_checkpoint_is_recorded_and_kept() {
    let after = a_job(under_way())
        .when(report(1, AttemptReport::Checkpoint(checkpoint(50))))
        .by(worker())
        .then_records([expected_job_event(&JobEvent::CheckpointSaved {
            attempt: 1,
            checkpoint: checkpoint(50),
        })]);
    assert_eq!(after.log.state::<Job>(JOB).checkpoint, Some(checkpoint(50)));
}

#[test]
fn a_failure_ends_the_job_and_frees_its_place() {
    a_job(under_way())
        .when(report(
            1,
            AttemptReport::Failed {
                code: "DATASET_TOO_SMALL".into(),
                message: "add lines".into(),
            },
        ))
        .by(worker())
        .then_records([
            expected_job_event(&failed(1, "DATASET_TOO_SMALL", "add lines")),
            place_released(),
        ]);
}

fn trained(lineage_base: Option<ModelVersionRef>) -> ModelVersion {
    ModelVersion {
        merged: None,
        version: 1,
        sha256: "poet-hash".into(),
        artifact: "models/poet".into(),
        files: vec![ModelFile {
            name: "model.safetensors".into(),
            sha256: "f0".into(),
            bytes: 77,
        }],
        lineage: Lineage::Trained {
            job: JOB,
            dataset: DATASET,
            dataset_version: 1,
            dataset_sha256: "first".into(),
            base: lineage_base,
            base_sha256: lineage_base.map(|_| "base-hash".into()),
            seed: 1,
            code_version: "0.1.0".into(),
            worker: "host/cpu".into(),
            metrics: [("loss".to_owned(), "1.25".to_owned())].into(),
        },
    }
}

fn model_registered(content: ModelKind) -> ModelEvent {
    ModelEvent::Registered {
        model: MODEL,
        owner: ADA,
        name: "Poet".into(),
        description: String::new(),
        content,
        visibility: Visibility::Private,
    }
}

/// MO-2: job, model with its whole lineage, and the freed place land in one append.
#[test]
fn completion_registers_the_model_and_frees_the_place() {
    let completed = JobEvent::Completed {
        attempt: 1,
        model: ModelVersionRef {
            model: MODEL,
            version: 1,
        },
        metrics: [("loss".to_owned(), "1.25".to_owned())].into(),
    };
    let after = a_job(under_way())
        .when(report(1, completion()))
        .by(worker())
        .then_records([
            expected_job_event(&completed),
            expected_event::<Model>(MODEL, &model_registered(ModelKind::Full)),
            expected_event::<Model>(MODEL, &ModelEvent::VersionAdded(trained(None))),
            expected_event::<QuotaLedger>(
                ADA,
                &LedgerEvent::StorageTaken {
                    bytes: 77,
                    item: format!("{MODEL}/1"),
                    object: None,
                },
            ),
            place_released(),
        ]);
    assert_eq!(after.log.state::<QuotaLedger>(ADA).used(Quota::ConcurrentJobs), 0);
}

/// MO-2, MO-3: what is trained on a base is an adapter, and says which base.
#[test]
fn completion_on_a_base_registers_an_adapter() {
    let base = ModelVersionRef {
        model: BASE,
        version: 1,
    };
    let mut log = given()
        .a_project_with_data()
        .stream::<Job>(
            JOB,
            [JobEvent::Queued(Box::new(order_lora())), leased(1), started(1)],
        )
        .log;
    log.run(&report(1, completion()), &worker(), NOW);
    assert_eq!(
        log.events::<Model>(MODEL),
        [
            model_registered(ModelKind::Adapter),
            ModelEvent::VersionAdded(trained(Some(base)))
        ]
    );
}

fn every_report() -> Vec<AttemptReport> {
    let failure = AttemptReport::Failed {
        code: "X".into(),
        message: "x".into(),
    };
    vec![
        start_report(),
        AttemptReport::Checkpoint(checkpoint(50)),
        AttemptReport::Stored {
            checkpoint: stored(1, 50),
            keep: 2,
        },
        failure,
        completion(),
    ]
}

/// JB-4: a worker that stalls and comes back cannot write, whichever worker has the job now.
#[test]
fn a_stale_attempt_reports_nothing() {
    let lost = JobEvent::Interrupted {
        attempt: 1,
        cause: "lost".into(),
        counts: true,
    };
    for attempt_report in every_report() {
        a_job([leased(1), lost.clone(), leased(2)])
            .when(report(1, attempt_report.clone()))
            .by(worker())
            .then_refused(ReportRefusal::StaleAttempt);
        a_job([leased(1), lost.clone(), leased_by(2, OTHER_WORKER)])
            .when(report(1, attempt_report.clone()))
            .by(worker())
            .then_denied("lease", Concealment::Forbidden);
        a_job([leased(1), lost.clone(), leased(2)])
            .when(report(3, attempt_report))
            .by(worker())
            .then_refused(ReportRefusal::StaleAttempt);
    }
}

/// JB-3, JB-4: nor one whose job is waiting again or over, even for the system itself.
#[test]
fn a_job_that_is_not_under_way_takes_no_reports() {
    let lost = JobEvent::Interrupted {
        attempt: 1,
        cause: "lost".into(),
        counts: true,
    };
    for attempt_report in every_report() {
        for since in [
            vec![],
            vec![leased(1), lost.clone()],
            vec![leased(1), cancelled(1)],
            vec![leased(1), failed(1, "X", "x")],
        ] {
            a_job(since)
                .when(report(1, attempt_report.clone()))
                .by(Principal::System("test"))
                .then_refused(ReportRefusal::StaleAttempt);
        }
        given()
            .when(report(1, attempt_report))
            .then_refused(ReportRefusal::StaleAttempt);
    }
}

#[test]
fn another_worker_does_not_report() {
    a_job(under_way())
        .when(report(1, completion()))
        .by(Principal::Worker(OTHER_WORKER))
        .then_denied("lease", Concealment::Forbidden);
}

/// People do not report, not even on their own jobs.
#[test]
fn the_owner_of_a_job_does_not_report_on_it() {
    a_job(under_way())
        .when(report(1, completion()))
        .by(ada())
        .then_denied("system_only", Concealment::Forbidden);
    a_job(under_way())
        .when(progress(1))
        .by(ada())
        .then_denied("system_only", Concealment::Forbidden);
}

/// JSON has no word for it, and no reader could go on after it.
#[test]
fn a_number_that_is_none_is_not_recorded() {
    let mut report = progress(1);
    report.batch.points[0].loss = f64::NAN;
    let log = a_job(under_way()).log;
    let loaded = log.load(&report);
    let decision = report.decide(
        &loaded,
        &Context {
            now: NOW,
            principal: &worker(),
        },
    );
    let changes = decision.expect("the attempt is under way");
    assert!(
        changes
            .defect()
            .is_some_and(|defect| defect.contains("jobs.ProgressReported"))
    );
}

fn batch() -> Batch {
    let point = Point {
        step: 7,
        loss: 3.5,
        learning_rate: 1e-3,
        gradient_norm: 0.5,
        tokens_per_second: 900.0,
    };
    Batch {
        step: 7,
        total_steps: 200,
        points: vec![point],
        ..Batch::default()
    }
}

fn progress(attempt: u32) -> ReportProgress {
    ReportProgress {
        job: JOB,
        attempt,
        id: Uuid::from_u128(0x7e57),
        batch: batch(),
    }
}

/// JB-5: beside the job's own stream, in batches.
#[test]
fn progress_goes_to_its_own_stream() {
    let reported = ProgressEvent::Reported {
        attempt: 1,
        metrics: batch().metrics(),
    };
    a_job(under_way())
        .when(progress(1))
        .by(worker())
        .then_records([expected_event::<Progress>(JOB, &reported)]);
}

/// GQ-4: numbers and words are two facts, so that a feed can go on after either.
#[test]
fn numbers_and_words_of_a_batch_are_two_facts() {
    let line = LogLine {
        level: "info".into(),
        message: "half way".into(),
    };
    let mut report = progress(1);
    report.batch.log.push(line.clone());
    let reported = ProgressEvent::Reported {
        attempt: 1,
        metrics: batch().metrics(),
    };
    let logged = ProgressEvent::Logged {
        attempt: 1,
        step: 7,
        samples: Vec::new(),
        log: vec![line],
    };
    a_job(under_way())
        .when(report.clone())
        .by(worker())
        .then_records([
            expected_event::<Progress>(JOB, &reported),
            expected_event::<Progress>(JOB, &logged),
        ]);
    report.batch.points.clear();
    a_job(under_way())
        .when(report)
        .by(worker())
        .then_records([expected_event::<Progress>(JOB, &logged)]);
}

/// JB-4
#[test]
fn a_stale_attempt_reports_no_progress() {
    let lost = JobEvent::Interrupted {
        attempt: 1,
        cause: "lost".into(),
        counts: true,
    };
    let stale = ReportRefusal::StaleAttempt;
    a_job([leased(1), lost, leased(2)])
        .when(progress(1))
        .by(worker())
        .then_refused(stale);
    a_job([leased(1), cancelled(1)])
        .when(progress(1))
        .then_refused(stale);
    given().when(progress(1)).then_refused(stale);
}

/// JB-4: progress that was decided on before the lease passed on is not recorded after it.
#[test]
fn progress_of_a_lease_that_passed_on_meanwhile_is_not_recorded() {
    let mut log = a_job(under_way()).log;
    let seen = log.load(&progress(1));
    log.record::<Job>(
        JOB,
        &[JobEvent::Interrupted {
            attempt: 1,
            cause: "lost".into(),
            counts: true,
        }],
    );
    let conflict = log.run_on(&seen, &progress(1), &worker(), NOW);
    assert_eq!(conflict.expect_err("the job has moved on").category(), "jobs.job");
    assert!(log.events::<Progress>(JOB).is_empty());
}
