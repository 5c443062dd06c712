//! Models: the `models_model` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::{Action, Visibility},
    event_store::RecordedEvent,
    id::{ModelId, UserId},
    models::model::{Model, ModelEvent, ModelKind},
};
use time::OffsetDateTime;

use crate::{
    identity::user::uuid_key,
    paging::Column,
    read_model::{History, ReadModel, Row, Rows, Scope},
};

/// A model.
#[derive(Clone, Debug, Row)]
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
    #[column(text)]
    pub content: ModelKind,
    /// Who can read it besides its owner.
    #[column(text)]
    pub visibility: Visibility,
    /// When it was registered.
    pub created_at: OffsetDateTime,
    /// Number of the newest version.
    pub latest_version: i32,
}

/// Models can be listed by their owner,
pub const OWNER: Column = Column::new("owner_id", "uuid");
/// by who can read them,
pub const VISIBILITY: Column = Column::new("visibility", "text");
/// by what their versions contain,
pub const CONTENT: Column = Column::new("content", "text");
/// by their name,
pub const NAME: Column = Column::new("name", "text");
/// and by when they were created.
pub const CREATED: Column = Column::new("created_at", "timestamptz");

/// The projection.
#[derive(Default)]
pub struct Models;

impl ReadModel for Models {
    type Row = ModelRow;
    const NAME: &'static str = "models.model";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "models_model";
    const HISTORY: Option<History> = Some(History::since(2, "models_model_history"));
    const SCOPE: Scope = Scope::Shared {
        founder: "owner_id",
        visibility: Some("visibility"),
        read: Action::ModelsRead,
    };
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
