//! Health: alive, ready, and the whole report (OP-6).
//!
//! The rule: whoever asks, the dependencies are looked at once a second at most; all who ask meanwhile wait for that
//! one look, or get what it found.

mod reactors;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::event_store::StoreError;
use event_store::postgres::SigningState;
use projections::runner::{Condition, ProjectionStatus, statuses};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::Routes;
use crate::{app::App, http::problem::RETRY_AFTER};

/// How long a dependency may take to answer.
const DEADLINE: Duration = Duration::from_secs(3);
/// Events that the read models may be behind and still count as ready.
const LAG: u64 = 10_000;

/// The status of a process that cannot serve requests.
const UNAVAILABLE: &str = "unavailable";
/// How long what was found is answered again.
const FRESH: Duration = Duration::from_secs(1);
/// Below this, in bytes, a file system counts as full: an upload or a checkpoint would fill it.
const FULL: u64 = 64 << 20;
/// How long an append that was refused keeps the process out of service. Then requests are let in again, and the next
/// append tells: were it for good, nothing would ever be appended where only ready processes get requests.
const KEPT_OUT: Duration = Duration::from_secs(30);

/// What the last look found, and when.
pub(super) type LastLook = Arc<tokio::sync::Mutex<Option<(Instant, Arc<Report>)>>>;

/// What health is measured against.
#[derive(Clone)]
pub struct Probe {
    /// When the process was ready first.
    pub started_at: OffsetDateTime,
    /// Names the workers of this process that are alive.
    pub workers: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The bytes that are free where this process puts files, at the narrowest place; `None` where that cannot be found out.
    pub free_bytes: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
}

/// One dependency.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    name: &'static str,
    ok: bool,
    latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// What a look found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    status: &'static str,
    version: &'static str,
    uptime_seconds: i64,
    head: String,
    read_models_at: String,
    lag_events: u64,
    workers: Vec<String>,
    dependencies: Vec<Dependency>,
    /// Read models that do not simply follow the log: being rebuilt, or stopped. Those that are not `served` are shown to
    /// nobody, and the status is `degraded`.
    projections: Vec<ProjectionStatus>,
    /// What follows from events: how far each reactor is, and what it has not done. While one has given something up, or none
    /// is run, the status is `degraded`.
    reactors: Vec<reactors::Reactor>,
}

/// `GET /healthz`: the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

async fn check<E: std::fmt::Display>(
    name: &'static str,
    work: impl Future<Output = Result<(), E>>,
) -> Dependency {
    let begun = Instant::now();
    let detail = match timeout(DEADLINE, work).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::warn!(dependency = name, %error, "a dependency is down");
            Some("it answers with an error; see the log".to_owned())
        }
        Err(_) => Some(format!("no answer within {} s", DEADLINE.as_secs())),
    };
    Dependency {
        name,
        ok: detail.is_none(),
        latency_ms: begun.elapsed().as_secs_f64() * 1e3,
        detail,
    }
}

/// How the signing of the log's checkpoints goes; `None` when there is none.
fn signing(app: &App) -> Option<Dependency> {
    let detail = match app.integrity.as_ref()?.state() {
        SigningState::Alarm(_) => Some(
            "ALARM: the log does not fit what was signed; see the log, run `anneal audit verify`".to_owned(),
        ),
        SigningState::Waiting(_) => Some("no checkpoint can be signed now; see the log".to_owned()),
        SigningState::Off | SigningState::Standby | SigningState::Signed(_) => None,
    };
    Some(Dependency {
        name: "auditSigning",
        ok: detail.is_none(),
        latency_ms: 0.0,
        detail,
    })
}

/// Whether what is recorded can be exported as checkpoints; `None` where none are.
fn checkpoint_export(app: &App) -> Option<Dependency> {
    let failure = app.integrity.as_ref()?.export_failure();
    Some(Dependency {
        name: "checkpointExport",
        ok: failure.is_none(),
        latency_ms: 0.0,
        detail: failure.map(|_| {
            "checkpoints are signed, but cannot be exported to their folder (audit.checkpoint_folder); see the log"
                .to_owned()
        }),
    })
}

/// Whether the log takes what is appended, by the last append; with it, whether requests are to be kept away.
fn recording(app: &App) -> (Dependency, bool) {
    let failure = app.ports.recording.failure();
    let detail = failure.as_ref().map(|failure| match &failure.error {
        StoreError::Full(_) => "the storage is full: nothing can be recorded; free space",
        StoreError::ReadOnly(_) => "the event store is read-only: nothing can be recorded",
        StoreError::Unavailable(_) | StoreError::Corrupt(_) => {
            "the last append was refused; see the log, run `anneal audit verify`"
        }
    });
    let kept_out = failure.is_some_and(|failure| app.now() - failure.at < KEPT_OUT);
    let dependency = Dependency {
        name: "recording",
        ok: detail.is_none(),
        latency_ms: 0.0,
        detail: detail.map(str::to_owned),
    };
    (dependency, kept_out)
}

