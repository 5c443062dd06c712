//! What is recorded of access that changes nothing: denials, reads of others' things, downloads, wrong tokens, locks.
//!
//! One rule: the log itself is read, from below, so that reading it adds nothing to it.

use domain::{
    audit::record::record_left_out,
    event_store::{Filter, Position, RecordedEvent},
};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp, TestOptions, app::PASSWORD};
use time::Duration;

/// The payloads of a kind, with their actors, in order.
async fn recorded(app: &TestApp, kind: &str) -> Vec<(String, Value)> {
    let filter = Filter {
        stream_prefixes: Vec::new(),
        kind_prefixes: vec![kind.to_owned()],
    };
    let store = &app.system.app.ports.store;
    let head = store.head().await.expect("a head");
    let (mut found, mut after) = (Vec::new(), Position::START);
    while after < head {
        let page = store.read_all(after, &filter, 1_000).await.expect("a page");
        let payload = |event: &RecordedEvent| serde_json::from_str(event.data.get()).expect("JSON");
        found.extend(
            page.events
                .iter()
                .map(|event| (event.meta.actor.clone(), payload(event))),
        );
        after = page.next;
    }
    found
}

fn actor(client: &Client) -> String {
    format!("user:{}", client.user_id)
}

async fn left_out(app: &TestApp, kind: &str) -> u64 {
    let counts = recorded(app, kind).await;
    counts.iter().filter_map(|(_, data)| data["count"].as_u64()).sum()
}

async fn create(client: &Client, name: &str, document: &str) -> Answer {
    client.run(document, json!({ "n": name })).await
}

/// FA8: a read that `require` refuses is recorded, once an hour, and the others are counted.
#[tokio::test]
async fn a_refused_read_is_recorded_once_an_hour_and_the_others_are_counted() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    for _ in 0..10 {
        let refused = ada.run("{ users { nodes { id } } }", json!({})).await;
        assert_eq!(refused.code(), Some("FORBIDDEN"));
    }
    let denied = json!({ "action": "users.read", "resource": "users", "rule": "role" });
    assert_eq!(
        recorded(&app, "access.PermissionDenied").await,
        [(actor(&ada), denied.clone())]
    );
    assert_eq!(
        left_out(&app, "access.DenialsLeftOut").await,
        0,
        "the hour is not over"
    );
    app.clock.advance(Duration::minutes(61));
    let ada = app.client().login("ada").await;
    ada.run("{ users { nodes { id } } }", json!({})).await;
    assert_eq!(recorded(&app, "access.PermissionDenied").await.len(), 2);
    assert_eq!(left_out(&app, "access.DenialsLeftOut").await, 9);
    app.stop().await;
}

/// FR17: an account cannot fill the log with refusals, whatever it names.
#[tokio::test]
async fn refusals_of_ever_new_things_are_bounded_and_none_is_lost() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let delete = "mutation($n: ID!) { cancelJob(input: { jobId: $n }) { userErrors { code } } }";
    for number in 0..100 {
        let refused = create(&ada, &format!("job_{number:032x}"), delete).await;
        assert_eq!(refused.user_codes("cancelJob"), ["NOT_FOUND"], "{refused:?}");
    }
    let denials = recorded(&app, "access.PermissionDenied").await;
    assert_eq!(denials.len(), 60);
    let ports = &app.system.app.ports;
    record_left_out(ports, true).await.expect("recorded");
    assert_eq!(left_out(&app, "access.DenialsLeftOut").await, 40);
    record_left_out(ports, true).await.expect("recorded");
    assert_eq!(left_out(&app, "access.DenialsLeftOut").await, 40, "told once");
    app.stop().await;
}

/// FA8: reading what belongs to somebody else by its id is answered like what does not exist, and recorded.
#[tokio::test]
async fn a_read_of_a_strangers_thing_is_a_recorded_denial() {
    let app = TestApp::start().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let dataset = ada.dataset("Texts").await;
    let query = "query($i: ID!, $j: ID!) { mine: dataset(id: $i) { id } dataset(id: $j) { id } node(id: $i) { ... on Dataset { id } } }";
    let none = "dst_000000000000000000000000000000ff";
    for _ in 0..2 {
        let answer = bob.run(query, json!({ "i": dataset, "j": none })).await;
        assert_eq!(
            answer.body["data"],
            json!({ "mine": null, "dataset": null, "node": null })
        );
    }
    ada.run(query, json!({ "i": dataset, "j": none })).await;
    let denied = json!({ "action": "datasets.read", "resource": dataset, "rule": "stranger" });
    assert_eq!(
        recorded(&app, "access.PermissionDenied").await,
        [(actor(&bob), denied)]
    );
    // By HTTP it is the same denial, and so is counted.
    let path = format!("/api/datasets/{dataset}/versions");
    let refused = bob.send(bob.request(Method::POST, &path).body("x")).await;
    assert_eq!(refused.status, 404);
    let denied = recorded(&app, "access.PermissionDenied").await;
    assert_eq!(denied[1].1["action"], "datasets.update");
    assert!(
        recorded(&app, "audit.Others").await.is_empty(),
        "they are no administrators"
    );
    app.stop().await;
}

