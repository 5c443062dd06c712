//! GQ-1: what is executed is executed as the GraphQL specification says.
//!
//! One rule: the answers are held to those of graphql-js, operation by operation, through the door: `data` with
//! the order of its keys, and the places of the errors. Messages are each library's own. How the answers came
//! about says `corpus/generate.mjs`.

mod coercion;
mod inputs;
mod numbers;
mod omitted;
mod schema;
mod wordings;

use std::time::Duration;

use api::graphql::spec::SpecSchema;
use api::http::graphql::{AuthError, Credentials, EndpointOptions, Executor, GraphqlEndpoint, SessionEnd};
use api::http::server::{self, LayerOptions, ServerOptions, Shutdown};
use api::http::shares::Holder;
use async_graphql::{Request, Response, SDLExportOptions};
use async_trait::async_trait;
use domain::id::SystemIds;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An operation with the answers of graphql-js.
#[derive(Deserialize)]
struct Case {
    group: String,
    kind: String,
    query: String,
    variables: Value,
    operation: Option<String>,
    answers: Vec<Answer>,
}

/// `data` as text, missing where nothing was executed, and the paths of the errors that have one.
#[derive(Debug, Deserialize, PartialEq)]
struct Answer {
    data: Option<String>,
    paths: Vec<Value>,
}

/// A response on the wire.
#[derive(Deserialize)]
struct Wire {
    data: Option<Box<RawValue>>,
    #[serde(default)]
    errors: Vec<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    path: Option<Value>,
}

impl From<Wire> for Answer {
    fn from(wire: Wire) -> Self {
        let paths = wire.errors.into_iter().filter_map(|error| error.path).collect();
        let data = wire.data.map(|data| data.get().to_owned());
        Self { data, paths }
    }
}

impl Answer {
    /// The answer as it is compared: errors in any order, and no `data` where it is null. That request errors
    /// have none at all is tested in `over_http`.
    fn comparable(mut self) -> (Option<String>, Vec<String>) {
        let mut paths: Vec<String> = self.paths.iter().map(Value::to_string).collect();
        paths.sort();
        (self.data.take().filter(|data| data != "null"), paths)
    }
}

#[derive(Clone)]
struct TwinExecutor(schema::Twin);

#[async_trait]
impl Executor for TwinExecutor {
    type Caller = ();

    async fn authenticate(&self, _: Credentials) -> Result<(), AuthError> {
        Ok(())
    }

    /// Of one account, so that the documents are kept.
    fn account(&self, (): &()) -> Option<Holder> {
        Some(Holder::Account("twin".to_owned()))
    }

    async fn refresh(&self, (): &()) -> Result<(), AuthError> {
        Ok(())
    }

    async fn execute(&self, (): &(), request: Request) -> Response {
        let furnish = |request: Request| request.data(schema::Counted::default());
        self.0.execute_with(request, furnish).await
    }

    fn subscribe(&self, (): &(), request: Request) -> BoxStream<'static, Response> {
        self.0.execute_stream(request.data(schema::Counted::default()))
    }

    async fn session_end(&self, (): &()) -> SessionEnd {
        std::future::pending().await
    }
}

/// The address of a door before the twin schema.
async fn start() -> String {
    let shutdown = Shutdown::default();
    let executor = TwinExecutor(SpecSchema::with(schema::builder, schema::options()));
    let layers = LayerOptions {
        ids: std::sync::Arc::new(SystemIds),
        cors_origins: Vec::new(),
        strict_transport: false,
        compression: false,
    };
    let endpoint = GraphqlEndpoint::new(executor, EndpointOptions::default(), shutdown.clone());
    let router = server::with_common_layers(endpoint.router(), layers);
    let listener = server::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { server::serve(listener, router, ServerOptions::default(), &shutdown).await });
    format!("http://{address}/graphql")
}

/// Runs an operation: subscriptions as event streams, the others by POST.
async fn run(client: &reqwest::Client, url: &str, case: &Case) -> Vec<Answer> {
    let mut body = json!({ "query": case.query, "variables": case.variables });
    if let Some(operation) = &case.operation {
        body["operationName"] = json!(operation);
    }
    let accept = match case.kind.as_str() {
        "subscription" => "text/event-stream",
        _ => "application/json",
    };
    let request = client.post(url).header("accept", accept).json(&body);
    let text = request
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a body");
    let answers: Vec<&str> = match text.starts_with('{') {
        true => vec![&text],
        false => text
            .lines()
            .filter_map(|line| line.strip_prefix("data: {"))
            .collect(),
    };
    let whole = |text: &str| {
        if text.starts_with('{') {
            text.to_owned()
        } else {
            format!("{{{text}")
        }
    };
    answers
        .into_iter()
        .map(|text| {
            serde_json::from_str::<Wire>(&whole(text))
                .expect("a response")
                .into()
        })
        .collect()
}

/// The first time a document is read, the second time it is planned, the third time its plan is followed.
const TIMES: [&str; 3] = ["read", "planned", "by plan"];

#[tokio::test]
async fn the_answers_are_those_of_graphql_js_however_often_a_document_comes() {
    let url = start().await;
    let client = crate::support::http()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    let corpus = include_str!("corpus/corpus.jsonl");
    let mut wrong = Vec::new();
    for line in corpus.lines() {
        let mut case: Case = serde_json::from_str(line).expect("a case");
        let wanted = std::mem::take(&mut case.answers);
        let wanted: Vec<_> = wanted.into_iter().map(Answer::comparable).collect();
        for time in TIMES {
            let answers = run(&client, &url, &case).await;
            let given: Vec<_> = answers.into_iter().map(Answer::comparable).collect();
            if wanted != given {
                wrong.push(format!(
                    "{time} {}: {} {}\n  graphql-js {wanted:?}\n  here       {given:?}",
                    case.group, case.query, case.variables
                ));
            }
        }
    }
    assert!(corpus.lines().count() >= 1_000, "the corpus has shrunk");
    assert!(
        wrong.is_empty(),
        "{} operations differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// graphql-js answers for the schema in the file; it has to be the one that is executed here.
#[test]
fn the_corpus_is_of_this_schema() {
    let options = SDLExportOptions::new().sorted_fields().sorted_enum_items();
    let here = schema::builder().finish().sdl_with_options(options);
    assert_eq!(here, include_str!("corpus/schema.graphql"));
}
