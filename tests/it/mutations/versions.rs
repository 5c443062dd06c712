//! `expectedVersion`: an update that was decided on another state is told, with the state as it is (GQ-2).

use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp};

use super::first_error;

const SET_ACTIVE: &str = "mutation($i: SetUserActiveInput!) { setUserActive(input: $i) { position user { version deactivated } userErrors { code path message } } }";
const GRANT: &str =
    "mutation($i: RoleChangeInput!) { grantRole(input: $i) { user { version } userErrors { code } } }";

async fn set_active(admin: &Client, user: &str, active: bool, expected: Value) -> Answer {
    let input = json!({ "userId": user, "active": active, "reason": "test", "expectedVersion": expected });
    admin.run(SET_ACTIVE, json!({ "i": input })).await
}

fn version(payload: &Value) -> i64 {
    payload["user"]["version"]
        .as_i64()
        .unwrap_or_else(|| panic!("a version: {payload}"))
}

#[tokio::test]
async fn an_update_says_which_version_it_is_about() {
    let app = TestApp::start().await;
    let eve = app.person("eve", "guest").await;
    let admin = &app.admin;
    let own = eve.run("{ me { version } }", json!({})).await;
    let seen = own.data("me")["version"].as_i64().expect("a version");
    // Present.
    let off = set_active(admin, &eve.user_id, false, json!(seen)).await;
    let payload = off.data("setUserActive");
    assert_eq!(payload["userErrors"], json!([]), "{off:?}");
    assert_eq!(version(payload), seen + 1);
    // Old, and in the future: nothing happens, and the present state is shown.
    for expected in [seen, seen + 2, 0] {
        let stale = set_active(admin, &eve.user_id, true, json!(expected)).await;
        assert_eq!(first_error(&stale, "setUserActive")["code"], "CONFLICT");
        assert_eq!(
            first_error(&stale, "setUserActive")["path"],
            json!(["expectedVersion"])
        );
        // True of each of them.
        let said = first_error(&stale, "setUserActive")["message"].to_string();
        assert!(
            said.contains("does not have the version that you expect"),
            "{said}"
        );
        let payload = stale.data("setUserActive");
        assert_eq!(
            (version(payload), &payload["user"]["deactivated"]),
            (seen + 1, &json!(true))
        );
        assert!(payload["position"].is_null());
    }
    // Absent: as it is.
    let on = set_active(admin, &eve.user_id, true, Value::Null).await;
    assert_eq!(version(on.data("setUserActive")), seen + 2);
    // Roles count, too.
    let input =
        json!({ "userId": eve.user_id, "role": "viewer", "reason": "test", "expectedVersion": seen + 1 });
    let stale = admin.run(GRANT, json!({ "i": input })).await;
    assert_eq!(stale.user_codes("grantRole"), ["CONFLICT"]);
    let roles = admin.run("{ roles { name } }", json!({})).await;
    let role = roles.data("roles")[0]["name"].clone();
    let input = json!({ "userId": eve.user_id, "role": role, "reason": "test", "expectedVersion": seen + 2 });
    let granted = admin.run(GRANT, json!({ "i": input })).await;
    assert_eq!(version(granted.data("grantRole")), seen + 3, "{granted:?}");
    let below = set_active(admin, &eve.user_id, false, json!(-1)).await;
    assert_eq!(below.code(), Some("BAD_USER_INPUT"));
    app.stop().await;
}

/// Nobody learns from a conflict what they may not see.
#[tokio::test]
async fn a_version_is_compared_after_the_permission() {
    let app = TestApp::start().await;
    let (ada, eve) = (
        app.person("ada", "engineer_i").await,
        app.person("eve", "guest").await,
    );
    let denied = set_active(&eve, &ada.user_id, false, json!(1)).await;
    assert_eq!(denied.code(), Some("FORBIDDEN"), "{denied:?}");
    app.stop().await;
}

/// Of updates that were decided on the same version, in two processes, one is made.
#[tokio::test]
async fn of_racing_updates_one_wins() {
    let app = TestApp::start().await;
    let other = app.beside().await;
    let eve = app.person("eve", "guest").await;
    let own = eve.run("{ me { version } }", json!({})).await;
    let seen = own.data("me")["version"].clone();
    let known = app.admin.run("{ roles { name } }", json!({})).await;
    let known: Vec<String> = known
        .data("roles")
        .as_array()
        .expect("roles")
        .iter()
        .filter_map(|role| role["name"].as_str())
        .filter(|role| *role != "guest" && *role != "admin")
        .map(str::to_owned)
        .collect();
    assert!(known.len() >= 2, "{known:?}");
    let racing = known.iter().cycle().take(8).enumerate().map(|(number, role)| {
        let client = if number % 2 == 0 { &app.admin } else { &other.admin };
        let input = json!({ "userId": eve.user_id, "role": role, "reason": "race", "expectedVersion": seen });
        client.run(GRANT, json!({ "i": input }))
    });
    let answers = futures::future::join_all(racing).await;
    let won = answers
        .iter()
        .filter(|answer| answer.user_codes("grantRole").is_empty());
    assert_eq!(won.count(), 1, "{answers:#?}");
    let lost = answers
        .iter()
        .filter(|answer| answer.user_codes("grantRole") == ["CONFLICT"]);
    assert_eq!(lost.count(), 7, "{answers:#?}");
    other.stop().await;
    app.stop().await;
}