/// AC-4: an administrator's look at others' things is recorded, once per person, thing and hour; at one's own it is not.
#[tokio::test]
async fn an_administrators_look_at_others_things_is_recorded() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let (theirs, own) = (ada.dataset("Texts").await, app.admin.dataset("Own").await);
    let experiment = ada.experiment().await;
    let query = "query($i: ID!) { dataset(id: $i) { id } }";
    for id in [&theirs, &theirs, &own] {
        let shown = app.admin.run(query, json!({ "i": id })).await;
        assert_eq!(shown.data("dataset")["id"], json!(id));
    }
    app.admin
        .run(
            "query($i: ID!) { node(id: $i) { ... on Experiment { id } } }",
            json!({ "i": experiment }),
        )
        .await;
    let things: Vec<Value> = recorded(&app, "audit.OthersThingRead")
        .await
        .into_iter()
        .map(|(_, data)| data)
        .collect();
    assert_eq!(
        things,
        [json!({ "thing": theirs }), json!({ "thing": experiment })]
    );
    for _ in 0..2 {
        app.admin
            .run(
                "{ datasets { nodes { id } } jobs { nodes { id } } users { nodes { id } } \
                 projects { nodes { experiments { nodes { id } } } } }",
                json!({}),
            )
            .await;
    }
    let lists: Vec<Value> = recorded(&app, "audit.OthersThingsListed")
        .await
        .into_iter()
        .map(|(_, data)| data)
        .collect();
    let mut names: Vec<&str> = lists.iter().filter_map(|data| data["things"].as_str()).collect();
    names.sort_unstable();
    // What lies below a list of projects is somebody's too.
    assert_eq!(names, ["datasets", "experiments", "jobs", "projects", "users"]);
    ada.run("{ datasets { nodes { id } } }", json!({})).await;
    assert_eq!(
        recorded(&app, "audit.OthersThingsListed").await.len(),
        5,
        "only an administrator's"
    );
    app.clock.advance(Duration::minutes(61));
    let admin = app.client().login("root").await;
    admin.run(query, json!({ "i": theirs })).await;
    assert_eq!(
        recorded(&app, "audit.OthersThingRead").await.len(),
        3,
        "a new hour"
    );
    record_left_out(&app.system.app.ports, false)
        .await
        .expect("recorded");
    assert_eq!(
        left_out(&app, "audit.ReadsLeftOut").await,
        6,
        "one thing and five lists, again"
    );
    app.stop().await;
}

/// AC-4: what cannot be recorded is not shown.
#[tokio::test]
async fn an_administrator_is_not_shown_what_cannot_be_recorded() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let theirs = ada.dataset("Texts").await;
    let mut database = super::outages::Administered::of(&app).await;
    database.read_only(true).await;
    let query = "query($i: ID!) { dataset(id: $i) { id } }";
    let begun = tokio::time::Instant::now();
    // Its owner reads it: the connections are back, and only writing does not work.
    while ada.run(query, json!({ "i": theirs })).await.code().is_some() {
        assert!(begun.elapsed().as_secs() < 30);
    }
    let refused = app.admin.run(query, json!({ "i": theirs })).await;
    assert_eq!(refused.code(), Some("UNAVAILABLE"), "{refused:?}");
    assert_eq!(refused.body["data"], Value::Null, "{refused:?}");
    database.read_only(false).await;
    while app
        .admin
        .run(query, json!({ "i": theirs }))
        .await
        .code()
        .is_some()
    {
        assert!(begun.elapsed().as_secs() < 60);
    }
    assert_eq!(recorded(&app, "audit.OthersThingRead").await.len(), 1);
    app.stop().await;
}

