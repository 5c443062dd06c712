//! The collector of the object store, from outside (OP-10).

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use domain::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use sha2::Digest as _;
use tests::harness::{TestApp, app::program};

const TEXT: &[u8] = b"A first paragraph.\n\nA second one.\n";
const HOUR: Duration = Duration::from_secs(3600);

/// The answer of `anneal storage collect`, which must succeed.
fn collect(app: &TestApp, options: &[&str]) -> Value {
    let output = Command::new(program())
        .args(["storage", "collect", "--json", "--data"])
        .arg(&app.data_dir)
        .args(options)
        .env("DATABASE_URL", &app.database_url)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn keys(collection: &Value) -> Vec<String> {
    let collected = collection["collected"].as_array().expect("a list");
    collected
        .iter()
        .map(|object| object["key"].as_str().expect("a key").to_owned())
        .collect()
}

/// Where the object `key` lies.
fn place(app: &TestApp, key: &str) -> PathBuf {
    app.data_dir.join("objects").join(key)
}

/// Puts an object there that nothing refers to, last written so long ago.
fn leave(app: &TestApp, key: &str, bytes: &[u8], age: Duration) {
    let path = place(app, key);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(&path, bytes).expect("written");
    set_age(&path, age);
}

fn set_age(path: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(path).expect("there");
    file.set_modified(SystemTime::from(SystemClock.now()) - age)
        .expect("set");
}

async fn collections(app: &TestApp) -> Vec<Value> {
    let query = "query { auditLog(first: 100, filter: { kind: \"audit.ObjectsCollected\" }) { nodes { actor data } } }";
    let answer = app.admin.run(query, json!({})).await;
    answer.data("auditLog")["nodes"]
        .as_array()
        .expect("a list")
        .clone()
}

/// What no event refers to and is old is listed by a dry run, and deleted after an event that names it; nothing else is.
#[tokio::test]
async fn what_nothing_refers_to_is_deleted_and_named() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    assert_eq!(ada.upload(&dataset, "a.txt", TEXT.to_vec()).await.status, 201);
    let kept = format!("datasets/{}", hex::encode(sha2::Sha256::digest(TEXT)));
    set_age(&place(&app, &kept), 1_000 * HOUR);
    let orphans = [
        "artifacts/job_0/adapter/adapter_model.safetensors".to_owned(),
        format!("datasets/{}", "a".repeat(64)),
    ];
    for orphan in &orphans {
        leave(&app, orphan, b"left by a crash", 25 * HOUR);
    }
    let young = format!("datasets/{}", "b".repeat(64));
    leave(&app, &young, b"on its way", 23 * HOUR);
    leave(&app, "datasets/README", b"somebody else's", 100 * HOUR);
    let before = objects::testing::files(&app.data_dir.join("objects"));
    let dry = collect(&app, &["--dry-run"]);
    assert_eq!(keys(&dry), orphans);
    assert_eq!(
        (&dry["objects"], &dry["young"], &dry["foreign"]),
        (&json!(5), &json!(1), &json!(["datasets/README"]))
    );
    assert_eq!(objects::testing::files(&app.data_dir.join("objects")), before);
    assert_eq!(collections(&app).await, [Value::Null; 0]);
    assert!(keys(&collect(&app, &["--dry-run", "--older-than", "26"])).is_empty());
    let done = collect(&app, &[]);
    assert_eq!((keys(&done), &done["bytes"]), (orphans.to_vec(), &json!(30)));
    let left = objects::testing::files(&app.data_dir.join("objects"));
    let mut expected = vec!["datasets/README".to_owned(), kept, young];
    expected.sort();
    assert_eq!(left, expected);
    eventually_recorded(&app, &orphans).await;
    assert!(keys(&collect(&app, &[])).is_empty());
    app.stop().await;
}

/// That one event of the collector names the objects.
async fn eventually_recorded(app: &TestApp, orphans: &[String]) {
    for _ in 0..100 {
        let recorded = collections(app).await;
        if let [only] = recorded.as_slice() {
            assert_eq!(only["actor"], "system:collector", "{only}");
            for orphan in orphans {
                assert!(only["data"].to_string().contains(orphan), "{only}");
            }
            return;
        }
        assert!(recorded.is_empty(), "{recorded:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no event names what was deleted");
}

/// An old object that the collector might just be taking is written again by the upload that will refer to it.
#[tokio::test]
async fn an_upload_of_what_the_collector_may_take_writes_it_again() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let key = format!("datasets/{}", hex::encode(sha2::Sha256::digest(TEXT)));
    for (age, written) in [(11 * HOUR, false), (13 * HOUR, true)] {
        leave(&app, &key, TEXT, age);
        assert_eq!(ada.upload(&dataset, "a.txt", TEXT.to_vec()).await.status, 201);
        let modified = std::fs::metadata(place(&app, &key)).and_then(|file| file.modified());
        let age = modified.expect("there").elapsed().expect("in the past");
        assert_eq!(age < HOUR, written, "{age:?}");
    }
    app.stop().await;
}

/// What is younger than a day may be on its way.
#[tokio::test]
async fn nothing_younger_than_a_day_can_be_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(program())
        .args(["storage", "collect", "--older-than", "23", "--data"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--older-than"), "{said}");
}
