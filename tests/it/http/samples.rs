//! A request for each route that is answered with success.
//!
//! One rule: whoever adds a route adds its request here; until then, tests that walk over the routes fail.

use std::{path::Path, time::Duration};

use api::http::routes::Endpoint;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::harness::{Client, Feed, TestApp, TestOptions, feed::JOB_FEED};

/// An application with something to get from every route, and somebody who may get all of it.
pub(super) struct Samples {
    pub(super) app: TestApp,
    _room: tempfile::TempDir,
    dataset: String,
    job: String,
    file: String,
    merged: String,
    size: String,
}

/// A request, and whether it has the same answer each time.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) request: RequestBuilder,
    pub(super) stable: bool,
}

const TEXT: &str =
    "The miller's daughter counted the sacks twice. The river was low, and the wheel turned slowly.\n";

/// How long anything may take that has to come about.
const TIMEOUT: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// Runs a mutation and returns what stands at `path` of its data.
async fn made(client: &Client, query: &str, input: Value, path: &str) -> String {
    let answer = client.run(query, json!({ "i": input })).await;
    let found = answer.body["data"].pointer(path).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// A LoRA adapter on an imported model, with the merged model besides: job and model.
async fn train(client: &Client, dataset: &str) -> (String, String) {
    let base = client.import("base").await;
    let start = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";
    let input = json!({
        "name": "Merged", "outputs": { "merged": true }, "datasetId": dataset,
        "experimentId": client.experiment().await,
        "method": { "lora": { "baseModelId": base, "rank": 4, "targetModules": ["c_attn", "c_fc"] } },
        "parameters": {
            "steps": 4, "batchSize": 2, "sequenceLength": 16, "warmupSteps": 1, "sampleTokens": 0,
        },
    });
    let job = made(client, start, input, "/startJob/job/id").await;
    let items = Feed::of_job(client, &job, None).await.to_end().await;
    let end = items.last().expect("an end");
    assert_eq!(end["state"], "COMPLETED", "{items:#?}");
    let query = "query($id: ID!, $p: Long) { job(id: $id, minPosition: $p) { modelId } }";
    let seen = client
        .run(query, json!({ "id": job, "p": end["position"] }))
        .await;
    let model = seen.data("job")["modelId"].as_str().expect("a model").to_owned();
    (job, model)
}

/// The path of the weights among `files`.
fn weights(files: &Value) -> String {
    let mut files = files.as_array().expect("files").iter();
    let file = files.find(|file| {
        file["name"]
            .as_str()
            .is_some_and(|name| name.ends_with(".safetensors"))
    });
    let path = file.expect("weights")["downloadPath"].as_str();
    path.expect("a path").to_owned()
}

impl Samples {
    pub(super) async fn new() -> Self {
        let room = tempfile::tempdir().expect("a folder");
        let models = room.path().join("models");
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures/base");
        copy(Path::new(fixtures), &models.join("base"));
        let settings = vec![
            ("models.folder", models.display().to_string()),
            ("worker.threads", "1".to_owned()),
        ];
        let app = TestApp::start_with(TestOptions { workers: 1, settings }).await;
        let dataset = app.admin.dataset("Text").await;
        let uploaded = app
            .admin
            .upload(&dataset, "text.txt", TEXT.repeat(3_000).into())
            .await;
        assert_eq!(uploaded.status, 201, "{uploaded:?}");
        let (job, model) = train(&app.admin, &dataset).await;
        let query = "query($id: ID!) { model(id: $id) { versions { files { name downloadPath } \
            merged { files { name downloadPath } } } } }";
        let seen = app.admin.run(query, json!({ "id": model })).await;
        let version = &seen.data("model")["versions"][0];
        Self {
            file: weights(&version["files"]),
            merged: weights(&version["merged"]["files"]),
            size: signed(&app.admin).await,
            app,
            _room: room,
            dataset,
            job,
        }
    }

    fn sample(&self, method: Method, path: &str, stable: bool) -> Sample {
        let token = self.app.admin.token.clone().expect("signed in");
        Sample {
            name: format!("{method} {path}"),
            request: self.app.admin.request(method, path).bearer_auth(token),
            stable,
        }
    }

    /// Requests for `endpoint`, at least one.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Vec<Sample> {
        let get = |path: &str| vec![self.sample(Method::GET, path, true)];
        match endpoint.path {
            same @ ("/" | "/healthz" | "/.well-known/jwks.json" | "/audit/key") => get(same),
            same @ ("/readyz"
            | "/api/health"
            | "/metrics"
            | "/audit/checkpoint"
            | "/audit/log/checkpoint") => {
                vec![self.sample(Method::GET, same, false)]
            }
            "/api/datasets/{dataset}/versions" => {
                let path = format!("/api/datasets/{}/versions?fileName=a.txt", self.dataset);
                let mut sample = self.sample(Method::POST, &path, false);
                sample.request = sample.request.body(TEXT.repeat(10));
                vec![sample]
            }
            "/api/datasets/{dataset}/versions/{version}/content" => {
                get(&format!("/api/datasets/{}/versions/1/content", self.dataset))
            }
            "/api/models/{model}/versions/{version}/files/{file}" => get(&self.file),
            "/api/models/{model}/versions/{version}/merged/{file}" => get(&self.merged),
            "/api/jobs/{job}/log" => {
                let log = format!("/api/jobs/{}/log", self.job);
                let text = format!("{log}?format=text");
                [get(&log), get(&text)].into_iter().flatten().collect()
            }
            "/audit/proof/inclusion" => get(&format!("/audit/proof/inclusion?position=2&size={}", self.size)),
            "/audit/proof/consistency" => get(&format!("/audit/proof/consistency?from=3&to={}", self.size)),
            "/audit/log/tile/{*tile}" => get("/audit/log/tile/0/000.p/20"),
            "/graphql" => self.graphql(),
            path => panic!("teach this test a request for {path}"),
        }
    }

    /// A query by both methods, and everything that streams.
    fn graphql(&self) -> Vec<Sample> {
        let get = "/graphql?query=%7B__schema%7Btypes%7Bname%20description%7D%7D%7D";
        let jobs = json!({ "query": "{ jobs { nodes { id name state specification } } }" });
        let feed = json!({ "query": JOB_FEED, "variables": { "id": self.job, "after": "0" } });
        let posted = |name: &str, accept: &str, body: &Value| {
            let Sample { request, .. } = self.sample(Method::POST, "/graphql", true);
            Sample {
                name: format!("POST /graphql {name}"),
                request: request.header("accept", accept).json(body),
                stable: true,
            }
        };
        vec![
            self.sample(Method::GET, get, true),
            posted("a query", "application/json", &jobs),
            posted("a query as events", "text/event-stream", &jobs),
            posted("jobFeed as events", "text/event-stream", &feed),
        ]
    }
}

/// The size of the log that a checkpoint was signed for.
async fn signed(admin: &Client) -> String {
    let looking = async {
        loop {
            let answer = admin.send(admin.request(Method::GET, "/audit/checkpoint")).await;
            if let Some(size) = answer.body.as_str().and_then(|note| note.lines().nth(1)) {
                return size.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, looking)
        .await
        .expect("a checkpoint")
}
