//! Two machines, one database, one object store: a training begun on one ends on the other with the same adapter (FS4,
//! JB-4, DS-3).
//!
//! The rule: processes of the real binary, each with a data folder of its own; the first one dies by SIGKILL.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::harness::{
    Feed,
    app::program,
    object_server::{BUCKET, ObjectServer},
    servers::WorkerProcess,
};

use super::fixture::{Fixture, base_fixture};

/// Long enough that a worker is killed in between.
const STEPS: u32 = 6_000;

/// Settings of a store in the bucket of `server`; the keys lie in files, as they may be given there.
fn bucket(server: &ObjectServer, room: &Path) -> Vec<String> {
    std::fs::create_dir_all(room).expect("made");
    let secret = |name: &str| {
        let path = room.join(name);
        std::fs::write(&path, "canary-of-the-tests").expect("written");
        format!("objects.{name}_file={}", path.display())
    };
    vec![
        format!("objects.url=s3://{BUCKET}/machines"),
        format!("objects.endpoint={}", server.endpoint()),
        secret("access_key_id"),
        secret("secret_access_key"),
    ]
}

/// Brings the base of the fixtures in.
async fn base(fixture: &Fixture) -> Value {
    let folder = fixture.room.path().join("models/base");
    std::fs::create_dir_all(&folder).expect("made");
    for entry in std::fs::read_dir(base_fixture()).expect("readable").flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    }
    fixture.import("base").await
}

async fn start(fixture: &Fixture, base: &Value) -> String {
    fixture
        .start_with(STEPS, |input| {
            input["method"] = json!({ "lora": { "baseModelId": base, "rank": 2 } });
            input["parameters"]["sequenceLength"] = json!(16);
        })
        .await
}

/// The files of what came of a job, each downloaded and compared with its recorded hash: names and hashes.
async fn adapter(fixture: &Fixture, job: &str) -> Vec<(String, String)> {
    let query =
        "query($id: ID!) { job(id: $id) { model { versions { files { name sha256 downloadPath } } } } }";
    let seen = fixture.engineer.run(query, json!({ "id": job })).await;
    let files = seen.data("job")["model"]["versions"][0]["files"].clone();
    let mut found = Vec::new();
    for file in files.as_array().unwrap_or_else(|| panic!("{seen:?}")) {
        let path = file["downloadPath"].as_str().expect("a path");
        let request = fixture.engineer.request(reqwest::Method::GET, path);
        let token = fixture.engineer.token.clone().expect("a token");
        let answer = request.bearer_auth(token).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let bytes = answer.bytes().await.expect("bytes");
        let sha256 = hex::encode(Sha256::digest(&bytes));
        assert_eq!(file["sha256"], sha256.as_str(), "{path}");
        found.push((file["name"].as_str().expect("a name").to_owned(), sha256));
    }
    found
}

/// The last step that the first attempt told.
fn reached(items: &[Value]) -> u64 {
    let first = items
        .iter()
        .take_while(|item| item["event"] != "jobs.JobInterrupted");
    let steps = first.filter(|item| item["__typename"] == "JobMetricBatch");
    steps
        .filter_map(|item| item["step"].as_u64())
        .max()
        .expect("it trained")
}

