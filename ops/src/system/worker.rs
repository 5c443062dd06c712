//! The workers of this process.

use tokio_util::sync::CancellationToken;
use api::app::App;
use crate::config::Config;
use super::Surroundings;

/// The hidden verb that trains one job.
pub const TRAIN_COMMAND: &str = "train-job";

pub(super) async fn start(_: &Config, _: &Surroundings, _: &App, _: &CancellationToken) -> anyhow::Result<Vec<workers::WorkerHandle>> {
    Ok(Vec::new())
}
