//! What a training job is asked to do, and whether that makes sense (JB-1).
//!
//! Validation names every problem at once; nothing of it depends on anything but the specification itself.

use serde::{Deserialize, Serialize};

/// How weights are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Method {
    /// A new GPT-2 with a byte-level BPE tokenizer, both made from the dataset.
    Scratch(Architecture),
    /// A low-rank adapter on a frozen base model (Hu et al., 2021, arXiv:2106.09685).
    Lora(Lora),
}

impl Method {
    /// Its stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scratch(_) => "scratch",
            Self::Lora(_) => "lora",
        }
    }
}

/// The shape of a new GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// Transformer blocks, 1 to 48.
    pub layers: u32,
    /// Attention heads, 1 to 64; must divide `width`.
    pub heads: u32,
    /// Width of the residual stream, 16 to 4,096.
    pub width: u32,
    /// Positions that the model can see, 16 to 4,096 tokens.
    pub context: u32,
    /// Size of the vocabulary, 260 to 65,536 tokens.
    pub vocabulary: u32,
}

/// The shape of an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rank, 1 to 256.
    pub rank: u32,
    /// Scale: updates are multiplied by `alpha / rank`; above 0, at most 1,024.
    pub alpha: f64,
    /// Share of adapter inputs dropped while training, 0 to below 1.
    pub dropout: f64,
    /// Which linear layers get adapters: of `c_attn`, `c_proj`, `c_fc`.
    pub target_modules: Vec<String>,
}

/// How the learning rate moves after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls in a straight line to 0.
    Linear,
    /// Falls along half a cosine to 0.
    Cosine,
}

/// The hyper-parameters that all methods share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HyperParameters {
    /// Optimiser steps, 1 to 10,000,000.
    pub steps: u32,
    /// Sequences per micro-batch, 1 to 1,024.
    pub batch_size: u32,
    /// Micro-batches per step, 1 to 1,024.
    pub gradient_accumulation: u32,
    /// Peak learning rate, above 0, at most 1.
    pub learning_rate: f64,
    /// See [`Schedule`].
    pub schedule: Schedule,
    /// Steps of linear warm-up, fewer than `steps`.
    pub warmup_steps: u32,
    /// Decoupled weight decay, 0 to 1.
    pub weight_decay: f64,
    /// Global gradient norm is cut to this, above 0.
    pub clip_norm: f64,
    /// Tokens per sequence, 8 to 4,096, at most the model's context.
    pub sequence_length: u32,
    /// Share of the data held back for evaluation, 0 to 0.5.
    pub evaluation_share: f64,
    /// Steps between evaluations; 0: only at the end.
    pub evaluate_every: u32,
    /// Steps between checkpoints, 1 and up.
    pub checkpoint_every: u32,
    /// Seed of everything random, below 2⁵³.
    pub seed: u64,
    /// Prompt of the samples that are generated before and after, at most 1,000 characters.
    pub sample_prompt: String,
    /// Tokens of each sample, 0 to 512.
    pub sample_tokens: u32,
}

impl Default for HyperParameters {
    fn default() -> Self {
        Self {
            steps: 200,
            batch_size: 8,
            gradient_accumulation: 1,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            warmup_steps: 10,
            weight_decay: 0.01,
            clip_norm: 1.0,
            sequence_length: 128,
            evaluation_share: 0.05,
            evaluate_every: 50,
            checkpoint_every: 50,
            seed: 1,
            sample_prompt: String::new(),
            sample_tokens: 64,
        }
    }
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSpec {
    /// How.
    pub method: Method,
    /// With which settings.
    pub parameters: HyperParameters,
}

/// One thing that is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field, as a path in the specification.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything that is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblems(pub Vec<SpecProblem>);

impl std::fmt::Display for SpecProblems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.field, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecProblems {}

/// The linear layers of GPT-2 that can carry an adapter.
pub const TARGET_MODULES: [&str; 3] = ["c_attn", "c_proj", "c_fc"];

#[derive(Default)]
struct Checks(Vec<SpecProblem>);

impl Checks {
    fn that(&mut self, holds: bool, field: &'static str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(SpecProblem {
                field,
                message: message(),
            });
        }
    }

    fn whole(&mut self, field: &'static str, value: u32, min: u32, max: u32) {
        self.that((min..=max).contains(&value), field, || {
            format!("{value} is not within {min} to {max}")
        });
    }

    /// `open`: the lower bound itself does not count.
    fn real(&mut self, field: &'static str, value: f64, min: f64, max: f64, open: bool) {
        let low = if open { value > min } else { value >= min };
        let bound = if open { "above" } else { "at least" };
        self.that(low && value <= max, field, || {
            format!("{value} is not {bound} {min} and at most {max}")
        });
    }
}

