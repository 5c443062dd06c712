//! What a training job is asked to do, whether that makes sense, and how much memory it takes (JB-1).
//!
//! The server records it, workers pass it on, and the training engine runs it: one type, one validation, one estimate.
//! Validation names every problem at once; nothing of it depends on anything but the specification itself. One rule: a
//! field that is added later is left out of the JSON while it has its default, so that what was recorded before keeps
//! its bytes.

pub mod memory;
mod parameters;
pub mod shape;
mod unknown;
mod validate;

pub use parameters::{Adam, EarlyStopping, HyperParameters, MAX_STEPS, Precision, Schedule, Steps};
use payload::Leaves;
use serde::{Deserialize, Serialize};
pub use unknown::unknown_fields;
pub use validate::{SpecProblem, SpecProblems};

/// How weights are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Method {
    /// A new GPT-2 with a byte-level BPE tokenizer, both made from the dataset.
    Scratch(Architecture),
    /// A low-rank adapter on a frozen base model (Hu et al., 2021, arXiv:2106.09685).
    Lora(Lora),
    /// All weights of a base model.
    Full,
}

impl Method {
    /// Its stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scratch(_) => "scratch",
            Self::Lora(_) => "lora",
            Self::Full => "full",
        }
    }

    /// Whether it starts from a base model.
    #[must_use]
    pub fn needs_base(&self) -> bool {
        !matches!(self, Self::Scratch(_))
    }
}

/// The shape of a new GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Architecture {
    /// Transformer blocks, 1 to 48.
    pub layers: u32,
    /// Attention heads, 1 to 64; must divide `width`.
    pub heads: u32,
    /// Width of the residual stream, 16 to 2,048.
    pub width: u32,
    /// Positions that the model can see, 16 to 4,096 tokens.
    pub context: u32,
    /// Size of the vocabulary, 260 to 65,536 tokens.
    pub vocabulary: u32,
}

/// The word in [`Lora::target_modules`] that stands for every linear layer but the head.
pub const ALL_LINEAR: &str = "all-linear";

/// The shape of an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Lora {
    /// Rank, 1 to 256.
    pub rank: u32,
    /// Scale: updates are multiplied by `alpha / rank`; above 0, at most 1,024.
    pub alpha: f64,
    /// Share of adapter inputs dropped while training, 0 to below 1.
    pub dropout: f64,
    /// Which linear layers get adapters, by the names of the base model (`c_attn`, `q_proj`, `mlp.down_proj`),
    /// or [`ALL_LINEAR`] alone. The worker refuses names that the base does not have.
    #[plain]
    pub target_modules: Vec<String>,
    /// Whether updates are multiplied by `alpha / √rank` instead (rsLoRA, arXiv:2312.03732).
    #[serde(default, skip_serializing_if = "is_default")]
    pub use_rslora: bool,
    /// Which biases of the base learn too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bias: LoraBias,
    /// Whole modules of the base that learn and are saved with the adapter (`wte`, `lm_head`).
    #[serde(default, skip_serializing_if = "is_default")]
    #[plain]
    pub modules_to_save: Vec<String>,
}

/// Which biases of the base learn with an adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Those of the layers that get adapters.
    LoraOnly,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: vec!["c_attn".to_owned()],
            use_rslora: false,
            bias: LoraBias::None,
            modules_to_save: Vec::new(),
        }
    }
}

/// What is learnt of the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Objective {
    /// Which tokens of a conversation, or of a prompt with its completion; of text it is always every one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub learn: Learn,
    /// How conversations are written as text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chat_template: ChatTemplate,
}

/// Which tokens are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// What the assistant says (the completion), and where it ends.
    #[default]
    Answers,
    /// Of a conversation the last answer only.
    LastAnswer,
    /// Every token.
    Everything,
}

/// How conversations are written as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum ChatTemplate {
    /// `Role: content` on lines of their own. What jobs did before there was a choice.
    #[default]
    Plain,
    /// The base model's own; the plain one where it has none. What new jobs do.
    Model,
    /// One of the base model's several, by its name.
    Named(#[plain] String),
    /// This one: Jinja as `transformers` reads it, at most 65,536 bytes.
    Custom(#[plain] String),
}

/// What is made besides the result itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Outputs {
    /// The base model with the adapter merged into it, in Hugging Face layout; for adapters only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub merged: bool,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct TrainingSpec {
    /// How.
    pub method: Method,
    /// What of the samples is learnt.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: Objective,
    /// With which settings.
    pub parameters: HyperParameters,
    /// What is made besides the result.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outputs: Outputs,
}

