//! Turns the events of a run into messages for the parent.
//!
//! Rule: steps are collected and reported at most once a second. Any other message is preceded by the steps before
//! it, so the parent reads everything in order.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    artifact::Artifact,
    data::template::watchdog,
    device::{CudaDevice, gpu_monitor::GpuMonitor},
    failure::Failure,
    job::JobFile,
    message::{ChildMessage, FinalMetrics, LogLevel, Merged, Point},
    process_memory,
    run::{RunInfo, TrainingObserver},
    training::{Evaluation, StepReport, checkpoint::SavedCheckpoint},
};

/// Exit status of a child whose parent is gone.
pub const ORPHANED: i32 = 3;

/// Minimum time between two progress messages.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reports to the parent.
#[derive(Debug)]
pub(super) struct Reporter {
    job_id: String,
    /// Name of the device.
    device: String,
    gpu_monitor: Option<GpuMonitor>,
    /// 0 until training starts.
    total_steps: u32,
    stop: Arc<AtomicBool>,
    points: Vec<Point>,
    /// Tokens and seconds of `points`.
    pending: (u64, f64),
    tokens: u64,
    last_told: Instant,
    /// When the last event that was not a step ended.
    step_began: Instant,
    /// Tokens and seconds of all steps of this process.
    trained: (u64, f64),
}

impl Reporter {
    /// A reporter for a training on the CPU, or on `gpu`.
    pub(super) fn new(job: &JobFile, gpu: Option<&CudaDevice>, stop: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        if let Err(error) = watchdog::start(|Failure { code, message }| {
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
            gpu_monitor: gpu.and_then(|gpu| GpuMonitor::new(&gpu.bus_id)),
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

    /// Reports the steps that have not been reported yet.
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
            memory_bytes: process_memory::resident_bytes().unwrap_or(0),
            gpu: self.gpu_monitor.as_ref().and_then(GpuMonitor::read),
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

impl TrainingObserver for Reporter {
    fn started(&mut self, info: &RunInfo) {
        self.tokens = info.resumed_tokens;
        self.total_steps = info.total_steps;
        self.tell(&ChildMessage::Started {
            job_id: self.job_id.clone(),
            total_steps: self.total_steps,
            resumed_step: info.resumed_step,
            device: self.device.clone(),
            parameters: info.parameters,
            trainable_parameters: info.trainable_parameters,
            train_tokens: info.train_tokens,
            evaluation_tokens: info.evaluation_tokens,
        });
    }

    fn step_completed(&mut self, report: &StepReport) {
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

    fn evaluation_completed(&mut self, evaluation: &Evaluation) {
        let Evaluation { step, loss } = *evaluation;
        self.tell(&ChildMessage::Evaluation {
            step,
            loss,
            perplexity: loss.exp(),
        });
    }

    fn sample_generated(&mut self, step: u32, prompt: &str, text: &str) {
        self.tell(&ChildMessage::Sample {
            step,
            prompt: prompt.to_owned(),
            text: text.to_owned(),
        });
    }

    fn checkpoint_saved(&mut self, step: u32, written: &SavedCheckpoint) {
        let (dir, sha256) = (written.folder.clone(), written.sha256.clone());
        self.tell(&ChildMessage::Checkpoint { step, dir, sha256 });
    }

    fn log(&mut self, level: LogLevel, message: String) {
        self.tell(&ChildMessage::Log { level, message });
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Writes one line. The process exits when the parent no longer reads.
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
