//! Accounts and sessions, from outside.

use serde_json::{Value, json};
use tests::harness::{Client, TestApp, TestOptions, app::PASSWORD, people};
use time::Duration;

const REGISTER: &str = "mutation($i: RegisterInput!) { register(input: $i) { user { id username verified initials } userErrors { code path message } } }";

async fn try_login(client: &Client, name: &str, password: &str) -> tests::harness::Answer {
    let query = "mutation($i: LoginInput!) { login(input: $i) { accessToken refreshToken userErrors { code message } } }";
    client
        .run(query, json!({ "i": { "login": name, "password": password } }))
        .await
}

/// SS-4
#[tokio::test]
async fn nothing_but_the_set_up_works_before_there_is_an_administrator() {
    let app = TestApp::bare(TestOptions::default()).await;
    let input = json!({ "username": "eve", "email": "eve@example.org", "password": PASSWORD });
    let refused = app.client().run(REGISTER, json!({ "i": input })).await;
    assert_eq!(refused.user_codes("register"), ["SETUP_REQUIRED"]);
    let query = "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { user { id } userErrors { code } } }";
    let wrong = app
        .client()
        .run(query, json!({ "i": { "setupToken": "guess", "account": input } }))
        .await;
    assert_eq!(wrong.user_codes("createFirstAdministrator"), ["INVALID_TOKEN"]);
    let setup = app.system.app.settings.setup_token.as_ref();
    let setup = setup.map(|token| token.expose().to_owned());
    let unfit = json!({ "username": "x", "email": "eve@example.org", "password": PASSWORD });
    let paths = "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { userErrors { path } } }";
    let unfit = app
        .client()
        .run(paths, json!({ "i": { "setupToken": setup, "account": unfit } }))
        .await;
    assert_eq!(
        unfit.data("createFirstAdministrator")["userErrors"],
        json!([{ "path": ["account", "username"] }])
    );
    let login = try_login(&app.client(), "eve", PASSWORD).await;
    assert_eq!(
        login.body["data"]["login"]["accessToken"],
        Value::Null,
        "{login:?}"
    );
    let me = app.client().run("{ me { id } }", json!({})).await;
    assert_eq!(me.code(), Some("UNAUTHENTICATED"), "{me:?}");
    let uploaded = app.client().upload("dst_1", "a.txt", b"text".to_vec()).await;
    assert_eq!(uploaded.status, 401, "{uploaded:?}");
    // And with the right token there is one, who can do everything.
    let root = people::administrator(&app.url, &app.data_dir).await;
    root.dataset("Texts").await;
    app.stop().await;
}

/// SS-4: it works once.
#[tokio::test]
async fn a_second_first_administrator_is_refused() {
    let app = TestApp::start().await;
    let query = "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { user { id } userErrors { code } } }";
    let input = json!({ "username": "eve", "email": "eve@example.org", "password": PASSWORD });
    let token = app
        .system
        .app
        .settings
        .setup_token
        .as_ref()
        .map(|token| token.expose().to_owned());
    let again = app
        .client()
        .run(query, json!({ "i": { "setupToken": token, "account": input } }))
        .await;
    assert_eq!(again.user_codes("createFirstAdministrator"), ["ALREADY_SET_UP"]);
    app.stop().await;
}

