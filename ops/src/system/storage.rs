//! Where this process keeps data: its folder, its database and its object store.
//!
//! One rule: the data folder is locked before anything in it is opened.

use std::sync::Arc;

use anyhow::Context;
use domain::id::Ids;
use objects::Objects;

use super::DATABASE;
use crate::{
    config::{Config, Problem, Problems},
    postgres::{Cluster, DataFolder, Options},
};

/// What keeps the data folder ours.
pub(super) enum Home {
    /// With a database of our own.
    Embedded(Arc<Cluster>),
    /// With a database elsewhere.
    Elsewhere(#[expect(dead_code, reason = "held for its lock")] DataFolder),
}

/// Takes the data folder and starts the embedded database, unless the configuration names another one. Returns the
/// URL of the database.
///
/// # Errors
/// When the folder is in use or not ours, or the database does not start.
pub(super) async fn open_home(config: &Config) -> anyhow::Result<(Home, String)> {
    let folder = config.general.data_dir.clone();
    if let Some(url) = &config.database.url.0 {
        let home = tokio::task::spawn_blocking(move || DataFolder::open(&folder)).await??;
        return Ok((Home::Elsewhere(home), url.clone()));
    }
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&folder, &Options::default())).await??;
    fail::fail_point!("setup.cluster_started");
    let url = cluster.create_database(DATABASE).await?;
    fail::fail_point!("setup.database_created");
    Ok((Home::Embedded(Arc::new(cluster)), url))
}

/// What is wrong with the folder that base models are imported from, if one is configured.
#[must_use]
pub fn models_folder_fault(config: &Config) -> Option<String> {
    let folder = config.models.folder.0.as_ref()?;
    let error = std::fs::read_dir(folder).err()?;
    Some(format!(
        "{} is no folder that can be read: {error}",
        folder.display()
    ))
}

/// That the folder of base models is there.
///
/// # Errors
/// [`Problems`]: a mistake of the configuration.
pub(super) fn check_models_folder(config: &Config) -> Result<(), Problems> {
    match models_folder_fault(config) {
        None => Ok(()),
        Some(message) => Err(Problems(vec![Problem {
            source: "models.folder".to_owned(),
            message,
        }])),
    }
}

/// Opens the object store, making its folder when it is missing.
///
/// # Errors
/// When the folder cannot be made or opened.
pub(super) fn objects(config: &Config, ids: Arc<dyn Ids>) -> anyhow::Result<Objects> {
    let folder = config
        .objects
        .url
        .0
        .clone()
        .unwrap_or_else(|| config.general.data_dir.join("objects"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let folder =
        std::fs::canonicalize(&folder).with_context(|| format!("cannot open {}", folder.display()))?;
    let url = url::Url::from_file_path(&folder)
        .map_err(|()| anyhow::anyhow!("{} is not an absolute path", folder.display()))?;
    Ok(Objects::open(url.as_str(), ids)?)
}
