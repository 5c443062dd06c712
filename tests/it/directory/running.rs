//! The whole system, stopped and started again over a log that is long enough for a snapshot.
//!
//! One rule: from outside; only whether a snapshot is there is read from its table.

use domain::access::{
    builtin,
    role::{Role, RoleEvent},
};
use serde_json::json;
use sqlx::Row as _;
use tests::harness::{Client, TestApp};

use super::fixture::long;

/// What a manager may ask and a guest may not; decided by the directory.
const USERS: &str = "{ users(first: 1) { nodes { id } } }";

async fn positions(app: &TestApp) -> Vec<i64> {
    let rows = sqlx::query("select position from access_directory_snapshot order by number desc")
        .fetch_all(&app.system.app.database)
        .await
        .expect("readable");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn me(client: &Client) -> Option<String> {
    let answer = client.run("{ me { id } }", json!({})).await;
    answer.code().map(str::to_owned)
}

/// ID-5, AC-2: what was taken after the snapshot is gone at the first request after the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_after_the_snapshot_is_refused_at_the_first_request() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "manager").await;
    let eve = app.person("eve", "engineer_i").await;
    let definition = builtin::roles().into_iter().next().expect("a role");
    long::<Role>(
        &app.database_url,
        &definition.name.clone(),
        &RoleEvent::Defined(definition),
        1_200,
    )
    .await;
    let beside = app.beside().await;
    assert_eq!(positions(&beside).await, Vec::<i64>::new(), "none is due yet");
    app.stop().await;
    let kept = positions(&beside).await;
    assert_eq!(kept.len(), 1, "an orderly stop keeps one");
    let seen = ada.at(&beside.url).run(USERS, json!({})).await;
    assert_eq!(seen.code(), None, "{seen:?}");
    let admin = &beside.admin;
    let query = "mutation($i: RoleChangeInput!) { removeRole(input: $i) { userErrors { code } } }";
    let input = json!({ "userId": ada.user_id, "role": "manager", "reason": "because" });
    let removed = admin.run(query, json!({ "i": input })).await;
    assert_eq!(removed.user_codes("removeRole"), Vec::<String>::new());
    let signed_out = eve
        .at(&beside.url)
        .run("mutation { logout { userErrors { code } } }", json!({}))
        .await;
    assert!(signed_out.body.get("errors").is_none(), "{signed_out:?}");
    let again = beside.beside().await;
    assert_eq!(positions(&again).await, kept, "it started from that one");
    let (ada, eve) = (ada.at(&again.url), eve.at(&again.url));
    assert_eq!(me(&eve).await.as_deref(), Some("UNAUTHENTICATED"));
    let refused = ada.run(USERS, json!({})).await;
    assert_eq!(refused.code(), Some("FORBIDDEN"), "{refused:?}");
    assert_eq!(me(&ada).await, None);
    beside.stop().await;
    again.stop().await;
}

/// SE-2: who logs in at one process is known to all of them with the next request, however late they hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_just_opened_is_good_in_every_process() {
    let app = TestApp::start().await;
    let beside = app.beside().await;
    app.person("ada", "engineer_i").await;
    for round in 0..10 {
        let ada = app.client().login("ada").await.at(&beside.url);
        let answer = ada.run("{ version }", json!({})).await;
        assert!(answer.body["errors"].is_null(), "round {round}: {answer:?}");
    }
    beside.stop().await;
    app.stop().await;
}
