//! A training in memory: data, network, optimiser and where it stands.
//!
//! Rule: [`Session::step`] is the only thing that changes parameters.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    checkpoint::{self, Checkpoint, Progress, Written},
    loss::{Targets, head_loss, summed_loss},
    optimizer::{AdamW, clip},
    schedule::learning_rate,
    task::{Task, TrainingBackend, hidden},
};
use crate::{
    data::{
        Corpus,
        batch::{self, Sampler},
        tokenizer::Tokenizer,
    },
    failure::{Failure, FailureCode},
    inference::Choice,
    parameters::ParameterSet,
    random::{Purpose, stream},
    spec::{Hyperparameters, Steps},
};

/// How samples are drawn: lively, yet the same for the same seed.
const SAMPLE_TEMPERATURE: f64 = 0.8;
const SAMPLE_TOP_K: usize = 40;

/// A look at the held-out share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done before it.
    pub step: u32,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u32,
    /// Mean cross-entropy in nats before the update.
    pub loss: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens seen by this step.
    pub tokens: u64,
}

/// A training in memory.
#[derive(Debug)]
pub struct Session<B: TrainingBackend> {
    chosen: Hyperparameters,
    steps: Steps,
    tokenizer: Tokenizer,
    task: Task<B>,
    sampler: Sampler,
    evaluation: Vec<batch::Batch>,
    parameters: ParameterSet<B::InnerBackend>,
    optimizer: AdamW<B::InnerBackend>,
    progress: Progress,
}

impl<B: TrainingBackend> Session<B> {
    /// A training of `parameters` at its very beginning. `fingerprint` names specification and inputs.
    #[must_use]
    pub fn new(
        chosen: Hyperparameters,
        task: Task<B>,
        parameters: ParameterSet<B::InnerBackend>,
        tokenizer: Tokenizer,
        corpus: Corpus,
        fingerprint: String,
    ) -> Self {
        let (length, rows) = (chosen.sequence_length as usize, chosen.batch_size as usize);
        let progress = Progress {
            step: 0,
            sequences: 0,
            tokens: 0,
            seed: chosen.seed,
            fingerprint,
            loss: None,
            evaluations: Vec::new(),
        };
        let sampler = Sampler::new(corpus.train, length);
        Self {
            tokenizer,
            task,
            evaluation: batch::evaluation(&corpus.evaluation, length, rows),
            steps: chosen.steps_over(sampler.sequences()),
            sampler,
            optimizer: AdamW::new(&parameters),
            parameters,
            progress,
            chosen,
        }
    }

    /// Goes on from `checkpoint`.
    ///
    /// # Errors
    /// [`FailureCode::CheckpointMismatch`] when it belongs to another training.
    pub fn restore(&mut self, checkpoint: Checkpoint<B::InnerBackend>) -> Result<(), Failure> {
        if checkpoint.progress.fingerprint != self.progress.fingerprint {
            return Err(Failure::new(
                FailureCode::CheckpointMismatch,
                "the checkpoint belongs to another specification, dataset or base model; start the training anew",
            ));
        }
        self.parameters = checkpoint.parameters;
        self.optimizer = checkpoint.optimizer;
        self.progress = checkpoint.progress;
        Ok(())
    }

    /// Where it stands.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is trained.
    #[must_use]
    pub fn parameters(&self) -> &ParameterSet<B::InnerBackend> {
        &self.parameters
    }

