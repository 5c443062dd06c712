//! Training jobs, from outside: the whole story, real training, live feeds, cancelling, and what is killed.

mod control;
mod feed;
mod log;
mod outputs;
mod statements;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::harness::{Answer, Client, Feed, TestApp, TestOptions};

const START: &str = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id modelId state } userErrors { code path message } } }";

/// The first part of the shipped corpus.
fn corpus(bytes: usize) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt");
    let mut text = std::fs::read(path).expect("the corpus ships");
    text.truncate(bytes);
    text
}

/// The first samples of the shipped chat data.
fn chat(samples: usize) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/chat.jsonl");
    let text = std::fs::read_to_string(path).expect("the chat data ships");
    text.lines()
        .take(samples)
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into_bytes()
}

async fn with_worker() -> TestApp {
    let settings = vec![("worker.threads", "1".to_owned())];
    TestApp::start_with(TestOptions { workers: 1, settings }).await
}

fn scratch(steps: u32) -> Value {
    json!({
        "name": "Tiny",
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": {
            "steps": steps, "batchSize": 2, "sequenceLength": 32, "warmupSteps": 2, "checkpointEvery": 5,
            "evaluateEvery": 10, "sampleTokens": 8, "samplePrompt": "Alice",
        },
    })
}

/// An engineer with a dataset of text and an experiment.
struct Bench {
    engineer: Client,
    experiment: String,
    text: String,
}

async fn bench(app: &TestApp) -> Bench {
    let engineer = app.person("ada", "engineer_i").await;
    let (text, experiment) = (engineer.dataset("Text").await, engineer.experiment().await);
    let uploaded = engineer.upload(&text, "corpus.txt", corpus(40_000)).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    Bench {
        engineer,
        experiment,
        text,
    }
}

impl Bench {
    async fn try_start(&self, dataset: &str, mut input: Value) -> Answer {
        input["experimentId"] = json!(self.experiment);
        input["datasetId"] = json!(dataset);
        self.engineer.run(START, json!({ "i": input })).await
    }

    /// Starts a job and returns its id and its model's.
    async fn start(&self, dataset: &str, input: Value) -> (String, String) {
        let started = self.try_start(dataset, input).await;
        let job = &started.data("startJob")["job"];
        let text = |field: &str| {
            job[field]
                .as_str()
                .unwrap_or_else(|| panic!("{started:?}"))
                .to_owned()
        };
        (text("id"), text("modelId"))
    }

    async fn job(&self, id: &str) -> Value {
        let query = "query($id: ID!) { job(id: $id) { state attempt step failureCode failureMessage metrics { name value } } }";
        self.engineer
            .run(query, json!({ "id": id }))
            .await
            .data("job")
            .clone()
    }
}

fn kinds(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["event"].as_str()).collect()
}

async fn verify(app: &TestApp) {
    let options = event_store::postgres::address(&app.database_url).expect("a URL");
    let clock = std::sync::Arc::new(domain::clock::SystemClock);
    let settings = event_store::postgres::Settings::default();
    let store = event_store::postgres::PostgresEventStore::start(options, settings, clock)
        .await
        .expect("it starts");
    store.verify().await.expect("the log is whole");
    store.close(Duration::from_secs(5)).await;
}

