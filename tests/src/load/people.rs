//! People who work: they ask, change, upload, train and follow, one thing after the other.
//!
//! One rule: what is refused by rule, as a quota is, is counted apart; everything else that is not answered is blamed on the
//! system.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, client::Answer};

/// Tokens last longer.
const SIGNED_IN: Duration = Duration::from_secs(300);
/// Between two requests of a person.
const PAUSE: Duration = Duration::from_millis(20);
/// Of so many requests one is an upload.
const UPLOADS: u64 = 50;
/// Of so many requests one starts a training.
const TRAININGS: u64 = 1_000;

const LISTS: &str = "{ me { id username } projects(first: 25) { nodes { id name } totalCount } \
                     jobs(first: 10) { nodes { id name state } } datasets(first: 10) { nodes { id name } } }";
const CREATE: &str =
    "mutation($i: CreateExperimentInput!) { createExperiment(input: $i) { position userErrors { code } } }";
const START: &str = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { code } } }";

/// What came of all requests.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    answered: AtomicU64,
    refused: AtomicU64,
    blamed: Mutex<BTreeMap<String, u64>>,
}

impl Outcomes {
    fn count(&self, what: &str, answer: &Answer) {
        let text = answer.body.to_string();
        let blamed =
            answer.status >= 500 || text.contains("\"INTERNAL\"") || text.contains("\"UNAVAILABLE\"");
        if blamed || answer.status == 0 {
            let key = format!("{what}: {} {}", answer.status, answer.code().unwrap_or_default());
            *self.all().entry(key).or_default() += 1;
            return;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        let refused =
            answer.status >= 400 || answer.body.get("errors").is_some() || text.contains("\"userErrors\":[{");
        self.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.blamed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers that the system is to blame for, and how many.
    pub(super) fn blamed(&self) -> BTreeMap<String, u64> {
        self.all().clone()
    }

    /// How many of the answers were refusals, and how many there were.
    pub(super) fn refusals(&self) -> (u64, u64) {
        (
            self.refused.load(Ordering::Relaxed),
            self.answered.load(Ordering::Relaxed),
        )
    }

    /// In words.
    pub(super) fn told(&self) -> String {
        let (refused, answered) = self.refusals();
        let blamed: u64 = self.all().values().sum();
        format!("{answered} answers, {refused} of them refusals, {blamed} faults")
    }
}

/// One person.
pub(super) struct Worker {
    client: Client,
    name: String,
    number: u32,
    project: String,
    experiment: String,
    dataset: String,
    outcomes: Arc<Outcomes>,
}

impl Worker {
    /// With a project, an experiment and a dataset.
    pub(super) async fn new(
        client: Client,
        name: String,
        number: u32,
        outcomes: Arc<Outcomes>,
    ) -> Result<Self> {
        let (experiment, dataset) = (client.experiment().await, client.dataset("Text").await);
        let projects = client
            .run("{ projects(first: 1) { nodes { id } } }", json!({}))
            .await;
        let project = projects.data("projects")["nodes"][0]["id"].as_str();
        let project = project.context("there is a project")?.to_owned();
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(100);
        let uploaded = client.upload(&dataset, "t.txt", text.into_bytes()).await;
        anyhow::ensure!(uploaded.status == 201, "{uploaded:?}");
        Ok(Self {
            client,
            name,
            number,
            project,
            experiment,
            dataset,
            outcomes,
        })
    }

    /// Works until `stop`.
    pub(super) async fn work(mut self, stop: CancellationToken) {
        let (mut turn, mut signed_in) = (u64::from(self.number), Instant::now());
        while !stop.is_cancelled() {
            if signed_in.elapsed() > SIGNED_IN {
                self.client = self.client.login(&self.name).await;
                signed_in = Instant::now();
            }
            turn += 1;
            let (what, answer) = self.one(turn).await;
            self.outcomes.count(what, &answer);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn one(&self, turn: u64) -> (&'static str, Answer) {
        if turn.is_multiple_of(TRAININGS) {
            return ("startJob", self.client.run(START, self.training()).await);
        }
        if turn.is_multiple_of(UPLOADS) {
            let text = format!("line {turn} of {}\n", self.name).repeat(200);
            let uploaded = self.client.upload(&self.dataset, "t.txt", text.into_bytes());
            return ("upload", uploaded.await);
        }
        if turn.is_multiple_of(3) {
            let input = json!({ "i": { "projectId": self.project, "name": format!("Name {turn}") } });
            return ("createExperiment", self.client.run(CREATE, input).await);
        }
        ("lists", self.client.run(LISTS, json!({})).await)
    }

    fn training(&self) -> Value {
        json!({ "i": {
            "experimentId": self.experiment, "datasetId": self.dataset, "name": "Tiny",
            "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
            "parameters": { "steps": 20, "warmupSteps": 2, "batchSize": 2, "sequenceLength": 32, "evaluationShare": 0.1, "sampleTokens": 0 },
        } })
    }
}
