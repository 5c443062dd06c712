//! What the process that trains tells its parent: one JSON object per line on its standard output.
//!
//! Rule: this enum is the protocol; both sides use it. A parent ignores lines it cannot read (a newer child)
//! but keeps them in its log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{device::meter::Reading, failure::FailureCode, files::FileEntry};

/// One line from the child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChildMessage {
    /// Data and model are loaded, the first step follows. Once.
    Started {
        /// From the job file.
        job_id: String,
        /// Steps of the whole training.
        total_steps: u32,
        /// Steps already done by the checkpoint; 0 for a new training.
        resumed_step: u32,
        /// What computes: `cpu`, or such as `cuda:0 (NVIDIA H100 80GB HBM3)`.
        device: String,
        /// Numbers in the model.
        parameters: u64,
        /// Numbers that are trained.
        trainable_parameters: u64,
        /// Tokens to learn from.
        train_tokens: u64,
        /// Tokens held out.
        evaluation_tokens: u64,
    },
    /// Steps were done. At most once a second, and before any message that follows from those steps.
    Progress {
        /// Steps done.
        step: u32,
        /// Steps of the whole training.
        total_steps: u32,
        /// Of the last step: mean cross-entropy in nats.
        loss: f64,
        /// Of the last step.
        learning_rate: f64,
        /// Of the last step, before clipping.
        grad_norm: f64,
        /// Over the points of this message.
        tokens_per_second: f64,
        /// Tokens seen since the training began, over all resumptions.
        tokens: u64,
        /// Seconds until the last step at the present speed.
        eta_seconds: f64,
        /// Resident memory of the process; 0 where the system does not tell.
        memory_bytes: u64,
        /// What its GPU is doing, where there is one that tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gpu: Option<Reading>,
        /// Every step since the last such message, in order.
        points: Vec<Point>,
    },
    /// The held-out share was looked at.
    Evaluation {
        /// Steps done.
        step: u32,
        /// Mean cross-entropy in nats.
        loss: f64,
        /// e to the loss.
        perplexity: f64,
    },
    /// A text by the model: once at step 0 (for an adapter: by the base model), once at the end.
    Sample {
        /// Steps done.
        step: u32,
        /// What was given.
        prompt: String,
        /// How the model goes on.
        text: String,
    },
    /// A checkpoint is on the disk; resume with its folder.
    Checkpoint {
        /// Steps done.
        step: u32,
        /// Its folder.
        dir: PathBuf,
        /// SHA-256 of its manifest.
        sha256: String,
    },
    /// A line for the log of the job.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// What happened.
        message: String,
    },
    /// The training is done. The last line; the exit status is 0.
    Completed {
        /// The folder of the result.
        artifact_dir: PathBuf,
        /// Its files.
        files: Vec<FileEntry>,
        /// The merged model, where the job file asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        merged: Option<Merged>,
        /// What became of it.
        metrics: FinalMetrics,
    },
    /// Asked to stop, the child has written a checkpoint. The last line; the exit status is 0.
    Stopped {
        /// Steps done.
        step: u32,
    },
    /// The training cannot be done. The last line; the exit status is 1.
    Failed {
        /// What kind of failure.
        code: FailureCode,
        /// What happened and what to do.
        message: String,
    },
}

/// A merged model as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// Its folder.
    pub dir: PathBuf,
    /// Its files in order of name.
    pub files: Vec<FileEntry>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps done, this one included.
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

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the curious.
    Info,
    /// Something was not as it should be; the training goes on.
    Warn,
}

/// What became of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalMetrics {
    /// Steps done.
    pub steps: u32,
    /// Tokens seen.
    pub tokens: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Loss on the held-out share before training; `None` without one.
    pub initial_evaluation_loss: Option<f64>,
    /// Loss on the held-out share after training; `None` without one.
    pub evaluation_loss: Option<f64>,
    /// e to the loss on the held-out share; `None` without one.
    pub perplexity: Option<f64>,
    /// Seconds this process trained (a resumed job's earlier processes are not counted).
    pub seconds: f64,
    /// Mean over those seconds.
    pub tokens_per_second: f64,
}
