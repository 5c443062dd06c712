//! What a run tells its observer.

use crate::{
    message::LogLevel,
    training::{Evaluation, StepReport, checkpoint::SavedCheckpoint},
};

/// Receives the events of a run. All methods are called from the thread that trains, in the order of the events.
pub trait TrainingObserver {
    /// Data and model are loaded.
    fn started(&mut self, info: &RunInfo);
    /// A step is complete.
    fn step_completed(&mut self, report: &StepReport);
    /// An evaluation on the held-out data is complete.
    fn evaluation_completed(&mut self, evaluation: &Evaluation);
    /// The model has continued `prompt` with `text`.
    fn sample_generated(&mut self, step: u32, prompt: &str, text: &str);
    /// A checkpoint is on the disk.
    fn checkpoint_saved(&mut self, step: u32, checkpoint: &SavedCheckpoint);
    /// A message for the job's log.
    fn log(&mut self, level: LogLevel, message: String);
    /// Whether to save a checkpoint and stop; asked before each step.
    fn stop_requested(&self) -> bool;
}

/// What is known when training starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// Steps of the whole training.
    pub total_steps: u32,
    /// Steps that the checkpoint has completed; 0 for a new training.
    pub resumed_step: u32,
    /// Tokens processed by those steps.
    pub resumed_tokens: u64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// Tokens of the training split.
    pub train_tokens: u64,
    /// Tokens of the evaluation split.
    pub evaluation_tokens: u64,
}
