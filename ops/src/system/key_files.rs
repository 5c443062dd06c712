//! All key files together, from outside: which are there, and which could be used.
//!
//! The rule: nothing is made, and no database is asked. `anneal up` and `anneal doctor` look at the same files by the
//! same functions.

use std::path::{Path, PathBuf};

use api::auth::keys::{KeyError, Pepper, SigningKeys};
use event_store::{
    integrity::{CheckpointFolder, KeyFileError},
    kurrentdb::is_kurrentdb,
    postgres::IntegrityError,
    sealing::{KeysError, examine_key_file},
};

use super::{
    SETUP_TOKEN_FILE, checkpoint_folder, key_file,
    keys::{self, InstallationKeysError},
    log_key_fault,
    sealing::person_key_file,
};
use crate::config::Config;

/// The key files that a system with this configuration has.
fn expected(config: &Config) -> Vec<PathBuf> {
    let data: &Path = &config.general.data_dir;
    let mut files = vec![
        SigningKeys::file(&keys::folder(data)),
        Pepper::file(&keys::pepper_folder(data)),
        person_key_file(data),
    ];
    if config.audit.sign && !is_kurrentdb(config.events.url.0.as_deref().unwrap_or_default()) {
        files.push(key_file(config));
    }
    files
}

/// Those that are not there.
#[must_use]
pub fn missing(config: &Config) -> Vec<PathBuf> {
    let absent = |path: &PathBuf| path.symlink_metadata().is_err();
    expected(config).into_iter().filter(absent).collect()
}

/// Those of [`missing`] that a start would not make, as far as the data folder tells: something was recorded under them.
#[must_use]
pub fn lost(config: &Config) -> Vec<PathBuf> {
    let data = &config.general.data_dir;
    let exported = CheckpointFolder::new(checkpoint_folder(config)).contents();
    let signed = exported.is_ok_and(|exported| !exported.notes.is_empty() || !exported.faulty.is_empty());
    if !signed {
        return Vec::new();
    }
    let mut lost = missing(config);
    // While there is nobody, nothing is sealed.
    if data.join(SETUP_TOKEN_FILE).exists() {
        lost.retain(|path| *path != person_key_file(data));
    }
    lost
}

/// What is wrong with the files that are there, each in a sentence.
#[must_use]
pub fn faults(config: &Config) -> Vec<String> {
    let data = &config.general.data_dir;
    let log_key = match log_key_fault(config) {
        // The missing ones are told together.
        Ok(None | Some(KeyFileError::Missing { .. })) => None,
        Ok(Some(fault)) => Some(fault.to_string()),
        Err(error) => Some(error.to_string()),
    };
    let found = [
        SigningKeys::read(&keys::folder(data))
            .err()
            .map(|error| error.to_string()),
        Pepper::read(&keys::pepper_folder(data))
            .err()
            .map(|error| error.to_string()),
        examine_key_file(&person_key_file(data))
            .err()
            .map(|error| error.to_string()),
        log_key,
    ];
    found.into_iter().flatten().collect()
}

/// `error` with all key files that are missing, when it is about one: an operator puts them back together.
pub(super) fn naming_all(config: &Config, error: anyhow::Error) -> anyhow::Error {
    let about_one = matches!(
        error.downcast_ref::<IntegrityError>(),
        Some(IntegrityError::Key(KeyFileError::Missing { .. }))
    ) || matches!(error.downcast_ref::<KeysError>(), Some(KeysError::Missing { .. }))
        || matches!(
            error.downcast_ref::<InstallationKeysError>(),
            Some(InstallationKeysError::Key(KeyError::Missing { .. }))
        );
    let missing = missing(config);
    if !about_one || missing.len() < 2 {
        return error;
    }
    error.context(format!(
        "{} key files are missing: {}",
        missing.len(),
        listed(&missing)
    ))
}

/// Paths for people.
#[must_use]
pub fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
