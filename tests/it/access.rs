//! Roles, from outside.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp};

use crate::permissions::specified::{permission_names, roles};

async fn change(client: &Client, verb: &str, user: &str, role: &str) -> Answer {
    let query = format!(
        "mutation($i: RoleChangeInput!) {{ {verb}(input: $i) {{ user {{ roles {{ role reason }} }} userErrors {{ code }} }} }}"
    );
    client
        .run(
            &query,
            json!({ "i": { "userId": user, "role": role, "reason": "because" } }),
        )
        .await
}

/// AC-2: a manager grants what the list allows, and nothing else; nobody changes their own roles.
#[tokio::test]
async fn grants_stay_within_the_granters_list() {
    let app = TestApp::start().await;
    let manager = app.person("mara", "manager").await;
    let ada = app.person("ada", "guest").await;
    let granted = change(&manager, "grantRole", &ada.user_id, "engineer_ii").await;
    let roles = granted.data("grantRole")["user"]["roles"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(
        roles
            .iter()
            .any(|role| role["role"] == json!("engineer_ii") && role["reason"] == json!("because"))
    );
    let beyond = change(&manager, "grantRole", &ada.user_id, "admin").await;
    assert_eq!(beyond.user_codes("grantRole"), ["BEYOND_OWN_GRANTS"]);
    let own = change(&manager, "grantRole", &manager.user_id, "engineer_i").await;
    assert_eq!(own.user_codes("grantRole"), ["OWN_ROLES"]);
    let unknown = change(&manager, "grantRole", &ada.user_id, "emperor").await;
    assert_eq!(unknown.user_codes("grantRole"), ["UNKNOWN_ROLE"]);
    let engineer = change(&ada, "grantRole", &manager.user_id, "guest").await;
    assert_eq!(engineer.code(), Some("FORBIDDEN"));
    app.stop().await;
}

/// A1: a removed role stops working for the next request.
#[tokio::test]
async fn a_removed_role_stops_working_at_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "manager").await;
    assert_eq!(
        ada.run("{ users { nodes { id } } }", json!({})).await.code(),
        None
    );
    change(&app.admin, "removeRole", &ada.user_id, "manager")
        .await
        .data("removeRole");
    assert_eq!(
        ada.run("{ users { nodes { id } } }", json!({})).await.code(),
        Some("FORBIDDEN")
    );
    app.stop().await;
}

/// Denials are facts: who was refused what, by which rule.
#[tokio::test]
async fn a_denied_command_is_recorded() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "viewer").await;
    change(&app.admin, "removeRole", &ada.user_id, "guest")
        .await
        .data("removeRole");
    let refused = ada
        .run(
            "mutation { createProject(input: { name: \"x\" }) { userErrors { code } } }",
            json!({}),
        )
        .await;
    assert_eq!(refused.code(), Some("FORBIDDEN"));
    let log = app
        .admin
        .run(
            "{ auditLog(filter: { kind: \"access.PermissionDenied\" }) { nodes { actor outcome data } } }",
            json!({}),
        )
        .await;
    let entry: &Value = &log.data("auditLog")["nodes"][0];
    assert_eq!(entry["actor"], json!(format!("user:{}", ada.user_id)));
    assert_eq!(entry["data"]["action"], json!("projects.create"));
    assert_eq!(entry["data"]["rule"], json!("role"), "{entry}");
    assert_eq!(entry["outcome"], json!("FAILURE"), "{entry}");
    app.stop().await;
}

/// The permission_names and the built-in roles are served.
#[tokio::test]
async fn roles_and_permissions_are_listed() {
    let app = TestApp::start().await;
    let listed = app
        .admin
        .run(
            "{ roles { name permissions mayGrant quotas { projects } } permissions { name description } }",
            json!({}),
        )
        .await;
    let texts = |value: &Value| -> BTreeSet<String> {
        let texts = value.as_array().expect("a list").iter();
        texts
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let listed_roles = listed.data("roles").as_array().expect("roles");
    for role in roles() {
        let found = listed_roles.iter().find(|found| found["name"] == role.name);
        let found = found.unwrap_or_else(|| panic!("{} is not listed", role.name));
        let owned = |set: BTreeSet<&str>| set.into_iter().map(str::to_owned).collect();
        let (permissions, may_grant): (BTreeSet<String>, BTreeSet<String>) =
            (owned(role.permissions), owned(role.may_grant));
        assert_eq!(texts(&found["permissions"]), permissions, "{}", role.name);
        assert_eq!(texts(&found["mayGrant"]), may_grant, "{}", role.name);
        assert_eq!(
            found["quotas"]["projects"],
            json!(role.limits[0]),
            "{}",
            role.name
        );
    }
    assert_eq!(listed_roles.len(), roles().len());
    let permissions = listed.data("permissions").as_array().expect("permissions");
    let names: BTreeSet<&str> = permissions
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, permission_names());
    for permission in permissions {
        let words = permission["description"].as_str().expect("a description");
        assert!(words.ends_with('.'), "{permission}");
    }
    app.stop().await;
}
