//! Looks after recording, about every ten seconds: records what refusals and repeated reads left out, and warns when the
//! log's time is ahead of the clock.
//!
//! One rule: a count leaves memory only into the log; one that cannot be recorded is tried again.

use std::time::Duration;

use api::app::App;
use domain::{
    audit::record::record_left_out,
    event_store::{Filter, Position, StoreError},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(10);
/// Deadline of one round.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a log that stays ahead of the clock is warned of.
const REMIND: Duration = Duration::from_secs(600);

/// Reads the time of the log's last event, so that a clock that is behind it is known before anything is appended.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn look_at_the_end(app: &App) -> Result<(), StoreError> {
    let store = &app.ports.store;
    let head = store.head().await?;
    let before = Position(head.0.saturating_sub(1));
    let page = store.read_all(before, &Filter::all(), 1).await?;
    if let Some(last) = page.events.last() {
        app.ports.recording.note_last(last.at);
    }
    Ok(())
}

/// Starts it; it ends when `stop` is cancelled, once all counts are recorded.
pub(super) fn start(app: App, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut due = tokio::time::interval_at(Instant::now(), LOOK);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned: Option<Instant> = None;
        loop {
            let ending = tokio::select! {
                () = stop.cancelled() => true,
                _ = due.tick() => false,
            };
            watch_the_clock(&app, &mut warned);
            round(&app, ending).await;
            if ending {
                return;
            }
        }
    })
}

/// Tells how far the log's time is ahead, as a metric always and in the process's log now and then.
fn watch_the_clock(app: &App, warned: &mut Option<Instant>) {
    let ahead = app.ports.recording.ahead(app.now());
    let seconds = ahead.map_or(0.0, |ahead| ahead.by.as_seconds_f64());
    metrics::gauge!("event_store_ahead_of_clock_seconds").set(seconds);
    match ahead {
        Some(ahead) if warned.is_none_or(|at| at.elapsed() >= REMIND) => {
            tracing::warn!("{ahead}");
            *warned = Some(Instant::now());
        }
        Some(_) => {}
        None => *warned = None,
    }
}

async fn round(app: &App, all: bool) {
    match tokio::time::timeout(DEADLINE, record_left_out(&app.ports, all)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "counts of what was left out were not recorded"),
        Err(_) => tracing::error!("counts of what was left out were not recorded in time"),
    }
}
