//! Erasures of persons and their receipts: the `identity_erasure` table (AU-7).

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::UserId,
    identity::user::{ErasureReason, ErasureReceipt, User, UserEvent},
};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::user::uuid_key;
use crate::{
    history::AsOf,
    position::stored,
    read_model::{History, ReadError, ReadModel, Row, Rows, Scope, Source, fetch, fetch_one},
};

/// Kinds that this read model is made of.
const KINDS: [&str; 2] = ["identity.PersonErased", "identity.ErasureCompleted"];

/// One erasure.
#[derive(Clone, Debug, Row)]
pub struct ErasureRow {
    /// The person.
    pub id: UserId,
    /// Position of the decision in the log.
    pub position: i64,
    /// On what ground.
    #[column(text)]
    pub reason: ErasureReason,
    /// When it was decided.
    pub requested_at: OffsetDateTime,
    /// By whom, as recorded: `user:usr_…`.
    pub requested_by: String,
    /// What was done; `None` while it is under way.
    #[column(json)]
    pub receipt: Option<ErasureReceipt>,
    /// When the receipt was recorded; `None` as before.
    pub completed_at: Option<OffsetDateTime>,
}

/// The projection.
#[derive(Default)]
pub struct Erasures;

impl ReadModel for Erasures {
    type Row = ErasureRow;
    const NAME: &'static str = "identity.erasure";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "identity_erasure";
    const HISTORY: Option<History> = Some(History::since(2, "identity_erasure_history"));
    const SCOPE: Scope =
        Scope::Internal("what is left of an erased person is told to administrators, one person at a time");
    const CATEGORIES: &'static [&'static str] = &[User::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        let ours = KINDS.contains(&event.kind.as_str());
        Ok(uuid_key(event).filter(|_| ours).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ErasureRow>) -> Result<(), DecodeError> {
        let (Some(key), Ok(id)) = (uuid_key(event), event.stream.key().parse()) else {
            return Ok(());
        };
        match decode::<UserEvent>(event)? {
            UserEvent::Erased { reason } => {
                let row = ErasureRow {
                    id,
                    position: stored(event.position),
                    reason,
                    requested_at: event.at,
                    requested_by: event.meta.actor.clone(),
                    receipt: None,
                    completed_at: None,
                };
                rows.put(key, row);
            }
            UserEvent::ErasureCompleted(receipt) => rows.change(key, |row| {
                row.receipt = Some(receipt);
                row.completed_at = Some(event.at);
            }),
            _ => {}
        }
        Ok(())
    }
}

/// The erasure of one person.
///
/// # Errors
/// When the database fails.
pub async fn find(source: &impl Source, person: UserId) -> Result<Option<ErasureRow>, ReadError> {
    let pool = source.serving(&[Erasures::NAME])?;
    let statement = format!("{} where t.id = $1", AsOf::Now.select::<Erasures>());
    fetch_one(pool, AsOf::Now.query(statement).bind(person.0)).await
}

/// The erasures decided after `position`, the oldest first; at most 100.
///
/// # Errors
/// When the database fails.
pub async fn after(pool: &PgPool, position: i64) -> Result<Vec<ErasureRow>, ReadError> {
    let statement = format!(
        "{} where t.position > $1 order by t.position limit 100",
        AsOf::Now.select::<Erasures>()
    );
    fetch(pool, AsOf::Now.query(statement).bind(position)).await
}
