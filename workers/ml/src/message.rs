//! Messages of the training process to its parent: one JSON object per line on its standard output.
//!
//! Rule: this enum is the protocol, and both sides use it. A parent ignores lines that it cannot parse (from a newer
//! child) but keeps them in its log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{device::gpu_monitor::GpuUsage, failure::FailureCode, files::FileEntry};

/// One line of a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChildMessage {
    /// Data and model are loaded; the first step follows. Sent once.
    Started {
        /// The ID in the job file.
        job_id: String,
        /// Steps of the whole training.
        total_steps: u32,
        /// Steps that the checkpoint has completed; 0 for a new training.
        resumed_step: u32,
        /// The device: `cpu`, or for example `cuda:0 (NVIDIA H100 80GB HBM3)`.
        device: String,
        /// Parameters of the model.
        parameters: u64,
        /// Parameters that are trained.
        trainable_parameters: u64,
        /// Tokens of the training split.
        train_tokens: u64,
        /// Tokens of the evaluation split.
        evaluation_tokens: u64,
    },
    /// Completed steps. Sent at most once a second, and before any message about later events.
    Progress {
        /// Completed steps.
        step: u32,
        /// Steps of the whole training.
        total_steps: u32,
        /// Mean cross-entropy of the last step, in nats.
        loss: f64,
        /// Learning rate of the last step.
        learning_rate: f64,
        /// Gradient norm of the last step, before clipping.
        grad_norm: f64,
        /// Tokens per second over the points of this message.
        tokens_per_second: f64,
        /// Tokens processed since the training started, across resumptions.
        tokens: u64,
        /// Seconds until the last step at the current speed.
        eta_seconds: f64,
        /// Resident memory of the process in bytes; 0 where the system does not report it.
        memory_bytes: u64,
        /// Utilisation of the GPU, where there is one that reports it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gpu: Option<GpuUsage>,
        /// Every step since the last progress message, in order.
        points: Vec<Point>,
    },
    /// An evaluation on the held-out data.
    Evaluation {
        /// Completed steps.
        step: u32,
        /// Mean cross-entropy in nats.
        loss: f64,
        /// Exponential of the loss.
        perplexity: f64,
    },
    /// Generated text: at step 0 (for an adapter: by the base model), at intervals, and at the end.
    Sample {
        /// Completed steps.
        step: u32,
        /// The prompt.
        prompt: String,
        /// The continuation.
        text: String,
    },
    /// A checkpoint is on the disk; its folder can be resumed from.
    Checkpoint {
        /// Completed steps.
        step: u32,
        /// Its folder.
        dir: PathBuf,
        /// SHA-256 of its manifest.
        sha256: String,
    },
    /// A message for the job's log.
    Log {
        /// Severity.
        level: LogLevel,
        /// The message.
        message: String,
    },
    /// The training is complete. Last line; the exit status is 0.
    Completed {
        /// The folder of the result.
        artifact_dir: PathBuf,
        /// Its files.
        files: Vec<FileEntry>,
        /// The merged model, where the job file requests one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        merged: Option<Merged>,
        /// Metrics of the whole training.
        metrics: FinalMetrics,
    },
    /// The child was asked to stop and has saved a checkpoint. Last line; the exit status is 0.
    Stopped {
        /// Completed steps.
        step: u32,
    },
    /// The training has failed. Last line; the exit status is 1.
    Failed {
        /// The kind of failure.
        code: FailureCode,
        /// The error, with its remedy.
        message: String,
    },
}

/// A merged model on the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// Its folder.
    pub dir: PathBuf,
    /// Its files in order of name.
    pub files: Vec<FileEntry>,
}

/// Metrics of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Completed steps, including this one.
    pub step: u32,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens per second of this step.
    pub tokens_per_second: f64,
}

/// Severity of a log message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Information.
    Info,
    /// Something is wrong, but the training continues.
    Warn,
}

/// Metrics of a complete training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalMetrics {
    /// Completed steps.
    pub steps: u32,
    /// Tokens processed.
    pub tokens: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Loss on the held-out data before training; `None` without held-out data.
    pub initial_evaluation_loss: Option<f64>,
    /// Loss on the held-out data after training; `None` without held-out data.
    pub evaluation_loss: Option<f64>,
    /// Exponential of the loss on the held-out data; `None` without held-out data.
    pub perplexity: Option<f64>,
    /// Seconds that this process has trained; earlier processes of a resumed job are not counted.
    pub seconds: f64,
    /// Mean over those seconds.
    pub tokens_per_second: f64,
}
