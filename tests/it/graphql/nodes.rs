//! Objects by their ids and beside ids: found as by their own queries, in a number of statements that does not grow.

use serde_json::{Value, json};
use tests::harness::{Client, TestApp, statements::Statements};

/// What a person has made, by type.
struct Made {
    session: String,
    project: String,
    experiment: String,
    dataset: String,
}

async fn made(client: &Client) -> Made {
    let experiment = client.experiment().await;
    let dataset = client.dataset("D").await;
    let query = "query($e: ID!) { experiment(id: $e) { projectId } sessions { id } }";
    let seen = client.run(query, json!({ "e": experiment })).await;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{seen:?}")).to_owned();
    Made {
        session: text(&seen.data("sessions")[0]["id"]),
        project: text(&seen.data("experiment")["projectId"]),
        experiment,
        dataset,
    }
}

async fn node(client: &Client, id: &str) -> Value {
    let answer = client
        .run(
            "query($id: ID!) { node(id: $id) { __typename id } }",
            json!({ "id": id }),
        )
        .await;
    answer.data("node").clone()
}

/// Relay, Global Object Identification: every object with a global id is found by it, by whom its own query shows it to,
/// and by nobody else; an id that is none is like one of nothing.
#[tokio::test]
async fn node_finds_what_the_objects_own_query_shows() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let bob = app.person("bob", "engineer_i").await;
    let own = made(&ada).await;
    let objects = [
        ("User", &ada.user_id, true),
        ("Session", &own.session, false),
        ("Project", &own.project, true),
        ("Experiment", &own.experiment, true),
        ("Dataset", &own.dataset, true),
    ];
    for (kind, id, to_administrators) in objects {
        let found = json!({ "__typename": kind, "id": id });
        assert_eq!(node(&ada, id).await, found);
        assert_eq!(node(&bob, id).await, Value::Null, "a stranger's {kind}");
        let seen = node(&app.admin, id).await;
        let expected = if to_administrators { found } else { Value::Null };
        assert_eq!(seen, expected, "{kind} by an administrator");
        let broken = [id.to_uppercase(), format!("{id}0"), id[..id.len() - 1].to_owned()];
        for broken in broken {
            assert_eq!(node(&ada, &broken).await, Value::Null, "{broken}");
        }
        let (prefix, _) = id.split_once('_').expect("a prefix");
        let unknown = format!("{prefix}_{}", "0".repeat(32));
        assert_eq!(node(&ada, &unknown).await, Value::Null, "{unknown}");
    }
    for none in ["", "prj_", "project", "role:admin", &"x".repeat(5_000)] {
        assert_eq!(node(&ada, none).await, Value::Null, "{none}");
    }
    let nobody = app.client();
    let refused = nobody.run("{ node(id: \"prj_0\") { id } }", json!({})).await;
    assert_eq!(refused.code(), Some("UNAUTHENTICATED"), "{}", refused.body);
    app.stop().await;
}

/// ID-3: an account whose address is not proven finds its own profile by its id, and nothing else.
#[tokio::test]
async fn an_unverified_account_finds_its_own_profile_only() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let own = made(&ada).await;
    let input =
        json!({ "username": "new", "email": "new@example.org", "password": "correct horse battery 1" });
    let registered = app
        .client()
        .run(
            "mutation($i: RegisterInput!) { register(input: $i) { user { id } userErrors { message } } }",
            json!({ "i": input }),
        )
        .await;
    let id = registered.data("register")["user"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let token = app
        .client()
        .run(
            "mutation { login(input: { login: \"new\", password: \"correct horse battery 1\" }) { accessToken } }",
            json!({}),
        )
        .await;
    let mut new = app.client();
    new.token = token.data("login")["accessToken"].as_str().map(str::to_owned);
    assert_eq!(node(&new, &id).await["__typename"], "User");
    for other in [&ada.user_id, &own.project, &own.dataset] {
        assert_eq!(node(&new, other).await, Value::Null, "{other}");
    }
    app.stop().await;
}

/// What stands beside an id is what the caller may read of it: another's public dataset has no owner for a stranger.
#[tokio::test]
async fn objects_beside_ids_carry_the_callers_scope() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let bob = app.person("bob", "engineer_i").await;
    let create = "mutation { createDataset(input: { name: \"Open\", visibility: PUBLIC }) { dataset { id } userErrors { message } } }";
    let created = ada.run(create, json!({})).await;
    let open = created.data("createDataset")["dataset"]["id"].clone();
    let query = "query($id: ID!) { dataset(id: $id) { ownerId owner { id username email } } }";
    for (client, sees) in [(&ada, true), (&bob, false), (&app.admin, true)] {
        let seen = client.run(query, json!({ "id": open })).await;
        let dataset = seen.data("dataset");
        assert_eq!(dataset["ownerId"], json!(ada.user_id));
        let owner = match sees {
            true => json!({ "id": ada.user_id, "username": "ada", "email": "ada@example.org" }),
            false => Value::Null,
        };
        assert_eq!(dataset["owner"], owner);
    }
    let experiment = ada.experiment().await;
    let query = "query($id: ID!) { experiment(id: $id) { project { id owner { id } } projectId createdBy { id } createdById } }";
    let seen = ada.run(query, json!({ "id": experiment })).await;
    let seen = seen.data("experiment");
    assert_eq!(seen["project"]["id"], seen["projectId"]);
    assert_eq!(seen["project"]["owner"]["id"], json!(ada.user_id));
    assert_eq!(seen["createdBy"]["id"], seen["createdById"]);
    app.stop().await;
}

/// FL6, GQ-9: objects beside ids are read at once for all rows, not row by row.
#[tokio::test]
async fn statements_do_not_grow_with_rows() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_ii").await;
    let _first = ada.experiment().await;
    let _dataset = ada.dataset("D1").await;
    let query = "{
        experiments(first: 100) { nodes { id createdBy { id username } project { id name owner { id } } } }
        datasets(first: 100) { nodes { id owner { username } } } }";
    let statements = Statements::listen();
    let run = async || {
        let _before = statements.take();
        let answer = ada.run(query, json!({})).await;
        let rows = answer.data("experiments")["nodes"].as_array().map_or(0, Vec::len);
        (rows, statements.take())
    };
    let (few, by_few) = run().await;
    for number in 0..8 {
        let _one = ada.experiment().await;
        let _other = ada.dataset(&format!("D{number}")).await;
    }
    let (many, by_many) = run().await;
    drop(statements);
    assert_eq!((few, many), (1, 9));
    assert!(!by_few.is_empty(), "nothing was counted");
    assert!(
        by_many.len() <= by_few.len().max(6),
        "{} statements for one row, {} for nine: {by_many:#?}",
        by_few.len(),
        by_many.len()
    );
    app.stop().await;
}