/// The main job: text in, a model out; chat in, an adapter on it out; everything recorded.
#[tokio::test]
async fn the_whole_story_from_text_to_adapter_is_done_and_recorded() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let mut base = scratch(12);
    base["method"]["scratch"]["context"] = json!(256);
    let (job, model) = bench.start(&bench.text, base).await;
    let items = Feed::of_job(&bench.engineer, &job, None).await.to_end().await;
    let last = items.last().expect("an end");
    assert_eq!(
        (last["__typename"].as_str(), last["state"].as_str()),
        (Some("FeedEnd"), Some("COMPLETED")),
        "{items:#?}"
    );
    assert!(
        items
            .iter()
            .any(|item| item["__typename"] == "JobMetricBatch" && item["points"] != json!([]))
    );
    let samples = items.iter().filter_map(|item| item["lines"].as_array()).flatten();
    assert_eq!(
        samples.filter(|line| line["level"] == "sample").count(),
        2,
        "one before and one after"
    );

    let chats = bench.engineer.dataset("Chat").await;
    assert_eq!(
        bench.engineer.upload(&chats, "chat.jsonl", chat(60)).await.status,
        201
    );
    let lora = json!({
        "name": "Adapter",
        "method": { "lora": { "baseModelId": model, "rank": 4, "alpha": 8.0, "targetModules": ["c_attn", "c_proj"] } },
        "parameters": { "steps": 6, "batchSize": 2, "sequenceLength": 256, "warmupSteps": 1, "sampleTokens": 8 },
    });
    let (job, model) = bench.start(&chats, lora).await;
    let items = Feed::of_job(&bench.engineer, &job, None).await.to_end().await;
    assert_eq!(items.last().expect("an end")["state"], "COMPLETED", "{items:#?}");

    let query = "query($id: ID!, $p: Long) { model(id: $id, minPosition: $p) { content versions { version files { name sha256 bytes downloadPath } lineage { jobId datasetVersion baseModelId seed worker metrics { name } } } } }";
    let position = &items.last().expect("an end")["position"];
    let seen = bench
        .engineer
        .run(query, json!({ "id": model, "p": position }))
        .await;
    let version = &seen.data("model")["versions"][0];
    assert_eq!(
        (&seen.data("model")["content"], &version["lineage"]["jobId"]),
        (&json!("ADAPTER"), &json!(job))
    );
    let files = version["files"].as_array().expect("files").clone();
    let names: Vec<&str> = files.iter().filter_map(|file| file["name"].as_str()).collect();
    assert!(
        names.contains(&"adapter_config.json") && names.contains(&"adapter_model.safetensors"),
        "{names:?}"
    );
    for file in &files {
        let path = file["downloadPath"].as_str().expect("a path");
        let response = bench
            .engineer
            .request(reqwest::Method::GET, path)
            .bearer_auth(bench.engineer.token.clone().expect("a token"));
        let bytes = response
            .send()
            .await
            .expect("an answer")
            .bytes()
            .await
            .expect("bytes");
        let hash = {
            use sha2::Digest;
            hex::encode(sha2::Sha256::digest(&bytes))
        };
        assert_eq!(file["sha256"], json!(hash), "{path}");
    }
    let log = "query($s: String!) { auditLog(filter: { subject: $s, kind: \"jobs.Job\" }, order: OLDEST_FIRST, first: 100) { nodes { kind actor } } }";
    let story = app.admin.run(log, json!({ "s": job })).await;
    let told: Vec<(String, bool)> = story.data("auditLog")["nodes"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| {
            (
                entry["kind"].as_str().unwrap_or_default().to_owned(),
                entry["actor"].as_str().unwrap_or_default().starts_with("worker:"),
            )
        })
        .collect();
    let expected = [
        ("jobs.JobQueued", false),
        ("jobs.JobLeased", true),
        ("jobs.JobStarted", true),
        ("jobs.JobCompleted", true),
    ];
    assert_eq!(told, expected.map(|(kind, worker)| (kind.to_owned(), worker)));
    verify(&app).await;
    app.stop().await;
}