    /// What is trained, and as what.
    #[must_use]
    pub fn task(&self) -> &Task<B> {
        &self.task
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.progress.step >= self.steps.total
    }

    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.steps
    }

    /// Whether something is held out.
    #[must_use]
    pub fn can_evaluate(&self) -> bool {
        !self.evaluation.is_empty()
    }

    /// One update of the parameters.
    ///
    /// # Errors
    /// [`FailureCode::LossNotFinite`]; the parameters are then as before.
    pub fn step(&mut self) -> Result<StepReport, Failure> {
        let step = self.progress.step;
        let Gradients {
            mut gradients,
            loss,
            tokens,
        } = self.gradients(step)?;
        let grad_norm = clip(&mut gradients, self.chosen.clip_norm)?;
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return Err(Failure::new(
                FailureCode::LossNotFinite,
                format!(
                    "at step {} the loss is {loss} and the gradient {grad_norm}; lower the learning rate, lengthen \
                     the warm-up or set clip_norm to 1",
                    step + 1
                ),
            ));
        }
        let learning_rate = learning_rate(&self.chosen, self.steps, step);
        self.optimizer.update(
            &mut self.parameters,
            gradients,
            learning_rate,
            self.chosen.weight_decay,
        );
        self.progress.step += 1;
        self.progress.sequences +=
            u64::from(self.chosen.batch_size) * u64::from(self.chosen.gradient_accumulation);
        self.progress.tokens += tokens;
        self.progress.loss = Some(loss);
        Ok(StepReport {
            step: step + 1,
            loss,
            learning_rate,
            grad_norm,
            tokens,
        })
    }

    /// The gradients of `step`, averaged over its micro-batches, and the mean loss.
    fn gradients(&self, step: u32) -> Result<Gradients<B>, Failure> {
        let leaves = ParameterSet::<B>::leaves(&self.parameters);
        let network = self.task.differentiable(&leaves)?;
        let share = 1.0 / f64::from(self.chosen.gradient_accumulation);
        let mut sum = Gradients {
            gradients: ParameterSet::default(),
            loss: 0.0,
            tokens: 0,
        };
        for micro in 0..u64::from(self.chosen.gradient_accumulation) {
            let (seed, step) = (self.chosen.seed, u64::from(step));
            let batch = self
                .sampler
                .batch(self.chosen.batch_size as usize, seed, step, micro);
            let dropout = (self.task.dropout(), stream(seed, Purpose::Dropout, step, micro));
            let states = hidden(&network, &batch, Some(dropout));
            let targets = Targets {
                places: &batch.places,
                tokens: &batch.targets,
            };
            let result = head_loss(states, network.model.head(), self.task.head_learns(), targets)?;
            let found = result.surrogate.mul_scalar(share).backward();
            for (name, leaf) in leaves.iter() {
                if let Some(gradient) = leaf.grad(&found) {
                    let total = match sum.gradients.take(name) {
                        Some(total) => total + gradient,
                        None => gradient,
                    };
                    sum.gradients.insert(name, total);
                }
            }
            sum.loss += result.loss * share;
            sum.tokens += batch.inputs.len() as u64;
        }
        Ok(sum)
    }

    /// The mean loss on the held-out share, remembered; call only where [`Session::can_evaluate`].
    ///
    /// # Errors
    /// [`FailureCode::LossNotFinite`].
    pub fn evaluate(&mut self) -> Result<Evaluation, Failure> {
        let network = self.task.plain(&self.parameters)?;
        let (mut sum, mut count) = (0.0, 0);
        for batch in &self.evaluation {
            let targets = Targets {
                places: &batch.places,
                tokens: &batch.targets,
            };
            sum += summed_loss(hidden(&network, batch, None), &network.model.head(), targets)?;
            count += batch.targets.len();
        }
        let evaluation = Evaluation {
            step: self.progress.step,
            loss: sum / count as f64,
        };
        if !evaluation.loss.is_finite() {
            let message = format!(
                "the evaluation after step {} gave {}",
                evaluation.step, evaluation.loss
            );
            return Err(Failure::new(
                FailureCode::LossNotFinite,
                format!("{message}; lower the learning rate"),
            ));
        }
        self.progress.evaluations.push(evaluation);
        Ok(evaluation)
    }

    /// How the network continues `prompt`.
    ///
    /// # Errors
    /// An internal failure.
    pub fn sample(&self, prompt: &str) -> Result<String, Failure> {
        let network = self.task.plain(&self.parameters)?;
        let choice = Choice {
            temperature: SAMPLE_TEMPERATURE,
            top_k: SAMPLE_TOP_K,
            seed: self.chosen.seed,
        };
        let prompt = self.tokenizer.encode(prompt)?;
        self.tokenizer
            .decode(&network.generate(&prompt, self.chosen.sample_tokens as usize, choice)?)
    }

    /// Writes a checkpoint into `folder`.
    ///
    /// # Errors
    /// [`FailureCode::DiskFull`] or an internal failure.
    pub fn checkpoint(&self, folder: &Path) -> Result<Written, Failure> {
        let checkpoint = Checkpoint {
            progress: self.progress.clone(),
            parameters: self.parameters.clone(),
            optimizer: self.optimizer.clone(),
            tokenizer: self.tokenizer.clone(),
        };
        checkpoint::write(folder, &checkpoint)
    }
}

/// Gradients of a step with what they came from.
struct Gradients<B: TrainingBackend> {
    gradients: ParameterSet<B::InnerBackend>,
    loss: f64,
    tokens: u64,
}
