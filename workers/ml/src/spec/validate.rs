//! Validation of specifications.
//!
//! Rule: all problems are found in one pass, each with the path of its field.

use serde::{Deserialize, Serialize};

use super::{
    ALL_LINEAR, Adam, Architecture, ChatTemplate, Hyperparameters, LoraSettings, MAX_STEPS, Method,
    Objective, TrainingSpec,
};

/// A problem of a specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Path of the field, such as `hyperparameters.learning_rate`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Collects problems by field.
#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn demand(&mut self, holds: bool, field: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Problem {
                field: field.to_owned(),
                message: message(),
            });
        }
    }

    fn whole(&mut self, field: &str, value: u32, low: u32, high: u32) {
        self.demand((low..=high).contains(&value), field, || {
            format!("is {value}; must be {low} to {high}")
        });
    }

    fn real(&mut self, field: &str, value: f64, low: f64, high: f64) {
        self.demand((low..=high).contains(&value), field, || {
            format!("is {value}; must be {low} to {high}")
        });
    }

    fn positive(&mut self, field: &str, value: f64, high: f64) {
        let holds = value > 0.0 && value <= high;
        self.demand(holds, field, || {
            format!("is {value}; must be above 0 and at most {high}")
        });
    }
}

impl TrainingSpec {
    /// All problems of this specification; empty when it is valid.
    ///
    /// What depends on the dataset or on the base model (such as its context length) is checked when the training
    /// starts.
    #[must_use]
    pub fn validate(&self) -> Vec<Problem> {
        let mut findings = Findings::default();
        let (scratch, lora) = (self.method == Method::Scratch, self.method == Method::Lora);
        findings.demand(self.architecture.is_some() == scratch, "architecture", || {
            if scratch {
                "is missing; a model from scratch needs one"
            } else {
                "belongs to method scratch only"
            }
            .to_owned()
        });
        findings.demand(self.lora.is_some() == lora, "lora", || {
            if lora {
                "is missing; method lora needs it"
            } else {
                "belongs to method lora only"
            }
            .to_owned()
        });
        if let Some(architecture) = &self.architecture {
            check_architecture(&mut findings, architecture, self.hyperparameters.sequence_length);
        }
        if let Some(lora) = &self.lora {
            check_lora(&mut findings, lora);
        }
        check_objective(&mut findings, &self.objective, self.method);
        check_hyperparameters(&mut findings, &self.hyperparameters);
        findings.0
    }
}

fn check_architecture(findings: &mut Findings, shape: &Architecture, sequence_length: u32) {
    findings.whole("architecture.layers", shape.layers, 1, 48);
    findings.whole("architecture.heads", shape.heads, 1, 64);
    findings.whole("architecture.width", shape.width, 8, 2048);
    findings.whole("architecture.context", shape.context, 8, 4096);
    findings.whole("architecture.vocab_size", shape.vocab_size, 257, 65_536);
    findings.demand(
        shape.heads > 0 && shape.width.is_multiple_of(shape.heads),
        "architecture.heads",
        || format!("is {}; must divide the width {}", shape.heads, shape.width),
    );
    findings.demand(shape.context >= sequence_length, "architecture.context", || {
        format!(
            "is {}; must be at least the sequence length {sequence_length}",
            shape.context
        )
    });
}

fn check_lora(findings: &mut Findings, lora: &LoraSettings) {
    findings.whole("lora.rank", lora.rank, 1, 256);
    findings.positive("lora.alpha", lora.alpha, 1024.0);
    findings.demand((0.0..1.0).contains(&lora.dropout), "lora.dropout", || {
        format!("is {}; must be 0 or more and below 1", lora.dropout)
    });
    findings.demand(!lora.target_modules.is_empty(), "lora.target_modules", || {
        "names no module".to_owned()
    });
    let all = lora.target_modules.iter().any(|target| target == ALL_LINEAR);
    findings.demand(
        !all || lora.target_modules.len() == 1,
        "lora.target_modules",
        || format!("names modules in addition to {ALL_LINEAR}, which includes all of them"),
    );
    check_names(findings, "lora.target_modules", &lora.target_modules);
    check_names(findings, "lora.modules_to_save", &lora.modules_to_save);
}

/// Checks the syntax of module names; whether the base model has them is checked when it is loaded.
fn check_names(findings: &mut Findings, field: &str, names: &[String]) {
    findings.demand(names.len() <= 64, field, || {
        format!("names {} modules; at most 64 are allowed", names.len())
    });
    let sound = |name: &str| {
        (1..=200).contains(&name.len())
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
    };
    for name in names {
        findings.demand(sound(name), field, || {
            format!("{name:?} is not a module name; use letters, digits, dots and underscores")
        });
    }
}

