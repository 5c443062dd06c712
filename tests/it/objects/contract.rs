//! What every object store keeps, a folder and a bucket alike.
//!
//! The rule: nothing is asked here that only one of them could answer.

use std::{ops::Range, time::Duration};

use domain::clock::{Clock as _, SystemClock};
use futures::TryStreamExt;
use objects::{Existing, Key, Objects, ObjectsError, Stored};

/// All promises. `open` opens the same store anew, as another process would.
pub async fn all(open: &dyn Fn() -> Objects) {
    let objects = open();
    whole_or_not_at_all(&objects).await;
    kept_or_replaced(&objects).await;
    ranges(&objects).await;
    given_up(&objects).await;
    listed(&objects).await;
    folders(&objects).await;
    copied_through(&objects).await;
    swept(open).await;
}

fn key(name: &str) -> Key {
    Key::artifact(name).expect("a key")
}

async fn content(objects: &Objects, key: &Key, range: Option<Range<u64>>) -> Vec<u8> {
    let download = objects.read(key, range).await.expect("readable");
    let pieces: Vec<_> = download.body.try_collect().await.expect("whole");
    pieces.concat()
}

async fn put(objects: &Objects, key: &Key, bytes: &[u8], existing: Existing) -> Stored {
    let mut staged = objects.stage().await.expect("staged");
    for piece in bytes.chunks(1 << 20) {
        staged.write(piece).await.expect("written");
    }
    staged.publish(key, existing).await.expect("published")
}

/// Bytes of several parts, none like its neighbour.
fn large() -> Vec<u8> {
    (0..12_u64 << 17).flat_map(u64::to_le_bytes).collect()
}

async fn whole_or_not_at_all(objects: &Objects) {
    let (key, bytes) = (key("contract/large"), large());
    let mut staged = objects.stage().await.expect("staged");
    for piece in bytes.chunks(1 << 20) {
        staged.write(piece).await.expect("written");
        assert_eq!(objects.size(&key).await.expect("an answer"), None);
    }
    let stored = staged.publish(&key, Existing::Keep).await.expect("published");
    assert_eq!(stored, Stored::New);
    assert!(content(objects, &key, None).await == bytes, "other bytes");
    assert_eq!(
        put(objects, &key, &bytes, Existing::Keep).await,
        Stored::AlreadyThere
    );
    assert_eq!(put(objects, &key, b"", Existing::Replace).await, Stored::New);
    assert_eq!(objects.size(&key).await.expect("an answer"), Some(0));
    assert_eq!(objects.unfinished().await.expect("listed"), 0);
}

async fn kept_or_replaced(objects: &Objects) {
    let key = key("contract/small");
    assert_eq!(put(objects, &key, b"first", Existing::Keep).await, Stored::New);
    assert_eq!(
        put(objects, &key, b"other", Existing::Keep).await,
        Stored::AlreadyThere
    );
    assert_eq!(content(objects, &key, None).await, b"first");
    assert_eq!(put(objects, &key, b"third", Existing::Replace).await, Stored::New);
    assert_eq!(content(objects, &key, None).await, b"third");
    assert_eq!(
        put(objects, &key, b"whole bytes", Existing::Keep).await,
        Stored::New
    );
    assert_eq!(
        content(objects, &key, None).await,
        b"whole bytes",
        "a cut one is mended"
    );
    objects.delete(&key).await.expect("deleted");
    objects.delete(&key).await.expect("deleted already");
    assert_eq!(objects.size(&key).await.expect("an answer"), None);
    let gone = objects.read(&key, None).await.expect_err("gone");
    assert!(matches!(gone, ObjectsError::NotFound { .. }), "{gone}");
}

async fn ranges(objects: &Objects) {
    let key = key("contract/ranges");
    put(objects, &key, b"0123456789", Existing::Replace).await;
    assert_eq!(content(objects, &key, Some(2..5)).await, b"234");
    assert_eq!(content(objects, &key, Some(7..100)).await, b"789");
    for empty in [10..11, 3..3] {
        let refused = objects.read(&key, Some(empty)).await.expect_err("no bytes");
        assert!(matches!(refused, ObjectsError::Range { size: 10 }), "{refused}");
    }
}

