//! Where the evidence about the log lies, by the configuration.
//!
//! The rule: the running system and the verbs of the command line find key and checkpoints in the same places.

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::clock::Clock;
use event_store::{
    kurrentdb::is_kurrentdb,
    postgres::{IntegritySettings, LogIntegrity, address},
};

use crate::config::Config;

/// The file of the signing key.
#[must_use]
pub fn key_file(config: &Config) -> PathBuf {
    let configured = config.audit.key_file.0.clone();
    configured.unwrap_or_else(|| config.general.data_dir.join("keys").join("log.key"))
}

/// The folder of exported checkpoints.
#[must_use]
pub fn checkpoint_folder(config: &Config) -> PathBuf {
    let configured = config.audit.checkpoint_folder.0.clone();
    configured.unwrap_or_else(|| config.general.data_dir.join("checkpoints"))
}

/// Starts to keep tree and checkpoints of the log at `events`; `None` when it lies in KurrentDB, where there are
/// none.
///
/// # Errors
/// What is wrong with key, checkpoints or database, with what to do.
pub(super) async fn start(
    config: &Config,
    events: &str,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Option<Arc<LogIntegrity>>> {
    if is_kurrentdb(events) {
        return Ok(None);
    }
    let integrity = LogIntegrity::start(address(events)?, settings(config), clock).await?;
    Ok(Some(integrity))
}

/// What the running system needs.
fn settings(config: &Config) -> IntegritySettings {
    IntegritySettings {
        origin: config.audit.origin.0.clone(),
        key_file: key_file(config),
        folder: checkpoint_folder(config),
        interval: Duration::from_millis(config.audit.checkpoint_interval_ms),
        sign: config.audit.sign,
    }
}
