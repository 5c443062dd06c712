//! What a job does: its kind, with what each kind was ordered with.
//!
//! One rule: all kinds live one life, in [`super::job`]. What differs from kind to kind stands in one module for each
//! ([`super::training`], [`super::import`]); whoever has to know the kind matches on [`JobKind`], so that the compiler
//! names every place that a further kind needs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::spec::TrainingSpec;
use crate::{
    authz::Visibility,
    datasets::format::Format,
    id::{DatasetId, ExperimentId, ProjectId},
    models::model::{ModelFile, ModelVersionRef},
    payload::Leaves,
};

/// The dataset version that a job trains on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct DatasetUse {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its bytes.
    #[plain]
    pub sha256: String,
    /// What they are.
    pub format: Format,
}

/// The base model version that a job trains on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct BaseUse {
    /// The version.
    #[serde(flatten)]
    pub version: ModelVersionRef,
    /// Hash over its files.
    #[plain]
    pub sha256: String,
    /// Their place in the object store.
    #[plain]
    pub artifact: String,
}

/// A training, as it was ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Training {
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// The project of the experiment.
    pub project: ProjectId,
    /// What it trains on.
    pub dataset: DatasetUse,
    /// What it starts from; `None` for `scratch`.
    pub base: Option<BaseUse>,
    /// What it does.
    pub spec: TrainingSpec,
}

/// The import of a model from a folder, as it was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Import {
    /// Its place below the folder of models (`models.folder`).
    #[plain]
    pub folder: String,
    /// What the model is for.
    #[plain]
    pub description: String,
    /// Who can read the model besides its owner.
    pub visibility: Visibility,
    /// Bytes of its files when it was ordered: so much room is reserved for it.
    pub bytes: u64,
    /// How many files that were.
    pub files: u32,
}

/// A file that an import has stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct ImportedFile {
    /// What is stored.
    #[serde(flatten)]
    pub file: ModelFile,
    /// When the file in the folder was last written, in nanoseconds since 1970; 0 where that is not known.
    pub modified: u64,
    /// The number of the file in its file system.
    pub inode: u64,
}

/// What a job does. Recorded as `{"training": {…}}`: the name of the kind, with its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "an order lies behind a pointer already")]
pub enum JobKind {
    /// It trains a model.
    Training(Training),
    /// It imports a model.
    Import(Import),
}

/// The name of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    /// See [`JobKind::Training`].
    Training,
    /// See [`JobKind::Import`].
    Import,
}

impl KindName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Training, Self::Import];

    /// The name as it is recorded.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Import => "import",
        }
    }
}

impl JobKind {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> KindName {
        match self {
            Self::Training(_) => KindName::Training,
            Self::Import(_) => KindName::Import,
        }
    }
}

/// Fields of the first version of `jobs.JobQueued` that are of a training.
const OF_TRAINING: [&str; 5] = ["experiment", "project", "dataset", "base", "spec"];

/// From version 1 of `jobs.JobQueued`, which knew trainings only, to version 2.
pub(super) fn with_kind(data: Value) -> Result<Value, String> {
    let Value::Object(mut fields) = data else {
        return Err("no object".to_owned());
    };
    let training: Map<String, Value> = OF_TRAINING
        .into_iter()
        .filter_map(|field| fields.remove_entry(field))
        .collect();
    fields.insert("kind".to_owned(), json!({ "training": training }));
    Ok(Value::Object(fields))
}
