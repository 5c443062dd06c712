//! The key files: there, readable, private, and those of the data.
//!
//! The rule: nothing is made. What fits is told by the database, when it can be asked without starting it.

use std::{path::Path, sync::Arc, time::Duration};

use domain::clock::SystemClock;
use event_store::{
    kurrentdb::is_kurrentdb,
    postgres::{PostgresEventStore, Settings, address, app_pool},
};

use super::Check;
use crate::{
    config::Config,
    output::told,
    postgres::Cluster,
    system::{self, key_files},
};

const NAME: &str = "keys";
/// How long the database may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Looks at the files, and compares them with the data where the database answers.
pub(super) async fn keys(config: &Config) -> Check {
    let data = &config.general.data_dir;
    let mut faults = key_files::faults(config);
    let missing = key_files::missing(config);
    let lost = key_files::lost(config);
    if !lost.is_empty() {
        faults.push(format!(
            "missing, and put back from the backup of the data folder: {}",
            key_files::listed(&lost)
        ));
    }
    if !faults.is_empty() {
        return failed(faults.join("; "));
    }
    let url = match &config.database.url.0 {
        Some(url) => Some(url.clone()),
        None => Cluster::url_of_running(data, system::DATABASE).ok().flatten(),
    };
    let Some(url) = url else {
        return Check::ok(NAME, "will be made at the first start");
    };
    match tokio::time::timeout(DEADLINE, fit(config, &url, data)).await {
        Ok(Ok(true)) => Check::ok(NAME, "fit the data"),
        Ok(Ok(false)) | Err(_) if missing.is_empty() => Check::ok(
            NAME,
            "readable; they are compared with the data while the database is up",
        ),
        Ok(Ok(false)) | Err(_) => Check::warn(
            NAME,
            format!("not there: {}", key_files::listed(&missing)),
            "the next start makes them, unless something was recorded under them; then put them back from a backup",
        ),
        Ok(Err(error)) => failed(told(&error)),
    }
}

fn failed(found: String) -> Check {
    Check::fail(
        NAME,
        found,
        "Anneal does not start until the files fit; it makes none anew, and nothing is lost",
    )
}

/// That the files are those of the database at `url`; `false` when it does not answer, or nothing is in it yet.
async fn fit(config: &Config, url: &str, data: &Path) -> anyhow::Result<bool> {
    let events = config.events.url.0.as_deref().unwrap_or(url);
    if is_kurrentdb(events) {
        return Ok(false);
    }
    let Ok(pool) = app_pool(url, 1).await else {
        return Ok(false);
    };
    let settings = Settings {
        readers: 1,
        ..Settings::default()
    };
    let Ok(store) = PostgresEventStore::start(address(events)?, settings, Arc::new(SystemClock)).await else {
        return Ok(false);
    };
    let opened = system::opened(store.clone(), pool.clone(), data).await;
    let compared = match opened {
        Ok(log) => system::keys::check(&pool, log.as_ref(), data)
            .await
            .map_err(Into::into),
        Err(error) => Err(error),
    };
    store.close(DEADLINE).await;
    pool.close().await;
    compared.map(|()| true)
}
