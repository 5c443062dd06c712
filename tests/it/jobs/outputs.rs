//! A merged model besides the adapter, from outside: ordered, recorded, downloaded, and used again (MO-2, MO-3).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest;
use tests::harness::{Client, Feed, TestApp, TestOptions};

use super::{Bench, bench, scratch};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures");

/// Copies the files of `from`, not its folders.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// Gets every file into `folder`; each has the hash that the model names.
async fn download(client: &Client, files: &Value, folder: &Path) -> u64 {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut total = 0;
    for file in files.as_array().expect("files") {
        let path = file["downloadPath"].as_str().expect("a path");
        let request = client
            .request(reqwest::Method::GET, path)
            .bearer_auth(client.token.clone().expect("a token"));
        let bytes = request
            .send()
            .await
            .expect("an answer")
            .bytes()
            .await
            .expect("bytes");
        assert_eq!(
            file["sha256"],
            json!(hex::encode(sha2::Sha256::digest(&bytes))),
            "{path}"
        );
        assert_eq!(file["bytes"], json!(bytes.len().to_string()), "{path}");
        total += bytes.len() as u64;
        std::fs::write(folder.join(file["name"].as_str().expect("a name")), &bytes).expect("written");
    }
    total
}

fn lora(base: &str, merged: bool) -> Value {
    json!({
        "name": "Merged", "outputs": { "merged": merged },
        "method": { "lora": { "baseModelId": base, "rank": 4, "targetModules": ["c_attn", "c_fc"] } },
        "parameters": {
            "steps": 8, "batchSize": 2, "sequenceLength": 16, "warmupSteps": 1, "sampleTokens": 0,
            "learningRate": 0.02,
        },
    })
}

impl Bench {
    async fn version(&self, model: &str, position: &Value) -> Value {
        let query = "query($id: ID!, $p: Long) { model(id: $id, minPosition: $p) { versions { sha256 \
            files { name sha256 bytes downloadPath } merged { sha256 files { name sha256 bytes downloadPath } } } } }";
        let seen = self
            .engineer
            .run(query, json!({ "id": model, "p": position }))
            .await;
        seen.data("model")["versions"][0].clone()
    }

    async fn stored(&self) -> u64 {
        let query = "query($u: ID!) { access(userId: $u) { usage { storageBytes } } }";
        let seen = self
            .engineer
            .run(query, json!({ "u": self.engineer.user_id }))
            .await;
        let bytes = seen.data("access")["usage"]["storageBytes"].as_str();
        bytes
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or_else(|| panic!("{seen:?}"))
    }

    async fn complete(&self, input: Value) -> (String, String, Value) {
        let (job, model) = self.start(&self.text, input).await;
        let items = Feed::of_job(&self.engineer, &job, None).await.to_end().await;
        let end = items.last().expect("an end");
        assert_eq!(end["state"], "COMPLETED", "{items:#?}");
        (job, model, end["position"].clone())
    }
}

