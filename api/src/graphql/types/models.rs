//! Models, their versions and where those come from, as clients see them.

use async_graphql::{ComplexObject, Context, Enum, ID, Object, Result, SimpleObject};
use domain::{
    id::{DatasetId, JobId, ModelId},
    models::model::{Lineage as Recorded, ModelKind},
};
use projections::models::version::ModelVersionRow;

use super::{AccessGrant, AccessType, Dataset, Job, Model, User, access_list, access_type, references};
use crate::graphql::{
    as_of::ResolvedAsOf,
    errors::read_failed,
    loaders::{ModelVersionsLoader, load},
    scalars::{DateTime, Long},
    visibility::Visibility,
};

/// What a model's versions contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ModelContent {
    /// All weights, in Hugging Face layout.
    Full,
    /// A LoRA adapter in PEFT layout, for one base model.
    Adapter,
}

/// A base model or a trained model.
#[Object]
impl Model {
    /// Global ID.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Its name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Description.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// The owner's ID.
    async fn owner_id(&self) -> ID {
        self.0.owner_id.to_string().into()
    }
    /// The owner; null if the caller may not read the account.
    async fn owner(&self, context: &Context<'_>) -> Result<Option<User>> {
        references::user(context, self.0.owner_id).await
    }
    /// What its versions contain.
    async fn content(&self) -> ModelContent {
        match self.0.content {
            ModelKind::Full => ModelContent::Full,
            ModelKind::Adapter => ModelContent::Adapter,
        }
    }
    /// Visibility.
    async fn visibility(&self) -> Visibility {
        self.0.visibility.into()
    }
    /// When it was registered.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
    /// How the caller comes to see it.
    async fn access_type(&self, context: &Context<'_>) -> Result<Option<AccessType>> {
        let row = &self.0;
        access_type::of(context, row.id.0, row.owner_id, row.visibility)
            .await
            .map(Some)
    }
    /// Who has access besides its owner, in the order in which it was given; null for callers who may not change the
    /// model.
    async fn access(&self, context: &Context<'_>) -> Result<Option<Vec<AccessGrant>>> {
        access_list::of_model(context, self.1, self.0.id).await
    }
    /// Versions, newest first; at most 100.
    async fn versions(&self, context: &Context<'_>) -> Result<Option<Vec<ModelVersion>>> {
        let loaded = load::<ModelVersionsLoader, _>(context, (self.0.id, self.1.as_of))
            .await?
            .map_err(|error| read_failed(&error))?;
        let versions = loaded.unwrap_or_default().into_iter();
        Ok(Some(versions.map(ModelVersion).collect()))
    }
}

/// A version of a model.
pub struct ModelVersion(pub ModelVersionRow);

