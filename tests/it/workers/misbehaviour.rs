//! Training processes that misbehave in ways in which the real one cannot be made to.
//!
//! The rule: the worker survives each of them, says what was wrong, and goes on with the next job.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use domain::jobs::{job::JobEvent, start::CancelJob};
use tests::harness::processes::{children, is_alive};

use super::{
    fixture::{Fixture, kinds},
    process::{Process, Training},
};

/// Speaks the protocol, and does what the name of the job says.
const SCRIPT: &str = r##"#!/bin/sh
folder=$(dirname "$1")
hash() { sha256sum | cut -d' ' -f1; }
started() {
    echo '{"type":"started","job_id":"x","total_steps":20,"resumed_step":0,"device":"cpu","parameters":1,' \
        '"trainable_parameters":1,"train_tokens":1,"evaluation_tokens":0}'
}
completed() {
    mkdir -p "$folder/artifact"
    printf weights > "$folder/artifact/model.bin"
    echo '{"type":"completed","artifact_dir":"'"$folder/artifact"'","files":[{"name":"model.bin","sha256":"'"$1"'",' \
        '"bytes":7}],"metrics":{"steps":20,"tokens":1,"loss":1.5,"initial_evaluation_loss":null,' \
        '"evaluation_loss":null,"perplexity":null,"seconds":1.0,"tokens_per_second":1.0}}'
}
case $(sed -n 's/.*"model_name": "\(.*\)".*/\1/p' "$1") in
    good) started; completed "$(printf weights | hash)" ;;
    garbage) started; echo 'no { JSON'; printf '\377\376\n'; echo '{"type":"unheard_of"}'; completed "$(printf weights | hash)" ;;
    babble) started; echo 'no { JSON'; exit 7 ;;
    poison) started; echo 'it went up in smoke' >&2; exit 7 ;;
    endless) started; exec tr '\0' x < /dev/zero ;;
    deaf) started; trap '' INT TERM; while :; do sleep 1000 & wait; done ;;
    liar) started; completed "$(printf others | hash)" ;;
    elsewhere) started; folder=/tmp; completed "$(printf weights | hash)" ;;
    curious) env | cut -d= -f1 | sort | tr '\n' ' ' >&2; exit 9 ;;
    silent) exec sleep 1000 ;;
    failing) started; echo '{"type":"failed","code":"disk_full","message":"the disk is full; free some space"}'; exit 1 ;;
    hungry) started; echo '{"type":"failed","code":"out_of_memory","message":"it takes more memory than there is"}'; exit 1 ;;
esac
"##;

struct Stage {
    fixture: Fixture,
    process: Process,
}

impl Stage {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let process = Process::start(&fixture).await;
        drop(process.worker(&fixture, Training::Script(script(&fixture))));
        Self { fixture, process }
    }

    /// How the job called `name` ended, and that the next one is done.
    async fn played(&self, name: &str, attempts: u32) -> Vec<JobEvent> {
        let job = self.fixture.queue(name, 20, attempts).await;
        let next = self.fixture.queue("good", 20, 1).await;
        let history = self.fixture.until_over(job).await;
        let after = self.fixture.until_over(next).await;
        assert_eq!(
            kinds(&after),
            ["Queued", "Leased", "Started", "Completed"],
            "the queue goes on"
        );
        history
    }
}

