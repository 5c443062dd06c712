//! What clients and operators are told while something that Anneal stands on fails, and after it.
//!
//! The rule: a failure that passes is `UNAVAILABLE` or 503 with `Retry-After`, a full disk is named, and health shows what
//! cannot be recorded or exported until it can.

use std::{fs, time::Duration};

use event_store::postgres::address;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::harness::{Client, TestApp, TestOptions};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(30);
const PROJECTS: &str = "{ projects(first: 1) { edges { node { id versions: name } } } }";
const CREATE: &str =
    "mutation($i: CreateProjectInput!) { createProject(input: $i) { userErrors { message } } }";

/// The database of an app, as somebody else administers it.
pub(super) struct Administered {
    connection: PgConnection,
    name: String,
}

impl Administered {
    pub(super) async fn of(app: &TestApp) -> Self {
        let begin = app.database_url.find("test_").expect("the harness names it so");
        let name = app.database_url[begin..]
            .split('?')
            .next()
            .expect("a name")
            .to_owned();
        let url = app.database_url.replace(&name, "postgres");
        let options = address(&url).expect("a URL");
        let connection = PgConnection::connect_with(&options).await.expect("let in");
        Self { connection, name }
    }

    /// Takes reads only, or writes again.
    pub(super) async fn read_only(&mut self, read_only: bool) {
        let name = &self.name;
        let rule = format!("alter database {name} set default_transaction_read_only to {read_only}");
        let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
        for statement in [rule, end] {
            self.connection
                .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
                .await
                .expect("done");
        }
    }

    /// Lets nobody in, or everybody again.
    async fn open(&mut self, open: bool) {
        let name = &self.name;
        let rule = format!("alter database {name} with allow_connections {open}");
        let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
        for statement in [rule, end].into_iter().take(if open { 1 } else { 2 }) {
            self.connection
                .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
                .await
                .expect("done");
        }
    }
}

async fn create(client: &Client, name: &str) -> tests::harness::Answer {
    client.run(CREATE, json!({ "i": { "name": name } })).await
}

/// What health says of one dependency, and the status of the whole.
async fn health(client: &Client, name: &str) -> (u16, Value) {
    let answer = client.send(client.request(Method::GET, "/readyz")).await;
    let dependencies = answer.body["dependencies"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = dependencies.into_iter().find(|one| one["name"] == name);
    (
        answer.status,
        found.unwrap_or_else(|| panic!("no {name} in {answer:?}")),
    )
}

async fn until_health(client: &Client, name: &str, ok: bool) -> (u16, Value) {
    let begun = Instant::now();
    loop {
        let (status, found) = health(client, name).await;
        if found["ok"] == ok {
            return (status, found);
        }
        assert!(begun.elapsed() < SOON, "{status} {found}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Queries answered `INTERNAL` while mutations answered `UNAVAILABLE`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_and_routes_say_that_the_database_is_away() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let mut database = Administered::of(&app).await;
    assert_eq!(create(&ada, "one").await.code(), None);
    database.open(false).await;

    for _ in 0..3 {
        let answer = ada.run(PROJECTS, json!({})).await;
        assert_eq!(answer.code(), Some("UNAVAILABLE"), "{answer:?}");
        let told = answer.body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(told.contains("try again") && !told.contains("test_"), "{told}");
    }
    let job = "/api/jobs/job_01a1fbb44ad273fcb566c8878793f210/log";
    let request = ada
        .request(Method::GET, job)
        .bearer_auth(ada.token.clone().expect("signed in"));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"), "{response:?}");
    let request = ada
        .request(Method::POST, "/graphql")
        .bearer_auth(ada.token.clone().expect("signed in"));
    let request = request
        .header("accept", "application/graphql-response+json")
        .json(&json!({ "query": CREATE, "variables": { "i": { "name": "two" } } }));
    let response = request.send().await.expect("an answer");
    // It was begun: the field that could not be recorded says so.
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{body}");
    let response = ada
        .request(Method::GET, "/readyz")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"), "{response:?}");

    database.open(true).await;
    let begun = Instant::now();
    while ada.run(PROJECTS, json!({})).await.code().is_some() {
        assert!(begun.elapsed() < SOON, "it does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stop().await;
}

/// PostgreSQL's `disk_full`, as a full disk gives it at the insertion of an event; everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_to_clients_and_shown_until_something_is_recorded() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let options = address(&app.database_url).expect("a URL");
    let mut inside = PgConnection::connect_with(&options).await.expect("let in");
    assert_eq!(health(&ada, "recording").await.1["ok"], true);
    inside
        .execute(sqlx::raw_sql(
            "create function no_room() returns trigger language plpgsql as $$ begin
                 raise exception using errcode = '53100', message = 'could not extend file: No space left on device';
             end $$;
             create trigger no_room before insert on event execute function no_room();",
        ))
        .await
        .expect("a full disk");

    let answer = create(&ada, "one").await;
    let told = answer.body["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(told.contains("the storage is full"), "{answer:?}");
    assert_eq!(answer.code(), Some("UNAVAILABLE"), "{answer:?}");
    let uploaded = ada.upload(&dataset, "a.txt", b"0123456789\n".to_vec()).await;
    assert_eq!(uploaded.status, 507, "{uploaded:?}");
    let (status, recording) = until_health(&ada, "recording", false).await;
    assert_eq!(status, 503, "{recording}");
    let detail = recording["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("the storage is full"), "{recording}");
    // Somebody has to be let in to find out that there is room again.
    app.clock.advance(time::Duration::minutes(1));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (status, recording) = health(&ada, "recording").await;
    assert_eq!((status, &recording["ok"]), (200, &json!(false)), "{recording}");

    inside
        .execute("drop trigger no_room on event")
        .await
        .expect("room");
    assert_eq!(create(&ada, "one").await.code(), None);
    assert_eq!(until_health(&ada, "recording", true).await.0, 200);
    app.stop().await;
}

/// Checkpoints are exported where the database's administrator does not reach; that they are not is seen outside the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_fails_is_shown_and_does_not_stop_the_service() {
    let room = tempfile::tempdir().expect("a folder");
    let folder = room.path().join("out/checkpoints");
    let app = TestApp::start_with(TestOptions {
        settings: vec![("audit.checkpoint_folder", folder.display().to_string())],
        ..TestOptions::default()
    })
    .await;
    until_health(&app.admin, "checkpointExport", true).await;
    fs::remove_dir_all(room.path().join("out")).expect("gone");
    fs::write(room.path().join("out"), "in the way").expect("written");
    app.person("ada", "engineer_i").await;
    let (status, export) = until_health(&app.admin, "checkpointExport", false).await;
    assert_eq!(status, 200, "{export}");
    fs::remove_file(room.path().join("out")).expect("gone");
    until_health(&app.admin, "checkpointExport", true).await;
    assert!(folder.join("checkpoint").exists());
    app.stop().await;
}

/// FA12: however many ask, the dependencies are looked at once in a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_for_readiness_cost_one_look() {
    let app = TestApp::start().await;
    let client = app.client();
    let ask = || client.send(client.request(Method::GET, "/readyz"));
    let answers = futures::future::join_all((0..50).map(|_| ask())).await;
    let mut latencies: Vec<String> = answers
        .iter()
        .map(|answer| answer.body["dependencies"][0]["latencyMs"].to_string())
        .collect();
    latencies.sort();
    latencies.dedup();
    // A second may have ended among them.
    assert!(latencies.len() <= 2, "{latencies:?}");
    app.stop().await;
}
