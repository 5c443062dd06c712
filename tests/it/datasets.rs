//! Datasets, from outside: upload, validation, download.

use async_compression::tokio::write::GzipEncoder;
use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    id::UserId,
};
use serde_json::{Value, json};
use sha2::Digest as _;
use tests::harness::{Client, TestApp, events::record};
use tokio::io::AsyncWriteExt as _;

const TEXT: &[u8] = b"A first paragraph.\n\nA second one.\n";

async fn versions(client: &tests::harness::Client, dataset: &str) -> Value {
    let query = "query($id: ID!) { dataset(id: $id) { latestVersion versions { version sha256 samples format preview } } }";
    client
        .run(query, json!({ "id": dataset }))
        .await
        .data("dataset")
        .clone()
}

/// FA3: a guest has a dataset of one's own, and shows it to nobody.
#[tokio::test]
async fn a_guest_cannot_publish() {
    let app = TestApp::start().await;
    let guest = app.person("gus", "guest").await;
    let create = "mutation($v: Visibility!) { createDataset(input: { name: \"D\", visibility: $v }) { dataset { visibility } userErrors { code } } }";
    let public = guest.run(create, json!({ "v": "PUBLIC" })).await;
    assert_eq!(public.code(), Some("FORBIDDEN"), "{public:?}");
    let import = "mutation { importModel(input: { folder: \"none\", name: \"M\", visibility: PUBLIC }) { userErrors { code } } }";
    assert_eq!(guest.run(import, json!({})).await.code(), Some("FORBIDDEN"));
    let private = guest.run(create, json!({ "v": "PRIVATE" })).await;
    assert_eq!(
        private.data("createDataset")["dataset"]["visibility"],
        "PRIVATE",
        "{private:?}"
    );
    app.stop().await;
}

/// DS-1, DS-2: an upload becomes a version with its content's address; the same bytes again do not.
#[tokio::test]
async fn an_upload_becomes_a_version_and_can_be_had_back() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let first = ada.upload(&dataset, "a.txt", TEXT.to_vec()).await;
    assert_eq!(
        (first.status, first.body["version"].as_u64()),
        (201, Some(1)),
        "{first:?}"
    );
    let again = ada.upload(&dataset, "b.txt", TEXT.to_vec()).await;
    assert_eq!(
        (again.status, &again.body["version"]),
        (201, &json!(1)),
        "{again:?}"
    );
    let seen = versions(&ada, &dataset).await;
    assert_eq!(seen["latestVersion"], json!(1));
    assert_eq!(seen["versions"][0]["samples"], json!("2"));
    let address = hex::encode(sha2::Sha256::digest(TEXT));
    assert_eq!(seen["versions"][0]["sha256"], json!(address));
    let content = format!("/api/datasets/{dataset}/versions/1/content");
    let whole = ada.send(ada.request(reqwest::Method::GET, &content)).await;
    assert_eq!(
        whole.body,
        Value::String(String::from_utf8_lossy(TEXT).into_owned())
    );
    let part = ada
        .send(
            ada.request(reqwest::Method::GET, &content)
                .header("range", "bytes=2-6"),
        )
        .await;
    assert_eq!((part.status, part.body), (206, Value::String("first".to_owned())));
    let log = app
        .admin
        .run(
            "{ auditLog(filter: { kind: \"audit.DatasetDownloaded\" }) { nodes { actor } } }",
            json!({}),
        )
        .await;
    // FR17: both were reads of one version within the hour.
    assert_eq!(log.data("auditLog")["nodes"].as_array().map(Vec::len), Some(1));
    app.stop().await;
}

