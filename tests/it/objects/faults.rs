//! What goes wrong on the way to a bucket.
//!
//! The rule: after each fault there is the whole object or none, and nothing is left that the sweep would not find.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::id::SystemIds;
use futures::TryStreamExt;
use objects::{Existing, Key, Objects, ObjectsError, S3Options, SecretText, StoreAddress, Stored};
use reqwest::Method;
use tests::harness::object_server::{Fault, ObjectServer};

use super::open;

fn key() -> Key {
    Key::dataset(&"a".repeat(64)).expect("a key")
}

async fn store(objects: &Objects, bytes: &[u8], existing: Existing) -> Result<Stored, ObjectsError> {
    let mut staged = objects.stage().await?;
    for piece in bytes.chunks(1 << 20) {
        staged.write(piece).await?;
    }
    staged.publish(&key(), existing).await
}

async fn read(objects: &Objects) -> Result<Vec<u8>, ObjectsError> {
    let download = objects.read(&key(), None).await?;
    let pieces: Vec<_> = download.body.try_collect().await?;
    Ok(pieces.concat())
}

fn large() -> Vec<u8> {
    (0..12_u64 << 17).flat_map(u64::to_le_bytes).collect()
}

/// One failed answer at each step of an upload is made good by a repetition.
#[tokio::test]
async fn a_failure_that_passes_is_repeated() {
    for (method, target) in [
        (Method::POST, "uploads"),
        (Method::PUT, "partNumber=2"),
        (Method::POST, "uploadId"),
        (Method::HEAD, "staging"),
        (Method::PUT, "datasets"),
        (Method::DELETE, "staging"),
    ] {
        let server = ObjectServer::start().await;
        let objects = open(&server);
        server.arm(method.clone(), target, Fault::Status(503), 1);
        let stored = store(&objects, &large(), Existing::Keep).await;
        assert_eq!(stored.expect("stored"), Stored::New, "{method} {target}");
        assert!(read(&objects).await.expect("readable") == large());
        assert_eq!(server.open_uploads(), 0, "{method} {target}");
        assert_eq!(
            objects.unfinished().await.expect("listed"),
            0,
            "{method} {target}"
        );
    }
}

/// A step that keeps failing leaves no object, and its parts are given up.
#[tokio::test]
async fn a_failure_that_stays_leaves_nothing() {
    for (method, target) in [
        (Method::POST, "uploads"),
        (Method::PUT, "partNumber=2"),
        (Method::POST, "uploadId"),
        (Method::PUT, "datasets"),
    ] {
        let server = ObjectServer::start().await;
        let objects = open(&server);
        server.arm(method.clone(), target, Fault::Status(500), usize::MAX);
        let error = store(&objects, &large(), Existing::Keep)
            .await
            .expect_err("failed");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("canary"), "{told}");
        server.disarm();
        for _ in 0..100 {
            if server.open_uploads() == 0 && server.keys().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(server.keys(), [""; 0], "{method} {target}");
        assert_eq!(server.open_uploads(), 0, "{method} {target}");
    }
}

/// The store did it and its answer was lost: the object is there, and that is found out.
#[tokio::test]
async fn an_answer_that_is_lost_is_found_out() {
    for existing in [Existing::Keep, Existing::Replace] {
        let server = ObjectServer::start().await;
        let objects = open(&server);
        server.arm(Method::POST, "uploadId", Fault::Lost(500), 1);
        store(&objects, &large(), existing).await.expect("stored");
        assert!(read(&objects).await.expect("readable") == large());
        server.arm(Method::PUT, "datasets", Fault::Lost(500), 1);
        store(&objects, b"small", existing).await.expect("stored");
        assert_eq!(read(&objects).await.expect("readable"), b"small");
        assert_eq!((server.keys().len(), server.open_uploads()), (1, 0));
    }
}

