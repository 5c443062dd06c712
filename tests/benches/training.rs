//! Tokens per second of the demo's training from scratch, on one thread and on all.
//!
//! The yardstick is one thread of the same run. How this compares with other engines is not measured here.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use ml::{
    data::source::{DatasetFile, DatasetFormat},
    job::JobFile,
    message::ChildMessage,
    spec::{Architecture, HyperParameters, Method, Objective, Outputs, TrainingSpec},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    numbers::{median, rounded},
    program,
};

/// Runs of each kind.
const ROUNDS: usize = 2;
/// Steps of a run.
const STEPS: u32 = 40;
/// Steps that do not count: caches fill.
const WARM_UP: u32 = 5;
/// How long a run may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What one run says of itself.
struct Run {
    /// Numbers in the model.
    parameters: u64,
    /// Of the steps that count.
    tokens_per_second: Vec<f64>,
    /// Over all of the run, evaluations and checkpoints included.
    overall: f64,
    /// Resident memory at the last report, MiB.
    memory: f64,
}

/// Trains the demo's model for some steps.
pub(crate) async fn run() -> Result<Value> {
    let all = u32::try_from(std::thread::available_parallelism()?.get())?;
    let mut runs: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for threads in [1, all] {
            let run = tokio::time::timeout(TIMEOUT, train(threads))
                .await
                .context("the training takes too long")??;
            runs.entry(threads).or_default().push(run);
        }
    }
    let speed = |runs: &[Run]| {
        median(
            runs.iter()
                .flat_map(|run| run.tokens_per_second.clone())
                .collect(),
        )
    };
    let single = runs.get(&1).map_or(0.0, |runs| speed(runs));
    let rows: Vec<Value> = runs
        .iter()
        .map(|(threads, runs)| {
            let parameters = runs.first().map_or(0, |run| run.parameters);
            json!({
                "threads": threads,
                "tokens_per_s": rounded(speed(runs)),
                "overall_tokens_per_s": rounded(median(runs.iter().map(|run| run.overall).collect())),
                "against": "one thread",
                "ratio": rounded(speed(runs) / single),
                // Six operations for each parameter and token (arXiv:2001.08361), attention left out.
                "gflop_per_s": rounded(speed(runs) * parameters as f64 * 6.0 / 1e9),
                "parameters": parameters,
                "memory_mib": rounded(median(runs.iter().map(|run| run.memory).collect())),
            })
        })
        .collect();
    Ok(json!({ "unit": "tokens/s; MiB of the training process", "steps": STEPS, "rows": rows }))
}

/// The job that `anneal demo` runs first, with fewer steps and without samples.
fn job(folder: &Path, threads: u32) -> JobFile {
    let architecture = Architecture {
        layers: 4,
        heads: 4,
        width: 128,
        context: 128,
        vocabulary: 2048,
    };
    let parameters = HyperParameters {
        steps: STEPS,
        batch_size: 8,
        learning_rate: 1e-3,
        sample_tokens: 0,
        ..HyperParameters::default()
    };
    JobFile {
        job_id: "figures".to_owned(),
        spec: TrainingSpec {
            method: Method::Scratch(architecture),
            objective: Objective::default(),
            parameters,
            outputs: Outputs::default(),
        },
        dataset_files: vec![DatasetFile {
            path: concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt").into(),
            format: DatasetFormat::Text,
        }],
        base_model_dir: None,
        base_model_name: None,
        model_name: None,
        work_dir: folder.to_owned(),
        resume_from: None,
        threads: Some(threads),
        device: ml::device::Device::Cpu,
        kernels: None,
    }
}

async fn train(threads: u32) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let job = job(folder.path(), threads);
    let file = folder.path().join("job.json");
    std::fs::write(&file, serde_json::to_vec(&job)?)?;
    let mut child = Command::new(program::path())
        .arg(anneal::system::TRAIN_COMMAND)
        .arg(&file)
        .envs(job.environment())
        // Its end would tell the child that its parent is gone.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program::path().display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut run = Run {
        parameters: 0,
        tokens_per_second: Vec::new(),
        overall: 0.0,
        memory: 0.0,
    };
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).with_context(|| line.clone())? {
            ChildMessage::Started { parameters, .. } => run.parameters = parameters,
            ChildMessage::Progress {
                points, memory_bytes, ..
            } => {
                run.memory = memory_bytes as f64 / 1024.0 / 1024.0;
                let counting = points.into_iter().filter(|point| point.step > WARM_UP);
                run.tokens_per_second
                    .extend(counting.map(|point| point.tokens_per_second));
            }
            ChildMessage::Completed { metrics, .. } => run.overall = metrics.tokens_per_second,
            ChildMessage::Failed { message, .. } => bail!("the training failed: {message}"),
            _ => {}
        }
    }
    let status = child.wait().await?;
    anyhow::ensure!(
        status.success() && run.overall > 0.0,
        "the training ended early: {status}"
    );
    Ok(run)
}