fn check_objective(findings: &mut Findings, objective: &Objective, method: Method) {
    let field = "objective.chat_template";
    match &objective.chat_template {
        ChatTemplate::Plain | ChatTemplate::Model => {}
        ChatTemplate::Named(name) => {
            findings.demand((1..=200).contains(&name.len()), field, || {
                format!("has a name of {} bytes; must have 1 to 200", name.len())
            });
            findings.demand(method.needs_base(), field, || {
                "names a template of the base model; a model from scratch has none".to_owned()
            });
        }
        ChatTemplate::Custom(source) => findings.demand((1..=1 << 16).contains(&source.len()), field, || {
            format!("has {} bytes; must have 1 to 65536", source.len())
        }),
    }
}

fn check_hyperparameters(findings: &mut Findings, hyperparameters: &Hyperparameters) {
    let at = |name: &str| format!("hyperparameters.{name}");
    check_length(findings, hyperparameters);
    findings.whole(&at("batch_size"), hyperparameters.batch_size, 1, 1024);
    findings.whole(
        &at("gradient_accumulation"),
        hyperparameters.gradient_accumulation,
        1,
        1024,
    );
    findings.positive(&at("learning_rate"), hyperparameters.learning_rate, 1.0);
    findings.real(&at("minimum_share"), hyperparameters.minimum_share, 0.0, 1.0);
    check_warmup(findings, hyperparameters);
    findings.real(&at("weight_decay"), hyperparameters.weight_decay, 0.0, 1.0);
    check_adam(findings, &hyperparameters.adam);
    findings.real(&at("clip_norm"), hyperparameters.clip_norm, 0.0, 1e6);
    findings.whole(
        &at("sequence_length"),
        hyperparameters.sequence_length,
        8,
        131_072,
    );
    findings.real(&at("eval_fraction"), hyperparameters.eval_fraction, 0.0, 0.5);
    check_stopping(findings, hyperparameters);
    findings.whole(
        &at("checkpoint_every"),
        hyperparameters.checkpoint_every,
        1,
        u32::MAX,
    );
    findings.demand(hyperparameters.seed < 1 << 53, &at("seed"), || {
        format!("is {}; must be below 2^53", hyperparameters.seed)
    });
    findings.demand(
        hyperparameters.sample_prompt.len() <= 4000,
        &at("sample_prompt"),
        || {
            format!(
                "has {} bytes; must have at most 4000",
                hyperparameters.sample_prompt.len()
            )
        },
    );
    findings.whole(&at("sample_tokens"), hyperparameters.sample_tokens, 0, 1024);
}

fn check_length(findings: &mut Findings, hyperparameters: &Hyperparameters) {
    if let Some(steps) = hyperparameters.steps {
        findings.whole("hyperparameters.steps", steps, 1, MAX_STEPS);
    }
    if let Some(epochs) = hyperparameters.epochs {
        findings.positive("hyperparameters.epochs", epochs, 1000.0);
        findings.demand(hyperparameters.steps.is_none(), "hyperparameters.epochs", || {
            "is set in addition to steps; set only one of them".to_owned()
        });
    }
}

fn check_warmup(findings: &mut Findings, hyperparameters: &Hyperparameters) {
    if let (Some(warmup), Some(steps)) = (hyperparameters.warmup_steps, hyperparameters.steps) {
        findings.demand(warmup <= steps, "hyperparameters.warmup_steps", || {
            format!("is {warmup}; must be at most the {steps} steps")
        });
    }
    if let Some(ratio) = hyperparameters.warmup_ratio {
        findings.real("hyperparameters.warmup_ratio", ratio, 0.0, 1.0);
        findings.demand(
            hyperparameters.warmup_steps.is_none(),
            "hyperparameters.warmup_ratio",
            || "is set in addition to warmup_steps; set only one of them".to_owned(),
        );
    }
}

fn check_adam(findings: &mut Findings, adam: &Adam) {
    for (name, beta) in [("beta_1", adam.beta_1), ("beta_2", adam.beta_2)] {
        findings.demand(
            (0.0..1.0).contains(&beta),
            &format!("hyperparameters.adam.{name}"),
            || format!("is {beta}; must be 0 or more and below 1"),
        );
    }
    findings.positive("hyperparameters.adam.epsilon", adam.epsilon, 1.0);
}

