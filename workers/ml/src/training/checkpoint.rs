//! Checkpoints: everything that is needed to resume, in a folder that is complete or does not exist.
//!
//! Rule: a checkpoint is used only if all its files have the hashes in its manifest. The last two are kept, so a
//! damaged one costs only the steps between them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::backend::Backend;

use super::{optimizer::AdamW, progress::Progress};
use crate::{
    data::tokenizer::Tokenizer,
    failure::{Failure, FailureCode},
    files::{self, FileEntry},
    parameters::ParameterSet,
    tensor_file::{self, TensorSpec},
};

/// Number of checkpoints that are kept.
const KEPT: usize = 2;
const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.json";
const TOKENIZER: &str = "tokenizer.json";
const PARAMETERS: &str = "parameters.safetensors";
/// Present only where the best state is kept.
const BEST: &str = "best.safetensors";
const MEAN: &str = "optimizer_mean.safetensors";
const SQUARE: &str = "optimizer_square.safetensors";

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint<B: Backend> {
    /// State of the training.
    pub progress: Progress,
    /// The trained parameters.
    pub parameters: ParameterSet<B>,
    /// The parameters at the best evaluation, where they are kept.
    pub best: Option<ParameterSet<B>>,
    /// State of the optimizer.
    pub optimizer: AdamW<B>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
}

/// A checkpoint on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Its folder.
    pub folder: PathBuf,
    /// SHA-256 of its manifest, which covers all its files.
    pub sha256: String,
}

/// Writes `checkpoint` to its own folder in `folder` and removes older ones. Idempotent.
///
/// # Errors
/// [`FailureCode::DiskFull`] or an internal failure; earlier checkpoints remain intact.
pub fn write<B: Backend>(folder: &Path, checkpoint: &Checkpoint<B>) -> Result<SavedCheckpoint, Failure> {
    let json = |error| Failure::internal("encode a checkpoint", error);
    let mut contents = BTreeMap::from([
        (
            STATE.to_owned(),
            serde_json::to_vec_pretty(&checkpoint.progress).map_err(json)?,
        ),
        (TOKENIZER.to_owned(), checkpoint.tokenizer.to_bytes()?),
        (
            PARAMETERS.to_owned(),
            tensor_file::encode(&checkpoint.parameters, "")?,
        ),
        (
            MEAN.to_owned(),
            tensor_file::encode(&checkpoint.optimizer.mean, "")?,
        ),
        (
            SQUARE.to_owned(),
            tensor_file::encode(&checkpoint.optimizer.square, "")?,
        ),
    ]);
    if let Some(best) = &checkpoint.best {
        contents.insert(BEST.to_owned(), tensor_file::encode(best, "")?);
    }
    let entries: Vec<FileEntry> = contents
        .iter()
        .map(|(name, bytes)| FileEntry {
            name: name.clone(),
            sha256: files::sha256(bytes),
            bytes: bytes.len() as u64,
        })
        .collect();
    let manifest = serde_json::to_vec_pretty(&entries).map_err(json)?;
    let sha256 = files::sha256(&manifest);
    contents.insert(MANIFEST.to_owned(), manifest);
    let target = folder.join(format!("step-{:08}", checkpoint.progress.step));
    fail::fail_point!("trainer.before_checkpoint");
    files::write_folder(&target, &contents)?;
    fail::fail_point!("trainer.checkpoint_written");
    for outdated in list(folder)?.into_iter().rev().skip(KEPT) {
        files::remove_folder(&outdated)?;
    }
    Ok(SavedCheckpoint {
        folder: target,
        sha256,
    })
}

/// The checkpoints in `folder`, oldest first; none if the folder does not exist.
///
/// # Errors
/// An internal failure for an error of the operating system.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(FailureCode::Internal, "list", folder, &error)),
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| Failure::io(FailureCode::Internal, "list", folder, &error))?;
    paths.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("step-"))
    });
    paths.sort_unstable();
    Ok(paths)
}

