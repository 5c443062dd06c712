//! Who may write derived tables: a lease in the database, with a fencing epoch.
//!
//! The rule: a holder proves itself in every transaction that it writes, by its epoch; so one that was frozen
//! past its lease and thaws finds the epoch moved, and writes nothing. Time is the database's alone.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

/// The lease of the process that folds the log into the live tables.
pub const FOLD: &str = "fold";
/// The lease of the process that builds shadow tables.
pub const REBUILD: &str = "rebuild";

/// A lease that was taken. It lasts as long as its epoch is the newest.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    name: &'static str,
    epoch: i64,
    length: Duration,
}

impl Lease {
    /// Takes the lease if nobody holds it now. `None` while somebody does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take(
        pool: &PgPool,
        name: &'static str,
        length: Duration,
    ) -> Result<Option<Self>, sqlx::Error> {
        let epoch = sqlx::query_scalar::<_, i64>(
            "update projection_lease set holder = $2, epoch = epoch + 1,
                    expires_at = clock_timestamp() + make_interval(secs => $3)
             where name = $1 and expires_at <= clock_timestamp() returning epoch",
        )
        .bind(name)
        .bind(format!("process {}", std::process::id()))
        .bind(length.as_secs_f64())
        .fetch_optional(pool)
        .await?;
        Ok(epoch.map(|epoch| Self { name, epoch, length }))
    }

    /// What a holder proves itself by.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// How long it lasts without being renewed.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Renews the lease; inside a transaction, proves it until its end. `false`: somebody else holds it now,
    /// and nothing may be written any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "update projection_lease set expires_at = clock_timestamp() + make_interval(secs => $3)
             where name = $1 and epoch = $2",
        )
        .bind(self.name)
        .bind(self.epoch)
        .bind(self.length.as_secs_f64())
        .execute(connection)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets others have it at once. Does nothing when it is lost already.
    ///
    /// # Errors
    /// When the database fails; then others have it once it has run out.
    pub async fn release(self, pool: &PgPool) -> Result<(), sqlx::Error> {
        sqlx::query("update projection_lease set expires_at = '-infinity' where name = $1 and epoch = $2")
            .bind(self.name)
            .bind(self.epoch)
            .execute(pool)
            .await?;
        Ok(())
    }
}
