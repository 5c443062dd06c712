//! From what happens to lines for the parent.
//!
//! Rule: steps are gathered and told at most once a second; whatever else is told, the steps before it are
//! told first, so the parent reads everything in order.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::ORPHANED;
use crate::{
    artifact::Artifact,
    data::template::watch,
    device::{CudaDevice, meter::Meter},
    failure::Failure,
    job::JobFile,
    memory,
    message::{ChildMessage, FinalMetrics, LogLevel, Merged, Point},
    training::{Evaluation, StepReport, Watcher, checkpoint::Written, run::Facts},
};

/// Time between two messages of progress.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the parent.
#[derive(Debug)]
pub(super) struct Reporter {
    job_id: String,
    /// What computes.
    device: String,
    meter: Option<Meter>,
    /// 0 until the training has begun.
    total_steps: u32,
    stop: Arc<AtomicBool>,
    points: Vec<Point>,
    /// Tokens and seconds of `points`.
    pending: (u64, f64),
    tokens: u64,
    last_told: Instant,
    /// The end of the last thing that was no step.
    step_began: Instant,
    /// Tokens and seconds of all steps of this process.
    trained: (u64, f64),
}

impl Reporter {
    /// For a training on the processor, or on `gpu`.
    pub(super) fn new(job: &JobFile, gpu: Option<&CudaDevice>, stop: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        if let Err(error) = watch::start(|Failure { code, message }| {
            send(&ChildMessage::Failed { code, message });
            std::process::exit(1);
        }) {
            eprintln!("chat templates are not watched: {error}");
        }
        Self {
            job_id: job.job_id.clone(),
            device: match gpu {
                Some(gpu) => format!("{} ({})", job.device, gpu.name),
                None => job.device.to_string(),
            },
            meter: gpu.and_then(|gpu| Meter::of(&gpu.bus_id)),
            total_steps: 0,
            stop,
            points: Vec::new(),
            pending: (0, 0.0),
            tokens: 0,
            last_told: now,
            step_began: now,
            trained: (0, 0.0),
        }
    }

    /// Tells the steps not told yet.
    pub(super) fn flush(&mut self) {
        let Some(last) = self.points.last().copied() else {
            return;
        };
        let (tokens, seconds) = std::mem::take(&mut self.pending);
        let each = seconds / self.points.len() as f64;
        send(&ChildMessage::Progress {
            step: last.step,
            total_steps: self.total_steps,
            loss: last.loss,
            learning_rate: last.learning_rate,
            grad_norm: last.grad_norm,
            tokens_per_second: rate(tokens, seconds),
            tokens: self.tokens,
            eta_seconds: each * f64::from(self.total_steps - last.step),
            memory_bytes: memory::resident().unwrap_or(0),
            gpu: self.meter.as_ref().and_then(Meter::read),
            points: std::mem::take(&mut self.points),
        });
        self.last_told = Instant::now();
    }

    pub(super) fn completed(&self, artifact: Artifact) -> ChildMessage {
        let (tokens, seconds) = self.trained;
        ChildMessage::Completed {
            artifact_dir: artifact.folder,
            files: artifact.files,
            merged: artifact.merged.map(|(dir, files)| Merged { dir, files }),
            metrics: FinalMetrics {
                steps: artifact.steps,
                tokens: artifact.tokens,
                loss: artifact.loss,
                initial_evaluation_loss: artifact.evaluation.map(|(first, _)| first),
                evaluation_loss: artifact.evaluation.map(|(_, last)| last),
                perplexity: artifact.evaluation.map(|(_, last)| last.exp()),
                seconds,
                tokens_per_second: rate(tokens, seconds),
            },
        }
    }

    fn tell(&mut self, message: &ChildMessage) {
        self.flush();
        send(message);
        self.step_began = Instant::now();
    }
}

impl Watcher for Reporter {
    fn started(&mut self, facts: &Facts) {
        self.tokens = facts.resumed_tokens;
        self.total_steps = facts.total_steps;
        self.tell(&ChildMessage::Started {
            job_id: self.job_id.clone(),
            total_steps: self.total_steps,
            resumed_step: facts.resumed_step,
            device: self.device.clone(),
            parameters: facts.parameters,
            trainable_parameters: facts.trainable_parameters,
            train_tokens: facts.train_tokens,
            evaluation_tokens: facts.evaluation_tokens,
        });
    }

    fn stepped(&mut self, report: &StepReport) {
        let seconds = self.step_began.elapsed().as_secs_f64();
        self.step_began = Instant::now();
        self.tokens += report.tokens;
        for (tokens, time) in [&mut self.pending, &mut self.trained].map(|sum| (&mut sum.0, &mut sum.1)) {
            *tokens += report.tokens;
            *time += seconds;
        }
        self.points.push(Point {
            step: report.step,
            loss: report.loss,
            learning_rate: report.learning_rate,
            grad_norm: report.grad_norm,
            tokens_per_second: rate(report.tokens, seconds),
        });
        if self.last_told.elapsed() >= INTERVAL {
            self.flush();
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        let Evaluation { step, loss } = *evaluation;
        self.tell(&ChildMessage::Evaluation {
            step,
            loss,
            perplexity: loss.exp(),
        });
    }

    fn sampled(&mut self, step: u32, prompt: &str, text: &str) {
        self.tell(&ChildMessage::Sample {
            step,
            prompt: prompt.to_owned(),
            text: text.to_owned(),
        });
    }

    fn saved(&mut self, step: u32, written: &Written) {
        let (dir, sha256) = (written.folder.clone(), written.sha256.clone());
        self.tell(&ChildMessage::Checkpoint { step, dir, sha256 });
    }

    fn noted(&mut self, level: LogLevel, message: String) {
        self.tell(&ChildMessage::Log { level, message });
    }

    fn wants_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Writes one line. A parent that does not read any more is gone.
pub(super) fn send(message: &ChildMessage) {
    let mut line = match serde_json::to_vec(message) {
        Ok(line) => line,
        Err(error) => format!("{{\"type\":\"log\",\"level\":\"warn\",\"message\":\"{error}\"}}").into_bytes(),
    };
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    if output.write_all(&line).and_then(|()| output.flush()).is_err() {
        std::process::exit(ORPHANED);
    }
}

fn rate(tokens: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        tokens as f64 / seconds
    } else {
        0.0
    }
}
