//! Proofs of DS-3 on a folder.

use std::sync::Arc;

use domain::{
    clock::{Clock, SystemClock},
    id::SystemIds,
};
use futures::TryStreamExt;

use super::{Existing, Key, Objects, ObjectsError, S3Options, SecretText, Stored, Swept};
use crate::testing::{eventually, files, open, store};

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
        put(&objects, &key, b"other", Existing::Keep).await,
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

/// What an earlier process of the same owner left is deleted at its start, whenever it was written.
#[tokio::test]
async fn the_sweep_takes_what_an_earlier_process_of_the_owner_left() {
    let (folder, objects) = store();
    let now = SystemClock.now();
    let nothing = objects.sweep_staging(now).await.expect("nothing there");
    assert_eq!(nothing, Swept::default());
    let owner = "a".repeat(32);
    let first = open(folder.path()).staging_as(&owner).expect("an owner");
    let mut left = first.stage().await.expect("staged");
    left.write(b"half").await.expect("written");
    // The process is killed: nothing of it runs any more.
    std::mem::forget(left);
    let second = open(folder.path()).staging_as(&owner).expect("an owner");
    let swept = second.sweep_staging(now).await.expect("swept");
    assert_eq!((swept.deleted, swept.kept), (1, 0));
    assert!(files(folder.path()).is_empty());
    for unfit in ["", "a", "../../../../../../../../etc/passwd", &"g".repeat(32)] {
        assert!(open(folder.path()).staging_as(unfit).is_err(), "{unfit}");
    }
}

/// FS3: of two processes over one folder, the start of one takes nothing away that the other is writing. Without owners
/// the sweep took all that was older than now.
#[tokio::test]
async fn a_start_leaves_what_another_process_is_writing() {
    let (folder, writing) = store();
    let mut staged = writing.stage().await.expect("staged");
    staged.write(&vec![7; 12 << 20]).await.expect("written");
    let starting = open(folder.path());
    let later = SystemClock.now() + time::Duration::hours(2);
    let swept = starting.sweep_staging(later).await.expect("swept");
    assert_eq!((swept.deleted, swept.kept), (0, 1));
    let key = Key::artifact("job/result").expect("a key");
    let stored = staged.publish(&key, Existing::Replace).await;
    assert_eq!(stored.expect("published"), Stored::New);
    assert_eq!(writing.size(&key).await.expect("an answer"), Some(12 << 20));
}

/// What nobody can be writing any more is taken whosever it was, also of versions that had no owners.
#[tokio::test]
async fn the_sweep_takes_what_is_older_than_anybody_writes() {
    let (folder, objects) = store();
    let staging = folder.path().join("staging");
    std::fs::create_dir_all(&staging).expect("a folder");
    std::fs::write(staging.join("0123#1"), "half").expect("a file");
    std::fs::write(staging.join(format!("{}-4567", "b".repeat(32))), "whole").expect("a file");
    assert_eq!(objects.unfinished().await.expect("listed"), 2);
    let now = SystemClock.now();
    let soon = objects
        .sweep_staging(now + time::Duration::hours(23))
        .await
        .expect("swept");
    assert_eq!((soon.deleted, soon.kept), (0, 2));
    let late = objects
        .sweep_staging(now + time::Duration::hours(25))
        .await
        .expect("swept");
    assert_eq!((late.deleted, late.kept), (2, 0));
    assert!(files(folder.path()).is_empty());
}

/// A content address that holds other bytes than it must, as a cut file does, is mended by the next upload.
#[tokio::test]
async fn a_cut_object_is_replaced_by_the_same_content() {
    let (folder, objects) = store();
    let key = Key::dataset(&"a".repeat(64)).expect("a key");
    put(&objects, &key, b"whole", Existing::Keep).await;
    std::fs::write(folder.path().join(key.to_string()), b"wh").expect("cut");
    assert_eq!(put(&objects, &key, b"whole", Existing::Keep).await, Stored::New);
    assert_eq!(content(&objects, &key, None).await, b"whole");
    assert_eq!(files(folder.path()), [key.to_string()]);
}

/// FS5: whoever stores files and is cancelled leaves none, wherever it was.
#[tokio::test]
async fn a_cancelled_folder_of_artefacts_leaves_nothing() {
    let (folder, objects) = store();
    let source = tempfile::tempdir().expect("a folder");
    let many: Vec<(String, std::path::PathBuf)> = (0..8)
        .map(|number| {
            let path = source.path().join(number.to_string());
            std::fs::write(&path, vec![7; 1 << 20]).expect("a file");
            (number.to_string(), path)
        })
        .collect();
    for files_there in [0, 1, 3, 7] {
        let prefix = Key::artifact("job_1/1").expect("a key");
        let storing = objects.put_dir(&prefix, &many);
        let reached = eventually(|| files(&folder.path().join("artifacts")).len() >= files_there);
        std::fs::create_dir_all(folder.path().join("artifacts")).expect("a folder");
        tokio::select! {
            biased;
            () = reached => {}
            stored = storing => drop(objects.unreferenced(&stored.expect("stored"))),
        }
        eventually(|| files(folder.path()).is_empty()).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(
            files(folder.path()).is_empty(),
            "cancelled with {files_there} stored"
        );
    }
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
    for url in [
        "gs://bucket",
        "relative/folder",
        "file://host/share",
        "",
        "s3://",
        "s3://Bucket_name",
        "s3://key:secret@bucket",
        "s3://bucket:9000/a",
        "s3://bucket/a//b",
        "s3://bucket/a?region=x",
    ] {
        let error = Objects::open(url, Arc::new(SystemIds))
            .expect_err(url)
            .to_string();
        assert!(
            error.contains("file:///") && error.contains("s3://"),
            "{url}: {error}"
        );
        assert!(!error.contains("secret@"), "{error}");
    }
}

#[test]
fn what_an_s3_store_needs_is_told_at_once() {
    let error = Objects::open("s3://bucket/prefix", Arc::new(SystemIds)).expect_err("no key");
    let error = error.to_string();
    for name in ["objects.access_key_id", "objects.secret_access_key"] {
        assert!(error.contains(name), "{error}");
    }
}

/// Without TLS only this machine is asked, unless the operator says so.
#[test]
fn a_store_elsewhere_is_asked_with_tls_only() {
    let with = |endpoint: &str, allow_http| {
        let options = S3Options {
            endpoint: endpoint.to_owned(),
            access_key_id: SecretText::new("AK".to_owned()),
            secret_access_key: SecretText::new("canary-secret".to_owned()),
            allow_http,
            ..S3Options::default()
        };
        assert!(!format!("{options:?}").contains("canary"), "{options:?}");
        assert!(!format!("{options:?}").contains("AK"), "{options:?}");
        options.check().is_ok()
    };
    for plain in [
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]:9000",
    ] {
        assert!(with(plain, false), "{plain}");
    }
    for elsewhere in [
        "http://10.0.0.1:9000",
        "http://minio:9000",
        "http://127.0.0.1.example.com",
    ] {
        assert!(!with(elsewhere, false) && with(elsewhere, true), "{elsewhere}");
    }
    for unfit in [
        "ftp://host",
        "https://user:pw@host",
        "https://host/bucket",
        "host:9000",
        "https://host?x",
    ] {
        assert!(!with(unfit, true), "{unfit}");
    }
    assert!(with("https://minio.example.com:9000", false) && with("", false));
}
