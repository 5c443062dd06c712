//! What every route has in common: an id, a span, metrics, a net under panics, security headers, one host, CORS,
//! compression, the challenge of a 401.
//!
//! One rule: neither logs nor metrics show a query string, a header or a path that is no route of ours.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use domain::id::Ids;
use futures::FutureExt;
use tower_http::cors::CorsLayer;
use tracing::Instrument;

use super::panic_message::panic_text;
use super::request_id::{self, RequestId};
use super::{body, challenge, encoding, host};
use crate::http::problem::Problem;

/// What the common layers need to know.
#[derive(Clone)]
pub struct LayerOptions {
    /// Where request ids come from.
    pub ids: Arc<dyn Ids>,
    /// Origins that browsers may call from, exactly as they send them (`https://console.example`).
    pub cors_origins: Vec<HeaderValue>,
    /// Whether answers say that this host speaks HTTPS only. Right behind TLS, wrong on a laptop.
    pub strict_transport: bool,
    /// Whether answers are compressed with gzip where the client takes it; event streams and downloads never are.
    pub compression: bool,
}

/// Puts the common layers around a router. Call it once, on the whole router, when all routes are in.
pub fn with_common_layers(router: Router, options: LayerOptions) -> Router {
    let router = router
        .layer(middleware::from_fn(body::guard))
        .layer(middleware::from_fn(challenge::add));
    let router = if options.compression {
        encoding::compressed(router)
    } else {
        router
    };
    let router = if options.cors_origins.is_empty() {
        router
    } else {
        router.layer(cors(&options.cors_origins))
    };
    router
        .layer(middleware::from_fn(host::check))
        .layer(middleware::from_fn_with_state(Arc::new(options), observe))
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            API_KEY,
            LAST_EVENT_ID,
            request_id::HEADER,
        ])
        .expose_headers([request_id::HEADER, header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(Duration::from_secs(600))
}

/// Answers one request with everything around it that is not its own.
async fn observe(State(options): State<Arc<LayerOptions>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers(), &*options.ids);
    request.extensions_mut().insert(id.clone());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let method = method_label(request.method());
    let span = tracing::info_span!("request", request_id = %id, method, path = route, status = tracing::field::Empty);

    let answering = async {
        AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| {
                tracing::error!(panic = panic_text(&*panic), "a handler panicked");
                Problem::internal().into_response()
            })
    };
    let mut response = id.clone().scope(answering).instrument(span.clone()).await;

    let status = response.status();
    span.record("status", status.as_u16());
    add_headers(response.headers_mut(), &id, options.strict_transport);
    measure(method, route, status, started.elapsed());
    response
}

/// The method for labels: clients may invent methods, metrics may not grow with them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        _ => "OTHER",
    }
}

fn measure(method: &'static str, route: String, status: StatusCode, took: Duration) {
    let labels = [
        ("method", method.to_owned()),
        ("route", route),
        ("status", status.as_u16().to_string()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", &labels).record(took.as_secs_f64());
}

/// Adds the security headers (OWASP ASVS 5, 3.4) that the route has not set itself.
fn add_headers(headers: &mut HeaderMap, id: &RequestId, strict_transport: bool) {
    const PRESET: [(HeaderName, &str); 7] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in PRESET {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if strict_transport {
        let value = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
    }
    if let Some(value) = id.header_value() {
        headers.insert(request_id::HEADER, value);
    }
}
