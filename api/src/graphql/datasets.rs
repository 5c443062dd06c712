//! Datasets. Their bytes are uploaded and downloaded by plain HTTP.

use async_graphql::{
    Context, ID, InputObject, Object, Result, connection::Connection, dataloader::DataLoader,
};
use domain::{
    datasets::dataset::{CreateDataset, DatasetRefusal},
    id::DatasetId,
};
use projections::datasets::{dataset::DatasetRow, version::VersionRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    context::{app, honor_min_position, readable, user, viewer},
    errors::read_failed,
    ids::id_or_not_found,
    loaders::DatasetVersionsLoader,
    mutation::{Entity, MutationCall, payload},
    paging::{connect, page, weight},
    scalars::Long,
    user_error::{UserError, UserErrorCode, UserErrors},
    visibility::Visibility,
};

/// A dataset.
pub struct Dataset(pub DatasetRow);

/// Training data with immutable versions.
#[Object]
impl Dataset {
    /// Global ID.
    async fn id(&self) -> ID {
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
    /// Visibility.
    async fn visibility(&self) -> Visibility {
        self.0.visibility.into()
    }
    /// When it was created.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// Number of the newest version; 0 if there is none.
    async fn latest_version(&self) -> i32 {
        self.0.latest_version
    }
    /// Upload URL for new versions: `POST` the file's bytes there with an access token.
    async fn upload_path(&self) -> String {
        format!("/api/datasets/{}/versions", self.0.id)
    }
    /// Versions, newest first; at most 100.
    async fn versions(&self, context: &Context<'_>) -> Result<Vec<DatasetVersion>> {
        let loaded = context
            .data::<DataLoader<DatasetVersionsLoader>>()?
            .load_one(self.0.id)
            .await
            .map_err(|error| read_failed(&error))?;
        Ok(loaded
            .unwrap_or_default()
            .into_iter()
            .map(DatasetVersion)
            .collect())
    }
}

/// A version of a dataset.
pub struct DatasetVersion(pub VersionRow);

/// An immutable, content-addressed version of a dataset.
#[Object]
impl DatasetVersion {
    /// Its number, from 1.
    async fn version(&self) -> i32 {
        self.0.version
    }
    /// SHA-256 of its bytes, in hexadecimal.
    async fn sha256(&self) -> &str {
        &self.0.sha256
    }
    /// Its size in bytes, uncompressed.
    async fn bytes(&self) -> Long {
        self.0.bytes.into()
    }
    /// `plain_text`, `chat`, `prompt_completion`, `alpaca` or `sharegpt`; new values may be added.
    async fn format(&self) -> &str {
        self.0.format.name()
    }
    /// The file's own name as uploaded, without folders.
    async fn file_name(&self) -> &str {
        &self.0.file_name
    }
    /// Number of samples.
    async fn samples(&self) -> Long {
        Long(self.0.summary.samples)
    }
    /// Number of lines.
    async fn lines(&self) -> Long {
        Long(self.0.summary.lines)
    }
    /// Estimated tokens: a quarter of its bytes.
    async fn token_estimate(&self) -> Long {
        Long(self.0.summary.token_estimate)
    }
    /// The first samples, truncated.
    async fn preview(&self) -> &[String] {
        &self.0.summary.preview
    }
    /// When it was added.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
}

/// A new, empty dataset.
#[derive(InputObject)]
pub struct CreateDatasetInput {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[graphql(default)]
    pub description: String,
    /// Visibility; private if omitted.
    #[graphql(default_with = "Visibility::Private")]
    pub visibility: Visibility,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `createDataset`.
    CreateDatasetPayload {
        /// The dataset; null on error.
        dataset: Dataset
    }
}

impl Entity for Dataset {
    type Id = DatasetId;
    async fn load(context: &Context<'_>, id: DatasetId) -> Result<Option<Self>> {
        let Some(viewer) = readable(context) else {
            return Ok(None);
        };
        let row = projections::datasets::dataset::find(&app(context)?.pool, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Self))
    }
}

impl UserErrors for DatasetRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let message = self.to_string();
        match self {
            Self::Text(problems) => problems.user_errors(),
            Self::Quota(_) | Self::Storage(_) => {
                vec![UserError::whole(message, UserErrorCode::QuotaExceeded)]
            }
            Self::IdTaken => vec![UserError::whole(message, UserErrorCode::Invalid)],
        }
    }
}

/// Queries about datasets.
#[derive(Default)]
pub struct DatasetsQuery;

#[Object]
impl DatasetsQuery {
    /// The datasets visible to the caller, newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn datasets(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Connection<String, Dataset>> {
        let (viewer, request) = (viewer(context)?, page(first, after.as_deref())?);
        honor_min_position(context, min_position).await?;
        let rows = projections::datasets::dataset::list(&app(context)?.pool, viewer, &request).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        Ok(connect(rows, after.as_deref(), |row| {
            (row.id.0.to_string(), Dataset(row))
        }))
    }

    /// One dataset.
    async fn dataset(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The dataset.")] id: ID,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Dataset>> {
        let viewer = viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<DatasetId>(&id) else {
            return Ok(None);
        };
        let row = projections::datasets::dataset::find(&app(context)?.pool, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Dataset))
    }
}

/// Changes of datasets.
#[derive(Default)]
pub struct DatasetsMutation;

#[Object]
impl DatasetsMutation {
    /// Creates an empty dataset. Requires `datasets.create`, for a public one also `datasets.share`, and enough quota.
    async fn create_dataset(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The dataset.")] input: CreateDatasetInput,
    ) -> Result<Option<CreateDatasetPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (dataset, owner) = (call.fresh(), user(context)?.user);
        let command = CreateDataset {
            dataset,
            owner,
            name: input.name,
            description: input.description,
            visibility: input.visibility.into(),
        };
        call.finish(dataset, &command).await
    }
}
