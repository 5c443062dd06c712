//! What an event of a job changes, for people and programs.
//!
//! One rule: each kind of event has its words; a new one does not compile without them.

use domain::jobs::job::{JobEvent, RestartFrom};

use crate::graphql::jobs::JobState;

/// Where the job stands after `event`, the attempt it belongs to, and what happened in words.
pub(crate) fn describe(event: &JobEvent) -> (Option<JobState>, u32, String) {
    (state_after(event), attempt_of(event), message_of(event))
}

/// Where the job stands after `event`; `None` when it stays where it is.
const fn state_after(event: &JobEvent) -> Option<JobState> {
    match event {
        JobEvent::Queued(_) | JobEvent::Restarted { .. } | JobEvent::Interrupted { .. } => {
            Some(JobState::Queued)
        }
        JobEvent::Leased { .. } => Some(JobState::Starting),
        JobEvent::Started { .. } => Some(JobState::Running),
        JobEvent::Paused { .. } => Some(JobState::Paused),
        JobEvent::Completed { .. } => Some(JobState::Completed),
        JobEvent::Failed { .. } => Some(JobState::Failed),
        JobEvent::Cancelled { .. } => Some(JobState::Cancelled),
        // Of a pause that was still under way the state does not change when it is resumed.
        JobEvent::Resumed { .. }
        | JobEvent::CheckpointSaved { .. }
        | JobEvent::CheckpointStored { .. }
        | JobEvent::CheckpointsReleased { .. }
        | JobEvent::FilesStored { .. }
        | JobEvent::PauseRequested { .. }
        | JobEvent::PriorityChanged { .. }
        | JobEvent::Metered { .. } => None,
    }
}

/// The attempt that `event` belongs to; 0 for none.
const fn attempt_of(event: &JobEvent) -> u32 {
    match event {
        JobEvent::Queued(_) | JobEvent::PriorityChanged { .. } => 0,
        JobEvent::Leased { attempt, .. }
        | JobEvent::Started { attempt, .. }
        | JobEvent::CheckpointSaved { attempt, .. }
        | JobEvent::CheckpointStored { attempt, .. }
        | JobEvent::CheckpointsReleased { attempt, .. }
        | JobEvent::FilesStored { attempt, .. }
        | JobEvent::PauseRequested { attempt, .. }
        | JobEvent::Paused { attempt, .. }
        | JobEvent::Resumed { attempt }
        | JobEvent::Restarted { attempt, .. }
        | JobEvent::Metered { attempt, .. }
        | JobEvent::Interrupted { attempt, .. }
        | JobEvent::Completed { attempt, .. }
        | JobEvent::Failed { attempt, .. }
        | JobEvent::Cancelled { attempt, .. } => *attempt,
    }
}

/// How an attempt began: that of an import trains nothing, and counts files.
fn begun(trained_parameters: u64, from_step: u32, total_steps: u32) -> String {
    match (trained_parameters, from_step) {
        (0, _) => format!("{from_step} of {total_steps} files are stored"),
        (_, 0) => format!("training {trained_parameters} parameters for {total_steps} steps"),
        _ => format!("training goes on from step {from_step} of {total_steps}"),
    }
}

/// What happened, in words.
fn message_of(event: &JobEvent) -> String {
    match event {
        JobEvent::Queued(order) => format!("'{}' is queued", order.name),
        JobEvent::Leased { worker_name, .. } => format!("{worker_name} took the job"),
        JobEvent::Started {
            trained_parameters,
            from_step,
            total_steps,
            ..
        } => begun(*trained_parameters, *from_step, *total_steps),
        JobEvent::CheckpointSaved { checkpoint, .. } => format!("checkpoint after step {}", checkpoint.step),
        JobEvent::CheckpointStored { checkpoint, .. } => {
            let step = checkpoint.step;
            format!("the checkpoint after step {step} is in the object store")
        }
        JobEvent::CheckpointsReleased { artifacts, .. } => {
            let count = artifacts.len();
            format!("{count} checkpoints in the object store are not needed any more")
        }
        JobEvent::FilesStored { files, .. } => {
            let names: Vec<&str> = files.iter().map(|file| file.file.name.as_str()).collect();
            format!("stored: {}", names.join(", "))
        }
        JobEvent::PauseRequested { .. } => {
            "to be paused: its worker saves the state and gives it back".to_owned()
        }
        JobEvent::Paused { reason, .. } => with_reason("paused", reason),
        JobEvent::Resumed { .. } => "resumed".to_owned(),
        JobEvent::Restarted { from, .. } => match from {
            RestartFrom::Checkpoint => "restarted from its newest checkpoint".to_owned(),
            RestartFrom::Scratch => "restarted from scratch".to_owned(),
        },
        JobEvent::PriorityChanged { priority } => format!("its priority is {priority} now"),
        JobEvent::Metered {
            attempt,
            milliseconds,
            ..
        } => {
            let seconds = *milliseconds as f64 / 1_000.0;
            format!("attempt {attempt} had its worker for {seconds:.1} s")
        }
        JobEvent::Interrupted { cause, .. } => format!("interrupted: {cause}"),
        JobEvent::Completed { model, .. } => {
            format!("completed as {} version {}", model.model, model.version)
        }
        JobEvent::Failed { code, message, .. } => format!("{code}: {message}"),
        JobEvent::Cancelled { reason, .. } => with_reason("cancelled", reason),
    }
}

/// What was done, with the reason where one was given.
fn with_reason(done: &str, reason: &str) -> String {
    match reason {
        "" => done.to_owned(),
        _ => format!("{done}: {reason}"),
    }
}
