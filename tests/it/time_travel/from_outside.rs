//! Time travel as clients use it: GraphQL, with the rights of today.

use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp};

const QUESTIONS: &str = "query($user: ID!, $asOf: AsOf, $at: AsOf!) {
    logInstant(asOf: $at) { position at }
    access(userId: $user, asOf: $asOf) {
        userId account roles { role grantedAt grantedBy reason } permissions mayGrant
        quotas { projects datasets concurrentJobs storageGb gpuHours }
        usage { projects datasets concurrentJobs storageBytes }
    }
    roles(asOf: $asOf) { name permissions }
    permissionHolders(permission: \"users.read\", first: 5, asOf: $asOf) { nodes { userId roles { role } } }
    projects(first: 3, asOf: $asOf) { nodes {
        id experimentCount experiments(first: 3) { nodes { id jobs(first: 3) { nodes { id state } } } }
    } }
    experiments(first: 5, asOf: $asOf) { nodes { id name } }
    jobs(first: 5, asOf: $asOf) { nodes { id state attempt step position queuePosition endedAt } }
}";

/// All answers of the moment `as_of`, or of the present.
async fn ask(client: &Client, user: &str, as_of: Option<&Value>, head: &str) -> Value {
    let at = as_of.cloned().unwrap_or_else(|| json!({ "position": head }));
    let answer = client
        .run(QUESTIONS, json!({ "user": user, "asOf": as_of, "at": at }))
        .await;
    answer.data("access");
    let mut data = answer.body["data"].clone();
    // A role that was never changed reads the same at all times but says so in no particular order.
    for node in data["permissionHolders"]["nodes"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if let Some(roles) = node["roles"].as_array_mut() {
            roles.sort_by_key(ToString::to_string);
        }
    }
    data
}

async fn head(client: &Client) -> String {
    let log = client
        .run("{ auditLog(first: 1) { nodes { position } } }", json!({}))
        .await;
    let newest = &log.data("auditLog")["nodes"][0]["position"];
    newest.as_str().expect("a position").to_owned()
}

async fn change(client: &Client, field: &str, input: &str, value: Value) -> Answer {
    let query =
        format!("mutation($i: {input}!) {{ {field}(input: $i) {{ position userErrors {{ message }} }} }}");
    let answer = client.run(&query, json!({ "i": value })).await;
    assert_eq!(answer.data(field)["userErrors"], json!([]), "{answer:?}");
    answer
}

/// A job that waits, and its id.
async fn start_job(client: &Client) -> String {
    let experiment = client.experiment().await;
    let dataset = client.dataset("corpus").await;
    let text = "The river was low, and the wheel turned slowly.\n".repeat(200);
    let uploaded = client.upload(&dataset, "corpus.txt", text.into_bytes()).await;
    assert!(uploaded.status < 300, "{uploaded:?}");
    let input = json!({ "experimentId": experiment, "datasetId": dataset, "name": "tiny",
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 20, "batchSize": 2, "sequenceLength": 32 } });
    let query = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";
    let started = client.run(query, json!({ "i": input })).await;
    let id = started.data("startJob")["job"]["id"].as_str();
    id.unwrap_or_else(|| panic!("{started:?}")).to_owned()
}

/// AU-4: what was answered then is answered again, by position and by time, after everything has changed.
#[tokio::test]
async fn answers_of_the_past_come_again() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let role = json!({ "userId": ada.user_id, "role": "manager", "reason": "leads" });
    let switch = |active: bool| json!({ "userId": ada.user_id, "active": active, "reason": "test" });
    let mut seen = Vec::new();
    for step in 0..7 {
        match step {
            0 => {}
            1 => drop(start_job(&ada).await),
            2 => drop(change(&app.admin, "grantRole", "RoleChangeInput", role.clone()).await),
            3 => drop(start_job(&ada).await),
            4 => drop(change(&app.admin, "setUserActive", "SetUserActiveInput", switch(false)).await),
            5 => drop(change(&app.admin, "removeRole", "RoleChangeInput", role.clone()).await),
            _ => {
                let jobs = app.admin.run("{ jobs { nodes { id } } }", json!({})).await;
                let id = &jobs.data("jobs")["nodes"][0]["id"];
                let input = json!({ "jobId": id, "reason": "enough" });
                change(&app.admin, "cancelJob", "CancelJobInput", input).await;
            }
        }
        let head = head(&app.admin).await;
        seen.push((head.clone(), ask(&app.admin, &ada.user_id, None, &head).await));
    }
    assert_eq!(seen[0].1["access"]["usage"]["concurrentJobs"], json!(0));
    assert_eq!(seen[3].1["access"]["usage"]["concurrentJobs"], json!(2));
    assert_eq!(seen[4].1["access"]["account"], json!("DEACTIVATED"));
    assert_eq!(seen[6].1["jobs"]["nodes"][0]["state"], json!("CANCELLED"));
    for (index, (position, then)) in seen.iter().enumerate() {
        let by_position = json!({ "position": position });
        assert_eq!(
            &ask(&app.admin, &ada.user_id, Some(&by_position), "").await,
            then,
            "step {index}"
        );
        let by_time = json!({ "at": then["logInstant"]["at"] });
        let again = ask(&app.admin, &ada.user_id, Some(&by_time), "").await;
        assert_eq!(&again, then, "step {index} by time");
    }
    // Answers say what they are as of; several moments can be asked about at once.
    let both = app.admin.run(
        "query($a: AsOf!, $b: AsOf!) { a: jobs(asOf: $a) { asOf { position at } nodes { id } }
            b: jobs(asOf: $b) { asOf { position } nodes { state asOf { position } } } now: jobs { asOf { position } } }",
        json!({ "a": { "position": "0" }, "b": { "position": seen[3].0 } }),
    );
    let both = both.await;
    assert_eq!(
        both.data("a"),
        &json!({ "asOf": { "position": "0", "at": null }, "nodes": [] })
    );
    assert_eq!(
        both.data("b")["nodes"][0],
        json!({ "state": "QUEUED", "asOf": { "position": seen[3].0 } })
    );
    assert_eq!(both.data("now"), &json!({ "asOf": null }));
    app.stop().await;
}

