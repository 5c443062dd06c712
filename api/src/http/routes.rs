//! Plain HTTP where GraphQL does not fit: bytes up and down, health, keys, metrics.

mod audit;
mod datasets;
mod health;
mod jobs;
mod models;
mod parameters;
mod permitted_bytes;
mod range;
mod transfers;
mod upload_room;

use axum::{
    Router,
    extract::{FromRequestParts, State},
    handler::Handler,
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{self, MethodRouter},
};
use domain::{
    aggregate::LoadError,
    audit::sensitive_read::Again,
    authz::{Action, Concealment, Denied, Resource},
    event_store::StoreError,
    execute::{Command, ExecuteError},
};
use projections::read_model::ReadError;

pub use health::Probe;
use transfers::Transfers;

use super::{graphql::AuthError, problem::Problem, server::RequestId};
use crate::{
    app::{App, Caller, ReadRefused, for_clients},
    http::graphql::{Credentials, Transport},
};

/// What writes the metrics in Prometheus' text format.
pub type MetricsText = std::sync::Arc<dyn Fn() -> String + Send + Sync>;

/// Shared by the routes.
#[derive(Clone)]
pub struct Routes {
    app: App,
    probe: Probe,
    last_look: health::LastLook,
    metrics: Option<MetricsText>,
    transfers: Transfers,
}

impl Routes {
    /// The routes over `app`; `metrics` is served when given.
    #[must_use]
    pub fn new(app: App, probe: Probe, metrics: Option<MetricsText>) -> Self {
        Self {
            transfers: Transfers::new(&app.settings),
            app,
            probe,
            last_look: health::LastLook::default(),
            metrics,
        }
    }

    /// The router, without common layers.
    pub(super) fn router(self) -> Router {
        let mut router = Router::new();
        for Route { endpoint, handler } in table() {
            router = router.route(endpoint.path, handler);
        }
        router
            .fallback(async || Problem::new(StatusCode::NOT_FOUND).detail("there is nothing at this path"))
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED)
                    .detail("use a method that the Allow header names")
            })
            .with_state(self)
    }
}

/// What a route answers to. Tests walk over these, so that no route can be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its method (`GET` answers to `HEAD` too); `None` when the route tells methods apart itself.
    pub method: Option<Method>,
    /// Its path, with `{parameter}`s.
    pub path: &'static str,
}

/// One line of [`table`].
struct Route {
    endpoint: Endpoint,
    handler: MethodRouter<Routes>,
}

fn get<H: Handler<T, Routes>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route {
        endpoint: Endpoint {
            method: Some(Method::GET),
            path,
        },
        handler: routing::get(handler),
    }
}

fn post<H: Handler<T, Routes>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route {
        endpoint: Endpoint {
            method: Some(Method::POST),
            path,
        },
        handler: routing::post(handler),
    }
}

/// Every plain route: the router is made of these and of nothing else.
fn table() -> Vec<Route> {
    vec![
        get("/", front),
        get("/healthz", health::alive),
        get("/readyz", health::ready),
        get("/api/health", health::report),
        get("/metrics", metrics_text),
        get("/.well-known/jwks.json", jwks),
        post("/api/datasets/{dataset}/versions", datasets::upload),
        get(
            "/api/datasets/{dataset}/versions/{version}/content",
            datasets::download,
        ),
        get(
            "/api/models/{model}/versions/{version}/files/{file}",
            models::download,
        ),
        get(
            "/api/models/{model}/versions/{version}/merged/{file}",
            models::download_merged,
        ),
        get("/api/jobs/{job}/log", jobs::log),
        get("/audit/checkpoint", audit::checkpoint),
        get("/audit/key", audit::key),
        get("/audit/proof/inclusion", audit::inclusion),
        get("/audit/proof/consistency", audit::consistency),
        get("/audit/log/checkpoint", audit::checkpoint),
        get("/audit/log/tile/{*tile}", audit::tile),
    ]
}

/// What the plain routes answer to.
pub(super) fn endpoints() -> impl Iterator<Item = Endpoint> {
    table().into_iter().map(|route| route.endpoint)
}

async fn front(State(routes): State<Routes>) -> Response {
    let text = format!("Anneal {}: GraphQL at /graphql.\n", routes.app.settings.version);
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn jwks(State(routes): State<Routes>) -> Response {
    let body = routes.app.keys.current().jwks();
    ([(header::CACHE_CONTROL, "public, max-age=300")], axum::Json(body)).into_response()
}

async fn metrics_text(State(routes): State<Routes>) -> Response {
    match &routes.metrics {
        Some(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text(),
        )
            .into_response(),
        None => Problem::new(StatusCode::NOT_FOUND)
            .detail("metrics are switched off (metrics.enabled)")
            .into_response(),
    }
}

/// The signed-in caller of a route, with its rights as of the head of the log.
pub struct SignedIn(pub Caller);

impl FromRequestParts<Routes> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, routes: &Routes) -> Result<Self, Problem> {
        let id = parts.extensions.get::<RequestId>().cloned();
        let id = id.unwrap_or_else(|| RequestId::fresh(routes.app.ports.ids.as_ref()));
        let credentials = Credentials::of(parts, id, Transport::Http).map_err(|error| refused(&error))?;
        let caller = routes
            .app
            .authenticate(&credentials)
            .await
            .map_err(|error| refused(&error))?;
        if caller.user().is_none() {
            return Err(Problem::new(StatusCode::UNAUTHORIZED)
                .detail("send an access token: Authorization: Bearer …"));
        }
        routes
            .app
            .refresh(&caller)
            .await
            .map(Self)
            .map_err(|error| refused(&error))
    }
}

