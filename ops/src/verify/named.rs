//! The files of the object store that events name.
//!
//! One rule: `anneal verify` looks for these, and the collector deletes none of them; both take them from here.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    datasets::dataset::{Dataset, DatasetEvent},
    event_store::RecordedEvent,
    models::model::{Model, ModelEvent},
};

/// Parts of the store whose objects events name.
pub const KEPT: [&str; 2] = ["datasets", "artifacts"];
/// Categories of the streams whose events name files.
pub const CATEGORIES: [&str; 2] = [Dataset::CATEGORY, Model::CATEGORY];

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

/// The files that `event` names.
///
/// # Errors
/// When this build cannot read it.
pub fn named_by(event: &RecordedEvent) -> Result<Vec<NamedFile>, DecodeError> {
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
            let files = folders.flat_map(|(artifact, files)| {
                files.into_iter().map(move |file| NamedFile {
                    key: format!("{artifact}/{}", file.name),
                    sha256: file.sha256,
                    bytes: file.bytes,
                })
            });
            Ok(files.collect())
        }
        _ => Ok(Vec::new()),
    }
}
