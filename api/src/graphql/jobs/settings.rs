//! How a training goes, as clients send it.
//!
//! One rule: what is not given takes the domain's default; what contradicts itself is passed on, and refused
//! there with everything else that is wrong.

use async_graphql::{Enum, InputObject, OneofObject};
use domain::jobs::spec::{self, HyperParameters};

use crate::graphql::scalars::Long;

/// Which biases of the base model are trained with an adapter.
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

/// Which tokens of chats and prompt-completion pairs are trained on. Plain text always trains on every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Learn {
    /// The assistant's messages (the completion) with their end token.
    Answers,
    /// The last assistant message only.
    LastAnswer,
    /// Every token.
    Everything,
}

/// Standard chat templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum StandardTemplate {
    /// The base model's template; the plain one if it has none.
    Model,
    /// One line `Role: content` per message.
    Plain,
}

/// Chat template: exactly one of these.
#[derive(OneofObject)]
pub enum ChatTemplateInput {
    /// The base model's template, or the plain one.
    Standard(StandardTemplate),
    /// One of the base model's named templates.
    Named(String),
    /// A custom template: Jinja as in `transformers`, at most 65,536 bytes.
    Custom(String),
}

/// Training objective. Omitted fields take their defaults.
#[derive(Default, InputObject)]
pub struct ObjectiveInput {
    /// Which tokens are trained on; default answers.
    pub learn: Option<Learn>,
    /// Chat template; the base model's if omitted.
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

/// Numeric precision of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// Base weights and activations in bfloat16, trained weights in 32 bits; requires a worker with CUDA.
    #[graphql(name = "BF_16")]
    Bf16,
}

/// Early stopping.
#[derive(InputObject)]
pub struct EarlyStoppingInput {
    /// Consecutive evaluations without improvement before stopping, 1 to 1,000.
    pub patience: u32,
    /// Minimum improvement of the evaluation loss, in nats, 0 to 10.
    #[graphql(default = 0.0)]
    pub min_delta: f64,
}

/// Learning rate schedule after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Schedule {
    /// Constant.
    Constant,
    /// Linear decay to the minimum.
    Linear,
    /// Cosine decay to the minimum.
    Cosine,
}

/// Hyperparameters. Omitted fields take their defaults.
#[derive(Default, InputObject)]
pub struct HyperParametersInput {
    /// Optimizer steps, from 1; default 200 if `epochs` is omitted too.
    pub steps: Option<u32>,
    /// Epochs instead of steps, above 0, at most 1,000.
    pub epochs: Option<f64>,
    /// Sequences per micro-batch, 1 to 1,024; default 8.
    pub batch_size: Option<u32>,
    /// Micro-batches per step, 1 to 1,024; default 1. The loss is the mean over the trained tokens of all of them.
    pub gradient_accumulation: Option<u32>,
    /// Peak learning rate, above 0, at most 1; default 0.001.
    pub learning_rate: Option<f64>,
    /// Learning rate schedule; default cosine.
    pub schedule: Option<Schedule>,
    /// What a falling rate falls to, as a share of the peak, 0 to 1; default 0.
    pub minimum_share: Option<f64>,
    /// Steps of linear warm-up, fewer than `steps`; default 10 if `warmupRatio` is omitted too.
    pub warmup_steps: Option<u32>,
    /// Warm-up as a fraction of all steps, 0 to 1.
    pub warmup_ratio: Option<f64>,
    /// Decoupled weight decay, 0 to 1; default 0.01.
    pub weight_decay: Option<f64>,
    /// AdamW's beta1, 0 to below 1; default 0.9.
    pub adam_beta1: Option<f64>,
    /// AdamW's beta2, 0 to below 1; default 0.999.
    pub adam_beta2: Option<f64>,
    /// AdamW's epsilon, above 0, at most 1; default 1e-8.
    pub adam_epsilon: Option<f64>,
    /// Maximum global gradient norm, above 0; default 1.
    pub clip_norm: Option<f64>,
    /// Tokens per sequence, 8 to 131,072, at most the context; default 128. Longer samples are truncated.
    pub sequence_length: Option<u32>,
    /// Whether to pack several samples into a sequence, masked from each other; default false.
    pub packing: Option<bool>,
    /// Numeric precision; default 32-bit floats.
    pub precision: Option<Precision>,
    /// Fraction of the data held out for evaluation, 0 to 0.5; default 0.05.
    pub evaluation_share: Option<f64>,
    /// Steps between evaluations, 0 for only at the end; default 50.
    pub evaluate_every: Option<u32>,
    /// Early stopping; off if omitted.
    pub early_stopping: Option<EarlyStoppingInput>,
    /// Whether to keep the checkpoint with the best evaluation instead of the last; default false.
    pub keep_best: Option<bool>,
    /// Steps between checkpoints, from 1; default 50.
    pub checkpoint_every: Option<u32>,
    /// Seed of everything random, below 2^53; default 1.
    pub seed: Option<Long>,
    /// Prompt for generated samples, at most 1,000 characters.
    pub sample_prompt: Option<String>,
    /// Tokens of each sample, 0 to 512; default 64.
    pub sample_tokens: Option<u32>,
    /// Steps between samples, 0 for only before and after; default 0.
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
