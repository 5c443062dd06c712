//! Samples of the events of models.

use super::{id, samples_of};
use crate::{
    authz::Visibility,
    id::{DatasetId, JobId, ModelId, UserId},
    models::model::{Lineage, MergedModel, ModelEvent, ModelFile, ModelKind, ModelVersion, ModelVersionRef},
};

const USER: UserId = UserId(id(1));
const DATASET: DatasetId = DatasetId(id(2));
const MODEL: ModelId = ModelId(id(3));

samples_of! {
    ModelEvent {
        Registered => model(ModelKind::Full),
        VersionAdded => ModelEvent::VersionAdded(model_version(imported())),
    } also {
        "adapter" => model(ModelKind::Adapter),
        "trained" => ModelEvent::VersionAdded(model_version(trained())),
        "merged" => ModelEvent::VersionAdded(merged()),
    }
}

fn model(content: ModelKind) -> ModelEvent {
    ModelEvent::Registered {
        model: MODEL,
        owner: USER,
        name: "Poet".into(),
        description: "Writes verse.".into(),
        content,
        visibility: Visibility::Private,
    }
}

fn model_version(lineage: Lineage) -> ModelVersion {
    let file = ModelFile {
        name: "model.safetensors".into(),
        sha256: "60303ae2".into(),
        bytes: 77,
    };
    ModelVersion {
        version: 1,
        sha256: "9f86d081".into(),
        artifact: "models/poet".into(),
        files: vec![file],
        lineage,
        merged: None,
    }
}

fn merged() -> ModelVersion {
    let version = model_version(trained());
    ModelVersion {
        merged: Some(MergedModel {
            sha256: "5e884898".into(),
            artifact: "artifacts/job/1/merged".into(),
            files: version.files.clone(),
        }),
        ..version
    }
}

fn imported() -> Lineage {
    Lineage::Imported {
        origin: "gpt2".into(),
    }
}

fn trained() -> Lineage {
    Lineage::Trained {
        job: JobId(id(6)),
        dataset: DATASET,
        dataset_version: 1,
        dataset_sha256: "9f86d081".into(),
        base: Some(ModelVersionRef {
            model: MODEL,
            version: 1,
        }),
        base_sha256: Some("60303ae2".into()),
        seed: 1,
        code_version: "0.1.0".into(),
        worker: "host/cpu".into(),
        metrics: [("loss".to_owned(), "1.25".to_owned())].into(),
    }
}
