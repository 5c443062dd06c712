//! What happened to a job, in words.
//!
//! One rule: a message says what is recorded, and nothing that its reader may not know.

use domain::jobs::job::{JobEvent, RestartFrom};

/// What happened, in words.
pub(super) fn message_of(event: &JobEvent) -> String {
    match event {
        JobEvent::Queued(order) => format!("'{}' is queued", order.name),
        JobEvent::Leased { worker_name, .. } => format!("{worker_name} took the job"),
        JobEvent::Started {
            from_step: 0,
            total_steps,
            trained_parameters,
            ..
        } => format!("training {trained_parameters} parameters for {total_steps} steps"),
        JobEvent::Started {
            from_step,
            total_steps,
            ..
        } => format!("training goes on from step {from_step} of {total_steps}"),
        JobEvent::CheckpointSaved { checkpoint, .. } => format!("checkpoint after step {}", checkpoint.step),
        JobEvent::CheckpointStored { checkpoint, .. } => {
            format!(
                "the checkpoint after step {} is in the object store",
                checkpoint.step
            )
        }
        JobEvent::CheckpointsReleased { artifacts, .. } => {
            format!(
                "{} checkpoints in the object store are not needed any more",
                artifacts.len()
            )
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
