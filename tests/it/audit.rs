//! The audit log, from outside.

use serde_json::{Value, json};
use tests::harness::TestApp;

/// AU-1, AU-2: the log tells who did what, when and in which request, and can be filtered and paged.
#[tokio::test]
async fn the_log_tells_the_story_with_actors_and_positions() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    ada.experiment().await;
    let query = "query($f: AuditFilter, $a: String) { auditLog(filter: $f, order: OLDEST_FIRST, first: 3, after: $a) { nodes { position kind actor subject requestId sessionId at outcome } pageInfo { hasNextPage endCursor } } }";
    let mine = json!({ "actor": format!("user:{}", ada.user_id) });
    let (mut entries, mut after): (Vec<Value>, Value) = (Vec::new(), Value::Null);
    loop {
        let page = app.admin.run(query, json!({ "f": mine, "a": after })).await;
        let log = page.data("auditLog").clone();
        entries.extend(log["nodes"].as_array().expect("entries").clone());
        after = log["pageInfo"]["endCursor"].clone();
        if log["pageInfo"]["hasNextPage"] == json!(false) {
            break;
        }
    }
    let kinds: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"identity.SessionOpened"), "{kinds:?}");
    assert!(
        kinds.ends_with(&[
            "projects.ProjectCreated",
            "access.QuotaTaken",
            "projects.ExperimentCreated"
        ]),
        "{kinds:?}"
    );
    let position = |entry: &Value| {
        entry["position"]
            .as_str()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let positions: Vec<u64> = entries
        .iter()
        .map(|entry| position(entry).unwrap_or_else(|| panic!("{entry}")))
        .collect();
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
    for entry in &entries {
        assert_eq!(entry["actor"], mine["actor"], "{entry}");
        assert_eq!(entry["outcome"], "SUCCESS", "{entry}");
        assert!(
            entry["at"].is_string() && entry["requestId"].is_string(),
            "{entry}"
        );
    }
    let last = entries.last().expect("entries");
    assert!(last["sessionId"].is_string(), "{last}");
    app.stop().await;
}

/// A time whose UTC lies beyond the last year is the caller's fault, and no panic.
#[tokio::test]
async fn a_time_beyond_the_last_year_is_refused_by_name() {
    let app = TestApp::start().await;
    let query = "query($f: AuditFilter) { auditLog(filter: $f) { nodes { position } } }";
    for (field, time) in [
        ("until", "9999-12-31T23:59:59-00:01"),
        ("from", "9999-12-31T23:59:59-23:59"),
    ] {
        let answer = app.admin.run(query, json!({ "f": { field: time } })).await;
        assert_eq!(answer.code(), Some("BAD_USER_INPUT"), "{answer:?}");
        let said = format!("{answer:?}");
        assert!(said.contains(&format!("f.{field}")), "{said}");
    }
    let latest = json!({ "f": { "until": "9999-12-31T23:59:59Z" } });
    let all = app.admin.run(query, latest).await;
    assert!(all.data("auditLog")["nodes"][0]["position"].is_string());
    app.stop().await;
}

/// Who may not read everything reads what their own organization did.
#[tokio::test]
async fn a_manager_reads_the_log_of_the_own_organization_only() {
    let app = TestApp::start().await;
    let mara = app.person("mara", "manager").await;
    let ada = app.person("ada", "engineer_i").await;
    ada.experiment().await;
    let log = mara
        .run("{ auditLog(first: 100) { nodes { actor kind } } }", json!({}))
        .await;
    let entries = log.data("auditLog")["nodes"]
        .as_array()
        .cloned()
        .expect("entries");
    assert!(
        entries
            .iter()
            .any(|entry| entry["kind"] == json!("projects.ProjectCreated"))
    );
    let root = app.admin.run("{ me { id } }", json!({})).await.data("me")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(
        entries
            .iter()
            .all(|entry| entry["actor"] != json!(format!("user:{root}")))
    );
    assert_eq!(
        ada.run("{ auditLog { nodes { kind } } }", json!({})).await.code(),
        Some("FORBIDDEN")
    );
    app.stop().await;
}
