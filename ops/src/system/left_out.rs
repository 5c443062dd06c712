//! Records what refusals and repeated reads left out, about once a minute and at the end.
//!
//! One rule: a count leaves memory only into the log; one that cannot be recorded is tried again.

use std::time::Duration;

use api::app::App;
use domain::audit::record::record_left_out;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// How often counts are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Deadline of one round.
const DEADLINE: Duration = Duration::from_secs(10);

/// Starts it; it ends when `stop` is cancelled, once all counts are recorded.
pub(super) fn start(app: App, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut due = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ending = tokio::select! {
                () = stop.cancelled() => true,
                _ = due.tick() => false,
            };
            round(&app, ending).await;
            if ending {
                return;
            }
        }
    })
}

async fn round(app: &App, all: bool) {
    match tokio::time::timeout(DEADLINE, record_left_out(&app.ports, all)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "counts of what was left out were not recorded"),
        Err(_) => tracing::error!("counts of what was left out were not recorded in time"),
    }
}
