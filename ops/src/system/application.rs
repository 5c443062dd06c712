//! The application: everything that requests, workers and background tasks share.
//!
//! One rule: each part is built here from the settings that it owns; nothing here listens or works yet.

use std::{sync::Arc, time::Duration};

use api::{
    app::{App, AppParts, AppSettings},
    auth::{
        keys::Pepper,
        password::{HashingPool, HashingSettings},
        secret::Secret,
        token::AccessTokens,
    },
    ingest::IngestLimits,
    rate::{Lockout, LockoutSettings, Quota, RateLimiter},
};
use projections::{
    access::directory::{Directory, SnapshotKey, SnapshotSettings, Snapshots},
    feed::FeedHub,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Environment, VERSION, import::ImportFolder, keys::InstallationKeys, setup, storage, write_side::WriteSide,
};
use crate::config::Config;

/// Builds the application over the write side, and starts the read side that it asks. Returns the task that folds
/// the projections too; both end with `background`.
///
/// # Errors
/// When the log cannot be read, the object store cannot be opened, or a key file does not fit the data.
pub(super) async fn start(
    config: &Config,
    environment: &Environment,
    write_side: &WriteSide,
    background: &CancellationToken,
) -> anyhow::Result<(App, JoinHandle<()>)> {
    let (port, pool) = (write_side.port.clone(), write_side.pool.clone());
    let data_dir = &config.general.data_dir;
    let InstallationKeys { pepper, signing } =
        InstallationKeys::open(&pool, write_side.ports.store.as_ref(), data_dir).await?;
    let snapshots = snapshots(&pepper, pool.clone());
    let directory = Directory::start_with(port.clone(), snapshots, background.clone()).await?;
    let (progress, projections) =
        projections::runner::start(port.clone(), pool.clone(), projections::all, background.clone());
    progress.look().await?;
    let feed = FeedHub::start(port, background.clone());
    let (ids, now) = (environment.ids.clone(), environment.clock.now());
    let objects = storage::own_objects(config, ids, now).await?;
    let keys = Arc::new(signing);
    let parts = AppParts {
        settings: settings(config, &directory)?,
        directory,
        read_models: progress.read_models(),
        progress,
        database: pool,
        feed,
        objects,
        tokens: AccessTokens::new(keys.clone(), "anneal".to_owned(), "anneal".to_owned()),
        keys,
        hashing_pool: hashing(config, &pepper)?,
        pepper: Arc::new(pepper),
        models: Arc::new(ImportFolder::new(config.models.folder.0.clone())),
        lockout: Lockout::new(LockoutSettings::default()),
        attempts: RateLimiter::new(Quota::new(
            environment.attempts_per_minute,
            Duration::from_secs(60),
        )),
        ports: write_side.ports.clone(),
        integrity: write_side.integrity.clone(),
    };
    fail::fail_point!("setup.token_written");
    Ok((App::from(parts), projections))
}

/// Snapshots of the access directory, proven by a key that the database does not have.
fn snapshots(pepper: &Pepper, pool: sqlx::PgPool) -> Snapshots {
    let secret = Secret::new(pepper.keyed_hash("key", "access directory snapshots"));
    let key = SnapshotKey::new(secret.expose().as_bytes());
    Snapshots::new(pool, key, SnapshotSettings::default())
}

fn hashing(config: &Config, pepper: &Pepper) -> anyhow::Result<HashingPool> {
    let settings = HashingSettings {
        memory_kib: config.auth.argon2_memory_kib,
        iterations: config.auth.argon2_iterations,
        concurrency: usize::try_from(config.auth.hashing_concurrency)?,
    };
    Ok(HashingPool::new(
        settings,
        &Secret::new(pepper.keyed_hash("key", "password hashes")),
    )?)
}

fn settings(config: &Config, directory: &Directory) -> anyhow::Result<AppSettings> {
    Ok(AppSettings {
        version: VERSION,
        access_token_life: Duration::from_secs(u64::from(config.auth.access_token_minutes) * 60),
        session_life: Duration::from_secs(u64::from(config.auth.refresh_token_days) * 86_400),
        self_registration: config.auth.self_registration,
        setup_token: setup::token(&config.general.data_dir, directory.is_set_up())?,
        introspection: config.http.introspection,
        uploads: ingest_limits(config),
        transfers_per_account: config.http.transfers_per_account,
        transfers_per_address: config.http.transfers_per_address,
        job_attempts: config.worker.max_attempts,
        longest_run_seconds: Some(config.worker.max_run_minutes)
            .filter(|minutes| *minutes > 0)
            .map(|minutes| minutes.saturating_mul(60)),
    })
}

fn ingest_limits(config: &Config) -> IngestLimits {
    let mut limits = IngestLimits {
        expanded_bytes: config.uploads.max_bytes,
        compressed_bytes: config.uploads.max_bytes,
        expansion: config.uploads.max_ratio,
        ..IngestLimits::default()
    };
    limits.lines.line_bytes = usize::try_from(config.uploads.max_line_bytes).unwrap_or(usize::MAX);
    limits
}