/// JB-1: everything that is wrong is said at once, before anything is queued.
#[tokio::test]
async fn all_faults_of_a_job_come_together() {
    let app = TestApp::start().await;
    let bench = bench(&app).await;
    let mut input = scratch(0);
    input["parameters"]["learningRate"] = json!(7.0);
    input["method"]["scratch"]["heads"] = json!(3);
    let refused = bench.try_start(&bench.text, input).await;
    let errors = refused.data("startJob")["userErrors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let paths: Vec<String> = errors
        .iter()
        .map(|error| {
            error["path"]
                .as_array()
                .expect("a path")
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(".")
        })
        .collect();
    assert_eq!(
        paths,
        [
            "method.scratch.heads",
            "parameters.steps",
            "parameters.learningRate",
            "parameters.warmupSteps"
        ]
    );
    let jobs = bench.engineer.run("{ jobs { nodes { id } } }", json!({})).await;
    assert_eq!(jobs.data("jobs")["nodes"], json!([]));
    app.stop().await;
}

/// AC-6: a job needs access to everything that it uses; foreign things are as if they were not there.
#[tokio::test]
async fn a_job_on_foreign_data_is_refused_like_one_on_no_data() {
    let app = TestApp::start().await;
    let bench = bench(&app).await;
    let eve = app.person("eve", "engineer_i").await;
    let foreign = eve.dataset("Hers").await;
    let refused = bench.try_start(&foreign, scratch(5)).await;
    let absent = bench
        .try_start("dst_00000000000000000000000000000001", scratch(5))
        .await;
    assert_eq!(refused.user_codes("startJob"), ["NOT_FOUND"]);
    assert_eq!(refused.body, absent.body);
    let empty = bench.engineer.dataset("Empty").await;
    assert_eq!(
        bench.try_start(&empty, scratch(5)).await.user_codes("startJob"),
        ["NOT_FOUND"]
    );
    app.stop().await;
}

/// QU-1: concurrent jobs are limited, and a place is free again when a job has ended.
#[tokio::test]
async fn the_quota_of_concurrent_jobs_is_given_back() {
    let app = TestApp::start().await;
    let bench = bench(&app).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(bench.start(&bench.text, scratch(5)).await.0);
    }
    assert_eq!(
        bench
            .try_start(&bench.text, scratch(5))
            .await
            .user_codes("startJob"),
        ["QUOTA_EXCEEDED"]
    );
    let cancel =
        "mutation($id: ID!) { cancelJob(input: { jobId: $id }) { job { state } userErrors { code } } }";
    let cancelled = bench.engineer.run(cancel, json!({ "id": jobs[0] })).await;
    assert_eq!(cancelled.data("cancelJob")["job"]["state"], "CANCELLED");
    let again = bench.engineer.run(cancel, json!({ "id": jobs[0] })).await;
    assert_eq!(
        again.data("cancelJob")["userErrors"],
        json!([]),
        "cancelling twice is one cancellation"
    );
    bench.start(&bench.text, scratch(5)).await;
    app.stop().await;
}

/// JB-3: cancelling reaches a running job, and the child is gone.
#[tokio::test]
async fn a_running_job_is_cancelled_and_its_process_is_gone() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(100_000)).await;
    let mut feed = Feed::of_job(&bench.engineer, &job, None).await;
    feed.until(|item| item["__typename"] == "JobMetricBatch").await;
    assert!(!children_of(&job).is_empty(), "the child runs");
    let begun = Instant::now();
    let cancel =
        "mutation($id: ID!) { cancelJob(input: { jobId: $id, reason: \"enough\" }) { userErrors { code } } }";
    bench
        .engineer
        .run(cancel, json!({ "id": job }))
        .await
        .data("cancelJob");
    let end = feed.to_end().await;
    assert_eq!(end.last().expect("an end")["state"], "CANCELLED");
    while !children_of(&job).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the child outlives its job"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.stop().await;
}

/// E1, JB-4: the training process is killed; the job goes on from its checkpoint and finishes once.
#[tokio::test]
async fn a_killed_child_costs_an_attempt_and_no_more() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    // Long enough that the kill comes in the middle, also on a fast machine.
    let mut long = scratch(4_000);
    long["parameters"]["checkpointEvery"] = json!(100);
    let (job, _) = bench.start(&bench.text, long).await;
    let mut feed = Feed::of_job(&bench.engineer, &job, None).await;
    feed.until(|item| item["event"] == "jobs.CheckpointSaved").await;
    for child in children_of(&job) {
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).expect("killed");
    }
    feed.to_end().await;
    let whole = Feed::of_job(&bench.engineer, &job, Some("0"))
        .await
        .to_end()
        .await;
    let happened = kinds(&whole);
    assert_eq!(
        happened
            .iter()
            .filter(|kind| **kind == "jobs.JobCompleted")
            .count(),
        1,
        "{happened:?}"
    );
    assert_eq!(
        happened
            .iter()
            .filter(|kind| **kind == "jobs.JobInterrupted")
            .count(),
        1,
        "{happened:?}"
    );
    let resumed = whole
        .iter()
        .rfind(|item| item["event"] == "jobs.JobStarted")
        .expect("a second start");
    assert!(
        resumed["message"]
            .as_str()
            .is_some_and(|message| message.contains("goes on from step")),
        "{resumed}"
    );
    assert_eq!(bench.job(&job).await["attempt"], 2);
    verify(&app).await;
    app.stop().await;
}

/// The processes that train `job`.
fn children_of(job: &str) -> Vec<nix::unistd::Pid> {
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten();
    processes
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let text = String::from_utf8_lossy(&line).into_owned();
            (text.contains("train-job") && text.contains(job)).then(|| nix::unistd::Pid::from_raw(pid))
        })
        .collect()
}
