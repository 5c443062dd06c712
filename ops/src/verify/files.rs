//! The object store against the files that events name.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use futures::TryStreamExt as _;
use objects::{Key, Objects, ObjectsError};
use sha2::{Digest as _, Sha256};

use super::{Invariant, Report, log_state::NamedFile};

/// Folders of the store whose files events name.
const KEPT: [&str; 2] = ["datasets", "artifacts"];
/// Where unfinished files lie.
const STAGING: &str = "staging";

/// Reads every named file, and looks for those that nothing names.
pub(super) async fn check(
    objects: &Objects,
    folder: &Path,
    named: &BTreeSet<NamedFile>,
    report: &mut Report,
) {
    for file in named {
        match hash(objects, &file.key).await {
            Ok((sha256, bytes)) if sha256 == file.sha256 && bytes == file.bytes => {}
            Ok((sha256, bytes)) => {
                let what = format!(
                    "{} has {bytes} bytes and SHA-256 {sha256}; recorded are {} and {}",
                    file.key, file.bytes, file.sha256
                );
                report.fault(Invariant::Files, what);
            }
            Err(error) => report.fault(Invariant::Files, format!("{} cannot be read: {error}", file.key)),
        }
    }
    orphans(folder, named, report);
    report.done(Invariant::Files);
}

async fn hash(objects: &Objects, key: &str) -> Result<(String, u64), ObjectsError> {
    let key = match key.strip_prefix("datasets/") {
        Some(sha256) => Key::dataset(sha256)?,
        None => Key::artifact(key.strip_prefix("artifacts/").unwrap_or(key))?,
    };
    let mut body = objects.read(&key, None).await?.body;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    while let Some(piece) = body.try_next().await? {
        hash.update(&piece);
        bytes += piece.len() as u64;
    }
    Ok((hex::encode(hash.finalize()), bytes))
}

/// Files that nothing names: a crash between storing and recording leaves them, and they cost room only.
fn orphans(folder: &Path, named: &BTreeSet<NamedFile>, report: &mut Report) {
    let known: BTreeSet<&str> = named.iter().map(|file| file.key.as_str()).collect();
    for part in KEPT {
        for path in below(&folder.join(part), report) {
            let key = path
                .strip_prefix(folder)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            if !known.contains(key.as_str()) {
                report.note(Invariant::Files, format!("{key} is named by no event"));
            }
        }
    }
    let unfinished = below(&folder.join(STAGING), report).len();
    if unfinished > 0 {
        report.note(
            Invariant::Files,
            format!("{unfinished} unfinished files; the next start removes them"),
        );
    }
}

/// All files below `folder`, sorted; what cannot be listed is noted.
fn below(folder: &Path, report: &mut Report) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                report.note(
                    Invariant::Files,
                    format!("{} cannot be listed: {error}", folder.display()),
                );
                continue;
            }
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.sort_unstable();
    files
}
