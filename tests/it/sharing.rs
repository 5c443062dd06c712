//! Sharing models from outside: who sees what, until when, and what happens when it is taken back (PR-5).

mod taken_back;

use std::time::Duration;

use domain::{
    authz::{Party, PartyRole, Share},
    execute::execute,
    projects::project::Project,
    sharing::grant::GrantAccess,
};
use serde_json::{Value, json};
use tests::harness::{Answer, Client, TestApp, TestOptions};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures");

const SHARE: &str = "mutation($i: ShareModelInput!) { shareModel(input: $i) { model { id accessType access { partyId role until grantedById } } position userErrors { path message code } } }";
const REVOKE: &str = "mutation($i: RevokeModelAccessInput!) { revokeModelAccess(input: $i) { model { id } position userErrors { path code } } }";

async fn app() -> TestApp {
    let settings = vec![("models.folder", FIXTURES.to_owned())];
    TestApp::start_with(TestOptions { workers: 0, settings }).await
}

async fn model(client: &Client) -> String {
    client.import("base").await
}

async fn share(client: &Client, model: &str, party: &str, role: &str) -> Answer {
    let input = json!({ "modelId": model, "partyId": party, "role": role });
    client.run(SHARE, json!({ "i": input })).await
}

async fn revoke(client: &Client, model: &str, party: &str) -> Answer {
    let input = json!({ "modelId": model, "partyId": party });
    client.run(REVOKE, json!({ "i": input })).await
}

/// What a client sees of a model: its access type by its own query, and whether the list and `node` have it too.
async fn seen(client: &Client, model: &str) -> Option<String> {
    let query = "query($id: ID!) { model(id: $id) { accessType } node(id: $id) { id } models { nodes { id } totalCount } }";
    let answer = client.run(query, json!({ "id": model })).await;
    let data = &answer.body["data"];
    let listed = data["models"]["nodes"].as_array().expect("a list");
    let found = data["model"]["accessType"].as_str().map(str::to_owned);
    assert_eq!(
        listed.iter().any(|one| one["id"] == *model),
        found.is_some(),
        "{answer:?}"
    );
    assert_eq!(data["node"].is_object(), found.is_some(), "{answer:?}");
    assert_eq!(data["models"]["totalCount"], listed.len(), "{answer:?}");
    found
}

async fn download(client: &Client, model: &str) -> u16 {
    let path = format!("/api/models/{model}/versions/1/files/config.json");
    client
        .send(client.request(reqwest::Method::GET, &path))
        .await
        .status
}