/// DS-1: bad lines are named by number and reason, and nothing half-imported stays.
#[tokio::test]
async fn bad_files_are_refused_with_their_lines_and_leave_nothing() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Chats").await;
    let lines = concat!(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"}]}\n",
        "not json\n",
        "{\"messages\":[]}\n",
    );
    let broken = ada.upload(&dataset, "c.jsonl", lines.as_bytes().to_vec()).await;
    assert_eq!(broken.status, 422);
    let places: Vec<&str> = broken.body["errors"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(|e| e["pointer"].as_str())
        .collect();
    assert_eq!(places, ["#line=2", "#line=3"]);
    let cases: [(&str, Vec<u8>, u16); 4] = [
        ("empty.txt", Vec::new(), 422),
        ("latin.txt", b"caf\xe9\n".to_vec(), 422),
        ("x.zip", b"PK\x03\x04....".to_vec(), 415),
        ("cut.gz", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1], 400),
    ];
    for (name, bytes, status) in cases {
        let refused = ada.upload(&dataset, name, bytes).await;
        assert_eq!(refused.status, status, "{name}: {refused:?}");
        assert!(
            refused.body["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{name}"
        );
    }
    assert_eq!(versions(&ada, &dataset).await["latestVersion"], json!(0));
    let staged = app.data_dir.join("objects").join("staging");
    assert!(
        !staged.exists() || std::fs::read_dir(staged).expect("a folder").next().is_none(),
        "staging is not empty"
    );
    app.stop().await;
}

/// The name of a file is kept as it was given, or refused by the name of its parameter; never altered.
#[tokio::test]
async fn a_file_name_that_does_not_fit_is_refused() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let long = "x".repeat(256);
    for name in [
        "a%00.txt",
        "a%0A.txt",
        "a%1B%5B2J.txt",
        "a%7F.txt",
        "a%C2%85.txt",
        "a%E2%80%AE.txt",
        &long,
    ] {
        let refused = ada.upload(&dataset, name, TEXT.to_vec()).await;
        assert_eq!(refused.status, 400, "{name}: {refused:?}");
        let error = &refused.body["errors"][0];
        assert_eq!(
            (&error["pointer"], &error["code"]),
            (&json!("fileName"), &json!("INVALID")),
            "{name}: {refused:?}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|said| said.contains("fileName")),
            "{name}: {refused:?}"
        );
    }
    let garbled = ada.upload(&dataset, "a%FF.txt", TEXT.to_vec()).await;
    assert_eq!(garbled.status, 400, "{garbled:?}");
    assert_eq!(garbled.body["detail"], "the query string is not in UTF-8");
    assert_eq!(versions(&ada, &dataset).await["latestVersion"], json!(0));
    let kept = ada
        .upload(&dataset, "Gr%C3%BC%C3%9Fe%20%25.txt", TEXT.to_vec())
        .await;
    assert_eq!(kept.status, 201, "{kept:?}");
    let query = "query($id: ID!) { dataset(id: $id) { versions { fileName } } }";
    let seen = ada.run(query, json!({ "id": dataset })).await;
    assert_eq!(
        seen.data("dataset")["versions"],
        json!([{ "fileName": "Grüße %.txt" }])
    );
    app.stop().await;
}

/// A coding that is not known is refused by its name, also when that is no ASCII.
#[tokio::test]
async fn a_content_encoding_is_never_passed_over() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    for coding in [&b"br"[..], "gz\u{ef}p".as_bytes()] {
        let value = reqwest::header::HeaderValue::from_bytes(coding).expect("a value");
        let path = format!("/api/datasets/{dataset}/versions?fileName=a.txt");
        let request = ada
            .request(reqwest::Method::POST, &path)
            .header("content-encoding", value);
        let refused = ada.send(request.body(TEXT)).await;
        assert_eq!(refused.status, 415, "{coding:?}: {refused:?}");
    }
    app.stop().await;
}

