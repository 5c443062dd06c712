//! Erasing a person, from outside: what may lie anywhere before is nowhere afterwards (AU-7, B4).
//!
//! One rule: every personal datum of the person contains the word `canary`, and the search knows no table and
//! no file by name.

use std::{path::Path, sync::Arc, time::Duration};

use anneal::verify::{Subject, verify};
use domain::clock::SystemClock;
use event_store::postgres::{PostgresEventStore, Settings, address, admin_pool};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::harness::{Answer, Client, TestApp, app::PASSWORD};

const REGISTER: &str =
    "mutation($i: RegisterInput!) { register(input: $i) { user { id } userErrors { code } } }";
const LOGIN: &str =
    "mutation($i: LoginInput!) { login(input: $i) { accessToken refreshToken userErrors { code } } }";
const ERASE: &str = "mutation($i: ErasePersonInput!) { erasePerson(input: $i) { position userErrors { code path message } erasure { userId state reason requestedBy keyId } } }";
const RECEIPT: &str = "query($u: ID!) { erasure(userId: $u) { state reason requestedBy requestedAt completedAt keyDestroyedAt keyMadeAt keyId rebuilt } }";

/// Sends a document from a client that names itself.
async fn from(client: &Client, agent: &str, query: &str, variables: Value) -> Answer {
    let request = client
        .request(reqwest::Method::POST, "/graphql")
        .header("user-agent", agent);
    client
        .send(request.json(&json!({ "query": query, "variables": variables })))
        .await
}

async fn erase(client: &Client, user: &str) -> Answer {
    client
        .run(ERASE, json!({ "i": { "userId": user, "reason": "REQUESTED" } }))
        .await
}

