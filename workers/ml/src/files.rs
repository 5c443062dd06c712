//! Atomic writing of folders, hashes of files, and reading of small files whole.
//!
//! Rule: nothing is visible under its final name before all its bytes are on the disk, and nothing is read whole without a
//! limit.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use small_files::{ReadError, Why};

use crate::failure::{Failure, FailureCode};

/// Maximum size of a file with a vocabulary in bytes: `tokenizer.json`, `tokenizer.model`, `vocab.json`, `merges.txt`.
/// Those of published models have up to 35 MB.
const VOCABULARY: u64 = 256 << 20;
/// Maximum size of a file that grows with a model in bytes: the index of its shards, the configuration of its tokenizer,
/// its added and special tokens, and the templates in them. Those of published models have up to 10 MB.
const TABLE: u64 = 64 << 20;
/// Maximum size of every other small file in bytes: configurations, templates, job files, lists of files. A few
/// kilobytes are common.
const SETTINGS: u64 = 16 << 20;

/// Maximum size in bytes of the file called `name` when it is read whole. Weights are read tensor by tensor and have
/// none.
#[must_use]
pub fn limit_of(name: &str) -> u64 {
    match name {
        "tokenizer.json" | "tokenizer.model" | "vocab.json" | "merges.txt" => VOCABULARY,
        "model.safetensors.index.json"
        | "tokenizer_config.json"
        | "added_tokens.json"
        | "special_tokens_map.json" => TABLE,
        _ => SETTINGS,
    }
}

/// The content of the file at `path`, which must be a regular file of at most [`limit_of`] bytes; a larger one is
/// refused before it is read. `None` when it does not exist.
///
/// # Errors
/// `code`, with name, size and limit.
pub fn read_optional(path: &Path, code: FailureCode) -> Result<Option<Vec<u8>>, Failure> {
    match small_files::read_bounded(path, limit_of(&file_name(path))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(unreadable(code, &error)),
    }
}

/// As [`read_optional`], for a file that must exist.
///
/// # Errors
/// `code`, with name, size and limit.
pub fn read(path: &Path, code: FailureCode) -> Result<Vec<u8>, Failure> {
    read_up_to(path, limit_of(&file_name(path)), code)
}

/// As [`read`], with at most `limit` bytes.
///
/// # Errors
/// `code`, with name, size and limit.
pub fn read_up_to(path: &Path, limit: u64, code: FailureCode) -> Result<Vec<u8>, Failure> {
    small_files::read_bounded(path, limit).map_err(|error| unreadable(code, &error))
}

/// The failure to read a file. As every [`Failure`] it contains only the last component of the path.
pub(crate) fn unreadable(code: FailureCode, error: &ReadError) -> Failure {
    match &error.why {
        Why::Io { source } => Failure::io(code, "read", &error.path, source),
        why => Failure::new(code, format!("{} {why}", file_name(&error.path))),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A file of a folder, with what a reader verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name within its folder.
    pub name: String,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// SHA-256 of `bytes`, lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The entry of the file at `path`, which is read in chunks.
///
/// # Errors
/// [`FailureCode::Internal`] when the file cannot be read.
pub fn describe(path: &Path) -> Result<FileEntry, Failure> {
    let refuse = |error: &_| Failure::io(FailureCode::Internal, "read", path, error);
    let mut file =
        small_files::open_regular(path).map_err(|error| unreadable(FailureCode::Internal, &error))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0u64, vec![0u8; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(|error| refuse(&error))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(FileEntry {
        name: file_name(path),
        sha256: hex::encode(hash.finalize()),
        bytes,
    })
}

/// Replaces `target` by a folder of exactly `contents` (name → bytes).
///
/// The folder is written next to its final path, flushed to the disk and renamed, so a crash at any time leaves
/// either the old folder or the new one. Idempotent. Returns its entries in order of name.
///
/// # Errors
/// [`FailureCode::DiskFull`], or [`FailureCode::Internal`] for any other error of the operating system.
pub fn write_folder(target: &Path, contents: &BTreeMap<String, Vec<u8>>) -> Result<Vec<FileEntry>, Failure> {
    replace_folder(target, |staging| {
        for (name, bytes) in contents {
            let path = staging.join(name);
            fs::write(&path, bytes).map_err(|error| cannot("write", &path, &error))?;
        }
        Ok(())
    })?;
    let entry = |(name, bytes): (&String, &Vec<u8>)| FileEntry {
        name: name.clone(),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
    };
    Ok(contents.iter().map(entry).collect())
}

/// As [`write_folder`], for contents that do not fit into memory together: `fill` writes the files to the folder that
/// it is given. Returns their entries in order of name, read back from the disk.
///
/// # Errors
/// As [`write_folder`], and those of `fill`; the old folder then remains intact.
pub fn fill_folder(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<Vec<FileEntry>, Failure> {
    replace_folder(target, fill)?;
    names(target)?
        .iter()
        .map(|name| describe(&target.join(name)))
        .collect()
}

fn replace_folder(target: &Path, fill: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let staging = beside(target, ".new");
    remove_folder(&staging)?;
    fs::create_dir_all(&staging).map_err(|error| cannot("create", &staging, &error))?;
    fill(&staging)?;
    for name in names(&staging)? {
        let path = staging.join(name);
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|error| cannot("flush", &path, &error))?;
    }
    sync_folder(&staging)?;
    fail::fail_point!("trainer.folder_staged");
    let replaced = beside(target, ".old");
    remove_folder(&replaced)?;
    if target.exists() {
        fs::rename(target, &replaced).map_err(|error| cannot("replace", target, &error))?;
    }
    fs::rename(&staging, target).map_err(|error| cannot("create", target, &error))?;
    fail::fail_point!("trainer.folder_named");
    sync_folder(target.parent().unwrap_or(Path::new(".")))?;
    remove_folder(&replaced)
}

/// The names of the files in `folder`, in order.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let refuse = |error: &_| cannot("list", folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| refuse(&error))? {
        let name = entry.map_err(|error| refuse(&error))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes the folder `path` with its contents; succeeds if it does not exist.
///
/// # Errors
/// [`FailureCode::Internal`] for an error of the operating system.
pub fn remove_folder(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", path, &error)),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| cannot("flush", path, &error))
}

/// A hidden sibling of `target`; names of checkpoints and artifacts never begin with a dot.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}{suffix}"))
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(FailureCode::Internal, action, path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let target = dir.path().join("artefact");
        let one = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let two = BTreeMap::from([("a".to_owned(), b"3".to_vec())]);
        write_folder(&target, &one).expect("written");
        let entries = write_folder(&target, &two).expect("replaced");
        assert_eq!(entries, vec![describe(&target.join("a")).expect("described")]);
        assert!(!target.join("b").exists());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }
}
