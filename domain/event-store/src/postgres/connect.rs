//! How processes connect: with deadlines on the server's side, and as a role that cannot rewrite the log.
//!
//! The rule: only migrations and administration use [`admin_pool`]; everything else goes through
//! [`as_app_role`].

use std::{str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::failure::{describe, within};

/// The role of the running system, made by the migration of the log.
pub const APP_ROLE: &str = "anneal_app";

/// How long a connection may have been idle and still be lent unasked.
const IDLE: Duration = Duration::from_secs(1);
/// How long making a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// No connection could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The address cannot be read. It is not repeated here, because it may hold a password.
    #[error("the database address is not a PostgreSQL URL; write it as postgres://user@host:5432/database")]
    Address,
    /// Nobody answers, or we are not let in.
    #[error(
        "no connection to PostgreSQL: {0}; check that it runs and that address, user and password are right"
    )]
    Refused(String),
}

/// Reads a database URL.
///
/// # Errors
/// [`ConnectError::Address`], which does not repeat the URL.
pub fn address(url: &str) -> Result<PgConnectOptions, ConnectError> {
    PgConnectOptions::from_str(url).map_err(|_| ConnectError::Address)
}

/// Connections that act as [`APP_ROLE`] (where it exists and the user may become it), give up on a statement
/// after 30 s, on a lock after 5 s, and are ended by the server after 30 s of idling in a transaction.
#[must_use]
pub fn as_app_role(options: PgPoolOptions) -> PgPoolOptions {
    checked_when_idle(options)
        .acquire_timeout(CONNECT_WITHIN)
        .after_connect(|connection, _| Box::pin(become_app_role(connection, "30s", Plans::Auto)))
}

/// A connection that was in use a moment ago is taken to be alive: asking each time would cost every
/// statement a second round trip. One that was idle longer is asked before it is lent.
fn checked_when_idle(options: PgPoolOptions) -> PgPoolOptions {
    options
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// A pool for everything but migrations, see [`as_app_role`]. `max`: connections at most.
///
/// # Errors
/// [`ConnectError`] when the address is unreadable or no connection comes about within 10 s.
pub async fn app_pool(url: &str, max: u32) -> Result<PgPool, ConnectError> {
    connect(
        as_app_role(PgPoolOptions::new().max_connections(max)),
        address(url)?,
    )
    .await
}

/// A pool for migrations: acts as the user itself, without a limit on statements, and waits a minute at most
/// for a lock.
///
/// # Errors
/// As [`app_pool`].
pub async fn admin_pool(url: &str, max: u32) -> Result<PgPool, ConnectError> {
    let options = PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(CONNECT_WITHIN)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query("select set_config('lock_timeout', '60s', false)")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
    connect(options, address(url)?).await
}

/// As [`as_app_role`], for the log's own readers.
pub(super) fn for_log(options: PgPoolOptions) -> PgPoolOptions {
    checked_when_idle(options)
        .acquire_timeout(CONNECT_WITHIN)
        .after_connect(|connection, _| Box::pin(become_app_role(connection, "30s", Plans::Fresh)))
}

pub(super) async fn connect(pool: PgPoolOptions, to: PgConnectOptions) -> Result<PgPool, ConnectError> {
    within(CONNECT_WITHIN + Duration::from_secs(1), pool.connect_with(to))
        .await
        .map_err(|error| ConnectError::Refused(describe(&error)))
}

/// How the server plans prepared statements.
#[derive(Clone, Copy)]
pub(super) enum Plans {
    /// As it sees fit.
    Auto,
    /// For each call. A plan kept from when the log was nearly empty would scan it from end to end later.
    Fresh,
}

/// Takes on the session settings of the running system. `idle`: how long the server lets a transaction idle.
pub(super) async fn become_app_role(
    connection: &mut PgConnection,
    idle: &str,
    plans: Plans,
) -> Result<(), sqlx::Error> {
    let plans = match plans {
        Plans::Auto => "auto",
        Plans::Fresh => "force_custom_plan",
    };
    sqlx::query(
        "select set_config('statement_timeout', '30s', false),
                set_config('lock_timeout', '5s', false),
                set_config('idle_in_transaction_session_timeout', $1, false),
                set_config('plan_cache_mode', $2, false),
                set_config('tcp_keepalives_idle', '15', false),
                set_config('tcp_keepalives_interval', '5', false),
                set_config('tcp_keepalives_count', '3', false)",
    )
    .bind(idle)
    .bind(plans)
    .execute(&mut *connection)
    .await?;
    // After the settings: a role may lack the right to some of them.
    sqlx::query(
        "select set_config('role', rolname, false) from pg_roles
         where rolname = $1 and pg_has_role(session_user, oid, 'member')",
    )
    .bind(APP_ROLE)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_unreadable_address_is_not_repeated_in_the_error() {
        let error = address("postgres://user:s3cret@host:notaport/db").expect_err("no port");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
