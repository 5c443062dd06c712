//! The GraphQL schema as a contract: what every version of it keeps to, and what a change does to clients (GQ-8).
//!
//! One rule: both are judged from files in `schema/`. A release leaves its schema in `schema/released`, one file for each
//! version, and nothing there changes again.

mod compare;
mod lint;
mod model;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use compare::{Impact, compare};
use model::Schema;

/// The committed definition.
const SCHEMA: &str = "schema/schema.graphql";
/// The definitions of releases, `MAJOR.MINOR.PATCH.graphql`.
const RELEASED: &str = "schema/released";

/// Fails when the schema breaks a rule, or breaks clients of the last release. Says what is dangerous.
pub(crate) fn check(root: &Path) -> Result<()> {
    let new = Schema::read(&read(&root.join(SCHEMA))?)?;
    let mut faults = lint::lint(&new);
    let changes = changes(&root.join(RELEASED), &new)?;
    for one in &changes.dangerous {
        eprintln!("dangerous: {one}");
    }
    faults.extend(changes.breaking.into_iter().map(|one| format!("breaking: {one}")));
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults of {SCHEMA}:\n  {}", faults.len(), faults.join("\n  "))
}

/// Keeps the present definition as that of the workspace's version.
pub(crate) fn release(root: &Path) -> Result<()> {
    let path = root
        .join(RELEASED)
        .join(format!("{}.graphql", env!("CARGO_PKG_VERSION")));
    ensure!(!path.exists(), "{} is released already", path.display());
    check(root)?;
    std::fs::create_dir_all(root.join(RELEASED)).context(RELEASED)?;
    std::fs::write(&path, read(&root.join(SCHEMA))?).with_context(|| path.display().to_string())
}

/// What has changed since the last release in `folder`; nothing when nothing is released.
fn changes(folder: &Path, new: &Schema) -> Result<Impact> {
    let mut releases = releases(folder)?;
    let Some((_, last)) = releases.pop() else {
        eprintln!("nothing is released yet: nothing to compare with");
        return Ok(Impact::default());
    };
    let before = releases.pop().map(|(_, before)| before);
    Ok(compare(before.as_ref(), &last, new))
}

/// The released schemas, the oldest first.
fn releases(folder: &Path) -> Result<Vec<([u64; 3], Schema)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let version = path.file_name().and_then(|name| version(name.to_str()?));
        let version = version.with_context(|| format!("{}: no MAJOR.MINOR.PATCH.graphql", path.display()))?;
        let schema = Schema::read(&read(&path)?).with_context(|| path.display().to_string())?;
        found.push((version, schema));
    }
    found.sort_by_key(|(version, _)| *version);
    Ok(found)
}

fn version(file: &str) -> Option<[u64; 3]> {
    let mut parts = file.strip_suffix(".graphql")?.split('.').map(str::parse);
    let version = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
    parts.next().is_none().then_some(version)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
