//! The running application executes GraphQL as the specification says. What the library does of it is held to
//! graphql-js in `api/tests/api/conformance`; here it is our own schema.

mod cost;
mod lists;
mod nodes;
mod pages;

use serde_json::{Value, json};
use tests::harness::TestApp;

/// FL3, FG3: a field that fails is null, and its siblings stand: those of the root, and those beside a nested list.
#[tokio::test]
async fn what_fails_is_null_and_its_siblings_stand() {
    let app = TestApp::start().await;
    let nobody = app.client().run("{ me { id } version }", json!({})).await;
    let data = json!({ "me": null, "version": env!("CARGO_PKG_VERSION") });
    assert_eq!(nobody.body["data"], data, "{}", nobody.body);
    assert_eq!(nobody.body["errors"][0]["path"], json!(["me"]), "{}", nobody.body);
    assert_eq!(nobody.code(), Some("UNAUTHENTICATED"));

    let skipped = app
        .admin
        .run("{ version me { id @include(if: false) } }", json!({}))
        .await;
    assert_eq!(skipped.data("me"), &json!({}));
    let variables = json!({ "b": false });
    let skipped = app
        .admin
        .run("query ($b: Boolean!) { me { id @include(if: $b) } }", variables)
        .await;
    assert_eq!(skipped.data("me"), &json!({}));

    let ada = app.person("ada", "engineer_i").await;
    let _experiment = ada.experiment().await;
    let nested =
        "{ projects(first: 5) { nodes { id experiments(after: \"no cursor\") { nodes { id } } } } version }";
    let refused = ada.run(nested, json!({})).await;
    assert_eq!(refused.code(), Some("BAD_USER_INPUT"), "{}", refused.body);
    let data = &refused.body["data"];
    assert_eq!(data["version"], env!("CARGO_PKG_VERSION"), "{}", refused.body);
    let row = &data["projects"]["nodes"][0];
    assert!(row["id"].is_string(), "{}", refused.body);
    assert_eq!(row["experiments"], Value::Null, "{}", refused.body);
    assert_eq!(
        refused.body["errors"][0]["path"],
        json!(["projects", "nodes", 0, "experiments"]),
        "{}",
        refused.body
    );
    app.stop().await;
}

/// 6.3.2: a mutation that is written twice under one name is done once.
#[tokio::test]
async fn one_response_key_is_one_mutation() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let twice = "mutation ($i: CreateProjectInput!) {
        createProject(input: $i) { project { id } }
        createProject(input: $i) { project { name } userErrors { code } } }";
    let done = ada.run(twice, json!({ "i": { "name": "Once" } })).await;
    let payload = done.data("createProject");
    assert_eq!(payload["project"]["name"], "Once", "{}", done.body);
    assert!(payload["project"]["id"].is_string(), "{}", done.body);
    assert_eq!(payload["userErrors"], json!([]), "{}", done.body);
    let projects = ada.run("{ projects { nodes { name } } }", json!({})).await;
    assert_eq!(projects.data("projects")["nodes"], json!([{ "name": "Once" }]));
    app.stop().await;
}

/// FR9: what PostgreSQL could not take is refused before it.
#[tokio::test]
async fn missing_variables_and_nul_are_the_callers_fault() {
    let app = TestApp::start().await;
    let missing = app
        .admin
        .run("query ($i: ID!) { job(id: $i) { id } }", json!({}))
        .await;
    assert_eq!(missing.code(), Some("BAD_USER_INPUT"), "{}", missing.body);
    let log = "query ($f: AuditFilter) { auditLog(filter: $f) { nodes { position } } }";
    for field in ["actor", "kind", "subject", "text"] {
        let refused = app.admin.run(log, json!({ "f": { field: "a\0" } })).await;
        assert_eq!(
            refused.code(),
            Some("BAD_USER_INPUT"),
            "{field}: {}",
            refused.body
        );
        assert!(
            refused.body.to_string().contains(&format!("f.{field}")),
            "{}",
            refused.body
        );
    }
    app.stop().await;
}
