//! What goes wrong with a training, and how it is told: by a stable name and with what to do, or it goes on.
//!
//! The rule: the real engine in the real binary; what is broken is broken from outside, on the disk or by the order.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use domain::{
    id::{Ids, SystemIds, WorkerId},
    jobs::worker::{Declaration, Worker, WorkerEvent},
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use tests::harness::{events::record, servers::WorkerProcess};

use super::fixture::{Fixture, base_fixture};

/// The files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_dataset_that_is_gone_or_damaged_fails_the_job_by_name() {
    let fixture = Fixture::new(0).await;
    let stored = files(&fixture.api.data.join("objects/datasets"));
    let [object] = stored.as_slice() else {
        panic!("{stored:?}")
    };
    let whole = std::fs::read(object).expect("readable");
    std::fs::write(object, [&whole[..], b"!"].concat()).expect("written");
    let _worker = fixture.worker();
    let job = fixture.start(60).await;
    let said = fixture.failed(&job, "INPUT_DAMAGED").await;
    assert!(
        said.contains("the dataset") && said.contains("restore it"),
        "{said}"
    );
    std::fs::remove_file(object).expect("removed");
    let job = fixture.start(60).await;
    let said = fixture.failed(&job, "INPUT_MISSING").await;
    assert!(
        said.contains("read the dataset") && said.contains("restore it"),
        "{said}"
    );
    // Put back, it can be trained on again.
    std::fs::write(object, &whole).expect("written");
    let job = fixture.start(60).await;
    fixture.until_job(&job, |row| row["state"] == "COMPLETED").await;
    fixture.api.stop().expect("it stops");
}

/// Copies the base of the fixtures with weights so large that sums of them are infinite.
fn exploding(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let from = base_fixture();
    for name in ["config.json", "generation_config.json", "tokenizer.json"] {
        std::fs::copy(from.join(name), folder.join(name)).expect("copied");
    }
    let mut bytes = std::fs::read(from.join("model.safetensors")).expect("readable");
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("eight"))).expect("small");
    let head: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a head");
    let name = head
        .as_object()
        .expect("tensors")
        .keys()
        .find(|name| name.ends_with("wte.weight"))
        .expect("an embedding");
    let place = |end: usize| {
        let offset = head[name]["data_offsets"][end].as_u64().expect("an offset");
        8 + length + usize::try_from(offset).expect("small")
    };
    for (index, number) in bytes[place(0)..place(1)].chunks_exact_mut(4).enumerate() {
        let huge: f32 = if index % 2 == 0 { 3e38 } else { -3e38 };
        number.copy_from_slice(&huge.to_le_bytes());
    }
    std::fs::write(folder.join("model.safetensors"), bytes).expect("written");
}

#[tokio::test]
async fn a_loss_that_is_no_number_fails_the_job_by_name() {
    let fixture = Fixture::importing(0, 1).await;
    exploding(&fixture.room.path().join("models/exploding"));
    let base = fixture.import("exploding").await;
    let _worker = fixture.worker();
    let job = fixture
        .start_with(60, |input| {
            input["method"] = json!({ "lora": { "baseModelId": base, "rank": 2 } });
            input["parameters"]["sequenceLength"] = json!(16);
        })
        .await;
    let said = fixture.failed(&job, "LOSS_NOT_FINITE").await;
    assert!(said.contains("learning"), "{said}");
    fixture.api.stop().expect("it stops");
}

/// A few weights, and what their gradients need of a batch.
fn large(input: &mut Value) {
    let shape = json!({ "layers": 8, "heads": 4, "width": 256, "context": 4096, "vocabulary": 300 });
    input["method"] = json!({ "scratch": shape });
    input["parameters"]["sequenceLength"] = json!(4096);
    input["parameters"]["batchSize"] = json!(1024);
}

/// A job that says it needs little and needs more than there is: each attempt ends before a number is computed, and the
/// job is set aside with what to lower.
#[tokio::test]
async fn a_lack_of_memory_is_told_before_it_is_met() {
    let fixture = Fixture::new(0).await;
    let _worker = fixture.worker();
    let job = fixture
        .start_with(60, |input| {
            large(input);
            input["requirements"] = json!({ "memoryBytes": "1" });
        })
        .await;
    let said = fixture.failed(&job, "ATTEMPTS_USED_UP").await;
    assert!(said.contains("MiB") && said.contains("batch_size"), "{said}");
    let attempts = fixture.job(&job).await["attempts"].clone();
    assert_eq!(attempts.as_array().expect("attempts").len(), 2, "{attempts}");
    // One that says nothing is not given to a worker that is too small.
    let job = fixture.start_with(60, large).await;
    let row = fixture
        .until_job(&job, |row| !row["waitingReason"].is_null())
        .await;
    let reason = row["waitingReason"].as_str().expect("a reason");
    assert!(reason.contains("bytes of memory"), "{row}");
    fixture.api.stop().expect("it stops");
}

