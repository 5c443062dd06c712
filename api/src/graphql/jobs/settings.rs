//! How a training goes, as clients send it.
//!
//! One rule: what is not given takes the domain's default; what contradicts itself is passed on, and refused
//! there with everything else that is wrong.

use async_graphql::{Enum, InputObject, OneofObject};
use domain::jobs::spec::{self, HyperParameters};

use crate::graphql::scalars::Long;

/// Which biases of the base learn with an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum LoraBias {
    /// None.
    None,
    /// All of them.
    All,
    /// Those of the layers that get adapters.
    LoraOnly,
}

impl From<LoraBias> for spec::LoraBias {
    fn from(bias: LoraBias) -> Self {
        match bias {
            LoraBias::None => Self::None,
            LoraBias::All => Self::All,
            LoraBias::LoraOnly => Self::LoraOnly,
        }
    }
}

/// Which tokens of conversations, and of prompts with completions, are learnt. Of text it is always every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Learn {
    /// What the assistant says (the completion), and where it ends.
    Answers,
    /// Of a conversation the last answer only.
    LastAnswer,
    /// Every token.
    Everything,
}

/// A way to write conversations that needs no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum StandardTemplate {
    /// The base model's own; the plain one where it has none.
    Model,
    /// `Role: content` on lines of their own.
    Plain,
}

/// How conversations are written as text: exactly one of these.
#[derive(OneofObject)]
pub enum ChatTemplateInput {
    /// The base model's own, or the plain one.
    Standard(StandardTemplate),
    /// One of the base model's several, by its name.
    Named(String),
    /// This one: Jinja as `transformers` reads it, at most 65,536 bytes.
    Custom(String),
}

/// What of the samples is learnt. What is not given takes the default.
#[derive(Default, InputObject)]
pub struct ObjectiveInput {
    /// Which tokens are learnt; answers if not given.
    pub learn: Option<Learn>,
    /// How conversations are written as text; as the base model does if not given.
    pub chat_template: Option<ChatTemplateInput>,
}

impl From<ObjectiveInput> for spec::Objective {
    fn from(given: ObjectiveInput) -> Self {
        Self {
            learn: match given.learn {
                None | Some(Learn::Answers) => spec::Learn::Answers,
                Some(Learn::LastAnswer) => spec::Learn::LastAnswer,
                Some(Learn::Everything) => spec::Learn::Everything,
            },
            chat_template: match given.chat_template {
                None | Some(ChatTemplateInput::Standard(StandardTemplate::Model)) => {
                    spec::ChatTemplate::Model
                }
                Some(ChatTemplateInput::Standard(StandardTemplate::Plain)) => spec::ChatTemplate::Plain,
                Some(ChatTemplateInput::Named(name)) => spec::ChatTemplate::Named(name),
                Some(ChatTemplateInput::Custom(source)) => spec::ChatTemplate::Custom(source),
            },
        }
    }
}

/// In which numbers a network is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// The base and activations in bfloat16, what is trained in 32 bits; only workers with CUDA do that.
    #[graphql(name = "BF_16")]
    Bf16,
}

/// When a training ends before its last step.
#[derive(InputObject)]
pub struct EarlyStoppingInput {
    /// Evaluations in a row without a better one, 1 to 1,000.
    pub patience: u32,
    /// Nats by which a better one must be below the best so far, 0 to 10.
    #[graphql(default = 0.0)]
    pub min_delta: f64,
}

/// How the learning rate moves after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls in a straight line to its minimum.
    Linear,
    /// Falls along half a cosine to its minimum.
    Cosine,
}

