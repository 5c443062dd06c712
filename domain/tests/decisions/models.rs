//! Models.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quotas, StorageExceeded},
    },
    authz::{Concealment, Visibility},
    models::model::{Model, ModelEvent, ModelKind, RegisterModel, RegisterModelRefusal},
};

use crate::support::{log::Outcome, *};

fn stored(bytes: u64, item: &str) -> LedgerEvent {
    let item = item.to_owned();
    LedgerEvent::StorageTaken {
        bytes,
        item,
        object: None,
    }
}

pub(crate) fn register() -> RegisterModel {
    RegisterModel {
        model: BASE,
        owner: ADA,
        name: "Base".into(),
        description: String::new(),
        visibility: Visibility::Public,
        version: imported(),
    }
}

/// MO-1
#[test]
fn a_base_model_is_registered_with_its_first_version() {
    given().when(register()).by(ada()).then_records([
        expected_event::<Model>(BASE, &base_registered(ModelKind::Full, Visibility::Public)),
        expected_event::<Model>(BASE, &ModelEvent::VersionAdded(imported())),
        expected_event::<QuotaLedger>(ADA, &stored(10, &format!("{BASE}/1"))),
    ]);
}

/// FA3: to show a model to everybody is to share it. Developers may register models, and may not share them.
#[test]
fn a_public_model_needs_the_permission_to_share() {
    let developer = || user(ADA, &["developer"]);
    given()
        .when(register())
        .by(developer())
        .then_denied("role", Concealment::Forbidden);
    let private = RegisterModel {
        visibility: Visibility::Private,
        ..register()
    };
    let mut log = given().log;
    assert!(matches!(log.run(&private, &developer(), NOW), Outcome::Done(_)));
}

/// DS-3
#[test]
fn a_base_model_that_does_not_fit_the_storage_is_refused() {
    let one_gigabyte = with_quotas(
        ada(),
        Quotas {
            storage_gb: Some(1),
            ..Quotas::UNLIMITED
        },
    );
    let full = |bytes| given().stream::<QuotaLedger>(ADA, [stored(bytes, "old")]);
    // The base has 10 bytes.
    let mut fits = full(999_999_990).log;
    assert!(matches!(
        fits.run(&register(), &one_gigabyte, NOW),
        Outcome::Done(_)
    ));
    full(999_999_991)
        .when(register())
        .by(one_gigabyte)
        .then_refused(RegisterModelRefusal::Storage(StorageExceeded {
            limit: 1_000_000_000,
            used: 999_999_991,
            wanted: 10,
        }));
}

#[test]
fn an_id_names_one_model() {
    given()
        .a_project_with_data()
        .when(register())
        .by(ada())
        .then_refused(RegisterModelRefusal::IdTaken);
}

#[test]
fn a_model_needs_a_name() {
    let outcome = given().log.run(
        &RegisterModel {
            name: String::new(),
            ..register()
        },
        &ada(),
        NOW,
    );
    assert!(
        matches!(&outcome, Outcome::Refused(RegisterModelRefusal::Text(problems), _) if problems.0.len() == 1),
        "{outcome:?}"
    );
}

#[test]
fn registering_needs_the_permission() {
    given()
        .when(register())
        .by(user(ADA, &["guest"]))
        .then_denied("role", Concealment::Forbidden);
}
