//! The write side: the log, its proofs, and the port that commands are executed on.
//!
//! One rule: everything above the log reads and writes through the sealed port; the bare log is kept only to be closed.

use std::{path::Path, sync::Arc};

use domain::{event_store::EventStore, execute::Ports, rights::LogRights};
use event_store::{
    postgres::{LogIntegrity, app_pool, keyed_pool},
    sealing::PersonKeys,
};
use sqlx::PgPool;

use super::{
    Environment, integrity,
    log::{self, EventLog},
    sealing, setup,
};
use crate::config::Config;

/// Connections for read models.
const POOL: u32 = 12;
/// Connections for the keys of persons, which every reader of the log waits for.
const KEYS_POOL: u32 = 2;

/// An opened log and what stands on it.
pub(super) struct WriteSide {
    /// The log itself, to be closed at the end.
    pub(super) store: Arc<dyn EventLog>,
    /// Signs and proves; `None` for a log in KurrentDB.
    pub(super) integrity: Option<Arc<LogIntegrity>>,
    /// The connections of the application.
    pub(super) pool: PgPool,
    /// The log with personal data sealed.
    pub(super) port: Arc<dyn EventStore>,
    /// The keys of persons.
    pub(super) person_keys: Arc<PersonKeys>,
    /// What commands are executed with.
    pub(super) ports: Ports,
}

impl WriteSide {
    /// Migrates the database at `url` and opens the log over it.
    ///
    /// # Errors
    /// When the database or the log does not answer, or a key file does not fit the data.
    pub(super) async fn open(config: &Config, environment: &Environment, url: &str) -> anyhow::Result<Self> {
        fail::fail_point!("setup.before_migration");
        projections::database::migrate(url).await?;
        fail::fail_point!("setup.migrated");
        let events = config.events.url.0.clone().unwrap_or_else(|| url.to_owned());
        let clock = &environment.clock;
        let store = log::open(&events, url, clock.clone()).await?;
        let integrity = integrity::start(config, &events, clock.clone()).await?;
        let pool = app_pool(url, POOL).await?;
        let data_dir: &Path = &config.general.data_dir;
        let keys_pool = keyed_pool(url, KEYS_POOL).await?;
        let (sealed, person_keys) =
            sealing::sealed(store.clone(), keys_pool, data_dir, clock.clone()).await?;
        let port: Arc<dyn EventStore> = Arc::new(sealed);
        let ports = Ports::new(
            port.clone(),
            clock.clone(),
            environment.ids.clone(),
            Arc::new(LogRights),
        );
        fail::fail_point!("setup.before_roles");
        setup::seed_roles(&ports).await?;
        fail::fail_point!("setup.roles_recorded");
        Ok(Self {
            store,
            integrity,
            pool,
            port,
            person_keys,
            ports,
        })
    }
}
