//! The schema of the database: one list of migrations for log and read models, expand and contract only.

use std::time::Duration;

use event_store::postgres::{ConnectError, admin_connection, describe};
use sqlx::Connection;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How long migrations may take before the start is given up.
const DEADLINE: Duration = Duration::from_secs(600);

/// Why the schema is not what this build needs.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error("cannot connect to the database to prepare its schema: {0}")]
    Connect(ConnectError),
    /// The database was used by a newer build.
    #[error(
        "the database has migration {0}, which this build does not know: it was used by a newer version of \
         Anneal; start that version, or restore a backup"
    )]
    Newer(i64),
    /// A migration failed or was changed after it was applied.
    #[error("the database schema cannot be brought up to date: {0}")]
    Failed(String),
    /// It took longer than ten minutes.
    #[error("the database schema was not brought up to date within ten minutes; is another migration stuck?")]
    TimedOut,
}

/// Brings the schema up to date. Several processes may try at once; one does it, the others wait.
///
/// # Errors
/// See [`MigrateError`]; nothing is half-applied.
pub async fn migrate(url: &str) -> Result<(), MigrateError> {
    let work = async {
        let mut connection = admin_connection(url).await.map_err(MigrateError::Connect)?;
        let outcome = MIGRATIONS.run(&mut connection).await;
        // The connection is dropped either way; a failure to say goodbye changes nothing.
        drop(connection.close().await);
        outcome.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => MigrateError::Newer(version),
            sqlx::migrate::MigrateError::Execute(error) => MigrateError::Failed(describe(&error)),
            sqlx::migrate::MigrateError::ExecuteMigration(error, version) => {
                MigrateError::Failed(format!("migration {version}: {}", describe(&error)))
            }
            other => MigrateError::Failed(other.to_string()),
        })
    };
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or(Err(MigrateError::TimedOut))
}