/// PR-5: shared, seen with its versions by every query, changed to another role, and taken back.
#[tokio::test]
async fn a_model_is_shared_with_a_user_and_taken_back() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let model = model(&ada).await;
    assert_eq!(seen(&ada, &model).await.as_deref(), Some("OWNER"));
    assert_eq!(seen(&bob, &model).await, None);
    assert_eq!(
        share(&bob, &model, &bob.user_id, "EDITOR")
            .await
            .user_codes("shareModel"),
        ["NOT_FOUND"]
    );

    let shared = share(&ada, &model, &bob.user_id, "VIEWER").await;
    let access = &shared.data("shareModel")["model"]["access"];
    assert_eq!(
        *access,
        json!([{ "partyId": bob.user_id, "role": "VIEWER", "until": null, "grantedById": ada.user_id }]),
        "{shared:?}"
    );
    assert_eq!(seen(&bob, &model).await.as_deref(), Some("SHARED"));
    // A viewer queries it: no download, no list of who has access, no sharing on.
    assert_eq!(download(&bob, &model).await, 403);
    let listed = "query($id: ID!) { model(id: $id) { versions { version } access { partyId } } }";
    let listed = bob.run(listed, json!({ "id": model })).await;
    assert_eq!(listed.data("model")["access"], Value::Null, "{listed:?}");
    assert_eq!(listed.data("model")["versions"][0]["version"], 1, "{listed:?}");
    let onward = share(&bob, &model, &ada.user_id, "VIEWER").await;
    assert_eq!(onward.code(), Some("FORBIDDEN"), "{onward:?}");

    assert_eq!(
        share(&ada, &model, &bob.user_id, "EDITOR")
            .await
            .user_codes("shareModel"),
        [""; 0]
    );
    assert_eq!(download(&bob, &model).await, 200);
    let before = app.system.app.ports.store.known_head();
    let revoked = revoke(&ada, &model, &bob.user_id).await;
    assert_eq!(revoked.user_codes("revokeModelAccess"), [""; 0], "{revoked:?}");
    assert_eq!(seen(&bob, &model).await, None);
    assert_eq!(download(&bob, &model).await, 404);
    assert_eq!(
        revoke(&ada, &model, &bob.user_id)
            .await
            .user_codes("revokeModelAccess"),
        ["NOT_FOUND"]
    );

    // AU-1: both attempts to download what he may not are on record.
    let denials = "{ auditLog(filter: { kind: \"access.PermissionDenied\" }) { nodes { actor data } } }";
    let denials = app.admin.run(denials, json!({})).await;
    let nodes = denials.data("auditLog")["nodes"].as_array().expect("a list");
    for (action, rule) in [("models.export", "role"), ("models.read", "stranger")] {
        let denied = json!({ "action": action, "resource": model, "rule": rule });
        assert!(
            nodes.iter().any(|one| one["data"] == denied),
            "{denied}: {denials:?}"
        );
    }

    // AU-4: who had access then; today's rights decide who may ask.
    let past =
        "query($id: ID!, $p: Long!) { model(id: $id, asOf: { position: $p }) { access { partyId role } } }";
    let asked = json!({ "id": model, "p": before.0.to_string() });
    let had = ada.run(past, asked.clone()).await;
    assert_eq!(
        had.data("model")["access"],
        json!([{ "partyId": bob.user_id, "role": "EDITOR" }]),
        "{had:?}"
    );
    assert_eq!(*bob.run(past, asked).await.data("model"), Value::Null);
    app.stop().await;
}

/// PR-5: at its second, for queries and downloads, without any job having to run.
#[tokio::test]
async fn access_ends_at_its_second() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let model = model(&ada).await;
    let until = app.system.app.now() + time::Duration::HOUR;
    let until = until
        .format(&time::format_description::well_known::Rfc3339)
        .expect("a time");
    let input = json!({ "modelId": model, "partyId": bob.user_id, "role": "EDITOR", "until": until });
    let shared = ada.run(SHARE, json!({ "i": input })).await;
    assert_eq!(shared.user_codes("shareModel"), [""; 0], "{shared:?}");
    app.clock.advance(time::Duration::seconds(3_590));
    let bob = app.client().login("bob").await;
    assert_eq!(seen(&bob, &model).await.as_deref(), Some("SHARED"));
    assert_eq!(download(&bob, &model).await, 200);
    app.clock.advance(time::Duration::seconds(11));
    assert_eq!(seen(&bob, &model).await, None);
    assert_eq!(download(&bob, &model).await, 404);
    app.stop().await;
}