/// Whether a value says nothing that its absence would not say.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::{
        Adam, Architecture, ChatTemplate, EarlyStopping, HyperParameters, Lora, LoraBias, Method, Objective,
        Outputs, TrainingSpec,
    };

    fn scratch() -> TrainingSpec {
        let shape = Architecture {
            layers: 2,
            heads: 2,
            width: 64,
            context: 128,
            vocabulary: 512,
        };
        TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Scratch(shape),
            objective: Objective::default(),
            parameters: HyperParameters::default(),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(scratch().validate(), Ok(()));
    }

    /// JB-1: every problem at once.
    #[test]
    fn all_problems_are_named_together() {
        let shape = Architecture {
            layers: 0,
            heads: 3,
            width: 64,
            context: 64,
            vocabulary: 1,
        };
        let parameters = HyperParameters {
            steps: 0,
            learning_rate: f64::NAN,
            clip_norm: -1.0,
            ..HyperParameters::default()
        };
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Scratch(shape),
            objective: Objective::default(),
            parameters,
        };
        let problems = spec.validate().expect_err("much is wrong").0;
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field).collect();
        assert_eq!(
            fields,
            [
                "architecture.layers",
                "architecture.vocabulary",
                "architecture.heads",
                "parameters.sequenceLength",
                "parameters.steps",
                "parameters.learningRate",
                "parameters.warmupSteps",
                "parameters.clipNorm",
            ]
        );
    }

    #[test]
    fn an_adapter_needs_layers_that_exist() {
        let lora = Lora {
            rank: 257,
            alpha: 0.0,
            dropout: 1.0,
            target_modules: vec!["q proj".into()],
            ..Lora::default()
        };
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Lora(lora),
            objective: Objective::default(),
            parameters: HyperParameters::default(),
        };
        assert_eq!(spec.validate().expect_err("all four are wrong").0.len(), 4);
    }

    /// JB-1, JB-8
    #[test]
    fn settings_that_contradict_each_other_are_named_together() {
        let parameters = HyperParameters {
            epochs: Some(0.0),
            warmup_ratio: Some(2.0),
            minimum_share: -1.0,
            adam: Adam {
                beta_1: 1.0,
                beta_2: f64::NAN,
                epsilon: 0.0,
            },
            evaluation_share: 0.0,
            early_stopping: Some(EarlyStopping {
                patience: 0,
                min_delta: -1.0,
            }),
            keep_best: true,
            ..HyperParameters::default()
        };
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            objective: Objective {
                chat_template: ChatTemplate::Named("x".into()),
                ..Objective::default()
            },
            parameters,
            ..scratch()
        };
        let problems = spec.validate().expect_err("much is wrong").0;
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field).collect();
        assert_eq!(
            fields,
            [
                "objective.chatTemplate.named",
                "parameters.epochs",
                "parameters.epochs",
                "parameters.minimumShare",
                "parameters.warmupRatio",
                "parameters.warmupRatio",
                "parameters.adamBeta1",
                "parameters.adamBeta2",
                "parameters.adamEpsilon",
                "parameters.earlyStopping.patience",
                "parameters.earlyStopping.minDelta",
                "parameters.earlyStopping",
                "parameters.keepBest",
            ]
        );
    }

    #[test]
    fn what_was_recorded_before_keeps_its_bytes_and_what_is_new_is_recorded() {
        let old = r#"{"method":{"method":"lora","rank":8,"alpha":16.0,"dropout":0.0,"target_modules":["c_attn"]},"parameters":{"steps":200,"batch_size":8,"gradient_accumulation":1,"learning_rate":0.001,"schedule":"cosine","warmup_steps":10,"weight_decay":0.01,"clip_norm":1.0,"sequence_length":128,"evaluation_share":0.05,"evaluate_every":50,"checkpoint_every":50,"seed":1,"sample_prompt":"","sample_tokens":64}}"#;
        let read: TrainingSpec = serde_json::from_str(old).expect("decoded");
        assert_eq!(read.objective.chat_template, ChatTemplate::Plain);
        assert_eq!(serde_json::to_string(&read).expect("encoded"), old);
        let new = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Lora(Lora {
                bias: LoraBias::LoraOnly,
                use_rslora: true,
                ..Lora::default()
            }),
            objective: Objective {
                chat_template: ChatTemplate::Custom("{{ 1 }}".into()),
                ..Objective::default()
            },
            parameters: HyperParameters {
                steps: 0,
                epochs: Some(3.0),
                packing: true,
                ..HyperParameters::default()
            },
        };
        let encoded = serde_json::to_string(&new).expect("encoded");
        assert_eq!(
            serde_json::from_str::<TrainingSpec>(&encoded).expect("decoded"),
            new
        );
    }
}
