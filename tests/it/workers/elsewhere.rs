//! Checkpoints in the object store: another machine goes on from them, and whatever goes wrong with the store, training
//! goes on (JB-4, FS4).
//!
//! The rule: each machine has a folder of jobs of its own; all they share is the database and the store.

use domain::{
    authz::Principal,
    execute::ExecuteError,
    id::JobId,
    jobs::{
        checkpoint::StoredCheckpoint,
        job::JobEvent,
        lease::{InterruptJob, LeaseJob},
        progress::ProgressEvent,
        report::{AttemptReport, Report},
        requirements::WorkerCapabilities,
    },
};
use objects::{Key, Objects};
use reqwest::Method;
use tests::harness::object_server::{Fault, ObjectServer};

use super::{
    fixture::{Fixture, kinds},
    process::{Process, Training},
};
use crate::objects::open;

/// Trains long enough to be stopped in between.
const LONG: u32 = 3_000;

fn is_stored(event: &JobEvent) -> bool {
    matches!(event, JobEvent::CheckpointStored { .. })
}

/// The checkpoints that the log names and has not released.
fn stored(history: &[JobEvent]) -> Vec<StoredCheckpoint> {
    let mut left = Vec::new();
    for event in history {
        match event {
            JobEvent::CheckpointStored { checkpoint, .. } => left.push(checkpoint.clone()),
            JobEvent::CheckpointsReleased { artifacts, .. } => {
                left.retain(|checkpoint: &StoredCheckpoint| !artifacts.contains(&checkpoint.artifact));
            }
            _ => {}
        }
    }
    left
}

fn last_start(history: &[JobEvent]) -> u32 {
    let starts = history.iter().rev();
    let mut starts = starts.filter_map(|event| match event {
        JobEvent::Started { from_step, .. } => Some(*from_step),
        _ => None,
    });
    starts.next().expect("it started")
}

/// All lines of the job's log.
async fn log(fixture: &Fixture, job: JobId) -> Vec<String> {
    let all = fixture.progress(job).await;
    let lines = all.into_iter().filter_map(|event| match event {
        ProgressEvent::Logged { log, .. } => Some(log),
        ProgressEvent::Reported { .. } | ProgressEvent::Imported { .. } => None,
    });
    lines.flatten().map(|line| line.message).collect()
}

fn says(log: &[String], words: &[&str]) -> bool {
    log.iter()
        .any(|line| words.iter().all(|word| line.contains(word)))
}

/// A database, and a bucket that has the dataset.
async fn with_bucket() -> (Fixture, ObjectServer, Objects) {
    let (fixture, server) = (Fixture::new().await, ObjectServer::start().await);
    let objects = open(&server);
    fixture.furnish_store(&objects).await;
    (fixture, server, objects)
}

async fn machine(fixture: &Fixture, name: &str, objects: &Objects) -> Process {
    let jobs = fixture.room().join(name).join("jobs");
    Process::start(fixture).await.on_machine(jobs, objects.clone())
}

/// Trains on machine `one` until `count` checkpoints are stored, and shuts it down; what is stored then.
async fn begun(fixture: &Fixture, objects: &Objects, job: JobId, count: usize) -> Vec<StoredCheckpoint> {
    let process = machine(fixture, "one", objects).await;
    let worker = process.worker(fixture, Training::Real);
    fixture.until_recorded(job, count, is_stored).await;
    process.drain();
    worker.finished().await;
    stored(&fixture.history(job).await)
}

/// What is below `checkpoints/`.
fn checkpoints(server: &ObjectServer) -> Vec<String> {
    let keys = server.keys().into_iter();
    keys.filter(|key| key.contains("/checkpoints/")).collect()
}

