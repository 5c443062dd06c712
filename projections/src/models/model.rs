//! Models: the `models_model` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::Visibility,
    event_store::RecordedEvent,
    id::{ModelId, UserId},
    models::model::{Model, ModelEvent, ModelKind},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    identity::user::uuid_key,
    paging::{Page, PageRequest, Viewer},
    read_model::{ReadError, ReadModel, Rows, fetch_one, fetch_page},
};

/// A model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelRow {
    /// The model.
    pub id: ModelId,
    /// The owner.
    pub owner_id: UserId,
    /// Its name.
    pub name: String,
    /// Its purpose.
    pub description: String,
    /// The content of its versions.
    pub content: ModelKind,
    /// Who can read it besides its owner.
    pub visibility: Visibility,
    /// When it was registered.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Number of the newest version.
    pub latest_version: i32,
}

/// The projection.
#[derive(Default)]
pub struct Models;

impl ReadModel for Models {
    type Row = ModelRow;
    const NAME: &'static str = "models.model";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "models_model";
    const CATEGORIES: &'static [&'static str] = &[Model::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ModelRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        match decode(event)? {
            ModelEvent::Registered {
                model,
                owner,
                name,
                description,
                content,
                visibility,
            } => rows.put(
                key,
                ModelRow {
                    id: model,
                    owner_id: owner,
                    name,
                    description,
                    content,
                    visibility,
                    created_at: event.at,
                    latest_version: 0,
                },
            ),
            ModelEvent::VersionAdded(version) => rows.change(key, |row| {
                row.latest_version = i32::try_from(version.version).unwrap_or(i32::MAX);
            }),
        }
        Ok(())
    }
}

/// One model that `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn find(pool: &PgPool, viewer: Viewer, model: ModelId) -> Result<Option<ModelRow>, ReadError> {
    let query = sqlx::query(
        "select to_jsonb(t)::text from models_model t \
         where id = $1 and ($2::uuid is null or owner_id = $2 or visibility = 'public')",
    );
    fetch_one(pool, query.bind(model.0).bind(viewer.parameter())).await
}

/// The models that `viewer` may see, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &PgPool, viewer: Viewer, page: &PageRequest) -> Result<Page<ModelRow>, ReadError> {
    let query = sqlx::query(
        "select to_jsonb(t)::text from models_model t \
         where ($1::uuid is null or owner_id = $1 or visibility = 'public') and ($2::uuid is null or id < $2) \
         order by id desc limit $3",
    );
    fetch_page(pool, query.bind(viewer.parameter()).bind(page.after_id()), page).await
}
