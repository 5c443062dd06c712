//! Model versions: the `models_version` table. Who may see a model may see its versions; callers read the
//! model first.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::{JobId, ModelId},
    models::model::{Lineage, MergedModel, Model, ModelEvent, ModelFile},
};
use time::OffsetDateTime;

use super::model::Models;
use crate::history::AsOf;
use crate::position::stored;
use crate::read_model::{Parent, ReadError, ReadModel, Row, Rows, Scope, Source, fetch, fetch_one};

/// A version of a model.
#[derive(Clone, Debug, Row)]
pub struct ModelVersionRow {
    /// Model and number.
    pub id: String,
    /// The model.
    pub model_id: ModelId,
    /// Its number, from 1.
    pub version: i32,
    /// Hash over the names and hashes of its files.
    pub sha256: String,
    /// Where its files lie in the object store.
    pub artifact: String,
    /// Its files.
    #[column(json)]
    pub files: Vec<ModelFile>,
    /// The base with it merged into it, where there is one.
    #[column(json)]
    pub merged: Option<MergedModel>,
    /// Its origin.
    #[column(json)]
    pub lineage: Lineage,
    /// The job that made it.
    pub job_id: Option<JobId>,
    /// When it was added.
    pub created_at: OffsetDateTime,
    /// Position of the event that added it.
    pub position: i64,
}

/// The projection.
#[derive(Default)]
pub struct Versions;

impl ReadModel for Versions {
    type Row = ModelVersionRow;
    const NAME: &'static str = "models.version";
    const VERSION: i32 = 3;
    const TABLE: &'static str = "models_version";
    const KEY_TYPE: &'static str = "text";
    const APPEND_ONLY: bool = true;
    const RECORDED_AT: Option<&'static str> = Some("position");
    const SCOPE: Scope = Scope::Within {
        column: "model_id",
        parent: &Parent::of::<Models>(),
    };
    const CATEGORIES: &'static [&'static str] = &[Model::CATEGORY];

    fn keys(_: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(Vec::new())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ModelVersionRow>) -> Result<(), DecodeError> {
        let Ok(model) = event.stream.key().parse::<ModelId>() else {
            return Ok(());
        };
        if let ModelEvent::VersionAdded(version) = decode(event)? {
            let id = format!("{model}/{}", version.version);
            let job_id = match &version.lineage {
                Lineage::Trained { job, .. } => Some(*job),
                Lineage::Imported { .. } => None,
            };
            let row = ModelVersionRow {
                id: id.clone(),
                model_id: model,
                version: i32::try_from(version.version).unwrap_or(i32::MAX),
                sha256: version.sha256,
                artifact: version.artifact,
                files: version.files,
                merged: version.merged,
                lineage: version.lineage,
                job_id,
                created_at: event.at,
                position: stored(event.position),
            };
            rows.put(id, row);
        }
        Ok(())
    }
}

/// The versions of these models, the newest first; at most 100 of each.
///
/// # Errors
/// When the database fails.
pub async fn of_models(
    source: &impl Source,
    as_of: AsOf,
    models: &[ModelId],
) -> Result<Vec<ModelVersionRow>, ReadError> {
    let pool = source.serving(&[Versions::NAME, Models::NAME])?;
    let ids: Vec<uuid::Uuid> = models.iter().map(|model| model.0).collect();
    let statement = format!(
        "{versions} join {models} m on m.id = t.model_id \
         where t.model_id = any($1) and t.version > m.latest_version - 100 order by t.version desc",
        versions = as_of.select::<Versions>(),
        models = as_of.of::<Models>(),
    );
    fetch(pool, as_of.query(statement).bind(ids)).await
}

/// One version.
///
/// # Errors
/// When the database fails.
pub async fn find(
    source: &impl Source,
    model: ModelId,
    version: u32,
) -> Result<Option<ModelVersionRow>, ReadError> {
    let pool = source.serving(&[Versions::NAME])?;
    let statement = format!("{} where t.id = $1", AsOf::Now.select::<Versions>());
    let query = AsOf::Now.query(statement).bind(format!("{model}/{version}"));
    fetch_one(pool, query).await
}
