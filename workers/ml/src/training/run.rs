//! A job from its file to its artefact.
//!
//! Rule: the order of evaluation, checkpoint and stop after a step is fixed, so that a resumed job repeats
//! none and misses none.

use burn::tensor::backend::Backend;

use super::{
    checkpoint::{self, Written},
    session::{Evaluation, Session, StepReport},
    task::{Task, TrainingBackend},
};
use crate::{
    artifact::{self, Artifact},
    data::{
        Corpus,
        documents::{Prompt, Writer},
        source::Source,
        tokenizer::Tokenizer,
    },
    failure::{Failure, FailureCode},
    files,
    job::JobFile,
    lora, memory,
    message::LogLevel,
    model::{
        config::{Gpt2Config, ModelConfig},
        folder,
    },
    parameters::ParameterSet,
    spec::{Method, Precision},
    tensor_file::Expected,
};

/// Who looks on. Every method is called in the order things happen, from the thread that trains.
pub trait Watcher {
    /// All is loaded.
    fn started(&mut self, facts: &Facts);
    /// A step was done.
    fn stepped(&mut self, report: &StepReport);
    /// The held-out share was looked at.
    fn evaluated(&mut self, evaluation: &Evaluation);
    /// The model wrote `text` after `prompt`.
    fn sampled(&mut self, step: u32, prompt: &str, text: &str);
    /// A checkpoint was written.
    fn saved(&mut self, step: u32, written: &Written);
    /// Something for the log.
    fn noted(&mut self, level: LogLevel, message: String);
    /// Asked before each step: whether to write a checkpoint and stop.
    fn wants_stop(&self) -> bool;
}

/// What is known when training begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Steps of the whole training.
    pub total_steps: u32,
    /// Steps done by the checkpoint; 0 for a new training.
    pub resumed_step: u32,
    /// Tokens seen by those steps.
    pub resumed_tokens: u64,
    /// Numbers in the model.
    pub parameters: u64,
    /// Numbers that are trained.
    pub trainable_parameters: u64,
    /// Tokens to learn from.
    pub train_tokens: u64,
    /// Tokens held out.
    pub evaluation_tokens: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done and the artefact is written.
    Completed(Artifact),
    /// It was asked to stop and has written a checkpoint.
    Stopped {
        /// Steps done.
        step: u32,
    },
}

/// Does `job` on `device`. Repeating it with the same inputs gives the same artefact, byte for byte.
///
/// # Errors
/// What the [`FailureCode`] says; a checkpoint written before stays usable.
pub fn run<B: TrainingBackend>(
    job: &JobFile,
    device: &<B::InnerBackend as burn::tensor::backend::BackendTypes>::Device,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, Failure> {
    job.check()?;
    check_precision::<B>(job, device)?;
    let Prepared {
        mut session,
        prompt,
        lineage,
        facts,
    } = prepare::<B>(job, device, watcher)?;
    watcher.started(&facts);
    let chosen = &job.spec.hyperparameters;
    // A checkpoint is never older than these.
    if job.resume_from.is_none() {
        evaluate(&mut session, watcher)?;
        sample(&session, prompt.as_ref(), watcher)?;
    }
    while !session.is_done() {
        if watcher.wants_stop() {
            save(&session, job, watcher)?;
            return Ok(Outcome::Stopped {
                step: session.progress().step,
            });
        }
        let report = session.step()?;
        watcher.stepped(&report);
        fail::fail_point!("trainer.stepped");
        let due = |every: u32| every > 0 && report.step % every == 0;
        if due(chosen.eval_every) || session.is_done() {
            evaluate(&mut session, watcher)?;
        }
        if due(chosen.sample_every) && !session.is_done() {
            sample(&session, prompt.as_ref(), watcher)?;
        }
        if due(chosen.checkpoint_every) || session.is_done() {
            save(&session, job, watcher)?;
        }
    }
    if session.progress().stopped_early {
        let (step, total) = (session.progress().step, session.steps().total);
        watcher.noted(
            LogLevel::Info,
            format!("early stopping after step {step} of {total}: evaluations got no better"),
        );
    }
    if let Some(best) = session.take_best() {
        watcher.noted(
            LogLevel::Info,
            format!(
                "the result is the state after step {}, whose evaluation was best ({:.4})",
                best.step, best.loss
            ),
        );
    }
    sample(&session, prompt.as_ref(), watcher)?;
    artifact::write(job, &session, &lineage).map(Outcome::Completed)
}

struct Prepared<B: TrainingBackend> {
    session: Session<B>,
    prompt: Option<Prompt>,
    lineage: artifact::Lineage,
    facts: Facts,
}

fn prepare<B: TrainingBackend>(
    job: &JobFile,
    device: &<B::InnerBackend as burn::tensor::backend::BackendTypes>::Device,
    watcher: &mut dyn Watcher,
) -> Result<Prepared<B>, Failure> {
    let resumed = resumable(job, watcher)?;
    let (sources, dataset_hashes) = read_sources(job)?;
    let stored = resumed.as_deref().map(checkpoint::read_tokenizer).transpose()?;
    let Basis {
        task,
        tokenizer,
        parameters,
        expected,
        size,
        base_hash,
    } = Basis::<B>::of(job, &sources, stored, device)?;
    let chosen = &job.spec.hyperparameters;
    let corpus = Corpus::new(&sources, &tokenizer, &job.spec.objective, chosen)?;
    for line in corpus.tally.lines() {
        watcher.noted(LogLevel::Warn, line);
    }
    let lineage = artifact::Lineage {
        dataset_hashes,
        base_hash,
    };
    let prompt = prompt(job, &corpus, &tokenizer)?;
    let (train_tokens, evaluation_tokens) = (corpus.train_tokens(), corpus.evaluation_tokens());
    let fingerprint = lineage.fingerprint(job)?;
    let mut session = Session::new(chosen.clone(), task, parameters, tokenizer, corpus, fingerprint);
    if let Some(folder) = resumed {
        session.restore(checkpoint::read(&folder, &expected, device)?)?;
        checkpoint::remove_newer(&job.checkpoints(), &folder)?;
    }
    let facts = Facts {
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
        facts,
    })
}