/// Reads the checkpoint in `folder`, whose tensors must be those of `expected`.
///
/// # Errors
/// [`FailureCode::CheckpointCorrupt`] when a file is missing or damaged.
pub fn read<B: Backend>(
    folder: &Path,
    expected: &[TensorSpec],
    device: &B::Device,
) -> Result<Checkpoint<B>, Failure> {
    let has_best = verify(folder)?;
    let load = |name: &str| read_file(folder, name);
    let progress: Progress =
        serde_json::from_slice(&load(STATE)?).map_err(|error| corrupt(folder, STATE, error))?;
    let tensors = |name: &str| {
        tensor_file::read(
            &folder.join(name),
            expected,
            "",
            |_| false,
            FailureCode::CheckpointCorrupt,
            device,
        )
    };
    Ok(Checkpoint {
        parameters: tensors(PARAMETERS)?,
        best: has_best.then(|| tensors(BEST)).transpose()?,
        optimizer: AdamW {
            mean: tensors(MEAN)?,
            square: tensors(SQUARE)?,
            updates: progress.step,
        },
        tokenizer: read_tokenizer(folder)?,
        progress,
    })
}

/// Reads only the tokenizer, which is needed before the shapes of the tensors are known.
///
/// # Errors
/// [`FailureCode::CheckpointCorrupt`] when it is missing or damaged.
pub fn read_tokenizer(folder: &Path) -> Result<Tokenizer, Failure> {
    Tokenizer::from_bytes(&read_file(folder, TOKENIZER)?).map_err(|error| corrupt(folder, TOKENIZER, error))
}

/// The checkpoint `folder` if it is intact, else the newest intact one before it, with the failures of those that are
/// not.
///
/// # Errors
/// [`FailureCode::CheckpointCorrupt`] when there is none.
pub fn newest_intact(folder: &Path) -> Result<(PathBuf, Vec<Failure>), Failure> {
    let mut candidates = vec![folder.to_path_buf()];
    let siblings = list(folder.parent().unwrap_or(Path::new(".")))?;
    candidates.extend(
        siblings
            .into_iter()
            .rev()
            .filter(|sibling| sibling.file_name() < folder.file_name()),
    );
    let mut refused = Vec::new();
    for candidate in candidates {
        match verify(&candidate) {
            Ok(_) => return Ok((candidate, refused)),
            Err(failure) => refused.push(failure),
        }
    }
    let reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
    Err(Failure::new(
        FailureCode::CheckpointCorrupt,
        format!(
            "no checkpoint is usable; start a new training ({})",
            reasons.join("; ")
        ),
    ))
}

/// Removes the checkpoints after `kept` from `folder`: a training that resumes there writes them again, and they must
/// not count towards those that are kept.
///
/// # Errors
/// An internal failure for an error of the operating system.
pub fn remove_newer(folder: &Path, kept: &Path) -> Result<(), Failure> {
    for abandoned in list(folder)?
        .into_iter()
        .filter(|path| path.file_name() > kept.file_name())
    {
        files::remove_folder(&abandoned)?;
    }
    Ok(())
}

/// Verifies all files; returns whether the best state is among them.
fn verify(folder: &Path) -> Result<bool, Failure> {
    let entries: Vec<FileEntry> = serde_json::from_slice(&read_file(folder, MANIFEST)?)
        .map_err(|error| corrupt(folder, MANIFEST, error))?;
    let has_best = entries.iter().any(|entry| entry.name == BEST);
    let best = has_best.then_some(BEST);
    for name in [STATE, TOKENIZER, PARAMETERS, MEAN, SQUARE]
        .into_iter()
        .chain(best)
    {
        let promised = entries.iter().find(|entry| entry.name == name);
        let found = files::describe(&folder.join(name)).map_err(|error| corrupt(folder, name, error))?;
        if promised != Some(&found) {
            return Err(corrupt(folder, name, "its content is not what was written"));
        }
    }
    Ok(has_best)
}

/// Maximum size in bytes of a checkpoint's file that is read whole; the tokenizer is the largest.
const MAX_BYTES: u64 = 256 << 20;

fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    files::read_up_to(&folder.join(name), MAX_BYTES, FailureCode::CheckpointCorrupt)
        .map_err(|error| corrupt(folder, name, error))
}

fn corrupt(folder: &Path, name: &str, reason: impl std::fmt::Display) -> Failure {
    let checkpoint = folder.file_name().unwrap_or_default().display();
    Failure::new(
        FailureCode::CheckpointCorrupt,
        format!("checkpoint {checkpoint}: {name}: {reason}"),
    )
}
