//! `clientRequestId`: the same request of the same credential happens once, also in two processes at once (GQ-2).

use serde_json::{Value, json};
use tests::harness::{Client, TestApp};

use super::{create, first_error, project, project_count, recorded, request};

/// The same session with a fresh access token.
async fn refreshed(client: &Client) -> Client {
    let document = "mutation($t: String!) { refresh(input: { refreshToken: $t }) { accessToken } }";
    let stranger = Client::new(client.url.clone());
    let answer = stranger.run(document, json!({ "t": client.refresh })).await;
    let token = answer.data("refresh")["accessToken"].as_str();
    client.with_token(token.unwrap_or_else(|| panic!("{answer:?}")).to_owned())
}

#[tokio::test]
async fn a_repeated_request_gives_the_first_result_and_records_nothing() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let first = create(&ada, "One", &request(1)).await;
    project(&first);
    for _ in 0..3 {
        let again = create(&ada, "One", &request(1)).await;
        assert_eq!(again.body["data"], first.body["data"]);
    }
    // Spelled otherwise, it is the same id; left out or null, a field is the same.
    let input = json!({ "name": "One", "description": "", "clientRequestId": request(1).to_uppercase() });
    let again = ada.run(super::CREATE, json!({ "i": input })).await;
    assert_eq!(again.body["data"], first.body["data"]);
    assert_eq!(project_count(&ada).await, 1);
    assert_eq!(recorded(&app, "projects.ProjectCreated").await, 1);
    assert_eq!(recorded(&app, "requests.RequestCompleted").await, 1);
    let other = create(&ada, "One", &request(2)).await;
    assert_ne!(project(&other), project(&first));
    // A day later, too.
    app.clock.advance(time::Duration::hours(25));
    let late = refreshed(&ada).await;
    let again = create(&late, "One", &request(1)).await;
    assert_eq!(again.body["data"], first.body["data"]);
    app.stop().await;
}

#[tokio::test]
async fn another_input_under_the_same_id_is_told_and_does_nothing() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    project(&create(&ada, "One", &request(1)).await);
    let other = create(&ada, "Two", &request(1)).await;
    let error = first_error(&other, "createProject");
    assert_eq!(error["code"], "IDEMPOTENCY_MISMATCH");
    assert_eq!(error["path"], json!(["clientRequestId"]));
    assert!(other.data("createProject")["project"].is_null());
    assert_eq!(project_count(&ada).await, 1);
    // Another mutation is another request.
    let dataset = "mutation($i: CreateDatasetInput!) { createDataset(input: $i) { dataset { name } userErrors { code } } }";
    let input = json!({ "name": "One", "clientRequestId": request(1) });
    let made = ada.run(dataset, json!({ "i": input })).await;
    assert_eq!(made.data("createDataset")["dataset"]["name"], "One");
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_is_sent_many_times_at_once_happens_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let id = request(1);
    let answers = futures::future::join_all((0..16).map(|_| create(&ada, "One", &id))).await;
    for answer in &answers {
        assert_eq!(answer.body["data"], answers[0].body["data"]);
    }
    assert_eq!(project_count(&ada).await, 1);
    app.stop().await;
}

