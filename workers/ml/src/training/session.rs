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
        batch::{self, Batch},
        documents::Prompt,
        sampler::Sampler,
        tokenizer::Tokenizer,
    },
    failure::{Failure, FailureCode},
    graphs::Turn,
    inference::{Choice, Network},
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
    evaluation: Vec<Batch>,
    parameters: ParameterSet<B::InnerBackend>,
    /// What they were at the best evaluation, where that is kept.
    best: Option<ParameterSet<B::InnerBackend>>,
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
            best: None,
            without_progress: 0,
            stopped_early: false,
        };
        let sampler = Sampler::new(corpus.train, &chosen);
        Self {
            tokenizer,
            task,
            evaluation: batch::evaluation(&corpus.evaluation, length, rows),
            steps: chosen.steps_over(sampler.sequences()),
            sampler,
            optimizer: AdamW::new(&parameters),
            parameters,
            best: None,
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
        self.best = checkpoint.best;
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

    /// Whether all steps are done, or early stopping has ended them.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.progress.stopped_early || self.progress.step >= self.steps.total
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
        } = {
            let batches = self.sampler.step(u64::from(step));
            self.gradients(step, &batches)?
        };
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
            self.chosen.adam,
        );
        self.progress.step += 1;
        self.progress.sequences += self.chosen.sequences_per_step();
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

    /// The gradients of `step` and its mean loss over the learnt tokens of all its `batches`: each counts by how
    /// many it has, as in `transformers` since 4.46, so that cutting a batch into micro-batches changes nothing.
    fn gradients(&self, step: u32, batches: &[Batch]) -> Result<Gradients<B>, Failure> {
        let turn = Turn::wait();
        let leaves = ParameterSet::<B>::leaves(&self.parameters, &turn);
        let learnt: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let mut sum = Gradients {
            gradients: ParameterSet::default(),
            loss: 0.0,
            tokens: 0,
        };
        for (micro, batch) in batches.iter().enumerate() {
            sum.tokens += batch.inputs.len() as u64;
            if batch.targets.is_empty() {
                continue;
            }
            let share = batch.targets.len() as f64 / learnt as f64;
            // A graph of its own: going back through it uses up all but the leaves.
            let network = self
                .task
                .differentiable(&leaves.cast(self.chosen.precision.floats()))?;
            let (seed, step, micro) = (self.chosen.seed, u64::from(step), micro as u64);
            let dropout = (self.task.dropout(), stream(seed, Purpose::Dropout, step, micro));
            let states = hidden(&network, batch, Some(dropout));
            let targets = Targets {
                places: &batch.places,
                tokens: &batch.targets,
            };
            let learns = self.task.head_learns();
            let result = head_loss(states, network.model.head(), learns, targets, share)?;
            let found = result.surrogate.backward();
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
        }
        Ok(sum)
    }

    /// The mean loss on the held-out share, remembered; call only where [`Session::can_evaluate`].
    ///
    /// # Errors
    /// [`FailureCode::LossNotFinite`].
    pub fn evaluate(&mut self) -> Result<Evaluation, Failure> {
        let network = self.plain()?;
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
        self.judge(evaluation);
        Ok(evaluation)
    }

    /// The network as it is now.
    fn plain(&self) -> Result<Network<B::InnerBackend>, Failure> {
        self.task
            .plain(&self.parameters.cast(self.chosen.precision.floats()))
    }

    /// Compares `evaluation` with the best so far.
    fn judge(&mut self, evaluation: Evaluation) {
        let stopping = self.chosen.early_stopping;
        let needed = stopping.map_or(0.0, |stopping| stopping.min_delta);
        let before = self.progress.best.map_or(f64::INFINITY, |best| best.loss);
        if evaluation.loss < before - needed {
            self.progress.without_progress = 0;
        } else {
            self.progress.without_progress += 1;
        }
        if evaluation.loss < before {
            self.progress.best = Some(evaluation);
            self.best = self.chosen.keep_best.then(|| self.parameters.clone());
        }
        self.progress.stopped_early =
            stopping.is_some_and(|stopping| self.progress.without_progress >= stopping.patience);
    }

    /// The first evaluation and that of the result: the best one where that is kept, else the last.
    #[must_use]
    pub fn judged(&self) -> Option<(Evaluation, Evaluation)> {
        let Progress {
            evaluations, best, ..
        } = &self.progress;
        let result = if self.chosen.keep_best {
            best.as_ref()
        } else {
            evaluations.last()
        };
        Some((*evaluations.first()?, *result?))
    }

    /// Goes back to the state of the best evaluation, where that is kept; tells which it is. Nothing is trained
    /// after that.
    pub fn take_best(&mut self) -> Option<Evaluation> {
        self.parameters = self.best.take()?;
        self.progress.best
    }

    /// How the network continues `prompt`.
    ///
    /// # Errors
    /// An internal failure.
    pub fn sample(&self, prompt: &Prompt) -> Result<String, Failure> {
        let network = self.plain()?;
        let choice = Choice {
            temperature: SAMPLE_TEMPERATURE,
            top_k: SAMPLE_TOP_K,
            seed: self.chosen.seed,
            ..Choice::GREEDY
        };
        let length = self.chosen.sample_tokens as usize;
        self.tokenizer
            .decode(&network.generate(&prompt.tokens, length, choice)?)
    }

    /// Writes a checkpoint into `folder`.
    ///
    /// # Errors
    /// [`FailureCode::DiskFull`] or an internal failure.
    pub fn checkpoint(&self, folder: &Path) -> Result<Written, Failure> {
        let checkpoint = Checkpoint {
            progress: self.progress.clone(),
            parameters: self.parameters.clone(),
            best: self.best.clone(),
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
