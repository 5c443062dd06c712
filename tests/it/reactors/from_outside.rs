//! Mail, dead letters and redrives, as people and operators see them.

use std::{process::Command, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tests::harness::{
    TestApp,
    app::{PASSWORD, program},
    people,
};

const REGISTER: &str =
    "mutation($i: RegisterInput!) { register(input: $i) { user { id } userErrors { code } } }";
const DEAD: &str = "query($f: DeadLetterFilter, $a: String, $n: Int) { deadLetters(filter: $f, after: $a, first: $n) { \
                    nodes { id reactor kind position recipientId recipient { username } attempts reason failedAt givenUpAt } \
                    pageInfo { hasNextPage endCursor } totalCount } }";
const REDRIVE: &str = "mutation($i: RedriveDeadLettersInput!) { redriveDeadLetters(input: $i) { position userErrors { code path } } }";
const REACTOR: &str = "identity.registrations";

async fn register(app: &TestApp, name: &str) -> String {
    let input = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
    let registered = app.client().run(REGISTER, json!({ "i": input })).await;
    let user = &registered.data("register")["user"]["id"];
    user.as_str()
        .unwrap_or_else(|| panic!("{registered:?}"))
        .to_owned()
}

/// NO-3: mail that cannot be handed over is tried again, and arrives once it can be; whoever registers is not told.
#[tokio::test]
async fn a_mail_arrives_once_the_outbox_can_be_written_to() {
    let app = TestApp::start().await;
    let outbox = app.data_dir.join("outbox");
    assert!(!outbox.exists(), "nobody was mailed yet");
    std::fs::write(&outbox, "no folder").expect("written");
    register(&app, "ada").await;
    let failed = async {
        loop {
            let failure: Option<String> = sqlx::query_scalar("select failure from reactor_delivery")
                .fetch_optional(&app.system.app.database)
                .await
                .expect("a delivery");
            match failure {
                Some(failure) => break failure,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let failure = tokio::time::timeout(Duration::from_secs(30), failed)
        .await
        .expect("it fails");
    assert_eq!(failure, "the outbox cannot be written to");
    std::fs::remove_file(&outbox).expect("removed");
    let token = app.mailed_token("ada@example.org").await;
    let verify = "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { code } } }";
    let verified = app.client().run(verify, json!({ "t": token })).await;
    assert_eq!(verified.data("verifyEmail")["userErrors"], json!([]));
    app.reacted().await;
    assert_eq!(people::mails(&app.data_dir).len(), 1);
    app.stop().await;
}

/// Puts the mail of each registration among what was given up, as if its post office had been closed for long.
async fn give_up(app: &TestApp) {
    sqlx::query(
        "insert into reactor_delivery (reactor, effect, position, stream, revision, kind, recipient, attempts, failure,
                                       next_at, dead_at)
         select $1, gen_random_uuid(), pos, stream, revision, 'mail', split_part(stream, '-', 2), 48,
                'the post office is closed', now(), now()
         from event where kind = 'identity.VerificationRequested' order by pos",
    )
    .bind(REACTOR)
    .execute(&app.system.app.database)
    .await
    .expect("given up");
}

/// The reactor of registrations, in a report of health.
fn reactor(report: &Value) -> &Value {
    let all = report["reactors"].as_array().expect("a list");
    let found = all.iter().find(|reactor| reactor["name"] == REACTOR);
    found.expect("it is listed")
}

async fn health(app: &TestApp) -> (u16, Value) {
    let client = app.client();
    let answer = client.send(client.request(Method::GET, "/readyz")).await;
    (answer.status, answer.body)
}

async fn until_status(app: &TestApp, wanted: &str) -> Value {
    let work = async {
        loop {
            let (code, report) = health(app).await;
            assert_eq!(code, 200, "{report}");
            if report["status"] == wanted {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .expect(wanted)
}

/// NO-3: dead letters are listed in pages, one reactor's or all; redriving is on record, and tries them again.
#[tokio::test]
async fn dead_letters_are_listed_and_redriven() {
    let app = TestApp::start().await;
    let none = app.admin.run(DEAD, json!({})).await;
    assert_eq!(none.data("deadLetters")["nodes"], json!([]));
    assert_eq!(none.data("deadLetters")["totalCount"], 0);
    let mut users = Vec::new();
    for name in ["ada", "bob", "carol"] {
        users.push(register(&app, name).await);
    }
    app.reacted().await;
    assert_eq!(reactor(&until_status(&app, "ready").await)["dead"], 0);
    give_up(&app).await;
    let report = until_status(&app, "degraded").await;
    assert_eq!(reactor(&report)["dead"], 3, "{report}");

    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = app.admin.run(DEAD, json!({ "a": after, "n": 2 })).await;
        let page = page.data("deadLetters").clone();
        assert_eq!(page["totalCount"], 3);
        seen.extend(page["nodes"].as_array().expect("nodes").clone());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            break;
        }
    }
    let told: Vec<&Value> = seen.iter().map(|node| &node["recipientId"]).collect();
    assert_eq!(told, users.iter().rev().collect::<Vec<_>>(), "the newest first");
    assert_eq!(seen[0]["recipient"]["username"], "carol");
    assert!(!format!("{seen:?}").contains('@'), "{seen:?}");
    let elsewhere = app
        .admin
        .run(DEAD, json!({ "f": { "reactor": "identity.erasures" } }))
        .await;
    assert_eq!(elsewhere.data("deadLetters")["nodes"], json!([]));

    let sent = people::mails(&app.data_dir).len();
    let one = json!({ "i": { "reactor": REACTOR, "deadLetterId": seen[0]["id"], "clientRequestId": "a7c1bb1e-36a9-4d43-b0b5-8f9d2f6a5f10" } });
    let done = app.admin.run(REDRIVE, one.clone()).await;
    assert_eq!(
        done.data("redriveDeadLetters")["userErrors"],
        json!([]),
        "{done:?}"
    );
    app.reacted().await;
    let again = app.admin.run(REDRIVE, one).await;
    assert_eq!(again.body["data"], done.body["data"], "it is the same request");
    let left = app.admin.run(DEAD, json!({})).await;
    assert_eq!(left.data("deadLetters")["totalCount"], 2);
    let all = app
        .admin
        .run(REDRIVE, json!({ "i": { "reactor": REACTOR } }))
        .await;
    assert_eq!(all.data("redriveDeadLetters")["userErrors"], json!([]));
    app.reacted().await;
    until_status(&app, "ready").await;
    // The effects that were given up here are not those of the events, so they are pointless: nobody is mailed twice.
    assert_eq!(people::mails(&app.data_dir).len(), sent);
    let query =
        "{ auditLog(filter: { kind: \"notifications.DeliveriesRedriven\" }) { nodes { actor subject } } }";
    let log = app.admin.run(query, json!({})).await;
    let entries = log.data("auditLog")["nodes"].as_array().expect("entries").clone();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|one| one["subject"] == REACTOR), "{entries:?}");
    app.stop().await;
}

/// Who may not administer the system sees nothing of it; what does not exist is told to who may.
#[tokio::test]
async fn only_administrators_see_and_redrive_dead_letters() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    assert_eq!(ada.run(DEAD, json!({})).await.code(), Some("FORBIDDEN"));
    let all = json!({ "i": { "reactor": REACTOR } });
    assert_eq!(ada.run(REDRIVE, all.clone()).await.code(), Some("FORBIDDEN"));
    assert_eq!(
        app.client().run(REDRIVE, all).await.code(),
        Some("UNAUTHENTICATED")
    );
    let unknown = json!({ "i": { "reactor": "no.such" } });
    let refused = app.admin.run(REDRIVE, unknown).await;
    assert_eq!(
        refused.data("redriveDeadLetters")["userErrors"],
        json!([{ "code": "NOT_FOUND", "path": ["reactor"] }])
    );
    for id in ["6f1c2b9e-8c79-4d0c-9b6c-111111111111", "nonsense", ""] {
        let absent = json!({ "i": { "reactor": REACTOR, "deadLetterId": id } });
        let refused = app.admin.run(REDRIVE, absent).await;
        assert_eq!(
            refused.data("redriveDeadLetters")["userErrors"],
            json!([{ "code": "NOT_FOUND", "path": ["deadLetterId"] }]),
            "{id}"
        );
    }
    app.stop().await;
}

fn anneal(app: &TestApp, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program());
    command
        .arg("reactors")
        .args(words)
        .arg("--data")
        .arg(&app.data_dir);
    command.env("DATABASE_URL", &app.database_url);
    let output = command.output().expect("the binary is built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The operator's way to the same, beside a running system.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_lists_and_redrives_beside_the_running_system() {
    let app = TestApp::start().await;
    register(&app, "ada").await;
    app.reacted().await;
    let (code, said, error) = anneal(&app, &["list"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(said.contains("Nothing was given up."), "{said}");
    give_up(&app).await;
    let (code, said, error) = anneal(&app, &["list", "--json"]);
    assert_eq!(code, Some(0), "{error}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["deadLetterCount"], 1);
    assert!(!said.contains('@'), "{said}");
    let id = report["deadLetters"][0]["id"].as_str().expect("an id").to_owned();
    let (code, ..) = anneal(&app, &["redrive", "6f1c2b9e-8c79-4d0c-9b6c-111111111111"]);
    assert_eq!(code, Some(1));
    let (code, _, error) = anneal(&app, &["redrive", "--all", "--reactor", "nope"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("there is no reactor nope"), "{error}");
    let (code, _, error) = anneal(&app, &["redrive"]);
    assert_eq!(code, Some(2), "{error}");
    let (code, said, error) = anneal(&app, &["redrive", &id, "--json"]);
    assert_eq!(code, Some(0), "{error}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report, json!({ "redriven": [REACTOR] }));
    app.reacted().await;
    let left = app.admin.run(DEAD, json!({})).await;
    assert_eq!(left.data("deadLetters")["totalCount"], 0);
    let query = "{ auditLog(filter: { kind: \"notifications.DeliveriesRedriven\" }) { nodes { actor } } }";
    let log = app.admin.run(query, json!({})).await;
    assert_eq!(
        log.data("auditLog")["nodes"],
        json!([{ "actor": "system:operator" }])
    );
    app.stop().await;
}
