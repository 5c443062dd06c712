//! Adapters as folders in the format of Hugging Face PEFT.
//!
//! Rule: `peft` and vLLM load what is written here unchanged, and what `peft` writes is read here or refused
//! by the names of all that is not supported.

mod settings;

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Tensor, backend::Backend};
use serde_json::json;

use super::Plan;
use crate::{
    failure::{Failure, FailureCode},
    model::{
        config::{Family, ModelConfig},
        folder::pretty,
    },
    parameters::{ParameterSet, matrix, values},
    spec::{ALL_LINEAR, LoraSettings},
    tensor_file::{self, TensorFile, TensorFiles},
};

/// What PEFT puts before the names of a model's modules.
const PREFIX: &str = "base_model.model.";

/// The files `adapter_config.json` and `adapter_model.safetensors` of an adapter for the model `base` of
/// `config`.
///
/// # Errors
/// [`FailureCode::SpecInvalid`] when the settings do not fit the model, an internal failure when a tensor cannot be
/// read from the device.
pub fn encode<B: Backend>(
    config: &ModelConfig,
    settings: &LoraSettings,
    parameters: &ParameterSet<B>,
    base: &str,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let plan = Plan::new(config, settings)?;
    let targets = match settings.target_modules.as_slice() {
        // Written out, as PEFT does it.
        [all] if all.eq_ignore_ascii_case(ALL_LINEAR) => {
            json!(
                plan.targets()
                    .map(|name| config.file_name(name))
                    .collect::<Vec<_>>()
            )
        }
        names => json!(names),
    };
    let saved = (!settings.modules_to_save.is_empty()).then_some(&settings.modules_to_save);
    let json = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout,
        "target_modules": targets, "fan_in_fan_out": config.family() == Family::Gpt2, "bias": settings.bias,
        "inference_mode": true, "init_lora_weights": true, "use_rslora": settings.use_rslora, "use_dora": false,
        "modules_to_save": saved,
    });
    Ok(BTreeMap::from([
        ("adapter_config.json".to_owned(), pretty(&json)?),
        (
            "adapter_model.safetensors".to_owned(),
            tensor_file::encode_named(&turned(parameters)?, |name| stored(config, &plan, name))?,
        ),
    ]))
}

/// Reads the adapter in the folder `path` for a model of `config`.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with what is missing, damaged, of another shape or not supported, and
/// [`FailureCode::SpecInvalid`] when the settings do not fit the model.
pub fn load<B: Backend>(
    path: &Path,
    config: &ModelConfig,
    device: &B::Device,
) -> Result<(LoraSettings, ParameterSet<B>), Failure> {
    let code = FailureCode::BaseModelInvalid;
    let file = path.join("adapter_config.json");
    let bytes = std::fs::read(&file).map_err(|error| Failure::io(code, "read", &file, &error))?;
    let settings = settings::read(&bytes)?;
    let plan = Plan::new(config, &settings)?;
    let expected: Vec<_> = plan
        .tensors()
        .into_iter()
        .map(|(name, [rows, columns])| match is_pair(&name) {
            true => (name, [columns, rows]),
            false => (name, [rows, columns]),
        })
        .collect();
    let files = TensorFiles::of(vec![TensorFile::open(
        &path.join("adapter_model.safetensors"),
        code,
    )?]);
    let naming = |name: &str| {
        let now = stored(config, &plan, name);
        let before = format!("{PREFIX}{}", config.file_name(name));
        match files.info(&now) {
            // Before PEFT 0.6 a layer with an update kept its bias under its old name.
            None if files.info(&before).is_some() => before,
            _ => now,
        }
    };
    // With `bias: all` PEFT writes the biases of saved norms three times.
    let repeated =
        |name: &str| name.ends_with(".modules_to_save.bias") || name.ends_with(".original_module.bias");
    let read = files.extract(&expected, naming, repeated, device)?;
    Ok((settings, turned(&read)?))
}

fn is_pair(name: &str) -> bool {
    name.ends_with(".lora_A") || name.ends_with(".lora_B")
}

/// What PEFT's file calls the tensor `name` of an adapter.
fn stored(config: &ModelConfig, plan: &Plan, name: &str) -> String {
    if is_pair(name) {
        return format!("{PREFIX}{}.weight", config.file_name(name));
    }
    // The bias of a layer with an update belongs to the layer that PEFT has wrapped.
    match name.strip_suffix(".bias") {
        Some(module) if plan.targets().any(|target| target == module) => {
            format!("{PREFIX}{}.base_layer.bias", config.file_name(module))
        }
        _ => format!("{PREFIX}{}", config.file_name(name)),
    }
}

/// Low-rank matrices transposed (PEFT keeps `[out, in]`), whole tensors as they are.
fn turned<B: Backend>(set: &ParameterSet<B>) -> Result<ParameterSet<B>, Failure> {
    let mut result = ParameterSet::default();
    for (name, tensor) in set.iter() {
        if !is_pair(name) {
            result.insert(name, tensor.clone());
            continue;
        }
        let transposed: Tensor<B, 2> = tensor.clone().transpose();
        let (shape, device) = (transposed.dims(), transposed.device());
        // A copy in rows: kernels and files want contiguous numbers.
        result.insert(name, matrix(values(transposed)?, shape, &device));
    }
    Ok(result)
}
