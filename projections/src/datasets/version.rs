//! Dataset versions: the `datasets_version` table. Who may see a dataset may see its versions; callers
//! read the dataset first.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    datasets::{
        dataset::{Dataset, DatasetEvent},
        format::{Format, Summary},
    },
    event_store::RecordedEvent,
    id::DatasetId,
};
use time::OffsetDateTime;

use super::dataset::Datasets;
use crate::history::AsOf;
use crate::position::stored;
use crate::read_model::{Parent, ReadError, ReadModel, Row, Rows, Scope, Source, fetch};

/// A version of a dataset.
#[derive(Clone, Debug, Row)]
pub struct VersionRow {
    /// Dataset and number.
    pub id: String,
    /// The dataset.
    pub dataset_id: DatasetId,
    /// Its number, from 1.
    pub version: i32,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: i64,
    /// What its bytes are.
    #[column(text)]
    pub format: Format,
    /// Counts of the validation.
    #[column(json)]
    pub summary: Summary,
    /// The file's name as uploaded.
    pub file_name: String,
    /// When it was added.
    pub created_at: OffsetDateTime,
    /// Position of the event that added it.
    pub position: i64,
}

/// The projection.
#[derive(Default)]
pub struct Versions;

impl ReadModel for Versions {
    type Row = VersionRow;
    const NAME: &'static str = "datasets.version";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "datasets_version";
    const KEY_TYPE: &'static str = "text";
    const APPEND_ONLY: bool = true;
    const RECORDED_AT: Option<&'static str> = Some("position");
    const SCOPE: Scope = Scope::Within {
        column: "dataset_id",
        parent: &Parent::of::<Datasets>(),
    };
    const CATEGORIES: &'static [&'static str] = &[Dataset::CATEGORY];

    fn keys(_: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(Vec::new())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<VersionRow>) -> Result<(), DecodeError> {
        let Ok(dataset) = event.stream.key().parse::<DatasetId>() else {
            return Ok(());
        };
        if let DatasetEvent::VersionAdded(version) = decode(event)? {
            let id = format!("{dataset}/{}", version.version);
            let row = VersionRow {
                id: id.clone(),
                dataset_id: dataset,
                version: i32::try_from(version.version).unwrap_or(i32::MAX),
                sha256: version.sha256,
                bytes: i64::try_from(version.bytes).unwrap_or(i64::MAX),
                format: version.format,
                summary: version.summary,
                file_name: version.file_name,
                created_at: event.at,
                position: stored(event.position),
            };
            rows.put(id, row);
        }
        Ok(())
    }
}

/// The versions of these datasets, the newest first; at most 100 of each.
///
/// # Errors
/// When the database fails.
pub async fn of_datasets(
    source: &impl Source,
    as_of: AsOf,
    datasets: &[DatasetId],
) -> Result<Vec<VersionRow>, ReadError> {
    let pool = source.serving(&[Versions::NAME, Datasets::NAME])?;
    let ids: Vec<uuid::Uuid> = datasets.iter().map(|dataset| dataset.0).collect();
    let statement = format!(
        "{versions} join {datasets} d on d.id = t.dataset_id \
         where t.dataset_id = any($1) and t.version > d.latest_version - 100 order by t.version desc",
        versions = as_of.select::<Versions>(),
        datasets = as_of.of::<Datasets>(),
    );
    fetch(pool, as_of.query(statement).bind(ids)).await
}
