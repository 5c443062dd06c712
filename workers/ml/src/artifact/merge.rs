//! A base model with an adapter merged into it, as a folder that `transformers` loads.
//!
//! Rule: every tensor keeps the type it has in the base, so a merged one is rounded once, at the end; what the
//! adapter does not touch keeps its bytes. Only one file of the weights is in memory at a time.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{DType, TensorData, backend::Backend};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, FailureCode},
    files::{self, FileEntry},
    lora::Plan,
    model::{
        config::{Family, HEAD, ModelConfig},
        folder::{
            COMPANIONS, pretty,
            weights::{self, INDEX, SINGLE},
        },
    },
    parameters::{ParameterSet, values},
    tensor_file::{self, TensorFiles},
};

/// Longest file of weights in bytes, as `save_pretrained` has it by default, but for a tensor that is longer alone.
pub const LONGEST: u64 = 5_000_000_000;

/// Writes the model in the folder `base`, which is of `config`, with the adapter `parameters` of `plan` merged into it
/// to the folder `target`, whole or not at all, with `card` as its model card. Equal inputs give equal bytes.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] when the base is no longer as it was loaded, [`FailureCode::LossNotFinite`] when a
/// merged number is too great for the base's type, [`FailureCode::DiskFull`], or an internal failure.
pub fn write<B: Backend>(
    base: &Path,
    config: &ModelConfig,
    plan: &Plan,
    parameters: &ParameterSet<B>,
    card: &str,
    target: &Path,
) -> Result<Vec<FileEntry>, Failure> {
    sharded(base, config, plan, parameters, card, target, LONGEST)
}

/// [`write`] with files of at most `longest` bytes.
///
/// # Errors
/// As [`write`].
pub fn sharded<B: Backend>(
    base: &Path,
    config: &ModelConfig,
    plan: &Plan,
    parameters: &ParameterSet<B>,
    card: &str,
    target: &Path,
    longest: u64,
) -> Result<Vec<FileEntry>, Failure> {
    let merge = Merge {
        base: weights::open(base)?,
        config,
        plan,
        parameters,
    };
    files::fill_folder(target, |folder| {
        merge.write_weights(folder, longest)?;
        let json = merge.configuration(base)?;
        put(folder, "config.json", &json)?;
        put(folder, "README.md", card.as_bytes())?;
        for name in COMPANIONS.into_iter().chain(["tokenizer.json"]) {
            let from = base.join(name);
            if from.exists() {
                std::fs::copy(&from, folder.join(name))
                    .map_err(|error| Failure::io(FailureCode::Internal, "copy", &from, &error))?;
            }
        }
        Ok(())
    })
}

struct Merge<'a, B: Backend> {
    base: TensorFiles,
    config: &'a ModelConfig,
    plan: &'a Plan,
    parameters: &'a ParameterSet<B>,
}

/// A tensor to be written.
struct Part {
    /// In [`ModelConfig::tensors`].
    name: String,
    shape: [usize; 2],
    /// In the base.
    stored: String,
    dtype: Dtype,
    bytes: u64,
}

