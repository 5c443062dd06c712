//! The contracts in `schema/`: what outsiders rely on, made from the program itself.
//!
//! One rule: the golden payload of an event never changes once it is written, and a fold that changes has a higher version.
//! Everything else follows the source, and the difference is looked at when it is committed.

mod permissions;
mod personal_data;
mod read_models;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use domain::event_registry::{self, Sample};
use serde_json::Value;

pub use read_models::STREAMS;

/// The folder of the golden payloads.
const EVENTS: &str = "events";

/// A contract that is not what the source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file, relative to the folder of the contracts.
    pub file: PathBuf,
    /// What is wrong, and what to do.
    pub message: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)
    }
}

/// Writes all contracts into `folder` and answers with the files that changed.
///
/// # Errors
/// When a golden payload in `folder` differs from what this build would write or can no longer be read, or when a fold has
/// changed without its version: each is named, and nothing is written. When the folder cannot be written.
pub fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    let broken = golden_differences(folder)?;
    if !broken.is_empty() {
        let list: Vec<String> = broken.iter().map(|one| format!("  {one}")).collect();
        bail!(
            "golden payloads may never change; nothing was written:\n{}",
            list.join("\n")
        );
    }
    let unraised = read_models::unraised(folder)?;
    if let Some(first) = unraised.first() {
        bail!(
            "nothing was written: {first} ({} read models in all)",
            unraised.len()
        );
    }
    let mut written = Vec::new();
    for (file, content) in contracts(folder)? {
        let path = folder.join(&file);
        // A golden payload that stands agrees in content: its bytes stay as they are.
        let stands = path.exists() && (file.starts_with(EVENTS) || read(&path)? == content);
        if !stands {
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            std::fs::write(&path, content).with_context(|| path.display().to_string())?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Compares the contracts in `folder` with what this build would write. Empty: they agree.
///
/// # Errors
/// When a file cannot be read.
pub fn check(folder: &Path) -> Result<Vec<Difference>> {
    let mut differences = golden_differences(folder)?;
    differences.extend(read_models::unraised(folder)?);
    for (file, content) in contracts(folder)? {
        let path = folder.join(&file);
        let message = if !path.exists() {
            "is missing; run `cargo xtask bless`"
        } else if !file.starts_with(EVENTS) && read(&path)? != content {
            "is not what the source says; run `cargo xtask bless` and look at the difference"
        } else {
            continue;
        };
        differences.push(Difference {
            file,
            message: message.to_owned(),
        });
    }
    Ok(differences)
}

/// Every contract: file and content. What only grows goes on from what stands in `folder`.
fn contracts(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut all = BTreeMap::from([
        (PathBuf::from("schema.graphql"), api::graphql::sdl()),
        (PathBuf::from("permissions.txt"), permissions::table()),
        (PathBuf::from("personal-data.md"), personal_data::table()),
        (PathBuf::from("config.md"), crate::config::reference()),
        (PathBuf::from(read_models::FILE), read_models::contract(folder)?),
    ]);
    for sample in samples()? {
        let content = serde_json::to_string_pretty(&sorted(sample.payload.clone()))?;
        all.insert(Path::new(EVENTS).join(sample.file_name()), content + "\n");
    }
    Ok(all)
}

/// The golden payloads in `folder` that this build would write otherwise, or cannot read any more.
fn golden_differences(folder: &Path) -> Result<Vec<Difference>> {
    let current: BTreeMap<String, Value> = samples()?
        .into_iter()
        .map(|sample| (sample.file_name(), sample.payload))
        .collect();
    let mut differences = Vec::new();
    for (name, text) in golden_files(&folder.join(EVENTS))? {
        if let Err(message) = compare(&name, &text, current.get(&name)) {
            differences.push(Difference {
                file: Path::new(EVENTS).join(name),
                message,
            });
        }
    }
    Ok(differences)
}

/// Whether one golden payload still holds. One of an old version or a given-up case must stay readable; one
/// that this build writes must be what it writes, and come back unchanged.
fn compare(name: &str, text: &str, current: Option<&Value>) -> Result<(), String> {
    let golden: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let (kind, version) = kind_and_version(name)
        .ok_or("is not named <context>.<Event>.v<N>.json or <context>.<Event>.v<N>.<case>.json")?;
    let again = event_registry::reread(kind, version, &golden)
        .map_err(|error| format!("can no longer be read: {error}; write an upcaster"))?;
    match current {
        Some(current) if *current != golden || again != golden => {
            Err("this build writes another payload; give the event a new schema version".to_owned())
        }
        _ => Ok(()),
    }
}

fn kind_and_version(name: &str) -> Option<(&str, u16)> {
    let mut parts = name.strip_suffix(".json")?.split('.');
    let (context, event, version) = (parts.next()?, parts.next()?, parts.next()?);
    let version = version.strip_prefix('v')?.parse().ok()?;
    let known = name.get(..context.len() + 1 + event.len())?;
    (parts.count() <= 1).then_some((known, version))
}

fn golden_files(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            read(&entry.path())?,
        );
    }
    Ok(files)
}

fn samples() -> Result<Vec<Sample>> {
    event_registry::samples().map_err(|error| anyhow::anyhow!("an event cannot be written: {error}"))
}

/// No contract is longer, in bytes.
const LARGEST_CONTRACT: u64 = 16 << 20;

fn read(path: &Path) -> Result<String> {
    Ok(small_files::read_text(path, LARGEST_CONTRACT)?)
}

/// The same value with the keys of all objects in alphabetical order, whatever the map type keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