impl TrainingSpec {
    /// Checks everything.
    ///
    /// # Errors
    /// Every problem, in the order of the fields.
    pub fn validate(&self) -> Result<(), SpecProblems> {
        let mut checks = Checks::default();
        match &self.method {
            Method::Scratch(architecture) => self.check_architecture(architecture, &mut checks),
            Method::Lora(lora) => check_lora(lora, &mut checks),
        }
        self.check_parameters(&mut checks);
        if checks.0.is_empty() {
            Ok(())
        } else {
            Err(SpecProblems(checks.0))
        }
    }

    fn check_architecture(&self, shape: &Architecture, checks: &mut Checks) {
        checks.whole("architecture.layers", shape.layers, 1, 48);
        checks.whole("architecture.heads", shape.heads, 1, 64);
        checks.whole("architecture.width", shape.width, 16, 4_096);
        checks.whole("architecture.context", shape.context, 16, 4_096);
        checks.whole("architecture.vocabulary", shape.vocabulary, 260, 65_536);
        checks.that(
            shape.heads != 0 && shape.width.is_multiple_of(shape.heads),
            "architecture.heads",
            || format!("{} heads do not divide a width of {}", shape.heads, shape.width),
        );
        let length = self.parameters.sequence_length;
        checks.that(length <= shape.context, "parameters.sequenceLength", || {
            format!("{length} tokens do not fit a context of {}", shape.context)
        });
    }

    fn check_parameters(&self, checks: &mut Checks) {
        let given = &self.parameters;
        checks.whole("parameters.steps", given.steps, 1, 10_000_000);
        checks.whole("parameters.batchSize", given.batch_size, 1, 1_024);
        checks.whole(
            "parameters.gradientAccumulation",
            given.gradient_accumulation,
            1,
            1_024,
        );
        checks.real("parameters.learningRate", given.learning_rate, 0.0, 1.0, true);
        checks.that(given.warmup_steps < given.steps, "parameters.warmupSteps", || {
            format!(
                "{} steps of warm-up are not fewer than {} steps",
                given.warmup_steps, given.steps
            )
        });
        checks.real("parameters.weightDecay", given.weight_decay, 0.0, 1.0, false);
        checks.real("parameters.clipNorm", given.clip_norm, 0.0, 1e6, true);
        checks.whole("parameters.sequenceLength", given.sequence_length, 8, 4_096);
        checks.real(
            "parameters.evaluationShare",
            given.evaluation_share,
            0.0,
            0.5,
            false,
        );
        checks.whole("parameters.checkpointEvery", given.checkpoint_every, 1, u32::MAX);
        checks.that(given.seed < 1 << 53, "parameters.seed", || {
            "must be below 2^53".to_owned()
        });
        let prompt = given.sample_prompt.chars().count();
        checks.that(prompt <= 1_000, "parameters.samplePrompt", || {
            format!("{prompt} characters; at most 1000 are allowed")
        });
        checks.whole("parameters.sampleTokens", given.sample_tokens, 0, 512);
    }
}

fn check_lora(lora: &Lora, checks: &mut Checks) {
    checks.whole("lora.rank", lora.rank, 1, 256);
    checks.real("lora.alpha", lora.alpha, 0.0, 1_024.0, true);
    checks.that((0.0..1.0).contains(&lora.dropout), "lora.dropout", || {
        format!("{} is not within 0 to below 1", lora.dropout)
    });
    checks.that(!lora.target_modules.is_empty(), "lora.targetModules", || {
        format!("name at least one of {}", TARGET_MODULES.join(", "))
    });
    for module in &lora.target_modules {
        checks.that(
            TARGET_MODULES.contains(&module.as_str()),
            "lora.targetModules",
            || format!("'{module}' is not one of {}", TARGET_MODULES.join(", ")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Architecture, HyperParameters, Lora, Method, TrainingSpec};

    fn scratch() -> TrainingSpec {
        let shape = Architecture {
            layers: 2,
            heads: 2,
            width: 64,
            context: 128,
            vocabulary: 512,
        };
        TrainingSpec {
            method: Method::Scratch(shape),
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
            method: Method::Scratch(shape),
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
            target_modules: vec!["q_proj".into()],
        };
        let spec = TrainingSpec {
            method: Method::Lora(lora),
            parameters: HyperParameters::default(),
        };
        assert_eq!(spec.validate().expect_err("all four are wrong").0.len(), 4);
    }
}