async fn given_up(objects: &Objects) {
    for bytes in [1, 12 << 20] {
        let mut staged = objects.stage().await.expect("staged");
        staged.write(&vec![7; bytes]).await.expect("written");
        staged.abort().await.expect("given up");
        let mut staged = objects.stage().await.expect("staged");
        staged.write(&vec![7; bytes]).await.expect("written");
        drop(staged);
    }
    let mut left = 1;
    for _ in 0..100 {
        left = objects.unfinished().await.expect("listed");
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(left, 0, "what was dropped is given up");
}

async fn listed(objects: &Objects) {
    let names: Vec<String> = (0..7).map(|number| format!("contract/listed/{number}")).collect();
    for name in &names {
        put(objects, &key(name), name.as_bytes(), Existing::Replace).await;
    }
    let mut found: Vec<(String, u64)> = objects
        .list("artifacts/contract/listed")
        .map_ok(|object| (object.key, object.bytes))
        .try_collect()
        .await
        .expect("listed");
    found.sort_unstable();
    let wanted: Vec<(String, u64)> = names
        .iter()
        .map(|name| (format!("artifacts/{name}"), name.len() as u64))
        .collect();
    assert_eq!(found, wanted);
    let nothing: Vec<_> = objects.list("datasets").try_collect().await.expect("listed");
    assert!(nothing.is_empty(), "{nothing:?}");
}

async fn folders(objects: &Objects) {
    let source = tempfile::tempdir().expect("a folder");
    let files: Vec<_> = [("config.json", b"{}".to_vec()), ("model.safetensors", large())]
        .into_iter()
        .map(|(name, bytes)| {
            let path = source.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            (name.to_owned(), path)
        })
        .collect();
    let stored = objects
        .put_dir(&key("contract/job"), &files)
        .await
        .expect("stored");
    assert_eq!(
        stored[0].sha256,
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
    assert!(
        content(objects, &stored[1].key, None).await == large(),
        "other bytes"
    );
    let bad = [files[0].clone(), ("b".to_owned(), source.path().join("missing"))];
    objects
        .put_dir(&key("contract/bad"), &bad)
        .await
        .expect_err("missing");
    let left: Vec<_> = objects
        .list("artifacts/contract/bad")
        .try_collect()
        .await
        .expect("listed");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(objects.unfinished().await.expect("listed"), 0);
}

/// What is larger than a store copies by itself.
async fn copied_through(objects: &Objects) {
    let (key, bytes) = (key("contract/copied"), large());
    let objects = objects.clone().copied_by_store(1 << 20);
    assert_eq!(put(&objects, &key, &bytes, Existing::Replace).await, Stored::New);
    assert!(content(&objects, &key, None).await == bytes, "other bytes");
    assert_eq!(objects.unfinished().await.expect("listed"), 0);
}

/// FS3: what another process is writing survives a start; what an earlier one of the same owner left does not.
async fn swept(open: &dyn Fn() -> Objects) {
    let owner = "c".repeat(32);
    let (first, other) = (open().staging_as(&owner).expect("an owner"), open());
    let now = SystemClock.now() + time::Duration::hours(2);
    let mut living = other.stage().await.expect("staged");
    living.write(&large()).await.expect("written");
    let mut dead = first.stage().await.expect("staged");
    dead.write(&large()).await.expect("written");
    std::mem::forget(dead);
    let again = open().staging_as(&owner).expect("an owner");
    again.sweep_staging(now).await.expect("swept");
    let key = key("contract/living");
    let stored = living.publish(&key, Existing::Keep).await.expect("published");
    assert_eq!(stored, Stored::New);
    assert!(content(&other, &key, None).await == large(), "other bytes");
    assert_eq!(again.unfinished().await.expect("listed"), 0);
}