/// ID-1, ID-3: an account sees only itself until its address is verified.
#[tokio::test]
async fn registration_verification_and_login_work_from_outside() {
    let app = TestApp::start().await;
    let input = json!({
        "username": "Ada.L", "email": "Ada@Example.org", "password": PASSWORD,
        "firstName": "Ada", "lastName": "Lovelace", "company": "Analytical Engines",
    });
    let registered = app.client().run(REGISTER, json!({ "i": input })).await;
    let user = &registered.data("register")["user"];
    assert_eq!(
        (user["username"].as_str(), user["initials"].as_str()),
        (Some("ada.l"), Some("AL")),
        "{registered:?}"
    );
    let ada = app.client().login("ada.l").await;
    let unproven = try_login(&app.client(), "ada@example.org", PASSWORD).await;
    assert_eq!(
        unproven.user_codes("login"),
        ["LOGIN_FAILED"],
        "not before it is proven"
    );
    let me = ada
        .run("{ me { username verified roles { role } } }", json!({}))
        .await;
    assert_eq!(
        me.data("me"),
        &json!({ "username": "ada.l", "verified": false, "roles": [{ "role": "guest" }] })
    );
    let early = ada.run("{ projects { nodes { id } } }", json!({})).await;
    assert_eq!(early.code(), Some("FORBIDDEN"));

    let verify = "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { code } } }";
    let token = app.mailed_token("Ada@Example.org").await;
    let done = app.client().run(verify, json!({ "t": token })).await;
    assert_eq!(done.data("verifyEmail")["userErrors"], json!([]));
    app.client().login("Ada@Example.org").await;
    let twice = app.client().run(verify, json!({ "t": token })).await;
    assert_eq!(twice.user_codes("verifyEmail"), ["INVALID_TOKEN"]);
    let now = ada.run("{ projects { nodes { id } } }", json!({})).await;
    assert_eq!(now.data("projects")["nodes"], json!([]));
    app.stop().await;
}

/// ID-3
#[tokio::test]
async fn a_verification_token_works_for_a_day() {
    let app = TestApp::start().await;
    let input = json!({ "username": "late", "email": "late@example.org", "password": PASSWORD });
    app.client().run(REGISTER, json!({ "i": input })).await;
    let token = app.mailed_token("late@example.org").await;
    app.clock.advance(Duration::hours(25));
    let verify = "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { code } } }";
    let late = app.client().run(verify, json!({ "t": token })).await;
    assert_eq!(late.user_codes("verifyEmail"), ["TOKEN_EXPIRED"]);
    app.stop().await;
}

/// Everything that is wrong with a registration is said at once.
#[tokio::test]
async fn all_faults_of_a_registration_come_together() {
    let app = TestApp::start().await;
    let input = json!({ "username": "x", "email": "nobody", "password": "short", "firstName": "a\u{7}" });
    let refused = app.client().run(REGISTER, json!({ "i": input })).await;
    let errors = refused.data("register")["userErrors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut paths: Vec<String> = errors
        .iter()
        .map(|error| error["path"][0].as_str().unwrap_or_default().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths, ["email", "firstName", "password", "username"]);
    app.stop().await;
}

/// ID-2: of many at once exactly one wins.
#[tokio::test]
async fn concurrent_registrations_of_one_name_leave_one_account() {
    let app = TestApp::start().await;
    let attempts = (0..12).map(|number| {
        let client = app.client();
        async move {
            let input = json!({ "username": "Unique", "email": format!("u{number}@example.org"), "password": PASSWORD });
            client.run(REGISTER, json!({ "i": input })).await
        }
    });
    let answers = futures::future::join_all(attempts).await;
    let won = answers
        .iter()
        .filter(|answer| answer.body["data"]["register"]["user"]["id"].is_string())
        .count();
    assert_eq!(won, 1);
    let others = answers
        .iter()
        .filter(|answer| answer.body["data"]["register"]["user"].is_null());
    for answer in others {
        let shed = answer.code() == Some("RATE_LIMITED");
        assert!(
            shed || answer.user_codes("register") == ["USERNAME_TAKEN"],
            "{answer:?}"
        );
    }
    app.stop().await;
}

/// SE-2: a used refresh token ends the whole session.
#[tokio::test]
async fn a_reused_refresh_token_ends_the_session() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let refresh = "mutation($t: String!) { refresh(input: { refreshToken: $t }) { accessToken refreshToken userErrors { code path message } } }";
    let first = app.client().run(refresh, json!({ "t": ada.refresh })).await;
    let fresh = first.data("refresh")["accessToken"]
        .as_str()
        .expect("a token")
        .to_owned();
    let reused = app.client().run(refresh, json!({ "t": ada.refresh })).await;
    // It is no login that failed; and the sentence says what to do now.
    assert_eq!(
        reused.data("refresh")["userErrors"],
        json!([{
            "code": "INVALID_TOKEN", "path": ["refreshToken"],
            "message": "this refresh token was used before; the session has been ended, log in again",
        }])
    );
    for wrong in [ada.refresh.as_deref().unwrap_or_default(), "nonsense", "a.b", ""] {
        let refused = app.client().run(refresh, json!({ "t": wrong })).await;
        let error = &refused.data("refresh")["userErrors"][0];
        assert_eq!(error["code"], "INVALID_TOKEN", "{wrong}: {refused:?}");
        assert_eq!(
            error["message"], "this refresh token is not valid; log in again",
            "{wrong}: {refused:?}"
        );
    }
    let mut thief = app.client();
    thief.token = Some(fresh);
    assert_eq!(
        thief.run("{ me { id } }", json!({})).await.code(),
        Some("UNAUTHENTICATED")
    );
    let log = app
        .admin
        .run(
            "{ auditLog(filter: { kind: \"identity.RefreshTokenReused\" }) { nodes { outcome } } }",
            json!({}),
        )
        .await;
    assert_eq!(log.data("auditLog")["nodes"], json!([{ "outcome": "FAILURE" }]));
    app.stop().await;
}