impl<B: Backend> Merge<'_, B> {
    /// Whether the adapter has made two matrices of a tied one.
    fn unties(&self) -> bool {
        self.config.is_tied() && (self.plan.copies(HEAD) || self.plan.copies(self.config.embedding()))
    }

    /// The tensors of the merged model, in order of the names they are written under.
    fn parts(&self) -> Result<Vec<Part>, Failure> {
        let mut tensors = self.config.tensors();
        if self.unties() {
            tensors.push((HEAD.to_owned(), [self.config.vocab_size(), self.config.width()]));
        }
        tensors.sort_by_cached_key(|(name, _)| self.config.file_name(name));
        let part = |(name, shape): (String, [usize; 2])| {
            let own = if name == HEAD && self.config.is_tied() {
                self.config.embedding()
            } else {
                &name
            };
            let stored = weights::stored_name(&self.base, self.config, own);
            let (dtype, _) = self.base.info(&stored).ok_or_else(|| {
                Failure::new(
                    FailureCode::BaseModelInvalid,
                    format!("the base model has lost its {stored}; restore it and merge again"),
                )
            })?;
            let bytes = (shape[0] * shape[1] * dtype.bitsize() / 8) as u64;
            Ok(Part {
                name,
                shape,
                stored,
                dtype,
                bytes,
            })
        };
        tensors.into_iter().map(part).collect()
    }

    fn write_weights(&self, folder: &Path, longest: u64) -> Result<(), Failure> {
        let parts = self.parts()?;
        let shards = shards(&parts, longest);
        let name = |index: usize| match shards.len() {
            1 => SINGLE.to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let mut of: BTreeMap<String, String> = BTreeMap::new();
        for (index, shard) in shards.iter().enumerate() {
            let path = folder.join(name(index));
            let mut contents = Vec::new();
            for part in *shard {
                let stored = self.config.file_name(&part.name);
                of.insert(stored.clone(), name(index));
                contents.push((stored, part, self.bytes(part)?));
            }
            let views: Result<Vec<_>, _> = contents
                .iter()
                .map(|(stored, part, bytes)| {
                    let shape = tensor_file::stored_shape(&part.name, part.shape);
                    TensorView::new(part.dtype, shape, bytes).map(|view| (stored, view))
                })
                .collect();
            let views = views.map_err(|error| Failure::internal("describe a tensor", error))?;
            safetensors::serialize_to_file(views, Some(tensor_file::format()), &path).map_err(|error| {
                match error {
                    safetensors::SafeTensorError::IoError(error) => {
                        Failure::io(FailureCode::Internal, "write", &path, &error)
                    }
                    error => Failure::internal("encode tensors", error),
                }
            })?;
        }
        if shards.len() > 1 {
            let total: u64 = parts.iter().map(|part| part.bytes).sum();
            let index = json!({"metadata": {"total_size": total}, "weight_map": of});
            put(folder, INDEX, &pretty(&index)?)?;
        }
        Ok(())
    }

    /// The bytes of a tensor, merged where the adapter touches it.
    fn bytes(&self, part: &Part) -> Result<Vec<u8>, Failure> {
        let copied = self.plan.copies(&part.name);
        let module = part.name.strip_suffix(".weight");
        let target = module.filter(|module| self.plan.targets().any(|target| target == *module));
        let merged = match target {
            _ if copied => self.parameters.get(&part.name)?,
            Some(module) => {
                let [down, up] = ["A", "B"].map(|half| self.parameters.get(&format!("{module}.lora_{half}")));
                let update = down?.matmul(up?).mul_scalar(self.plan.scale());
                let update = match self.config.family() {
                    Family::Gpt2 => update,
                    Family::Llama => update.transpose(),
                };
                let device = update.device();
                self.base.floats::<B>(&part.stored, part.shape, &device)? + update
            }
            None => return self.base.bytes(&part.stored),
        };
        rounded(values(merged)?, part)
    }

    /// The base's `config.json`, its very bytes where nothing of it has changed.
    fn configuration(&self, base: &Path) -> Result<Vec<u8>, Failure> {
        let path = base.join("config.json");
        let bytes = std::fs::read(&path)
            .map_err(|error| Failure::io(FailureCode::BaseModelInvalid, "read", &path, &error))?;
        if !self.unties() {
            return Ok(bytes);
        }
        let mut json: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::internal("read config.json again", error))?;
        json["tie_word_embeddings"] = json!(false);
        pretty(&json)
    }
}

/// Runs of `parts` of at most `longest` bytes, or of one part.
fn shards(parts: &[Part], longest: u64) -> Vec<&[Part]> {
    let (mut shards, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, part) in parts.iter().enumerate() {
        if index > start && size + part.bytes > longest {
            shards.push(&parts[start..index]);
            (start, size) = (index, 0);
        }
        size += part.bytes;
    }
    shards.push(&parts[start..]);
    shards
}

/// `numbers` in the type of `part`, to the nearest.
fn rounded(numbers: Vec<f32>, part: &Part) -> Result<Vec<u8>, Failure> {
    let dtype = match part.dtype {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => DType::F32,
    };
    let greatest = numbers
        .iter()
        .fold(0f32, |greatest, number| greatest.max(number.abs()));
    // Half of the distance to the next number lies above the greatest of a type.
    let most = match dtype {
        DType::F16 => 65_520.0,
        DType::BF16 => 3.394e38,
        _ => f32::MAX,
    };
    if !(greatest <= most && numbers.iter().all(|number| number.is_finite())) {
        return Err(Failure::new(
            FailureCode::LossNotFinite,
            format!(
                "the merged {} has numbers that {:?} cannot hold; use the adapter without merging",
                part.name, part.dtype
            ),
        ));
    }
    let data = TensorData::new(numbers, part.shape).convert_dtype(dtype);
    Ok(data.as_bytes().to_vec())
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(|error| Failure::io(FailureCode::Internal, "write", &path, &error))
}
