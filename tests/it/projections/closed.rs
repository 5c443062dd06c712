//! A read model that stopped is not shown: whoever asks for it is told so, instead of what was so before (PR-5, OP-6).

use serde_json::{Value, json};
use tests::harness::{Answer, Client, Feed, TestApp, TestOptions};

use super::fixture::eventually;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures");

const CREATE: &str = "mutation($n: String!) { createProject(input: { name: $n }) { project { id name } position userErrors { code } } }";

async fn app() -> TestApp {
    let settings = vec![("models.folder", FIXTURES.to_owned())];
    TestApp::start_with(TestOptions { workers: 0, settings }).await
}

/// Makes the database refuse every row that is written to `table` from now on, or no longer.
async fn refuse(app: &TestApp, table: &str, refused: bool) {
    let owner = sqlx::PgPool::connect(&app.database_url)
        .await
        .expect("as the owner");
    let change = match refused {
        true => "add constraint refused check (false) not valid",
        false => "drop constraint refused",
    };
    let statement = format!("alter table {table} {change}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&owner)
        .await
        .expect("altered");
}

/// The codes of the errors of an answer.
fn codes(answer: &Answer) -> Vec<&str> {
    let errors = answer.body["errors"].as_array();
    let codes = errors
        .into_iter()
        .flatten()
        .map(|error| &error["extensions"]["code"]);
    codes.filter_map(Value::as_str).collect()
}

/// `query` gets nothing but the one code for "not now", which says of what.
async fn not_shown(client: &Client, query: &str, kind: &str) {
    let answer = client.run(query, json!({})).await;
    assert_eq!(codes(&answer), ["UNAVAILABLE"], "{query}: {answer:?}");
    let message = answer.body["errors"][0]["message"].as_str().expect("a message");
    assert!(message.contains(kind) && message.contains("since"), "{message}");
    let shown = answer.body["data"]
        .as_object()
        .into_iter()
        .flat_map(|data| data.values());
    assert!(shown.into_iter().all(Value::is_null), "{query}: {answer:?}");
}

async fn shown(client: &Client, query: &str) -> Value {
    let answer = client.run(query, json!({})).await;
    assert_eq!(codes(&answer), [""; 0], "{query}: {answer:?}");
    answer.body["data"].clone()
}

/// What was recorded is answered with its position, and without what it is about.
fn recorded_only(answer: &Answer, mutation: &str, entity: &str) {
    let payload = &answer.body["data"][mutation];
    assert!(payload["position"].is_string(), "{answer:?}");
    assert_eq!(payload[entity], Value::Null, "{answer:?}");
    assert_eq!(payload["userErrors"], json!([]), "{answer:?}");
    assert_eq!(codes(answer), ["UNAVAILABLE"], "{answer:?}");
    assert_eq!(
        answer.body["errors"][0]["path"],
        json!([mutation, entity]),
        "{answer:?}"
    );
}

async fn health(app: &TestApp) -> Answer {
    let client = app.client();
    client.send(client.request(reqwest::Method::GET, "/readyz")).await
}

/// Operators see it, and no process leaves the load balancer: every one would say the same.
async fn is_told_of(app: &TestApp) {
    let told = eventually(async || {
        let told = health(app).await;
        // What was found a moment ago is answered again.
        (told.body["status"] != "ready").then_some(told)
    })
    .await;
    assert_eq!(
        (told.status, &told.body["status"]),
        (200, &json!("degraded")),
        "{told:?}"
    );
    assert_eq!(
        told.body["projections"][0]["name"], "projects.project",
        "{told:?}"
    );
    assert_eq!(told.body["projections"][0]["condition"], "stopped", "{told:?}");
}

/// Once the rows are taken again, everything is shown without anybody doing anything.
async fn heals(app: &TestApp, clients: [&Client; 2]) {
    refuse(app, "projects_project", false).await;
    for client in clients {
        let names = eventually(async || {
            let answer = client.run("{ projects { nodes { name } } }", json!({})).await;
            let nodes = answer.body["data"]["projects"]["nodes"].as_array()?.clone();
            Some(nodes)
        })
        .await;
        assert_eq!(names, [json!({ "name": "Second" }), json!({ "name": "First" })]);
    }
    eventually(async || (health(app).await.body["status"] == "ready").then_some(())).await;
}

/// Every way to read projects answers `UNAVAILABLE` in every process; others go on; and it heals by itself.
#[tokio::test]
async fn a_stopped_read_model_is_told_of_and_not_shown() {
    let app = app().await;
    let beside = app.beside().await;
    let ada = app.person("ada", "engineer_i").await;
    let first = ada.run(CREATE, json!({ "n": "First" })).await;
    let first = first.data("createProject")["project"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let position = app.system.app.ports.store.known_head();
    assert_eq!(health(&app).await.body["status"], "ready");

    refuse(&app, "projects_project", true).await;
    let second = ada.run(CREATE, json!({ "n": "Second" })).await;
    recorded_only(&second, "createProject", "project");
    let others = ada.at(&beside.url);
    for client in [&ada, &others] {
        let queries = [
            "{ projects { nodes { id } } }".to_owned(),
            "{ projects { totalCount } }".to_owned(),
            format!("{{ project(id: \"{first}\") {{ id }} }}"),
            format!("{{ node(id: \"{first}\") {{ id }} }}"),
            format!("{{ projects(asOf: {{ position: \"{position}\" }}) {{ nodes {{ id }} }} }}"),
            // Who has a part in a project may see what was shared with the project.
            "{ models { nodes { id } } }".to_owned(),
        ];
        for query in queries {
            // The other process learns of it within a second.
            eventually(async || {
                let answer = client.run(&query, json!({})).await;
                (!codes(&answer).is_empty()).then_some(())
            })
            .await;
            not_shown(client, &query, "project").await;
        }
        shown(client, "{ me { id } sessions { id } }").await;
    }
    // Nobody's view of everything goes by a project.
    shown(&app.admin, "{ models { nodes { id } } users { totalCount } }").await;

    is_told_of(&app).await;
    heals(&app, [&ada, &others]).await;
    beside.stop().await;
    app.stop().await;
}

/// Imports a model to the end of its job, whether it can be read then or not.
async fn model(client: &Client) -> String {
    let imported = client.import_to_end("base").await;
    assert_eq!(imported.end["state"], "COMPLETED", "{imported:?}");
    imported.model
}

/// PR-5: whose access was taken back does not keep it because the access lists stand still.
#[tokio::test]
async fn nobody_reads_by_an_access_list_that_stands_still() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let model = ada.import("base").await;
    let share = "mutation($m: ID!, $p: ID!) { shareModel(input: { modelId: $m, partyId: $p, role: EDITOR }) { model { id } userErrors { code } } }";
    let revoke = "mutation($m: ID!, $p: ID!) { revokeModelAccess(input: { modelId: $m, partyId: $p }) { model { id } position userErrors { code } } }";
    let parts = json!({ "m": model, "p": bob.user_id });
    assert_eq!(
        ada.run(share, parts.clone()).await.user_codes("shareModel"),
        [""; 0]
    );
    let (one, list) = (
        format!("{{ model(id: \"{model}\") {{ id }} }}"),
        "{ models { nodes { id } } }",
    );
    assert_eq!(shown(&bob, &one).await["model"]["id"], model);

    refuse(&app, "sharing_party", true).await;
    recorded_only(&ada.run(revoke, parts).await, "revokeModelAccess", "model");
    for client in [&ada, &bob] {
        not_shown(client, &one, "party").await;
        not_shown(client, list, "party").await;
    }
    // Who sees everything goes by no access list, and is shown none.
    shown(&app.admin, list).await;
    let access = format!("{{ model(id: \"{model}\") {{ id access {{ partyId }} }} }}");
    let access = app.admin.run(&access, json!({})).await;
    assert_eq!(codes(&access), ["UNAVAILABLE"], "{access:?}");
    assert_eq!(
        access.body["data"]["model"],
        json!({ "id": model, "access": null }),
        "{access:?}"
    );

    refuse(&app, "sharing_party", false).await;
    let found = eventually(async || {
        let answer = bob.run(&one, json!({})).await;
        codes(&answer)
            .is_empty()
            .then(|| answer.body["data"]["model"].clone())
    })
    .await;
    assert_eq!(found, Value::Null);
    app.stop().await;
}

/// A file of a model whose versions stand still is refused with 503, a feed of jobs that do with `UNAVAILABLE`.
#[tokio::test]
async fn downloads_and_feeds_are_refused_too() {
    let app = app().await;
    let ada = app.person("ada", "engineer_i").await;
    let first = ada.import("base").await;
    let download = async || {
        let path = format!("/api/models/{first}/versions/1/files/config.json");
        ada.send(ada.request(reqwest::Method::GET, &path)).await
    };
    assert_eq!(download().await.status, 200);
    refuse(&app, "models_version", true).await;
    model(&ada).await;
    let refused = download().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let detail = refused.body["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("models.version") && detail.contains("since"),
        "{detail}"
    );
    refuse(&app, "models_version", false).await;
    eventually(async || (download().await.status == 200).then_some(())).await;

    let (dataset, experiment) = (ada.dataset("Text").await, ada.experiment().await);
    let text = "the quick brown fox jumps over the lazy dog\n\n"
        .repeat(200)
        .into_bytes();
    assert_eq!(ada.upload(&dataset, "t.txt", text).await.status, 201);
    let start =
        "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } position userErrors { message } } }";
    let input = json!({ "i": {
        "name": "On a fixture", "experimentId": experiment, "datasetId": dataset,
        "method": { "lora": { "baseModelId": first, "rank": 2 } },
        "parameters": { "steps": 3, "batchSize": 1, "sequenceLength": 8, "warmupSteps": 0, "sampleTokens": 0 },
    } });
    let job = ada.run(start, input.clone()).await;
    let job = job.data("startJob")["job"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    refuse(&app, "jobs_job", true).await;
    recorded_only(&ada.run(start, input).await, "startJob", "job");
    let mut feed = Feed::of_job(&ada, &job, None).await;
    let error = feed.next().await.expect("an answer").expect_err("no snapshot");
    assert_eq!(error[0]["extensions"]["code"], "UNAVAILABLE", "{error}");
    app.stop().await;
}
