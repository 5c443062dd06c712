//! Sensitive reads are facts (AU-1).

use domain::{
    audit::sensitive_read::{DownloadDataset, DownloadModelFile, NoSuchContent, ReadEvent, SensitiveReads},
    authz::{AccountState, Concealment, Principal, Visibility},
    datasets::dataset::{Dataset, DatasetEvent},
};

use crate::support::*;

const DATASET_READ: DownloadDataset = DownloadDataset {
    dataset: DATASET,
    version: 1,
};

fn model_read() -> DownloadModelFile {
    DownloadModelFile {
        model: BASE,
        version: 1,
        file: "config.json".into(),
        merged: false,
    }
}

/// AU-1
#[test]
fn a_download_of_a_dataset_is_recorded_under_its_reader() {
    let read = ReadEvent::DatasetDownloaded {
        dataset: DATASET,
        version: 1,
    };
    given()
        .a_project_with_data()
        .when(DATASET_READ)
        .by(ada())
        .then_records([expected_event::<SensitiveReads>(format!("user:{ADA}"), &read)]);
}

/// AU-1, AC-4: an administrator who looks at the things of others leaves a trace.
#[test]
fn a_download_by_an_administrator_is_recorded_under_the_administrator() {
    let read = ReadEvent::DatasetDownloaded {
        dataset: DATASET,
        version: 1,
    };
    given()
        .a_project_with_data()
        .when(DATASET_READ)
        .by(root())
        .then_records([expected_event::<SensitiveReads>(format!("user:{ROOT}"), &read)]);
}

#[test]
fn a_version_that_is_not_there_cannot_be_downloaded() {
    given()
        .a_project_with_data()
        .when(DownloadDataset {
            dataset: DATASET,
            version: 2,
        })
        .by(ada())
        .then_refused(NoSuchContent);
}

#[test]
fn a_private_dataset_is_not_found_by_strangers_and_closed_to_the_unproven() {
    given()
        .a_project_with_data()
        .when(DATASET_READ)
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .a_project_with_data()
        .when(DATASET_READ)
        .by(Principal::Anonymous)
        .then_denied("anonymous", Concealment::Unauthenticated);
    given()
        .a_project_with_data()
        .when(DATASET_READ)
        .by(in_state(ada(), AccountState::Unverified))
        .then_denied("unverified", Concealment::Forbidden);
}

#[test]
fn everybody_downloads_a_public_dataset() {
    let version = DatasetEvent::VersionAdded(dataset_version(1, "first"));
    let read = ReadEvent::DatasetDownloaded {
        dataset: DATASET,
        version: 1,
    };
    given()
        .stream::<Dataset>(DATASET, [dataset_created(Visibility::Public), version])
        .when(DATASET_READ)
        .by(bob())
        .then_records([expected_event::<SensitiveReads>(format!("user:{BOB}"), &read)]);
}

/// AU-1
#[test]
fn a_download_of_a_model_file_is_recorded_with_the_file() {
    let read = ReadEvent::ModelDownloaded {
        model: BASE,
        version: 1,
        file: "config.json".into(),
        merged: false,
    };
    given()
        .a_project_with_data()
        .when(model_read())
        .by(ada())
        .then_records([expected_event::<SensitiveReads>(format!("user:{ADA}"), &read)]);
}

#[test]
fn files_and_versions_that_are_not_there_cannot_be_downloaded() {
    let missing_file = DownloadModelFile {
        file: "../secret".into(),
        ..model_read()
    };
    given()
        .a_project_with_data()
        .when(missing_file)
        .by(ada())
        .then_refused(NoSuchContent);
    let missing_version = DownloadModelFile {
        version: 9,
        ..model_read()
    };
    given()
        .a_project_with_data()
        .when(missing_version)
        .by(ada())
        .then_refused(NoSuchContent);
}

/// Taking a model out of the house needs `models.export`, also of its owner.
#[test]
fn a_guest_does_not_export_its_own_model() {
    given()
        .a_project_with_data()
        .when(model_read())
        .by(user(ADA, &["guest"]))
        .then_denied("role", Concealment::Forbidden);
}