/// A shut-down stores its last state, so that another machine loses no step; the result is that of an undisturbed
/// training, and nothing of the checkpoints is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_training_loses_no_step_on_another_machine() {
    let (fixture, server, bucket) = with_bucket().await;
    for (name, objects) in [("in a folder", fixture.objects.clone()), ("in a bucket", bucket)] {
        let job = fixture.queue("same", LONG, 1).await;
        let left = begun(&fixture, &objects, job, 1).await;
        assert!((1..=2).contains(&left.len()), "{name}: {left:#?}");
        let other = machine(&fixture, "two", &objects).await;
        let worker = other.worker(&fixture, Training::Real);
        let history = fixture.until_over(job).await;
        assert_eq!(kinds(&history).last(), Some(&"Completed"), "{name}: {history:#?}");
        let mut saved = history.iter().filter_map(|event| match event {
            JobEvent::CheckpointSaved {
                attempt: 1,
                checkpoint,
            } => Some(checkpoint.step),
            _ => None,
        });
        assert_eq!(
            Some(last_start(&history)),
            saved.next_back(),
            "{name}: {history:#?}"
        );
        assert!(
            says(&log(&fixture, job).await, &["fetched from the object store"]),
            "{name}"
        );
        assert_eq!(stored(&history), [], "{name}: all are released");
        other.drain();
        worker.finished().await;
        let undisturbed = fixture.queue("same", LONG, 1).await;
        let process = machine(&fixture, "three", &objects).await;
        let worker = process.worker(&fixture, Training::Real);
        fixture.until_over(undisturbed).await;
        process.drain();
        worker.finished().await;
        let hashes = [job, undisturbed].map(|job| fixture.recorded_hash(job));
        let [one, two] = hashes;
        assert_eq!(one.await, two.await, "{name}");
        let folder = fixture.room().join("objects/checkpoints");
        objects::testing::eventually(|| {
            checkpoints(&server).is_empty() && objects::testing::files(&folder).is_empty()
        })
        .await;
    }
}

/// At most so many checkpoints of a job are kept, those that the log has released are gone, and no bytes are twice on one
/// disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn superseded_checkpoints_go_and_the_last_ones_are_links() {
    use std::os::unix::fs::MetadataExt as _;

    let fixture = Fixture::new().await;
    let job = fixture.queue("long", 1_000_000, 1).await;
    let left = begun(&fixture, &fixture.objects, job, 4).await;
    assert_eq!(left.len(), 2, "{left:#?}");
    let folder = fixture.room().join("objects");
    let named = |checkpoint: &StoredCheckpoint| {
        let files = checkpoint.files.iter();
        let names = files.map(|file| format!("{}/{}", checkpoint.artifact, file.name));
        names.collect::<Vec<_>>()
    };
    let mut expected: Vec<String> = left.iter().flat_map(named).collect();
    expected.sort();
    objects::testing::eventually(|| {
        let mut there = objects::testing::files(&folder);
        there.retain(|name| name.starts_with("checkpoints/"));
        there == expected
    })
    .await;
    let newest = left.last().expect("two");
    let here = fixture
        .room()
        .join(format!("one/jobs/{job}/1/checkpoints/step-{:08}", newest.step));
    for file in &newest.files {
        let (own, object) = (
            here.join(&file.name),
            folder.join(&newest.artifact).join(&file.name),
        );
        let [own, object] = [own, object].map(|path| std::fs::metadata(path).expect("there"));
        assert_eq!(
            (own.dev(), own.ino()),
            (object.dev(), object.ino()),
            "{}",
            file.name
        );
    }
}

/// While the store is down or full training goes on, the job's log says so, and the next try stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_does_not_stop_a_training() {
    for status in [500, 507] {
        let (fixture, server, objects) = with_bucket().await;
        server.arm(Method::PUT, "checkpoints", Fault::Status(status), usize::MAX);
        let process = machine(&fixture, "one", &objects).await;
        let _worker = process.worker(&fixture, Training::Real);
        let job = fixture.queue("long", 1_000_000, 1).await;
        let saved = |event: &JobEvent| matches!(event, JobEvent::CheckpointSaved { .. });
        // It trains on, and a failure is told.
        fixture.until_recorded(job, 3, saved).await;
        let began = tokio::time::Instant::now();
        while !says(
            &log(&fixture, job).await,
            &["on this machine only", "trying again"],
        ) {
            assert!(began.elapsed().as_secs() < 90, "{status}: nothing is told");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let history = fixture.history(job).await;
        assert!(!history.iter().any(is_stored), "{history:#?}");
        assert_eq!(
            checkpoints(&server),
            [""; 0],
            "{status}: nothing is left of a failed try"
        );
        server.disarm();
        fixture.until_recorded(job, 1, is_stored).await;
        assert_eq!(
            kinds(&fixture.history(job).await)
                .iter()
                .filter(|kind| **kind == "Leased")
                .count(),
            1,
            "{status}: the same attempt"
        );
    }
}

