//! What all mutations have in common, from outside: requests that happen once, versions that are expected, siblings that
//! survive (GQ-1, GQ-2).

mod imports;
mod requests;
mod siblings;
mod strangers;
mod versions;

use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp};

const CREATE: &str = "mutation($i: CreateProjectInput!) { createProject(input: $i) { position project { id name } userErrors { code path } } }";

/// A request id, by its number.
fn request(number: u32) -> String {
    format!("7d2f1a3c-0000-4000-8000-{number:012x}")
}

async fn create(client: &Client, name: &str, id: &str) -> Answer {
    let input = json!({ "name": name, "clientRequestId": id });
    client.run(CREATE, json!({ "i": input })).await
}

fn project(answer: &Answer) -> String {
    let project = &answer.data("createProject")["project"]["id"];
    project
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

async fn project_count(client: &Client) -> usize {
    let all = client
        .run("{ projects(first: 100) { nodes { id } } }", json!({}))
        .await;
    all.data("projects")["nodes"].as_array().expect("a list").len()
}

/// How many events of a kind the log has.
async fn recorded(app: &TestApp, kind: &str) -> usize {
    let query = "query($k: String!) { auditLog(first: 100, filter: { kind: $k }) { nodes { kind } } }";
    let found = app.admin.run(query, json!({ "k": kind })).await;
    found.data("auditLog")["nodes"].as_array().expect("a list").len()
}

fn first_error(answer: &Answer, field: &str) -> Value {
    answer.data(field)["userErrors"][0].clone()
}
