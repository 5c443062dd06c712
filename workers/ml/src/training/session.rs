//! A training in memory: data, network, optimizer and progress.
//!
//! Rule: [`Session::step`] and [`Session::restore_best`] alone change parameters.

use std::path::Path;

use super::{
    checkpoint::{self, Checkpoint, SavedCheckpoint},
    loss::{Targets, head_loss, summed_loss},
    optimizer::{AdamW, clip},
    progress::{Evaluation, Progress},
    schedule::learning_rate,
    trainable::{Trainable, TrainingBackend, hidden_states},
};
use crate::{
    autodiff_guard::AutodiffGuard,
    data::{
        Corpus,
        batch::{self, Batch},
        sample_encoder::Prompt,
        sampler::Sampler,
        tokenizer::Tokenizer,
    },
    failure::{Failure, FailureCode},
    inference::{Network, SamplingParams},
    model::ops::precision::dtype_of,
    parameters::ParameterSet,
    random::{Purpose, stream},
    spec::{HyperParameters, Steps},
};

/// Sampling parameters of generated samples.
const SAMPLE_TEMPERATURE: f64 = 0.8;
const SAMPLE_TOP_K: usize = 40;

/// Metrics of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Completed steps, including this one.
    pub step: u32,
    /// Mean cross-entropy in nats before the update.
    pub loss: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens processed by this step.
    pub tokens: u64,
}

/// A training in memory.
#[derive(Debug)]
pub struct Session<B: TrainingBackend> {
    hyperparameters: HyperParameters,
    steps: Steps,
    tokenizer: Tokenizer,
    trainable: Trainable<B>,
    sampler: Sampler,
    evaluation: Vec<Batch>,
    parameters: ParameterSet<B::InnerBackend>,
    /// The parameters at the best evaluation, where they are kept.
    best: Option<ParameterSet<B::InnerBackend>>,
    optimizer: AdamW<B::InnerBackend>,
    progress: Progress,
}

impl<B: TrainingBackend> Session<B> {
    /// A new training of `parameters`. `fingerprint` identifies specification and inputs.
    #[must_use]
    pub fn new(
        hyperparameters: HyperParameters,
        trainable: Trainable<B>,
        parameters: ParameterSet<B::InnerBackend>,
        tokenizer: Tokenizer,
        corpus: Corpus,
        fingerprint: String,
    ) -> Self {
        let (length, rows) = (
            hyperparameters.sequence_length as usize,
            hyperparameters.batch_size as usize,
        );
        let progress = Progress {
            step: 0,
            sequences: 0,
            tokens: 0,
            seed: hyperparameters.seed,
            fingerprint,
            loss: None,
            evaluations: Vec::new(),
            best: None,
            evaluations_since_best: 0,
            stopped_early: false,
        };
        let sampler = Sampler::new(corpus.train, &hyperparameters);
        Self {
            tokenizer,
            trainable,
            evaluation: batch::evaluation(&corpus.evaluation, length, rows),
            steps: hyperparameters.steps_for_dataset(sampler.sequences()),
            sampler,
            optimizer: AdamW::new(&parameters),
            parameters,
            best: None,
            progress,
            hyperparameters,
        }
    }

    /// Resumes from `checkpoint`.
    ///
    /// # Errors
    /// [`FailureCode::CheckpointMismatch`] when it belongs to another training.
    pub fn restore(&mut self, checkpoint: Checkpoint<B::InnerBackend>) -> Result<(), Failure> {
        if checkpoint.progress.fingerprint != self.progress.fingerprint {
            return Err(Failure::new(
                FailureCode::CheckpointMismatch,
                "the checkpoint belongs to another specification, dataset or base model; start a new training",
            ));
        }
        self.parameters = checkpoint.parameters;
        self.best = checkpoint.best;
        self.optimizer = checkpoint.optimizer;
        self.progress = checkpoint.progress;
        Ok(())
    }

    /// Its progress.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The trained parameters.
    #[must_use]
    pub fn parameters(&self) -> &ParameterSet<B::InnerBackend> {
        &self.parameters
    }

    /// What is trained.
    #[must_use]
    pub fn trainable(&self) -> &Trainable<B> {
        &self.trainable
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether all steps are complete, or early stopping has ended the training.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.progress.stopped_early || self.progress.step >= self.steps.total
    }

