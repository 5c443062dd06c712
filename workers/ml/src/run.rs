//! A run: from a job file to the finished artifact.
//!
//! Rule: the order of evaluation, sample, checkpoint and stop after a step is fixed, so a resumed run repeats none of
//! them and skips none.

mod observer;
mod setup;

use std::path::PathBuf;

use burn::tensor::backend::Backend;

pub use self::observer::{RunInfo, TrainingObserver};
use self::setup::{DeviceOf, ModelSetup};
use crate::{
    artifact::{self, Artifact, Lineage},
    data::{
        Corpus,
        sample_encoder::{Prompt, SampleEncoder},
        source::Source,
        tokenizer::Tokenizer,
    },
    failure::{Failure, FailureCode},
    files,
    job::JobFile,
    message::LogLevel,
    spec::Precision,
    training::{Session, checkpoint, trainable::TrainingBackend},
};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are complete and the artifact is on the disk.
    Completed(Artifact),
    /// The run was asked to stop and has saved a checkpoint.
    Stopped {
        /// Completed steps.
        step: u32,
    },
}

/// Runs `job` on `device`. The same inputs give the same artifact, byte for byte.
///
/// # Errors
/// See [`FailureCode`]; checkpoints that were saved before stay usable.
pub fn run<B: TrainingBackend>(
    job: &JobFile,
    device: &DeviceOf<B>,
    observer: &mut dyn TrainingObserver,
) -> Result<Outcome, Failure> {
    job.check()?;
    check_precision::<B>(job, device)?;
    let Prepared {
        mut session,
        prompt,
        lineage,
        info,
    } = prepare::<B>(job, device, observer)?;
    observer.started(&info);
    // Every checkpoint is saved after these.
    if job.resume_from.is_none() {
        evaluate(&mut session, observer)?;
        sample(&session, prompt.as_ref(), observer)?;
    }
    if !train(job, &mut session, prompt.as_ref(), observer)? {
        return Ok(Outcome::Stopped {
            step: session.progress().step,
        });
    }
    select_result(&mut session, observer);
    sample(&session, prompt.as_ref(), observer)?;
    artifact::write(job, &session, &lineage).map(Outcome::Completed)
}

/// Trains until the last step; returns false when the run was asked to stop before.
fn train<B: TrainingBackend>(
    job: &JobFile,
    session: &mut Session<B>,
    prompt: Option<&Prompt>,
    observer: &mut dyn TrainingObserver,
) -> Result<bool, Failure> {
    let hyperparameters = &job.spec.parameters;
    while !session.is_done() {
        if observer.stop_requested() {
            save(session, job, observer)?;
            return Ok(false);
        }
        let report = session.step()?;
        observer.step_completed(&report);
        fail::fail_point!("trainer.stepped");
        let due = |every: u32| every > 0 && report.step % every == 0;
        if due(hyperparameters.evaluate_every) || session.is_done() {
            evaluate(session, observer)?;
        }
        if due(hyperparameters.sample_every) && !session.is_done() {
            sample(session, prompt, observer)?;
        }
        if due(hyperparameters.checkpoint_every) || session.is_done() {
            save(session, job, observer)?;
        }
    }
    Ok(true)
}

/// Restores the best state where it is kept, and logs what the result is.
fn select_result<B: TrainingBackend>(session: &mut Session<B>, observer: &mut dyn TrainingObserver) {
    if session.progress().stopped_early {
        let (step, total) = (session.progress().step, session.steps().total);
        observer.log(
            LogLevel::Info,
            format!("early stopping after step {step} of {total}: evaluations no longer improved"),
        );
    }
    if let Some(best) = session.restore_best() {
        observer.log(
            LogLevel::Info,
            format!(
                "the result is the state after step {}, which has the best evaluation ({:.4})",
                best.step, best.loss
            ),
        );
    }
}

struct Prepared<B: TrainingBackend> {
    session: Session<B>,
    prompt: Option<Prompt>,
    lineage: Lineage,
    info: RunInfo,
}

