//! The files of the object store that events name.
//!
//! One rule: `anneal verify` looks for these, and the collector deletes none of them; both take them from here. What was
//! released is not named any more.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    datasets::dataset::{Dataset, DatasetEvent},
    event_store::RecordedEvent,
    jobs::job::{Job, JobEvent},
    models::model::{Model, ModelEvent, ModelFile},
};

/// Parts of the store whose objects events name.
pub const KEPT: [&str; 3] = ["datasets", "artifacts", CHECKPOINTS];
/// Where checkpoints of jobs are, which come and go.
pub const CHECKPOINTS: &str = "checkpoints";
/// Categories of the streams whose events name files.
pub const CATEGORIES: [&str; 3] = [Dataset::CATEGORY, Model::CATEGORY, Job::CATEGORY];

/// A file that an event names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedFile {
    /// Its key in the object store.
    pub key: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// The files that events name, as far as they have been added, in the order of the log.
#[derive(Debug, Default)]
pub struct NamedFiles {
    lasting: BTreeSet<NamedFile>,
    /// By the place of their checkpoint.
    checkpoints: BTreeMap<String, Vec<NamedFile>>,
}

impl NamedFiles {
    /// Adds what `event` names, and takes away what it releases.
    ///
    /// # Errors
    /// When this build cannot read it.
    pub fn add(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        if event.stream.category() != Job::CATEGORY {
            self.lasting.extend(named_by(event)?);
            return Ok(());
        }
        match decode(event)? {
            JobEvent::CheckpointStored { checkpoint, .. } => {
                let artifact = checkpoint.artifact;
                let files = checkpoint.files.into_iter();
                let files = files.map(|file| in_folder(&artifact, file)).collect();
                self.checkpoints.insert(artifact, files);
            }
            JobEvent::CheckpointsReleased { artifacts, .. } => {
                self.checkpoints.retain(|place, _| !artifacts.contains(place));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &NamedFile> {
        self.lasting.iter().chain(self.checkpoints.values().flatten())
    }
}

/// The places of the checkpoints that `event` releases.
///
/// # Errors
/// When this build cannot read it.
pub(super) fn released_by(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
    Ok(match decode(event)? {
        JobEvent::CheckpointsReleased { artifacts, .. } => artifacts,
        _ => Vec::new(),
    })
}

fn in_folder(artifact: &str, file: ModelFile) -> NamedFile {
    NamedFile {
        key: format!("{artifact}/{}", file.name),
        sha256: file.sha256,
        bytes: file.bytes,
    }
}

/// The files that `event` names for good.
fn named_by(event: &RecordedEvent) -> Result<Vec<NamedFile>, DecodeError> {
    match event.stream.category() {
        Dataset::CATEGORY => Ok(match decode(event)? {
            DatasetEvent::VersionAdded(version) => vec![NamedFile {
                key: format!("datasets/{}", version.sha256),
                sha256: version.sha256,
                bytes: version.bytes,
            }],
            DatasetEvent::Created { .. } => Vec::new(),
        }),
        Model::CATEGORY => {
            let ModelEvent::VersionAdded(version) = decode(event)? else {
                return Ok(Vec::new());
            };
            let merged = version.merged.map(|merged| (merged.artifact, merged.files));
            let folders = std::iter::once((version.artifact, version.files)).chain(merged);
            let files = folders
                .flat_map(|(artifact, files)| files.into_iter().map(move |file| in_folder(&artifact, file)));
            Ok(files.collect())
        }
        _ => Ok(Vec::new()),
    }
}
