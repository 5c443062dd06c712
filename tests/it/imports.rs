//! Models come in by a job: streamed, resumed, cancelled, and small in memory (MO-1, JB-3, JB-4, FS2).

mod sparse;

use std::{path::Path, time::Duration};

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    id::UserId,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::harness::{
    Client, Feed, TestApp, TestOptions, database,
    events::record,
    people,
    servers::{ApiProcess, WorkerProcess},
};

/// An API process that looks and does not import, and a worker beside it that does nothing else.
struct Machines {
    room: tempfile::TempDir,
    api: ApiProcess,
    worker: WorkerProcess,
    ada: Client,
}

impl Machines {
    async fn start() -> Self {
        let (room, database) = (tempfile::tempdir().expect("a folder"), database().await);
        let models = room.path().join("models");
        std::fs::create_dir_all(&models).expect("a folder");
        let folder = format!("models.folder={}", models.display());
        let settings = [
            "worker.count=0".to_owned(),
            folder.clone(),
            "models.imports=0".to_owned(),
        ];
        let api = ApiProcess::start(room.path(), &database.url, &settings)
            .await
            .expect("it starts");
        let admin = people::administrator(&api.url, &api.data).await;
        let ada = people::person(&admin, &api.data, "ada", "engineer_i").await;
        let worker = WorkerProcess::beside(&api.data, room.path(), &database.url).expect("a worker");
        let worker = worker.with("worker.count=0").with(&folder);
        Self {
            room,
            api,
            worker,
            ada,
        }
    }

    fn model(&self, name: &str, vocabulary: u64, context: u64) -> std::path::PathBuf {
        let folder = self.room.path().join("models").join(name);
        sparse::model(&folder, vocabulary, context);
        folder
    }

    /// Orders the import of `folder`: the job.
    async fn order(&self, folder: &str) -> String {
        let ordered = self.ada.order_import(folder).await;
        let job = &ordered.data("importModel")["job"];
        assert_eq!(
            (&job["kind"], &job["state"]),
            (&json!("IMPORT"), &json!("QUEUED")),
            "{ordered:?}"
        );
        job["id"].as_str().expect("an id").to_owned()
    }

    /// The job, as of this position at least.
    async fn job(&self, job: &str, position: &Value) -> Value {
        let query = "query($id: ID!, $p: Long) { job(id: $id, minPosition: $p) { state waitingReason queuePosition step totalSteps failureCode \
            failureMessage metrics { name value } import { folder bytes copiedBytes files } attempts { fromStep end } \
            model { versions { files { name sha256 bytes } } } } }";
        let answer = self.ada.run(query, json!({ "id": job, "p": position })).await;
        answer.data("job").clone()
    }
}

fn sha256(path: &Path) -> String {
    let (mut file, mut buffer) = (std::fs::File::open(path).expect("there"), vec![0; 1 << 20]);
    let mut hash = Sha256::new();
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer).expect("read");
        if read == 0 {
            return hex::encode(hash.finalize());
        }
        hash.update(&buffer[..read]);
    }
}

/// The files in `folder` and below.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => open.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files
}

/// Waits until `done` says so.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} in a minute");
}

/// JB-4: killed in the middle of a file, the worker comes back, copies what is not stored, and ends with the hashes of the
/// folder. Nothing is left but the model.
#[tokio::test]
async fn a_killed_import_goes_on_and_ends_with_the_same_hashes() {
    let mut machines = Machines::start().await;
    let folder = machines.model("big", 8 << 20, 1 << 19);
    let job = machines.order("big").await;
    let waiting = machines.job(&job, &Value::Null).await;
    let reason = waiting["waitingReason"].as_str().unwrap_or_default();
    assert!(reason.contains("no worker is there"), "{waiting:#}");
    assert_eq!(waiting["queuePosition"], 0);

    machines.worker.start().expect("it starts");
    let mut feed = Feed::of_job(&machines.ada, &job, Some("0")).await;
    let stored = |item: &Value| {
        let message = item["message"].as_str().unwrap_or_default();
        item["event"] == "jobs.ImportFilesStored" && message.contains("model-00002")
    };
    let stored = feed.until(stored).await;
    machines.worker.kill().expect("killed");
    let killed = machines.job(&job, &stored["position"]).await;
    assert_eq!(
        killed["state"], "RUNNING",
        "the large file is under way: {killed:#}"
    );

    machines.worker.start().expect("it starts");
    let items = Feed::of_job(&machines.ada, &job, None).await.to_end().await;
    let end = items.last().expect("an end");
    assert_eq!(end["state"], "COMPLETED", "{items:#?}");
    let done = machines.job(&job, &end["position"]).await;
    let attempts = done["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{done:#}");
    let from = attempts[1]["fromStep"].as_u64().expect("a step");
    assert!(
        (4..7).contains(&from),
        "what was stored is not copied again: {done:#}"
    );
    let recorded = done["model"]["versions"][0]["files"].as_array().expect("files");
    assert_eq!(recorded.len(), 7, "{done:#}");
    for file in recorded {
        let name = file["name"].as_str().expect("a name");
        assert_eq!(file["sha256"], sha256(&folder.join(name)), "{name}");
    }
    let objects = machines.api.data.join("objects");
    let left = files(&objects);
    assert_eq!(left.len(), recorded.len(), "{left:#?}");
    for file in &left {
        let name = file.file_name().expect("a name");
        assert_eq!(sha256(file), sha256(&folder.join(name)), "{}", file.display());
    }
    machines.worker.stop().expect("it stops");
}

