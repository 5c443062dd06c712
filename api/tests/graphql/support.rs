//! A running server and its clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::http::graphql::{EndpointOptions, GraphqlEndpoint};
use api::http::server::{self, Drained, LayerOptions, ServerOptions, Shutdown};
use axum::Router;
use axum::body::Body;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use domain::id::SystemIds;
use futures::stream;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::schema::TestExecutor;

/// Subscriptions that have not one root field.
pub const TWO_ROOTS: [&str; 7] = [
    "subscription { count(upTo: 1) silent }",
    "subscription { count(upTo: 1) other: count(upTo: 1) }",
    "subscription { count(upTo: 1) __typename }",
    "subscription { __typename }",
    "subscription { ... { count(upTo: 1) } silent }",
    "subscription { ...F } fragment F on Subscriptions { count(upTo: 1) silent }",
    "subscription { count(upTo: 1) ...F } fragment F on Subscriptions { ... on Subscriptions { silent } }",
];

pub struct Server {
    pub address: SocketAddr,
    pub executor: TestExecutor,
    pub shutdown: Shutdown,
    pub client: reqwest::Client,
    pub serving: JoinHandle<Drained>,
}

pub async fn start() -> Server {
    start_with(EndpointOptions::default(), ServerOptions::default()).await
}

pub async fn start_with(endpoint: EndpointOptions, options: ServerOptions) -> Server {
    start_executor(TestExecutor::new(), endpoint, options).await
}

pub async fn start_executor(
    executor: TestExecutor,
    endpoint: EndpointOptions,
    options: ServerOptions,
) -> Server {
    let shutdown = Shutdown::default();
    let routes = Router::new()
        .route("/panic", get(|| async { panics().await }))
        .route("/stream", get(|| async { streamed() }))
        .route("/download", get(|| async { downloaded() }))
        .route("/panicking-stream", get(|| async { breaking() }))
        .route(
            "/slow",
            get(|| async { tokio::time::sleep(Duration::from_millis(500)).await }),
        )
        .merge(GraphqlEndpoint::new(executor.clone(), endpoint, shutdown.clone()).router());
    let layers = LayerOptions {
        ids: Arc::new(SystemIds),
        cors_origins: Vec::new(),
        strict_transport: true,
        compression: true,
    };
    let router = server::with_common_layers(routes, layers);
    let listener = server::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let until = shutdown.clone();
    let serving = tokio::spawn(async move {
        server::serve(listener, router, options, &until)
            .await
            .expect("serves")
    });
    let client = http().timeout(Duration::from_secs(20)).build().expect("a client");
    Server {
        address,
        executor,
        shutdown,
        client,
        serving,
    }
}

/// A client of the servers that tests start, which takes no proxy from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test calls the server that it has started"
)]
pub fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    pub fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(self.url()).json(body)
    }

    pub fn get(&self, parameters: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut url = url::Url::parse(&self.url()).expect("a URL");
        url.query_pairs_mut().extend_pairs(parameters);
        self.client.get(url)
    }

    pub fn bumps(&self) -> u32 {
        self.executor.bumps.load(Ordering::SeqCst)
    }
}

/// Status, media type and body of an answer.
pub async fn answer(request: reqwest::RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.expect("an answer");
    let kind = response
        .headers()
        .get("content-type")
        .map_or("", |kind| kind.to_str().expect("text"))
        .to_owned();
    let status = response.status().as_u16();
    (status, kind, response.json().await.expect("JSON"))
}

/// The code of an answer's first error.
pub fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or_default()
}

/// What `/stream` and `/download` send, in several pieces.
pub const STREAMED: &[u8] = &[b'a'; 40_000];

/// A body that may not be polled after its end, as `unfold` has it.
fn pieces() -> Body {
    let pieces = stream::unfold(STREAMED.chunks(9_000), |mut left| async move {
        let piece = left.next()?;
        Some((Ok::<_, Infallible>(piece), left))
    });
    Body::from_stream(pieces)
}

fn streamed() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], pieces())
}

fn downloaded() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/plain".to_owned()),
        (header::CONTENT_LENGTH, STREAMED.len().to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, "\"tag\"".to_owned()),
    ];
    (headers, pieces())
}

/// Some bytes, a pause in which they leave, and a panic.
fn breaking() -> Body {
    let pieces = stream::unfold(0, |step| async move {
        if step > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            panics().await;
        }
        Some((Ok::<_, Infallible>(STREAMED), step + 1))
    });
    Body::from_stream(pieces)
}

async fn panics() -> &'static str {
    panic!("a route panics on purpose")
}
