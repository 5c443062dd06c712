//! What runs while access is taken back: downloads end, and two processes agree.

use std::time::Duration;

use domain::{
    authz::{Party, PartyRole, Share},
    datasets::dataset::Dataset,
    execute::execute,
    sharing::grant::{GrantAccess, RevokeAccess},
};
use futures::StreamExt as _;
use serde_json::json;
use tests::harness::{Client, TestApp};

use super::{app, model, revoke, seen, share};

/// More than lies in the buffers between server and client.
const LARGE: usize = 48 << 20;

/// A dataset of Ada's that Bob is a member of.
async fn shared_dataset(app: &TestApp, ada: &Client, bob: &Client) -> String {
    let dataset = ada.dataset("Large").await;
    let line = format!(
        "{}\n\n",
        "the quick brown fox jumps over the lazy dog ".repeat(20)
    );
    let text = line.repeat(LARGE / line.len()).into_bytes();
    assert_eq!(ada.upload(&dataset, "t.txt", text).await.status, 201);
    let parts = &app.system.app;
    let join = GrantAccess::<Dataset> {
        resource: dataset.parse().expect("a dataset"),
        share: Share {
            party: Party::User(bob.user_id.parse().expect("a user")),
            role: PartyRole::Member,
            until: None,
            by: ada.user_id.parse().expect("a user"),
        },
    };
    let ada = parts
        .directory
        .user(ada.user_id.parse().expect("a user"))
        .expect("known");
    execute(&parts.ports, &ada, &Default::default(), &join)
        .await
        .expect("joined");
    dataset
}

/// Reads the first bytes of the dataset, then does `meanwhile`, then reads on: the error that ends it, or how much came.
async fn interrupted(
    client: &Client,
    dataset: &str,
    meanwhile: impl Future<Output = ()>,
) -> Result<usize, reqwest::Error> {
    let path = format!("/api/datasets/{dataset}/versions/1/content");
    let response = client
        .request(reqwest::Method::GET, &path)
        .bearer_auth(client.token.as_deref().expect("signed in"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let mut bytes = response.bytes_stream();
    let mut read = bytes.next().await.expect("bytes").expect("bytes").len();
    meanwhile.await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    while let Some(piece) = bytes.next().await {
        read += piece?.len();
    }
    Ok(read)
}

/// PR-5: a download under way ends when the part in the thing is revoked, and when the session ends; another goes through.
#[tokio::test]
async fn a_download_under_way_ends_with_the_access() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let dataset = shared_dataset(&app, &ada, &bob).await;
    let whole = interrupted(&bob, &dataset, async {})
        .await
        .expect("nothing ended it");
    assert!(whole >= LARGE / 2, "{whole} bytes");
    let logged_out = interrupted(&bob, &dataset, async {
        let out = bob
            .run("mutation { logout { userErrors { code } } }", json!({}))
            .await;
        assert_eq!(out.user_codes("logout"), [""; 0], "{out:?}");
    });
    assert!(logged_out.await.is_err(), "the session has ended");
    let mut again = app.client().login("bob").await;
    again.user_id = bob.user_id;
    let bob = again;
    let revoked = interrupted(&bob, &dataset, async {
        let parts = &app.system.app;
        let ada = parts
            .directory
            .user(ada.user_id.parse().expect("a user"))
            .expect("known");
        let command = RevokeAccess::<Dataset> {
            resource: dataset.parse().expect("a dataset"),
            party: Party::User(bob.user_id.parse().expect("a user")),
            own: false,
        };
        execute(&parts.ports, &ada, &Default::default(), &command)
            .await
            .expect("revoked");
    });
    assert!(revoked.await.is_err(), "the access was taken back");
    app.stop().await;
}

/// Two processes grant and revoke at once: the log has one order, and both show what it says.
#[tokio::test]
async fn two_processes_give_and_take_at_once() {
    let app = app().await;
    let beside = app.beside().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let model = model(&ada).await;
    let other = ada.at(&beside.url);
    for round in 0..6 {
        let (given, taken) = tokio::join!(
            share(
                &ada,
                &model,
                &bob.user_id,
                if round % 2 == 0 { "VIEWER" } else { "EDITOR" }
            ),
            revoke(&other, &model, &bob.user_id),
        );
        assert_eq!(given.user_codes("shareModel"), [""; 0], "{given:?}");
        let taken = taken.user_codes("revokeModelAccess");
        assert!(taken.is_empty() || taken == ["NOT_FOUND"], "{taken:?}");
        let query =
            "query($id: ID!, $p: Long!) { model(id: $id, minPosition: $p) { access { partyId role } } }";
        let head = app.system.app.ports.store.head().await.expect("a head");
        let asked = json!({ "id": model, "p": head.0.to_string() });
        let (one, two) = tokio::join!(ada.run(query, asked.clone()), other.run(query, asked));
        assert_eq!(one.data("model"), two.data("model"), "{round}");
        let listed = one.data("model")["access"].as_array().expect("a list").len();
        assert_eq!(seen(&bob, &model).await.is_some(), listed == 1, "{one:?}");
    }
    beside.stop().await;
    app.stop().await;
}

/// AU-7: an erased person is on no access list from then on; as of before, they are.
#[tokio::test]
async fn an_erased_person_is_on_no_list() {
    let app = app().await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let model = model(&ada).await;
    let shared = share(&ada, &model, &bob.user_id, "VIEWER").await;
    assert_eq!(shared.user_codes("shareModel"), [""; 0], "{shared:?}");
    let before = app.system.app.ports.store.known_head();
    let erase = "mutation($u: ID!) { erasePerson(input: { userId: $u, reason: REQUESTED }) { position userErrors { code } } }";
    let erased = app.admin.run(erase, json!({ "u": bob.user_id })).await;
    assert_eq!(erased.user_codes("erasePerson"), [""; 0], "{erased:?}");
    let listed = "query($id: ID!, $p: Long!) { now: model(id: $id) { access { partyId } } \
                  then: model(id: $id, asOf: { position: $p }) { access { partyId } } }";
    let asked = json!({ "id": model, "p": before.0.to_string() });
    let listed = ada.run(listed, asked).await;
    assert_eq!(listed.data("now")["access"], json!([]), "{listed:?}");
    let then = &listed.data("then")["access"];
    assert_eq!(*then, json!([{ "partyId": bob.user_id }]), "{listed:?}");
    app.stop().await;
}