/// FS2: however large the model is, the process that imports it stays below 500 MiB.
#[tokio::test]
async fn a_large_import_takes_little_memory() {
    let mut machines = Machines::start().await;
    machines.model("large", 12 << 20, 1 << 18);
    let job = machines.order("large").await;
    machines.worker.start().expect("it starts");
    let items = Feed::of_job(&machines.ada, &job, None).await.to_end().await;
    let end = items.last().expect("an end");
    assert_eq!(end["state"], "COMPLETED", "{items:#?}");
    let done = machines.job(&job, &end["position"]).await;
    let bytes = done["import"]["copiedBytes"].clone();
    let bytes: u64 = bytes.as_str().expect("a number").parse().expect("a number");
    assert!(bytes > 1_500 << 20, "{bytes}");
    let peak = machines.worker.peak_memory().expect("it is there");
    eprintln!("peak memory {} MiB, {}", peak >> 20, done["metrics"]);
    assert!(peak < 500 << 20, "{} MiB", peak >> 20);
    machines.worker.stop().expect("it stops");
}

async fn app(room: &Path, imports: u32) -> TestApp {
    let settings = vec![
        ("models.folder", room.display().to_string()),
        ("models.imports", imports.to_string()),
    ];
    TestApp::start_with(TestOptions { workers: 0, settings }).await
}

