//! A base model with an adapter merged into it, as a folder that `transformers` loads.
//!
//! Rule: every tensor keeps the type it has in the base and is rounded once, at the end; tensors that the adapter
//! does not change keep their bytes. Only one shard is in memory at a time.

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
            OPTIONAL_FILES, to_pretty_json,
            weights::{self, INDEX_FILE, SINGLE_FILE},
        },
    },
    parameters::{ParameterSet, values},
    tensor_file::{self, TensorFiles},
};

/// Maximum size of a shard in bytes, the default of `save_pretrained`; a single larger tensor makes a larger shard.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// Merges the adapter `parameters` of `plan` into the model of `config` in the folder `base`, and writes the result
/// to the folder `target`, completely or not at all, with `card` as its model card. The same inputs give the same
/// bytes.
///
/// # Errors
/// [`FailureCode::BaseModelInvalid`] when the base has changed since it was loaded, [`FailureCode::LossNotFinite`]
/// when a merged value exceeds the range of the base's type, [`FailureCode::DiskFull`], or an internal failure.
pub fn write<B: Backend>(
    base: &Path,
    config: &ModelConfig,
    plan: &Plan,
    parameters: &ParameterSet<B>,
    card: &str,
    target: &Path,
) -> Result<Vec<FileEntry>, Failure> {
    write_sharded(base, config, plan, parameters, card, target, MAX_SHARD_BYTES)
}

/// As [`write`], with shards of at most `max_bytes` bytes.
///
/// # Errors
/// As [`write`].
pub fn write_sharded<B: Backend>(
    base: &Path,
    config: &ModelConfig,
    plan: &Plan,
    parameters: &ParameterSet<B>,
    card: &str,
    target: &Path,
    max_bytes: u64,
) -> Result<Vec<FileEntry>, Failure> {
    let merge = Merge {
        base: weights::open(base)?,
        config,
        plan,
        parameters,
    };
    files::fill_folder(target, |folder| {
        merge.write_weights(folder, max_bytes)?;
        let json = merge.configuration(base)?;
        write_file(folder, "config.json", &json)?;
        write_file(folder, "README.md", card.as_bytes())?;
        for name in OPTIONAL_FILES.into_iter().chain(["tokenizer.json"]) {
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

/// A tensor of the merged model.
struct MergedTensor {
    /// Its name in [`ModelConfig::tensors`].
    name: String,
    shape: [usize; 2],
    /// Its name in the base.
    stored: String,
    dtype: Dtype,
    bytes: u64,
}

impl<B: Backend> Merge<'_, B> {
    /// Whether the adapter changes only one of two tied matrices.
    fn unties(&self) -> bool {
        self.config.has_tied_embeddings()
            && (self.plan.trains_fully(HEAD) || self.plan.trains_fully(self.config.embedding()))
    }

    /// The tensors of the merged model, in order of their names in the file.
    fn tensors_to_write(&self) -> Result<Vec<MergedTensor>, Failure> {
        let mut tensors = self.config.tensors();
        if self.unties() {
            tensors.push((HEAD.to_owned(), [self.config.vocab_size(), self.config.width()]));
        }
        tensors.sort_by_cached_key(|(name, _)| self.config.file_name(name));
        let part = |(name, shape): (String, [usize; 2])| {
            let own = if name == HEAD && self.config.has_tied_embeddings() {
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
            Ok(MergedTensor {
                name,
                shape,
                stored,
                dtype,
                bytes,
            })
        };
        tensors.into_iter().map(part).collect()
    }

    fn write_weights(&self, folder: &Path, max_bytes: u64) -> Result<(), Failure> {
        let tensors_to_write = self.tensors_to_write()?;
        let shards = shards(&tensors_to_write, max_bytes);
        let name = |index: usize| match shards.len() {
            1 => SINGLE_FILE.to_owned(),
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
            let total: u64 = tensors_to_write.iter().map(|part| part.bytes).sum();
            let index = json!({"metadata": {"total_size": total}, "weight_map": of});
            write_file(folder, INDEX_FILE, &to_pretty_json(&index)?)?;
        }
        Ok(())
    }

    /// The bytes of a tensor, merged where the adapter changes it.
    fn bytes(&self, part: &MergedTensor) -> Result<Vec<u8>, Failure> {
        let copied = self.plan.trains_fully(&part.name);
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
                self.base.tensor::<B>(&part.stored, part.shape, &device)? + update
            }
            None => return self.base.bytes(&part.stored),
        };
        to_dtype(values(merged)?, part)
    }

    /// The base's `config.json`, byte for byte where nothing has changed.
    fn configuration(&self, base: &Path) -> Result<Vec<u8>, Failure> {
        let path = base.join("config.json");
        let bytes = crate::files::read(&path, FailureCode::BaseModelInvalid)?;
        if !self.unties() {
            return Ok(bytes);
        }
        let mut json: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::internal("read config.json again", error))?;
        json["tie_word_embeddings"] = json!(false);
        to_pretty_json(&json)
    }
}

/// Splits `tensors_to_write` into shards of at most `max_bytes` bytes, or of one tensor.
fn shards(tensors_to_write: &[MergedTensor], max_bytes: u64) -> Vec<&[MergedTensor]> {
    let (mut shards, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, part) in tensors_to_write.iter().enumerate() {
        if index > start && size + part.bytes > max_bytes {
            shards.push(&tensors_to_write[start..index]);
            (start, size) = (index, 0);
        }
        size += part.bytes;
    }
    shards.push(&tensors_to_write[start..]);
    shards
}

/// `numbers` in the type of `part`, rounded to nearest.
fn to_dtype(numbers: Vec<f32>, part: &MergedTensor) -> Result<Vec<u8>, Failure> {
    let dtype = match part.dtype {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => DType::F32,
    };
    let greatest = numbers
        .iter()
        .fold(0f32, |greatest, number| greatest.max(number.abs()));
    // The largest value that rounds to the largest finite value of the type.
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

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(|error| Failure::io(FailureCode::Internal, "write", &path, &error))
}
