//! The life of an import: the same as that of a training, but for what it takes and what comes of it.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quota, StorageExceeded},
    },
    aggregate::{Aggregate as _, DecodeError, decode},
    authz::{Principal, Visibility},
    event_store::{Metadata, Position, RecordedEvent},
    jobs::{
        control::{ControlRefusal, RestartJob},
        copy::CloneJob,
        import::ImportedFile,
        job::{Job, JobEvent, JobState, KindName, RestartFrom},
        lease::{LeaseJob, LeaseRefusal},
        progress::{ImportProgress, Progress, ProgressEvent, ReportImport},
        report::{AttemptReport, ReportRefusal},
        requirements::{Unfit, WorkerCapabilities},
        start::{CancelJob, StartJobRefusal},
    },
    models::model::{Lineage, Model, ModelEvent, ModelFile, ModelKind, ModelVersion, ModelVersionRef},
};
use serde_json::json;
use uuid::Uuid;

use super::scenario::*;
use crate::{
    models::{import_ordered, one_gigabyte, room},
    support::{given_when_then::Given, log::ExpectedEvent, *},
};

/// The import is queued, and this has happened since.
fn an_import(since: impl IntoIterator<Item = JobEvent>) -> Given {
    let queued = JobEvent::Queued(Box::new(import_ordered()));
    given()
        .person(&one_gigabyte())
        .stream::<QuotaLedger>(ADA, [room(), taken(Quota::ConcurrentJobs, JOB)])
        .stream::<Job>(JOB, std::iter::once(queued).chain(since))
}

fn importer() -> WorkerCapabilities {
    WorkerCapabilities {
        kinds: [KindName::Import].into(),
        ..WorkerCapabilities::default()
    }
}

fn lease(capabilities: WorkerCapabilities) -> LeaseJob {
    LeaseJob {
        job: JOB,
        worker: WORKER,
        worker_name: "host/import".into(),
        capabilities,
    }
}

fn room_released() -> ExpectedEvent {
    let item = JOB.to_string();
    expected_event::<QuotaLedger>(ADA, &LedgerEvent::StorageReleased { item })
}

fn files() -> Vec<ModelFile> {
    vec![ModelFile {
        name: "model.safetensors".into(),
        sha256: "f0".into(),
        bytes: 10,
    }]
}

fn stored_file(sha256: &str) -> ImportedFile {
    let [mut file] = <[ModelFile; 1]>::try_from(files()).expect("one");
    file.sha256 = sha256.to_owned();
    ImportedFile {
        file,
        modified: 7,
        inode: 8,
    }
}

fn completed() -> AttemptReport {
    AttemptReport::Completed {
        artifact: format!("artifacts/{JOB}/0"),
        sha256: "base-hash".into(),
        files: files(),
        merged: None,
        metrics: [("bytes".to_owned(), "10".to_owned())].into(),
        code_version: "0.1.0".into(),
        worker: "host/import".into(),
    }
}

/// WK-2: workers that train leave imports alone, and the other way round; an older engine takes none.
#[test]
fn only_a_worker_that_imports_takes_an_import() {
    an_import([])
        .when(lease(WorkerCapabilities::default()))
        .by(worker())
        .then_refused(LeaseRefusal::Unfit(Unfit::Kind(KindName::Import)));
    a_job([])
        .when(lease(importer()))
        .by(worker())
        .then_refused(LeaseRefusal::Unfit(Unfit::Kind(KindName::Training)));
    let old = WorkerCapabilities {
        engine: 2,
        ..importer()
    };
    an_import([])
        .when(lease(old))
        .by(worker())
        .then_refused(LeaseRefusal::Unfit(Unfit::Engine { needed: 3, there: 2 }));
    let after = an_import([]).log.run(&lease(importer()), &worker(), NOW);
    assert!(
        matches!(after, crate::support::log::Outcome::Done(_)),
        "{after:?}"
    );
}

/// AC-6: whoever may not register models any more gets none; room and place are given back.
#[test]
fn an_import_of_somebody_who_may_not_any_more_fails() {
    let queued = JobEvent::Queued(Box::new(import_ordered()));
    let guest = user(ADA, &["guest"]);
    let mut log = given()
        .person(&guest)
        .stream::<QuotaLedger>(ADA, [room(), taken(Quota::ConcurrentJobs, JOB)])
        .stream::<Job>(JOB, [queued])
        .log;
    let outcome = log.run(&lease(importer()), &worker(), NOW);
    assert!(
        matches!(
            &outcome,
            crate::support::log::Outcome::Refused(LeaseRefusal::AccessLost, _)
        ),
        "{outcome:?}"
    );
    assert_eq!(log.state::<Job>(JOB).state, JobState::Failed);
    assert_eq!(log.state::<QuotaLedger>(ADA).release(&JOB.to_string()), None);
}