pub(super) fn script(fixture: &Fixture) -> PathBuf {
    let path = fixture.room().join("trainer");
    std::fs::write(&path, SCRIPT).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// The code and the message of a failure.
fn failure(history: &[JobEvent]) -> (&str, &str) {
    match history.last() {
        Some(JobEvent::Failed { code, message, .. }) => (code, message),
        other => panic!("it did not fail: {other:?}"),
    }
}

/// JB-6: a poison job is given up after its attempts, says what it said last, and does not block the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_job_is_given_up_and_the_queue_goes_on() {
    let history = Stage::new().await.played("poison", 2).await;
    let once = ["Leased", "Started", "Interrupted"];
    assert_eq!(
        kinds(&history),
        [&["Queued"][..], &once, &once, &["Failed"]].concat()
    );
    let (code, message) = failure(&history);
    assert_eq!(code, "ATTEMPTS_USED_UP");
    assert!(
        message.contains("with status 7") && message.contains("it went up in smoke"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_cannot_be_read_are_kept_and_passed_over() {
    let history = Stage::new().await.played("garbage", 1).await;
    assert_eq!(
        kinds(&history),
        ["Queued", "Leased", "Started", "Completed"],
        "{history:#?}"
    );
    // They are among the last words of a training that ends without a reason.
    let history = Stage::new().await.played("babble", 1).await;
    assert!(failure(&history).1.contains("no { JSON"), "{history:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_an_end_is_not_waited_for() {
    let history = Stage::new().await.played("endless", 1).await;
    assert!(
        failure(&history).1.contains("a line without an end"),
        "{history:#?}"
    );
}

/// E1: the bytes of an artefact match its hash, or it is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_not_what_was_said_is_not_taken() {
    let stage = Stage::new().await;
    let history = stage.played("liar", 1).await;
    assert!(
        failure(&history)
            .1
            .contains("not what the training process wrote"),
        "{history:#?}"
    );
    let history = stage.played("elsewhere", 1).await;
    assert!(
        failure(&history).1.contains("does not lie in its own folder"),
        "{history:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_ends_the_job_and_a_lack_of_memory_is_tried_again() {
    let stage = Stage::new().await;
    let history = stage.played("failing", 3).await;
    assert_eq!(kinds(&history), ["Queued", "Leased", "Started", "Failed"]);
    assert_eq!(
        failure(&history),
        ("DISK_FULL", "the disk is full; free some space")
    );
    let history = stage.played("hungry", 2).await;
    assert_eq!(
        kinds(&history).iter().filter(|kind| **kind == "Leased").count(),
        2,
        "{history:#?}"
    );
}

/// JB-3: also a process that does not listen is gone, with all its children.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_that_ignores_the_cancellation_is_killed_with_its_children() {
    let stage = Stage::new().await;
    let (fixture, owner) = (&stage.fixture, stage.fixture.owner().await);
    for name in ["deaf", "silent"] {
        let job = fixture.queue(name, 20, 1).await;
        let its = || {
            fixture
                .trainer(job)
                .map(|trainer| children(trainer.as_raw(), "sleep"))
        };
        // The silent one becomes a program that does not have the job in its command line.
        fixture
            .until("it runs", || {
                name == "silent" || its().is_some_and(|its| !its.is_empty())
            })
            .await;
        let its = its().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let cancel = CancelJob {
            job,
            reason: String::new(),
        };
        stage.process.execute(&owner, &cancel).await.expect("cancelled");
        fixture
            .until("it is gone", || fixture.trainer(job).is_none())
            .await;
        let left = || its.iter().filter(|child| is_alive(**child)).count();
        fixture.until("its children are gone", || left() == 0).await;
        let next = fixture.queue("good", 20, 1).await;
        assert_eq!(kinds(&fixture.until_over(next).await).last(), Some(&"Completed"));
    }
}

/// The process that trains gets nothing of the worker's environment that could be secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_of_the_worker_stays_with_the_worker() {
    let history = Stage::new().await.played("curious", 1).await;
    let (_, names) = failure(&history)
        .1
        .rsplit_once("it said last: ")
        .expect("it said something");
    // The shell itself adds the last four.
    let known = [
        "PATH",
        "HOME",
        "TMPDIR",
        // Where NVIDIA's libraries are, and which devices are ours.
        "LD_LIBRARY_PATH",
        "CUDA_PATH",
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "GLIBC_TUNABLES",
        "RAYON_NUM_THREADS",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    assert!(names.split(' ').all(|name| known.contains(&name)), "{names}");
    assert!(
        names.contains("RAYON_NUM_THREADS"),
        "the number of threads is set: {names}"
    );
}

/// A worker that cannot prove that it lives stops its training by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_its_lease_stops_its_training() {
    let stage = Stage::new().await;
    let fixture = &stage.fixture;
    let job = fixture.queue("deaf", 20, 1).await;
    fixture.until("it runs", || fixture.trainer(job).is_some()).await;
    let trainer = fixture.trainer(job).expect("it runs");
    fixture.until_leased(job).await;
    fixture.forget_leases().await;
    fixture
        .until("the training is gone", || fixture.is_gone(trainer))
        .await;
    let history = fixture.until_over(job).await;
    assert_eq!(
        failure(&history).0,
        "ATTEMPTS_USED_UP",
        "the reaper takes the job: {history:#?}"
    );
}