/// Hyper-parameters. What is not given takes the default.
#[derive(Default, InputObject)]
pub struct HyperParametersInput {
    /// Optimiser steps, from 1; 200 if neither these nor epochs are given.
    pub steps: Option<u32>,
    /// Passes over the data instead of steps, above 0, at most 1,000. Each sees every sample once.
    pub epochs: Option<f64>,
    /// Sequences per micro-batch, 1 to 1,024; 8 if not given.
    pub batch_size: Option<u32>,
    /// Micro-batches per step, 1 to 1,024; 1 if not given. The loss is the mean over the learnt tokens of all.
    pub gradient_accumulation: Option<u32>,
    /// Peak learning rate, above 0, at most 1; 0.001 if not given.
    pub learning_rate: Option<f64>,
    /// How the rate moves; along a cosine if not given.
    pub schedule: Option<Schedule>,
    /// What a falling rate falls to, as a share of the peak, 0 to 1; 0 if not given.
    pub minimum_share: Option<f64>,
    /// Steps of linear warm-up, fewer than steps; 10 if neither these nor a ratio are given.
    pub warmup_steps: Option<u32>,
    /// The same as a share of all steps, 0 to 1.
    pub warmup_ratio: Option<f64>,
    /// Decoupled weight decay, 0 to 1; 0.01 if not given.
    pub weight_decay: Option<f64>,
    /// AdamW's decay of the running mean of gradients, 0 to below 1; 0.9 if not given.
    pub adam_beta1: Option<f64>,
    /// AdamW's decay of the running mean of their squares, 0 to below 1; 0.999 if not given.
    pub adam_beta2: Option<f64>,
    /// What AdamW adds to the denominator, above 0, at most 1; 1e-8 if not given.
    pub adam_epsilon: Option<f64>,
    /// The global gradient norm is cut to this, above 0; 1 if not given.
    pub clip_norm: Option<f64>,
    /// Tokens per sequence, 8 to 131,072, at most the context; 128 if not given. Longer samples are cut.
    pub sequence_length: Option<u32>,
    /// Whether several samples share a sequence, without seeing each other; false if not given.
    pub packing: Option<bool>,
    /// In which numbers the network is computed; 32-bit floats if not given.
    pub precision: Option<Precision>,
    /// Share of the data held back for evaluation, 0 to 0.5; 0.05 if not given.
    pub evaluation_share: Option<f64>,
    /// Steps between evaluations, 0 for only at the end; 50 if not given.
    pub evaluate_every: Option<u32>,
    /// Ends the training when evaluations get no better; never if not given.
    pub early_stopping: Option<EarlyStoppingInput>,
    /// Whether the result is the state of the best evaluation rather than the last; false if not given.
    pub keep_best: Option<bool>,
    /// Steps between checkpoints, from 1; 50 if not given.
    pub checkpoint_every: Option<u32>,
    /// Seed of everything random, below 2^53; 1 if not given.
    pub seed: Option<Long>,
    /// Prompt of the samples before and after, at most 1,000 characters.
    pub sample_prompt: Option<String>,
    /// Tokens of each sample, 0 to 512; 64 if not given.
    pub sample_tokens: Option<u32>,
    /// Steps between samples, 0 for only before and after; 0 if not given.
    pub sample_every: Option<u32>,
}

impl From<HyperParametersInput> for HyperParameters {
    fn from(given: HyperParametersInput) -> Self {
        given.over(Self::default())
    }
}

impl HyperParametersInput {
    /// What is given here, and `default` for the rest.
    #[must_use]
    pub fn over(self, default: HyperParameters) -> HyperParameters {
        let given = self;
        // What was not asked for makes way for what excludes it; both asked for are refused later.
        let (steps, epochs) = match (given.steps, given.epochs) {
            (None, None) => (default.steps, default.epochs),
            (steps, epochs) => (steps.unwrap_or(0), epochs),
        };
        let (warmup_steps, warmup_ratio) = match (given.warmup_steps, given.warmup_ratio) {
            (None, None) => (default.warmup_steps, default.warmup_ratio),
            (steps, ratio) => (steps.unwrap_or(0), ratio),
        };
        HyperParameters {
            steps,
            epochs,
            batch_size: given.batch_size.unwrap_or(default.batch_size),
            gradient_accumulation: given
                .gradient_accumulation
                .unwrap_or(default.gradient_accumulation),
            learning_rate: given.learning_rate.unwrap_or(default.learning_rate),
            schedule: match given.schedule {
                Some(Schedule::Constant) => spec::Schedule::Constant,
                Some(Schedule::Linear) => spec::Schedule::Linear,
                Some(Schedule::Cosine) => spec::Schedule::Cosine,
                None => default.schedule,
            },
            minimum_share: given.minimum_share.unwrap_or(default.minimum_share),
            warmup_steps,
            warmup_ratio,
            weight_decay: given.weight_decay.unwrap_or(default.weight_decay),
            adam: spec::Adam {
                beta_1: given.adam_beta1.unwrap_or(default.adam.beta_1),
                beta_2: given.adam_beta2.unwrap_or(default.adam.beta_2),
                epsilon: given.adam_epsilon.unwrap_or(default.adam.epsilon),
            },
            clip_norm: given.clip_norm.unwrap_or(default.clip_norm),
            sequence_length: given.sequence_length.unwrap_or(default.sequence_length),
            packing: given.packing.unwrap_or(default.packing),
            precision: match given.precision {
                Some(Precision::F32) => spec::Precision::F32,
                Some(Precision::Bf16) => spec::Precision::Bf16,
                None => default.precision,
            },
            evaluation_share: given.evaluation_share.unwrap_or(default.evaluation_share),
            evaluate_every: given.evaluate_every.unwrap_or(default.evaluate_every),
            early_stopping: given
                .early_stopping
                .map(|stopping| spec::EarlyStopping {
                    patience: stopping.patience,
                    min_delta: stopping.min_delta,
                })
                .or(default.early_stopping),
            keep_best: given.keep_best.unwrap_or(default.keep_best),
            checkpoint_every: given.checkpoint_every.unwrap_or(default.checkpoint_every),
            seed: given.seed.map_or(default.seed, |seed| seed.0),
            sample_prompt: given.sample_prompt.unwrap_or(default.sample_prompt),
            sample_tokens: given.sample_tokens.unwrap_or(default.sample_tokens),
            sample_every: given.sample_every.unwrap_or(default.sample_every),
        }
    }
}