/// FR17: HEADs and ranges of one download are one event an hour; another version is another.
#[tokio::test]
async fn a_download_in_pieces_is_one_event() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    for text in ["one line of text\n", "another line of text\n"] {
        assert_eq!(ada.upload(&dataset, "a.txt", text.into()).await.status, 201);
    }
    let path = |version: u32| format!("/api/datasets/{dataset}/versions/{version}/content");
    for _ in 0..3 {
        assert_eq!(ada.send(ada.request(Method::HEAD, &path(1))).await.status, 200);
        let range = ada
            .request(Method::GET, &path(1))
            .header(header::RANGE, "bytes=0-2");
        assert_eq!(ada.send(range).await.status, 206);
    }
    assert_eq!(ada.send(ada.request(Method::GET, &path(2))).await.status, 200);
    let versions: Vec<Value> = recorded(&app, "audit.DatasetDownloaded")
        .await
        .into_iter()
        .map(|(_, data)| data["version"].clone())
        .collect();
    assert_eq!(versions, [json!(1), json!(2)]);
    record_left_out(&app.system.app.ports, true)
        .await
        .expect("recorded");
    assert_eq!(left_out(&app, "audit.ReadsLeftOut").await, 5);
    app.stop().await;
}

/// FA8: a token that is not good is recorded with its kind, without anything of it, and bounded per address.
#[tokio::test]
async fn wrong_tokens_are_recorded_without_them_and_bounded() {
    let app = TestApp::bare(TestOptions::default()).await;
    let account = json!({ "username": "eve", "email": "eve@example.org", "password": PASSWORD });
    let setup = "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { userErrors { code } } }";
    let refused = app
        .client()
        .run(
            setup,
            json!({ "i": { "setupToken": "guess-of-eve", "account": account } }),
        )
        .await;
    assert_eq!(refused.user_codes("createFirstAdministrator"), ["INVALID_TOKEN"]);
    tests::harness::people::administrator(&app.url, &app.data_dir).await;
    let verify = "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { code } } }";
    let refresh = "mutation($t: String!) { refresh(input: { refreshToken: $t }) { userErrors { code } } }";
    for _ in 0..30 {
        for (document, field) in [(verify, "verifyEmail"), (refresh, "refresh")] {
            let refused = app.client().run(document, json!({ "t": "guess-of-eve" })).await;
            assert_eq!(refused.user_codes(field), ["INVALID_TOKEN"]);
        }
    }
    let refused = recorded(&app, "identity.TokenRefused").await;
    let tokens: Vec<&Value> = refused.iter().map(|(_, data)| &data["token"]).collect();
    assert_eq!(tokens, ["setup", "verification", "refresh"]);
    assert!(!format!("{refused:?}").contains("guess"), "{refused:?}");
    record_left_out(&app.system.app.ports, true)
        .await
        .expect("recorded");
    assert_eq!(left_out(&app, "identity.TokensLeftOut").await, 58);
    app.stop().await;
}

/// SE-5: the lock is a fact; attempts while it lasts are counted.
#[tokio::test]
async fn a_lock_is_recorded_and_attempts_under_it_are_counted() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let login = "mutation($i: LoginInput!) { login(input: $i) { accessToken userErrors { code message } } }";
    for _ in 0..20 {
        let refused = app
            .client()
            .run(login, json!({ "i": { "login": "ada", "password": "wrong" } }))
            .await;
        assert_eq!(refused.user_codes("login"), ["LOGIN_FAILED"]);
    }
    let causes: Vec<Value> = recorded(&app, "identity.LoginFailed")
        .await
        .into_iter()
        .map(|(_, data)| data["cause"].clone())
        .collect();
    assert_eq!(
        causes.len(),
        6,
        "five guesses, and the first under the lock: {causes:?}"
    );
    assert_eq!(causes[5], "locked");
    let locks = recorded(&app, "identity.LoginLocked").await;
    assert_eq!(locks.len(), 1);
    let bare = uuid_of(&ada.user_id);
    assert_eq!(locks[0].1["user"], json!(bare));
    record_left_out(&app.system.app.ports, true)
        .await
        .expect("recorded");
    assert_eq!(left_out(&app, "identity.LoginsLeftOut").await, 14);
    app.stop().await;
}

fn uuid_of(id: &str) -> String {
    let id: domain::id::UserId = id.parse().expect("an id");
    id.0.to_string()
}

/// What was left out is recorded when the process stops in order.
#[tokio::test]
async fn counts_are_recorded_when_the_process_stops() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    for _ in 0..5 {
        ada.run("{ users { nodes { id } } }", json!({})).await;
    }
    let url = app.database_url.clone();
    app.stop().await;
    assert_eq!(
        tests::harness::events::counted(&url, "access.DenialsLeftOut").await,
        4
    );
}
