//! Proofs of DS-3 on a folder.

use std::sync::Arc;

use domain::{
    clock::{Clock, SystemClock},
    id::SystemIds,
};
use futures::TryStreamExt;

use super::{Existing, Key, Objects, ObjectsError, Stored};
use crate::testing::{eventually, files, store};

async fn content(objects: &Objects, key: &Key, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let download = objects.read(key, range).await.expect("readable");
    let expected = download.range.end - download.range.start;
    let pieces: Vec<_> = download.body.try_collect().await.expect("whole");
    let bytes = pieces.concat();
    assert_eq!(bytes.len() as u64, expected);
    bytes
}

async fn put(objects: &Objects, key: &Key, bytes: &[u8], existing: Existing) -> Stored {
    let mut staged = objects.stage().await.expect("staged");
    staged.write(bytes).await.expect("written");
    staged.publish(key, existing).await.expect("published")
}

/// DS-2: the same content is stored once.
#[tokio::test]
async fn a_published_object_is_kept_or_replaced_and_staging_is_empty() {
    let (folder, objects) = store();
    let key = Key::dataset(&"a".repeat(64)).expect("a key");
    assert_eq!(put(&objects, &key, b"first", Existing::Keep).await, Stored::New);
    assert_eq!(
        put(&objects, &key, b"second", Existing::Keep).await,
        Stored::AlreadyThere
    );
    assert_eq!(content(&objects, &key, None).await, b"first");
    assert_eq!(
        put(&objects, &key, b"third", Existing::Replace).await,
        Stored::New
    );
    assert_eq!(content(&objects, &key, None).await, b"third");
    assert_eq!(files(folder.path()), [key.to_string()]);
    assert_eq!(
        std::fs::read(objects.local_path(&key).expect("local")).expect("a file"),
        b"third"
    );
}

#[tokio::test]
async fn ranges_are_cut_at_the_end_and_refused_behind_it() {
    let (_folder, objects) = store();
    let key = Key::artifact("job/adapter.safetensors").expect("a key");
    assert!(matches!(
        objects.read(&key, None).await,
        Err(ObjectsError::NotFound { .. })
    ));
    put(&objects, &key, b"0123456789", Existing::Replace).await;
    assert_eq!(content(&objects, &key, Some(2..5)).await, b"234");
    assert_eq!(content(&objects, &key, Some(7..100)).await, b"789");
    assert!(matches!(
        objects.read(&key, Some(10..11)).await,
        Err(ObjectsError::Range { size: 10 })
    ));
    assert!(matches!(
        objects.read(&key, Some(3..3)).await,
        Err(ObjectsError::Range { size: 10 })
    ));
    objects.delete(&key).await.expect("deleted");
    objects.delete(&key).await.expect("deleted already");
    assert_eq!(objects.size(&key).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_dropped_or_aborted_object_leaves_nothing() {
    let (folder, objects) = store();
    let mut staged = objects.stage().await.expect("staged");
    staged.write(&vec![7; 12 << 20]).await.expect("written");
    assert_eq!(files(folder.path()).len(), 1, "it is being written");
    drop(staged);
    eventually(|| files(folder.path()).is_empty()).await;
    let staged = objects.stage().await.expect("staged");
    staged.abort().await.expect("aborted");
    assert!(files(folder.path()).is_empty());
}

/// What a killed process left is deleted at the next start; what is being written now is not.
#[tokio::test]
async fn the_sweep_takes_old_staging_only() {
    let (folder, objects) = store();
    assert_eq!(
        objects
            .sweep_staging(SystemClock.now())
            .await
            .expect("nothing there"),
        0
    );
    std::fs::create_dir_all(folder.path().join("staging")).expect("a folder");
    std::fs::write(folder.path().join("staging/0123#1"), "half").expect("a file");
    std::fs::write(folder.path().join("staging/4567"), "whole").expect("a file");
    let now = SystemClock.now();
    assert_eq!(
        objects
            .sweep_staging(now - time::Duration::HOUR)
            .await
            .expect("swept"),
        0
    );
    assert_eq!(
        objects
            .sweep_staging(now + time::Duration::SECOND)
            .await
            .expect("swept"),
        2
    );
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn a_folder_of_artefacts_is_stored_whole_or_not_at_all() {
    let (folder, objects) = store();
    let source = tempfile::tempdir().expect("a folder");
    let path = |name: &str| source.path().join(name);
    std::fs::write(path("config"), "{}").expect("a file");
    let prefix = Key::artifact("job_1").expect("a key");
    let good = [("adapter_config.json".to_owned(), path("config"))];
    let stored = objects.put_dir(&prefix, &good).await.expect("stored");
    assert_eq!(stored[0].key.to_string(), "artifacts/job_1/adapter_config.json");
    assert_eq!(
        stored[0].sha256,
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
    assert_eq!(stored[0].bytes, 2);
    let bad = [
        ("a".to_owned(), path("config")),
        ("b".to_owned(), path("missing")),
    ];
    let error = objects
        .put_dir(&Key::artifact("job_2").expect("a key"), &bad)
        .await
        .expect_err("missing");
    assert!(matches!(error, ObjectsError::File { .. }), "{error}");
    assert_eq!(files(folder.path()), ["artifacts/job_1/adapter_config.json"]);
}

/// FR5: a pipe would be waited for without end, a device never ends, a folder has no bytes.
#[tokio::test]
async fn what_is_no_regular_file_is_not_stored_and_not_waited_for() {
    let (folder, objects) = store();
    let source = tempfile::tempdir().expect("a folder");
    let pipe = source.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let prefix = Key::artifact("job_1").expect("a key");
    for path in [pipe, "/dev/zero".into(), source.path().to_owned()] {
        let files = [("a".to_owned(), path)];
        let storing = objects.put_dir(&prefix, &files);
        let within = tokio::time::timeout(std::time::Duration::from_secs(20), storing).await;
        let error = within.expect("no waiting").expect_err("refused");
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
    assert!(files(folder.path()).is_empty());
}

#[test]
fn keys_cannot_leave_the_store() {
    for path in ["../x", "a/../b", "a//b", "/a", "a/", "", "a/./b", "a#1"] {
        assert!(Key::artifact(path).is_err(), "{path}");
    }
    for hash in ["", "abc", &"A".repeat(64), &format!("../{}", "a".repeat(61))] {
        assert!(Key::dataset(hash).is_err(), "{hash}");
    }
}

#[test]
fn other_addresses_are_refused_with_what_to_give() {
    for url in ["s3://bucket", "relative/folder", "file://host/share", ""] {
        let error = Objects::open(url, Arc::new(SystemIds))
            .expect_err(url)
            .to_string();
        assert!(error.contains("file:///"), "{error}");
    }
}
