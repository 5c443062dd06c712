//! Base models from outside: imported, trained on, or refused by name.

use std::path::PathBuf;

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    id::UserId,
};
use serde_json::json;
use tests::harness::{Feed, TestApp, TestOptions, events::record};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures");

async fn app(folder: &str, workers: u32) -> TestApp {
    let settings = vec![
        ("models.folder", folder.to_owned()),
        ("worker.threads", "1".to_owned()),
    ];
    TestApp::start_with(TestOptions { workers, settings }).await
}

/// MO-1: a Hugging Face folder made by transformers comes in and carries an adapter.
#[tokio::test]
async fn a_hugging_face_folder_is_imported_and_trained_on() {
    let app = app(FIXTURES, 1).await;
    let ada = app.person("ada", "engineer_i").await;
    let imported = ada.import("base").await;
    let query = "query($id: ID!) { model(id: $id) { content versions { version files { name } lineage { importedFrom } } } }";
    let model = ada.run(query, json!({ "id": imported })).await;
    let version = &model.data("model")["versions"][0];
    assert_eq!(version["lineage"]["importedFrom"], "base", "{model:?}");
    assert_eq!(version["files"].as_array().map(Vec::len), Some(4), "{model:?}");
    let (dataset, experiment) = (ada.dataset("Text").await, ada.experiment().await);
    let text = "the quick brown fox jumps over the lazy dog\n\n"
        .repeat(200)
        .into_bytes();
    assert_eq!(ada.upload(&dataset, "t.txt", text).await.status, 201);
    let start = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";
    let input = json!({
        "name": "On a fixture", "experimentId": experiment, "datasetId": dataset,
        "method": { "lora": { "baseModelId": imported, "rank": 2 } },
        "parameters": { "steps": 3, "batchSize": 1, "sequenceLength": 8, "warmupSteps": 0, "sampleTokens": 0 },
    });
    let started = ada.run(start, json!({ "i": input })).await;
    let job = started.data("startJob")["job"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{started:?}"))
        .to_owned();
    let items = Feed::of_job(&ada, &job, None).await.to_end().await;
    assert_eq!(items.last().expect("an end")["state"], "COMPLETED", "{items:#?}");
    app.stop().await;
}

/// Names that lead out of the folder, and folders that are no model, are refused with a reason.
#[tokio::test]
async fn what_is_no_model_in_the_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).expect("a folder");
    std::fs::write(
        broken.join("config.json"),
        r#"{"architectures":["T5ForConditionalGeneration"],"model_type":"t5"}"#,
    )
    .expect("written");
    std::os::unix::fs::symlink("/etc", folder.path().join("escape")).expect("a link");
    let app = app(&folder.path().display().to_string(), 0).await;
    let ada = app.person("ada", "engineer_i").await;
    for name in ["..", "a/b", "", "missing", "escape", "/etc"] {
        assert_eq!(
            ada.order_import(name).await.user_codes("importModel"),
            ["NOT_FOUND"],
            "{name}"
        );
    }
    let refused = ada.order_import("broken").await;
    assert_eq!(refused.user_codes("importModel"), ["NOT_A_MODEL"]);
    assert!(
        refused.body.to_string().contains("T5ForConditionalGeneration"),
        "the architecture is named: {refused:?}"
    );
    let said = refused.body.to_string();
    for missing in ["tokenizer.json is missing", "neither model.safetensors"] {
        assert!(said.contains(missing), "all at once: {said}");
    }
    let viewer = app.person("vic", "guest").await;
    assert_eq!(viewer.order_import("broken").await.code(), Some("FORBIDDEN"));
    app.stop().await;
}

/// DS-3: what is imported counts, and what does not fit leaves nothing.
#[tokio::test]
async fn a_base_that_does_not_fit_the_storage_is_refused() {
    let app = app(FIXTURES, 0).await;
    let ada = app.person("ada", "engineer_i").await;
    ada.import("base").await;
    let bytes: u64 = ["config.json", "model.safetensors", "tokenizer.json"]
        .iter()
        .map(|name| {
            std::fs::metadata(format!("{FIXTURES}/base/{name}"))
                .expect("a file")
                .len()
        })
        .sum();
    let query = "query($u: ID!) { access(userId: $u) { usage { storageBytes } } }";
    let told = app.admin.run(query, json!({ "u": ada.user_id })).await;
    let used = told.data("access")["usage"]["storageBytes"].as_str();
    let used: u64 = used.and_then(|used| used.parse().ok()).expect("a number");
    assert!(used >= bytes, "{used} of at least {bytes}");

    let objects = || {
        let stored = std::fs::read_dir(app.data_dir.join("objects/artifacts")).expect("a folder");
        stored
            .map(|entry| entry.expect("an entry").path())
            .filter(holds_files)
            .count()
    };
    assert_eq!(objects(), 1);
    let ledger: UserId = ada.user_id.parse().expect("an id");
    let taken = LedgerEvent::StorageTaken {
        bytes: 100_000_000_000 - used - (bytes - 1),
        item: "dst_before/1".to_owned(),
        object: None,
    };
    record::<QuotaLedger>(&app.database_url, ledger, &taken).await;
    let refused = ada.order_import("base").await;
    assert_eq!(
        refused.user_codes("importModel"),
        ["QUOTA_EXCEEDED"],
        "{refused:?}"
    );
    let said = refused.data("importModel")["userErrors"][0]["message"].to_string();
    assert!(said.contains("storage quota"), "{said}");
    assert_eq!(objects(), 1, "nothing is left of it");
    let query =
        "mutation { importModel(input: { name: \"\", folder: \"base\" }) { userErrors { code path } } }";
    let all = ada.run(query, json!({})).await;
    assert_eq!(
        all.user_codes("importModel"),
        ["INVALID", "QUOTA_EXCEEDED"],
        "all at once: {all:?}"
    );
    app.stop().await;
}

fn holds_files(folder: &PathBuf) -> bool {
    let mut below = std::fs::read_dir(folder).expect("a folder");
    below.any(|entry| {
        let path = entry.expect("an entry").path();
        path.is_file() || holds_files(&path)
    })
}

/// Importing is off unless an operator has named a folder.
#[tokio::test]
async fn importing_is_off_by_default() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    assert_eq!(
        ada.order_import("base").await.user_codes("importModel"),
        ["NOT_FOUND"]
    );
    app.stop().await;
}
