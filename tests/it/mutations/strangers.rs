//! `clientRequestId` where nobody is signed in: the credential is the address, and passwords are not compared.

use serde_json::{Value, json};
use tests::harness::{TestApp, people};

use super::{first_error, recorded, request};

const REGISTER: &str = "mutation($i: RegisterInput!) { register(input: $i) { position user { id username } userErrors { code path } } }";

fn account(name: &str, password: &str, id: &str) -> Value {
    json!({ "i": {
        "username": name, "email": format!("{name}@example.org"), "password": password, "clientRequestId": id,
    } })
}

/// How many mails there are once the reactors have read everything.
async fn mails(app: &TestApp) -> usize {
    app.reacted().await;
    people::mails(&app.data_dir).len()
}

#[tokio::test]
async fn a_repeated_registration_is_one_account_and_one_mail() {
    let app = TestApp::start().await;
    let client = app.client();
    let first = client
        .run(REGISTER, account("zoe", "a long enough pass phrase", &request(1)))
        .await;
    assert!(first.data("register")["user"]["id"].is_string(), "{first:?}");
    let (sent, accounts) = (mails(&app).await, recorded(&app, "identity.UserRegistered").await);
    // The password is not part of what is compared: it is in no fingerprint.
    for password in ["a long enough pass phrase", "another long pass phrase"] {
        let again = client.run(REGISTER, account("zoe", password, &request(1))).await;
        assert_eq!(again.body["data"], first.body["data"]);
    }
    assert_eq!(
        (mails(&app).await, recorded(&app, "identity.UserRegistered").await),
        (sent, accounts)
    );
    let other = client
        .run(REGISTER, account("zoa", "a long enough pass phrase", &request(1)))
        .await;
    assert_eq!(first_error(&other, "register")["code"], "IDEMPOTENCY_MISMATCH");
    let taken = client
        .run(REGISTER, account("zoe", "a long enough pass phrase", &request(2)))
        .await;
    assert_eq!(first_error(&taken, "register")["code"], "USERNAME_TAKEN");
    // Whoever is signed in is another actor.
    let theirs = app
        .admin
        .run(REGISTER, account("zoe", "a long enough pass phrase", &request(1)))
        .await;
    assert_eq!(first_error(&theirs, "register")["code"], "USERNAME_TAKEN");
    app.stop().await;
}

#[tokio::test]
async fn an_address_is_verified_once_and_told_twice() {
    let app = TestApp::start().await;
    let client = app.client();
    let made = client
        .run(REGISTER, account("zoe", "a long enough pass phrase", &request(1)))
        .await;
    made.data("register");
    let document =
        "mutation($i: VerifyEmailInput!) { verifyEmail(input: $i) { position userErrors { code } } }";
    let token = app.mailed_token("zoe@example.org").await;
    let input = json!({ "i": { "token": token, "clientRequestId": request(1) } });
    let first = client.run(document, input.clone()).await;
    assert_eq!(first.data("verifyEmail")["userErrors"], json!([]));
    let again = client.run(document, input).await;
    assert_eq!(again.body["data"], first.body["data"]);
    let anew = client.run(document, json!({ "i": { "token": token } })).await;
    assert_eq!(anew.user_codes("verifyEmail"), ["INVALID_TOKEN"]);
    app.stop().await;
}
