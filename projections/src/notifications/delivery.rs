//! Deliveries of reactors that failed, and how far reactors are: the tables `reactor_delivery` and `reactor_checkpoint`.
//!
//! One rule: here they are only looked at. Who writes them holds the lease (`workers::reactors`).

use domain::event_store::Position;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    paging::{Page, PageRequest},
    position::position,
    read_model::{ReadError, Row, fetch, fetch_one, fetch_page, select_list},
};

/// A delivery that was given up.
#[derive(Clone, Debug, Row)]
pub struct DeadLetterRow {
    /// Its place among all that ever failed.
    pub number: i64,
    /// The reactor.
    pub reactor: String,
    /// The id of the effect.
    pub effect: Uuid,
    /// Position of the event that it answers.
    pub position: i64,
    /// What kind of effect it is.
    pub kind: String,
    /// The id of whom it is for, as at the edge; `None` when it is for nobody.
    pub recipient: Option<String>,
    /// How often it was tried since it was redriven last.
    pub attempts: i32,
    /// Why the last try failed.
    pub failure: String,
    /// When it failed first.
    pub failed_at: OffsetDateTime,
    /// When it was given up.
    pub dead_at: OffsetDateTime,
}

/// Deliveries that were given up: of `reactor`, or of all.
///
/// # Errors
/// When the database fails.
pub async fn dead(
    pool: &PgPool,
    reactor: Option<&str>,
    oldest_first: bool,
    page: &PageRequest,
) -> Result<Page<DeadLetterRow>, ReadError> {
    let order = match oldest_first {
        true => "and ($2::bigint is null or number > $2) order by number",
        false => "and ($2::bigint is null or number < $2) order by number desc",
    };
    let columns = select_list::<DeadLetterRow>("t");
    let statement = format!(
        "select {columns} from reactor_delivery t
         where dead_at is not null and ($1::text is null or reactor = $1) {order} limit $3"
    );
    let after = page
        .after
        .as_ref()
        .and_then(|after| after.key.parse::<i64>().ok());
    let query = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(reactor)
        .bind(after);
    fetch_page(pool, query, page).await
}

/// How many deliveries were given up: of `reactor`, or of all.
///
/// # Errors
/// When the database fails.
pub async fn count_dead(pool: &PgPool, reactor: Option<&str>) -> Result<i64, ReadError> {
    let query = sqlx::query(
        "select count(*) as count from reactor_delivery
         where dead_at is not null and ($1::text is null or reactor = $1)",
    );
    let counted = fetch_one::<Counted>(pool, query.bind(reactor)).await?;
    Ok(counted.map_or(0, |counted| counted.count))
}

/// Whether `effect` of `reactor` was given up.
///
/// # Errors
/// When the database fails.
pub async fn is_dead(pool: &PgPool, reactor: &str, effect: Uuid) -> Result<bool, ReadError> {
    let query = sqlx::query(
        "select count(*) as count from reactor_delivery
         where dead_at is not null and reactor = $1 and effect = $2",
    );
    let counted = fetch_one::<Counted>(pool, query.bind(reactor).bind(effect)).await?;
    Ok(counted.is_some_and(|counted| counted.count > 0))
}

#[derive(Row)]
struct Counted {
    count: i64,
}

/// How a reactor is.
#[derive(Clone, Debug, Row)]
pub struct ReactorRow {
    /// Its name.
    pub reactor: String,
    /// How far it has read, as it was written down last: at most some seconds, or some thousand events, ago.
    pub position: i64,
    /// Seconds since its owner was there.
    pub silent_seconds: f64,
    /// Deliveries that are to be tried again; 10,000 when there are more.
    pub waiting: i64,
    /// Deliveries that were given up, likewise.
    pub dead: i64,
}

impl ReactorRow {
    /// How far it has read.
    #[must_use]
    pub fn reached(&self) -> Position {
        position(self.position)
    }
}

/// How all reactors are, by name.
///
/// # Errors
/// When the database fails.
pub async fn reactors(pool: &PgPool) -> Result<Vec<ReactorRow>, ReadError> {
    let query = sqlx::query(
        "select c.reactor, c.position,
                extract(epoch from clock_timestamp() - c.seen_at)::float8 as silent_seconds,
                (select count(*) from (select from reactor_delivery d
                     where d.reactor = c.reactor and d.dead_at is null limit 10000) w) as waiting,
                (select count(*) from (select from reactor_delivery d
                     where d.reactor = c.reactor and d.dead_at is not null limit 10000) g) as dead
         from reactor_checkpoint c order by c.reactor",
    );
    fetch(pool, query).await
}
