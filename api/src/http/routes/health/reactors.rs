//! What follows from events, as health tells it.
//!
//! One rule: a process whose reactors stand still serves requests as any other; somebody has to look at it all the same.

use std::time::Duration;

use projections::notifications::delivery;
use serde::Serialize;
use tokio::time::timeout;

use super::{DEADLINE, Dependency};
use crate::app::App;

/// How a reactor is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reactor {
    name: String,
    /// Events of the log, of whatever kind, after what it is known to have read.
    lag_events: u64,
    /// Effects that are to be tried again.
    waiting: i64,
    /// Effects that were given up.
    dead: i64,
    /// Since when nobody was seen to run it, in seconds.
    silent_seconds: u64,
}

/// How long nobody may be seen to run the reactors.
const SILENCE: u64 = 60;

/// How the reactors are; none when the database does not tell, which is told of itself.
pub(super) async fn all(app: &App) -> Vec<Reactor> {
    let Ok(Ok(found)) = timeout(DEADLINE, delivery::reactors(&app.database)).await else {
        return Vec::new();
    };
    let head = app.ports.store.known_head();
    let reactor = |row: delivery::ReactorRow| Reactor {
        lag_events: head.0.saturating_sub(row.reached().0),
        waiting: row.waiting,
        dead: row.dead,
        silent_seconds: Duration::try_from_secs_f64(row.silent_seconds).map_or(0, |silent| silent.as_secs()),
        name: row.reactor,
    };
    found.into_iter().map(reactor).collect()
}

/// Whether what follows from events is done.
pub(super) fn dependency(reactors: &[Reactor]) -> Dependency {
    let dead: i64 = reactors.iter().map(|reactor| reactor.dead).sum();
    let silent = reactors.iter().any(|reactor| reactor.silent_seconds > SILENCE);
    let detail = match (silent, dead) {
        (true, _) => Some("no process runs the reactors: mails and erasures wait; see the log".to_owned()),
        (false, 0) => None,
        (false, dead) => Some(format!(
            "{dead} effects of events were given up; see `anneal reactors list`, and redrive them"
        )),
    };
    Dependency {
        name: "reactors",
        ok: detail.is_none(),
        latency_ms: 0.0,
        detail,
    }
}
