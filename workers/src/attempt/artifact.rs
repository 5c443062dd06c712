//! Stores the result of a training.
//!
//! One rule: what is stored has the hashes that the training process gave, byte for byte.

use std::path::{Path, PathBuf};

use domain::models::model::ModelFile;
use ml::files::FileEntry;
use objects::{Key, Objects, StoredFile, Unreferenced};
use sha2::{Digest, Sha256};

use super::outcome::AttemptOutcome;
use super::{manifest::is_plain, retry::RetryBudget};

/// Files of a result at most.
const FILES: usize = 1_000;
/// For error texts.
const STORE: &str = "store the result";

/// A stored result.
#[derive(Debug)]
pub(super) struct Stored {
    /// Where its files lie in the object store.
    pub(super) location: String,
    pub(super) sha256: String,
    pub(super) files: Vec<ModelFile>,
    /// Deletes the files if nobody comes to refer to them.
    pub(super) unreferenced: Unreferenced,
}

/// The hash of a folder of a model: SHA-256 over one line `<sha256>  <name>\n` per file, in order of name.
/// That is `sha256sum * | sha256sum`.
#[must_use]
pub fn folder_sha256(files: &[ModelFile]) -> String {
    let mut sorted: Vec<&ModelFile> = files.iter().collect();
    sorted.sort_unstable_by_key(|file| &file.name);
    let mut hash = Sha256::new();
    for file in sorted {
        hash.update(format!("{}  {}\n", file.sha256, file.name));
    }
    hex::encode(hash.finalize())
}

/// Stores the files that the child lists, which lie in `folder`, under `artifacts/<place>/`.
///
/// # Errors
/// When a file is missing or not what the child said, or the object store fails or is full.
pub(super) async fn store(
    objects: &Objects,
    folder: &Path,
    place: &str,
    listed: &[FileEntry],
) -> Result<Stored, AttemptOutcome> {
    if listed.is_empty() || listed.len() > FILES || !listed.iter().all(|file| is_plain(&file.name)) {
        return Err(AttemptOutcome::lost(
            "the training process gave no usable list of its result's files",
        ));
    }
    let prefix = Key::artifact(place).map_err(|error| AttemptOutcome::objects(STORE, &error))?;
    let at = |file: &FileEntry| (file.name.clone(), folder.join(&file.name));
    let paths: Vec<(String, PathBuf)> = listed.iter().map(at).collect();
    let stored = put(objects, &prefix, &paths).await?;
    let unreferenced = objects.unreferenced(&stored);
    let same = |(stored, listed): (&StoredFile, &FileEntry)| {
        stored.sha256 == listed.sha256 && stored.bytes == listed.bytes
    };
    let whole = stored.iter().zip(listed).all(same);
    let files = stored
        .into_iter()
        .map(
            |StoredFile {
                 name, sha256, bytes, ..
             }| ModelFile { name, sha256, bytes },
        )
        .collect::<Vec<_>>();
    let result = Stored {
        location: prefix.to_string(),
        sha256: folder_sha256(&files),
        files,
        unreferenced,
    };
    if !whole {
        result.unreferenced.take_back().await;
        return Err(AttemptOutcome::lost(
            "the files of the result are not what the training process wrote",
        ));
    }
    Ok(result)
}

async fn put(
    objects: &Objects,
    prefix: &Key,
    paths: &[(String, PathBuf)],
) -> Result<Vec<StoredFile>, AttemptOutcome> {
    let mut retry = RetryBudget::default();
    loop {
        match objects
            .put_dir(prefix, paths)
            .await
            .map_err(|error| AttemptOutcome::objects(STORE, &error))
        {
            Err(end) if retry.again(&end).await => {}
            stored => return stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::models::model::ModelFile;

    use super::folder_sha256;

    #[test]
    fn the_hash_of_a_folder_is_that_of_sha256sum_and_does_not_depend_on_the_order() {
        let file = |name: &str, digit: &str| ModelFile {
            name: name.to_owned(),
            sha256: digit.repeat(64),
            bytes: 1,
        };
        let hash = folder_sha256(&[file("b", "2"), file("a", "1")]);
        assert_eq!(hash, folder_sha256(&[file("a", "1"), file("b", "2")]));
        assert_eq!(
            hash,
            "7365ea48c8a3989cf164ca67f5d934c9a11269a628308b0fe529b6e4bc1c694d"
        );
    }
}
