//! Proofs that the cache is bounded, whole and shared.

use std::{path::Path, sync::Arc};

use domain::{clock::SystemClock, id::SystemIds};
use sha2::{Digest, Sha256};

use super::{Cached, ObjectCache};
use crate::{
    Existing, Key, Objects, ObjectsError,
    testing::{files, store},
};

fn cache(folder: &Path, limit: u64) -> ObjectCache {
    ObjectCache::open(folder, limit, Arc::new(SystemIds), Arc::new(SystemClock)).expect("a cache")
}

async fn put(objects: &Objects, bytes: &[u8]) -> (Key, String) {
    let sha256 = hex::encode(Sha256::digest(bytes));
    let key = Key::dataset(&sha256).expect("a key");
    let mut staged = objects.stage().await.expect("staged");
    staged.write(bytes).await.expect("written");
    staged.publish(&key, Existing::Keep).await.expect("published");
    (key, sha256)
}

async fn get(cache: &ObjectCache, objects: &Objects, (key, sha256): &(Key, String)) -> Cached {
    cache.get(objects, key, sha256).await.expect("cached")
}

#[tokio::test]
async fn what_is_cached_is_not_asked_for_again() {
    let (_store, objects) = store();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = cache(folder.path(), 1 << 20);
    let object = put(&objects, b"some bytes").await;
    let first = get(&cache, &objects, &object).await;
    assert_eq!(std::fs::read(first.path()).expect("a file"), b"some bytes");
    drop(first);
    objects.delete(&object.0).await.expect("deleted");
    let again = get(&cache, &objects, &object).await;
    assert_eq!(std::fs::read(again.path()).expect("a file"), b"some bytes");
    assert_eq!(files(folder.path()), [object.1]);
}

/// The bound holds by removing what was not used for the longest, and never what is in use, also by another process.
#[tokio::test]
async fn the_least_recently_used_goes_and_what_is_in_use_stays() {
    let (_store, objects) = store();
    let folder = tempfile::tempdir().expect("a folder");
    let (cache_one, cache_two) = (cache(folder.path(), 2_500), cache(folder.path(), 2_500));
    let mut all = Vec::new();
    for byte in 0..4_u8 {
        all.push(put(&objects, &[byte; 1_000]).await);
    }
    let held = get(&cache_one, &objects, &all[0]).await;
    drop(get(&cache_one, &objects, &all[1]).await);
    drop(get(&cache_two, &objects, &all[2]).await);
    let there = |number: usize| folder.path().join(&all[number].1).exists();
    assert_eq!([there(0), there(1), there(2)], [true, false, true]);
    drop(held);
    // Used again, it is the youngest.
    drop(get(&cache_two, &objects, &all[0]).await);
    drop(get(&cache_one, &objects, &all[3]).await);
    assert_eq!([there(0), there(2), there(3)], [true, false, true]);
    let smaller = cache(folder.path(), 1_000);
    assert_eq!(files(folder.path()).len(), 1, "{smaller:?}");
}

/// Neither what the store has, nor what lies in the cache, is believed before its hash is known.
#[tokio::test]
async fn damaged_bytes_are_never_handed_out() {
    let (store, objects) = store();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = cache(folder.path(), 1 << 20);
    let object = put(&objects, b"right").await;
    drop(get(&cache, &objects, &object).await);
    std::fs::write(folder.path().join(&object.1), b"wrong").expect("damaged");
    let mended = get(&cache, &objects, &object).await;
    assert_eq!(std::fs::read(mended.path()).expect("a file"), b"right");
    drop(mended);
    std::fs::remove_file(folder.path().join(&object.1)).expect("gone");
    std::fs::write(store.path().join(object.0.to_string()), b"wrong").expect("damaged");
    let error = cache
        .get(&objects, &object.0, &object.1)
        .await
        .expect_err("damaged");
    assert!(matches!(error, ObjectsError::Damaged { .. }), "{error}");
    assert!(files(folder.path()).is_empty(), "nothing stays of it");
    let unknown = cache
        .get(&objects, &object.0, "../escape")
        .await
        .expect_err("no hash");
    assert!(matches!(unknown, ObjectsError::Key { .. }), "{unknown}");
}

/// What a killed process left unfinished goes at the next start; what another is writing stays, and so does what is not
/// of the cache.
#[tokio::test]
async fn partial_files_of_the_dead_go_and_those_of_the_living_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = |hash: &str, id: &str| folder.path().join(format!("{}-{id}.part", hash.repeat(64)));
    let (dead, living) = (name("a", "1"), name("b", "2"));
    std::fs::write(&dead, "half").expect("a file");
    std::fs::write(&living, "half").expect("a file");
    std::fs::write(folder.path().join("notes.txt"), "not ours").expect("a file");
    let writer = std::fs::File::open(&living).expect("a file");
    writer.lock_shared().expect("locked");
    cache(folder.path(), 0);
    assert!(!dead.exists() && living.exists());
    drop(writer);
    cache(folder.path(), 0);
    assert_eq!(files(folder.path()), ["notes.txt"]);
}

/// Two who want the same bytes at once both get them, and hold the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_the_same_file() {
    let (_store, objects) = store();
    let folder = tempfile::tempdir().expect("a folder");
    let object = put(&objects, &vec![5; 3 << 20]).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (cache, objects, object) = (cache(folder.path(), 0), objects.clone(), object.clone());
            tokio::spawn(async move { get(&cache, &objects, &object).await })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.push(task.await.expect("no panic"));
    }
    for one in &held {
        assert_eq!(std::fs::metadata(one.path()).expect("there").len(), 3 << 20);
    }
    assert_eq!(files(folder.path()), [object.1]);
    drop(held);
    cache(folder.path(), 0);
    assert!(files(folder.path()).is_empty());
}
