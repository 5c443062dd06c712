//! Uploads and the room that there is for them, from outside (DS-3; FS1, FR2, FR11).

use std::time::Duration;

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    id::UserId,
};
use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder};
use sha2::Digest as _;
use tests::harness::{Client, TestApp, events::record};

const LINE: &[u8] = b"Some words on a line.\n";
const MEBIBYTE: u64 = 1 << 20;

/// The owner of a fresh dataset, whose quota has room for so many bytes more.
async fn nearly_full(app: &TestApp, left: u64) -> (Client, String) {
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let taken = LedgerEvent::StorageTaken {
        bytes: 100_000_000_000 - left,
        item: "dst_before/1".to_owned(),
        object: None,
    };
    let owner: UserId = ada.user_id.parse().expect("an id");
    record::<QuotaLedger>(&app.database_url, owner, &taken).await;
    (ada, dataset)
}

/// The files of the object store.
fn stored(app: &TestApp) -> Vec<String> {
    objects::testing::files(&app.data_dir.join("objects"))
}

/// Lines of `bytes` in all, at most.
fn lines(bytes: u64) -> Vec<u8> {
    LINE.repeat(usize::try_from(bytes).expect("small") / LINE.len())
}

fn versions(ada: &Client, dataset: &str) -> RequestBuilder {
    let path = format!("/api/datasets/{dataset}/versions?fileName=a.txt");
    ada.request(Method::POST, &path)
}

/// So many pieces of almost a mebibyte without a length, and then the end, or silence.
fn chunked(pieces: u64, ends: bool) -> reqwest::Body {
    let pieces = futures::stream::iter((0..pieces).map(|_| Ok::<_, std::io::Error>(lines(MEBIBYTE))));
    match ends {
        true => reqwest::Body::wrap_stream(pieces),
        false => reqwest::Body::wrap_stream(pieces.chain(futures::stream::pending())),
    }
}

/// FS1, FR2: who is refused for the quota leaves no byte in the store. It left all of them under `objects/datasets`.
#[tokio::test]
async fn an_upload_that_does_not_fit_leaves_nothing() {
    let app = TestApp::start().await;
    let room = 3 * MEBIBYTE;
    let (ada, dataset) = nearly_full(&app, room).await;
    for bytes in [room + LINE.len() as u64, 5 * room] {
        let refused = ada.upload(&dataset, "long.txt", lines(bytes)).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let said = refused.body["detail"].as_str().unwrap_or_default();
        assert!(said.contains(&format!("{room} bytes are free")), "{said}");
        assert_eq!(stored(&app), [""; 0]);
    }
    let fits = ada.upload(&dataset, "fits.txt", lines(room)).await;
    assert_eq!(fits.status, 201, "{fits:?}");
    assert_eq!(stored(&app).len(), 1);
    app.stop().await;
}

/// FS1: a stream without a length is cut when the room is used up, and what it had reserved is free again.
#[tokio::test]
async fn a_stream_is_cut_when_it_is_over_and_gives_its_room_back() {
    let app = TestApp::start().await;
    let (ada, dataset) = nearly_full(&app, 20 * MEBIBYTE).await;
    let cut = ada.send(versions(&ada, &dataset).body(chunked(40, true))).await;
    assert_eq!(cut.status, 403, "{cut:?}");
    assert_eq!(stored(&app), [""; 0]);
    free_again(&ada, &dataset, 19).await;
    app.stop().await;
}

/// FS1: what one upload has reserved is no other's; when its sender goes away it is free again, and nothing is left.
#[tokio::test]
async fn an_upload_that_is_left_gives_its_room_back() {
    let app = TestApp::start().await;
    let (ada, dataset) = nearly_full(&app, 20 * MEBIBYTE).await;
    let silent = tokio::spawn(
        versions(&ada, &dataset)
            .bearer_auth(token(&ada))
            // Less than the first step reserves: it asks for nothing more while the second does.
            .body(chunked(16, false))
            .send(),
    );
    let staged = || {
        let folder = app.data_dir.join("objects");
        let sizes = stored(&app)
            .into_iter()
            .map(|file| std::fs::metadata(folder.join(file)));
        sizes.flatten().map(|file| file.len()).sum::<u64>() > 12 * MEBIBYTE
    };
    objects::testing::eventually(staged).await;
    let second = ada.send(versions(&ada, &dataset).body(chunked(10, true))).await;
    assert_eq!(second.status, 403, "{second:?}");
    silent.abort();
    objects::testing::eventually(|| stored(&app).is_empty()).await;
    free_again(&ada, &dataset, 18).await;
    app.stop().await;
}

