//! What must hold before the store starts.
//!
//! The rule: a database that could lose or change what we acknowledge is refused, with what to do about it.

use std::time::Duration;

use sqlx::{PgPool, Row as _};

use super::{
    connect::APP_ROLE,
    connect_error::ConnectError,
    failure::{describe, within},
    session::unsigned,
};

/// The version of the log's tables that this build reads and writes.
const LOG_VERSION: i16 = 1;
/// PostgreSQL 14, as `server_version_num`.
const OLDEST_SERVER: i32 = 140_000;

/// Why the event store does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server failed while it was being looked at.
    #[error("the event store could not be checked: {0}")]
    Failed(String),
    /// The server is too old.
    #[error("PostgreSQL {0} is too old; install version 14 or newer")]
    OldServer(String),
    /// A setting under which acknowledged events may be lost or changed.
    #[error("PostgreSQL runs with {setting} = {value}; {remedy}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The tables are missing.
    #[error("the database has no event log; run the migrations first (anneal migrate)")]
    NotMigrated,
    /// The tables are of another version.
    #[error(
        "the event log has version {found}, this program knows {LOG_VERSION}; use the program that fits it"
    )]
    Version {
        /// The version found.
        found: i16,
    },
    /// Nothing would stop a change of recorded events.
    #[error("the event log is not protected: {0}")]
    Unprotected(String),
    /// The head row is not at the last event.
    #[error(
        "the head of the event log says {head}, its last event is {last}, or their hashes differ; the log was \
         changed by hand or restored in part: restore it whole from a backup"
    )]
    Damaged {
        /// Position in the head row.
        head: u64,
        /// Position of the last event.
        last: u64,
    },
}

/// Checks everything and returns the head's position.
pub(super) async fn check(pool: &PgPool, limit: Duration) -> Result<u64, StartError> {
    let checks = async {
        Ok(match settings(pool).await? {
            Err(refusal) => Err(refusal),
            Ok(()) => match tables(pool).await? {
                Err(refusal) => Err(refusal),
                Ok(()) => head(pool).await?,
            },
        })
    };
    within(limit, checks)
        .await
        .map_err(|error| StartError::Failed(describe(&error)))?
}

async fn settings(pool: &PgPool) -> Result<Result<(), StartError>, sqlx::Error> {
    let row = sqlx::query(
        "select current_setting('server_version_num')::int as number, current_setting('server_version') as version,
                current_setting('fsync') as fsync, current_setting('synchronous_commit') as synchronous_commit,
                current_setting('full_page_writes') as full_page_writes,
                current_setting('server_encoding') as server_encoding",
    )
    .fetch_one(pool)
    .await?;
    if row.try_get::<i32, _>("number")? < OLDEST_SERVER {
        return Ok(Err(StartError::OldServer(row.try_get("version")?)));
    }
    let lossy = "acknowledged events would be lost in a crash: set it to on in postgresql.conf and reload";
    for (setting, refused, remedy) in [
        ("fsync", "off", lossy),
        ("synchronous_commit", "off", lossy),
        (
            "full_page_writes",
            "off",
            "a crash could tear pages of the log: set it to on and reload",
        ),
    ] {
        let value: String = row.try_get(setting)?;
        if value == refused {
            return Ok(Err(StartError::Setting {
                setting,
                value,
                remedy,
            }));
        }
    }
    let value: String = row.try_get("server_encoding")?;
    if value != "UTF8" {
        let remedy = "events are UTF-8: create the database with encoding 'UTF8'";
        return Ok(Err(StartError::Setting {
            setting: "server_encoding",
            value,
            remedy,
        }));
    }
    Ok(Ok(()))
}

async fn tables(pool: &PgPool) -> Result<Result<(), StartError>, sqlx::Error> {
    let row = sqlx::query(
        "select to_regclass('event') is not null and to_regclass('event_head') is not null as there,
                current_user::text as acting_as,
                exists (select from pg_roles where rolname = $1) as has_role,
                exists (select from pg_trigger where tgrelid = to_regclass('event')
                        and tgname = 'event_is_append_only' and tgenabled = 'A') as guarded",
    )
    .bind(APP_ROLE)
    .fetch_one(pool)
    .await?;
    if !row.try_get::<bool, _>("there")? {
        return Ok(Err(StartError::NotMigrated));
    }
    if !row.try_get::<bool, _>("guarded")? {
        let why = "its trigger is missing or off; run: alter table event enable always trigger event_is_append_only";
        return Ok(Err(StartError::Unprotected(why.to_owned())));
    }
    let acting_as: String = row.try_get("acting_as")?;
    if acting_as != APP_ROLE {
        let known = row.try_get::<bool, _>("has_role")?;
        let remedy = if known {
            "grant anneal_app to it"
        } else {
            "create the role anneal_app and migrate again"
        };
        tracing::warn!(%acting_as, remedy, "acting as the owner of the tables; only triggers guard the event log");
        return Ok(Ok(()));
    }
    let may_change: bool =
        sqlx::query_scalar("select has_table_privilege('event', 'update, delete, truncate')")
            .fetch_one(pool)
            .await?;
    if may_change {
        let why = format!(
            "{acting_as} may change it; run: revoke update, delete, truncate on event from {acting_as}"
        );
        return Ok(Err(StartError::Unprotected(why)));
    }
    Ok(Ok(()))
}

async fn head(pool: &PgPool) -> Result<Result<u64, StartError>, sqlx::Error> {
    let version: Option<i16> = sqlx::query_scalar("select log_version from event_head")
        .fetch_optional(pool)
        .await?;
    match version {
        Some(LOG_VERSION) => {}
        Some(found) => return Ok(Err(StartError::Version { found })),
        None => return Ok(Err(StartError::NotMigrated)),
    }
    let row = sqlx::query(
        "select h.pos as head, coalesce(e.pos, 0) as last, coalesce(e.hash = h.hash, h.pos = 0) as same
         from event_head h left join (select pos, hash from event order by pos desc limit 1) e on true",
    )
    .fetch_one(pool)
    .await?;
    let (head, last) = (unsigned(row.try_get("head")?)?, unsigned(row.try_get("last")?)?);
    if head != last || !row.try_get::<bool, _>("same")? {
        return Ok(Err(StartError::Damaged { head, last }));
    }
    Ok(Ok(head))
}