fn check_stopping(findings: &mut Findings, hyperparameters: &Hyperparameters) {
    let held_out = hyperparameters.eval_fraction > 0.0;
    let needs = "needs evaluations; set eval_fraction and eval_every above 0";
    if let Some(stopping) = &hyperparameters.early_stopping {
        let at = |name: &str| format!("hyperparameters.early_stopping{name}");
        findings.whole(&at(".patience"), stopping.patience, 1, 1000);
        findings.real(&at(".min_delta"), stopping.min_delta, 0.0, 10.0);
        findings.demand(held_out && hyperparameters.eval_every > 0, &at(""), || {
            needs.to_owned()
        });
    }
    findings.demand(
        !hyperparameters.keep_best || held_out,
        "hyperparameters.keep_best",
        || needs.to_owned(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> TrainingSpec {
        serde_json::from_value(json).expect("a specification")
    }

    #[test]
    fn defaults_of_all_methods_are_valid() {
        let shape =
            serde_json::json!({"layers": 2, "heads": 2, "width": 32, "context": 128, "vocab_size": 300});
        assert_eq!(
            spec(serde_json::json!({"method": "scratch", "architecture": shape})).validate(),
            []
        );
        assert_eq!(
            spec(serde_json::json!({"method": "lora", "lora": {}})).validate(),
            []
        );
        assert_eq!(spec(serde_json::json!({"method": "full"})).validate(), []);
    }

    /// JB-1
    #[test]
    fn every_problem_is_named_at_once_under_its_field() {
        let problems = spec(serde_json::json!({
            "method": "lora",
            "architecture": {"layers": 0, "heads": 3, "width": 32, "context": 64, "vocab_size": 256},
            "lora": {"rank": 257, "alpha": 0, "dropout": 1.0, "target_modules": ["c_attn", "all-linear", "a b"]},
            "hyperparameters": {"steps": 5, "warmup_steps": 6, "learning_rate": 0, "eval_fraction": 0.6}
        }))
        .validate();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "architecture",
                "architecture.layers",
                "architecture.vocab_size",
                "architecture.heads",
                "architecture.context",
                "lora.rank",
                "lora.alpha",
                "lora.dropout",
                "lora.target_modules",
                "lora.target_modules",
                "hyperparameters.learning_rate",
                "hyperparameters.warmup_steps",
                "hyperparameters.eval_fraction",
            ]
        );
    }

    #[test]
    fn a_method_without_its_shape_and_numbers_that_are_none_are_refused() {
        let mut bare = spec(serde_json::json!({"method": "scratch"}));
        bare.hyperparameters.weight_decay = f64::NAN;
        bare.hyperparameters.learning_rate = f64::INFINITY;
        let fields: Vec<_> = bare.validate().into_iter().map(|problem| problem.field).collect();
        assert_eq!(
            fields,
            [
                "architecture",
                "hyperparameters.learning_rate",
                "hyperparameters.weight_decay"
            ]
        );
    }

    /// JB-1, JB-8
    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let problems = spec(serde_json::json!({
            "method": "scratch",
            "architecture": {"layers": 1, "heads": 1, "width": 8, "context": 128, "vocab_size": 300},
            "objective": {"chat_template": {"named": "tool_use"}},
            "hyperparameters": {
                "steps": 5, "epochs": 0, "warmup_steps": 1, "warmup_ratio": 1.5, "adam": {"beta_2": 1, "epsilon": 0},
                "minimum_share": -0.1, "eval_fraction": 0, "early_stopping": {"patience": 0, "min_delta": 11},
                "keep_best": true
            }
        }))
        .validate();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        let mut expected = vec!["objective.chat_template"];
        let inner = [
            "epochs",
            "epochs",
            "minimum_share",
            "warmup_ratio",
            "warmup_ratio",
            "adam.beta_2",
            "adam.epsilon",
            "early_stopping.patience",
            "early_stopping.min_delta",
            "early_stopping",
            "keep_best",
        ]
        .map(|name| format!("hyperparameters.{name}"));
        expected.extend(inner.iter().map(String::as_str));
        assert_eq!(fields, expected);
    }

    /// MO-2: model cards contain the specification, so the bytes of old ones must not change.
    #[test]
    fn a_specification_of_an_earlier_version_keeps_its_bytes() {
        let old = r#"{"method":"lora","lora":{"rank":8,"alpha":16.0,"dropout":0.0,"target_modules":["c_attn"]},"hyperparameters":{"steps":200,"batch_size":8,"gradient_accumulation":1,"learning_rate":0.001,"schedule":"cosine","warmup_steps":10,"weight_decay":0.01,"clip_norm":1.0,"sequence_length":128,"eval_fraction":0.05,"eval_every":50,"checkpoint_every":50,"seed":42,"sample_prompt":"","sample_tokens":64}}"#;
        let read: TrainingSpec = serde_json::from_str(old).expect("decoded");
        assert_eq!(serde_json::to_string(&read).expect("encoded"), old);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let json = serde_json::json!({"method": "lora", "lora": {}, "hyperparameters": {"learnig_rate": 1}});
        let error = serde_json::from_value::<TrainingSpec>(json)
            .expect_err("refused")
            .to_string();
        assert!(error.contains("learnig_rate"), "{error}");
    }
}