fn prepare<B: TrainingBackend>(
    job: &JobFile,
    device: &DeviceOf<B>,
    observer: &mut dyn TrainingObserver,
) -> Result<Prepared<B>, Failure> {
    let resumed = resumable(job, observer)?;
    let (sources, dataset_hashes) = read_sources(job)?;
    let stored = resumed.as_deref().map(checkpoint::read_tokenizer).transpose()?;
    let ModelSetup {
        trainable,
        tokenizer,
        parameters,
        expected,
        size,
        base_hash,
    } = ModelSetup::<B>::new(job, &sources, stored, device)?;
    let hyperparameters = &job.spec.parameters;
    let corpus = Corpus::new(&sources, &tokenizer, &job.spec.objective, hyperparameters)?;
    for line in corpus.stats.warnings() {
        observer.log(LogLevel::Warn, line);
    }
    let lineage = Lineage {
        dataset_hashes,
        base_hash,
    };
    let prompt = prompt(job, &corpus, &tokenizer)?;
    let (train_tokens, evaluation_tokens) = (corpus.train_tokens(), corpus.evaluation_tokens());
    let fingerprint = lineage.fingerprint(job)?;
    let mut session = Session::new(
        hyperparameters.clone(),
        trainable,
        parameters,
        tokenizer,
        corpus,
        fingerprint,
    );
    if let Some(folder) = resumed {
        session.restore(checkpoint::read(&folder, &expected, device)?)?;
        checkpoint::remove_newer(&job.checkpoints(), &folder)?;
    }
    let info = RunInfo {
        total_steps: session.steps().total,
        resumed_step: session.progress().step,
        resumed_tokens: session.progress().tokens,
        parameters: size,
        trainable_parameters: session.parameters().count(),
        train_tokens,
        evaluation_tokens,
    };
    Ok(Prepared {
        session,
        prompt,
        lineage,
        info,
    })
}

/// The checkpoint to resume from. For a new training, checkpoints of earlier attempts are removed.
fn resumable(job: &JobFile, observer: &mut dyn TrainingObserver) -> Result<Option<PathBuf>, Failure> {
    let Some(requested) = &job.resume_from else {
        files::remove_folder(&job.checkpoints())?;
        return Ok(None);
    };
    let (folder, rejected) = checkpoint::newest_intact(requested)?;
    for failure in rejected {
        let name = folder.file_name().unwrap_or_default().display();
        observer.log(LogLevel::Warn, format!("{failure}; resuming from {name} instead"));
    }
    Ok(Some(folder))
}

fn read_sources(job: &JobFile) -> Result<(Vec<Source>, Vec<String>), Failure> {
    let read: Result<Vec<_>, _> = job.dataset_files.iter().map(Source::read).collect();
    Ok(read?.into_iter().unzip())
}

/// Rejects a precision that the device does not support.
fn check_precision<B: TrainingBackend>(job: &JobFile, device: &DeviceOf<B>) -> Result<(), Failure> {
    let name = B::InnerBackend::name(device);
    if job.spec.parameters.precision == Precision::Bf16 && !name.contains("cuda") {
        return Err(Failure::new(
            FailureCode::SpecInvalid,
            format!(
                "parameters.precision is bf16, which requires CUDA; this worker computes with {name}: choose \
                 f32, or a worker with a GPU"
            ),
        ));
    }
    Ok(())
}

/// The prompt of samples; `None` when no samples are requested.
fn prompt(job: &JobFile, corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Option<Prompt>, Failure> {
    let hyperparameters = &job.spec.parameters;
    if hyperparameters.sample_prompt.is_empty() || hyperparameters.sample_tokens == 0 {
        return Ok(None);
    }
    let text = hyperparameters.sample_prompt.clone();
    if corpus.is_chat() {
        let encoder = SampleEncoder::new(
            tokenizer,
            &job.spec.objective,
            hyperparameters.sequence_length as usize + 1,
        )?;
        return encoder.question(&text).map(Some);
    }
    let mut tokens = tokenizer.start().to_vec();
    tokens.extend(tokenizer.encode(&text)?);
    Ok(Some(Prompt { text, tokens }))
}

fn evaluate<B: TrainingBackend>(
    session: &mut Session<B>,
    observer: &mut dyn TrainingObserver,
) -> Result<(), Failure> {
    if session.can_evaluate() {
        observer.evaluation_completed(&session.evaluate()?);
    }
    Ok(())
}

fn sample<B: TrainingBackend>(
    session: &Session<B>,
    prompt: Option<&Prompt>,
    observer: &mut dyn TrainingObserver,
) -> Result<(), Failure> {
    if let Some(prompt) = prompt {
        let text = session.sample(prompt)?;
        observer.sample_generated(session.progress().step, &prompt.text, &text);
    }
    Ok(())
}

fn save<B: TrainingBackend>(
    session: &Session<B>,
    job: &JobFile,
    observer: &mut dyn TrainingObserver,
) -> Result<(), Failure> {
    let saved = session.checkpoint(&job.checkpoints())?;
    observer.checkpoint_saved(session.progress().step, &saved);
    Ok(())
}
