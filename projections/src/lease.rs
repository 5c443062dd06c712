//! Who may write the tables that one process writes at a time: a lease in the database, with a fencing epoch.
//!
//! The rule: a holder proves itself in every transaction that it writes, by its epoch; so one that was frozen
//! past its lease and thaws finds the epoch moved, and writes nothing. Time is the database's alone.
//!
//! A holder that is killed leaves its lease at once, and not only when it has run out: it keeps a session of the
//! database open for as long as it lives, and the lease names that session.

use std::{sync::Mutex, time::Duration};

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// The lease of the process that folds the log into the live tables.
pub const FOLD: &str = "fold";
/// The lease of the process that builds shadow tables.
pub const REBUILD: &str = "rebuild";

/// The lease of the process that runs the reactors.
pub const REACTORS: &str = "reactors";

/// What a holder proves itself by. It counts as long as its epoch is the newest.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    name: &'static str,
    epoch: i64,
    length: Duration,
}

/// A lease that was taken. When this is dropped, others have it at once.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    /// Never used: it ends with us.
    _session: Mutex<PgConnection>,
}

impl Held {
    /// What its holder proves itself by.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease
    }
}

impl std::ops::Deref for Held {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

/// Whether nobody holds the lease `l`. Of the sessions of others, some servers show the process only: then that
/// alone has to do.
const FREE: &str = "(l.expires_at <= clock_timestamp() or l.session_pid is not null and not exists (
    select from pg_stat_activity a where a.pid = l.session_pid
    and (a.backend_start is null or l.session_start is null or a.backend_start = l.session_start)))";

impl Lease {
    /// Takes the lease if nobody holds it now: it has run out, was given back, or its holder's session has
    /// ended. `None` while somebody does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take(
        pool: &PgPool,
        name: &'static str,
        length: Duration,
    ) -> Result<Option<Held>, sqlx::Error> {
        let free = format!("select from projection_lease l where name = $1 and {FREE}");
        let free = sqlx::query(AssertSqlSafe(free)).bind(name).fetch_optional(pool);
        if free.await?.is_none() {
            return Ok(None);
        }
        let mut session = pool.acquire().await?.detach();
        let take = format!(
            "update projection_lease l set holder = $2, epoch = epoch + 1,
                    expires_at = clock_timestamp() + make_interval(secs => $3), session_pid = pg_backend_pid(),
                    session_start = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
             where name = $1 and {FREE} returning epoch"
        );
        let epoch = sqlx::query_scalar::<_, i64>(AssertSqlSafe(take))
            .bind(name)
            .bind(format!("process {}", std::process::id()))
            .bind(length.as_secs_f64())
            .fetch_optional(&mut session)
            .await?;
        Ok(epoch.map(|epoch| Held {
            lease: Self { name, epoch, length },
            _session: Mutex::new(session),
        }))
    }

    /// Which of all holders, counted from the first.
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
    pub async fn release(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        sqlx::query("update projection_lease set expires_at = '-infinity' where name = $1 and epoch = $2")
            .bind(self.name)
            .bind(self.epoch)
            .execute(pool)
            .await?;
        Ok(())
    }
}
