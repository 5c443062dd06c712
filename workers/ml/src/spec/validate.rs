//! What a specification may ask for.
//!
//! Rule: every problem is found in one pass, each under the path of its field.

use serde::{Deserialize, Serialize};

use super::{Architecture, Hyperparameters, LoraSettings, Method, TrainingSpec};
use crate::lora::Slot;

/// One thing wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Path of the field, such as `hyperparameters.learning_rate`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Collects problems under paths of fields.
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
    /// Every problem of this specification; empty when it can be trained.
    ///
    /// What depends on the dataset or on the base model (its context, for example) is found at the start of
    /// the training instead.
    #[must_use]
    pub fn validate(&self) -> Vec<Problem> {
        let mut findings = Findings::default();
        let scratch = self.method == Method::Scratch;
        findings.demand(self.architecture.is_some() == scratch, "architecture", || {
            if scratch {
                "is missing; a model from scratch needs one"
            } else {
                "belongs to method scratch only"
            }
            .to_owned()
        });
        findings.demand(self.lora.is_some() != scratch, "lora", || {
            if scratch {
                "belongs to method lora only"
            } else {
                "is missing; method lora needs it"
            }
            .to_owned()
        });
        if let Some(architecture) = &self.architecture {
            check_architecture(&mut findings, architecture, self.hyperparameters.sequence_length);
        }
        if let Some(lora) = &self.lora {
            check_lora(&mut findings, lora);
        }
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
    for target in &lora.target_modules {
        findings.demand(
            Slot::ALL.iter().any(|slot| slot.is_targeted_by(target)),
            "lora.target_modules",
            || format!("{target:?} is no module of GPT-2; choose among c_attn, c_proj, c_fc"),
        );
    }
}

fn check_hyperparameters(findings: &mut Findings, chosen: &Hyperparameters) {
    let at = |name: &str| format!("hyperparameters.{name}");
    findings.whole(&at("steps"), chosen.steps, 1, 1_000_000);
    findings.whole(&at("batch_size"), chosen.batch_size, 1, 1024);
    findings.whole(
        &at("gradient_accumulation"),
        chosen.gradient_accumulation,
        1,
        1024,
    );
    findings.positive(&at("learning_rate"), chosen.learning_rate, 1.0);
    findings.demand(chosen.warmup_steps <= chosen.steps, &at("warmup_steps"), || {
        format!(
            "is {}; must be at most the {} steps",
            chosen.warmup_steps, chosen.steps
        )
    });
    findings.real(&at("weight_decay"), chosen.weight_decay, 0.0, 1.0);
    findings.real(&at("clip_norm"), chosen.clip_norm, 0.0, 1000.0);
    findings.whole(&at("sequence_length"), chosen.sequence_length, 8, 4096);
    findings.real(&at("eval_fraction"), chosen.eval_fraction, 0.0, 0.5);
    findings.whole(&at("eval_every"), chosen.eval_every, 0, 1_000_000);
    findings.whole(&at("checkpoint_every"), chosen.checkpoint_every, 1, 1_000_000);
    findings.demand(chosen.seed < 1 << 53, &at("seed"), || {
        format!("is {}; must be below 2^53", chosen.seed)
    });
    findings.demand(chosen.sample_prompt.len() <= 4000, &at("sample_prompt"), || {
        format!("has {} bytes; must have at most 4000", chosen.sample_prompt.len())
    });
    findings.whole(&at("sample_tokens"), chosen.sample_tokens, 0, 1024);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> TrainingSpec {
        serde_json::from_value(json).expect("a specification")
    }

    #[test]
    fn defaults_of_both_methods_are_valid() {
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
    }

    /// JB-1
    #[test]
    fn every_problem_is_named_at_once_under_its_field() {
        let problems = spec(serde_json::json!({
            "method": "lora",
            "architecture": {"layers": 0, "heads": 3, "width": 32, "context": 64, "vocab_size": 256},
            "lora": {"rank": 257, "alpha": 0, "dropout": 1.0, "target_modules": ["c_attn", "q_proj"]},
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

    #[test]
    fn an_unknown_field_is_refused() {
        let json = serde_json::json!({"method": "lora", "lora": {}, "hyperparameters": {"learnig_rate": 1}});
        let error = serde_json::from_value::<TrainingSpec>(json)
            .expect_err("refused")
            .to_string();
        assert!(error.contains("learnig_rate"), "{error}");
    }
}
