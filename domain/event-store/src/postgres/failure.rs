//! What goes wrong between us and the database, sorted by what to do about it.
//!
//! The rule: messages carry what the server said, never connection strings, statements or parameters.

use std::{future::Future, time::Duration};

use domain::event_store::StoreError;

/// Runs `work` under a deadline; a missed one reads like a broken connection, because nobody knows what
/// became of the work.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("PostgreSQL did not answer within {} s", limit.as_secs_f32()),
        ))),
    }
}

/// Whether an error comes from the way to the database or from its state (down, starting, shutting down, full, overloaded),
/// so that the same request may do later; if not, it is a defect, of ours or of what is stored.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| is_passing(&code)),
        _ => false,
    }
}

/// Whether a SQLSTATE is about the server's state and not about the statement: connection exceptions, not let in (any
/// more), no such database (at present), roll-backs, insufficient resources, operator intervention (shut-downs,
/// recovery, cancelled statements), system errors; read-only, a database that lets nobody in at present, locks and idle transactions that ran out of time.
fn is_passing(code: &str) -> bool {
    ["08", "28", "3D", "40", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        || ["25006", "25P03", "55000", "55P03"].contains(&code)
}

/// An error in words, free of secrets and of the server's own line numbers.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refusal) => match refusal.code() {
            Some(code) => format!("{} (SQLSTATE {code})", refusal.message()),
            None => refusal.message().to_owned(),
        },
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "all connections are busy".to_owned(),
        sqlx::Error::PoolClosed => "the event store is closed".to_owned(),
        sqlx::Error::Configuration(_) => "the connection settings are not valid".to_owned(),
        other => other.to_string(),
    }
}

/// Whether there was no room for what was to be written: `disk_full`, or the words of a system whose quota is used up,
/// for which PostgreSQL has no code.
fn is_full(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refusal) => {
            refusal.code().is_some_and(|code| code == "53100")
                || ["No space left on device", "Disk quota exceeded"]
                    .iter()
                    .any(|words| refusal.message().contains(words))
        }
        _ => false,
    }
}

/// How a reader's failure looks from outside.
pub(crate) fn unavailable(error: &sqlx::Error) -> StoreError {
    match error {
        error if is_full(error) => StoreError::Full(describe(error)),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt(describe(error)),
        other => StoreError::Unavailable(describe(other)),
    }
}

/// Why a batch was not recorded, by what helps.
#[derive(Debug)]
pub(super) enum WriteFailure {
    /// The connection is gone or the server asks to come back: connect again, look what was recorded, retry.
    Lost(String),
    /// As `Lost`, because the server is read-only: a standby, until it is promoted or another one is reached.
    ReadOnly(String),
    /// An id of the batch is already in the log: look it up, then retry.
    IdTaken,
    /// The log is not where the head row or the cache says: forget what is cached, retry a few times.
    Moved(String),
    /// Something in the batch cannot be stored: find it, refuse it alone.
    Poison(String),
    /// The store refuses everything now; no retry of ours helps.
    Refused(StoreError),
}

impl From<sqlx::Error> for WriteFailure {
    fn from(error: sqlx::Error) -> Self {
        let what = describe(&error);
        let sqlx::Error::Database(refusal) = &error else {
            return match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
                    Self::Refused(StoreError::Corrupt(what))
                }
                sqlx::Error::Encode(_) => Self::Poison(what),
                _ => Self::Lost(what),
            };
        };
        if is_full(&error) {
            return Self::Refused(StoreError::Full(what));
        }
        let code = refusal.code().unwrap_or_default();
        match code.as_ref() {
            "23505" if refusal.constraint() == Some("event_id_key") => Self::IdTaken,
            "23505" => Self::Moved(what),
            // Integrity and data exceptions, program limits (too deeply nested JSON): the batch's own fault.
            code if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Self::Poison(what),
            // Broken connections, roll-backs, lock and statement time-outs, shut-downs, too many connections,
            // a server that is (still) a standby: they pass.
            "25006" => Self::ReadOnly(what),
            "53300" | "55P03" | "25P03" => Self::Lost(what),
            code if ["08", "40", "57"].iter().any(|class| code.starts_with(class)) => Self::Lost(what),
            _ => Self::Refused(StoreError::Unavailable(what)),
        }
    }
}
