//! The contracts in `schema/`: written by the program itself, compared with what is checked in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Writes the contracts into `schema/`.
pub(crate) fn write(root: &Path) -> Result<()> {
    generate(root, &root.join("schema"))
}

/// Fails, and names the files, when `schema/` is not what the program writes.
pub(crate) fn check(root: &Path) -> Result<()> {
    let fresh = target(root).join("contracts");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
    }
    // Golden payloads of old versions are contracts that the program no longer writes: start from a copy.
    copy(&root.join("schema"), &fresh)?;
    generate(root, &fresh)?;
    let differing = differing(&files(&root.join("schema"))?, &files(&fresh)?);
    if differing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = differing
        .iter()
        .map(|path| format!("  schema/{}", path.display()))
        .collect();
    bail!(
        "these contracts are not what the source says:\n{}\nIf the change is wanted, run `cargo xtask bless` \
         and look at the difference.",
        names.join("\n")
    )
}

/// Has the program write all contracts into `folder`.
fn generate(root: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // The whole workspace, so that features are those of the tests and nothing is built twice.
    crate::cargo(root, &["build", "--quiet", "--workspace", "--bins", "--locked"])?;
    let program = target(root).join("debug").join("anneal");
    let status = Command::new(&program)
        .args(["contracts", "--write"])
        .arg(folder)
        .current_dir(root)
        .status()
        .with_context(|| format!("{} could not be run", program.display()))?;
    if !status.success() {
        bail!("`anneal contracts` failed ({status})");
    }
    Ok(())
}

pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Every file below `folder` with its content.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
                found.insert(path.strip_prefix(folder)?.to_owned(), content);
            }
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for (path, content) in files(from)? {
        let path = to.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The paths that are only on one side or differ.
fn differing(old: &BTreeMap<PathBuf, Vec<u8>>, new: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let all: BTreeSet<&PathBuf> = old.keys().chain(new.keys()).collect();
    all.into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{copy, differing, files};
    use std::path::PathBuf;

    #[test]
    fn added_changed_and_removed_files_are_named() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let (old, new) = (temporary.path().join("old"), temporary.path().join("new"));
        std::fs::create_dir_all(old.join("events")).expect("made");
        for name in ["same", "changed", "events/removed"] {
            std::fs::write(old.join(name), name).expect("written");
        }
        copy(&old, &new).expect("copied");
        std::fs::write(new.join("changed"), "else").expect("written");
        std::fs::write(new.join("added"), "x").expect("written");
        std::fs::remove_file(new.join("events/removed")).expect("removed");
        let found = differing(&files(&old).expect("read"), &files(&new).expect("read"));
        assert_eq!(found, ["added", "changed", "events/removed"].map(PathBuf::from));
    }
}
