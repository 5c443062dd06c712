//! The weights of a model folder: one `model.safetensors`, or shards with an index.
//!
//! Rule: an index is accepted only if it agrees with the shards, and it never leads out of the folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};

use crate::{
    failure::{Failure, FailureCode},
    files,
    model::config::{HEAD, ModelConfig, invalid},
    parameters::ParameterSet,
    tensor_file::{TensorFile, TensorFiles, join_problems},
};

/// File of weights that are not sharded.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The index: which shard contains which tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

const CODE: FailureCode = FailureCode::BaseModelInvalid;

/// The names of the files in `folder` that contain the weights, the index first where there is one.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] when there are none or both kinds, and for an index that is invalid or leads out
/// of the folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let exists = |name: &str| folder.join(name).exists();
    names_of(exists, || files::read(&folder.join(INDEX_FILE), CODE))
}

/// As [`names`], of a folder that has a file where `has` says so, and the index that `index` reads.
pub(super) fn names_of(
    has: impl Fn(&str) -> bool,
    index: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<Vec<String>, Failure> {
    match (has(SINGLE_FILE), has(INDEX_FILE)) {
        (true, false) => Ok(vec![SINGLE_FILE.to_owned()]),
        (false, true) => {
            let shards: BTreeSet<String> = weight_map(&index()?)?.into_values().collect();
            Ok(std::iter::once(INDEX_FILE.to_owned()).chain(shards).collect())
        }
        (false, false) => Err(invalid(format!(
            "there is neither {SINGLE_FILE} nor {INDEX_FILE}; the folder lacks its weights, or has them in another format"
        ))),
        (true, true) => Err(invalid(format!(
            "{SINGLE_FILE} and {INDEX_FILE} are both there; remove the one that does not belong to the model"
        ))),
    }
}

/// Opens the weights in `folder`.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with all problems of the index and its shards.
pub fn open(folder: &Path) -> Result<TensorFiles, Failure> {
    let names = names(folder)?;
    let sharded = names.first().is_some_and(|name| name == INDEX_FILE);
    let mut opened = Vec::new();
    let mut problems = Vec::new();
    for name in names.iter().filter(|name| *name != INDEX_FILE) {
        match TensorFile::open(&folder.join(name), CODE) {
            Ok(file) => opened.push((name.as_str(), file)),
            Err(failure) => problems.push(failure.message),
        }
    }
    if sharded {
        let index = files::read(&folder.join(INDEX_FILE), CODE)?;
        compare(&weight_map(&index)?, &opened, &mut problems);
        problems.extend(unlisted_files(folder, &names)?);
    }
    match (problems.is_empty(), sharded) {
        (true, _) => Ok(TensorFiles::of(
            opened.into_iter().map(|(_, file)| file).collect(),
        )),
        (false, true) => Err(invalid(format!("{INDEX_FILE}: {}", join_problems(&problems)))),
        (false, false) => Err(invalid(join_problems(&problems))),
    }
}

/// The shard of each tensor, according to the index `bytes`.
fn weight_map(bytes: &[u8]) -> Result<BTreeMap<String, String>, Failure> {
    let json: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("{INDEX_FILE} is not a JSON object: {error}")))?;
    let Some(Value::Object(map)) = json.get("weight_map") else {
        return Err(invalid(format!("{INDEX_FILE} has no weight_map")));
    };
    let mut problems = Vec::new();
    let mut of = BTreeMap::new();
    for (tensor, file) in map {
        match file.as_str().filter(|file| is_weight_file_name(file)) {
            Some(file) => {
                of.insert(tensor.clone(), file.to_owned());
            }
            None => problems.push(format!(
                "{tensor} is mapped to {file}, which is not a file of the folder"
            )),
        }
    }
    if of.is_empty() && problems.is_empty() {
        problems.push("weight_map is empty".to_owned());
    }
    if problems.is_empty() {
        Ok(of)
    } else {
        Err(invalid(format!("{INDEX_FILE}: {}", join_problems(&problems))))
    }
}

/// Whether `name` is the name of a weight file and not a path.
fn is_weight_file_name(name: &str) -> bool {
    name.ends_with(".safetensors")
        && !name.starts_with('.')
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
}

/// Adds the differences between index and shards to `problems`.
fn compare(of: &BTreeMap<String, String>, files: &[(&str, TensorFile)], problems: &mut Vec<String>) {
    for (tensor, file) in of {
        if let Some((_, found)) = files.iter().find(|(name, _)| name == file)
            && found.info(tensor).is_none()
        {
            problems.push(format!("{tensor} is not in {file}"));
        }
    }
    for (name, file) in files {
        for tensor in file.names() {
            match of.get(tensor) {
                Some(said) if said == name => {}
                Some(said) => problems.push(format!("{tensor} is in {name} and not only in {said}")),
                None => problems.push(format!("{tensor} of {name} is not in the index")),
            }
        }
    }
}

/// Shards in `folder` that are not among `names`.
fn unlisted_files(folder: &Path, names: &[String]) -> Result<Vec<String>, Failure> {
    let io = |error: std::io::Error| Failure::io(CODE, "list", folder, &error);
    let mut unlisted_files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("model-") && name.ends_with(".safetensors") && !names.contains(&name) {
            unlisted_files.push(format!("{name} is not in the index"));
        }
    }
    unlisted_files.sort_unstable();
    Ok(unlisted_files)
}

/// The name in `files` of the tensor that [`ModelConfig::tensors`] calls `name`; some files lack the prefix of the
/// base model.
pub fn stored_name(files: &TensorFiles, config: &ModelConfig, name: &str) -> String {
    let embedding = config.embedding();
    if files.info(embedding).is_some() && files.info(&config.file_name(embedding)).is_none() {
        name.to_owned()
    } else {
        config.file_name(name)
    }
}

/// Whether the file's tensor `name` is not part of the network: old files contain causal masks and rotary
/// frequencies, and tied models the output matrix a second time.
pub fn is_ignored(config: &ModelConfig, name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"]
        .iter()
        .any(|end| name.ends_with(end))
        || (config.has_tied_embeddings() && name == HEAD)
}

/// Checks that `files` are the weights of a model of `config`, by their headers. Of tensors only an output matrix is
/// read that a tied model contains a second time, in pieces.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with everything that is missing, unexpected or of another type or shape.
pub(super) fn check(files: &TensorFiles, config: &ModelConfig) -> Result<(), Failure> {
    let naming = |name: &str| stored_name(files, config, name);
    let embedding = naming(config.embedding());
    let twice =
        config.has_tied_embeddings() && files.info(HEAD).is_some() && files.info(&embedding).is_some();
    if twice && !files.are_equal(HEAD, &embedding)? {
        return Err(invalid(format!(
            "{SINGLE_FILE} has an {HEAD} of its own, but config.json says tie_word_embeddings; set that to false if \
             the head is meant"
        )));
    }
    files.check(&config.tensors(), naming, |name| is_ignored(config, name))
}

/// The parameters of a model of `config` in `files`.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] with everything that is missing, unexpected or of another shape.
pub(super) fn read<B: Backend>(
    files: &TensorFiles,
    config: &ModelConfig,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    check(files, config)?;
    let naming = |name: &str| stored_name(files, config, name);
    files.extract(&config.tensors(), naming, |name| is_ignored(config, name), device)
}
