//! What a specification as JSON says that this build does not know.
//!
//! One rule: a log is read whatever newer builds have added to it; who acts on a specification first asks here, so that
//! nothing that was asked for is left out without a word.

use payload::{Flat, Leaves};
use serde_json::Value;

use super::TrainingSpec;

/// The paths of all values in `json` that no specification of this build has, such as `parameters.learnig_rate`. What is null
/// or empty says nothing.
#[must_use]
pub fn unknown_fields(json: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(json, String::new(), &mut paths);
    let known = Box::new(Flat::of(TrainingSpec::SHAPE));
    paths.retain(|path| !known.has_plain(path));
    paths
}

fn walk(json: &Value, path: String, paths: &mut Vec<String>) {
    match json {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let separator = if path.is_empty() { "" } else { "." };
                walk(value, format!("{path}{separator}{name}"), paths);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                walk(element, format!("{path}[]"), paths);
            }
        }
        _ => paths.push(path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ChatTemplate, EarlyStopping, HyperParameters, Lora, LoraBias, Method, Objective, Outputs};

    #[test]
    fn what_this_build_writes_is_known_and_everything_else_is_named() {
        let spec = TrainingSpec {
            method: Method::Lora(Lora {
                use_rslora: true,
                bias: LoraBias::All,
                modules_to_save: vec!["wte".into()],
                ..Lora::default()
            }),
            objective: Objective {
                chat_template: ChatTemplate::Custom("{{ 1 }}".into()),
                ..Objective::default()
            },
            parameters: HyperParameters {
                epochs: Some(1.0),
                early_stopping: Some(EarlyStopping {
                    patience: 1,
                    min_delta: 0.5,
                }),
                ..HyperParameters::default()
            },
            outputs: Outputs { merged: true },
        };
        let mut json = serde_json::to_value(&spec).expect("encoded");
        assert_eq!(unknown_fields(&json), Vec::<String>::new());
        json["parameters"]["learnig_rate"] = json!(1);
        json["method"]["layers_to_transform"] = json!([1]);
        json["outputs"]["quantized"] = json!({ "bits": 4 });
        json["parameters"]["early_stopping"]["metric"] = json!(null);
        assert_eq!(
            unknown_fields(&json),
            [
                "method.layers_to_transform[]",
                "outputs.quantized.bits",
                "parameters.learnig_rate"
            ]
        );
        assert!(
            serde_json::from_value::<TrainingSpec>(json).is_ok(),
            "a log is read"
        );
    }
}
