//! The facts of a job, in the words of the log.
//!
//! One rule: every fact of an attempt names the attempt, and none follows the attempt's end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    checkpoint::StoredCheckpoint,
    job::{Checkpoint, Order},
    kind::{ImportedFile, with_kind},
};
use crate::{
    aggregate::event,
    id::{ProjectId, UserId, WorkerId},
    models::model::ModelVersionRef,
    payload::Leaves,
};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Where a job begins that is queued again after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum RestartFrom {
    /// From its newest checkpoint.
    #[default]
    Checkpoint,
    /// From the beginning; its checkpoints are not looked at any more.
    Scratch,
}

/// Facts about a job.
#[event(context = "jobs", subject = nobody)]
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// It was ordered.
    #[event(name = "JobQueued", version = 2, subject = owner)]
    #[earlier(version = 1, lift = with_kind)]
    Queued(Box<Order>),
    /// A worker took it.
    #[event(name = "JobLeased")]
    Leased {
        /// Number of the attempt, from 1: the fencing token.
        attempt: u32,
        /// The worker.
        worker: WorkerId,
        /// Its name: host and device.
        #[plain]
        worker_name: String,
        /// When, by the clock of the process that decided; `None` in facts that earlier builds recorded.
        #[serde(
            default,
            with = "time::serde::rfc3339::option",
            skip_serializing_if = "Option::is_none"
        )]
        leased_at: Option<OffsetDateTime>,
        /// Whether it computes on a GPU.
        #[serde(default, skip_serializing_if = "is_false")]
        gpu: bool,
    },
    /// The work began, or went on from where an earlier attempt had come to. Steps of an import are its files.
    #[event(name = "JobStarted")]
    Started {
        /// The attempt.
        attempt: u32,
        /// Steps already done in earlier attempts.
        from_step: u32,
        /// Steps in all.
        total_steps: u32,
        /// Trained parameters; 0 of an import.
        trained_parameters: u64,
    },
    /// Its state was saved.
    CheckpointSaved {
        /// The attempt.
        attempt: u32,
        /// What was saved.
        #[serde(flatten)]
        checkpoint: Checkpoint,
    },
    /// The files of a saved state are in the object store, from which another machine can go on.
    CheckpointStored {
        /// The attempt.
        attempt: u32,
        /// What was stored, and where.
        #[serde(flatten)]
        checkpoint: StoredCheckpoint,
    },
    /// Checkpoints in the object store are not needed any more; their files are deleted after this.
    CheckpointsReleased {
        /// The latest attempt.
        attempt: u32,
        /// Their places in the object store.
        #[plain]
        artifacts: Vec<String>,
    },
    /// Files of an import are stored; a later attempt does not copy them again.
    #[event(name = "ImportFilesStored")]
    FilesStored {
        /// The attempt.
        attempt: u32,
        /// What is stored.
        files: Vec<ImportedFile>,
    },
    /// The worker was lost or gave up; the job is queued again.
    #[event(name = "JobInterrupted")]
    Interrupted {
        /// The attempt that ended.
        attempt: u32,
        /// The reason.
        #[plain]
        cause: String,
        /// Whether it counts against the attempts: not when a worker drains.
        counts: bool,
    },
    /// It ended with a model.
    #[event(name = "JobCompleted")]
    Completed {
        /// The attempt.
        attempt: u32,
        /// The model version that came of it.
        model: ModelVersionRef,
        /// Its metrics: names and values, as decimal text.
        #[plain]
        metrics: BTreeMap<String, String>,
    },
    /// It ended with an error.
    #[event(name = "JobFailed", failure)]
    Failed {
        /// The attempt; 0 when it failed before the first.
        attempt: u32,
        /// A stable code.
        #[plain]
        code: String,
        /// The error, with its remedy.
        #[plain]
        message: String,
    },
    /// Somebody ended it.
    #[event(name = "JobCancelled", subject = actor)]
    Cancelled {
        /// The attempt that was under way, if any.
        attempt: u32,
        /// Why, in the words of who did it.
        #[plain]
        reason: String,
    },
    /// Somebody wants a job paused that a worker has; the worker saves its state and gives it back.
    #[event(name = "JobPauseRequested", subject = actor)]
    PauseRequested {
        /// The attempt that is under way.
        attempt: u32,
        /// Why, in the words of who asked.
        #[plain]
        reason: String,
    },
    /// It has no worker and waits for nobody but whoever resumes it.
    #[event(name = "JobPaused", subject = actor)]
    Paused {
        /// The latest attempt; 0 when it was paused before the first.
        attempt: u32,
        /// Why, in the words of who asked.
        #[plain]
        reason: String,
    },
    /// It waits for a worker again; or, while a pause was under way, that is withdrawn.
    #[event(name = "JobResumed", subject = actor)]
    Resumed {
        /// The latest attempt.
        attempt: u32,
    },
    /// After its end it was queued again. Attempts are numbered on, and its retry budget and run time begin
    /// anew.
    #[event(name = "JobRestarted", subject = actor)]
    Restarted {
        /// The latest attempt before.
        attempt: u32,
        /// Where the next attempt begins.
        from: RestartFrom,
    },
    /// It waits before or after others than until now.
    #[event(name = "JobPriorityChanged", subject = actor)]
    PriorityChanged {
        /// From now on.
        priority: i8,
    },
    /// How long an attempt had its worker: recorded with the attempt's end, before it.
    #[event(name = "WorkerTimeMetered", subject = owner)]
    Metered {
        /// The attempt.
        attempt: u32,
        /// The worker.
        worker: WorkerId,
        /// The owner of the job.
        owner: UserId,
        /// The project of the job; `None` of one that belongs to none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<ProjectId>,
        /// From the lease to the end of the attempt, by the clocks of the processes that decided them.
        milliseconds: u64,
        /// Whether it was a GPU.
        gpu: bool,
    },
}