/// PR-5: a project and an organization have access for those who are in them, for as long as they are.
#[tokio::test]
async fn members_of_a_project_share_its_access() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let model = model(&ada).await;
    let create = "mutation { createProject(input: { name: \"Team\" }) { project { id } } }";
    let created = ada.run(create, json!({})).await;
    let project = created.data("createProject")["project"]["id"]
        .as_str()
        .expect("a project")
        .to_owned();
    // Bob does not see the project, so for him there is none.
    let own = self::model(&bob).await;
    assert_eq!(
        share(&bob, &own, &project, "VIEWER")
            .await
            .user_codes("shareModel"),
        ["NOT_FOUND"]
    );
    assert_eq!(
        share(&ada, &model, &project, "EDITOR")
            .await
            .user_codes("shareModel"),
        [""; 0]
    );
    assert_eq!(seen(&bob, &model).await, None);

    // Membership is the same access list; its mutations belong to the projects.
    let parts = &app.system.app;
    let ada_principal = parts
        .directory
        .user(ada.user_id.parse().expect("a user"))
        .expect("known");
    let join = GrantAccess::<Project> {
        resource: project.parse().expect("a project"),
        share: Share {
            party: Party::User(bob.user_id.parse().expect("a user")),
            role: PartyRole::Member,
            until: None,
            by: ada.user_id.parse().expect("a user"),
        },
    };
    let joined = execute(&parts.ports, &ada_principal, &Default::default(), &join).await;
    let joined = joined.expect("joined");
    parts
        .progress
        .wait_for_position(joined, Duration::from_secs(10))
        .await
        .expect("folded");
    assert_eq!(seen(&bob, &model).await.as_deref(), Some("SHARED"));
    assert_eq!(download(&bob, &model).await, 200);
    let projects = bob
        .run(
            "{ projects { nodes { id } } experiments { nodes { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        projects.data("projects")["nodes"],
        json!([{ "id": project }]),
        "{projects:?}"
    );
    assert_eq!(
        revoke(&ada, &model, &project)
            .await
            .user_codes("revokeModelAccess"),
        [""; 0]
    );
    assert_eq!(seen(&bob, &model).await, None);
    app.stop().await;
}

/// Bad input is told at its path, all of it, and changes nothing.
#[tokio::test]
async fn what_is_wrong_with_a_grant_is_told_at_once() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "guest").await,
    );
    let model = model(&ada).await;
    let wrong = json!({ "modelId": model, "partyId": "usr_00000000000000000000000000000000", "role": "MEMBER",
        "until": "2020-01-01T00:00:00Z" });
    let refused = ada.run(SHARE, json!({ "i": wrong })).await;
    let errors = refused.data("shareModel")["userErrors"]
        .as_array()
        .expect("errors")
        .clone();
    let paths: Vec<&str> = errors
        .iter()
        .filter_map(|error| error["path"][0].as_str())
        .collect();
    assert_eq!(paths, ["partyId", "role", "until"], "{refused:?}");
    for party in [
        "",
        "nobody",
        &model,
        "org_0192000000007000800000000000000a",
        "prj_0192000000007000800000000000000a",
    ] {
        assert_eq!(
            share(&ada, &model, party, "VIEWER")
                .await
                .user_codes("shareModel"),
            ["NOT_FOUND"],
            "{party}"
        );
    }
    assert_eq!(
        share(&ada, "mdl_x", &bob.user_id, "VIEWER")
            .await
            .user_codes("shareModel"),
        ["NOT_FOUND"]
    );
    assert_eq!(
        share(&ada, &model, &ada.user_id, "VIEWER")
            .await
            .user_codes("shareModel"),
        ["INVALID"]
    );

    // IN-2: a guest does not share, not even what a guest may edit.
    assert_eq!(
        share(&ada, &model, &bob.user_id, "EDITOR")
            .await
            .user_codes("shareModel"),
        [""; 0]
    );
    assert_eq!(
        share(&bob, &model, &ada.user_id, "VIEWER").await.code(),
        Some("FORBIDDEN")
    );
    // Everybody may give up their own access; then the payload shows nothing any more.
    let left = revoke(&bob, &model, &bob.user_id).await;
    assert_eq!(left.data("revokeModelAccess")["model"], Value::Null, "{left:?}");
    assert_eq!(left.user_codes("revokeModelAccess"), [""; 0], "{left:?}");
    assert_eq!(seen(&bob, &model).await, None);

    // The account is erased: there is no such user any more.
    let erase = "mutation($i: ErasePersonInput!) { erasePerson(input: $i) { userErrors { code message } } }";
    let erased = app
        .admin
        .run(
            erase,
            json!({ "i": { "userId": bob.user_id, "reason": "REQUESTED" } }),
        )
        .await;
    assert_eq!(erased.user_codes("erasePerson"), [""; 0], "{erased:?}");
    assert_eq!(
        share(&ada, &model, &bob.user_id, "VIEWER")
            .await
            .user_codes("shareModel"),
        ["NOT_FOUND"]
    );
    app.stop().await;
}
