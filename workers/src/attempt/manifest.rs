//! The list of a checkpoint's files, which is one of them.
//!
//! One rule: a checkpoint is whole when every file that its list names has the hash that stands there.

use std::path::{Component, Path};

use ml::files::{self, FileEntry};

/// The list of a checkpoint's files, among them.
pub(super) const MANIFEST: &str = "manifest.json";
/// Bytes of a manifest at most.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// The files of the checkpoint in `folder` as its list has them, and the hash of the list. Blocks.
///
/// # Errors
/// Why there is no list that can be used.
pub(super) fn entries(folder: &Path) -> Result<(Vec<FileEntry>, FileEntry), String> {
    let path = folder.join(MANIFEST);
    let manifest = small_files::read_bounded(&path, MANIFEST_LIMIT)
        .map_err(|error| format!("its list of files {}", error.why))?;
    let entries: Vec<FileEntry> =
        serde_json::from_slice(&manifest).map_err(|error| format!("its list of files: {error}"))?;
    if entries.is_empty() {
        return Err("its list of files is empty".to_owned());
    }
    if !entries.iter().all(|entry| is_plain(&entry.name)) {
        return Err("its list of files names places outside of it".to_owned());
    }
    let list = FileEntry {
        name: MANIFEST.to_owned(),
        sha256: files::sha256(&manifest),
        bytes: manifest.len() as u64,
    };
    Ok((entries, list))
}

/// Checks every file of the checkpoint in `folder`; answers with the hash of its manifest, and so of all of
/// it. Blocks.
///
/// # Errors
/// What is missing or not as it was written.
pub(super) fn verify(folder: &Path) -> Result<String, String> {
    let (entries, list) = entries(folder)?;
    for entry in &entries {
        let found = files::describe(&folder.join(&entry.name)).map_err(|failure| failure.to_string())?;
        if &found != entry {
            return Err(format!("{} is not what was written", entry.name));
        }
    }
    Ok(list.sha256)
}

/// Checks that the checkpoint in `folder` is whole and the one with the hash `sha256`. Blocks.
///
/// # Errors
/// What is wrong.
pub(super) fn verified(folder: &Path, sha256: &str) -> Result<(), String> {
    match verify(folder)? {
        found if found == sha256 => Ok(()),
        _ => Err("it is not the one that was saved".to_owned()),
    }
}

/// Whether `name` is that of a file, without folders.
pub(super) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn names_with_folders_are_not_plain() {
        assert!(is_plain("adapter_model.safetensors"));
        for name in ["", ".", "..", "a/b", "/a", "a/", "../a"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
