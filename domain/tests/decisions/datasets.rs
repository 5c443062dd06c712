//! Datasets and their versions.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quota, QuotaExceeded, Quotas, StorageExceeded},
    },
    authz::{Concealment, Visibility},
    datasets::{
        dataset::{AddDatasetVersion, CreateDataset, Dataset, DatasetEvent, DatasetRefusal, Version},
        format::{Format, Summary},
    },
};

use crate::support::{log::Outcome, *};

pub(crate) fn create() -> CreateDataset {
    CreateDataset {
        dataset: DATASET,
        owner: ADA,
        name: "Poems".into(),
        description: String::new(),
        visibility: Visibility::Private,
    }
}

pub(crate) fn add(sha256: &str) -> AddDatasetVersion {
    AddDatasetVersion {
        upload: None,
        dataset: DATASET,
        sha256: sha256.into(),
        bytes: 1_000,
        format: Format::PlainText,
        summary: Summary {
            samples: 3,
            lines: 3,
            bytes: 1_000,
            ..Summary::default()
        },
        file_name: "poems.txt".into(),
    }
}

pub(crate) fn stored(bytes: u64, item: &str) -> LedgerEvent {
    LedgerEvent::StorageTaken {
        bytes,
        item: item.into(),
        object: None,
    }
}

/// The same for bytes that the object store has under this hash.
pub(crate) fn stored_object(bytes: u64, item: &str, sha256: &str) -> LedgerEvent {
    LedgerEvent::StorageTaken {
        bytes,
        item: item.into(),
        object: Some(sha256.into()),
    }
}

/// FA3: to show a dataset to everybody is to share it. Guests may create one, and may not share.
#[test]
fn a_public_dataset_needs_the_permission_to_share() {
    let public = || CreateDataset {
        visibility: Visibility::Public,
        ..create()
    };
    given().when(create()).by(user(ADA, &["guest"])).then_records([
        expected_event::<Dataset>(DATASET, &dataset_created(Visibility::Private)),
        expected_event::<QuotaLedger>(ADA, &taken(Quota::Datasets, DATASET)),
    ]);
    given()
        .when(public())
        .by(user(ADA, &["guest"]))
        .then_denied("role", Concealment::Forbidden);
    given().when(public()).by(ada()).then_records([
        expected_event::<Dataset>(DATASET, &dataset_created(Visibility::Public)),
        expected_event::<QuotaLedger>(ADA, &taken(Quota::Datasets, DATASET)),
    ]);
}

/// QU-1
#[test]
fn a_dataset_begins_empty_and_takes_its_place_in_the_quota() {
    given().when(create()).by(ada()).then_records([
        expected_event::<Dataset>(DATASET, &dataset_created(Visibility::Private)),
        expected_event::<QuotaLedger>(ADA, &taken(Quota::Datasets, DATASET)),
    ]);
}

/// QU-1
#[test]
fn a_guest_has_one_dataset_only() {
    given()
        .stream::<QuotaLedger>(ADA, [taken(Quota::Datasets, "another")])
        .when(create())
        .by(user(ADA, &["guest"]))
        .then_refused(
            QuotaExceeded {
                quota: Quota::Datasets,
                limit: 1,
                used: 1,
            }
            .into(),
        );
}

#[test]
fn an_id_names_one_dataset() {
    given()
        .a_project_with_data()
        .when(create())
        .by(ada())
        .then_refused(DatasetRefusal::IdTaken);
}

#[test]
fn a_dataset_needs_a_name() {
    let outcome = given().log.run(
        &CreateDataset {
            name: "x".repeat(101),
            ..create()
        },
        &ada(),
        NOW,
    );
    assert!(
        matches!(&outcome, Outcome::Refused(DatasetRefusal::Text(_), _)),
        "{outcome:?}"
    );
}

#[test]
fn an_analyst_makes_no_dataset() {
    given()
        .when(create())
        .by(user(ADA, &["analyst"]))
        .then_denied("role", Concealment::Forbidden);
}

/// DS-2, DS-3
#[test]
fn a_version_gets_the_next_number_and_its_bytes_count() {
    given()
        .a_project_with_data()
        .when(add("second"))
        .by(ada())
        .then_records([
            expected_event::<Dataset>(DATASET, &DatasetEvent::VersionAdded(dataset_version(2, "second"))),
            expected_event::<QuotaLedger>(ADA, &stored_object(1_000, &format!("{DATASET}/2"), "second")),
        ]);
}

