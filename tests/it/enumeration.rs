//! Who has an account is not told: not by answers, not by the work that an answer takes, not by what is recorded (SE-5).

use domain::identity::user::{User, UserEvent};
use serde_json::{Value, json};
use tests::harness::{Answer, TestApp, app::PASSWORD, events::record, people};

const LOGIN: &str =
    "mutation($i: LoginInput!) { login(input: $i) { accessToken userErrors { code message path } } }";
const REGISTER: &str = "mutation($i: RegisterInput!) { register(input: $i) { user { username verified initials roles { role } } userErrors { code path message } } }";

/// What an attempt costs: hashing work, events, and the answer.
async fn attempt(app: &TestApp, name: &str, password: &str) -> (u64, u64, Value) {
    let (pool, store) = (&app.system.app.hashing_pool, &app.system.app.ports.store);
    let (work, head) = (pool.work(), store.head().await.expect("a head"));
    let answer = app
        .client()
        .run(LOGIN, json!({ "i": { "login": name, "password": password } }))
        .await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let events = store.head().await.expect("a head").0 - head.0;
    (pool.work() - work, events, answer.body)
}

/// FA5: known, unknown, deactivated-looking and locked names take the same work, are recorded alike and answered alike.
#[tokio::test]
async fn known_unknown_and_locked_names_cost_the_same() {
    let app = TestApp::start().await;
    app.person("ada", "engineer_i").await;
    let mut seen = Vec::new();
    for name in ["ada", "nobody", "nobody@example.org"] {
        let mut of_name = Vec::new();
        for _ in 0..8 {
            of_name.push(attempt(&app, name, "a wrong password").await);
        }
        seen.push(of_name);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert!(
        seen[0].iter().all(|(work, ..)| *work == 8_192),
        "a hash each time: {seen:?}"
    );
    let events: Vec<u64> = seen[0].iter().map(|(_, events, _)| *events).collect();
    assert_eq!(
        events,
        [1, 1, 1, 1, 2, 1, 0, 0],
        "the lock, and then only counted"
    );
    app.stop().await;
}

/// FA5: locking a name says nothing about an address, whether or not they are one account.
#[tokio::test]
async fn a_locked_name_does_not_tell_whose_address_it_is() {
    let app = TestApp::start().await;
    for name in ["ada", "bob"] {
        app.person(name, "engineer_i").await;
    }
    for _ in 0..6 {
        attempt(&app, "ada", "a wrong password").await;
    }
    for _ in 0..8 {
        let own = attempt(&app, "ada@example.org", "a wrong password").await;
        let other = attempt(&app, "bob@example.org", "a wrong password").await;
        assert_eq!(own, other);
    }
    // The account is locked all the same, by whichever name: ten guesses would be twice too many.
    let right = attempt(&app, "ada@example.org", PASSWORD).await;
    assert_eq!(right.2["data"]["login"]["accessToken"], Value::Null);
    app.stop().await;
}

/// FA5: with accounts hashed with older parameters, unknown names cost what accounts cost, as often.
#[tokio::test]
async fn unknown_names_cost_what_accounts_cost() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let user: domain::id::UserId = ada.user_id.parse().expect("an id");
    let salt = "c2FsdHNhbHRzYWx0c2FsdA";
    let hash = "A".repeat(43);
    let verifier = format!("$argon2id$v=19$m=8192,t=3,p=1${salt}${hash}");
    record::<User>(&app.database_url, user, &UserEvent::PasswordSet { verifier }).await;
    let head = app.system.app.ports.store.head().await.expect("a head");
    let waited = app
        .system
        .app
        .directory
        .wait_for_position(head, std::time::Duration::from_secs(10))
        .await;
    waited.expect("folded");
    assert_eq!(attempt(&app, "ada", "a wrong password").await.0, 3 * 8_192);
    let mut costs = Vec::new();
    for number in 0..24 {
        let name = format!("nobody-{number}");
        let (first, again) = (
            attempt(&app, &name, "x").await.0,
            attempt(&app, &name, "y").await.0,
        );
        assert_eq!(first, again, "a name costs always the same");
        costs.push(first);
    }
    costs.sort_unstable();
    costs.dedup();
    assert_eq!(
        costs,
        [8_192, 3 * 8_192],
        "the administrator's parameters and ada's"
    );
    app.stop().await;
}

async fn register(app: &TestApp, username: &str, email: &str) -> Answer {
    let input = json!({ "username": username, "email": email, "password": PASSWORD });
    app.client().run(REGISTER, json!({ "i": input })).await
}

async fn mails_to(app: &TestApp, email: &str) -> Vec<String> {
    app.reacted().await;
    let mut mails = people::mails(&app.data_dir);
    mails.retain(|text| text.contains(&format!("To: {email}\n")));
    mails
}

/// FA5: registering with an address that has an account is answered like any other registration, behaves like it, and
/// its owner is told.
#[tokio::test]
async fn a_registration_does_not_tell_that_an_address_has_an_account() {
    let app = TestApp::start().await;
    app.person("ada", "engineer_i").await;
    let taken = register(&app, "mallory", "Ada@Example.org").await;
    let fresh = register(&app, "mallory2", "anna@example.org").await;
    let told = |answer: &Answer, name: &str| {
        let text = answer.body.to_string();
        text.replace(&format!("\"{name}\""), "\"NAME\"")
            .replace("\"MA\"", "\"XX\"")
    };
    assert_eq!(told(&taken, "mallory"), told(&fresh, "mallory2"));
    assert_eq!(taken.data("register")["userErrors"], json!([]));
    for (name, email) in [("mallory", "ada@example.org"), ("mallory2", "anna@example.org")] {
        let by_name = app.client().login(name).await;
        let me = by_name
            .run(
                "{ me { username verified email } projects { nodes { id } } }",
                json!({}),
            )
            .await;
        assert_eq!(me.code(), Some("FORBIDDEN"), "not verified: {me:?}");
        let by_address = attempt(&app, email, "a wrong password").await;
        assert_eq!(
            by_address.2["data"]["login"]["userErrors"][0]["code"],
            "LOGIN_FAILED"
        );
        assert_eq!(
            register(&app, name, "third@example.org")
                .await
                .user_codes("register"),
            ["USERNAME_TAKEN"]
        );
    }
    // An address that was not proven is no name to log in by, so it does not tell whose it is either.
    let unproven = attempt(&app, "anna@example.org", PASSWORD).await;
    assert_eq!(
        unproven.2["data"]["login"]["userErrors"][0]["code"],
        "LOGIN_FAILED"
    );
    let mails = mails_to(&app, "Ada@Example.org").await;
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(mails[0].contains("Somebody tried to register"), "{mails:?}");
    assert!(!mails[0].contains("\n    "), "no token goes to it: {mails:?}");
    // Its owner has it still.
    app.client().login("ada@example.org").await;
    app.stop().await;
}