/// A damaged checkpoint is not trained on: the job says so, goes on from what is whole, and completes.
#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over() {
    let fixture = Fixture::new(0).await;
    // What it has on its disk is all there is; of the object store: `workers::elsewhere`.
    let worker = WorkerProcess::beside(&fixture.api.data, fixture.room.path(), &fixture.database.url);
    let mut worker = worker.expect("a worker").with("worker.checkpoints_kept=0");
    worker.start().expect("it starts");
    let job = fixture.start(3_000).await;
    fixture
        .until_job(&job, |row| {
            row["checkpointStep"].as_u64().is_some_and(|step| step >= 40)
        })
        .await;
    worker.kill().expect("killed");
    let saved: Vec<PathBuf> = files(&fixture.room.path().join("worker"))
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "checkpoints"))
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"))
        .collect();
    assert!(!saved.is_empty(), "nothing was saved");
    for path in &saved {
        let mut bytes = std::fs::read(path).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("written");
    }
    worker.start().expect("it starts again");
    let done = fixture.until_job(&job, |row| row["state"] == "COMPLETED").await;
    assert_eq!(
        (&done["attempt"], &done["attempts"][1]["fromStep"]),
        (&json!(2), &json!(0)),
        "{done}"
    );
    let items = fixture.feed(&job).await;
    let lines = items.iter().filter_map(|item| item["lines"].as_array()).flatten();
    let log: Vec<&str> = lines.filter_map(|line| line["message"].as_str()).collect();
    assert!(
        log.iter()
            .any(|line| line.contains("checkpoint") && line.contains("damaged")),
        "{log:#?}"
    );
    fixture.api.stop().expect("it stops");
}

/// A small file system in memory, gone with it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this machine does not let us mount one.
    fn mount(at: PathBuf, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("made");
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mib}m,mode=700"),
                "anneal-test",
            ])
            .arg(&at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// A worker whose disk is full says so, and what to do; with room it takes the job again.
#[tokio::test]
async fn a_full_disk_of_the_worker_fails_the_job_by_name() {
    let fixture = Fixture::new(0).await;
    let Some(disk) = SmallDisk::mount(fixture.room.path().join("small"), 8) else {
        tests::harness::here::cannot_run("no file system can be mounted here (root can)");
        return;
    };
    let mut worker = fixture.worker_in(&disk.0);
    let job = fixture
        .start_with(60, |input| {
            let shape = json!({ "layers": 4, "heads": 4, "width": 128, "context": 32, "vocabulary": 300 });
            input["method"] = json!({ "scratch": shape });
        })
        .await;
    let said = fixture.failed(&job, "DISK_FULL").await;
    assert!(said.contains("free space"), "{said}");
    worker.stop().expect("it stops");
    let _roomy = fixture.worker();
    let restart =
        "mutation($id: ID!) { restartJob(input: { jobId: $id, from: SCRATCH }) { userErrors { message } } }";
    let restarted = fixture.engineer.run(restart, json!({ "id": job })).await;
    assert_eq!(
        restarted.data("restartJob")["userErrors"],
        json!([]),
        "{restarted:?}"
    );
    fixture.until_job(&job, |row| row["state"] == "COMPLETED").await;
    fixture.api.stop().expect("it stops");
}

/// Makes the system know a worker of an earlier build: it has declared itself, and beats.
async fn older_worker(fixture: &Fixture) {
    let worker = WorkerId(SystemIds.next());
    let registered = WorkerEvent::Registered(Declaration {
        worker,
        name: "old/cpu".to_owned(),
        host: "old".to_owned(),
        device: "cpu".to_owned(),
        memory_bytes: None,
        code_version: "0.0.9".to_owned(),
        engine: 1,
        labels: ["cpu".to_owned()].into(),
        kinds: [domain::jobs::job::KindName::Training].into(),
    });
    record::<Worker>(&fixture.database.url, worker, &registered).await;
    let mut connection = PgConnection::connect(&fixture.database.url)
        .await
        .expect("a connection");
    let beat = "insert into jobs_worker_beat (worker_id, beat_at, expires_at) values ($1, now(), now() + interval '1 hour')";
    sqlx::query(beat)
        .bind(worker.0)
        .execute(&mut connection)
        .await
        .expect("it beats");
}

/// WK-2: what an older build would leave out is not given to it: the job waits, says why, and a newer worker takes it.
#[tokio::test]
async fn a_worker_of_an_older_build_does_not_get_what_it_cannot_do() {
    let fixture = Fixture::importing(0, 1).await;
    let models = fixture.room.path().join("models/base");
    std::fs::create_dir_all(&models).expect("a folder");
    for path in std::fs::read_dir(base_fixture()).expect("a folder") {
        let path = path.expect("a file").path();
        std::fs::copy(&path, models.join(path.file_name().expect("a name"))).expect("copied");
    }
    let base = fixture.import("base").await;
    older_worker(&fixture).await;
    let job = fixture
        .start_with(60, |input| {
            input["method"] = json!({ "lora": { "baseModelId": base, "rank": 2 } });
            input["parameters"]["sequenceLength"] = json!(16);
            input["outputs"] = json!({ "merged": true });
        })
        .await;
    let known = |row: &Value| {
        row["waitingReason"]
            .as_str()
            .is_some_and(|reason| reason.contains("old/cpu"))
    };
    let row = fixture.until_job(&job, known).await;
    let reason = row["waitingReason"].as_str().expect("a reason");
    assert!(
        reason.contains("engine 2") && reason.contains("update the worker"),
        "{reason}"
    );
    let _newer = fixture.worker();
    fixture.until_job(&job, |row| row["state"] == "COMPLETED").await;
    fixture.api.stop().expect("it stops");
}
