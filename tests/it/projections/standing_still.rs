//! Read models that stand still all together are not shown either: whose access was taken back does not keep it because a
//! lock is held (PR-5, OP-6).

use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp, TestOptions};

use super::fixture::eventually;

fn codes(answer: &Answer) -> Vec<&str> {
    let errors = answer.body["errors"].as_array();
    let codes = errors.into_iter().flatten();
    codes
        .filter_map(|error| error["extensions"]["code"].as_str())
        .collect()
}

async fn health(app: &TestApp) -> (u16, Value) {
    let client = app.client();
    let told = client.send(client.request(reqwest::Method::GET, "/readyz")).await;
    (told.status, told.body)
}

async fn shown(client: &Client, query: &str) -> Option<Value> {
    let answer = client.run(query, json!({})).await;
    codes(&answer).is_empty().then(|| answer.body["data"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_that_stand_still_behind_a_lock_are_not_shown_in_any_process() {
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: Vec::new(),
    })
    .await;
    let beside = app.beside().await;
    let ada = app.person("ada", "engineer_i").await;
    let others = ada.at(&beside.url);
    let list = "{ projects { nodes { name } } }";
    for client in [&ada, &others] {
        assert_eq!(
            shown(client, list).await,
            Some(json!({ "projects": { "nodes": [] } }))
        );
    }

    let owner = sqlx::PgPool::connect(&app.database_url)
        .await
        .expect("as the owner");
    let mut held = owner.begin().await.expect("begun");
    // Readers go on, who writes waits.
    sqlx::query("lock table projects_project in share mode")
        .execute(&mut *held)
        .await
        .expect("locked");
    let create = "mutation { createProject(input: { name: \"First\" }) { project { name } position userErrors { code } } }";
    let created = ada.run(create, json!({})).await;
    assert!(
        created.body["data"]["createProject"]["position"].is_string(),
        "{created:?}"
    );
    for client in [&ada, &others] {
        // All follow in one transaction, so that none moves: not even models.
        for query in [list, "{ models { nodes { id } } }"] {
            eventually(async || {
                let answer = client.run(query, json!({})).await;
                (codes(&answer) == ["UNAVAILABLE"]).then_some(())
            })
            .await;
        }
    }
    let told = eventually(async || {
        let (status, report) = health(&app).await;
        (report["status"] == "degraded").then_some((status, report))
    })
    .await;
    assert_eq!(told.0, 200);
    let dependencies = told.1["dependencies"].as_array().expect("a list").clone();
    let following = dependencies.iter().find(|one| one["name"] == "readModels");
    assert_eq!(following.expect("it is told of")["ok"], false, "{dependencies:?}");

    held.rollback().await.expect("released");
    for client in [&ada, &others] {
        let names = eventually(async || shown(client, list).await).await;
        assert_eq!(names, json!({ "projects": { "nodes": [{ "name": "First" }] } }));
    }
    eventually(async || (health(&app).await.1["status"] == "ready").then_some(())).await;
    beside.stop().await;
    app.stop().await;
}
