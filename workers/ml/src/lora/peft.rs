//! Adapters as folders in the format of Hugging Face PEFT.
//!
//! Rule: `peft` and vLLM load the files unchanged; adapters that `peft` has written are read, or rejected with the
//! names of all unsupported settings.

mod settings;

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Tensor, backend::Backend};
use serde_json::json;

use super::plan::Plan;
use crate::{
    failure::{Failure, FailureCode},
    model::{
        config::{Family, ModelConfig},
        folder::to_pretty_json,
    },
    parameters::{ParameterSet, matrix, values},
    spec::{ALL_LINEAR, Lora},
    tensor_file::{self, TensorFile, TensorFiles},
};

/// Prefix of module names in PEFT's files.
const PREFIX: &str = "base_model.model.";

/// The files `adapter_config.json` and `adapter_model.safetensors` of an adapter for the model `base` of `config`.
///
/// # Errors
/// [`FailureCode::SpecInvalid`] when the settings do not fit the model, an internal failure when a tensor cannot be
/// read from the device.
pub fn encode<B: Backend>(
    config: &ModelConfig,
    settings: &Lora,
    parameters: &ParameterSet<B>,
    base: &str,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let plan = Plan::new(config, settings)?;
    let targets = match settings.target_modules.as_slice() {
        // As a list, as PEFT writes it.
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
        ("adapter_config.json".to_owned(), to_pretty_json(&json)?),
        (
            "adapter_model.safetensors".to_owned(),
            tensor_file::encode_named(&transpose_low_rank(parameters)?, |name| {
                peft_name(config, &plan, name)
            })?,
        ),
    ]))
}

/// Reads the adapter in the folder `path` for a model of `config`.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with everything that is missing, damaged, of another shape or not supported, and
/// [`FailureCode::SpecInvalid`] when the settings do not fit the model.
pub fn load<B: Backend>(
    path: &Path,
    config: &ModelConfig,
    device: &B::Device,
) -> Result<(Lora, ParameterSet<B>), Failure> {
    let code = FailureCode::BaseModelInvalid;
    let file = path.join("adapter_config.json");
    let bytes = crate::files::read(&file, code)?;
    let settings = settings::read(&bytes)?;
    let plan = Plan::new(config, &settings)?;
    let expected: Vec<_> = plan
        .tensors()
        .into_iter()
        .map(|(name, [rows, columns])| match is_low_rank(&name) {
            true => (name, [columns, rows]),
            false => (name, [rows, columns]),
        })
        .collect();
    let files = TensorFiles::of(vec![TensorFile::open(
        &path.join("adapter_model.safetensors"),
        code,
    )?]);
    let naming = |name: &str| {
        let now = peft_name(config, &plan, name);
        let before = format!("{PREFIX}{}", config.file_name(name));
        match files.info(&now) {
            // Before PEFT 0.6 the bias of a wrapped layer kept its name.
            None if files.info(&before).is_some() => before,
            _ => now,
        }
    };
    // With `bias: all` PEFT writes the biases of saved norms three times.
    let repeated =
        |name: &str| name.ends_with(".modules_to_save.bias") || name.ends_with(".original_module.bias");
    let read = files.extract(&expected, naming, repeated, device)?;
    Ok((settings, transpose_low_rank(&read)?))
}

fn is_low_rank(name: &str) -> bool {
    name.ends_with(".lora_A") || name.ends_with(".lora_B")
}

/// Name of the adapter's tensor `name` in PEFT's file.
fn peft_name(config: &ModelConfig, plan: &Plan, name: &str) -> String {
    if is_low_rank(name) {
        return format!("{PREFIX}{}.weight", config.file_name(name));
    }
    // PEFT stores the bias of an adapted layer under the layer that it wraps.
    match name.strip_suffix(".bias") {
        Some(module) if plan.targets().any(|target| target == module) => {
            format!("{PREFIX}{}.base_layer.bias", config.file_name(module))
        }
        _ => format!("{PREFIX}{}", config.file_name(name)),
    }
}

/// The same set with low-rank matrices transposed, because PEFT stores `[out, in]`.
fn transpose_low_rank<B: Backend>(set: &ParameterSet<B>) -> Result<ParameterSet<B>, Failure> {
    let mut result = ParameterSet::default();
    for (name, tensor) in set.iter() {
        if !is_low_rank(name) {
            result.insert(name, tensor.clone());
            continue;
        }
        let transposed: Tensor<B, 2> = tensor.clone().transpose();
        let (shape, device) = (transposed.dims(), transposed.device());
        // Copied, because kernels and files need contiguous rows.
        result.insert(name, matrix(values(transposed)?, shape, &device));
    }
    Ok(result)
}
