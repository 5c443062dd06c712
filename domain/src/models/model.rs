//! Models and their versions (MO-2, MO-4).

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, event},
    authz::{Action, PartyRole, Shared, Visibility},
    id::{DatasetId, JobId, ModelId, UserId},
    payload::Leaves,
};

/// The content of a model's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// All weights, in Hugging Face layout.
    Full,
    /// A LoRA adapter in PEFT layout, for one base model.
    Adapter,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct ModelFile {
    /// Its name, without folders.
    #[plain]
    pub name: String,
    /// SHA-256 of its bytes.
    #[plain]
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// A version of a model, named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct ModelVersionRef {
    /// The model.
    pub model: ModelId,
    /// Its version, from 1.
    pub version: u32,
}

/// Where a version comes from: enough to make it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Lineage {
    /// Brought in from outside, as these files.
    Imported {
        /// What it was called there.
        #[plain]
        origin: String,
    },
    /// Trained here.
    Trained {
        /// By this job.
        job: JobId,
        /// On this dataset,
        dataset: DatasetId,
        /// in this version,
        dataset_version: u32,
        /// which had this SHA-256.
        #[plain]
        dataset_sha256: String,
        /// From this base; `None` when from scratch.
        base: Option<ModelVersionRef>,
        /// Hash of the base's files.
        #[plain]
        base_sha256: Option<String>,
        /// With this seed.
        seed: u64,
        /// By this version of Anneal.
        #[plain]
        code_version: String,
        /// On this worker.
        #[plain]
        worker: String,
        /// With this result: names and values, as decimal text.
        #[plain]
        metrics: std::collections::BTreeMap<String, String>,
    },
}

/// One immutable version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct ModelVersion {
    /// Its number, from 1.
    pub version: u32,
    /// Hash over the names and hashes of its files.
    #[plain]
    pub sha256: String,
    /// Where its files lie in the object store.
    #[plain]
    pub artifact: String,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// Its origin.
    pub lineage: Lineage,
    /// The base with this adapter merged into it, where the job was asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<MergedModel>,
}

/// A base model with an adapter merged into it, in Hugging Face layout: made with the adapter, from the same state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct MergedModel {
    /// Hash over the names and hashes of its files.
    #[plain]
    pub sha256: String,
    /// Where its files lie in the object store.
    #[plain]
    pub artifact: String,
    /// Its files.
    pub files: Vec<ModelFile>,
}

impl MergedModel {
    /// What it takes in the object store.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        total(&self.files)
    }
}

impl ModelVersion {
    /// What its own files take in the object store, without those of a merged model.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        total(&self.files)
    }
}

fn total(files: &[ModelFile]) -> u64 {
    files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
}

/// A model.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The owner, once registered.
    pub owner: Option<UserId>,
    /// The content of its versions.
    pub kind: Option<ModelKind>,
    /// Who can read it besides its owner.
    pub visibility: Visibility,
    /// Its versions.
    pub versions: Vec<ModelVersion>,
}

/// Facts about a model.
#[event(context = "models", subject = owner)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one event at a time is alive")]
pub enum ModelEvent {
    /// It came to be.
    #[event(name = "ModelRegistered")]
    Registered {
        /// The model.
        model: ModelId,
        /// The owner.
        owner: UserId,
        /// Its name.
        #[plain]
        name: String,
        /// Its purpose.
        #[plain]
        description: String,
        /// The content of its versions.
        content: ModelKind,
        /// Who can read it besides its owner.
        visibility: Visibility,
    },
    /// A version was added.
    #[event(name = "ModelVersionAdded", subject = actor)]
    VersionAdded(ModelVersion),
}

impl Aggregate for Model {
    const CATEGORY: &'static str = "models.model";
    type Event = ModelEvent;
    fn evolve(&mut self, event: &ModelEvent) {
        match event {
            ModelEvent::Registered {
                owner,
                content,
                visibility,
                ..
            } => {
                self.owner = Some(*owner);
                self.kind = Some(*content);
                self.visibility = *visibility;
            }
            ModelEvent::VersionAdded(version) => self.versions.push(version.clone()),
        }
    }
}

impl Shared for Model {
    type Id = ModelId;
    const KIND: &'static str = "models";
    const READ: Action = Action::ModelsRead;
    const SHARE: Action = Action::ModelsShare;
    const ROLES: &'static [PartyRole] = &[PartyRole::Viewer, PartyRole::Editor];
    const GROUPS: bool = true;

    fn founder(&self) -> Option<UserId> {
        self.owner
    }

    fn visibility(&self) -> Visibility {
        self.visibility
    }
}

impl Model {
    /// A version by number, or the newest.
    #[must_use]
    pub fn version(&self, number: Option<u32>) -> Option<&ModelVersion> {
        match number {
            Some(number) => self.versions.iter().find(|version| version.version == number),
            None => self.versions.last(),
        }
    }
}
