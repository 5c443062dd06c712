//! Health: alive, ready, and the whole report (OP-6).

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use event_store::postgres::SigningState;
use projections::runner::{Condition, ProjectionStatus, statuses};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::Routes;
use crate::app::App;

/// How long a dependency may take to answer.
const DEADLINE: Duration = Duration::from_secs(3);
/// Events that the read models may be behind and still count as ready.
const LAG: u64 = 10_000;

/// What health is measured against.
#[derive(Clone)]
pub struct Probe {
    /// When the process was ready first.
    pub started_at: OffsetDateTime,
    /// Names the workers of this process that are alive.
    pub workers: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    status: &'static str,
    version: &'static str,
    uptime_seconds: i64,
    head: String,
    read_models_at: String,
    lag_events: u64,
    workers: Vec<String>,
    dependencies: Vec<Dependency>,
    /// Read models that do not simply follow the log: being rebuilt, or stopped.
    projections: Vec<ProjectionStatus>,
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

async fn examine(routes: &Routes) -> Report {
    let app = &routes.app;
    let database = check("database", async {
        sqlx::query("select 1").execute(&app.pool).await.map(|_| ())
    });
    let log = check("eventStore", async { app.ports.store.head().await.map(|_| ()) });
    let objects = check("objectStore", async {
        // A key that is never there: the store has to look.
        let key = objects::Key::artifact("health")?;
        app.objects.size(&key).await.map(|_| ())
    });
    let (database, log, objects, projections) =
        futures::join!(database, log, objects, timeout(DEADLINE, statuses(&app.pool)));
    let mut projections = match projections {
        Ok(Ok(projections)) => projections,
        // Then the database is down, and says so above.
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    projections.retain(|projection| projection.condition != Condition::Live);
    let (head, reached) = (app.ports.store.known_head(), app.progress.position());
    let lag = head.0.saturating_sub(reached.0);
    let dependencies = vec![database, log, objects];
    let ready = dependencies.iter().all(|dependency| dependency.ok) && lag <= LAG;
    // An alarm that somebody has to look at; requests are served all the same.
    let dependencies: Vec<Dependency> = dependencies.into_iter().chain(signing(app)).collect();
    Report {
        status: if ready { "ready" } else { "unavailable" },
        version: app.settings.version,
        uptime_seconds: (app.now() - routes.probe.started_at).whole_seconds(),
        head: head.to_string(),
        read_models_at: reached.to_string(),
        lag_events: lag,
        workers: (routes.probe.workers)(),
        dependencies,
        projections,
    }
}

/// `GET /readyz`: whether requests can be served.
pub async fn ready(State(routes): State<Routes>) -> Response {
    respond(examine(&routes).await)
}

/// `GET /api/health`: the same report; both list every dependency.
pub async fn report(State(routes): State<Routes>) -> Response {
    respond(examine(&routes).await)
}

fn respond(report: Report) -> Response {
    let status = if report.status == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}
