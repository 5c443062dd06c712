//! The object store against the files that events name.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use objects::{Key, Objects, ObjectsError};
use sha2::{Digest as _, Sha256};

use super::{
    Invariant, Report,
    named::{KEPT, NamedFile},
};

/// Reads every named file, and looks for those that nothing names.
pub(super) async fn check(objects: &Objects, named: &BTreeSet<NamedFile>, report: &mut Report) {
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
    if let Err(error) = orphans(objects, named, report).await {
        report.note(
            Invariant::Files,
            format!("the object store cannot be listed: {error}"),
        );
    }
    report.done(Invariant::Files);
}

async fn hash(objects: &Objects, key: &str) -> Result<(String, u64), ObjectsError> {
    let mut body = objects.read(&Key::recorded(key)?, None).await?.body;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    while let Some(piece) = body.try_next().await? {
        hash.update(&piece);
        bytes += piece.len() as u64;
    }
    Ok((hex::encode(hash.finalize()), bytes))
}

/// Objects that nothing names: a crash between storing and recording leaves them, and they cost room only.
async fn orphans(
    objects: &Objects,
    named: &BTreeSet<NamedFile>,
    report: &mut Report,
) -> Result<(), ObjectsError> {
    let known: BTreeSet<&str> = named.iter().map(|file| file.key.as_str()).collect();
    let mut orphans = BTreeSet::new();
    for part in KEPT {
        let mut listed = objects.list(part);
        while let Some(object) = listed.try_next().await? {
            if !known.contains(object.key.as_str()) {
                orphans.insert(object.key);
            }
        }
    }
    for key in orphans {
        report.note(Invariant::Files, format!("{key} is named by no event"));
    }
    let unfinished = objects.unfinished().await?;
    if unfinished > 0 {
        let what = format!(
            "{unfinished} unfinished files; a start of their process, or any after a day, removes them"
        );
        report.note(Invariant::Files, what);
    }
    Ok(())
}