/// MO-2, MO-3, DS-3: a merged model is ordered, stored, counted and downloaded with its adapter, and loads again: as the
/// base of another job. `JOBS_MERGED_EXPORT` names a folder to keep it in, for `workers/ml/fixtures/check_merged.py`.
#[tokio::test]
async fn a_merged_model_is_made_downloaded_and_trained_on() {
    let room = tempfile::tempdir().expect("a folder");
    let models = room.path().join("models");
    copy(&PathBuf::from(FIXTURES).join("base"), &models.join("base"));
    let settings = vec![
        ("models.folder", models.display().to_string()),
        ("worker.threads", "1".to_owned()),
    ];
    let app = TestApp::start_with(TestOptions { workers: 1, settings }).await;
    let bench = bench(&app).await;
    let base = bench.engineer.import("base").await;
    let before = bench.stored().await;
    let (job, model, position) = bench.complete(lora(&base, true)).await;
    let version = bench.version(&model, &position).await;
    let export =
        std::env::var_os("JOBS_MERGED_EXPORT").map_or_else(|| room.path().join("export"), PathBuf::from);
    let mut bytes = download(&bench.engineer, &version["files"], &export.join("adapter")).await;
    bytes += download(
        &bench.engineer,
        &version["merged"]["files"],
        &export.join("merged"),
    )
    .await;
    assert_eq!(bench.stored().await - before, bytes, "both count");
    let names: Vec<&str> = version["merged"]["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file["name"].as_str())
        .collect();
    assert!(
        ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );

    // The same rights as for the adapter: a stranger learns nothing, and every download is on record.
    let path = version["merged"]["files"][0]["downloadPath"]
        .as_str()
        .expect("a path");
    let eve = app.person("eve", "engineer_i").await;
    assert_eq!(
        eve.send(eve.request(reqwest::Method::GET, path)).await.status,
        404
    );
    let absent = path.replace(names[0], "absent");
    let own = &bench.engineer;
    assert_eq!(
        own.send(own.request(reqwest::Method::GET, &absent)).await.status,
        404
    );
    let log = "query($k: String!) { auditLog(filter: { kind: $k }, first: 100) { nodes { kind } } }";
    let seen = app.admin.run(log, json!({ "k": "audit.ModelDownloaded" })).await;
    let downloads = seen.data("auditLog")["nodes"].as_array().expect("entries").len();
    assert_eq!(
        downloads,
        version["files"].as_array().expect("files").len() + names.len()
    );

    // The choice goes with a clone; this one is made on the merged model, which the engine loads as it is.
    copy(&export.join("merged"), &models.join("merged"));
    let merged = bench.engineer.import("merged").await;
    let clone = "mutation($i: CloneJobInput!) { cloneJob(input: $i) { job { id modelId specification } userErrors { message } } }";
    let cloned = bench.engineer.run(clone, json!({ "i": { "jobId": job } })).await;
    let copy = &cloned.data("cloneJob")["job"];
    assert_eq!(
        copy["specification"]["outputs"],
        json!({ "merged": true }),
        "{cloned:?}"
    );
    let id = copy["id"].as_str().expect("an id");
    let items = Feed::of_job(&bench.engineer, id, None).await.to_end().await;
    let again = bench
        .version(
            copy["modelId"].as_str().expect("an id"),
            &items.last().expect("an end")["position"],
        )
        .await;
    assert_eq!(
        again["merged"]["sha256"], version["merged"]["sha256"],
        "the same inputs, the same bytes"
    );
    let (_, model, position) = bench.complete(lora(&merged, false)).await;
    assert_eq!(bench.version(&model, &position).await["merged"], Value::Null);
    app.stop().await;
}

/// JB-1: asked for where there is nothing to merge, it is named with everything else that is wrong; a restart keeps
/// what was ordered.
#[tokio::test]
async fn a_merged_model_is_refused_without_an_adapter_and_kept_by_a_restart() {
    let models = vec![("models.folder", FIXTURES.to_owned())];
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: models,
    })
    .await;
    let bench = bench(&app).await;
    let mut whole = scratch(5);
    whole["outputs"] = json!({ "merged": true });
    let base = bench.engineer.import("base").await;
    let mut full = whole.clone();
    full["method"] = json!({ "full": { "baseModelId": base } });
    for input in [whole, full] {
        let refused = bench.try_start(&bench.text, input).await;
        let errors = &refused.data("startJob")["userErrors"];
        assert_eq!(
            (&errors[0]["path"], &errors[0]["code"], &errors[1]),
            (&json!(["outputs", "merged"]), &json!("INVALID"), &Value::Null),
            "{refused:?}"
        );
    }
    let (job, _) = bench.start(&bench.text, lora(&base, true)).await;
    let cancel = "mutation($id: ID!) { cancelJob(input: { jobId: $id }) { userErrors { code } } }";
    bench
        .engineer
        .run(cancel, json!({ "id": job }))
        .await
        .data("cancelJob");
    let restart = "mutation($id: ID!) { restartJob(input: { jobId: $id, from: SCRATCH }) { job { specification } userErrors { code } } }";
    let restarted = bench.engineer.run(restart, json!({ "id": job })).await;
    let specification = &restarted.data("restartJob")["job"]["specification"];
    assert_eq!(
        specification["outputs"],
        json!({ "merged": true }),
        "{restarted:?}"
    );
    let clone =
        "mutation($i: CloneJobInput!) { cloneJob(input: $i) { job { specification } userErrors { code } } }";
    let input = json!({ "i": { "jobId": job, "outputs": { "merged": false } } });
    let cloned = bench.engineer.run(clone, input).await;
    assert_eq!(
        cloned.data("cloneJob")["job"]["specification"]["outputs"],
        Value::Null,
        "{cloned:?}"
    );
    app.stop().await;
}
