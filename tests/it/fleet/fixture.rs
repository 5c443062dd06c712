//! An API process on its own database, workers beside it, and an engineer with something to train on.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::harness::{
    Client, Database, Feed, database, people,
    servers::{ApiProcess, WorkerProcess},
};

const TIMEOUT: Duration = Duration::from_secs(90);

/// See the module.
pub(super) struct Fixture {
    pub(super) room: tempfile::TempDir,
    pub(super) database: Database,
    pub(super) api: ApiProcess,
    pub(super) admin: Client,
    pub(super) engineer: Client,
    pub(super) experiment: String,
    pub(super) text: String,
}

/// The base model of the fixtures.
pub(super) fn base_fixture() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../workers/ml/fixtures/base"
    ))
}

impl Fixture {
    /// With this many workers in the API process, all of which train.
    pub(super) async fn new(workers: u32) -> Self {
        Self::importing(workers, 0).await
    }

    /// The same, with so many that import.
    pub(super) async fn importing(workers: u32, imports: u32) -> Self {
        Self::with(workers, &[format!("models.imports={imports}")]).await
    }

    /// With further settings of the API process.
    pub(super) async fn with(workers: u32, further: &[String]) -> Self {
        let (room, database) = (tempfile::tempdir().expect("a folder"), database().await);
        let models = room.path().join("models");
        std::fs::create_dir_all(&models).expect("a folder");
        let mut settings = vec![
            format!("worker.count={workers}"),
            "worker.threads=1".to_owned(),
            "worker.max_attempts=2".to_owned(),
            format!("models.folder={}", models.display()),
        ];
        settings.extend_from_slice(further);
        let api = ApiProcess::start(room.path(), &database.url, &settings)
            .await
            .expect("it starts");
        let admin = people::administrator(&api.url, &api.data).await;
        let engineer = people::person(&admin, &api.data, "ada", "engineer_i").await;
        let (text, experiment) = (engineer.dataset("Text").await, engineer.experiment().await);
        let content = "the quick brown fox jumps over the lazy dog\n".repeat(400);
        assert_eq!(
            engineer.upload(&text, "t.txt", content.into_bytes()).await.status,
            201
        );
        Self {
            room,
            database,
            api,
            admin,
            engineer,
            experiment,
            text,
        }
    }

    /// Another process on the same database, with a worker whose folder is in `room`.
    pub(super) fn worker_in(&self, room: &Path) -> WorkerProcess {
        let mut worker = WorkerProcess::beside(&self.api.data, room, &self.database.url).expect("a worker");
        worker.start().expect("it starts");
        worker
    }

    pub(super) fn worker(&self) -> WorkerProcess {
        self.worker_in(self.room.path())
    }

    /// Brings the folder `models/<name>` of the room in as a base.
    pub(super) async fn import(&self, name: &str) -> Value {
        json!(self.engineer.import(name).await)
    }

    /// Starts a tiny training of so many steps, but for what is changed of it.
    pub(super) async fn start_with(&self, steps: u32, change: impl FnOnce(&mut Value)) -> String {
        let mut input = json!({
            "name": "Tiny", "experimentId": self.experiment, "datasetId": self.text,
            "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
            "parameters": { "steps": steps, "batchSize": 2, "sequenceLength": 32, "warmupSteps": 2, "checkpointEvery": 20,
                            "sampleTokens": 0 },
        });
        change(&mut input);
        let start =
            "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { path message } } }";
        let started = self.engineer.run(start, json!({ "i": input })).await;
        let id = started.data("startJob")["job"]["id"].as_str();
        id.unwrap_or_else(|| panic!("{started:?}")).to_owned()
    }

    pub(super) async fn start(&self, steps: u32) -> String {
        self.start_with(steps, |_| {}).await
    }

    pub(super) async fn cancel(&self, job: &str) {
        let cancel = "mutation($id: ID!) { cancelJob(input: { jobId: $id }) { userErrors { code } } }";
        self.engineer
            .run(cancel, json!({ "id": job }))
            .await
            .data("cancelJob");
    }

    pub(super) async fn job(&self, job: &str) -> Value {
        let query = "query($id: ID!) { job(id: $id) { state step attempt etaSeconds expectedStartSeconds queuePosition \
                     waitingReason workerSeconds checkpointStep failureCode failureMessage \
                     attempts { number fromStep end cause } } }";
        let seen = self.engineer.run(query, json!({ "id": job })).await;
        seen.data("job").clone()
    }

    pub(super) async fn workers(&self) -> Vec<Value> {
        let seen = self
            .admin
            .run("{ workers { nodes { id name state jobId } } }", json!({}))
            .await;
        seen.data("workers")["nodes"].as_array().expect("a list").clone()
    }

    pub(super) async fn metrics(&self) -> String {
        let request = self.admin.request(reqwest::Method::GET, "/metrics");
        request
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("text")
    }

    /// Waits until a look gives something.
    pub(super) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                began.elapsed() < TIMEOUT,
                "never {what}: {:?}",
                self.workers().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the job is as `wanted`.
    pub(super) async fn until_job(&self, job: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let row = self.job(job).await;
            if wanted(&row) {
                return row;
            }
            assert!(began.elapsed() < TIMEOUT, "{row}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn until_state(&self, job: &str, state: &str) -> Value {
        self.until_job(job, |row| row["state"] == state).await
    }

    /// The job failed under this name; what was said.
    pub(super) async fn failed(&self, job: &str, code: &str) -> String {
        let over = |row: &Value| {
            ["FAILED", "COMPLETED", "CANCELLED"]
                .map(Value::from)
                .contains(&row["state"])
        };
        let row = self.until_job(job, over).await;
        assert_eq!(
            (&row["state"], &row["failureCode"]),
            (&json!("FAILED"), &json!(code)),
            "{row}"
        );
        row["failureMessage"].as_str().expect("a message").to_owned()
    }

    /// Every item of the job's feed.
    pub(super) async fn feed(&self, job: &str) -> Vec<Value> {
        Feed::of_job(&self.engineer, job, Some("0")).await.to_end().await
    }
}
