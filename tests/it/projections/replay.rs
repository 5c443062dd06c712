//! `anneal replay`, as an operator runs it.

use std::{path::Path, process::Output};

use serde_json::Value;
use tests::harness::{TestApp, app::program};
use tokio::process::Command;

async fn replay(app: &TestApp, arguments: &[&str]) -> Output {
    replay_in(app, &app.data_dir, arguments).await
}

/// With this data folder, where the keys of persons are.
async fn replay_in(app: &TestApp, data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command
        .arg("replay")
        .args(arguments)
        .env("DATABASE_URL", &app.database_url);
    command.arg("--data").arg(data_dir);
    let output = tokio::time::timeout(super::fixture::TIMEOUT, command.output()).await;
    output
        .expect("it ends")
        .expect("the binary is built (cargo build -p anneal)")
}

/// AU-5: beside the running system, for one read model and for all; only looking, and repairing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_checks_and_rebuilds_beside_the_running_system() {
    let app = TestApp::start().await;
    app.admin.dataset("D").await;
    let checked = replay(&app, &["--all", "--check", "--json"]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let report: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(report["equal"], Value::Bool(true), "{report}");
    assert_eq!(
        report["readModels"].as_array().map(Vec::len),
        Some(projections::all().len())
    );
    sqlx::query("update datasets_dataset set name = 'tampered'")
        .execute(&app.system.app.database)
        .await
        .expect("damaged");
    let checked = replay(&app, &["datasets.dataset", "--check"]).await;
    assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("1 different") && text.contains("differs in name"),
        "{text}"
    );
    let repaired = replay(&app, &["datasets.dataset"]).await;
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    let checked = replay(&app, &["datasets.dataset", "--check"]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    // The running system goes on, and reads its own writes.
    app.admin.dataset("E").await;
    let checked = replay(&app, &["--all", "--check"]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    app.stop().await;
}

/// AU-7: without the keys of persons, read models would lose what the keys open: so nothing is folded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_keys_of_persons_nothing_is_replaced() {
    let app = TestApp::start().await;
    let refused = replay_in(&app, &app.data_dir.join("elsewhere"), &["--all"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("personal.key"), "{text}");
    let checked = replay(&app, &["--all", "--check"]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    app.stop().await;
}

/// Wrong names are all told at once, with those that are known.
#[tokio::test]
async fn unknown_names_are_refused_with_the_list_of_known_ones() {
    let output = Command::new(program())
        .args(["replay", "nonsense", "jobs.job", "more"])
        .output()
        .await
        .expect("the binary is built (cargo build -p anneal)");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("nonsense, more;") && text.contains("projects.project"),
        "{text}"
    );
}
