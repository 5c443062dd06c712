//! Drives all projections along the log.
//!
//! One process leads at a time, by a lease. It writes every projection's rows and checkpoints of a page in one
//! transaction, so that read models agree with each other and nothing is applied twice or skipped. A projection
//! that meets an event it cannot fold stops exactly there, alone, and says so; it is tried again from time to
//! time, because a newer build may know more. Beside it, shadow tables are built: see [`crate::rebuild`].

mod checkpoints;
mod leader;
mod page;
mod place;
mod progress;
mod projection_handle;
mod settings;
mod standstill;
mod status;

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, StoreError};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{leader::Leader, projection_handle::ProjectionHandle};
pub use self::{
    progress::{PositionNotReached, Progress},
    settings::Settings,
    status::{Condition, ProjectionStatus, statuses},
};
use crate::{
    read_model::{ProjectError, Projector},
    rebuild::background,
};

/// Wait before another try after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// The reason for which the runner paused.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("a page was not written in time")]
    TimedOut,
    #[error("another process leads now")]
    Deposed,
}

/// Starts following the log with `projectors`, and rebuilding what has to be; ends when `stop` is cancelled.
#[must_use]
pub fn start(
    store: Arc<dyn EventStore>,
    pool: PgPool,
    projectors: fn() -> Vec<Box<dyn Projector>>,
    stop: CancellationToken,
) -> (Progress, tokio::task::JoinHandle<()>) {
    start_with(store, pool, projectors, stop, Settings::default())
}

/// As [`start`], with other lengths of time.
#[must_use]
pub fn start_with(
    store: Arc<dyn EventStore>,
    pool: PgPool,
    projectors: impl Fn() -> Vec<Box<dyn Projector>>,
    stop: CancellationToken,
    settings: Settings,
) -> (Progress, tokio::task::JoinHandle<()>) {
    let swapped = Arc::new(Notify::new());
    let names = projectors().iter().map(|projector| projector.name()).collect();
    let progress = Progress::new(pool.clone(), names);
    let watching = tokio::spawn(standstill::watch(
        progress.clone(),
        store.clone(),
        settings.standstill,
        stop.clone(),
    ));
    let builders = tokio::spawn(background::run(
        background::Parts {
            store: store.clone(),
            pool: pool.clone(),
            projectors: projectors(),
            swapped: swapped.clone(),
            settings,
        },
        stop.clone(),
    ));
    let mut leader = Leader {
        store,
        pool,
        handles: projectors().into_iter().map(ProjectionHandle::new).collect(),
        progress: progress.clone(),
        swapped,
        settings,
        begun: tokio::time::Instant::now(),
        lease: None,
        stood_back: false,
    };
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                outcome = leader.lead() => if let Err(error) = outcome {
                    tracing::warn!(%error, "projections paused, trying again");
                    metrics::counter!("projection_failures_total").increment(1);
                },
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        leader.resign().await;
        for (part, running) in [("rebuilding", builders), ("watching", watching)] {
            if let Err(error) = running.await {
                tracing::warn!(%error, part, "a part of the read side ended with an error");
            }
        }
    });
    (progress, task)
}
