//! Searches in the audit log: a filtered page of entries, and what lies before or after a time.

use domain::event_store::Position;
use time::OffsetDateTime;

use super::entry::{Entries, EntryRow};
use crate::{
    paging::{Page, PageRequest},
    position::{position, stored},
    read_model::{ReadError, ReadModel, Row, Source, fetch_one, fetch_page, select_list},
};

/// The last event recorded at or before `at`, among those that are folded: its position and time.
///
/// # Errors
/// When the database fails.
pub async fn last_at(
    source: &impl Source,
    at: OffsetDateTime,
) -> Result<Option<(Position, OffsetDateTime)>, ReadError> {
    let pool = source.serving(&[Entries::NAME])?;
    let query = sqlx::query(
        "select position, at from audit_entry where at <= $1 order by at desc, position desc limit 1",
    );
    Ok(fetch_one::<Place>(pool, query.bind(at)).await?.map(Place::into))
}

/// The last event at or before `position`, among those that are folded: its position and time.
///
/// # Errors
/// When the database fails.
pub async fn last_up_to(
    source: &impl Source,
    position: Position,
) -> Result<Option<(Position, OffsetDateTime)>, ReadError> {
    let pool = source.serving(&[Entries::NAME])?;
    let query = sqlx::query(
        "select position, at from audit_entry where position <= $1 order by position desc limit 1",
    );
    let found = fetch_one::<Place>(pool, query.bind(stored(position))).await?;
    Ok(found.map(Place::into))
}

/// Whether an event is folded that was recorded after `at`.
///
/// # Errors
/// When the database fails.
pub async fn any_after(source: &impl Source, at: OffsetDateTime) -> Result<bool, ReadError> {
    let pool = source.serving(&[Entries::NAME])?;
    let query = sqlx::query("select position, at from audit_entry where at > $1 order by at limit 1");
    Ok(fetch_one::<Place>(pool, query.bind(at)).await?.is_some())
}

/// A place in the log, as a row.
#[derive(Row)]
struct Place {
    position: i64,
    at: OffsetDateTime,
}

impl From<Place> for (Position, OffsetDateTime) {
    fn from(place: Place) -> Self {
        (position(place.position), place.at)
    }
}

/// Which entries are wanted; all conditions hold together.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Not before.
    pub from: Option<OffsetDateTime>,
    /// Before.
    pub until: Option<OffsetDateTime>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of a kind that starts so.
    pub kind: Option<String>,
    /// About this resource: the stream's key.
    pub subject: Option<String>,
    /// `success` or `failure`.
    pub outcome: Option<String>,
    /// With this text somewhere in the payload, without regard to case.
    pub text: Option<String>,
    /// By actors of this organization only: the scope of who may not read everything.
    pub organization: Option<String>,
}

/// Entries, the oldest first or the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    source: &impl Source,
    filter: &AuditFilter,
    oldest_first: bool,
    page: &PageRequest,
) -> Result<Page<EntryRow>, ReadError> {
    let pool = source.serving(&[Entries::NAME])?;
    const CONDITIONS: &str = "($1::timestamptz is null or at >= $1) and ($2::timestamptz is null or at < $2) \
         and ($3::text is null or actor = $3) and ($4::text is null or starts_with(kind, $4)) \
         and ($5::text is null or subject = $5) and ($6::text is null or outcome = $6) \
         and ($7::text is null or strpos(lower(data::text), lower($7)) > 0) \
         and ($8::text is null or organization = $8)";
    let order = match oldest_first {
        true => "and ($9::bigint is null or position > $9) order by position",
        false => "and ($9::bigint is null or position < $9) order by position desc",
    };
    let columns = select_list::<EntryRow>("t");
    let statement = format!("select {columns} from audit_entry t where {CONDITIONS} {order} limit $10");
    let after = page
        .after
        .as_ref()
        .and_then(|after| after.key.parse::<i64>().ok());
    let query = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(filter.from)
        .bind(filter.until)
        .bind(&filter.actor)
        .bind(&filter.kind)
        .bind(&filter.subject)
        .bind(&filter.outcome)
        .bind(&filter.text)
        .bind(&filter.organization)
        .bind(after);
    fetch_page(pool, query, page).await
}
