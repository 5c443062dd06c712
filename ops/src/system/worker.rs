//! The workers of this process.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use api::app::App;
use domain::jobs::job::KindName;
use ml::device::Device;
use objects::{StoreAddress, cache::ObjectCache};
use tokio_util::sync::CancellationToken;
use workers::{
    Worker, WorkerHandle, WorkerParts, WorkerSettings,
    registration::devices::{self, FoundDevices, WorkerDevice},
};

use super::{Environment, VERSION, jobs_folder};
use crate::config::Config;

/// The hidden verb that trains one job.
pub const TRAIN_COMMAND: &str = "train-job";
/// The folder of downloads in the data folder.
const CACHE: &str = "object-cache";

/// The devices that the workers are configured for; `None` when there shall be no workers.
///
/// # Errors
/// When a GPU is demanded and there is none, with what is missing.
pub(super) async fn find(config: &Config, environment: &Environment) -> anyhow::Result<Option<FoundDevices>> {
    if config.worker.count == 0 {
        return Ok(None);
    }
    Ok(Some(
        devices::find(config.worker.device, &environment.program).await?,
    ))
}

/// The folder of downloads, where objects do not lie on this machine.
async fn cache(config: &Config, environment: &Environment, app: &App) -> anyhow::Result<Option<ObjectCache>> {
    if let StoreAddress::Folder(_) = app.objects.address() {
        return Ok(None);
    }
    let folder = config.general.data_dir.join(CACHE);
    let limit = config.objects.cache_mib << 20;
    let (ids, clock) = (environment.ids.clone(), environment.clock.clone());
    let opened = tokio::task::spawn_blocking(move || ObjectCache::open(&folder, limit, ids, clock));
    let cache = opened.await?.context("cannot use the cache of objects")?;
    Ok(Some(cache))
}

/// Starts the workers that are configured: on the processor as many as wished, on each GPU one, and those that import
/// models.
///
/// # Errors
/// When a GPU is demanded and computes wrongly.
pub(super) async fn start(
    config: &Config,
    environment: &Environment,
    found: Option<FoundDevices>,
    app: &App,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<WorkerHandle>> {
    let imports = match config.models.folder.0 {
        Some(_) => config.models.imports,
        None => 0,
    };
    if found.is_none() && imports == 0 {
        return Ok(Vec::new());
    }
    let parts = parts(config, environment, app).await?;
    let mut started = training(config, environment, found, &parts, stop).await?;
    let mut importing = parts;
    importing.settings.kinds = BTreeSet::from([KindName::Import]);
    started.extend((0..imports).map(|_| Worker::start(importing.clone(), stop.child_token())));
    Ok(started)
}

async fn parts(config: &Config, environment: &Environment, app: &App) -> anyhow::Result<WorkerParts> {
    Ok(WorkerParts {
        ports: app.ports.clone(),
        pool: app.database.clone(),
        feed: app.feed.clone(),
        objects: app.objects.clone(),
        cache: cache(config, environment, app).await?,
        settings: WorkerSettings {
            folder: jobs_folder(&config.general.data_dir),
            threads: Some(config.worker.threads).filter(|threads| *threads > 0),
            place: WorkerDevice::default(),
            lease: Duration::from_secs(config.worker.lease_seconds),
            program: environment.program.clone(),
            arguments: vec![TRAIN_COMMAND.to_owned()],
            code_version: VERSION.to_owned(),
            checkpoints_kept: config.worker.checkpoints_kept,
            kinds: BTreeSet::from([KindName::Training]),
            models: config.models.folder.0.clone(),
            labels: config.worker.labels.0.clone(),
            memory_bytes: Some(config.worker.memory_mib)
                .filter(|mebibytes| *mebibytes > 0)
                .map(|mebibytes| mebibytes << 20),
        },
    })
}

/// Starts the workers that train.
async fn training(
    config: &Config,
    environment: &Environment,
    found: Option<FoundDevices>,
    parts: &WorkerParts,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<WorkerHandle>> {
    let count = usize::try_from(config.worker.count)?;
    let Some(found) = found else {
        return Ok(Vec::new());
    };
    let kernels = workers::kernels(&parts.settings.folder);
    let places = found.checked(&environment.program, &kernels).await?;
    let mut started = Vec::new();
    for place in places {
        let mut parts = parts.clone();
        parts.settings.place = place;
        let times = if place.device == Device::Cpu { count } else { 1 };
        started.extend((0..times).map(|_| Worker::start(parts.clone(), stop.child_token())));
    }
    Ok(started)
}
