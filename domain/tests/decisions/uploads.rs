//! Room for uploads (FS1).

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quotas, StorageExceeded},
    },
    authz::{Concealment, Principal},
    datasets::{
        dataset::{AddDatasetVersion, Dataset, DatasetEvent, DatasetRefusal},
        upload::{ReleaseUpload, ReserveUpload},
    },
    id::UploadId,
};

use crate::{
    datasets::{add, stored, stored_object},
    support::*,
};

/// Reserves room for `bytes` for the upload that [`reserved`] names.
fn reserve(bytes: u64) -> ReserveUpload {
    ReserveUpload {
        dataset: DATASET,
        upload: UPLOAD,
        bytes,
        sha256: None,
        until: NOW + time::Duration::MINUTE,
    }
}

fn reserved(upload: UploadId, bytes: u64, until: time::OffsetDateTime) -> LedgerEvent {
    let item = upload.to_string();
    LedgerEvent::StorageReserved { bytes, until, item }
}

const UPLOAD: UploadId = UploadId(uuid::Uuid::from_u128(0x70));
const OTHER_UPLOAD: UploadId = UploadId(uuid::Uuid::from_u128(0x71));
const GIGABYTE: u64 = 1_000_000_000;

fn of_one_gigabyte() -> Principal {
    with_quotas(
        ada(),
        Quotas {
            storage_gb: Some(1),
            ..Quotas::UNLIMITED
        },
    )
}

/// FS1: what is reserved for one upload is not there for another, until it ends.
#[test]
fn room_that_is_reserved_is_taken_until_the_reservation_ends() {
    let later = NOW + time::Duration::MINUTE;
    let with = |until| {
        given()
            .a_project_with_data()
            .stream::<QuotaLedger>(ADA, [reserved(OTHER_UPLOAD, GIGABYTE - 10, until)])
    };
    with(later)
        .when(reserve(11))
        .by(of_one_gigabyte())
        .then_refused(DatasetRefusal::Storage(StorageExceeded {
            limit: GIGABYTE,
            used: GIGABYTE - 10,
            wanted: 11,
        }));
    with(later)
        .when(reserve(10))
        .by(of_one_gigabyte())
        .then_records([expected_event::<QuotaLedger>(ADA, &reserved(UPLOAD, 10, later))]);
    with(later)
        .when(add("second"))
        .by(of_one_gigabyte())
        .then_refused(DatasetRefusal::Storage(StorageExceeded {
            limit: GIGABYTE,
            used: GIGABYTE - 10,
            wanted: 1_000,
        }));
    // One that nobody extended has ended, and is released with the next.
    let item = OTHER_UPLOAD.to_string();
    with(NOW).when(reserve(11)).by(of_one_gigabyte()).then_records([
        expected_event::<QuotaLedger>(ADA, &LedgerEvent::StorageReleased { item }),
        expected_event::<QuotaLedger>(ADA, &reserved(UPLOAD, 11, later)),
    ]);
}

/// An upload grows beside what it has itself, and its version ends its reservation.
#[test]
fn an_upload_uses_its_own_reservation() {
    let later = NOW + time::Duration::MINUTE;
    let with = || {
        given()
            .a_project_with_data()
            .stream::<QuotaLedger>(ADA, [reserved(UPLOAD, GIGABYTE, later)])
    };
    with()
        .when(reserve(GIGABYTE))
        .by(of_one_gigabyte())
        .then_records([expected_event::<QuotaLedger>(
            ADA,
            &reserved(UPLOAD, GIGABYTE, later),
        )]);
    let item = UPLOAD.to_string();
    with()
        .when(AddDatasetVersion {
            upload: Some(UPLOAD),
            ..add("second")
        })
        .by(of_one_gigabyte())
        .then_records([
            expected_event::<Dataset>(DATASET, &DatasetEvent::VersionAdded(dataset_version(2, "second"))),
            expected_event::<QuotaLedger>(ADA, &stored_object(1_000, &format!("{DATASET}/2"), "second")),
            expected_event::<QuotaLedger>(ADA, &LedgerEvent::StorageReleased { item }),
        ]);
}

/// Whoever may not add to the dataset reserves nothing for it, and without a limit there is nothing to reserve.
#[test]
fn room_is_reserved_by_those_who_may_upload_and_where_there_is_a_limit() {
    given()
        .a_project_with_data()
        .when(reserve(10))
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .a_project_with_data()
        .when(reserve(u64::MAX))
        .by(with_quotas(ada(), Quotas::UNLIMITED))
        .then_already_so();
    let release = ReleaseUpload {
        owner: ADA,
        upload: UPLOAD,
        lapsed: None,
    };
    given()
        .when(release.clone())
        .by(Principal::System("uploads"))
        .then_already_so();
    let item = UPLOAD.to_string();
    given()
        .stream::<QuotaLedger>(ADA, [reserved(UPLOAD, 10, NOW)])
        .when(release)
        .by(Principal::System("uploads"))
        .then_records([expected_event::<QuotaLedger>(
            ADA,
            &LedgerEvent::StorageReleased { item },
        )]);
}

/// The same bytes again, as after an answer that was lost, need no room; others that claim to be them do.
#[test]
fn bytes_that_are_a_version_already_need_no_room() {
    let full = || {
        given()
            .a_project_with_data()
            .stream::<Dataset>(
                DATASET,
                [DatasetEvent::VersionAdded(dataset_version(2, "second"))],
            )
            .stream::<QuotaLedger>(ADA, [stored(GIGABYTE, "dst/1")])
    };
    let bytes = dataset_version(2, "second").bytes;
    let again = |bytes| ReserveUpload {
        sha256: Some(dataset_version(2, "second").sha256),
        ..reserve(bytes)
    };
    full().when(again(bytes)).by(of_one_gigabyte()).then_already_so();
    for command in [again(bytes + 1), reserve(bytes)] {
        let wanted = command.bytes;
        full()
            .when(command)
            .by(of_one_gigabyte())
            .then_refused(DatasetRefusal::Storage(StorageExceeded {
                limit: GIGABYTE,
                used: GIGABYTE,
                wanted,
            }));
    }
}

/// What is released because its time is over is not released when it was extended meanwhile, nor before.
#[test]
fn a_reservation_lapses_at_its_time_unless_it_was_extended() {
    let lapsed = |until| ReleaseUpload {
        owner: ADA,
        upload: UPLOAD,
        lapsed: Some(until),
    };
    let (later, item) = (NOW + time::Duration::MINUTE, UPLOAD.to_string());
    let with = |until| given().stream::<QuotaLedger>(ADA, [reserved(UPLOAD, 10, until)]);
    let uploads = Principal::System("uploads");
    with(later)
        .when(lapsed(NOW))
        .by(uploads.clone())
        .then_already_so();
    with(later)
        .when(lapsed(later))
        .by(uploads.clone())
        .then_already_so();
    with(NOW)
        .when(lapsed(NOW))
        .by(uploads)
        .then_records([expected_event::<QuotaLedger>(
            ADA,
            &LedgerEvent::StorageReleased { item },
        )]);
}
