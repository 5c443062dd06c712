//! How processes connect: with deadlines on the server's side, and as a role that cannot rewrite the log.
//!
//! The rule: only migrations and administration use [`admin_pool`]; everything else goes through
//! [`as_app_role`].

use std::time::Duration;

use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    address::address,
    connect_error::ConnectError,
    failure::{describe, within},
};

/// The role of the running system, made by the migration of the log.
pub const APP_ROLE: &str = "anneal_app";

/// How long a connection may have been idle and still be lent unasked.
const IDLE: Duration = Duration::from_secs(1);
/// How long making a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a single further try may take that tells why there is none.
const LOOK: Duration = Duration::from_secs(1);

fn refused(to: &PgConnectOptions, error: &sqlx::Error) -> ConnectError {
    let remedy = match error {
        sqlx::Error::Tls(_) => "check sslmode and sslrootcert in its URL, and the server's certificate",
        sqlx::Error::Database(_) => "check user, password and database in its URL",
        _ => "check that it runs, and host and port in its URL",
    };
    let why = match error {
        // This was the first connection: none is busy.
        sqlx::Error::PoolTimedOut => format!("no connection within {} s", CONNECT_WITHIN.as_secs()),
        error => describe(error),
    };
    ConnectError::Refused {
        at: place(to),
        why,
        remedy,
    }
}

/// Where a server is looked for, without user and password.
fn place(to: &PgConnectOptions) -> String {
    match to.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => {
            let host = to.get_host();
            match host.contains(':') {
                true => format!("[{}]:{}", host.trim_matches(['[', ']']), to.get_port()),
                false => format!("{host}:{}", to.get_port()),
            }
        }
    }
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

/// As [`app_pool`], for statements that each go by a key: their plans are kept, and go by an index.
///
/// # Errors
/// As [`app_pool`].
pub async fn keyed_pool(url: &str, max: u32) -> Result<PgPool, ConnectError> {
    connect(for_log(PgPoolOptions::new().max_connections(max)), address(url)?).await
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
        .after_connect(|connection, _| Box::pin(become_app_role(connection, "30s", Plans::ByIndex)))
}

pub(super) async fn connect(pool: PgPoolOptions, to: PgConnectOptions) -> Result<PgPool, ConnectError> {
    match within(
        CONNECT_WITHIN + Duration::from_secs(1),
        pool.connect_with(to.clone()),
    )
    .await
    {
        // A pool tries again for as long as it may where nobody listens, and does not say why.
        Err(sqlx::Error::PoolTimedOut) => {
            let once = within(LOOK, PgConnection::connect_with(&to)).await;
            let error = once.err().unwrap_or(sqlx::Error::PoolTimedOut);
            Err(refused(&to, &error))
        }
        done => done.map_err(|error| refused(&to, &error)),
    }
}

/// One connection as the user itself, for migrations.
///
/// # Errors
/// As [`app_pool`], at once when nobody listens.
pub async fn admin_connection(url: &str) -> Result<PgConnection, ConnectError> {
    let to = address(url)?;
    within(CONNECT_WITHIN, PgConnection::connect_with(&to))
        .await
        .map_err(|error| refused(&to, &error))
}

/// How the server plans prepared statements.
#[derive(Clone, Copy)]
pub(super) enum Plans {
    /// As it sees fit.
    Auto,
    /// Once, and by an index wherever there is one: a plan that is kept from when a table was nearly empty must not scan it
    /// from end to end later, and planning each call would cost more than carrying it out.
    ByIndex,
}

/// Takes on the session settings of the running system. `idle`: how long the server lets a transaction idle.
pub(super) async fn become_app_role(
    connection: &mut PgConnection,
    idle: &str,
    plans: Plans,
) -> Result<(), sqlx::Error> {
    let (plans, scans) = match plans {
        Plans::Auto => ("auto", "on"),
        Plans::ByIndex => ("force_generic_plan", "off"),
    };
    sqlx::query(
        "select set_config('statement_timeout', '30s', false),
                set_config('lock_timeout', '5s', false),
                set_config('idle_in_transaction_session_timeout', $1, false),
                set_config('plan_cache_mode', $2, false),
                set_config('enable_seqscan', $3, false),
                set_config('tcp_keepalives_idle', '15', false),
                set_config('tcp_keepalives_interval', '5', false),
                set_config('tcp_keepalives_count', '3', false)",
    )
    .bind(idle)
    .bind(plans)
    .bind(scans)
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
    use super::{super::address::address, admin_connection, app_pool, place};

    #[test]
    fn a_server_is_named_without_user_and_password() {
        for (url, at) in [
            ("postgres://u:s3cret@db.example/x", "db.example:5432"),
            ("postgres://u:s3cret@[::1]:6000/x", "[::1]:6000"),
            ("postgres:///x?host=/run/pg", "/run/pg"),
        ] {
            assert_eq!(place(&address(url).expect(url)), at);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_says_where_and_why() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let url = format!("postgres://u:s3cret@127.0.0.1:{port}/x?sslmode=disable");
        let (pool, single) = tokio::join!(app_pool(&url, 1), admin_connection(&url));
        for told in [
            pool.expect_err("nobody").to_string(),
            single.expect_err("nobody").to_string(),
        ] {
            assert!(
                told.contains(&format!("127.0.0.1:{port}: Connection refused")),
                "{told}"
            );
            assert!(
                told.contains("check that it runs") && !told.contains("s3cret"),
                "{told}"
            );
        }
    }
}