/// A4, SE-2: of fifty uses of one refresh token at once exactly one succeeds, on record and in its answer; the other
/// forty-nine are reuse, which ends the session.
#[tokio::test]
async fn fifty_uses_of_one_refresh_token_give_one_session() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let refresh =
        "mutation($t: String!) { refresh(input: { refreshToken: $t }) { accessToken userErrors { code } } }";
    let tries = (0..50).map(|_| {
        let (client, token) = (app.client(), ada.refresh.clone());
        async move { client.run(refresh, json!({ "t": token })).await }
    });
    let answers = futures::future::join_all(tries).await;
    assert_eq!(entries(&app, "identity.SessionRefreshed").await, 1);
    assert_eq!(entries(&app, "identity.RefreshTokenReused").await, 1);
    let (won, lost): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.body["data"]["refresh"]["accessToken"].is_string());
    assert_eq!(won.len(), 1, "{answers:#?}");
    for answer in lost {
        assert_eq!(answer.user_codes("refresh"), ["INVALID_TOKEN"], "{answer:?}");
    }
    let mut winner = app.client();
    winner.token = won[0].data("refresh")["accessToken"].as_str().map(str::to_owned);
    assert_eq!(
        winner.run("{ me { id } }", json!({})).await.code(),
        Some("UNAUTHENTICATED"),
        "reuse ends the session for whoever won"
    );
    app.stop().await;
}

/// How many events of that kind are in the log.
async fn entries(app: &TestApp, kind: &str) -> usize {
    let query = "query($k: String!) { auditLog(first: 100, filter: { kind: $k }) { nodes { id } } }";
    let log = app.admin.run(query, json!({ "k": kind })).await;
    log.data("auditLog")["nodes"].as_array().expect("entries").len()
}

/// SE-3, A1: after logout the token is refused at once.
#[tokio::test]
async fn logout_works_for_the_next_request() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let other = app.client().login("ada").await;
    let sessions = ada.run("{ sessions { id current } }", json!({})).await;
    let open = sessions.data("sessions").as_array().expect("a list").clone();
    assert_eq!(
        open.iter()
            .filter(|session| session["current"] == json!(true))
            .count(),
        1
    );
    ada.run("mutation { logout { userErrors { code } } }", json!({}))
        .await
        .data("logout");
    assert_eq!(
        ada.run("{ me { id } }", json!({})).await.code(),
        Some("UNAUTHENTICATED")
    );
    other.run("{ me { id } }", json!({})).await.data("me");
    app.stop().await;
}

/// ID-5: deactivation ends every session at once.
#[tokio::test]
async fn a_deactivated_account_is_out_at_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let query = "mutation($i: SetUserActiveInput!) { setUserActive(input: $i) { user { deactivated } userErrors { code } } }";
    let off = app
        .admin
        .run(
            query,
            json!({ "i": { "userId": ada.user_id, "active": false, "reason": "left" } }),
        )
        .await;
    assert_eq!(off.data("setUserActive")["user"]["deactivated"], json!(true));
    assert_eq!(
        ada.run("{ me { id } }", json!({})).await.code(),
        Some("UNAUTHENTICATED")
    );
    let login = try_login(&app.client(), "ada", PASSWORD).await;
    assert_eq!(login.user_codes("login"), ["LOGIN_FAILED"]);
    app.stop().await;
}

