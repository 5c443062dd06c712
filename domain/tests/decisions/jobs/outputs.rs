//! Merged models besides adapters (MO-3), and what results take of their owner's storage (DS-3).

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quotas, StorageExceeded},
    },
    audit::sensitive_read::{DownloadModelFile, NoSuchContent, ReadEvent, SensitiveReads},
    authz::Concealment,
    jobs::{
        job::{Job, JobEvent, Order},
        report::AttemptReport,
        spec::{Outputs, TrainingSpec},
        start::{StartJob, StartJobRefusal},
    },
    models::model::{MergedModel, Model, ModelEvent, ModelFile},
};

use super::scenario::*;
use crate::support::{given_when_then::Given, log::Outcome, *};

const MERGED: Outputs = Outputs { merged: true };

fn with_merged(start: StartJob) -> StartJob {
    let spec = TrainingSpec {
        outputs: MERGED,
        ..start.spec
    };
    StartJob { spec, ..start }
}

fn order_merged() -> Order {
    let mut order = with_spec(order_lora(), |spec| spec.outputs = MERGED);
    order.requirements.engine = 2;
    order
}

fn merged() -> MergedModel {
    MergedModel {
        sha256: "merged-hash".into(),
        artifact: "models/poet/merged".into(),
        files: vec![ModelFile {
            name: "config.json".into(),
            sha256: "m0".into(),
            bytes: 1_000,
        }],
    }
}

fn completed_with(given: Option<MergedModel>) -> AttemptReport {
    match completion() {
        AttemptReport::Completed {
            artifact,
            sha256,
            files,
            metrics,
            code_version,
            worker,
            ..
        } => AttemptReport::Completed {
            artifact,
            sha256,
            files,
            merged: given,
            metrics,
            code_version,
            worker,
        },
        other => other,
    }
}

/// MO-3: it is ordered with the job, and a worker of an older build does not get it.
#[test]
fn a_merged_model_is_ordered_with_an_adapter() {
    let after = given()
        .a_project_with_data()
        .when(with_merged(start_lora()))
        .by(ada())
        .then_records([
            expected_job_event(&JobEvent::Queued(Box::new(order_merged()))),
            expected_event::<QuotaLedger>(ADA, &taken(domain::access::quota::Quota::ConcurrentJobs, JOB)),
        ]);
    let order = after.log.state::<Job>(JOB).order.expect("ordered");
    let outputs = order.training().map(|training| training.spec.outputs);
    assert_eq!((outputs, order.requirements.engine), (Some(MERGED), 2));
}

/// MO-3: what is no adapter has nothing to merge.
#[test]
fn a_merged_model_of_a_whole_one_is_refused() {
    match given()
        .a_project_with_data()
        .log
        .run(&with_merged(start()), &ada(), NOW)
    {
        Outcome::Refused(StartJobRefusal::Spec(problems), _) => {
            let [problem] = problems.0.as_slice() else {
                panic!("{problems}")
            };
            assert_eq!(problem.field, "outputs.merged");
            assert!(problem.message.contains("method scratch"), "{problem:?}");
        }
        other => panic!("{other:?}"),
    }
}

fn at_work() -> Given {
    let queued = JobEvent::Queued(Box::new(order_merged()));
    given()
        .a_project_with_data()
        .stream::<Job>(JOB, [queued, leased(1), started(1)])
}

/// MO-2, MO-3, DS-3: the version names the files of both, and their owner's storage takes both.
#[test]
fn both_are_recorded_and_counted() {
    let mut log = at_work().log;
    log.run(&report(1, completed_with(Some(merged()))), &worker(), NOW);
    let events = log.events::<Model>(MODEL);
    let [_, ModelEvent::VersionAdded(version)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(version.merged, Some(merged()));
    assert_eq!(
        log.events::<QuotaLedger>(ADA).first(),
        Some(&LedgerEvent::StorageTaken {
            bytes: 1_077,
            item: format!("{MODEL}/1"),
            object: None,
        })
    );
    assert_eq!(log.state::<QuotaLedger>(ADA).bytes(), 1_077);
}

/// AC-6, AU-1: the merged model is taken out of the house as the adapter is.
#[test]
fn a_merged_file_is_downloaded_by_the_rules_of_the_adapter() {
    let read = |file: &str, merged| DownloadModelFile {
        model: MODEL,
        version: 1,
        file: file.into(),
        merged,
    };
    let there = |attempt_report| {
        let mut log = at_work().log;
        log.run(&report(1, attempt_report), &worker(), NOW);
        Given { log }
    };
    let recorded = ReadEvent::ModelDownloaded {
        model: MODEL,
        version: 1,
        file: "config.json".into(),
        merged: true,
    };
    there(completed_with(Some(merged())))
        .when(read("config.json", true))
        .by(ada())
        .then_records([expected_event::<SensitiveReads>(format!("user:{ADA}"), &recorded)])
        .when(read("config.json", false))
        .by(ada())
        .then_refused(NoSuchContent);
    there(completed_with(Some(merged())))
        .when(read("config.json", true))
        .by(user(ADA, &["guest"]))
        .then_denied("role", Concealment::Forbidden);
    there(completion())
        .when(read("config.json", true))
        .by(ada())
        .then_refused(NoSuchContent);
}

/// DS-3: a merged model is as large as its base; whether it fits is known before.
#[test]
fn a_merged_model_that_cannot_fit_the_storage_is_refused_before() {
    let one_gigabyte = || {
        let storage_gb = Some(1);
        with_quotas(
            ada(),
            Quotas {
                storage_gb,
                ..Quotas::UNLIMITED
            },
        )
    };
    let stored = |bytes| {
        let item = "old".into();
        given().a_project_with_data().stream::<QuotaLedger>(
            ADA,
            [LedgerEvent::StorageTaken {
                bytes,
                item,
                object: None,
            }],
        )
    };
    // The base has 10 bytes.
    let mut fits = stored(999_999_990).log;
    assert!(matches!(
        fits.run(&with_merged(start_lora()), &one_gigabyte(), NOW),
        Outcome::Done(_)
    ));
    stored(999_999_991)
        .when(with_merged(start_lora()))
        .by(one_gigabyte())
        .then_refused(StartJobRefusal::Storage(StorageExceeded {
            limit: 1_000_000_000,
            used: 999_999_991,
            wanted: 10,
        }));
    let mut alone = stored(1_000_000_000).log;
    assert!(matches!(
        alone.run(&start_lora(), &one_gigabyte(), NOW),
        Outcome::Done(_)
    ));
    stored(1_000_000_001)
        .when(start_lora())
        .by(one_gigabyte())
        .then_refused(StartJobRefusal::Storage(StorageExceeded {
            limit: 1_000_000_000,
            used: 1_000_000_001,
            wanted: 0,
        }));
}
