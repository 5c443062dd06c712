//! Models as folders in the Hugging Face layout.
//!
//! Rule: a folder is read whole and checked before anything is computed with it; what is written loads in
//! `transformers` unchanged.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::backend::Backend;
use serde_json::{Value, json};

use super::config::{Gpt2Config, invalid};
use crate::{
    data::tokenizer::Tokenizer,
    failure::{Failure, FailureCode},
    files,
    parameters::ParameterSet,
    random::{Purpose, normal, stream},
    tensor_file,
};

/// What `save_pretrained` puts before each name; files on the hub often lack it.
const PREFIX: &str = "transformer.";

/// A model folder in memory.
#[derive(Clone, Debug)]
pub struct ModelFolder<B: Backend> {
    /// Its shape.
    pub config: Gpt2Config,
    /// Its weights, 32-bit.
    pub parameters: ParameterSet<B>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// SHA-256 over the hashes of `config.json`, `model.safetensors` and `tokenizer.json`.
    pub sha256: String,
}

/// Reads the model in the folder `path`.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with what is missing, surplus, of another shape or damaged, and for a
/// tokenizer with more tokens than the model.
pub fn load<B: Backend>(path: &Path, device: &B::Device) -> Result<ModelFolder<B>, Failure> {
    let read = |name: &str| {
        let file = path.join(name);
        std::fs::read(&file)
            .map_err(|error| Failure::io(FailureCode::BaseModelInvalid, "read", &file, &error))
    };
    let config = Gpt2Config::from_json(&read("config.json")?)?;
    let tokenizer = Tokenizer::read(path)?;
    if tokenizer.size() > config.vocab_size {
        let (tokens, rows) = (tokenizer.size(), config.vocab_size);
        return Err(invalid(format!(
            "tokenizer.json has {tokens} tokens but the model only {rows}; they do not belong together"
        )));
    }
    let parameters = read_weights(&path.join("model.safetensors"), &config, device)?;
    let mut hashes = String::new();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        hashes.push_str(&files::describe(&path.join(name))?.sha256);
    }
    Ok(ModelFolder {
        config,
        parameters,
        tokenizer,
        sha256: files::sha256(hashes.as_bytes()),
    })
}

fn read_weights<B: Backend>(
    path: &Path,
    config: &Gpt2Config,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    let code = FailureCode::BaseModelInvalid;
    let bytes = std::fs::read(path).map_err(|error| Failure::io(code, "read", path, &error))?;
    let file = tensor_file::parse(&bytes, path, code)?;
    let prefix = if file.tensor("transformer.wte.weight").is_ok() {
        PREFIX
    } else {
        ""
    };
    if let (Ok(head), Ok(embedding)) = (
        file.tensor("lm_head.weight"),
        file.tensor(&format!("{prefix}wte.weight")),
    ) && head.data() != embedding.data()
    {
        return Err(invalid(
            "model.safetensors has an lm_head of its own; only tied embeddings are supported",
        ));
    }
    // Old files keep the causal mask as a tensor, and tied ones sometimes the head a second time.
    let ignored = |name: &str| {
        name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name == "lm_head.weight"
    };
    tensor_file::extract(&file, path, &config.tensors(), prefix, ignored, code, device)
}

/// New weights for `config` as GPT-2 draws them: N(0, 0.02²), the two matrices that write to the residual
/// stream by √(2 · layers) less, norms 1, biases 0.
#[must_use]
pub fn initial<B: Backend>(config: &Gpt2Config, seed: u64, device: &B::Device) -> ParameterSet<B> {
    let mut set = ParameterSet::default();
    for (index, (name, shape)) in config.tensors().into_iter().enumerate() {
        let count = shape[0] * shape[1];
        let residual = if name.ends_with("c_proj.weight") {
            (2.0 * config.layers as f64).sqrt()
        } else {
            1.0
        };
        let numbers = match name.as_str() {
            bias if bias.ends_with(".bias") => vec![0.0; count],
            norm if norm.contains("ln_") => vec![1.0; count],
            _ => normal(
                &mut stream(seed, Purpose::Initialisation, 0, index as u64),
                count,
                0.02 / residual,
            ),
        };
        set.insert(name, crate::parameters::matrix(numbers, shape, device));
    }
    set
}

/// The files of a model folder: configuration, weights, tokenizer and how to generate.
///
/// # Errors
/// An internal failure when a tensor cannot be read from the device.
pub fn encode<B: Backend>(
    config: &Gpt2Config,
    parameters: &ParameterSet<B>,
    tokenizer: &Tokenizer,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let generation = json!({
        "_from_model_config": true, "bos_token_id": config.end_of_text, "eos_token_id": config.end_of_text,
    });
    Ok(BTreeMap::from([
        ("config.json".to_owned(), pretty(&config.to_json())?),
        ("generation_config.json".to_owned(), pretty(&generation)?),
        (
            "model.safetensors".to_owned(),
            tensor_file::encode(parameters, PREFIX)?,
        ),
        ("tokenizer.json".to_owned(), tokenizer.to_bytes()?),
        (
            "tokenizer_config.json".to_owned(),
            pretty(&tokenizer.settings(config.context))?,
        ),
    ]))
}

/// JSON for people: indented, with a final line end.
pub(crate) fn pretty(json: &Value) -> Result<Vec<u8>, Failure> {
    let mut bytes =
        serde_json::to_vec_pretty(json).map_err(|error| Failure::internal("encode JSON", error))?;
    bytes.push(b'\n');
    Ok(bytes)
}
