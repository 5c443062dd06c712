//! The workers of this process.

use std::time::Duration;

use api::app::App;
use tokio_util::sync::CancellationToken;
use workers::{Worker, WorkerHandle, WorkerParts, WorkerSettings};

use super::{Surroundings, VERSION, jobs_folder};
use crate::config::Config;

/// The hidden verb that trains one job.
pub const TRAIN_COMMAND: &str = "train-job";

/// Starts as many workers as are configured.
pub(super) fn start(
    config: &Config,
    surroundings: &Surroundings,
    app: &App,
    stop: &CancellationToken,
) -> Vec<WorkerHandle> {
    let parts = WorkerParts {
        ports: app.ports.clone(),
        pool: app.pool.clone(),
        directory: app.directory.clone(),
        feed: app.feed.clone(),
        objects: app.objects.clone(),
        settings: WorkerSettings {
            folder: jobs_folder(&config.general.data_dir),
            threads: Some(config.worker.threads).filter(|threads| *threads > 0),
            lease: Duration::from_secs(config.worker.lease_seconds),
            program: surroundings.program.clone(),
            arguments: vec![TRAIN_COMMAND.to_owned()],
            code_version: VERSION.to_owned(),
            labels: config.worker.labels.0.clone(),
            memory_bytes: Some(config.worker.memory_mib)
                .filter(|mebibytes| *mebibytes > 0)
                .map(|mebibytes| mebibytes << 20),
        },
    };
    (0..config.worker.count)
        .map(|_| Worker::start(parts.clone(), stop.child_token()))
        .collect()
}
