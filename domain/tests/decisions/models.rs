//! Models come in: what it takes to order an import (MO-1).

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quota, QuotaExceeded, Quotas, StorageExceeded},
    },
    authz::{Concealment, Visibility},
    jobs::{
        import::{ImportModel, ImportProblem},
        job::{Import, Job, JobEvent, JobKind, Order},
        requirements::JobRequirements,
    },
    problems::Problems,
};
use time::Duration;

use crate::support::{log::Outcome, *};

fn stored(bytes: u64, item: &str) -> LedgerEvent {
    let item = item.to_owned();
    LedgerEvent::StorageTaken {
        bytes,
        item,
        object: None,
    }
}

/// Ada imports the base of the fixtures, for everybody.
pub(crate) fn import() -> ImportModel {
    ImportModel {
        job: JOB,
        model: BASE,
        owner: ADA,
        name: "Base".into(),
        import: Import {
            folder: "base".into(),
            description: "It writes.".into(),
            visibility: Visibility::Public,
            bytes: 10,
            files: 3,
        },
        max_attempts: 3,
        longest_run_seconds: Some(3_600),
    }
}

/// What is recorded of it.
pub(crate) fn import_ordered() -> Order {
    Order {
        job: JOB,
        name: "Base".into(),
        owner: ADA,
        model: BASE,
        kind: JobKind::Import(import().import),
        max_attempts: 3,
        requirements: JobRequirements {
            max_run_seconds: Some(3_600),
            engine: 3,
            ..JobRequirements::default()
        },
        cloned_from: None,
    }
}

/// Room for it, until it ends.
pub(crate) fn room() -> LedgerEvent {
    LedgerEvent::StorageReserved {
        bytes: 10,
        until: NOW + Duration::days(36_500),
        item: JOB.to_string(),
    }
}

/// Ada may store one gigabyte.
pub(crate) fn one_gigabyte() -> domain::authz::Principal {
    with_quotas(
        ada(),
        Quotas {
            storage_gb: Some(1),
            ..Quotas::UNLIMITED
        },
    )
}

/// MO-1: queued with a place among the jobs, and room for all its bytes.
#[test]
fn an_import_is_queued_with_room_for_its_bytes() {
    let queued = JobEvent::Queued(Box::new(import_ordered()));
    given().when(import()).by(one_gigabyte()).then_records([
        expected_event::<Job>(JOB, &queued),
        expected_event::<QuotaLedger>(ADA, &room()),
        expected_event::<QuotaLedger>(ADA, &taken(Quota::ConcurrentJobs, JOB)),
    ]);
}

/// FA3: to show a model to everybody is to share it. Developers may register models, and may not share them.
#[test]
fn a_public_model_needs_the_permission_to_share() {
    let developer = || user(ADA, &["developer"]);
    given()
        .when(import())
        .by(developer())
        .then_denied("role", Concealment::Forbidden);
    let mut private = import();
    private.import.visibility = Visibility::Private;
    let mut log = given().log;
    assert!(matches!(log.run(&private, &developer(), NOW), Outcome::Done(_)));
}

/// DS-3
#[test]
fn an_import_that_does_not_fit_the_storage_is_refused() {
    let full = |bytes| given().stream::<QuotaLedger>(ADA, [stored(bytes, "old")]);
    // The base has 10 bytes.
    let mut fits = full(999_999_990).log;
    assert!(matches!(
        fits.run(&import(), &one_gigabyte(), NOW),
        Outcome::Done(_)
    ));
    full(999_999_991)
        .when(import())
        .by(one_gigabyte())
        .then_refused(Problems(vec![ImportProblem::Storage(StorageExceeded {
            limit: 1_000_000_000,
            used: 999_999_991,
            wanted: 10,
        })]));
}

/// DS-3: two that fit alone and not together.
#[test]
fn an_import_under_way_counts_as_stored() {
    let mut log = given()
        .stream::<QuotaLedger>(ADA, [stored(999_999_985, "old")])
        .log;
    assert!(matches!(
        log.run(&import(), &one_gigabyte(), NOW),
        Outcome::Done(_)
    ));
    let second = ImportModel {
        job: domain::id::JobId(uuid::Uuid::from_u128(77)),
        model: MODEL,
        ..import()
    };
    let later = NOW + Duration::days(400);
    assert!(
        matches!(log.run(&second, &one_gigabyte(), later), Outcome::Refused(problems, _)
            if matches!(problems.0.as_slice(), [ImportProblem::Storage(_)])),
        "a reservation does not end by itself"
    );
}

#[test]
fn an_id_names_one_model_and_one_job() {
    let taken = || Problems(vec![ImportProblem::IdTaken]);
    given()
        .a_project_with_data()
        .when(import())
        .by(ada())
        .then_refused(taken());
    given()
        .stream::<Job>(JOB, [JobEvent::Queued(Box::new(import_ordered()))])
        .when(import())
        .by(ada())
        .then_refused(taken());
}

/// All at once: name, room, and a place among the jobs.
#[test]
fn everything_that_is_wrong_with_an_import_is_named() {
    let nothing = with_quotas(
        ada(),
        Quotas {
            storage_gb: Some(0),
            concurrent_jobs: Some(0),
            ..Quotas::UNLIMITED
        },
    );
    let command = ImportModel {
        name: String::new(),
        ..import()
    };
    let Outcome::Refused(problems, _) = given().log.run(&command, &nothing, NOW) else {
        panic!("not refused")
    };
    let exceeded = QuotaExceeded {
        quota: Quota::ConcurrentJobs,
        limit: 0,
        used: 0,
    };
    assert!(
        matches!(problems.0.as_slice(), [ImportProblem::Text(_), ImportProblem::Storage(_), ImportProblem::Jobs(jobs)]
            if *jobs == exceeded),
        "{problems}"
    );
}

#[test]
fn importing_needs_the_permission() {
    given()
        .when(import())
        .by(user(ADA, &["guest"]))
        .then_denied("role", Concealment::Forbidden);
}