fn refused(error: &AuthError) -> Problem {
    let status = match error {
        AuthError::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        AuthError::Forbidden(_) => StatusCode::FORBIDDEN,
        AuthError::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        AuthError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let retry_after = match error {
        AuthError::RateLimited { retry_after } => {
            Some(u16::try_from(retry_after.as_secs().max(1)).unwrap_or(u16::MAX))
        }
        _ => None,
    };
    let problem = Problem::new(status).detail(error.to_string());
    Problem {
        retry_after: retry_after.or(problem.retry_after),
        ..problem
    }
}

/// Runs a command for a route; its refusals are for the route to word.
async fn run<C: Command>(
    app: &App,
    caller: &Caller,
    command: &C,
) -> Result<domain::event_store::Position, Failed<C::Refusal>> {
    app.execute(caller, command).await.map_err(|error| match error {
        ExecuteError::Refused(reason) => Failed::Refused(reason),
        ExecuteError::Denied(denied) => Failed::Other(denied_problem(denied)),
        ExecuteError::Busy => Failed::Other(Problem::unavailable("the event store is busy, try again")),
        ExecuteError::Store(error) => Failed::Other(store_failed(&error)),
        error @ (ExecuteError::Undecodable(_)
        | ExecuteError::Defect(_)
        // Routes name neither a version nor a request.
        | ExecuteError::VersionConflict
        | ExecuteError::RequestMismatch) => {
            tracing::error!(%error, "a command failed");
            Failed::Other(Problem::internal())
        }
    })
}

/// Runs a download that is recorded: like [`run`], but one event stands for all of the caller's downloads of `thing`
/// within the hour, ranges and HEADs too. The first is on record before a byte is sent.
async fn run_recorded<C: Command>(
    app: &App,
    caller: &Caller,
    thing: &str,
    command: &C,
) -> Result<domain::event_store::Position, Failed<C::Refusal>> {
    let actor = caller.principal.actor();
    if app.ports.bounded.is_recorded(&actor, thing, app.now()) {
        return run(app, caller, &Again(command)).await;
    }
    let position = run(app, caller, command).await?;
    app.ports.bounded.recorded(&actor, thing, app.now());
    Ok(position)
}

/// Decides whether the caller may, and records what has to be ([`App::permit`]).
async fn permitted(app: &App, caller: &Caller, action: Action, resource: &Resource) -> Result<(), Problem> {
    app.permit(caller, action, resource)
        .await
        .map_err(|error| match error {
            ReadRefused::Denied(denied) => denied_problem(denied),
            ReadRefused::NotRecorded => Problem::unavailable(error.to_string()),
        })
}

fn denied_problem(denied: Denied) -> Problem {
    match denied.concealment {
        Concealment::NotFound => not_found(),
        Concealment::Forbidden => Problem::new(StatusCode::FORBIDDEN).detail(denied.reason),
        Concealment::Unauthenticated => Problem::new(StatusCode::UNAUTHORIZED).detail(denied.reason),
    }
}

/// Why a route did nothing.
enum Failed<R> {
    /// By a rule.
    Refused(R),
    /// Otherwise, already worded.
    Other(Problem),
}

/// What the event store did not do: 503 where it may do it later, 507 while it has no room, else 500.
fn store_failed(error: &StoreError) -> Problem {
    tracing::error!(%error, "the event store does not do its work");
    let status = match error {
        StoreError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    match for_clients(error) {
        Some(words) => Problem::new(status).detail(words),
        None => Problem::internal(),
    }
}

/// What the log holds of an aggregate could not be read.
fn load_failed(error: &LoadError) -> Problem {
    match error {
        LoadError::Store(error) => store_failed(error),
        LoadError::Decode(error) => {
            tracing::error!(%error, "the log holds what this build cannot read");
            Problem::internal()
        }
    }
}

/// What the read models did not answer.
fn read_failed(error: &ReadError) -> Problem {
    if let ReadError::NotServed(_) = error {
        return Problem::unavailable(error.to_string());
    }
    tracing::error!(%error, "the read models cannot be read");
    match error.is_outage() {
        true => Problem::unavailable("the database does not answer at present, try again"),
        false => Problem::internal(),
    }
}

/// What is not there, or not for the caller.
fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).detail("not found")
}