/// The checkpoint to go on from. Without one, what an earlier attempt left behind is removed.
fn resumable(job: &JobFile, watcher: &mut dyn Watcher) -> Result<Option<std::path::PathBuf>, Failure> {
    let Some(wanted) = &job.resume_from else {
        files::remove_folder(&job.checkpoints())?;
        return Ok(None);
    };
    let (folder, refused) = checkpoint::newest_whole(wanted)?;
    for failure in refused {
        let name = folder.file_name().unwrap_or_default().display();
        watcher.noted(LogLevel::Warn, format!("{failure}; going on from {name} instead"));
    }
    Ok(Some(folder))
}

fn read_sources(job: &JobFile) -> Result<(Vec<Source>, Vec<String>), Failure> {
    let read: Result<Vec<_>, _> = job.dataset_files.iter().map(Source::read).collect();
    Ok(read?.into_iter().unzip())
}

/// What is trained, before any data is tokenised.
struct Basis<B: TrainingBackend> {
    task: Task<B>,
    tokenizer: Tokenizer,
    parameters: ParameterSet<B::InnerBackend>,
    expected: Vec<Expected>,
    /// Numbers in the whole model.
    size: u64,
    base_hash: Option<String>,
}

impl<B: TrainingBackend> Basis<B> {
    fn of(
        job: &JobFile,
        sources: &[Source],
        stored: Option<Tokenizer>,
        device: &<B::InnerBackend as burn::tensor::backend::BackendTypes>::Device,
    ) -> Result<Self, Failure> {
        let seed = job.spec.hyperparameters.seed;
        let missing = || {
            Failure::new(
                FailureCode::SpecInvalid,
                "the specification lacks the part of its method",
            )
        };
        if let (true, Some(folder)) = (job.spec.method.needs_base(), &job.base_model_dir) {
            // What is trained keeps 32 bits; what is frozen has those that the network computes in.
            let floats = match job.spec.method {
                Method::Lora => job.spec.hyperparameters.precision.floats(),
                Method::Full | Method::Scratch => Precision::F32.floats(),
            };
            let config = folder::config(folder)?;
            let (whole, plan) = (count(&config.tensors()), job.spec.lora.as_ref());
            match plan
                .map(|settings| lora::Plan::new(&config, settings))
                .transpose()?
            {
                Some(plan) => enough_memory(job, &config, count(&plan.tensors()), whole)?,
                None => enough_memory(job, &config, whole, 0)?,
            }
            let base = folder::load_as::<B::InnerBackend>(folder, floats, device)?;
            let length = job.spec.hyperparameters.sequence_length as usize;
            if length > base.config.context() {
                return Err(Failure::new(
                    FailureCode::SpecInvalid,
                    format!(
                        "sequence_length is {length}; the base model sees at most {} tokens",
                        base.config.context()
                    ),
                ));
            }
            if job.spec.method == Method::Full {
                return Ok(Self {
                    expected: base.config.tensors(),
                    size: base.parameters.count(),
                    task: Task::Whole { config: base.config },
                    tokenizer: base.tokenizer,
                    parameters: base.parameters,
                    base_hash: Some(base.sha256),
                });
            }
            let settings = job.spec.lora.as_ref().ok_or_else(missing)?;
            let plan = lora::Plan::new(&base.config, settings)?;
            let parameters = lora::initial(&plan, &base.parameters, &base.config, seed, device)?;
            let size = base.parameters.count() + parameters.count();
            return Ok(Self {
                expected: plan.tensors(),
                task: Task::lora(base.config, settings.clone(), base.parameters)?,
                tokenizer: base.tokenizer,
                parameters,
                size,
                base_hash: Some(base.sha256),
            });
        }
        let shape = job.spec.architecture.as_ref().ok_or_else(missing)?;
        let tokenizer = match stored {
            Some(tokenizer) => tokenizer,
            None => {
                let texts: Vec<String> = sources.iter().flat_map(Source::texts).collect();
                let lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
                Tokenizer::train(lines, shape.vocab_size as usize)?
            }
        };
        let config: ModelConfig = Gpt2Config::of(shape, tokenizer.size(), tokenizer.end_of_text()).into();
        enough_memory(job, &config, count(&config.tensors()), 0)?;
        let parameters = folder::initial(&config, seed, device);
        Ok(Self {
            expected: config.tensors(),
            size: parameters.count(),
            task: Task::Whole { config },
            tokenizer,
            parameters,
            base_hash: None,
        })
    }
}