/// MO-2, DS-3: the job, its model and what it takes of the storage are one append; the room turns into bytes.
#[test]
fn a_finished_import_is_a_model_and_its_bytes() {
    let version = ModelVersion {
        version: 1,
        sha256: "base-hash".into(),
        artifact: format!("artifacts/{JOB}/0"),
        files: files(),
        lineage: Lineage::Imported {
            origin: "base".into(),
        },
        merged: None,
    };
    let registered = ModelEvent::Registered {
        model: BASE,
        owner: ADA,
        name: "Base".into(),
        description: "It writes.".into(),
        content: ModelKind::Full,
        visibility: Visibility::Public,
    };
    let done = JobEvent::Completed {
        attempt: 1,
        model: ModelVersionRef {
            model: BASE,
            version: 1,
        },
        metrics: [("bytes".to_owned(), "10".to_owned())].into(),
    };
    let taken = LedgerEvent::StorageTaken {
        bytes: 10,
        item: format!("{BASE}/1"),
        object: None,
    };
    let after = an_import([leased(1)])
        .when(report(1, completed()))
        .by(worker())
        .then_records([
            expected_job_event(&done),
            expected_event::<Model>(BASE, &registered),
            expected_event::<Model>(BASE, &ModelEvent::VersionAdded(version)),
            expected_event::<QuotaLedger>(ADA, &taken),
            place_released(),
            room_released(),
        ]);
    let ledger = after.log.state::<QuotaLedger>(ADA);
    assert_eq!((ledger.bytes(), ledger.used(Quota::ConcurrentJobs)), (10, 0));
}

/// DS-3: however it ends without a model, nothing stays taken.
#[test]
fn a_cancelled_or_failed_import_gives_its_room_back() {
    let cancel = CancelJob {
        job: JOB,
        reason: "a typo".into(),
    };
    for since in [vec![], vec![leased(1)]] {
        let attempt = u32::try_from(since.len()).expect("few");
        an_import(since)
            .when(cancel.clone())
            .by(one_gigabyte())
            .then_records([
                expected_job_event(&cancelled(attempt)),
                place_released(),
                room_released(),
            ]);
    }
    let failure = AttemptReport::Failed {
        code: "NOT_A_MODEL".into(),
        message: "no".into(),
    };
    an_import([leased(1)])
        .when(report(1, failure))
        .by(worker())
        .then_records([
            expected_job_event(&failed(1, "NOT_A_MODEL", "no")),
            place_released(),
            room_released(),
        ]);
}

/// JB-4: what is stored is known to the next attempt, a file once; a stale attempt adds nothing.
#[test]
fn files_that_are_stored_are_remembered_until_a_restart() {
    let stored = |sha256: &str| JobEvent::FilesStored {
        attempt: 1,
        files: vec![stored_file(sha256)],
    };
    let after = an_import([leased(1)])
        .when(report(1, AttemptReport::FilesStored(vec![stored_file("f0")])))
        .by(worker())
        .then_records([expected_job_event(&stored("f0"))]);
    assert_eq!(after.log.state::<Job>(JOB).imported, [stored_file("f0")]);
    let twice = an_import([leased(1), stored("f0"), stored("f1")]).log;
    assert_eq!(twice.state::<Job>(JOB).imported, [stored_file("f1")]);
    an_import([leased(1), leased(2)])
        .when(report(1, AttemptReport::FilesStored(vec![stored_file("f0")])))
        .by(worker())
        .then_refused(ReportRefusal::StaleAttempt);
    let restarted = JobEvent::Restarted {
        attempt: 1,
        from: RestartFrom::Checkpoint,
    };
    let anew = an_import([leased(1), stored("f0"), cancelled(1), restarted]).log;
    let job: Job = anew.state(JOB);
    assert_eq!((job.imported, job.floor), (Vec::new(), 1));
}