/// P4: three tries and no more, and a store that is not there is told within seconds.
#[tokio::test]
async fn a_store_that_is_down_is_told_soon() {
    let server = ObjectServer::start().await;
    let objects = open(&server);
    server.arm(Method::HEAD, "datasets", Fault::Status(503), usize::MAX);
    let error = objects.size(&key()).await.expect_err("down");
    assert!(matches!(error, ObjectsError::Store { .. }), "{error}");
    assert_eq!(server.requests().len(), 3, "{:?}", server.requests());
    let endpoint = server.endpoint();
    drop(server);
    let began = Instant::now();
    let address = StoreAddress::parse("s3://anneal-tests").expect("an address");
    let options = S3Options {
        endpoint,
        access_key_id: SecretText::new("canary-access-key".to_owned()),
        secret_access_key: SecretText::new("canary-secret".to_owned()),
        ..S3Options::default()
    };
    let objects = Objects::open_with(&address, &options, Arc::new(SystemIds)).expect("a store");
    objects.size(&key()).await.expect_err("nobody is there");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A store that does not answer is waited for as long as was said, by every call.
#[tokio::test]
async fn a_silent_store_is_not_waited_for() {
    for (method, target) in [
        (Method::PUT, "partNumber=2"),
        (Method::POST, "uploads"),
        (Method::POST, "uploadId"),
        (Method::HEAD, "staging"),
        (Method::PUT, "datasets"),
    ] {
        let server = ObjectServer::start().await;
        let objects = open(&server).with_deadline(Duration::from_millis(500));
        server.arm(method.clone(), target, Fault::Silence, usize::MAX);
        let bytes = large();
        let storing = store(&objects, &bytes, Existing::Keep);
        let within = tokio::time::timeout(Duration::from_secs(30), storing);
        let error = within.await.expect("no waiting").expect_err("silent");
        assert!(
            matches!(error, ObjectsError::Deadline { .. }),
            "{method} {target}: {error}"
        );
    }
    let server = ObjectServer::start().await;
    let objects = open(&server).with_deadline(Duration::from_millis(500));
    server.arm(Method::GET, "list-type", Fault::Silence, usize::MAX);
    let error = objects
        .list("datasets")
        .try_collect::<Vec<_>>()
        .await
        .expect_err("silent");
    assert!(matches!(error, ObjectsError::Deadline { .. }), "{error}");
}

/// Credentials that are refused, and a store that is full, are told as such, without what was sent.
#[tokio::test]
async fn refusals_are_told_apart_and_show_no_secret() {
    let server = ObjectServer::start().await;
    let objects = open(&server);
    for (status, word) in [(403, "access key"), (401, "access key"), (507, "full")] {
        server.arm(Method::PUT, "datasets", Fault::Status(status), 3);
        let error = store(&objects, b"small", Existing::Keep)
            .await
            .expect_err("refused");
        let told = format!("{error} {error:?}");
        assert!(told.contains(word), "{status}: {told}");
        assert!(!told.contains("canary"), "{told}");
        server.disarm();
    }
}

/// Fewer bytes than were said are an error, never a shorter object; what broke off once is read on.
#[tokio::test]
async fn a_download_is_whole_or_an_error() {
    let server = ObjectServer::start().await;
    let objects = open(&server);
    store(&objects, &large(), Existing::Keep).await.expect("stored");
    server.arm(Method::GET, "datasets", Fault::Cut, 1);
    assert!(read(&objects).await.expect("read on") == large());
    server.arm(Method::GET, "datasets", Fault::Cut, usize::MAX);
    read(&objects).await.expect_err("cut");
    server.disarm();
    server.arm(Method::GET, "datasets", Fault::Size(1_000), usize::MAX);
    read(&objects).await.expect_err("fewer bytes than it said");
}

/// A store that has lost a part of what it took is found out before the object gets its name.
#[tokio::test]
async fn a_store_that_lies_about_a_size_is_not_believed() {
    let server = ObjectServer::start().await;
    let objects = open(&server);
    server.arm(Method::HEAD, "staging", Fault::Size(7), usize::MAX);
    let error = store(&objects, &large(), Existing::Keep)
        .await
        .expect_err("another size");
    assert!(matches!(error, ObjectsError::Length { .. }), "{error}");
    assert_eq!(server.keys(), [""; 0]);
}

/// An object that changes while it is read does not become a mixture of both.
#[tokio::test]
async fn an_object_that_changes_under_a_download_ends_it() {
    let server = ObjectServer::start().await;
    let objects = open(&server);
    store(&objects, &large(), Existing::Keep).await.expect("stored");
    server.arm(Method::GET, "datasets", Fault::Cut, 1);
    let mut download = objects.read(&key(), None).await.expect("opened");
    let first = download.body.try_next().await.expect("a piece").expect("bytes");
    server.put(&format!("a/prefix/{}", key()), &vec![9; large().len()]);
    let mut taken = first.len();
    let error = loop {
        match download.body.try_next().await {
            Ok(Some(bytes)) => taken += bytes.len(),
            Ok(None) => panic!("{taken} bytes of two objects"),
            Err(error) => break error,
        }
    };
    assert!(taken <= large().len() / 2, "{error}");
}

/// Eight uploads of the same bytes at once: each succeeds, and one object is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_the_same_bytes_do_not_disturb_each_other() {
    let server = ObjectServer::start().await;
    for bytes in [b"small".to_vec(), large()] {
        let uploads = (0..8).map(|_| {
            let (objects, bytes) = (open(&server), bytes.clone());
            tokio::spawn(async move { store(&objects, &bytes, Existing::Keep).await })
        });
        for upload in futures::future::join_all(uploads).await {
            upload.expect("no panic").expect("stored");
        }
        let objects = open(&server);
        assert!(read(&objects).await.expect("readable") == bytes);
        assert_eq!((server.keys().len(), server.open_uploads()), (1, 0));
        objects.delete(&key()).await.expect("deleted");
    }
}

/// A small object is one request; a large one is named by a copy of the store, not by sending it twice.
#[tokio::test]
async fn what_an_upload_costs_in_requests() {
    let server = ObjectServer::start().await;
    let objects = open(&server);
    store(&objects, b"small", Existing::Keep).await.expect("stored");
    assert_eq!(server.requests().len(), 1, "{:?}", server.requests());
    objects.delete(&key()).await.expect("deleted");
    let before = server.requests().len();
    store(&objects, &large(), Existing::Keep).await.expect("stored");
    let requests = server.requests().split_off(before);
    // Begin, three parts, end, look at it, look for the name, copy, delete.
    assert_eq!(requests.len(), 9, "{requests:?}");
}
