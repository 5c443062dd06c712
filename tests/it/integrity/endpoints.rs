//! Checkpoints and proofs through the API, verified from its responses alone.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use event_store::integrity::{Checkpoint, Digest, Verifier, verify_consistency, verify_inclusion_of};
use reqwest::Method;
use serde_json::{Value, json};
use tests::harness::{Client, TestApp};

async fn get(client: &Client, path: &str) -> (u16, Value) {
    let answer = client.send(client.request(Method::GET, path)).await;
    (answer.status, answer.body)
}

async fn text(client: &Client, path: &str) -> String {
    match get(client, path).await {
        (200, Value::String(text)) => text,
        other => panic!("{path}: {other:?}"),
    }
}

fn hash(value: &Value) -> Digest {
    let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
    bytes.try_into().expect("32 bytes")
}

fn hashes(value: &Value) -> Vec<Digest> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{value}"))
}

/// The newest checkpoint, once there is one that covers everything recorded so far.
async fn signed(app: &TestApp) -> Checkpoint {
    let verifier = Verifier::read(&text(&app.admin, "/audit/key").await).expect("a key");
    let head = app.system.app.ports.store.known_head().0;
    let wait = async {
        loop {
            if let (200, Value::String(note)) = get(&app.admin, "/audit/checkpoint").await {
                let checkpoint = Checkpoint::open(&note, &verifier).expect("it verifies");
                if checkpoint.size >= head {
                    return checkpoint;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("signed in time")
}

/// AU-6: proofs by GraphQL.
#[tokio::test]
async fn graphql_gives_proofs_that_verify() {
    let app = TestApp::start().await;
    let old = signed(&app).await;
    app.person("ada", "engineer_i").await;
    let new = signed(&app).await;
    assert!(old.size < new.size);
    let answer = app
        .admin
        .run("{ auditCheckpoint { origin size rootHash note key } }", json!({}))
        .await;
    let shown = answer.data("auditCheckpoint");
    assert_eq!(number(&shown["size"]), new.size);
    let verifier = Verifier::read(shown["key"].as_str().expect("a key")).expect("a key");
    assert_eq!(
        Checkpoint::open(shown["note"].as_str().expect("a note"), &verifier),
        Ok(new.clone())
    );

    let query = "query($p: Long!, $s: Long) { auditInclusionProof(position: $p, size: $s) { position size rootHash leafHash hashes checkpoint { size } } }";
    for (position, size) in [(1, None), (new.size, None), (3, Some(old.size)), (2, Some(5))] {
        let answer = app.admin.run(query, json!({ "p": position, "s": size })).await;
        let proof = answer.data("auditInclusionProof");
        let (leaf, root, of) = (
            hash(&proof["leafHash"]),
            hash(&proof["rootHash"]),
            number(&proof["size"]),
        );
        assert_eq!(of, size.unwrap_or(new.size));
        assert!(verify_inclusion_of(
            &leaf,
            position - 1,
            of,
            &root,
            &hashes(&proof["hashes"])
        ));
        if of == new.size {
            assert_eq!(root, new.root);
        }
    }
    let query = "query($f: Long!, $t: Long!) { auditConsistencyProof(from: $f, to: $t) { fromRootHash toRootHash hashes } }";
    let answer = app
        .admin
        .run(query, json!({ "f": old.size, "t": new.size }))
        .await;
    let proof = answer.data("auditConsistencyProof");
    assert_eq!(
        (hash(&proof["fromRootHash"]), hash(&proof["toRootHash"])),
        (old.root, new.root)
    );
    let proof = hashes(&proof["hashes"]);
    assert!(verify_consistency(
        (old.size, &old.root),
        (new.size, &new.root),
        &proof
    ));
    for (from, to) in [(0, 5), (6, 5), (1, new.size + 1_000)] {
        let answer = app.admin.run(query, json!({ "f": from, "t": to })).await;
        assert_eq!(answer.code(), Some("BAD_USER_INPUT"), "{from} {to}");
    }
    app.stop().await;
}

/// AU-6: proofs by HTTP, in the formats of C2SP.
#[tokio::test]
async fn http_gives_proofs_and_tiles_that_verify() {
    let app = TestApp::start().await;
    let newest = signed(&app).await;
    let proof = text(
        &app.admin,
        &format!("/audit/proof/inclusion?position=2&size={}", newest.size),
    )
    .await;
    let (head, note) = proof.split_once("\n\n").expect("a proof and a checkpoint");
    assert_eq!(note, newest.note);
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[..2], ["c2sp.org/tlog-proof@v1", "index 1"]);
    let hashes: Vec<Digest> = lines[2..].iter().map(|line| hash(&json!(line))).collect();

    let tile = app.admin.request(
        Method::GET,
        &format!("/audit/log/tile/0/000.p/{}", newest.size.min(255)),
    );
    let tile = tile
        .bearer_auth(app.admin.token.clone().expect("signed in"))
        .send()
        .await
        .expect("an answer");
    let tile = tile.bytes().await.expect("a body");
    assert_eq!(tile.len() as u64, 32 * newest.size.min(255));
    let leaf: Digest = tile[32..64].try_into().expect("32 bytes");
    assert!(verify_inclusion_of(&leaf, 1, newest.size, &newest.root, &hashes));

    let lines = text(
        &app.admin,
        &format!("/audit/proof/consistency?from={0}&to={0}", newest.size),
    )
    .await;
    assert_eq!(lines, "");
    for (path, status, said) in [
        ("/audit/proof/inclusion?position=0", 400, "out of range"),
        ("/audit/proof/inclusion?position=1&size=0", 400, "out of range"),
        (
            "/audit/proof/inclusion?position=9&size=8",
            400,
            "covers positions 1 to 8",
        ),
        (
            "/audit/proof/inclusion?position=1&size=99999999",
            400,
            "events are signed",
        ),
        (
            "/audit/proof/inclusion?position=x",
            400,
            "position must be a whole number",
        ),
        (
            "/audit/proof/inclusion?position=",
            400,
            "position must be a whole number",
        ),
        (
            "/audit/proof/inclusion?position=99999999999999999999",
            400,
            "position is too large",
        ),
        ("/audit/proof/inclusion", 400, "position"),
        ("/audit/proof/consistency?from=0&to=1", 400, "at least 1"),
        ("/audit/proof/consistency?from=5&to=4", 400, "not larger"),
        ("/audit/log/tile/0/999", 404, "no such tile"),
        ("/audit/log/tile/0/x", 404, "no such tile"),
        ("/audit/log/tile/7/000", 404, "no such tile"),
    ] {
        let (got, problem) = get(&app.admin, path).await;
        assert_eq!(got, status, "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(said), "{path}: {problem}");
    }
    app.stop().await;
}

/// Who may not read the audit log gets no proofs either.
#[tokio::test]
async fn proofs_need_the_right_to_read_the_audit_log() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let paths = [
        "/audit/checkpoint",
        "/audit/key",
        "/audit/proof/inclusion?position=1",
        "/audit/proof/consistency?from=1&to=1",
        "/audit/log/checkpoint",
        "/audit/log/tile/0/000.p/1",
    ];
    for path in paths {
        assert_eq!(get(&app.client(), path).await.0, 401, "{path}");
        assert_eq!(get(&ada, path).await.0, 403, "{path}");
    }
    for query in [
        "{ auditCheckpoint { size } }",
        "{ auditInclusionProof(position: 1) { size } }",
        "{ auditConsistencyProof(from: 1, to: 1) { to } }",
    ] {
        assert_eq!(
            ada.run(query, json!({})).await.code(),
            Some("FORBIDDEN"),
            "{query}"
        );
    }
    app.stop().await;
}