/// How many numbers there are in `tensors`.
fn count(tensors: &[Expected]) -> u64 {
    tensors
        .iter()
        .map(|(_, [rows, columns])| (rows * columns) as u64)
        .sum()
}

/// Refuses a training that cannot fit, before anything of its model is made.
fn enough_memory(job: &JobFile, config: &ModelConfig, trained: u64, frozen: u64) -> Result<(), Failure> {
    let needed = memory::needed(config, trained, frozen, &job.spec.hyperparameters);
    match memory::available(job.device) {
        Some(available) => memory::check(needed, available),
        None => Ok(()),
    }
}

/// Refuses numbers that the device does not compute with.
fn check_precision<B: TrainingBackend>(
    job: &JobFile,
    device: &<B::InnerBackend as burn::tensor::backend::BackendTypes>::Device,
) -> Result<(), Failure> {
    let name = B::InnerBackend::name(device);
    if job.spec.hyperparameters.precision == Precision::Bf16 && !name.contains("cuda") {
        return Err(Failure::new(
            FailureCode::SpecInvalid,
            format!(
                "hyperparameters.precision is bf16, which is for CUDA; this worker computes with {name}: choose f32, \
                 or a worker with a GPU"
            ),
        ));
    }
    Ok(())
}

/// What samples continue; `None` when none are asked for.
fn prompt(job: &JobFile, corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Option<Prompt>, Failure> {
    let chosen = &job.spec.hyperparameters;
    if chosen.sample_prompt.is_empty() || chosen.sample_tokens == 0 {
        return Ok(None);
    }
    let text = chosen.sample_prompt.clone();
    if corpus.is_chat() {
        let writer = Writer::new(
            tokenizer,
            &job.spec.objective,
            chosen.sequence_length as usize + 1,
        )?;
        return writer.question(&text).map(Some);
    }
    let mut tokens = tokenizer.start().to_vec();
    tokens.extend(tokenizer.encode(&text)?);
    Ok(Some(Prompt { text, tokens }))
}

fn evaluate<B: TrainingBackend>(session: &mut Session<B>, watcher: &mut dyn Watcher) -> Result<(), Failure> {
    if session.can_evaluate() {
        watcher.evaluated(&session.evaluate()?);
    }
    Ok(())
}

fn sample<B: TrainingBackend>(
    session: &Session<B>,
    prompt: Option<&Prompt>,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    if let Some(prompt) = prompt {
        let text = session.sample(prompt)?;
        watcher.sampled(session.progress().step, &prompt.text, &text);
    }
    Ok(())
}

fn save<B: TrainingBackend>(
    session: &Session<B>,
    job: &JobFile,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    let written = session.checkpoint(&job.checkpoints())?;
    watcher.saved(session.progress().step, &written);
    Ok(())
}
