//! Models as folders in the Hugging Face layout.
//!
//! Rule: a folder is read completely and checked before it is used; folders that are written load in `transformers`
//! unchanged.

pub mod weights;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use burn::tensor::{FloatDType, backend::Backend};
use serde_json::{Value, json};

use super::{
    config::{ModelConfig, invalid},
    generation::GenerationSettings,
};
use crate::{
    data::tokenizer::Tokenizer,
    failure::{Failure, FailureCode},
    files as disk,
    parameters::ParameterSet,
    random::{Purpose, normal, stream},
    tensor_file,
};

/// Optional files besides weights and configuration that affect what a model computes.
pub const OPTIONAL_FILES: [&str; 8] = [
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// A model folder in memory.
#[derive(Clone, Debug)]
pub struct ModelFolder<B: Backend> {
    /// Its configuration, with the end-of-text tokens of [`ModelFolder::generation`].
    pub config: ModelConfig,
    /// Its parameters.
    pub parameters: ParameterSet<B>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Default generation settings.
    pub generation: GenerationSettings,
    /// SHA-256 over the names and hashes of its [`files`](files()).
    pub sha256: String,
}

/// Reads the model in the folder `path`, in 32-bit floats.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with everything that is missing, unexpected, of another shape or damaged, and
/// for a tokenizer with more tokens than the model.
pub fn load<B: Backend>(path: &Path, device: &B::Device) -> Result<ModelFolder<B>, Failure> {
    load_with_dtype(path, FloatDType::F32, device)
}

/// As [`load`], with the parameters as `dtype` on the device.
///
/// # Errors
/// Those of [`load`].
pub fn load_with_dtype<B: Backend>(
    path: &Path,
    dtype: FloatDType,
    device: &B::Device,
) -> Result<ModelFolder<B>, Failure> {
    let (config, tokenizer, generation) = described(path)?;
    let parameters = weights::read(&weights::open(path)?.with_dtype(dtype), &config, device)?;
    Ok(ModelFolder {
        config,
        parameters,
        tokenizer,
        generation,
        sha256: fingerprint(path)?,
    })
}

/// Checks the model in the folder `path` as [`load`] does, without loading it: weights are checked by their headers, so
/// that memory does not depend on their size. Answers with the names of its [`files`](files()).
///
/// # Errors
/// Those of [`load`].
pub fn check(path: &Path) -> Result<Vec<String>, Failure> {
    let (config, ..) = described(path)?;
    weights::check(&weights::open(path)?, &config)?;
    files(path)
}

/// All of the model in the folder `path` but its weights.
fn described(path: &Path) -> Result<(ModelConfig, Tokenizer, GenerationSettings), Failure> {
    check_sizes(path)?;
    let mut config = config(path)?;
    let tokenizer = Tokenizer::read(path)?;
    if tokenizer.embedding_rows() > config.vocab_size() {
        let (tokens, rows) = (tokenizer.embedding_rows(), config.vocab_size());
        return Err(invalid(format!(
            "tokenizer.json has {tokens} tokens but the model only {rows}; they do not belong together"
        )));
    }
    let generation = if path.join("generation_config.json").exists() {
        let file = path.join("generation_config.json");
        GenerationSettings::from_json(&disk::read(&file, FailureCode::BaseModelInvalid)?, &config)?
    } else {
        GenerationSettings::of(&config)
    };
    config.set_eos_tokens(&generation.eos_tokens);
    Ok((config, tokenizer, generation))
}

/// What a look at `files` tells, each under its name with where it is read: the names of those that a model consists of.
/// Configuration and index are read; nothing else is opened.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with everything that is missing, too large, or of another architecture.
pub fn look(files: &BTreeMap<String, PathBuf>) -> Result<Vec<String>, Failure> {
    let read = |name: &str| {
        let path = files
            .get(name)
            .ok_or_else(|| invalid(format!("{name} is missing")))?;
        small_files::read_bounded(path, disk::limit_of(name))
            .map_err(|error| invalid(format!("{name} {}", error.why)))
    };
    let mut problems = too_large(|name| files.get(name)?.metadata().ok());
    if problems.is_empty() {
        problems.extend(["tokenizer.json"].into_iter().filter_map(|name| {
            let missing = !files.contains_key(name);
            missing.then(|| format!("{name} is missing"))
        }));
        let config = read("config.json").and_then(|bytes| ModelConfig::from_json(&bytes));
        problems.extend(config.err().map(|failure| failure.message));
        if files.contains_key("adapter_config.json") && !files.contains_key("config.json") {
            problems
                .push("the folder holds an adapter; import the base model that it was trained on".to_owned());
        }
    }
    let has = |name: &str| files.contains_key(name);
    let mut names = match weights::names_of(has, || read(weights::INDEX_FILE)) {
        Ok(names) => names,
        Err(failure) => {
            problems.push(failure.message);
            Vec::new()
        }
    };
    problems.extend(
        names
            .iter()
            .filter(|name| !has(name))
            .map(|name| format!("{name} is missing, and the index names it")),
    );
    if !problems.is_empty() {
        return Err(invalid(tensor_file::join_problems(&problems)));
    }
    names.extend(["config.json", "tokenizer.json"].map(str::to_owned));
    names.extend(
        OPTIONAL_FILES
            .into_iter()
            .filter(|name| has(name))
            .map(str::to_owned),
    );
    names.sort_unstable();
    Ok(names)
}

/// Rejects files that are larger than any of their kind, before one of them is read. All of them are named, also those
/// that are only passed on.
fn check_sizes(path: &Path) -> Result<(), Failure> {
    let problems = too_large(|name| path.join(name).metadata().ok());
    match problems.is_empty() {
        true => Ok(()),
        false => Err(invalid(tensor_file::join_problems(&problems))),
    }
}

/// The small files that are larger than any of their kind, by what `about` says of each.
fn too_large(about: impl Fn(&str) -> Option<std::fs::Metadata>) -> Vec<String> {
    let mut problems = Vec::new();
    for name in OPTIONAL_FILES
        .into_iter()
        .chain(["config.json", "tokenizer.json", weights::INDEX_FILE])
    {
        let Some(about) = about(name) else {
            continue;
        };
        let (bytes, limit) = (about.len(), disk::limit_of(name));
        if about.is_file() && bytes > limit {
            problems.push(format!("{name} has {bytes} bytes, at most {limit} are supported"));
        }
    }
    problems
}

/// The configuration of the model in the folder `path`, without its weights.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] when it is missing or its architecture is not supported.
pub fn config(path: &Path) -> Result<ModelConfig, Failure> {
    let file = path.join("config.json");
    let bytes = disk::read(&file, FailureCode::BaseModelInvalid)?;
    ModelConfig::from_json(&bytes)
}

/// The names of the files in the folder `path` that affect what its model computes, in order.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] when it has no weights or an invalid index.
pub fn files(path: &Path) -> Result<Vec<String>, Failure> {
    let mut names = weights::names(path)?;
    names.extend(["config.json", "tokenizer.json"].map(str::to_owned));
    let companions = OPTIONAL_FILES.into_iter().filter(|name| path.join(name).exists());
    names.extend(companions.map(str::to_owned));
    names.sort_unstable();
    Ok(names)
}

fn fingerprint(path: &Path) -> Result<String, Failure> {
    let mut lines = String::new();
    for name in files(path)? {
        let entry = disk::describe(&path.join(&name))?;
        writeln!(lines, "{}  {name}", entry.sha256)
            .map_err(|error| Failure::internal("list the files of a model", error))?;
    }
    Ok(disk::sha256(lines.as_bytes()))
}

/// New parameters for `config`, initialised as in its family: normal with deviation 0.02 or the configuration's
/// `initializer_range`, divided by √(2 · layers) for GPT-2's two matrices that write to the residual stream; norms 1,
/// biases 0.
#[must_use]
pub fn initialize<B: Backend>(config: &ModelConfig, seed: u64, device: &B::Device) -> ParameterSet<B> {
    let mut set = ParameterSet::default();
    let deviation = match config {
        ModelConfig::Gpt2(_) => 0.02,
        ModelConfig::Llama(llama) => llama.initializer_range,
    };
    for (index, (name, shape)) in config.tensors().into_iter().enumerate() {
        let count = shape[0] * shape[1];
        let residual = if name.ends_with("c_proj.weight") {
            (2.0 * config.layers() as f64).sqrt()
        } else {
            1.0
        };
        let numbers = if name.ends_with(".bias") {
            vec![0.0; count]
        } else if tensor_file::is_vector(&name) {
            vec![1.0; count]
        } else {
            let mut rng = stream(seed, Purpose::Initialisation, 0, index as u64);
            normal(&mut rng, count, deviation / residual)
        };
        set.insert(name, crate::parameters::matrix(numbers, shape, device));
    }
    set
}

/// The files of a model folder: configuration, weights, tokenizer and generation settings.
///
/// # Errors
/// An internal failure when a tensor cannot be read from the device.
pub fn encode<B: Backend>(
    config: &ModelConfig,
    parameters: &ParameterSet<B>,
    tokenizer: &Tokenizer,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let json = config.to_json();
    let generation = json!({
        "_from_model_config": true, "bos_token_id": json["bos_token_id"], "eos_token_id": json["eos_token_id"],
    });
    Ok(BTreeMap::from([
        ("config.json".to_owned(), to_pretty_json(&json)?),
        ("generation_config.json".to_owned(), to_pretty_json(&generation)?),
        (
            weights::SINGLE_FILE.to_owned(),
            tensor_file::encode_named(parameters, |name| config.file_name(name))?,
        ),
        ("tokenizer.json".to_owned(), tokenizer.to_bytes()?),
        (
            "tokenizer_config.json".to_owned(),
            to_pretty_json(&tokenizer.config_json(config.context()))?,
        ),
    ]))
}

/// Indented JSON with a final line break.
pub(crate) fn to_pretty_json(json: &Value) -> Result<Vec<u8>, Failure> {
    let mut bytes =
        serde_json::to_vec_pretty(json).map_err(|error| Failure::internal("encode JSON", error))?;
    bytes.push(b'\n');
    Ok(bytes)
}
