//! The event log that the configuration names: in PostgreSQL or in KurrentDB.
//!
//! The rule: the scheme of the address decides, here alone. Everything above knows the port.

use std::{sync::Arc, time::Duration};

use domain::{
    clock::Clock,
    event_store::{BoxFuture, EventStore},
};
use event_store::{
    kurrentdb::{self, KurrentEventStore, is_kurrentdb},
    postgres::{self, PostgresEventStore},
};

/// The log with what the composition root needs besides the port.
pub trait EventLog: EventStore {
    /// Takes no further appends and records what waits; whether all of it was answered within `limit`.
    fn close(&self, limit: Duration) -> BoxFuture<'_, bool>;
}

impl EventLog for PostgresEventStore {
    fn close(&self, limit: Duration) -> BoxFuture<'_, bool> {
        Box::pin(self.close(limit))
    }
}

impl EventLog for KurrentEventStore {
    fn close(&self, limit: Duration) -> BoxFuture<'_, bool> {
        Box::pin(self.close(limit))
    }
}

/// Opens the log at `url`. `models`: the database of read models, which is migrated already.
///
/// # Errors
/// What the adapter says, with what to do.
pub async fn open(url: &str, models: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn EventLog>> {
    if is_kurrentdb(url) {
        let address = kurrentdb::Address::parse(url)?;
        return Ok(KurrentEventStore::start(address, kurrentdb::Settings::default()).await?);
    }
    if url != models {
        projections::database::migrate(url).await?;
    }
    let (address, settings) = (postgres::address(url)?, postgres::Settings::default());
    Ok(PostgresEventStore::start(address, settings, clock).await?)
}

/// That an operator's verb needs the log in PostgreSQL.
///
/// # Errors
/// When `url` names a KurrentDB: what to use instead.
pub fn only_in_postgres(url: &str, verb: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !is_kurrentdb(url),
        "{verb} works on an event log in PostgreSQL only, and events.url names a KurrentDB: it keeps no hash chain, \
         no tree and no checkpoints there; rely on its cluster and its backups (ops/runbooks/kurrentdb.md)"
    );
    Ok(())
}
