//! `adapter_config.json` as PEFT writes it.
//!
//! Rule: a field that changes the computation and is not supported is rejected; all such fields are reported at once.

use serde_json::{Map, Value};

use crate::{
    failure::{Failure, FailureCode},
    spec::{ALL_LINEAR, Lora, LoraBias},
    tensor_file::join_problems,
};

/// Fields that must be absent, `null`, false or empty.
const UNSUPPORTED_FIELDS: [&str; 18] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "monteclora_config",
    "velora_config",
    "kasa_config",
    "ensure_weight_tying",
];

/// Initialisations that leave the base unchanged; others (PiSSA, OLoRA, LoftQ …) modify it.
const RANDOM_INITS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// The settings in an `adapter_config.json`.
pub(super) fn read(bytes: &[u8]) -> Result<Lora, Failure> {
    let json: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| invalid(&error.to_string()))?;
    let mut config = Config {
        json,
        problems: Vec::new(),
    };
    if config.get("peft_type") != "LORA" {
        let kind = config.get("peft_type");
        return Err(invalid(&format!("peft_type {kind} is not supported, only LORA")));
    }
    config.reject_unsupported();
    let settings = Lora {
        rank: config.rank(),
        alpha: config.alpha(),
        dropout: config.dropout(),
        target_modules: config.target_modules(),
        use_rslora: config.get("use_rslora") == &Value::Bool(true),
        bias: config.bias(),
        modules_to_save: config.modules_to_save(),
    };
    if config.problems.is_empty() {
        Ok(settings)
    } else {
        Err(invalid(&join_problems(&config.problems)))
    }
}

fn invalid(reason: &str) -> Failure {
    Failure::new(
        FailureCode::BaseModelInvalid,
        format!("adapter_config.json: {reason}"),
    )
}

/// The fields of the file, and the problems that have been found. Where a field is invalid, its reader returns a
/// placeholder.
struct Config {
    json: Map<String, Value>,
    problems: Vec<String>,
}

impl Config {
    fn get(&self, name: &str) -> &Value {
        self.json.get(name).unwrap_or(&Value::Null)
    }

    fn require(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.problems.push(problem.to_owned());
        }
    }

    fn reject_unsupported(&mut self) {
        let set = UNSUPPORTED_FIELDS.iter().filter(|name| !is_empty(self.get(name)));
        let mut problems: Vec<String> = set.map(|name| format!("{name} is not supported")).collect();
        let init = self.get("init_lora_weights");
        if !(init.is_null() || init.is_boolean() || RANDOM_INITS.iter().any(|known| init == *known)) {
            problems.push(format!(
                "init_lora_weights {init} is not supported: it changes the base"
            ));
        }
        self.problems.extend(problems);
    }

    fn rank(&mut self) -> u32 {
        let rank = self.get("r").as_u64();
        let rank = rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(0);
        self.require((1..=65_536).contains(&rank), "r must be 1 to 65536");
        rank
    }

    fn alpha(&mut self) -> f64 {
        let alpha = self.get("lora_alpha").as_f64().unwrap_or(0.0);
        self.require(alpha > 0.0 && alpha.is_finite(), "lora_alpha must be above 0");
        alpha
    }

    fn dropout(&mut self) -> f64 {
        let dropout = match self.get("lora_dropout") {
            Value::Null => 0.0,
            value => value.as_f64().unwrap_or(1.0),
        };
        self.require(
            (0.0..1.0).contains(&dropout),
            "lora_dropout must be 0 or more and below 1",
        );
        dropout
    }

    fn target_modules(&mut self) -> Vec<String> {
        let modules = match self.get("target_modules") {
            Value::String(all) if all.eq_ignore_ascii_case(ALL_LINEAR) => vec![ALL_LINEAR.to_owned()],
            value => names(value).unwrap_or_default(),
        };
        self.require(
            !modules.is_empty(),
            "target_modules is not a list of names (patterns are not supported)",
        );
        modules
    }

    fn modules_to_save(&mut self) -> Vec<String> {
        let modules = match self.get("modules_to_save") {
            Value::Null => Some(Vec::new()),
            value => names(value),
        };
        self.require(modules.is_some(), "modules_to_save is not a list of names");
        modules.unwrap_or_default()
    }

    fn bias(&mut self) -> LoraBias {
        let bias = match self.get("bias") {
            Value::Null => Some(LoraBias::None),
            value => serde_json::from_value(value.clone()).ok(),
        };
        self.require(bias.is_some(), "bias must be none, all or lora_only");
        bias.unwrap_or_default()
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

/// The names of a list, sorted: PEFT writes a set.
fn names(value: &Value) -> Option<Vec<String>> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let mut names: Vec<String> = value.as_array()?.iter().map(name).collect::<Option<_>>()?;
    names.sort_unstable();
    Some(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_not_supported_is_told_at_once() {
        let json = json!({
            "peft_type": "LORA", "r": 0, "lora_alpha": -1, "lora_dropout": 1.0, "target_modules": ".*_proj",
            "modules_to_save": [1], "bias": "some", "use_dora": true, "rank_pattern": {"q_proj": 4},
            "init_lora_weights": "pissa",
        });
        let failure = read(json.to_string().as_bytes()).expect_err("refused");
        for said in [
            "r must be",
            "lora_alpha",
            "lora_dropout",
            "patterns are not supported",
            "modules_to_save",
            "bias must be",
            "use_dora is not supported",
            "rank_pattern is not supported",
            "\"pissa\"",
        ] {
            assert!(failure.message.contains(said), "{said}: {failure}");
        }
        for bytes in [&b""[..], b"[]", b"{\"peft_type\": \"IA3\"}"] {
            let failure = read(bytes).expect_err("refused");
            assert!(failure.message.starts_with("adapter_config.json: "), "{failure}");
        }
    }
}