/// JB-3: a cancelled import leaves no file, and gives room and place back; it can be restarted.
#[tokio::test]
async fn a_cancelled_import_leaves_nothing_and_can_be_restarted() {
    let room = tempfile::tempdir().expect("a folder");
    sparse::model(&room.path().join("big"), 6 << 20, 1 << 16);
    let app = app(room.path(), 1).await;
    let ada = app.person("ada", "engineer_i").await;
    let ordered = ada.order_import("big").await;
    let job = ordered.data("importModel")["job"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut feed = Feed::of_job(&ada, &job, Some("0")).await;
    feed.until(|item| item["event"] == "jobs.JobStarted").await;
    let objects = app.data_dir.join("objects");
    until("something is written", || !files(&objects).is_empty()).await;
    let change = async |name: &str, kind: &str, input: Value| {
        let document = format!(
            "mutation($i: {kind}!) {{ {name}(input: $i) {{ job {{ state }} userErrors {{ code message }} }} }}"
        );
        let changed = ada.run(&document, json!({ "i": input })).await;
        changed.data(name).clone()
    };
    let cancelled = change("cancelJob", "CancelJobInput", json!({ "jobId": job })).await;
    assert_eq!(
        cancelled,
        json!({ "job": { "state": "CANCELLED" }, "userErrors": [] })
    );
    until("nothing is left", || files(&objects).is_empty()).await;
    let ledger: UserId = ada.user_id.parse().expect("an id");
    let used = "query($u: ID!) { access(userId: $u) { usage { storageBytes concurrentJobs } } }";
    let used = app.admin.run(used, json!({ "u": ada.user_id })).await;
    assert_eq!(
        used.data("access")["usage"],
        json!({ "storageBytes": "0", "concurrentJobs": 0 }),
        "{ledger}"
    );

    let restarted = change(
        "restartJob",
        "RestartJobInput",
        json!({ "jobId": job, "from": "SCRATCH" }),
    )
    .await;
    assert_eq!(restarted["userErrors"], json!([]), "{restarted}");
    let items = Feed::of_job(&ada, &job, None).await.to_end().await;
    assert_eq!(items.last().expect("an end")["state"], "COMPLETED", "{items:#?}");
    assert_eq!(files(&objects).len(), 7);
    app.stop().await;
}

/// Two at once, of one folder and one owner: two models with the same bytes.
#[tokio::test]
async fn two_imports_at_once_are_two_models() {
    let room = tempfile::tempdir().expect("a folder");
    sparse::model(&room.path().join("big"), 1 << 20, 1 << 16);
    let app = app(room.path(), 2).await;
    let ada = app.person("ada", "engineer_i").await;
    let (one, two) = tokio::join!(ada.import("big"), ada.import("big"));
    assert_ne!(one, two);
    let query = "query($a: ID!, $b: ID!) { a: model(id: $a) { versions { sha256 } } b: model(id: $b) { versions { sha256 } } \
                 jobs(filter: { kinds: [IMPORT] }) { totalCount } trainings: jobs(filter: { kinds: [TRAINING] }) { totalCount } }";
    let both = ada.run(query, json!({ "a": one, "b": two })).await;
    assert_eq!(both.body["data"]["a"], both.body["data"]["b"], "{both:?}");
    assert_eq!(both.body["data"]["jobs"]["totalCount"], 2, "{both:?}");
    assert_eq!(both.body["data"]["trainings"]["totalCount"], 0, "{both:?}");
    app.stop().await;
}

/// DS-3: what does not fit beside what is under way is refused before a byte is read.
#[tokio::test]
async fn room_is_taken_before_the_first_byte() {
    let room = tempfile::tempdir().expect("a folder");
    sparse::model(&room.path().join("big"), 1 << 20, 1 << 16);
    let app = app(room.path(), 0).await;
    let ada = app.person("ada", "engineer_i").await;
    let first = ada.order_import("big").await;
    let job = &first.data("importModel")["job"]["id"];
    let query = "query($id: ID!) { job(id: $id) { import { bytes } } }";
    let bytes = ada.run(query, json!({ "id": job })).await;
    let bytes: u64 = bytes.data("job")["import"]["bytes"]
        .as_str()
        .expect("a number")
        .parse()
        .expect("a number");
    let ledger: UserId = ada.user_id.parse().expect("an id");
    let taken = LedgerEvent::StorageTaken {
        bytes: 100_000_000_000 - 2 * bytes + 1,
        item: "dst_before/1".to_owned(),
        object: None,
    };
    record::<QuotaLedger>(&app.database_url, ledger, &taken).await;
    let second = ada.order_import("big").await;
    assert_eq!(second.user_codes("importModel"), ["QUOTA_EXCEEDED"], "{second:?}");
    assert_eq!(
        files(&app.data_dir.join("objects")),
        Vec::<std::path::PathBuf>::new()
    );
    app.stop().await;
}

/// A model that the look takes and the check refuses fails as a job, with what is wrong, and leaves nothing.
#[tokio::test]
async fn a_model_with_a_damaged_header_fails_by_name() {
    let room = tempfile::tempdir().expect("a folder");
    let folder = room.path().join("big");
    sparse::model(&folder, 1 << 12, 1 << 10);
    let shard = folder.join("model-00003-of-00003.safetensors");
    let length = std::fs::metadata(&shard).expect("there").len();
    let file = std::fs::File::options().write(true).open(&shard).expect("opened");
    file.set_len(length - 4).expect("cut");
    let app = app(room.path(), 1).await;
    let ada = app.person("ada", "engineer_i").await;
    let failed = ada.import_to_end("big").await;
    assert_eq!(failed.end["state"], "FAILED", "{failed:?}");
    let query = "query($id: ID!, $p: Long) { job(id: $id, minPosition: $p) { failureCode failureMessage model { id } } }";
    let told = ada
        .run(query, json!({ "id": failed.job, "p": failed.end["position"] }))
        .await;
    let told = told.data("job");
    assert_eq!(
        (&told["failureCode"], &told["model"]),
        (&json!("NOT_A_MODEL"), &Value::Null),
        "{told}"
    );
    assert!(
        told["failureMessage"]
            .to_string()
            .contains("model-00003-of-00003.safetensors"),
        "{told}"
    );
    let objects = app.data_dir.join("objects");
    until("nothing is left", || files(&objects).is_empty()).await;
    let left = files(&app.data_dir.join("jobs"));
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "no links are left");
    app.stop().await;
}
