//! Which checkpoint is gone on from.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{
    id::JobId,
    jobs::{checkpoint::StoredCheckpoint, job::Checkpoint},
};
use ml::files::{FileEntry, sha256};
use uuid::Uuid;

use super::{MANIFEST, NotFetched, Resumable, verify};
use crate::folders::AttemptFolder;

fn attempt(jobs: &Path, number: u32) -> AttemptFolder {
    let folder = AttemptFolder::new(jobs, JobId(Uuid::from_u128(7)), number);
    folder.create().expect("created");
    folder
}

fn save(attempt: &AttemptFolder, step: u32, content: &str) -> (PathBuf, Checkpoint) {
    let path = attempt.checkpoints().join(format!("step-{step:08}"));
    std::fs::create_dir_all(&path).expect("a folder");
    std::fs::write(path.join("state.json"), content).expect("written");
    let entry = FileEntry {
        name: "state.json".to_owned(),
        sha256: sha256(content.as_bytes()),
        bytes: content.len() as u64,
    };
    let manifest = serde_json::to_vec(&[entry]).expect("encoded");
    std::fs::write(path.join(MANIFEST), &manifest).expect("written");
    let location = attempt.location(&path).expect("inside");
    let checkpoint = Checkpoint {
        step,
        location,
        sha256: sha256(&manifest),
    };
    (path, checkpoint)
}

/// Without an object store.
async fn find(folder: &AttemptFolder, recorded: Option<&Checkpoint>) -> Resumable {
    let nothing = async |_: StoredCheckpoint, _: PathBuf| panic!("nothing is stored");
    super::find(folder, recorded, &[], nothing).await.expect("found")
}

/// With a store in a folder, in which each checkpoint lies under its hash.
async fn find_with(
    folder: &AttemptFolder,
    recorded: &Checkpoint,
    stored: &[StoredCheckpoint],
    store: &Path,
) -> Resumable {
    let fetch = |stored: StoredCheckpoint, to: PathBuf| async move {
        match store.join(&stored.sha256) {
            from if from.exists() => {
                super::copy_folder(&from, &to).expect("copied");
                Ok(())
            }
            _ => Err(NotFetched::Unusable("it is not there".to_owned())),
        }
    };
    super::find(folder, Some(recorded), stored, fetch)
        .await
        .expect("found")
}

/// Moves a checkpoint from its machine into the store.
fn store(path: &Path, checkpoint: &Checkpoint, store: &Path) -> StoredCheckpoint {
    std::fs::rename(path, store.join(&checkpoint.sha256)).expect("moved");
    StoredCheckpoint {
        step: checkpoint.step,
        sha256: checkpoint.sha256.clone(),
        artifact: String::new(),
        files: Vec::new(),
    }
}

fn set_back(file: &std::fs::File, seconds: u64) {
    let written = file
        .metadata()
        .and_then(|found| found.modified())
        .expect("a time");
    file.set_modified(written - Duration::from_secs(seconds))
        .expect("set");
}

/// As if `checkpoint` had been finished so much earlier.
fn age(checkpoint: &Path, seconds: u64) {
    let manifest = std::fs::File::options()
        .write(true)
        .open(checkpoint.join(MANIFEST));
    set_back(&manifest.expect("there"), seconds);
}

/// JB-4: hours of training are worth more than their curve; damaged is not believed.
#[tokio::test]
async fn a_newer_checkpoint_than_the_log_knows_is_taken_where_it_saves_much() {
    let room = tempfile::tempdir().expect("a folder");
    let (first, second) = (attempt(room.path(), 1), attempt(room.path(), 2));
    let (old, recorded) = save(&first, 10, "ten");
    age(&old, 3_600);
    save(&first, 20, "twenty");
    let (damaged, _) = save(&second, 30, "thirty");
    std::fs::write(damaged.join("state.json"), "thirtY").expect("written");
    let third = attempt(room.path(), 3);
    let found = find(&third, Some(&recorded)).await;
    let (copy, step) = found.from.expect("one is whole");
    assert_eq!(step, 20);
    assert_eq!(copy, third.checkpoints().join("step-00000020"));
    assert!(
        found.warnings[0].contains("step 30 is damaged") && found.warnings[1].contains("from 11 to 20"),
        "{:?}",
        found.warnings
    );
    assert!(!third.checkpoints().join("step-00000030").exists());
    std::fs::write(first.checkpoints().join("step-00000020/state.json"), "late").expect("written");
    verify(&copy).expect("what an older attempt still writes does not reach the copy");
}

/// JB-4: the history has no gap: a moment of training is done again from where everything was told.
#[tokio::test]
async fn a_recorded_checkpoint_is_taken_where_a_newer_one_saves_little() {
    let room = tempfile::tempdir().expect("a folder");
    let first = attempt(room.path(), 1);
    save(&first, 5, "five");
    let (old, recorded) = save(&first, 10, "ten");
    age(&old, 30);
    save(&first, 20, "twenty");
    let found = find(&attempt(room.path(), 2), Some(&recorded)).await;
    assert_eq!(found.from.map(|(_, step)| step), Some(10));
    assert_eq!(found.warnings, Vec::<String>::new());
}

