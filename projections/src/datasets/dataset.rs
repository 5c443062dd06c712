//! Datasets: the `datasets_dataset` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::{Action, Visibility},
    datasets::dataset::{Dataset, DatasetEvent},
    event_store::RecordedEvent,
    id::{DatasetId, UserId},
};
use time::OffsetDateTime;

use crate::{
    identity::user::uuid_key,
    paging::Column,
    read_model::{History, ReadModel, Row, Rows, Scope},
};

/// A dataset.
#[derive(Clone, Debug, Row)]
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
    #[column(text)]
    pub visibility: Visibility,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// Number of the newest version; 0 when it is empty.
    pub latest_version: i32,
}

/// Datasets can be listed by their owner,
pub const OWNER: Column = Column::new("owner_id", "uuid");
/// by who can read them,
pub const VISIBILITY: Column = Column::new("visibility", "text");
/// by their name,
pub const NAME: Column = Column::new("name", "text");
/// and by when they were created.
pub const CREATED: Column = Column::new("created_at", "timestamptz");

/// The projection.
#[derive(Default)]
pub struct Datasets;

impl ReadModel for Datasets {
    type Row = DatasetRow;
    const NAME: &'static str = "datasets.dataset";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "datasets_dataset";
    const HISTORY: Option<History> = Some(History::since(2, "datasets_dataset_history"));
    const SCOPE: Scope = Scope::Shared {
        founder: "owner_id",
        visibility: Some("visibility"),
        read: Action::DatasetsRead,
    };
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