/// Waits for the receipt.
async fn receipt(client: &Client, user: &str) -> Value {
    let waiting = async {
        loop {
            let answer = client.run(RECEIPT, json!({ "u": user })).await;
            let erasure = answer.data("erasure").clone();
            if erasure["state"] == "COMPLETED" {
                return erasure;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .expect("a receipt")
}

/// Every row of every table that holds `word`, without regard to case.
async fn in_tables(url: &str, word: &str) -> Vec<String> {
    let pool = admin_pool(url, 1).await.expect("a pool");
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables \
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&pool)
    .await
    .expect("tables");
    assert!(tables.len() > 15, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let statement = format!("select t::text from {table} t where strpos(lower(t::text), $1) > 0");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(word)
            .fetch_all(&pool)
            .await
            .expect("rows");
        found.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    pool.close().await;
    found
}

/// Every file below `folder` that holds `word`, in its name or its bytes, without regard to case.
fn in_files(folder: &Path, word: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = std::fs::read(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .to_ascii_lowercase();
            let name = path.display().to_string().to_lowercase();
            if name.contains(word) || bytes.windows(word.len()).any(|part| part == word.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

async fn everything_whole(app: &TestApp) {
    let options = address(&app.database_url).expect("a URL");
    let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock))
        .await
        .expect("the store starts");
    store.verify().await.expect("the chain is whole");
    store.close(Duration::from_secs(5)).await;
    let report = verify(Subject {
        url: &app.database_url,
        events: &app.database_url,
        objects: Ok(objects::testing::open(&app.data_dir.join("objects"))),
        data_dir: &app.data_dir,
        evidence: event_store::postgres::Evidence::default(),
        log_key: None,
        acknowledgements: None,
    })
    .await
    .expect("verified");
    assert!(report.is_whole(), "{:?}", report.faults);
}

/// A person with a canary in every personal field, through every transport. Answers with the id and a client.
async fn canary(app: &TestApp) -> (String, Client) {
    let anonymous = app.client();
    let agent = "canary-agent/1.0";
    let input = json!({
        "username": "canaryname", "email": "Canary@Example.org", "password": PASSWORD, "firstName": "Canaryfirst",
        "lastName": "Canarylast", "department": "Canarydepartment", "company": "Example",
    });
    let registered = from(&anonymous, agent, REGISTER, json!({ "i": input })).await;
    let user = registered.data("register")["user"]["id"]
        .as_str()
        .expect("an account")
        .to_owned();
    let verify = "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { code } } }";
    let token = app.mailed_token("Canary@Example.org").await;
    from(&anonymous, agent, verify, json!({ "t": token }))
        .await
        .data("verifyEmail");
    from(
        &anonymous,
        agent,
        LOGIN,
        json!({ "i": { "login": "canaryname", "password": "canary wrong" } }),
    )
    .await;
    for (active, reason) in [(false, "canary left"), (true, "canary came back")] {
        let query = "mutation($i: SetUserActiveInput!) { setUserActive(input: $i) { userErrors { code } } }";
        let input = json!({ "userId": user, "active": active, "reason": reason });
        let done = app.admin.run(query, json!({ "i": input })).await;
        assert_eq!(done.data("setUserActive")["userErrors"], json!([]));
    }
    for change in ["grantRole", "removeRole", "grantRole"] {
        let query = format!(
            "mutation($i: RoleChangeInput!) {{ {change}(input: $i) {{ userErrors {{ message }} }} }}"
        );
        let input = json!({ "userId": user, "role": "engineer_i", "reason": "canary reason" });
        let done = app.admin.run(&query, json!({ "i": input })).await;
        assert_eq!(done.data(change)["userErrors"], json!([]));
    }
    let login =
        json!({ "login": "canary@example.org", "password": PASSWORD, "device": "Canary's telephone" });
    let tokens = from(&anonymous, agent, LOGIN, json!({ "i": login }))
        .await
        .data("login")
        .clone();
    let refresh =
        "mutation($t: String!) { refresh(input: { refreshToken: $t }) { accessToken refreshToken } }";
    let tokens = from(&anonymous, agent, refresh, json!({ "t": tokens["refreshToken"] }))
        .await
        .data("refresh")
        .clone();
    let mut client = app.client();
    client.token = tokens["accessToken"].as_str().map(str::to_owned);
    client.refresh = tokens["refreshToken"].as_str().map(str::to_owned);
    let project = "mutation { createProject(input: { name: \"Birds\" }) { userErrors { message } } }";
    from(&client, agent, project, json!({}))
        .await
        .data("createProject");
    from(&client, agent, "{ users { nodes { id } } }", json!({})).await;
    (user, client)
}

const USERS: &str = "{ users { nodes { id username email firstName lastName department initials badgeColor deactivated roles { role reason } } } }";
const AUDIT: &str =
    "{ auditLog(first: 100) { nodes { position kind actor subject address userAgent data } } }";

/// AU-7, B4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_nowhere_and_everything_else_is_as_before() {
    let app = TestApp::start().await;
    let (user, canary) = canary(&app).await;
    let ada = app.person("ada", "engineer_i").await;
    // The search finds what there is, and the log itself never had it.
    let before = in_tables(&app.database_url, "canary").await;
    for table in [
        "identity_user",
        "identity_session",
        "audit_entry",
        "access_assignment",
    ] {
        assert!(
            before.iter().any(|row| row.contains(table)),
            "{table}: {before:?}"
        );
    }
    assert!(
        !before.iter().any(|row| row.starts_with("public.event:")),
        "{before:?}"
    );
    assert!(
        !in_tables(&app.database_url, "$argon2")
            .await
            .iter()
            .any(|row| row.starts_with("public.event:"))
    );
    assert!(!in_files(&app.data_dir, "canary").is_empty());
    everything_whole(&app).await;

    let erased = erase(&app.admin, &user).await;
    let payload = erased.data("erasePerson");
    assert_eq!(payload["userErrors"], json!([]), "{erased:?}");
    assert_eq!(payload["erasure"]["userId"], user.as_str());
    // Acknowledged: nobody sees the person any more, and the person cannot do anything.
    let users = app.admin.run(USERS, json!({})).await;
    let shown = users.data("users")["nodes"].to_string();
    assert!(
        !shown.to_lowercase().contains("canary") && shown.contains("[erased]"),
        "{shown}"
    );
    let refused = canary.run("{ me { id } }", json!({})).await;
    assert_eq!(refused.code(), Some("UNAUTHENTICATED"));
    for login in ["canaryname", "canary@example.org"] {
        let input = json!({ "login": login, "password": PASSWORD });
        let refused = app.client().run(LOGIN, json!({ "i": input })).await;
        assert_eq!(refused.user_codes("login"), ["LOGIN_FAILED"]);
    }

    let receipt = receipt(&app.admin, &user).await;
    assert!(
        receipt["keyId"].is_string() && receipt["keyDestroyedAt"].is_string(),
        "{receipt}"
    );
    assert_eq!(
        receipt["rebuilt"].as_array().map(Vec::len),
        Some(projections::personal().len())
    );
    nothing_is_left(&app).await;
    let again = erase(&app.admin, &user).await;
    assert_eq!(
        again.data("erasePerson")["erasure"]["state"],
        "COMPLETED",
        "{again:?}"
    );
    let back = app
        .admin
        .run(
            "mutation($i: SetUserActiveInput!) { setUserActive(input: $i) { userErrors { code } } }",
            json!({ "i": { "userId": user, "active": true, "reason": "a mistake" } }),
        )
        .await;
    assert_eq!(back.user_codes("setUserActive"), ["ERASED"]);
    let me = ada
        .run("{ me { username email } sessions { address } }", json!({}))
        .await;
    assert_eq!(
        me.data("me"),
        &json!({ "username": "ada", "email": "ada@example.org" })
    );
    assert_eq!(me.data("sessions")[0]["address"], "127.0.0.1");

    rebuilt_from_nothing(&app).await;
    the_names_are_free(&app, &user).await;
    everything_whole(&app).await;
    app.stop().await;
}

async fn nothing_is_left(app: &TestApp) {
    assert_eq!(in_tables(&app.database_url, "canary").await, Vec::<String>::new());
    assert_eq!(in_files(&app.data_dir, "canary"), Vec::<String>::new());
    for query in [USERS, AUDIT] {
        let answer = app.admin.run(query, json!({})).await;
        let text = answer.body.to_string();
        assert!(answer.code().is_none(), "{text}");
        assert!(!text.to_lowercase().contains("canary"), "{text}");
        assert!(text.contains("[erased]"), "{text}");
    }
    everything_whole(app).await;
}

/// Every projection folded anew shows the same.
async fn rebuilt_from_nothing(app: &TestApp) {
    let names: Vec<&str> = projections::all()
        .iter()
        .map(|projector| projector.name())
        .collect();
    let pool = &app.system.app.database;
    projections::rebuild::request(pool, &names)
        .await
        .expect("asked for");
    let done = async {
        while !projections::rebuild::finished(pool, &names)
            .await
            .expect("an answer")
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done)
        .await
        .expect("rebuilt");
    nothing_is_left(app).await;
}

/// Somebody else registers with the name and the address, and is somebody else.
async fn the_names_are_free(app: &TestApp, erased: &str) {
    let input = json!({ "username": "canaryname", "email": "canary@example.org", "password": PASSWORD });
    let registered = app.client().run(REGISTER, json!({ "i": input })).await;
    assert_eq!(
        registered.data("register")["userErrors"],
        json!([]),
        "{registered:?}"
    );
    assert_ne!(registered.data("register")["user"]["id"], erased);
    let verify = "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { code } } }";
    let token = app.mailed_token("canary@example.org").await;
    let verified = app.client().run(verify, json!({ "t": token })).await;
    assert_eq!(
        verified.data("verifyEmail")["userErrors"],
        json!([]),
        "the address is theirs now"
    );
    let new = app.client().login("canary@example.org").await;
    let me = new.run("{ me { username } }", json!({})).await;
    assert_eq!(me.data("me")["username"], "canaryname");
}

/// AC-3: who may erase whom.
#[tokio::test]
async fn an_erasure_is_refused_with_its_reason() {
    let app = TestApp::start().await;
    let me = app.admin.run("{ me { id } }", json!({})).await.data("me")["id"].clone();
    let own = erase(&app.admin, me.as_str().expect("an id")).await;
    assert_eq!(own.user_codes("erasePerson"), ["OWN_ACCOUNT"]);
    let nobody = erase(&app.admin, "usr_00000000000000000000000000000000").await;
    assert_eq!(nobody.user_codes("erasePerson"), ["NOT_FOUND"]);
    let rubbish = erase(&app.admin, "ada").await;
    assert_eq!(rubbish.user_codes("erasePerson"), ["NOT_FOUND"]);
    let mara = app.person("mara", "manager").await;
    let ada = app.person("ada", "engineer_i").await;
    assert_eq!(erase(&mara, &ada.user_id).await.code(), Some("FORBIDDEN"));
    let unasked = app.admin.run(RECEIPT, json!({ "u": ada.user_id })).await;
    assert_eq!(unasked.data("erasure"), &Value::Null);
    assert_eq!(
        ada.run("{ me { username } }", json!({})).await.data("me")["username"],
        "ada"
    );
    app.stop().await;
}

/// E1: what was decided is carried out, by one process at a time, from wherever another one stopped.
#[tokio::test]
async fn an_erasure_goes_on_from_where_it_stopped() {
    const LOCK: i64 = 0x616e_6e65_616c_0011;
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let pool = admin_pool(&app.database_url, 1).await.expect("a pool");
    let mut other = pool.begin().await.expect("a transaction");
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *other)
        .await
        .expect("another process has the turn");
    let decided = erase(&app.admin, &ada.user_id).await;
    assert_eq!(
        decided.data("erasePerson")["erasure"]["state"],
        "UNDER_WAY",
        "{decided:?}"
    );
    let shown = app.admin.run(USERS, json!({})).await.body.to_string();
    assert!(!shown.contains("ada@example.org"), "{shown}");
    // It destroys the key, and dies.
    let destroyed =
        sqlx::query("update person_key set wrapped = null, destroyed_at = now() where person = $1")
            .bind(&ada.user_id)
            .execute(&mut *other)
            .await
            .expect("destroyed");
    assert_eq!(destroyed.rows_affected(), 1);
    other.commit().await.expect("committed");
    let receipt = receipt(&app.admin, &ada.user_id).await;
    assert!(receipt["keyMadeAt"].is_string(), "{receipt}");
    assert_eq!(
        in_tables(&app.database_url, "ada@example.org").await,
        Vec::<String>::new()
    );
    let receipts: i64 =
        sqlx::query_scalar("select count(*) from event where kind = 'identity.ErasureCompleted'")
            .fetch_one(&pool)
            .await
            .expect("a count");
    assert_eq!(receipts, 1);
    app.stop().await;
}