async fn begun_on_one_machine_ends_on_the_other(fixture: Fixture, store: &[String]) {
    let base = base(&fixture).await;
    let room = fixture.room.path();
    let worker = |name: &str| {
        let room = room.join(name);
        let beside = WorkerProcess::beside(&fixture.api.data, &room, &fixture.database.url);
        beside.expect("a worker").in_store(store)
    };
    let mut one = worker("one");
    one.start().expect("it starts");
    let job = start(&fixture, &base).await;
    let mut feed = Feed::of_job(&fixture.engineer, &job, Some("0")).await;
    for _ in 0..2 {
        feed.until(|item| item["event"] == "jobs.CheckpointStored").await;
    }
    assert_eq!(one.kill().expect("killed"), 1, "it trains");
    // Nothing of that machine is left.
    std::fs::remove_dir_all(room.join("one")).expect("removed");
    let mut two = worker("two");
    two.start().expect("it starts");
    let done = fixture.until_state(&job, "COMPLETED").await;
    assert_eq!(done["attempt"], json!(2), "{done}");
    let from = done["attempts"][1]["fromStep"].as_u64().expect("it started");
    let items = fixture.feed(&job).await;
    let mut stored = items
        .iter()
        .filter(|item| item["event"] == "jobs.CheckpointStored" && item["attempt"] == json!(1));
    let newest = stored
        .next_back()
        .and_then(|item| item["message"].as_str())
        .expect("stored");
    assert!(
        from > 0 && newest.contains(&format!("after step {from} ")),
        "it goes on from {from}, {newest}"
    );
    let lines = items.iter().filter_map(|item| item["lines"].as_array()).flatten();
    let log: Vec<&str> = lines.filter_map(|line| line["message"].as_str()).collect();
    assert!(
        log.iter()
            .any(|line| line.contains("fetched from the object store")),
        "{log:#?}"
    );
    let reached = reached(&items);
    eprintln!(
        "killed after step {reached}, gone on from step {from}: {} steps lost",
        reached.saturating_sub(from)
    );
    let undisturbed = start(&fixture, &base).await;
    fixture.until_state(&undisturbed, "COMPLETED").await;
    let result = adapter(&fixture, &job).await;
    assert!(
        result.iter().any(|(name, _)| name == "adapter_model.safetensors"),
        "{result:?}"
    );
    assert_eq!(result, adapter(&fixture, &undisturbed).await);
    two.stop().expect("it stops");
    assert_whole(&fixture, store);
    collect(&fixture, store);
    fixture.api.stop().expect("it stops");
}

fn anneal(verb: &[&str], fixture: &Fixture, store: &[String]) -> Output {
    let mut command = Command::new(program());
    command.args(verb).arg("--data").arg(&fixture.api.data);
    for setting in store {
        command.args(["--set", setting]);
    }
    let command = command.env("DATABASE_URL", &fixture.database.url);
    command.output().expect("it runs")
}

/// Runs the collector once: what the killed worker had half stored is nobody's.
fn collect(fixture: &Fixture, store: &[String]) {
    let output = anneal(&["storage", "collect", "--json"], fixture, store);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// Every invariant holds, and what the log names is in the store.
fn assert_whole(fixture: &Fixture, store: &[String]) {
    let output = anneal(&["verify", "--json"], fixture, store);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(
        (output.status.code(), &report["ok"]),
        (Some(0), &json!(true)),
        "{report}"
    );
}

#[tokio::test]
async fn a_training_begun_on_one_machine_ends_on_another_with_the_same_adapter() {
    begun_on_one_machine_ends_on_the_other(Fixture::importing(0, 1).await, &[]).await;
}

/// The same with everything in a bucket: the dataset uploaded to it, the base imported into it, the adapter downloaded from
/// it.
// On two threads: the bucket answers while this waits for processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_done_from_upload_to_download_in_a_bucket_by_two_machines() {
    let (server, room) = (
        ObjectServer::start().await,
        tempfile::tempdir().expect("a folder"),
    );
    let store = bucket(&server, room.path());
    let fixture = Fixture::with(0, &store).await;
    begun_on_one_machine_ends_on_the_other(fixture, &store).await;
    // Objects of this server are more than a day old by its clock.
    let keys = server.keys();
    assert!(keys.iter().any(|key| key.contains("/datasets/")), "{keys:?}");
    assert!(
        keys.iter().any(|key| key.ends_with("/adapter_model.safetensors")),
        "{keys:?}"
    );
    assert!(!keys.iter().any(|key| key.contains("/checkpoints/")), "{keys:?}");
}
