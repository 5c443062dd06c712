//! Projects and experiments, from outside.

use serde_json::json;
use tests::harness::{Answer, Client, TestApp};

async fn create(client: &Client, name: &str) -> Answer {
    let query = "mutation($n: String!) { createProject(input: { name: $n }) { position project { id name experimentCount } userErrors { code path } } }";
    client.run(query, json!({ "n": name })).await
}

#[tokio::test]
async fn a_project_with_experiments_is_seen_by_its_owner_and_not_by_strangers() {
    let app = TestApp::start().await;
    let (ada, eve) = (
        app.person("ada", "engineer_i").await,
        app.person("eve", "engineer_i").await,
    );
    let made = create(&ada, " First ").await;
    let project = made.data("createProject")["project"].clone();
    assert_eq!(project["name"], json!("First"));
    let id = project["id"].as_str().expect("an id");
    let query = "mutation($i: CreateExperimentInput!) { createExperiment(input: $i) { experiment { id } userErrors { code } } }";
    let input = json!({ "i": { "projectId": id, "name": "One" } });
    ada.run(query, input.clone()).await.data("createExperiment");
    let foreign = eve.run(query, input).await;
    assert_eq!(foreign.user_codes("createExperiment"), ["NOT_FOUND"]);
    let absent = eve
        .run(
            query,
            json!({ "i": { "projectId": "prj_00000000000000000000000000000001", "name": "One" } }),
        )
        .await;
    assert_eq!(
        foreign.body["data"], absent.body["data"],
        "foreign and absent are told apart"
    );
    let seen = "query($id: ID!) { project(id: $id) { name experimentCount experiments { nodes { name } } } node(id: $id) { __typename } }";
    let own = ada.run(seen, json!({ "id": id })).await;
    assert_eq!(
        own.data("project")["experiments"]["nodes"],
        json!([{ "name": "One" }])
    );
    assert_eq!(own.data("node")["__typename"], json!("Project"));
    let other = eve.run(seen, json!({ "id": id })).await;
    assert!(other.data("project").is_null() && other.data("node").is_null());
    app.stop().await;
}

/// QU-1: concurrent commands cannot pass a quota, and the refusal names it.
#[tokio::test]
async fn a_quota_holds_under_concurrency() {
    let app = TestApp::start().await;
    let guest = app.person("gus", "guest").await;
    let answers = futures::future::join_all((0..8).map(|number| {
        let guest = guest.clone();
        async move { create(&guest, &format!("P{number}")).await }
    }))
    .await;
    let made = answers
        .iter()
        .filter(|answer| answer.body["data"]["createProject"]["project"]["id"].is_string())
        .count();
    assert_eq!(made, 1);
    let refused = answers
        .iter()
        .filter(|answer| answer.body["data"]["createProject"]["project"]["id"].is_null());
    for answer in refused {
        assert_eq!(
            answer.user_codes("createProject"),
            ["QUOTA_EXCEEDED"],
            "{answer:?}"
        );
    }
    app.stop().await;
}

/// GQ-3: pages follow each other without a gap; bad pages are refused.
#[tokio::test]
async fn lists_are_paged_by_cursor() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    for number in 0..5 {
        create(&ada, &format!("P{number}")).await.data("createProject");
    }
    let query = "query($n: Int, $a: String) { projects(first: $n, after: $a) { nodes { name } pageInfo { hasNextPage endCursor } } }";
    let (mut names, mut after) = (Vec::new(), serde_json::Value::Null);
    loop {
        let page = ada.run(query, json!({ "n": 2, "a": after })).await;
        let projects = page.data("projects").clone();
        names.extend(
            projects["nodes"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|node| node["name"].as_str().unwrap_or_default().to_owned()),
        );
        after = projects["pageInfo"]["endCursor"].clone();
        if projects["pageInfo"]["hasNextPage"] == json!(false) {
            break;
        }
    }
    assert_eq!(names, ["P4", "P3", "P2", "P1", "P0"]);
    assert_eq!(
        ada.run(query, json!({ "n": 101 })).await.code(),
        Some("BAD_USER_INPUT")
    );
    assert_eq!(
        ada.run(query, json!({ "n": 2, "a": "bm9wZQ" })).await.code(),
        Some("BAD_USER_INPUT")
    );
    // A cursor of another list is refused, not taken for the beginning.
    let log = app
        .admin
        .run("{ auditLog(first: 1) { pageInfo { endCursor } } }", json!({}))
        .await;
    let foreign = &log.data("auditLog")["pageInfo"]["endCursor"];
    assert!(foreign.is_string());
    assert_eq!(
        ada.run(query, json!({ "n": 2, "a": foreign })).await.code(),
        Some("BAD_USER_INPUT")
    );
    app.stop().await;
}

#[tokio::test]
async fn all_faults_of_a_project_come_together() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let query = "mutation($i: CreateProjectInput!) { createProject(input: $i) { userErrors { path code } } }";
    let refused = ada
        .run(
            query,
            json!({ "i": { "name": "  ", "description": "x".repeat(2001) } }),
        )
        .await;
    assert_eq!(
        refused.data("createProject")["userErrors"],
        json!([
            { "path": ["name"], "code": "INVALID" },
            { "path": ["description"], "code": "INVALID" },
        ])
    );
    app.stop().await;
}

/// GQ-3: what was recorded at one's own position is seen; one that the log has not reached is refused.
#[tokio::test]
async fn a_query_sees_its_minimal_position_and_refuses_one_of_the_future() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let made = create(&ada, "P").await;
    let position = made.data("createProject")["position"].clone();
    let query = "query($p: Long) { projects(minPosition: $p) { nodes { name } } }";
    let seen = ada.run(query, json!({ "p": position })).await;
    assert_eq!(seen.data("projects")["nodes"], json!([{ "name": "P" }]));
    assert_eq!(
        ada.run(query, json!({ "p": "999999999" })).await.code(),
        Some("BAD_USER_INPUT")
    );
    app.stop().await;
}