/// Damaged, it is as good as gone: what is newer counts before what is older.
#[tokio::test]
async fn of_a_damaged_recorded_checkpoint_the_next_newer_one_stands_in() {
    let room = tempfile::tempdir().expect("a folder");
    let first = attempt(room.path(), 1);
    save(&first, 5, "five");
    let (old, recorded) = save(&first, 10, "ten");
    save(&first, 20, "twenty");
    std::fs::write(old.join("state.json"), "teN").expect("written");
    let found = find(&attempt(room.path(), 2), Some(&recorded)).await;
    assert_eq!(found.from.map(|(_, step)| step), Some(20));
    assert!(
        found.warnings[0].contains("step 10 is damaged"),
        "{:?}",
        found.warnings
    );
}

/// The same where nothing is recorded yet: the measure is when the first attempt began.
#[tokio::test]
async fn without_a_recorded_checkpoint_a_moment_is_done_again_and_an_hour_is_not() {
    let room = tempfile::tempdir().expect("a folder");
    let first = attempt(room.path(), 1);
    let job = std::fs::File::create(first.job_file()).expect("made");
    let (_, _) = save(&first, 10, "ten");
    let found = find(&attempt(room.path(), 2), None).await;
    assert_eq!((found.from, found.warnings), (None, Vec::new()));
    set_back(&job, 3_600);
    let found = find(&attempt(room.path(), 3), None).await;
    assert_eq!(found.from.map(|(_, step)| step), Some(10));
}

#[tokio::test]
async fn a_whole_checkpoint_that_is_not_the_recorded_one_is_refused() {
    let room = tempfile::tempdir().expect("a folder");
    let first = attempt(room.path(), 1);
    let (_, mut recorded) = save(&first, 10, "ten");
    recorded.sha256 = sha256(b"another");
    let found = find(&attempt(room.path(), 2), Some(&recorded)).await;
    assert_eq!(found.from, None);
    assert!(
        found
            .warnings
            .iter()
            .any(|warning| warning.contains("starts anew")),
        "{:?}",
        found.warnings
    );
}

#[tokio::test]
async fn without_any_checkpoint_nothing_is_warned_of() {
    let room = tempfile::tempdir().expect("a folder");
    let found = find(&attempt(room.path(), 1), None).await;
    assert_eq!((found.from, found.warnings), (None, Vec::new()));
}

/// JB-4: what is not on this machine comes from the object store, the newest first, each verified.
#[tokio::test]
async fn another_machine_goes_on_from_the_newest_stored_checkpoint_that_is_whole() {
    let room = tempfile::tempdir().expect("a folder");
    let there = tempfile::tempdir().expect("a store");
    let first = attempt(room.path(), 1);
    let mut stored = Vec::new();
    let mut recorded = None;
    for (step, content) in [(10, "ten"), (20, "twenty"), (30, "thirty")] {
        let (path, checkpoint) = save(&first, step, content);
        stored.push(store(&path, &checkpoint, there.path()));
        recorded = Some(checkpoint);
    }
    let recorded = recorded.expect("saved");
    let second = attempt(room.path(), 2);
    let found = find_with(&second, &recorded, &stored, there.path()).await;
    assert_eq!(
        (found.from.map(|(_, step)| step), found.fetched),
        (Some(30), true)
    );
    assert_eq!(found.warnings, Vec::<String>::new());
    // Damaged, and gone.
    let at = |number: usize| there.path().join(&stored[number].sha256);
    std::fs::write(at(2).join("state.json"), "thirtY").expect("written");
    std::fs::remove_dir_all(at(1)).expect("removed");
    let second = attempt(room.path(), 2);
    let found = find_with(&second, &recorded, &stored, there.path()).await;
    assert_eq!(
        (found.from.map(|(_, step)| step), found.fetched),
        (Some(10), true)
    );
    let [damaged, gone] = found.warnings.as_slice() else {
        panic!("{:?}", found.warnings);
    };
    assert!(damaged.contains("step 30 is damaged"), "{damaged}");
    assert!(
        gone.contains("step 20") && gone.contains("it is not there"),
        "{gone}"
    );
    assert!(!second.checkpoints().join("step-00000030").exists());
    // Nothing is left.
    std::fs::remove_dir_all(at(0)).expect("removed");
    let found = find_with(&attempt(room.path(), 2), &recorded, &stored, there.path()).await;
    assert_eq!((found.from, found.fetched), (None, false));
    assert!(
        found.warnings.iter().any(|line| line.contains("starts anew")),
        "{:?}",
        found.warnings
    );
}

/// What lies here is taken from here, and what only another machine has is told.
#[tokio::test]
async fn the_store_is_asked_for_what_does_not_lie_here() {
    let room = tempfile::tempdir().expect("a folder");
    let there = tempfile::tempdir().expect("a store");
    let first = attempt(room.path(), 1);
    let (path, older) = save(&first, 10, "ten");
    let stored = [store(&path, &older, there.path())];
    let (path, recorded) = save(&first, 20, "twenty");
    let found = find_with(&attempt(room.path(), 2), &recorded, &stored, there.path()).await;
    assert_eq!(
        (found.from.map(|(_, step)| step), found.fetched),
        (Some(20), false)
    );
    std::fs::remove_dir_all(path).expect("removed");
    let found = find_with(&attempt(room.path(), 2), &recorded, &stored, there.path()).await;
    assert_eq!(
        (found.from.map(|(_, step)| step), found.fetched),
        (Some(10), true)
    );
    assert_eq!(
        found.warnings,
        ["the checkpoint of step 20 is on another machine only"]
    );
}