/// Waits until the client's process has heard of its session, which began in another.
async fn known(client: &Client) {
    let began = std::time::Instant::now();
    while client.run("{ me { id } }", json!({})).await.code().is_some() {
        assert!(began.elapsed().as_secs() < 60, "the session is not known");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A guest may have one project: the loser must not be told that the quota is used up by its own twin.
#[tokio::test]
async fn a_request_that_is_sent_to_two_processes_at_once_happens_once() {
    let app = TestApp::start().await;
    let other = app.beside().await;
    let guest = app.person("gus", "guest").await;
    let beside = guest.at(&other.url);
    known(&beside).await;
    let id = request(1);
    let sent = (0..16).map(|number| {
        let client = if number % 2 == 0 { &guest } else { &beside };
        create(client, "One", &id)
    });
    let answers = futures::future::join_all(sent).await;
    for answer in &answers {
        assert_eq!(answer.body["data"], answers[0].body["data"], "{answers:#?}");
    }
    project(&answers[0]);
    assert_eq!(project_count(&guest).await, 1);
    assert_eq!(recorded(&app, "projects.ProjectCreated").await, 1);
    other.stop().await;
    app.stop().await;
}

#[tokio::test]
async fn requests_of_two_people_and_of_two_sessions_are_different() {
    let app = TestApp::start().await;
    let (ada, eve) = (
        app.person("ada", "engineer_i").await,
        app.person("eve", "engineer_i").await,
    );
    let first = project(&create(&ada, "One", &request(1)).await);
    let of_eve = project(&create(&eve, "One", &request(1)).await);
    assert_ne!(first, of_eve);
    // Another input of another person is no mismatch: nobody learns which ids others have used.
    project(&create(&eve, "Two", &request(2)).await);
    project(&create(&ada, "Three", &request(2)).await);
    let second_session = ada.clone().login("ada").await;
    assert_ne!(project(&create(&second_session, "One", &request(1)).await), first);
    // A session that is refreshed stays the same credential.
    let refreshed = refreshed(&ada).await;
    assert_eq!(project(&create(&refreshed, "One", &request(1)).await), first);
    app.stop().await;
}

#[tokio::test]
async fn what_was_refused_is_not_remembered() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let refused = create(&ada, "", &request(1)).await;
    assert_eq!(refused.user_codes("createProject"), ["INVALID"]);
    project(&create(&ada, "One", &request(1)).await);
    // Denied, then permitted: one is remembered of an id that nobody's denial has used up.
    let eve = app.person("eve", "guest").await;
    let input = json!({ "userId": eve.user_id, "role": "engineer_i", "reason": "test", "clientRequestId": request(3) });
    let document = "mutation($i: RoleChangeInput!) { grantRole(input: $i) { position userErrors { code } } }";
    let denied = ada.run(document, json!({ "i": input })).await;
    assert_eq!(denied.code(), Some("FORBIDDEN"), "{denied:?}");
    let granted = app.admin.run(document, json!({ "i": input })).await;
    let again = app.admin.run(document, json!({ "i": input })).await;
    assert!(granted.data("grantRole")["position"].is_string());
    assert_eq!(granted.body["data"], again.body["data"]);
    app.stop().await;
}

/// The right is asked for anew: who lost it gets the denial, and not the first result.
#[tokio::test]
async fn a_repeat_without_the_right_is_denied() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    project(&create(&ada, "One", &request(1)).await);
    for role in ["engineer_i", "guest"] {
        let input = json!({ "userId": ada.user_id, "role": role, "reason": "test" });
        let removed = app
            .admin
            .run(
                "mutation($i: RoleChangeInput!) { removeRole(input: $i) { userErrors { message } } }",
                json!({ "i": input }),
            )
            .await;
        assert_eq!(removed.data("removeRole")["userErrors"], json!([]));
    }
    let again = create(&ada, "One", &request(1)).await;
    assert_eq!(again.code(), Some("FORBIDDEN"), "{again:?}");
    assert!(again.body["data"]["createProject"].is_null());
    app.stop().await;
}

#[tokio::test]
async fn an_id_that_is_no_uuid_is_bad_input() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    for wrong in [json!("1"), json!(""), json!(7), json!({})] {
        let input = json!({ "name": "One", "clientRequestId": wrong });
        let answer = ada.run(super::CREATE, json!({ "i": input })).await;
        assert_eq!(answer.code(), Some("BAD_USER_INPUT"), "{answer:?}");
    }
    let none = json!({ "name": "One", "clientRequestId": Value::Null });
    project(&ada.run(super::CREATE, json!({ "i": none })).await);
    assert_eq!(project_count(&ada).await, 1);
    app.stop().await;
}

/// FG2: a repeated `startJob` was a second job.
#[tokio::test]
async fn a_repeated_start_is_one_job_and_takes_one_place_of_the_quota() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let (dataset, experiment) = (ada.dataset("Text").await, ada.experiment().await);
    let text = "Alice was beginning to get very tired of sitting by her sister on the bank. ".repeat(500);
    let uploaded = ada.upload(&dataset, "text.txt", text.into_bytes()).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let input = json!({
        "name": "Tiny", "experimentId": experiment, "datasetId": dataset, "clientRequestId": request(1),
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 10, "batchSize": 2, "sequenceLength": 32, "warmupSteps": 2 },
    });
    let document = "mutation($i: StartJobInput!) { startJob(input: $i) { position estimate { parameters } job { id modelId version } userErrors { code message } } }";
    let first = ada.run(document, json!({ "i": input })).await;
    assert!(first.data("startJob")["job"]["id"].is_string(), "{first:?}");
    let again = ada.run(document, json!({ "i": input })).await;
    assert_eq!(again.body["data"], first.body["data"]);
    let usage = ada
        .run(
            "{ access { usage { concurrentJobs } } jobs { nodes { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(usage.data("access")["usage"]["concurrentJobs"], 1);
    assert_eq!(usage.data("jobs")["nodes"].as_array().map(Vec::len), Some(1));
    // A clone is made once, too.
    let source = &first.data("startJob")["job"]["id"];
    let clone =
        "mutation($i: CloneJobInput!) { cloneJob(input: $i) { position job { id } userErrors { code } } }";
    let input = json!({ "jobId": source, "clientRequestId": request(1) });
    let first = ada.run(clone, json!({ "i": input })).await;
    let again = ada.run(clone, json!({ "i": input })).await;
    assert!(first.data("cloneJob")["job"]["id"].is_string(), "{first:?}");
    assert_eq!(again.body["data"], first.body["data"]);
    // A change that could not be made twice succeeds twice as one request.
    let cancel = "mutation($i: CancelJobInput!) { cancelJob(input: $i) { position job { state } userErrors { code } } }";
    let input = json!({ "jobId": source, "clientRequestId": request(1) });
    let first = ada.run(cancel, json!({ "i": input })).await;
    let again = ada.run(cancel, json!({ "i": input })).await;
    assert_eq!(first.data("cancelJob")["job"]["state"], "CANCELLED");
    assert_eq!(again.body["data"], first.body["data"]);
    app.stop().await;
}