    /// Its number of steps.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.steps
    }

    /// Whether data is held out.
    #[must_use]
    pub fn can_evaluate(&self) -> bool {
        !self.evaluation.is_empty()
    }

    /// One update of the parameters.
    ///
    /// # Errors
    /// [`FailureCode::LossNotFinite`]; the parameters are then unchanged.
    pub fn step(&mut self) -> Result<StepReport, Failure> {
        let step = self.progress.step;
        let StepGradients {
            mut gradients,
            loss,
            tokens,
        } = {
            let batches = self.sampler.step(u64::from(step));
            self.gradients(step, &batches)?
        };
        let grad_norm = clip(&mut gradients, self.hyperparameters.clip_norm)?;
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
        let learning_rate = learning_rate(&self.hyperparameters, self.steps, step);
        self.optimizer.update(
            &mut self.parameters,
            gradients,
            learning_rate,
            self.hyperparameters.weight_decay,
            self.hyperparameters.adam,
        );
        self.progress.step += 1;
        self.progress.sequences += self.hyperparameters.sequences_per_step();
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

    /// The gradients of `step` and its mean loss over the target tokens of all `batches`. Each batch is weighted by
    /// its number of targets, as in `transformers` since 4.46, so splitting a batch into micro-batches changes
    /// nothing.
    fn gradients(&self, step: u32, batches: &[Batch]) -> Result<StepGradients<B>, Failure> {
        let guard = AutodiffGuard::acquire();
        let leaves = ParameterSet::<B>::leaves(&self.parameters, &guard);
        let target_count: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let mut sum = StepGradients {
            gradients: ParameterSet::default(),
            loss: 0.0,
            tokens: 0,
        };
        for (micro, batch) in batches.iter().enumerate() {
            sum.tokens += batch.inputs.len() as u64;
            if batch.targets.is_empty() {
                continue;
            }
            let share = batch.targets.len() as f64 / target_count as f64;
            // A separate graph per micro-batch: a backward pass consumes everything but the leaves.
            let network = self
                .trainable
                .training_network(&leaves.cast(dtype_of(self.hyperparameters.precision)))?;
            let (seed, step, micro) = (self.hyperparameters.seed, u64::from(step), micro as u64);
            let dropout = (
                self.trainable.dropout(),
                stream(seed, Purpose::Dropout, step, micro),
            );
            let states = hidden_states(&network, batch, Some(dropout));
            let targets = Targets {
                positions: &batch.target_positions,
                tokens: &batch.targets,
            };
            let learns = self.trainable.trains_head();
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

    /// Computes the mean loss on the held-out data and records it; requires [`Session::can_evaluate`].
    ///
    /// # Errors
    /// [`FailureCode::LossNotFinite`].
    pub fn evaluate(&mut self) -> Result<Evaluation, Failure> {
        let network = self.evaluation_network()?;
        let (mut sum, mut count) = (0.0, 0);
        for batch in &self.evaluation {
            let targets = Targets {
                positions: &batch.target_positions,
                tokens: &batch.targets,
            };
            sum += summed_loss(
                hidden_states(&network, batch, None),
                &network.model.head(),
                targets,
            )?;
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
        self.track_best(evaluation);
        Ok(evaluation)
    }

    /// The network with the current parameters.
    fn evaluation_network(&self) -> Result<Network<B::InnerBackend>, Failure> {
        self.trainable
            .evaluation_network(&self.parameters.cast(dtype_of(self.hyperparameters.precision)))
    }

    /// Compares `evaluation` with the best so far.
    fn track_best(&mut self, evaluation: Evaluation) {
        let stopping = self.hyperparameters.early_stopping;
        let needed = stopping.map_or(0.0, |stopping| stopping.min_delta);
        let before = self.progress.best.map_or(f64::INFINITY, |best| best.loss);
        if evaluation.loss < before - needed {
            self.progress.evaluations_since_best = 0;
        } else {
            self.progress.evaluations_since_best += 1;
        }
        if evaluation.loss < before {
            self.progress.best = Some(evaluation);
            self.best = self.hyperparameters.keep_best.then(|| self.parameters.clone());
        }
        self.progress.stopped_early =
            stopping.is_some_and(|stopping| self.progress.evaluations_since_best >= stopping.patience);
    }

    /// The first evaluation and that of the result: the best one where that is kept, else the last.
    #[must_use]
    pub fn reported_evaluations(&self) -> Option<(Evaluation, Evaluation)> {
        let Progress {
            evaluations, best, ..
        } = &self.progress;
        let result = if self.hyperparameters.keep_best {
            best.as_ref()
        } else {
            evaluations.last()
        };
        Some((*evaluations.first()?, *result?))
    }

    /// Restores the parameters of the best evaluation, where they are kept, and returns the evaluation. The training
    /// cannot continue afterwards.
    pub fn restore_best(&mut self) -> Option<Evaluation> {
        self.parameters = self.best.take()?;
        self.progress.best
    }

    /// The network's continuation of `prompt`.
    ///
    /// # Errors
    /// An internal failure.
    pub fn sample(&self, prompt: &Prompt) -> Result<String, Failure> {
        let network = self.evaluation_network()?;
        let choice = SamplingParams {
            temperature: SAMPLE_TEMPERATURE,
            top_k: SAMPLE_TOP_K,
            seed: self.hyperparameters.seed,
            ..SamplingParams::GREEDY
        };
        let length = self.hyperparameters.sample_tokens as usize;
        self.tokenizer
            .decode(&network.generate(&prompt.tokens, length, choice)?)
    }

    /// Writes a checkpoint to `folder`.
    ///
    /// # Errors
    /// [`FailureCode::DiskFull`] or an internal failure.
    pub fn checkpoint(&self, folder: &Path) -> Result<SavedCheckpoint, Failure> {
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

/// Gradients of a step, its loss and its number of tokens.
struct StepGradients<B: TrainingBackend> {
    gradients: ParameterSet<B::InnerBackend>,
    loss: f64,
    tokens: u64,
}
