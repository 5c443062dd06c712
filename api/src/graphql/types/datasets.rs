//! Datasets as clients see them.

use async_graphql::{Context, ID, Object, Result};
use projections::datasets::version::VersionRow;

use super::{Dataset, User, references};
use crate::graphql::{
    errors::read_failed,
    loaders::{DatasetVersionsLoader, load},
    scalars::{DateTime, Long},
    visibility::Visibility,
};

/// Training data with immutable versions.
#[Object]
impl Dataset {
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
    /// Visibility.
    async fn visibility(&self) -> Visibility {
        self.0.visibility.into()
    }
    /// When it was created.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
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
    async fn versions(&self, context: &Context<'_>) -> Result<Option<Vec<DatasetVersion>>> {
        let loaded = load::<DatasetVersionsLoader, _>(context, (self.0.id, self.1.as_of))
            .await?
            .map_err(|error| read_failed(&error))?;
        let versions = loaded.unwrap_or_default().into_iter();
        Ok(Some(versions.map(DatasetVersion).collect()))
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
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}
