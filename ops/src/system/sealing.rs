//! The log as everything above it has it: with personal data sealed under the keys of this installation.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use domain::{
    clock::{Clock, SystemClock},
    event_store::EventStore,
};
use event_store::sealing::{PersonKeys, SealedEventStore};
use sqlx::PgPool;

/// The file in the data folder that wraps the keys of persons.
const KEY_FILE: &str = "personal.key";

/// The file that wraps the keys of persons.
#[must_use]
pub fn person_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("keys").join(KEY_FILE)
}

/// `inner` with personal data sealed, and the keys. `pool`: where the tables of the keys are.
///
/// # Errors
/// When the key file is missing, or is that of another database: what to restore.
pub async fn sealed(
    inner: Arc<dyn EventStore>,
    pool: PgPool,
    data_dir: &Path,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(SealedEventStore, Arc<PersonKeys>)> {
    let path = person_key_file(data_dir);
    let keys = PersonKeys::open(pool, &path, clock)
        .await
        .context("personal data cannot be sealed or read")?;
    let keys = Arc::new(keys);
    Ok((SealedEventStore::new(inner, keys.clone()), keys))
}

/// `inner` as an operator's verb reads it: personal data opened, and nothing made or changed.
///
/// # Errors
/// As [`sealed`].
pub async fn opened(
    inner: Arc<dyn EventStore>,
    pool: PgPool,
    data_dir: &Path,
) -> anyhow::Result<Arc<dyn EventStore>> {
    let path = person_key_file(data_dir);
    let keys = PersonKeys::open_existing(pool, &path, Arc::new(SystemClock))
        .await
        .context("personal data cannot be read")?;
    Ok(match keys {
        Some(keys) => Arc::new(SealedEventStore::new(inner, Arc::new(keys))),
        None => inner,
    })
}