/// AU-4: a moment that is none is refused with what would be right.
#[tokio::test]
async fn moments_that_are_none_are_refused() {
    let app = TestApp::start().await;
    for (as_of, expected) in [
        ("{ position: 99999999 }", "beyond the log's head"),
        ("{ at: \"2999-01-01T00:00:00Z\" }", "lies in the future"),
    ] {
        let answer = app
            .admin
            .run(
                &format!("{{ jobs(asOf: {as_of}) {{ nodes {{ id }} }} }}"),
                json!({}),
            )
            .await;
        assert_eq!(answer.code(), Some("BAD_USER_INPUT"), "{as_of}: {answer:?}");
        let message = answer.body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{as_of}: {message}");
    }
    for as_of in [
        "{}",
        "{ position: 1, at: \"2026-01-01T00:00:00Z\" }",
        "{ position: null }",
        "{ at: \"noon\" }",
        "{ position: -1 }",
    ] {
        let answer = app
            .admin
            .run(
                &format!("{{ jobs(asOf: {as_of}) {{ nodes {{ id }} }} }}"),
                json!({}),
            )
            .await;
        assert!(answer.body.get("errors").is_some(), "{as_of}: {answer:?}");
        assert!(answer.body["data"].is_null(), "{as_of}: {answer:?}");
    }
    let none = app
        .admin
        .run(
            "{ permissionHolders(permission: \"fly\") { nodes { userId } } }",
            json!({}),
        )
        .await;
    assert_eq!(none.code(), Some("BAD_USER_INPUT"));
    app.stop().await;
}

/// AU-4: who may ask about the past is decided by the rights of today, not by those of then.
#[tokio::test]
async fn the_rights_of_today_decide_who_may_ask() {
    let app = TestApp::start().await;
    let mara = app.person("mara", "manager").await;
    let ada = app.person("ada", "guest").await;
    let then = json!({ "position": head(&app.admin).await });
    let query = "query($asOf: AsOf, $user: ID) { access(userId: $user, asOf: $asOf) { roles { role } } }";
    let of_root = |client: Client, user: Option<String>| {
        let then = then.clone();
        async move { client.run(query, json!({ "asOf": then, "user": user })).await }
    };
    assert_eq!(
        of_root(mara.clone(), Some(ada.user_id.clone())).await.code(),
        None
    );
    assert_eq!(
        of_root(ada.clone(), Some(mara.user_id.clone())).await.code(),
        Some("FORBIDDEN")
    );
    let own = of_root(ada.clone(), None).await;
    assert_eq!(own.data("access")["roles"], json!([{ "role": "guest" }]));
    let role = |user: &str| json!({ "userId": user, "role": "manager", "reason": "test" });
    change(&app.admin, "removeRole", "RoleChangeInput", role(&mara.user_id)).await;
    change(&app.admin, "grantRole", "RoleChangeInput", role(&ada.user_id)).await;
    // Mara could then and cannot now; Ada the other way round.
    assert_eq!(
        of_root(mara.clone(), Some(ada.user_id.clone())).await.code(),
        Some("FORBIDDEN")
    );
    let mut roles = of_root(ada.clone(), Some(mara.user_id.clone()))
        .await
        .data("access")["roles"]
        .clone();
    roles
        .as_array_mut()
        .expect("roles")
        .sort_by_key(ToString::to_string);
    assert_eq!(roles, json!([{ "role": "guest" }, { "role": "manager" }]));
    let mine = ada
        .run(
            "query($asOf: AsOf) { then: myPermissions(asOf: $asOf) now: myPermissions }",
            json!({ "asOf": then }),
        )
        .await;
    assert!(!mine.data("then").to_string().contains("roles.grant"));
    assert!(mine.data("now").to_string().contains("roles.grant"));
    let stranger = app
        .client()
        .run("{ logInstant(asOf: { position: 0 }) { position } }", json!({}))
        .await;
    assert_eq!(stranger.code(), Some("UNAUTHENTICATED"));
    app.stop().await;
}
