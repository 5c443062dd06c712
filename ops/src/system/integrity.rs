//! Where the evidence about the log lies, by the configuration.
//!
//! The rule: the running system and the verbs of the command line find key and checkpoints in the same places.

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::clock::Clock;
use event_store::{
    integrity::{
        CheckpointFolder, Exported, KeyFileError, Verifier, examine, open_existing, origin_of, public_half,
    },
    kurrentdb::is_kurrentdb,
    postgres::{Evidence, IntegritySettings, LogIntegrity, address},
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

/// The public key of the log: in a file of its own, or in that of the private key. `None` when there is none.
///
/// # Errors
/// When the file cannot be read.
pub fn own_verifier(config: &Config) -> Result<Option<Verifier>, KeyFileError> {
    match public_half(&key_file(config)) {
        Err(KeyFileError::NoPublic { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// What is wrong with the file of the log's key, for the process that signs: missing though checkpoints were exported,
/// unreadable, or not the one that signed. Changes nothing.
///
/// # Errors
/// When the exported checkpoints cannot be read.
pub fn log_key_fault(config: &Config) -> anyhow::Result<Option<KeyFileError>> {
    if !config.audit.sign || is_kurrentdb(config.events.url.0.as_deref().unwrap_or_default()) {
        return Ok(None);
    }
    // A file that is cut off says nothing about the key.
    let note = CheckpointFolder::new(checkpoint_folder(config))
        .newest_note()?
        .found;
    let path = key_file(config);
    let Some(note) = note else {
        return Ok(examine(&path).err());
    };
    let origin = config.audit.origin.0.clone();
    let origin = origin.unwrap_or_else(|| origin_of(&note).to_owned());
    Ok(open_existing(&path, &origin, Some(&note)).err())
}

/// What the log of the configuration can be checked against.
///
/// # Errors
/// When key or exported checkpoints cannot be read.
pub fn evidence(config: &Config) -> anyhow::Result<Evidence> {
    let Exported { notes, faulty } = CheckpointFolder::new(checkpoint_folder(config)).contents()?;
    Ok(Evidence {
        verifier: own_verifier(config)?,
        exported: notes,
        faulty,
        progress: Arc::default(),
    })
}