/// A checkpoint that was damaged in the store, or lost, is passed over for the one before it, and the log says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_broken_stored_checkpoint_the_one_before_is_taken() {
    let (fixture, server, objects) = with_bucket().await;
    for lost in [true, false] {
        let job = fixture.queue("broken", LONG, 1).await;
        let left = begun(&fixture, &objects, job, 2).await;
        let [older, newest] = left.as_slice() else {
            panic!("{left:#?}")
        };
        let key = format!("{}/parameters.safetensors", newest.artifact);
        match lost {
            true => {
                let key = Key::recorded(&key).expect("a key");
                objects.delete(&key).await.expect("deleted");
            }
            false => {
                let file = newest
                    .files
                    .iter()
                    .find(|file| file.name == "parameters.safetensors");
                let bytes = usize::try_from(file.expect("named").bytes).expect("small");
                server.put(&format!("a/prefix/{key}"), &vec![b'x'; bytes]);
            }
        }
        let other = machine(&fixture, "two", &objects).await;
        let worker = other.worker(&fixture, Training::Real);
        let history = fixture.until_over(job).await;
        assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
        assert_eq!(last_start(&history), older.step, "{lost}: {history:#?}");
        let (step, log) = (format!("step {}", newest.step), log(&fixture, job).await);
        assert!(
            says(&log, &[&step, "cannot be taken from the object store"]),
            "{log:#?}"
        );
        other.drain();
        worker.finished().await;
    }
}

/// A store that does not answer costs an attempt and no training: the checkpoint is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_while_resuming_is_waited_for() {
    let (fixture, server, objects) = with_bucket().await;
    let job = fixture.queue("down", LONG, 3).await;
    let left = begun(&fixture, &objects, job, 1).await;
    let newest = left.last().expect("stored").step;
    server.arm(Method::GET, "checkpoints", Fault::Status(503), 4);
    let other = machine(&fixture, "two", &objects).await;
    let _worker = other.worker(&fixture, Training::Real);
    let history = fixture.until_over(job).await;
    assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
    assert_eq!(last_start(&history), newest, "{history:#?}");
}

/// JB-4: what a worker stores that has lost its lease is recorded by nobody and read by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_a_stale_attempt_counts_for_nothing() {
    let (fixture, server, objects) = with_bucket().await;
    let job = fixture.queue("fenced", 60, 3).await;
    let process = machine(&fixture, "one", &objects).await;
    let stale = fixture.fresh();
    let principal = Principal::Worker(stale);
    let lease = LeaseJob {
        job,
        worker: stale,
        worker_name: "test".to_owned(),
        capabilities: WorkerCapabilities::default(),
    };
    process.execute(&principal, &lease).await.expect("leased");
    let lost = InterruptJob {
        job,
        attempt: 1,
        cause: "silent".to_owned(),
        counts: true,
    };
    process
        .execute(&Principal::System("reaper"), &lost)
        .await
        .expect("interrupted");
    let sha256 = "a".repeat(64);
    let artifact = domain::jobs::checkpoint::place(job, 1, &sha256);
    server.put(&format!("a/prefix/{artifact}/manifest.json"), b"[]");
    let report = Report {
        job,
        attempt: 1,
        report: AttemptReport::Stored {
            checkpoint: StoredCheckpoint {
                step: 59,
                sha256,
                artifact,
                files: Vec::new(),
            },
            keep: 2,
        },
    };
    let refused = process.execute(&principal, &report).await;
    assert!(
        matches!(refused, Err(ExecuteError::Denied(_) | ExecuteError::Refused(_))),
        "{refused:?}"
    );
    let _worker = process.worker(&fixture, Training::Real);
    let history = fixture.until_over(job).await;
    assert_eq!(last_start(&history), 0, "{history:#?}");
    assert!(
        history
            .iter()
            .all(|event| !matches!(event, JobEvent::CheckpointStored { attempt: 1, .. })),
        "{history:#?}"
    );
    // It is the collector's: nothing that an attempt deletes is another's.
    assert!(
        checkpoints(&server)
            .iter()
            .any(|key| key.contains(&"a".repeat(64)))
    );
}