/// Whether the read models move along the log. When they do not, none of them is shown.
fn following(app: &App) -> Dependency {
    let still = app.progress.still_since().is_some();
    Dependency {
        name: "readModels",
        ok: !still,
        latency_ms: 0.0,
        detail: still.then(|| {
            "the read models stand still and are not shown; see the log and the locks of the database"
                .to_owned()
        }),
    }
}

/// Whether the log's time is ahead of the clock (FR18): then it is not the events' own.
fn log_time(app: &App) -> Dependency {
    let ahead = app.ports.recording.ahead(app.now());
    Dependency {
        name: "logTime",
        ok: ahead.is_none(),
        latency_ms: 0.0,
        detail: ahead.map(|ahead| ahead.to_string()),
    }
}

/// Asks for a key that is never there: the store has to look.
async fn object_store(app: &App) -> Result<(), objects::ObjectsError> {
    let key = objects::Key::artifact("health")?;
    app.objects.size(&key).await.map(drop)
}

/// Whether there is room for files (FR19). Without, uploads and trainings fail; everything else is served.
fn room(free_bytes: Option<u64>) -> Dependency {
    let full = free_bytes.filter(|free| *free < FULL);
    Dependency {
        name: "room",
        ok: full.is_none(),
        latency_ms: 0.0,
        detail: full.map(|free| {
            format!(
                "the disk is full: {} MiB are free where files are kept; free space",
                free >> 20
            )
        }),
    }
}

async fn examine(routes: &Routes) -> Report {
    let app = &routes.app;
    let database = check("database", async {
        sqlx::query("select 1").execute(&app.database).await.map(|_| ())
    });
    let log = check("eventStore", async { app.ports.store.head().await.map(|_| ()) });
    let objects = check("objectStore", object_store(app));
    let (database, log, objects, projections, all) = futures::join!(
        database,
        log,
        objects,
        timeout(DEADLINE, statuses(&app.database)),
        reactors::all(app)
    );
    let reacting = reactors::dependency(&all);
    let mut projections = match projections {
        Ok(Ok(projections)) => projections,
        // Then the database is down, and says so above.
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    projections.retain(|projection| projection.condition != Condition::Live);
    let (head, reached) = (app.ports.store.known_head(), app.progress.position());
    let lag = head.0.saturating_sub(reached.0);
    let dependencies = vec![database, log, objects];
    let (recording, kept_out) = recording(app);
    let (following, room) = (following(app), room((routes.probe.free_bytes)()));
    let all_there = following.ok && reacting.ok && room.ok && projections.iter().all(|one| one.served);
    let ready = dependencies.iter().all(|dependency| dependency.ok) && lag <= LAG && !kept_out;
    // What somebody has to look at; requests are served all the same.
    let watched = [
        Some(recording),
        Some(following),
        Some(reacting),
        Some(room),
        Some(log_time(app)),
        signing(app),
        checkpoint_export(app),
    ];
    let dependencies: Vec<Dependency> = dependencies
        .into_iter()
        .chain(watched.into_iter().flatten())
        .collect();
    Report {
        status: match (ready, all_there) {
            (false, _) => UNAVAILABLE,
            // Every process would say the same of a read model: were all taken out of service, nothing would be served.
            (true, false) => "degraded",
            (true, true) => "ready",
        },
        version: app.settings.version,
        uptime_seconds: (app.now() - routes.probe.started_at).whole_seconds(),
        head: head.to_string(),
        read_models_at: reached.to_string(),
        lag_events: lag,
        workers: (routes.probe.workers)(),
        dependencies,
        projections,
        reactors: all,
    }
}

/// `GET /readyz`: whether requests can be served.
pub async fn ready(State(routes): State<Routes>) -> Response {
    let report = look(&routes).await;
    respond(&report)
}

/// `GET /api/health`: the same report; both list every dependency.
pub async fn report(State(routes): State<Routes>) -> Response {
    let report = look(&routes).await;
    respond(&report)
}

/// What is found now, or was found a moment ago. The lock is held while one request looks, so no second one does.
async fn look(routes: &Routes) -> Arc<Report> {
    let mut last = routes.last_look.lock().await;
    if let Some((at, report)) = &*last
        && at.elapsed() < FRESH
    {
        return Arc::clone(report);
    }
    let report = Arc::new(examine(routes).await);
    *last = Some((Instant::now(), Arc::clone(&report)));
    report
}

fn respond(report: &Report) -> Response {
    let status = match report.status {
        UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let mut response = (status, Json(report)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = HeaderValue::from(RETRY_AFTER);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}