/// DS-2: deduplicated; no bytes are counted twice.
#[test]
fn the_same_bytes_again_are_the_version_they_already_are() {
    given()
        .a_project_with_data()
        .when(add("first"))
        .by(ada())
        .then_already_so();
}

/// DS-1: the same bytes read another way are another version.
#[test]
fn the_same_bytes_in_another_format_are_a_new_version() {
    let chat = Version {
        format: Format::Chat,
        ..dataset_version(2, "first")
    };
    given()
        .a_project_with_data()
        .when(AddDatasetVersion {
            format: Format::Chat,
            ..add("first")
        })
        .by(ada())
        .then_records([
            expected_event::<Dataset>(DATASET, &DatasetEvent::VersionAdded(chat)),
            expected_event::<QuotaLedger>(ADA, &stored_object(1_000, &format!("{DATASET}/2"), "first")),
        ]);
}

/// DS-3: an object is shared, and counted once for each owner, however many things refer to it; also where the quota has no
/// room for it again.
#[test]
fn the_same_bytes_count_once_for_an_owner_and_once_for_another() {
    let full = || {
        with_quotas(
            ada(),
            Quotas {
                storage_gb: Some(1),
                ..Quotas::UNLIMITED
            },
        )
    };
    let first = stored_object(1_000_000_000, "dst_other/1", "second");
    let after = given()
        .a_project_with_data()
        .stream::<QuotaLedger>(ADA, [first.clone()])
        .when(AddDatasetVersion {
            bytes: 1_000_000_000,
            ..add("second")
        })
        .by(full())
        .then_records([
            expected_event::<Dataset>(
                DATASET,
                &DatasetEvent::VersionAdded(Version {
                    bytes: 1_000_000_000,
                    ..dataset_version(2, "second")
                }),
            ),
            expected_event::<QuotaLedger>(ADA, &stored_object(0, &format!("{DATASET}/2"), "second")),
        ]);
    assert_eq!(after.log.state::<QuotaLedger>(ADA).bytes(), 1_000_000_000);
    given()
        .a_project_with_data()
        .stream::<QuotaLedger>(BOB, [first])
        .when(add("second"))
        .by(ada())
        .then_records([
            expected_event::<Dataset>(DATASET, &DatasetEvent::VersionAdded(dataset_version(2, "second"))),
            expected_event::<QuotaLedger>(ADA, &stored_object(1_000, &format!("{DATASET}/2"), "second")),
        ]);
}

/// DS-3
#[test]
fn the_last_byte_of_the_storage_quota_can_be_used_and_no_more() {
    let one_gigabyte = || {
        with_quotas(
            ada(),
            Quotas {
                storage_gb: Some(1),
                ..Quotas::UNLIMITED
            },
        )
    };
    let nearly_full = || {
        given()
            .a_project_with_data()
            .stream::<QuotaLedger>(ADA, [stored(999_999_000, "old")])
    };
    nearly_full()
        .when(add("second"))
        .by(one_gigabyte())
        .then_records([
            expected_event::<Dataset>(DATASET, &DatasetEvent::VersionAdded(dataset_version(2, "second"))),
            expected_event::<QuotaLedger>(ADA, &stored_object(1_000, &format!("{DATASET}/2"), "second")),
        ]);
    nearly_full()
        .when(AddDatasetVersion {
            bytes: 1_001,
            ..add("second")
        })
        .by(one_gigabyte())
        .then_refused(DatasetRefusal::Storage(StorageExceeded {
            limit: 1_000_000_000,
            used: 999_999_000,
            wanted: 1_001,
        }));
}

/// DS-3: sizes near the end of the number range do not wrap around into the quota.
#[test]
fn an_absurd_size_is_refused() {
    let outcome = given()
        .a_project_with_data()
        .stream::<QuotaLedger>(ADA, [stored(10, "old")])
        .log
        .run(
            &AddDatasetVersion {
                bytes: u64::MAX,
                ..add("second")
            },
            &ada(),
            NOW,
        );
    assert!(
        matches!(&outcome, Outcome::Refused(DatasetRefusal::Storage(_), _)),
        "{outcome:?}"
    );
}

#[test]
fn nobody_adds_to_the_dataset_of_others_or_to_none() {
    given()
        .a_project_with_data()
        .when(add("second"))
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .when(add("second"))
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
}

/// A public dataset is read by everybody and changed by its owner.
#[test]
fn nobody_adds_to_a_public_dataset_of_others() {
    given()
        .stream::<Dataset>(DATASET, [dataset_created(Visibility::Public)])
        .when(add("first"))
        .by(bob())
        .then_denied("role", Concealment::Forbidden);
}