/// JB-3, DS-3: a restarted import needs its room again, and needs no checkpoint.
#[test]
fn a_restart_reserves_room_again() {
    let restart = RestartJob {
        job: JOB,
        from: RestartFrom::Checkpoint,
    };
    let ended = |bytes: u64| {
        let old = LedgerEvent::StorageTaken {
            bytes,
            item: "old".into(),
            object: None,
        };
        let queued = JobEvent::Queued(Box::new(import_ordered()));
        given()
            .stream::<QuotaLedger>(ADA, [old])
            .stream::<Job>(JOB, [queued, leased(1), cancelled(1)])
    };
    let restarted = JobEvent::Restarted {
        attempt: 1,
        from: RestartFrom::Checkpoint,
    };
    ended(0).when(restart).by(one_gigabyte()).then_records([
        expected_job_event(&restarted),
        expected_event::<QuotaLedger>(ADA, &room()),
        expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
    ]);
    ended(999_999_991)
        .when(restart)
        .by(one_gigabyte())
        .then_refused(ControlRefusal::Storage(StorageExceeded {
            limit: 1_000_000_000,
            used: 999_999_991,
            wanted: 10,
        }));
}

/// JB-3: a clone would train something, and there is nothing to train.
#[test]
fn an_import_is_not_cloned() {
    let copy = CloneJob {
        source: JOB,
        job: domain::id::JobId(Uuid::from_u128(78)),
        model: MODEL,
        owner: ADA,
        name: None,
        experiment: None,
        base_shape: None,
        spec: None,
        requirements: None,
        max_attempts: 3,
        longest_run_seconds: None,
    };
    an_import([])
        .when(copy)
        .by(one_gigabyte())
        .then_refused(StartJobRefusal::NoTraining);
}

/// JB-4, JB-5: progress of the attempt under way, and of no other.
#[test]
fn progress_of_an_import_is_recorded_beside_the_job() {
    let progress = ImportProgress {
        files: 1,
        total_files: 3,
        bytes: 5,
        total_bytes: 10,
        eta_seconds: Some(2),
    };
    let report = |attempt| ReportImport {
        job: JOB,
        attempt,
        id: Uuid::from_u128(5),
        progress,
    };
    an_import([leased(1)])
        .when(report(1))
        .by(worker())
        .then_records([expected_event::<Progress>(
            JOB,
            &ProgressEvent::Imported { attempt: 1, progress },
        )]);
    an_import([leased(1)])
        .when(report(2))
        .by(worker())
        .then_refused(ReportRefusal::StaleAttempt);
}

fn recorded(version: u16, data: &serde_json::Value) -> RecordedEvent {
    RecordedEvent {
        id: Uuid::nil(),
        stream: Job::stream(JOB),
        revision: 0,
        position: Position(9),
        kind: "jobs.JobQueued".to_owned(),
        schema_version: version,
        at: NOW,
        data: serde_json::value::RawValue::from_string(data.to_string()).expect("JSON"),
        meta: Metadata::default(),
    }
}

/// What was recorded before there were kinds is a training, whole.
#[test]
fn the_first_version_of_a_queued_job_reads_as_a_training() {
    for order in [order(), order_lora()] {
        let now = serde_json::to_value(&order).expect("JSON");
        let mut before = now.clone();
        let fields = before.as_object_mut().expect("an object");
        let kind = fields.remove("kind").expect("a kind");
        let training = kind["training"].as_object().expect("a training").clone();
        fields.extend(training);
        let event: JobEvent = decode(&recorded(1, &before)).expect("lifted");
        assert_eq!(event, JobEvent::Queued(Box::new(order)));
        assert_eq!(event, decode(&recorded(2, &now)).expect("read"));
    }
    let error = decode::<JobEvent>(&recorded(1, &json!([]))).expect_err("no order");
    assert!(error.to_string().contains("version 1"), "{error}");
}

/// A kind that a newer build recorded is not guessed: whoever reads it stops, and workers leave the job alone.
#[test]
fn a_kind_of_a_newer_build_is_not_read() {
    let mut newer = serde_json::to_value(import_ordered()).expect("JSON");
    newer["kind"] = json!({ "evaluation": {} });
    let error = decode::<JobEvent>(&recorded(2, &newer)).expect_err("unknown");
    assert!(
        matches!(&error, DecodeError::Unreadable { reason, .. } if reason.contains("evaluation")),
        "{error}"
    );
    let error = decode::<JobEvent>(&recorded(3, &json!({}))).expect_err("newer");
    assert!(matches!(
        error,
        DecodeError::NewerVersion {
            version: 3,
            known: 2,
            ..
        }
    ));
}

/// Its owner may follow and end it by the same permissions as a training.
#[test]
fn others_do_not_see_an_import() {
    let cancel = CancelJob {
        job: JOB,
        reason: String::new(),
    };
    let other: Principal = bob();
    an_import([])
        .when(cancel)
        .by(other)
        .then_denied("stranger", domain::authz::Concealment::NotFound);
}
