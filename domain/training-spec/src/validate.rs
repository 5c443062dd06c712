//! Everything that can be wrong with a specification.
//!
//! One rule: one pass finds every problem, each under the path that clients know its field by.

use super::{ALL_LINEAR, Architecture, ChatTemplate, HyperParameters, Lora, MAX_STEPS, Method, TrainingSpec};

/// One thing that is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field, as a path in the specification.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl std::fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblems(pub Vec<SpecProblem>);

impl std::fmt::Display for SpecProblems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecProblems {}

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
            format!("must be from {min} to {max}; {value} was given")
        });
    }

    /// `open`: the lower bound itself does not count.
    fn real(&mut self, field: &'static str, value: f64, min: f64, max: f64, open: bool) {
        let low = if open { value > min } else { value >= min };
        let bound = if open { "greater than" } else { "at least" };
        self.that(low && value <= max, field, || {
            format!("must be {bound} {min} and at most {max}; {value:e} was given")
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
            Method::Full => {}
        }
        self.check_objective(&mut checks);
        self.check_parameters(&mut checks);
        let adapter = matches!(self.method, Method::Lora(_));
        checks.that(adapter || !self.outputs.merged, "outputs.merged", || {
            format!(
                "only an adapter is merged; the result of method {} is a whole model already",
                self.method.name()
            )
        });
        if checks.0.is_empty() {
            Ok(())
        } else {
            Err(SpecProblems(checks.0))
        }
    }

    fn check_architecture(&self, shape: &Architecture, checks: &mut Checks) {
        checks.whole("architecture.layers", shape.layers, 1, 48);
        checks.whole("architecture.heads", shape.heads, 1, 64);
        checks.whole("architecture.width", shape.width, 16, 2_048);
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

    fn check_objective(&self, checks: &mut Checks) {
        match &self.objective.chat_template {
            ChatTemplate::Plain | ChatTemplate::Model => {}
            ChatTemplate::Named(name) => {
                checks.that(
                    (1..=200).contains(&name.len()),
                    "objective.chatTemplate.named",
                    || format!("{} bytes; a name has 1 to 200", name.len()),
                );
                checks.that(self.method.needs_base(), "objective.chatTemplate.named", || {
                    "a model from scratch has no templates to choose from".to_owned()
                });
            }
            ChatTemplate::Custom(source) => checks.that(
                (1..=65_536).contains(&source.len()),
                "objective.chatTemplate.custom",
                || format!("{} bytes; a template has 1 to 65536", source.len()),
            ),
        }
    }

    fn check_parameters(&self, checks: &mut Checks) {
        let given = &self.parameters;
        check_length(given, checks);
        checks.whole("parameters.batchSize", given.batch_size, 1, 1_024);
        checks.whole(
            "parameters.gradientAccumulation",
            given.gradient_accumulation,
            1,
            1_024,
        );
        checks.real("parameters.learningRate", given.learning_rate, 0.0, 1.0, true);
        checks.real("parameters.minimumShare", given.minimum_share, 0.0, 1.0, false);
        check_warmup(given, checks);
        checks.real("parameters.weightDecay", given.weight_decay, 0.0, 1.0, false);
        for (field, beta) in [
            ("parameters.adamBeta1", given.adam.beta_1),
            ("parameters.adamBeta2", given.adam.beta_2),
        ] {
            checks.that((0.0..1.0).contains(&beta), field, || {
                format!("must be at least 0 and less than 1; {beta:e} was given")
            });
        }
        checks.real("parameters.adamEpsilon", given.adam.epsilon, 0.0, 1.0, true);
        checks.real("parameters.clipNorm", given.clip_norm, 0.0, 1e6, true);
        checks.whole("parameters.sequenceLength", given.sequence_length, 8, 131_072);
        checks.real(
            "parameters.evaluationShare",
            given.evaluation_share,
            0.0,
            0.5,
            false,
        );
        check_stopping(given, checks);
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

fn check_length(given: &HyperParameters, checks: &mut Checks) {
    match given.epochs {
        None => checks.whole("parameters.steps", given.steps, 1, MAX_STEPS),
        Some(epochs) => {
            checks.real("parameters.epochs", epochs, 0.0, 1_000.0, true);
            checks.that(given.steps == 0, "parameters.epochs", || {
                "give steps or epochs, not both".to_owned()
            });
        }
    }
}

fn check_warmup(given: &HyperParameters, checks: &mut Checks) {
    if let Some(ratio) = given.warmup_ratio {
        checks.real("parameters.warmupRatio", ratio, 0.0, 1.0, false);
        checks.that(given.warmup_steps == 0, "parameters.warmupRatio", || {
            "give warmupSteps or warmupRatio, not both".to_owned()
        });
        return;
    }
    // How many steps epochs are shows when the data is read; a longer warm-up then ends with them.
    checks.that(
        given.epochs.is_some() || given.warmup_steps < given.steps,
        "parameters.warmupSteps",
        || {
            format!(
                "{} steps of warm-up are not fewer than {} steps",
                given.warmup_steps, given.steps
            )
        },
    );
}

fn check_stopping(given: &HyperParameters, checks: &mut Checks) {
    let held_back = given.evaluation_share > 0.0;
    let needs = || "needs evaluations; set evaluationShare and evaluateEvery above 0".to_owned();
    if let Some(stopping) = given.early_stopping {
        checks.whole("parameters.earlyStopping.patience", stopping.patience, 1, 1_000);
        checks.real(
            "parameters.earlyStopping.minDelta",
            stopping.min_delta,
            0.0,
            10.0,
            false,
        );
        checks.that(
            held_back && given.evaluate_every > 0,
            "parameters.earlyStopping",
            needs,
        );
    }
    checks.that(!given.keep_best || held_back, "parameters.keepBest", needs);
}

fn check_lora(lora: &Lora, checks: &mut Checks) {
    checks.whole("lora.rank", lora.rank, 1, 256);
    checks.real("lora.alpha", lora.alpha, 0.0, 1_024.0, true);
    checks.that((0.0..1.0).contains(&lora.dropout), "lora.dropout", || {
        format!("must be at least 0 and less than 1; {:e} was given", lora.dropout)
    });
    checks.that(!lora.target_modules.is_empty(), "lora.targetModules", || {
        format!("name at least one layer, or {ALL_LINEAR}")
    });
    let all = lora.target_modules.iter().any(|module| module == ALL_LINEAR);
    checks.that(
        !all || lora.target_modules.len() == 1,
        "lora.targetModules",
        || format!("{ALL_LINEAR} stands for all layers; name none beside it"),
    );
    check_modules("lora.targetModules", &lora.target_modules, checks);
    check_modules("lora.modulesToSave", &lora.modules_to_save, checks);
}

/// Names as such; whether the base model has them shows when a worker loads it.
fn check_modules(field: &'static str, modules: &[String], checks: &mut Checks) {
    checks.that(modules.len() <= 64, field, || {
        format!("{} names; at most 64 are allowed", modules.len())
    });
    for module in modules {
        let sound = (1..=200).contains(&module.len())
            && module
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
        checks.that(sound, field, || {
            let shown: String = module.chars().take(64).collect();
            format!("'{shown}' is no name of a layer; use letters, digits, dots and underscores")
        });
    }
}
