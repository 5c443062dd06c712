//! Adapters as folders in the format of Hugging Face PEFT.
//!
//! Rule: `peft` and vLLM load what is written here unchanged, and what `peft` writes is read here or refused
//! by the name of what is not supported.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Tensor, backend::Backend};
use serde_json::{Value, json};

use super::{Slot, tensors};
use crate::{
    failure::{Failure, FailureCode},
    model::{config::Gpt2Config, folder::pretty},
    parameters::{ParameterSet, matrix, values},
    spec::LoraSettings,
    tensor_file,
};

/// What PEFT puts before the name of a block.
const PREFIX: &str = "base_model.model.transformer.";

/// The files `adapter_config.json` and `adapter_model.safetensors` of an adapter for the model `base`.
///
/// # Errors
/// An internal failure when a tensor cannot be read from the device.
pub fn encode<B: Backend>(
    settings: &LoraSettings,
    parameters: &ParameterSet<B>,
    base: &str,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout,
        "target_modules": settings.target_modules, "fan_in_fan_out": true, "bias": "none",
        "inference_mode": true, "init_lora_weights": true, "use_rslora": false, "use_dora": false,
        "modules_to_save": null,
    });
    Ok(BTreeMap::from([
        ("adapter_config.json".to_owned(), pretty(&config)?),
        (
            "adapter_model.safetensors".to_owned(),
            tensor_file::encode(&turned(parameters, ".weight", "")?, PREFIX)?,
        ),
    ]))
}

/// Reads the adapter in the folder `path` for a model of `config`.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with what is missing, damaged, of another shape or not supported.
pub fn load<B: Backend>(
    path: &Path,
    config: &Gpt2Config,
    device: &B::Device,
) -> Result<(LoraSettings, ParameterSet<B>), Failure> {
    let code = FailureCode::BaseModelInvalid;
    let file = path.join("adapter_config.json");
    let bytes = std::fs::read(&file).map_err(|error| Failure::io(code, "read", &file, &error))?;
    let settings = settings(&bytes)?;
    let expected: Vec<_> = tensors(config, &settings)
        .into_iter()
        .map(|(name, [rows, columns])| (format!("{name}.weight"), [columns, rows]))
        .collect();
    let stored = tensor_file::read(
        &path.join("adapter_model.safetensors"),
        &expected,
        PREFIX,
        |_| false,
        code,
        device,
    )?;
    Ok((settings, turned(&stored, "", ".weight")?))
}

fn settings(bytes: &[u8]) -> Result<LoraSettings, Failure> {
    let refuse = |message: String| {
        Failure::new(
            FailureCode::BaseModelInvalid,
            format!("adapter_config.json: {message}"),
        )
    };
    let json: Value = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
    if json["peft_type"] != "LORA" {
        return Err(refuse(format!(
            "peft_type {} is not supported, only LORA",
            json["peft_type"]
        )));
    }
    for name in [
        "use_rslora",
        "use_dora",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
    ] {
        let empty = matches!(&json[name], Value::Null | Value::Bool(false))
            || json[name].as_object().is_some_and(serde_json::Map::is_empty);
        if !empty {
            return Err(refuse(format!("{name} is not supported")));
        }
    }
    let targets: Option<Vec<String>> = json["target_modules"].as_array().map(|names| {
        names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    });
    let mut target_modules =
        targets.ok_or_else(|| refuse("target_modules is no list of names".to_owned()))?;
    // PEFT writes a set; ours is in a fixed order.
    target_modules.sort_unstable();
    if let Some(unknown) = target_modules
        .iter()
        .find(|name| !Slot::ALL.iter().any(|slot| slot.is_targeted_by(name)))
    {
        return Err(refuse(format!("target module {unknown} is not one of GPT-2")));
    }
    let rank = json["r"]
        .as_u64()
        .and_then(|rank| u32::try_from(rank).ok())
        .filter(|rank| (1..=256).contains(rank));
    let alpha = json["lora_alpha"].as_f64().filter(|alpha| *alpha > 0.0);
    match (rank, alpha) {
        (Some(rank), Some(alpha)) => Ok(LoraSettings {
            rank,
            alpha,
            dropout: json["lora_dropout"].as_f64().unwrap_or(0.0),
            target_modules,
            ..LoraSettings::default()
        }),
        _ => Err(refuse("r must be 1 to 256 and lora_alpha above 0".to_owned())),
    }
}

/// Each matrix transposed (PEFT keeps `[out, in]`), its name with the end `remove` replaced by `add`.
fn turned<B: Backend>(set: &ParameterSet<B>, add: &str, remove: &str) -> Result<ParameterSet<B>, Failure> {
    let mut result = ParameterSet::default();
    for (name, tensor) in set.iter() {
        let transposed: Tensor<B, 2> = tensor.clone().transpose();
        let (shape, device) = (transposed.dims(), transposed.device());
        let name = name.strip_suffix(remove).unwrap_or(name);
        // A copy in rows: kernels and files want contiguous numbers.
        result.insert(
            format!("{name}{add}"),
            matrix(values(transposed)?, shape, &device),
        );
    }
    Ok(result)
}
