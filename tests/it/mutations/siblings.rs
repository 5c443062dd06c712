//! Several mutations in one document: one that fails leaves the others' payloads (GQ-1).

use serde_json::json;
use tests::harness::TestApp;

/// FG3: root payloads could not be null, so the whole answer was.
#[tokio::test]
async fn a_failing_field_leaves_its_committed_siblings() {
    let app = TestApp::start().await;
    let eve = app.person("eve", "guest").await;
    let document = "mutation($u: ID!) {
        first: createProject(input: { name: \"One\" }) { project { name } }
        second: setUserActive(input: { userId: $u, active: false, reason: \"no\" }) { user { id } }
        third: createDataset(input: { name: \"Three\" }) { dataset { name } }
    }";
    let answer = eve.run(document, json!({ "u": eve.user_id })).await;
    assert_eq!(answer.code(), Some("FORBIDDEN"), "{answer:?}");
    assert_eq!(answer.body["errors"][0]["path"], json!(["second"]));
    assert_eq!(
        answer.body["data"],
        json!({
            "first": { "project": { "name": "One" } },
            "second": null,
            "third": { "dataset": { "name": "Three" } },
        })
    );
    app.stop().await;
}

/// A malformed id names nothing: it is told like one that does not exist, at its path, and every one of them.
#[tokio::test]
async fn ids_that_name_nothing_are_told_alike_at_their_paths() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let document = "mutation($i: CreateExperimentInput!) { createExperiment(input: $i) { experiment { id } userErrors { code path message } } }";
    let mut told = Vec::new();
    for wrong in [
        "",
        "nonsense",
        "prj_1",
        "usr_00000000000000000000000000000001",
        "prj_00000000000000000000000000000001",
    ] {
        let input = json!({ "projectId": wrong, "name": "E" });
        let answer = ada.run(document, json!({ "i": input })).await;
        told.push(answer.data("createExperiment")["userErrors"].clone());
    }
    let expected =
        json!([{ "code": "NOT_FOUND", "path": ["projectId"], "message": "there is no such project" }]);
    assert!(told.iter().all(|errors| *errors == expected), "{told:#?}");
    let document = "mutation($i: StartJobInput!) { startJob(input: $i) { userErrors { code path } } }";
    let input = json!({
        "name": "J", "experimentId": "x", "datasetId": "y", "method": { "full": { "baseModelId": "z" } },
    });
    let answer = ada.run(document, json!({ "i": input })).await;
    let at = |path: &[&str]| json!({ "code": "NOT_FOUND", "path": path });
    assert_eq!(
        answer.data("startJob")["userErrors"],
        json!([
            at(&["experimentId"]),
            at(&["datasetId"]),
            at(&["method", "full", "baseModelId"])
        ])
    );
    app.stop().await;
}