/// Foreign datasets are as if they were not there.
#[tokio::test]
async fn strangers_can_neither_read_nor_write() {
    let app = TestApp::start().await;
    let (ada, eve) = (
        app.person("ada", "engineer_i").await,
        app.person("eve", "engineer_i").await,
    );
    let dataset = ada.dataset("Private").await;
    ada.upload(&dataset, "a.txt", TEXT.to_vec()).await;
    assert_eq!(
        eve.upload(&dataset, "b.txt", b"other\n".to_vec()).await.status,
        404
    );
    let content = format!("/api/datasets/{dataset}/versions/1/content");
    assert_eq!(
        eve.send(eve.request(reqwest::Method::GET, &content)).await.status,
        404
    );
    assert_eq!(
        app.client()
            .send(app.client().request(reqwest::Method::GET, &content))
            .await
            .status,
        401
    );
    assert!(versions(&eve, &dataset).await.is_null());
    app.stop().await;
}

/// What is larger than allowed is refused, also when it only becomes so when it is unpacked.
#[tokio::test]
async fn a_large_file_and_a_gzip_bomb_are_refused() {
    let app = TestApp::start_with(tests::harness::TestOptions {
        settings: vec![("uploads.max_bytes", "1048576".to_owned())],
        ..tests::harness::TestOptions::default()
    })
    .await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Bomb").await;
    let big = "a long line of text that repeats itself\n"
        .repeat(200_000)
        .into_bytes();
    let mut packed = GzipEncoder::new(Vec::new());
    packed.write_all(&big).await.expect("packed");
    packed.shutdown().await.expect("packed");
    let bomb = packed.into_inner();
    assert!(bomb.len() < 1_048_576 / 10, "it looks harmless: {}", bomb.len());
    for (name, bytes) in [("big.txt", big), ("bomb.txt.gz", bomb)] {
        let refused = ada.upload(&dataset, name, bytes).await;
        assert_eq!(refused.status, 413, "{name}: {refused:?}");
    }
    assert_eq!(versions(&ada, &dataset).await["latestVersion"], json!(0));
    app.stop().await;
}

/// QU-1: whoever uploads, the owner's limit on the owner's ledger counts.
#[tokio::test]
async fn an_administrator_does_not_pass_the_storage_quota_of_the_owner() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let taken = LedgerEvent::StorageTaken {
        bytes: 100_000_000_000 - TEXT.len() as u64,
        item: "dst_before/1".to_owned(),
        object: None,
    };
    let owner: UserId = ada.user_id.parse().expect("an id");
    record::<QuotaLedger>(&app.database_url, owner, &taken).await;
    let longer = [TEXT, b"One byte too much.\n"].concat();
    let refused = app.admin.upload(&dataset, "long.txt", longer).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(
        refused.body["type"]
            .as_str()
            .and_then(|kind| kind.rsplit(['/', ':']).next()),
        Some("quota-exceeded"),
        "{refused:?}"
    );
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|said| said.contains("100000000000")),
        "{refused:?}"
    );
    assert_eq!(versions(&ada, &dataset).await["latestVersion"], json!(0));
    let fits = app.admin.upload(&dataset, "short.txt", TEXT.to_vec()).await;
    assert_eq!(fits.status, 201, "{fits:?}");
    app.stop().await;
}

/// What a person's quota says is stored.
async fn stored(client: &Client) -> u64 {
    let query = "query($u: ID!) { access(userId: $u) { usage { storageBytes } } }";
    let seen = client.run(query, json!({ "u": client.user_id })).await;
    let bytes = seen.data("access")["usage"]["storageBytes"].as_str();
    bytes
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or_else(|| panic!("{seen:?}"))
}

/// DS-3: the same bytes are one object, counted once for each owner who has them.
#[tokio::test]
async fn the_same_bytes_count_once_for_each_owner() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let bob = app.person("bob", "engineer_i").await;
    for name in ["One", "Two"] {
        let dataset = ada.dataset(name).await;
        let answer = ada.upload(&dataset, "a.txt", TEXT.to_vec()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(stored(&ada).await, TEXT.len() as u64, "{name}");
    }
    assert_eq!(stored(&bob).await, 0);
    let dataset = bob.dataset("Three").await;
    assert_eq!(bob.upload(&dataset, "a.txt", TEXT.to_vec()).await.status, 201);
    assert_eq!(stored(&bob).await, TEXT.len() as u64);
    app.stop().await;
}
