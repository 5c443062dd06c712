//! `adapter_config.json` as PEFT writes it.
//!
//! Rule: a field that changes what is computed and is not known here is refused, with all others of its kind.

use serde_json::{Map, Value};

use crate::{
    failure::{Failure, FailureCode},
    spec::{ALL_LINEAR, LoraBias, LoraSettings},
    tensor_file::listed,
};

/// Fields that must be absent, `null`, false or empty.
const EMPTY: [&str; 18] = [
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

/// First values that leave the base as it is; others (PiSSA, OLoRA, LoftQ …) change it.
const DRAWN: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// The settings in `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<LoraSettings, Failure> {
    let refuse = |message: String| {
        let message = format!("adapter_config.json: {message}");
        Failure::new(FailureCode::BaseModelInvalid, message)
    };
    let json: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
    let get = |name: &str| json.get(name).unwrap_or(&Value::Null);
    if get("peft_type") != "LORA" {
        return Err(refuse(format!(
            "peft_type {} is not supported, only LORA",
            get("peft_type")
        )));
    }
    let mut problems: Vec<String> = EMPTY
        .iter()
        .filter(|name| !is_empty(get(name)))
        .map(|name| format!("{name} is not supported"))
        .collect();
    let first = get("init_lora_weights");
    if !(first.is_null() || first.is_boolean() || DRAWN.iter().any(|known| first == *known)) {
        problems.push(format!(
            "init_lora_weights {first} is not supported: it changes the base"
        ));
    }
    let mut demand = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    let rank = get("r")
        .as_u64()
        .and_then(|rank| u32::try_from(rank).ok())
        .unwrap_or(0);
    demand((1..=65_536).contains(&rank), "r must be 1 to 65536");
    let alpha = get("lora_alpha").as_f64().unwrap_or(0.0);
    demand(alpha > 0.0 && alpha.is_finite(), "lora_alpha must be above 0");
    let dropout = match get("lora_dropout") {
        Value::Null => 0.0,
        value => value.as_f64().unwrap_or(1.0),
    };
    demand(
        (0.0..1.0).contains(&dropout),
        "lora_dropout must be 0 or more and below 1",
    );
    let target_modules = match get("target_modules") {
        Value::String(all) if all.eq_ignore_ascii_case(ALL_LINEAR) => vec![ALL_LINEAR.to_owned()],
        value => names(value).unwrap_or_default(),
    };
    demand(
        !target_modules.is_empty(),
        "target_modules is no list of names (patterns are not supported)",
    );
    let modules_to_save = match get("modules_to_save") {
        Value::Null => Some(Vec::new()),
        value => names(value),
    };
    demand(modules_to_save.is_some(), "modules_to_save is no list of names");
    let bias = match get("bias") {
        Value::Null => Some(LoraBias::None),
        value => serde_json::from_value(value.clone()).ok(),
    };
    demand(bias.is_some(), "bias must be none, all or lora_only");
    match (problems.is_empty(), bias, modules_to_save) {
        (true, Some(bias), Some(modules_to_save)) => Ok(LoraSettings {
            rank,
            alpha,
            dropout,
            target_modules,
            use_rslora: get("use_rslora") == &Value::Bool(true),
            bias,
            modules_to_save,
        }),
        _ => Err(refuse(listed(&problems))),
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
