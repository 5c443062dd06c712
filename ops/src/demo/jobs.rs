//! The chapters of training: find or start a job, follow it to its end, and see what came of it.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    feed::{self, Item, Line},
    session::Session,
    show::{self, Progress, Show},
    workspace::Data,
};

const JOBS: &str = "query($after: String) { \
     answer: jobs(first: 100, after: $after) { edges { node { id name state experimentId datasetId datasetVersion \
     baseModelId } } pageInfo { hasNextPage endCursor } } }";
const START: &str = "mutation($input: StartJobInput!) { answer: startJob(input: $input) \
     { job { id } userErrors { path message code } } }";
const JOB: &str = "query($id: ID!, $at: Long) { answer: job(id: $id, minPosition: $at) { id state modelId attempt worker \
     metrics { name value } failureCode failureMessage } }";

/// Longest line of generated text.
const LINE: usize = 100;

/// A training that is wanted.
pub(super) struct Order<'a> {
    /// Name of the job and its model.
    pub(super) name: String,
    /// The experiment's id.
    pub(super) experiment: &'a str,
    /// What it is trained on.
    pub(super) dataset: &'a Data,
    /// The base model's id.
    pub(super) base: Option<&'a str>,
    /// `MethodInput`.
    pub(super) method: Value,
    /// `HyperParametersInput`.
    pub(super) parameters: Value,
}

/// A job that ended with a model.
pub(super) struct Trained {
    /// The job's id.
    pub(super) job: String,
    /// The model's id.
    pub(super) model: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    name: String,
    state: String,
    experiment_id: String,
    dataset_id: String,
    dataset_version: u32,
    base_model_id: Option<String>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Started {
    job: Id,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    state: String,
    model_id: String,
    attempt: u32,
    worker: Option<String>,
    metrics: Vec<Metric>,
    failure_code: Option<String>,
    failure_message: Option<String>,
}

/// The newest job for this order that is under way or has ended well.
pub(super) async fn find(session: &Session, order: &Order<'_>) -> anyhow::Result<Option<String>> {
    let jobs: Vec<Listed> = session.list(JOBS, json!({})).await?;
    let wanted = |job: &Listed| {
        job.name == order.name
            && job.experiment_id == order.experiment
            && job.dataset_id == order.dataset.id
            && job.dataset_version == order.dataset.version
            && job.base_model_id.as_deref() == order.base
            && !matches!(job.state.as_str(), "FAILED" | "CANCELLED")
    };
    Ok(jobs.into_iter().find(wanted).map(|job| job.id))
}

/// Starts it.
pub(super) async fn start(session: &Session, order: &Order<'_>) -> anyhow::Result<String> {
    let input = json!({
        "name": order.name,
        "experimentId": order.experiment,
        "datasetId": order.dataset.id,
        "datasetVersion": order.dataset.version,
        "method": order.method,
        "parameters": order.parameters,
    });
    let started: Started = session.change(START, input).await.context("starting the job")?;
    Ok(started.job.id)
}

/// Shows a job from its first event to its last.
///
/// # Errors
/// When the feed breaks for good, or the job did not end with a model.
pub(super) async fn follow(session: &Session, job: &str, show: &Show) -> anyhow::Result<Trained> {
    let mut view = JobProgressView {
        progress: show.progress(1, "waiting for a worker")?,
        samples: Vec::new(),
    };
    let end = feed::follow(session, job, |item| view.take(item)).await?;
    view.progress.finish()?;
    for sample in &view.samples {
        tell(sample, show)?;
    }
    let ended: Option<Job> = session
        .query(JOB, json!({ "id": job, "at": end.position }))
        .await?;
    let ended = ended.context("the job is gone; was access to it withdrawn?")?;
    if ended.state != "COMPLETED" {
        let code = ended.failure_code.unwrap_or_else(|| ended.state.to_lowercase());
        let message = ended
            .failure_message
            .unwrap_or_else(|| "run the demo again to start a new one".to_owned());
        bail!("{} ({code}): {message}", end.reason);
    }
    let metrics: Vec<String> = ended
        .metrics
        .iter()
        .map(|metric| {
            format!(
                "{} {}",
                metric.name.replace('_', " "),
                show::number(&metric.value)
            )
        })
        .collect();
    show.line(&format!(
        "  Completed on {}: {}",
        ended.worker.as_deref().unwrap_or("a worker"),
        metrics.join(", ")
    ))?;
    if ended.attempt > 1 {
        show.line(&format!(
            "  It took {} attempts; each went on from the last checkpoint.",
            ended.attempt
        ))?;
    }
    Ok(Trained {
        job: job.to_owned(),
        model: ended.model_id,
    })
}

/// What is on the screen while a job runs.
struct JobProgressView {
    progress: Progress,
    samples: Vec<(u32, String, String)>,
}

impl JobProgressView {
    fn take(&mut self, item: &Item) -> anyhow::Result<()> {
        match item {
            Item::Delta { event, message } => match event.as_str() {
                // Often, and the bar says more.
                "jobs.CheckpointSaved" | "jobs.CheckpointStored" | "jobs.CheckpointsReleased" => Ok(()),
                _ => self.progress.note(&format!("  {}", show::tame(message, LINE))),
            },
            Item::Metrics {
                step,
                total_steps,
                eta_seconds,
                points,
                evaluations,
            } => {
                if let Some(evaluation) = evaluations.last() {
                    let (step, loss) = (evaluation.step, evaluation.loss);
                    let words = format!(
                        "  held-out loss after {step} steps: {loss:.3} (perplexity {:.0})",
                        loss.exp()
                    );
                    self.progress.note(&words)?;
                }
                let Some(point) = points.last() else { return Ok(()) };
                let left = eta_seconds
                    .map(|left| format!("  {} left", show::seconds(left)))
                    .unwrap_or_default();
                let words = format!(
                    "step {step}/{total_steps}  loss {:.3}  {:.0} tokens/s{left}",
                    point.loss, point.tokens_per_second
                );
                self.progress
                    .at(u64::from(*step), u64::from(*total_steps), &words)
            }
            Item::Log { lines } => lines.iter().try_for_each(|line| self.line(line)),
            Item::End { .. } | Item::Other => Ok(()),
        }
    }

    fn line(&mut self, line: &Line) -> anyhow::Result<()> {
        match (line.level.as_str(), line.step) {
            ("sample", Some(step)) => {
                let prompt = line.prompt.clone().unwrap_or_default();
                self.samples.push((step, prompt, line.message.clone()));
                Ok(())
            }
            ("info", _) => Ok(()),
            (level, _) => self
                .progress
                .note(&format!("  {level}: {}", show::tame(&line.message, 2 * LINE))),
        }
    }
}

fn tell((step, prompt, text): &(u32, String, String), show: &Show) -> anyhow::Result<()> {
    let when = if *step == 0 {
        "Before training".to_owned()
    } else {
        format!("After {step} steps")
    };
    // Samples may hold the prompt or go on after it.
    let text = text.strip_prefix(prompt.as_str()).unwrap_or(text);
    show.line(&format!(
        "  {when}: [{}] {}",
        show::tame(prompt, LINE),
        show::tame(text, 2 * LINE)
    ))
}
