//! What an engineer does in the drill, through GraphQL and plain HTTP.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Client, Feed, people, servers::ApiProcess};

/// Share of the text that is held back.
pub(super) const EVALUATION_SHARE: f64 = 0.05;
/// Tokens of a sequence.
pub(super) const LENGTH: u32 = 128;

/// See the module.
pub(super) struct Story {
    /// Who does it.
    pub(super) engineer: Client,
    /// How many documents were uploaded.
    pub(super) documents: usize,
    /// Their size.
    pub(super) bytes: usize,
    /// What they say.
    pub(super) text: String,
    dataset: String,
    experiment: String,
}

/// A completed job.
pub(super) struct Finished {
    /// Its model, by id.
    pub(super) model: String,
    /// Hash over the names and hashes of the model's files.
    pub(super) sha256: String,
    /// The job's metrics.
    pub(super) metrics: BTreeMap<String, String>,
    /// Steps done before each attempt that began to train.
    pub(super) from_steps: BTreeMap<u64, usize>,
}

impl Finished {
    pub(super) fn metric(&self, name: &str) -> Result<&str> {
        let value = self.metrics.get(name).map(String::as_str);
        value.with_context(|| format!("the job has no {name}"))
    }
}

/// The repository's own documents: every Markdown file that ships, in order of path.
fn documents() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace")?;
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let hidden = |name: &std::ffi::OsStr| name == "target" || name.to_string_lossy().starts_with('.');
            if path.is_dir() && !path.file_name().is_some_and(hidden) {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    ensure!(!found.is_empty(), "no documents are in {}", root.display());
    Ok(found)
}

fn text<'a>(value: &'a Value, whole: &Value) -> Result<&'a str> {
    value
        .as_str()
        .with_context(|| format!("an unexpected answer: {whole}"))
}

impl Story {
    /// People, data and a place to work.
    pub(super) async fn begin(api: &ApiProcess) -> Result<Self> {
        let admin = people::administrator(&api.url, &api.data).await;
        let engineer = people::person(&admin, &api.data, "ada", "engineer_i").await;
        let documents = documents()?;
        let mut whole = String::new();
        for path in &documents {
            whole.push_str(&std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
            whole.push('\n');
        }
        let (dataset, experiment) = (engineer.dataset("Documents").await, engineer.experiment().await);
        let uploaded = engineer
            .upload(&dataset, "documents.txt", whole.clone().into_bytes())
            .await;
        ensure!(uploaded.status == 201, "the text was refused: {uploaded:?}");
        Ok(Self {
            engineer,
            documents: documents.len(),
            bytes: whole.len(),
            text: whole,
            dataset,
            experiment,
        })
    }

    async fn start(&self, mut input: Value) -> Result<String> {
        input["experimentId"] = json!(self.experiment);
        input["datasetId"] = json!(self.dataset);
        let start =
            "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { path message } } }";
        let started = self.engineer.run(start, json!({ "i": input })).await;
        Ok(text(&started.data("startJob")["job"]["id"], &started.body)?.to_owned())
    }

    /// A small model from scratch, to its end.
    pub(super) async fn base(&self, steps: u32) -> Result<Finished> {
        let job = self
            .start(json!({
                "name": "Base",
                "method": { "scratch": { "layers": 4, "heads": 4, "width": 128, "context": LENGTH, "vocabulary": 1024 } },
                "parameters": {
                    "steps": steps, "batchSize": 8, "sequenceLength": LENGTH, "warmupSteps": steps / 10,
                    "learningRate": 0.003, "evaluationShare": EVALUATION_SHARE, "evaluateEvery": 0,
                    "checkpointEvery": 50, "sampleTokens": 0,
                },
            }))
            .await?;
        let end = Feed::of_job(&self.engineer, &job, None).await.to_end().await;
        let end = end.last().context("the feed has an end")?;
        ensure!(end["state"] == "COMPLETED", "the base ended: {end}");
        self.finished(&job, text(&end["position"], end)?).await
    }

    /// Starts an adapter on `base`; the same order each time.
    pub(super) async fn adapter(&self, base: &str, steps: u32) -> Result<String> {
        self.start(json!({
            "name": "Adapter",
            "method": { "lora": {
                "baseModelId": base, "rank": 8, "alpha": 16.0, "dropout": 0.05,
                "targetModules": ["c_attn", "c_proj", "c_fc"],
            } },
            "parameters": {
                "steps": steps, "batchSize": 8, "sequenceLength": LENGTH, "warmupSteps": steps / 20,
                "learningRate": 0.002, "evaluationShare": EVALUATION_SHARE, "evaluateEvery": steps / 5,
                "checkpointEvery": 10, "samplePrompt": "Anneal", "sampleTokens": 16,
            },
        }))
        .await
    }

    /// Where a job stands: state and step.
    pub(super) async fn state_and_step(&self, job: &str) -> Result<(String, u64)> {
        let query = "query($id: ID!) { job(id: $id) { state step } }";
        let seen = self.engineer.run(query, json!({ "id": job })).await;
        let row = seen.data("job");
        let step = row["step"].as_u64().context("a step")?;
        Ok((text(&row["state"], row)?.to_owned(), step))
    }

    /// What came of a job, as of the position of its end.
    pub(super) async fn finished(&self, job: &str, position: &str) -> Result<Finished> {
        let query = "query($id: ID!, $p: Long) { job(id: $id, minPosition: $p) { state failureMessage modelId metrics { name value } \
                     attempts { number fromStep } } }";
        let seen = self
            .engineer
            .run(query, json!({ "id": job, "p": position }))
            .await;
        let row = seen.data("job");
        if row["state"] != "COMPLETED" {
            bail!("the job is not completed: {row}");
        }
        let metrics = row["metrics"].as_array().context("metrics")?.iter();
        let metrics = metrics.map(|one| {
            Ok((
                text(&one["name"], row)?.to_owned(),
                text(&one["value"], row)?.to_owned(),
            ))
        });
        let attempts = row["attempts"].as_array().context("attempts")?.iter();
        let from_steps = attempts.filter_map(|one| {
            let from = usize::try_from(one["fromStep"].as_u64()?).ok()?;
            Some((one["number"].as_u64()?, from))
        });
        let model = text(&row["modelId"], row)?.to_owned();
        let version = self.version(&model).await?;
        Ok(Finished {
            sha256: text(&version["sha256"], &version)?.to_owned(),
            metrics: metrics.collect::<Result<_>>()?,
            from_steps: from_steps.collect(),
            model,
        })
    }

    async fn version(&self, model: &str) -> Result<Value> {
        let query =
            "query($id: ID!) { model(id: $id) { versions { sha256 files { name sha256 downloadPath } } } }";
        let seen = self.engineer.run(query, json!({ "id": model })).await;
        Ok(seen.data("model")["versions"][0].clone())
    }

    /// Gets every file of a model into `folder`; each has the hash that was recorded.
    pub(super) async fn download(&self, model: &str, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let version = self.version(model).await?;
        for file in version["files"].as_array().context("files")? {
            let (name, path) = (text(&file["name"], file)?, text(&file["downloadPath"], file)?);
            let request = self.engineer.request(reqwest::Method::GET, path);
            let request = request.bearer_auth(self.engineer.token.clone().unwrap_or_default());
            let bytes = request.send().await?.error_for_status()?.bytes().await?;
            let hash = hex::encode(Sha256::digest(&bytes));
            ensure!(
                file["sha256"] == json!(hash),
                "{name} has the hash {hash}: {file}"
            );
            std::fs::write(folder.join(name), &bytes).with_context(|| name.to_owned())?;
        }
        Ok(())
    }
}