/// What a client calls itself is recorded as it was given, or refused; never altered.
#[tokio::test]
async fn a_device_name_that_does_not_fit_is_refused() {
    let app = TestApp::start().await;
    app.person("ada", "engineer_i").await;
    let login =
        "mutation($i: LoginInput!) { login(input: $i) { accessToken position userErrors { code path } } }";
    let with = |device: &str| json!({ "i": { "login": "ada", "password": PASSWORD, "device": device } });
    for device in ["lap\u{7}top", "lap\ntop", "lap\u{202e}top", &"x".repeat(101)] {
        let refused = app.client().run(login, with(device)).await;
        assert_eq!(
            refused.data("login"),
            &json!({ "accessToken": null, "position": null, "userErrors": [{ "code": "INVALID", "path": ["device"] }] }),
            "{device:?}"
        );
    }
    for (given, kept) in [("Ada's läptop", "Ada's läptop"), (" b ", "b")] {
        let mut client = app.client();
        let answer = client.run(login, with(given)).await;
        client.token = answer.data("login")["accessToken"].as_str().map(str::to_owned);
        let query = "query($p: Long) { sessions(minPosition: $p) { device current } }";
        let position = &answer.data("login")["position"];
        let sessions = client.run(query, json!({ "p": position })).await;
        let current = sessions.data("sessions").as_array().expect("a list").iter();
        let devices: Vec<&Value> = current
            .filter(|session| session["current"] == json!(true))
            .map(|session| &session["device"])
            .collect();
        assert_eq!(devices, [kept]);
    }
    app.stop().await;
}

/// SE-5: the answer is the same for an unknown name, a wrong password and a locked pair; failures are
/// recorded although their command fails.
#[tokio::test]
async fn failed_logins_are_alike_locked_and_recorded() {
    let app = TestApp::start().await;
    app.person("ada", "engineer_i").await;
    let unknown = try_login(&app.client(), "nobody", PASSWORD).await;
    let wrong = try_login(&app.client(), "ada", "wrong password here").await;
    assert_eq!(unknown.body, wrong.body);
    for _ in 0..4 {
        try_login(&app.client(), "ada", "wrong password here").await;
    }
    let locked = try_login(&app.client(), "ada", PASSWORD).await;
    assert_eq!(locked.body, wrong.body);
    app.clock.advance(Duration::minutes(16));
    let later = try_login(&app.client(), "ada", PASSWORD).await;
    assert!(later.data("login")["accessToken"].is_string());
    let query = "{ auditLog(first: 100, filter: { kind: \"identity.LoginFailed\" }) { nodes { data } } }";
    let admin = app.client().login("root").await;
    let log = admin.run(query, json!({})).await;
    assert_eq!(log.data("auditLog")["nodes"].as_array().map(Vec::len), Some(7));
    app.stop().await;
}

/// SE-1: an access token runs out.
#[tokio::test]
async fn an_expired_access_token_is_refused_and_the_refresh_token_still_works() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    app.clock.advance(Duration::minutes(16));
    let expired = ada.run("{ me { id } }", json!({})).await;
    assert_eq!((expired.status, expired.code()), (401, Some("UNAUTHENTICATED")));
    let refresh =
        "mutation($t: String!) { refresh(input: { refreshToken: $t }) { accessToken userErrors { code } } }";
    let renewed = app.client().run(refresh, json!({ "t": ada.refresh })).await;
    assert!(renewed.data("refresh")["accessToken"].is_string());
    app.stop().await;
}

/// Secrets never reach the audit log, not even as hashes.
#[tokio::test]
async fn the_audit_log_shows_no_verifiers() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let log = app
        .admin
        .run("{ auditLog(first: 100) { nodes { kind data } } }", json!({}))
        .await;
    let text = log.data("auditLog").to_string();
    assert!(text.contains("identity.PasswordSet"));
    for secret in [
        "argon2",
        PASSWORD,
        ada.token.as_deref().unwrap_or("-"),
        ada.refresh.as_deref().unwrap_or("-"),
    ] {
        assert!(!text.contains(secret), "the audit log shows {secret}");
    }
    app.stop().await;
}
