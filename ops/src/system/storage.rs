//! Where this process keeps data: its folder, its database and its object store.
//!
//! One rule: the data folder is locked before anything in it is opened.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use domain::id::{Ids, SystemIds};
use objects::{Objects, ObjectsError, StoreAddress};
use time::OffsetDateTime;

use super::DATABASE;
use crate::{
    config::{Config, Problem, Problems},
    postgres::{Cluster, DataFolder, Options},
};

/// The file in the data folder that has the name in which it stages objects.
const OWNER: &str = "staging-owner";

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

/// Where the object store is.
#[must_use]
pub fn object_address(config: &Config) -> StoreAddress {
    let configured = config.objects.url.0.clone();
    configured.unwrap_or_else(|| StoreAddress::Folder(config.general.data_dir.join("objects")))
}

/// Opens the object store, making its folder when it is missing.
///
/// # Errors
/// When the folder cannot be made or opened, or the options of a bucket do not fit.
pub fn objects(config: &Config, ids: Arc<dyn Ids>) -> Result<Objects, ObjectsError> {
    Objects::open_with(&object_address(config), &config.objects.options(), ids)
}

/// Opens the object store where there is one; a folder that is missing is not made.
///
/// # Errors
/// The reason, for people.
pub fn existing_objects(config: &Config) -> Result<Objects, String> {
    match object_address(config) {
        StoreAddress::Folder(folder) if !folder.is_dir() => {
            Err(format!("the object store {} is not there", folder.display()))
        }
        _ => objects(config, Arc::new(SystemIds)).map_err(|error| error.to_string()),
    }
}

/// The object store of a process that has the data folder, cleaned of what the process before it left.
///
/// # Errors
/// As [`objects`], and when the folder cannot be swept. A bucket that does not answer is only told: health shows it, and
/// the next start sweeps it.
pub(super) async fn own_objects(
    config: &Config,
    ids: Arc<dyn Ids>,
    now: OffsetDateTime,
) -> anyhow::Result<Objects> {
    let owner = staging_owner(&config.general.data_dir, ids.as_ref())?;
    let objects = objects(config, ids)?.staging_as(&owner)?;
    match (objects.sweep_staging(now).await, objects.address()) {
        (Ok(_), _) => {}
        (Err(error), StoreAddress::Bucket { .. }) => {
            tracing::warn!(%error, "unfinished uploads in the object store are left for the next start");
        }
        (Err(error), StoreAddress::Folder(_)) => {
            return Err(anyhow::Error::new(error).context("cannot clean up the object store"));
        }
    }
    Ok(objects)
}

/// In whose name this data folder stages objects. It is locked, so that one process at a time has the name.
fn staging_owner(data_dir: &Path, ids: &dyn Ids) -> anyhow::Result<String> {
    let path = data_dir.join(OWNER);
    match small_files::read_text(&path, 64) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.is_not_found() => {
            let owner = ids.next().simple().to_string();
            let unfinished = path.with_extension("unfinished");
            std::fs::write(&unfinished, format!("{owner}\n"))
                .and_then(|()| std::fs::rename(&unfinished, &path))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(owner)
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot read who stages objects")),
    }
}
