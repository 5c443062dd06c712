//! The object store against the files that events name.

use std::collections::BTreeSet;

use domain::{
    aggregate::Aggregate as _,
    event_store::{EventStore, Filter, Position},
    jobs::job::Job,
};
use futures::TryStreamExt as _;
use objects::{Key, Objects, ObjectsError};
use sha2::{Digest as _, Sha256};

use super::{
    Invariant, Report,
    named::{CHECKPOINTS, KEPT, NamedFile, NamedFiles, released_by},
};

/// Events read at a time.
const PAGE: usize = 2_000;

/// Reads every named file, and looks for those that nothing names. `log`: where to look whether a checkpoint was released
/// meanwhile.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn check(
    objects: &Objects,
    named: &NamedFiles,
    log: &dyn EventStore,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for file in named.iter() {
        if let Some(fault) = fault(objects, file).await {
            faults.push((file.key.as_str(), fault));
        }
    }
    let released = match faults.iter().any(|(key, _)| key.starts_with(CHECKPOINTS)) {
        true => released(log).await?,
        false => BTreeSet::new(),
    };
    for (key, fault) in faults {
        let place = key.rsplit_once('/').map_or(key, |(place, _)| place);
        if !released.contains(place) {
            report.fault(Invariant::Files, fault);
        }
    }
    if let Err(error) = orphans(objects, named, report).await {
        report.note(
            Invariant::Files,
            format!("the object store cannot be listed: {error}"),
        );
    }
    report.done(Invariant::Files);
    Ok(())
}

/// What is wrong with a file.
async fn fault(objects: &Objects, file: &NamedFile) -> Option<String> {
    match hash(objects, &file.key).await {
        Ok((sha256, bytes)) if sha256 == file.sha256 && bytes == file.bytes => None,
        Ok((sha256, bytes)) => Some(format!(
            "{} has {bytes} bytes and SHA-256 {sha256}; recorded are {} and {}",
            file.key, file.bytes, file.sha256
        )),
        Err(error) => Some(format!("{} cannot be read: {error}", file.key)),
    }
}

/// The places of all checkpoints that are released by now.
async fn released(log: &dyn EventStore) -> anyhow::Result<BTreeSet<String>> {
    let filter = Filter {
        stream_prefixes: vec![format!("{}-", Job::CATEGORY)],
        kind_prefixes: vec!["jobs.CheckpointsReleased".to_owned()],
    };
    let (mut after, end, mut places) = (Position::START, log.head().await?, BTreeSet::new());
    while after < end {
        let page = log.read_all(after, &filter, PAGE).await?;
        for event in &page.events {
            places.extend(released_by(event)?);
        }
        after = page.next;
    }
    Ok(places)
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
async fn orphans(objects: &Objects, named: &NamedFiles, report: &mut Report) -> Result<(), ObjectsError> {
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