fn token(client: &Client) -> &str {
    client.token.as_deref().expect("signed in")
}

/// Room is given back a moment after the answer.
async fn free_again(ada: &Client, dataset: &str, pieces: u64) {
    for _ in 0..100 {
        let next = ada.send(versions(ada, dataset).body(chunked(pieces, true))).await;
        if next.status == 201 {
            return;
        }
        assert_eq!(next.status, 403, "{next:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the room of an upload that has ended is never free again");
}

/// FS1: of two uploads that fit one by one and not together, one is stored and the other leaves nothing.
#[tokio::test]
async fn two_uploads_at_once_do_not_pass_the_quota_together() {
    let app = TestApp::start().await;
    let room = MEBIBYTE;
    let (ada, dataset) = nearly_full(&app, room).await;
    let other = ada.dataset("Others").await;
    let first = ada.upload(&dataset, "a.txt", lines(600_000));
    let mut different = lines(600_000);
    different[0] = b'T';
    let second = ada.upload(&other, "b.txt", different);
    let (first, second) = tokio::join!(first, second);
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403], "{first:?} {second:?}");
    assert_eq!(stored(&app).len(), 1);
    app.stop().await;
}

/// An upload whose answer was lost is repeated, although what it stored has filled the quota. No other bytes pass for it.
#[tokio::test]
async fn an_upload_that_is_repeated_needs_no_room() {
    let app = TestApp::start().await;
    let (ada, dataset) = nearly_full(&app, 3 * MEBIBYTE).await;
    let bytes = lines(3 * MEBIBYTE);
    let sha256 = hex::encode(sha2::Sha256::digest(&bytes));
    let path = format!("/api/datasets/{dataset}/versions?fileName=a.txt&sha256={sha256}");
    let upload = |bytes: Vec<u8>| ada.send(ada.request(Method::POST, &path).body(bytes));
    for _ in 0..2 {
        let answer = upload(bytes.clone()).await;
        assert_eq!(
            (answer.status, answer.body["version"].as_u64()),
            (201, Some(1)),
            "{answer:?}"
        );
    }
    let longer = upload([bytes.as_slice(), LINE].concat()).await;
    assert_eq!(longer.status, 403, "{longer:?}");
    assert_eq!(stored(&app).len(), 1);
    app.stop().await;
}

/// Objects are shared by their content: a refusal takes nothing away that somebody else's version refers to.
#[tokio::test]
async fn a_refusal_takes_nothing_from_others() {
    let app = TestApp::start().await;
    let (ada, dataset) = nearly_full(&app, 0).await;
    let bob = app.person("bob", "engineer_i").await;
    let others = bob.dataset("Texts").await;
    let bytes = lines(2 * MEBIBYTE);
    let kept = bob.upload(&others, "a.txt", bytes.clone()).await;
    assert_eq!(kept.status, 201, "{kept:?}");
    let refused = ada.upload(&dataset, "a.txt", bytes.clone()).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let path = format!("/api/datasets/{others}/versions/1/content");
    let download = bob.request(Method::GET, &path).bearer_auth(token(&bob)).send();
    let download = download.await.expect("an answer").bytes().await;
    assert_eq!(download.expect("all of it"), bytes);
    app.stop().await;
}

/// FR11: a form is refused with what to type. Its boundary and the headers of its parts became samples.
#[tokio::test]
async fn a_form_is_refused_with_what_to_type() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let form =
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nWords.\r\n--x--\r\n";
    for media_type in [
        "multipart/form-data; boundary=x",
        " Multipart/Mixed;boundary=x",
        "multipart/related",
    ] {
        let request = versions(&ada, &dataset).header("Content-Type", media_type);
        let refused = ada.send(request.body(form)).await;
        assert_eq!(refused.status, 415, "{refused:?}");
        let said = refused.body["detail"].as_str().unwrap_or_default();
        assert!(said.contains("--data-binary @FILE"), "{said}");
        assert_eq!(stored(&app), [""; 0]);
    }
    // What curl says of a body of its own accord is taken for what it is.
    let request = versions(&ada, &dataset).header("Content-Type", "application/x-www-form-urlencoded");
    let taken = ada.send(request.body("Words.\n")).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    app.stop().await;
}
