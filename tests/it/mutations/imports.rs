//! A costly mutation is not carried out again for a repeat: a folder is looked at once, and one job imports it (GQ-2).

use std::path::Path;

use serde_json::{Value, json};
use tests::harness::{Answer, Client, Feed, TestApp, TestOptions};

use super::{first_error, recorded, request};

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures/base");

async fn import(client: &Client, name: &str, id: Value) -> Answer {
    let document = "mutation($i: ImportModelInput!) { importModel(input: $i) { position job { id modelId } userErrors { code path message } } }";
    let input = json!({ "name": name, "folder": "base", "clientRequestId": id });
    client.run(document, json!({ "i": input })).await
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// How many files the object store holds.
fn stored(app: &TestApp) -> usize {
    let (mut files, mut open) = (0, vec![app.data_dir.join("objects")]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false => files += 1,
            }
        }
    }
    files
}

#[tokio::test]
async fn a_repeated_import_reads_nothing_and_racing_ones_are_one_job() {
    let room = tempfile::tempdir().expect("a folder");
    let folder = room.path().join("models");
    copy(Path::new(BASE), &folder.join("base"));
    let settings = vec![("models.folder", folder.display().to_string())];
    let app = TestApp::start_with(TestOptions { workers: 0, settings }).await;
    let ada = app.person("ada", "engineer_i").await;
    ada.import("base").await;
    let each = stored(&app);
    assert!(each > 0);
    let racing = (0..4).map(|_| import(&ada, "Base", json!(request(1))));
    let answers = futures::future::join_all(racing).await;
    for answer in &answers {
        assert!(answer.data("importModel")["job"]["id"].is_string(), "{answer:?}");
        assert_eq!(answer.body["data"], answers[0].body["data"]);
    }
    let job = answers[0].data("importModel")["job"]["id"]
        .as_str()
        .expect("an id");
    let items = Feed::of_job(&ada, job, None).await.to_end().await;
    assert_eq!(items.last().expect("an end")["state"], "COMPLETED", "{items:#?}");
    assert_eq!(recorded(&app, "jobs.JobQueued").await, 2);
    assert_eq!(recorded(&app, "models.ModelRegistered").await, 2);
    assert_eq!(stored(&app), 2 * each, "the losers copy nothing");
    // What is not there cannot be read again.
    std::fs::remove_dir_all(folder.join("base")).expect("removed");
    let again = import(&ada, "Base", json!(request(1))).await;
    assert_eq!(again.body["data"], answers[0].body["data"]);
    let other = import(&ada, "Other", json!(request(1))).await;
    assert_eq!(first_error(&other, "importModel")["code"], "IDEMPOTENCY_MISMATCH");
    let anew = import(&ada, "Base", json!(request(2))).await;
    assert_eq!(first_error(&anew, "importModel")["path"], json!(["folder"]));
    app.stop().await;
}