/// An immutable version of a model.
#[Object]
impl ModelVersion {
    /// Its number, from 1.
    async fn version(&self) -> i32 {
        self.0.version
    }
    /// Hash over the names and hashes of its files.
    async fn sha256(&self) -> &str {
        &self.0.sha256
    }
    /// Its files.
    async fn files(&self) -> Vec<ModelFile> {
        downloads(&self.0, "files", &self.0.files)
    }
    /// For an adapter: the base model with the adapter merged; null if the job did not request it.
    async fn merged(&self) -> Option<MergedModel> {
        self.0.merged.as_ref().map(|merged| MergedModel {
            sha256: merged.sha256.clone(),
            files: downloads(&self.0, "merged", &merged.files),
        })
    }
    /// Provenance.
    async fn lineage(&self) -> Lineage {
        Lineage::from(&self.0.lineage)
    }
    /// When it was added.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// `files` of `version`, to be had below `folder` of its path.
fn downloads(
    version: &ModelVersionRow,
    folder: &str,
    files: &[domain::models::model::ModelFile],
) -> Vec<ModelFile> {
    let (model, number) = (version.model_id, version.version);
    let file = |file: &domain::models::model::ModelFile| ModelFile {
        name: file.name.clone(),
        sha256: file.sha256.clone(),
        bytes: Long(file.bytes),
        download_path: format!("/api/models/{model}/versions/{number}/{folder}/{}", file.name),
    };
    files.iter().map(file).collect()
}

/// A base model with an adapter merged into it, in Hugging Face layout: `transformers` loads the folder as it is.
#[derive(SimpleObject)]
pub struct MergedModel {
    /// Hash over the names and hashes of its files.
    pub sha256: String,
    /// Its files.
    pub files: Vec<ModelFile>,
}

/// One file of a version.
#[derive(SimpleObject)]
pub struct ModelFile {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: Long,
    /// Download URL: `GET` with an access token. Requires `models.export`.
    pub download_path: String,
}

/// A named value.
#[derive(SimpleObject)]
pub struct Metric {
    /// Name of the metric.
    pub name: String,
    /// Its value, as a decimal number.
    pub value: String,
}

/// Metrics as a list, by name.
pub fn metrics(map: &std::collections::BTreeMap<String, String>) -> Vec<Metric> {
    map.iter()
        .map(|(name, value)| Metric {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

/// Provenance of a model version, sufficient to reproduce it. Fields are null for imported models.
#[derive(Default, SimpleObject)]
#[graphql(complex)]
pub struct Lineage {
    #[graphql(skip)]
    source: Option<(JobId, DatasetId, Option<ModelId>)>,
    /// Original name of an imported model.
    pub imported_from: Option<String>,
    /// ID of the job that produced it.
    pub job_id: Option<ID>,
    /// ID of the dataset.
    pub dataset_id: Option<ID>,
    /// Dataset version.
    pub dataset_version: Option<u32>,
    /// SHA-256 of the dataset version.
    pub dataset_sha256: Option<String>,
    /// ID of the base model.
    pub base_model_id: Option<ID>,
    /// Base model version.
    pub base_model_version: Option<u32>,
    /// Hash over the base model's files.
    pub base_sha256: Option<String>,
    /// The seed.
    pub seed: Option<Long>,
    /// The version of Anneal.
    pub code_version: Option<String>,
    /// The worker.
    pub worker: Option<String>,
    /// Final metrics.
    pub metrics: Vec<Metric>,
}

#[ComplexObject]
impl Lineage {
    /// The job that produced it; null if the caller may not read it.
    async fn job(&self, context: &Context<'_>) -> Result<Option<Job>> {
        let Some((job, ..)) = self.source else {
            return Ok(None);
        };
        references::job(context, ResolvedAsOf::NOW, job).await
    }
    /// The dataset as it stands; null if the caller may not read it.
    async fn dataset(&self, context: &Context<'_>) -> Result<Option<Dataset>> {
        let Some((_, dataset, _)) = self.source else {
            return Ok(None);
        };
        references::dataset(context, ResolvedAsOf::NOW, dataset).await
    }
    /// The base model as it stands; null if there is none, or if the caller may not read it.
    async fn base_model(&self, context: &Context<'_>) -> Result<Option<Model>> {
        let Some((.., Some(base))) = self.source else {
            return Ok(None);
        };
        references::model(context, ResolvedAsOf::NOW, base).await
    }
}

impl From<&Recorded> for Lineage {
    fn from(recorded: &Recorded) -> Self {
        match recorded {
            Recorded::Imported { origin } => Self {
                imported_from: Some(origin.clone()),
                ..Self::default()
            },
            Recorded::Trained {
                job,
                dataset,
                dataset_version,
                dataset_sha256,
                base,
                base_sha256,
                seed,
                code_version,
                worker,
                metrics: measured,
            } => Self {
                source: Some((*job, *dataset, base.map(|base| base.model))),
                imported_from: None,
                job_id: Some(job.to_string().into()),
                dataset_id: Some(dataset.to_string().into()),
                dataset_version: Some(*dataset_version),
                dataset_sha256: Some(dataset_sha256.clone()),
                base_model_id: base.map(|base| base.model.to_string().into()),
                base_model_version: base.map(|base| base.version),
                base_sha256: base_sha256.clone(),
                seed: Some(Long(*seed)),
                code_version: Some(code_version.clone()),
                worker: Some(worker.clone()),
                metrics: metrics(measured),
            },
        }
    }
}
