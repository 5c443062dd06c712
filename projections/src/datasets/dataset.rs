//! Datasets: the `datasets_dataset` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::Visibility,
    datasets::dataset::{Dataset, DatasetEvent},
    event_store::RecordedEvent,
    id::{DatasetId, UserId},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    identity::user::uuid_key,
    paging::{Page, PageRequest, Viewer},
    read_model::{ReadError, ReadModel, Rows, fetch_one, fetch_page},
};

/// A dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetRow {
    /// The dataset.
    pub id: DatasetId,
    /// The owner.
    pub owner_id: UserId,
    /// Its name.
    pub name: String,
    /// Its content.
    pub description: String,
    /// Who can read it besides its owner.
    pub visibility: Visibility,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Number of the newest version; 0 when it is empty.
    pub latest_version: i32,
}

/// The projection.
#[derive(Default)]
pub struct Datasets;

impl ReadModel for Datasets {
    type Row = DatasetRow;
    const NAME: &'static str = "datasets.dataset";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "datasets_dataset";
    const CATEGORIES: &'static [&'static str] = &[Dataset::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<DatasetRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        match decode(event)? {
            DatasetEvent::Created {
                dataset,
                owner,
                name,
                description,
                visibility,
            } => rows.put(
                key,
                DatasetRow {
                    id: dataset,
                    owner_id: owner,
                    name,
                    description,
                    visibility,
                    created_at: event.at,
                    latest_version: 0,
                },
            ),
            DatasetEvent::VersionAdded(version) => rows.change(key, |row| {
                row.latest_version = i32::try_from(version.version).unwrap_or(i32::MAX);
            }),
        }
        Ok(())
    }
}

/// One dataset that `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn find(
    pool: &PgPool,
    viewer: Viewer,
    dataset: DatasetId,
) -> Result<Option<DatasetRow>, ReadError> {
    let query = sqlx::query(
        "select to_jsonb(t)::text from datasets_dataset t \
         where id = $1 and ($2::uuid is null or owner_id = $2 or visibility = 'public')",
    );
    fetch_one(pool, query.bind(dataset.0).bind(viewer.parameter())).await
}

/// The datasets that `viewer` may see, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &PgPool, viewer: Viewer, page: &PageRequest) -> Result<Page<DatasetRow>, ReadError> {
    let query = sqlx::query(
        "select to_jsonb(t)::text from datasets_dataset t \
         where ($1::uuid is null or owner_id = $1 or visibility = 'public') and ($2::uuid is null or id < $2) \
         order by id desc limit $3",
    );
    fetch_page(pool, query.bind(viewer.parameter()).bind(page.after_id()), page).await
}
