//! Checkpoints on their way into the object store, while the training goes on.
//!
//! One rule: nothing waits for the store. One upload at a time, at most one a second; of what waits the newest goes next;
//! one that failed is tried again, ever more slowly, until a newer one takes its place.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{
    id::JobId,
    jobs::checkpoint::{StoredCheckpoint, place},
    models::model::ModelFile,
};
use ml::files::FileEntry;
use objects::{Key, Objects, ObjectsError, StoredFile, Unreferenced};
use tokio::{task::JoinSet, time::Instant};

use super::{StoredCheckpoints, pinned::Pinned};
use crate::attempt::manifest;

/// The least time between two uploads.
const INTERVAL: Duration = Duration::from_secs(1);
/// Waits after a failure: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A checkpoint that is in the store, and that nothing refers to yet.
#[derive(Debug)]
pub(in crate::attempt) struct Uploaded {
    pub(in crate::attempt) checkpoint: StoredCheckpoint,
    pub(in crate::attempt) unreferenced: Unreferenced,
}

/// What became of one try.
#[derive(Debug)]
pub(in crate::attempt) enum UploadOutcome {
    Stored(Uploaded),
    /// It is tried again.
    Failed {
        step: u32,
        why: String,
    },
}

/// See the module. Dropped, it ends what is under way, and leaves nothing.
pub(in crate::attempt) struct CheckpointUploads {
    objects: Objects,
    job: JobId,
    attempt: u32,
    /// Whether anything is stored at all.
    wanted: bool,
    waiting: Option<Pinned>,
    under_way: JoinSet<Result<Uploaded, (Pinned, ObjectsError)>>,
    not_before: Instant,
    pause: Duration,
    number: u32,
}

impl CheckpointUploads {
    pub(in crate::attempt) fn new(stored: &StoredCheckpoints, attempt: u32) -> Self {
        Self {
            objects: stored.objects.clone(),
            job: stored.job,
            attempt,
            wanted: stored.keep > 0,
            waiting: None,
            under_way: JoinSet::new(),
            not_before: Instant::now(),
            pause: PAUSE.0,
            number: 0,
        }
    }

    /// Where the next checkpoint is to be pinned, below `outgoing`; `None` when none are stored.
    pub(in crate::attempt) fn folder(&mut self, outgoing: &Path) -> Option<PathBuf> {
        self.number += 1;
        self.wanted.then(|| outgoing.join(self.number.to_string()))
    }

    /// Takes a checkpoint in place of what waits.
    pub(in crate::attempt) fn offer(&mut self, pinned: Pinned) {
        self.waiting = Some(pinned);
    }

    /// Whether anything waits or is under way.
    pub(in crate::attempt) fn is_busy(&self) -> bool {
        self.waiting.is_some() || !self.under_way.is_empty()
    }

    /// Does not wait any longer before the next try.
    pub(in crate::attempt) fn hurry(&mut self) {
        self.not_before = Instant::now();
    }

    /// The next outcome, for ever if there is nothing to do. Dropped, nothing is lost.
    pub(in crate::attempt) async fn next(&mut self) -> UploadOutcome {
        loop {
            if let Some(done) = self.under_way.join_next().await {
                // A defect in the upload, or its end with the process: the next checkpoint is another try.
                let done = match done {
                    Ok(done) => done,
                    Err(error) => {
                        tracing::error!(%error, "an upload of a checkpoint broke off");
                        continue;
                    }
                };
                return self.ended(done);
            }
            if self.waiting.is_none() {
                return std::future::pending().await;
            }
            tokio::time::sleep_until(self.not_before).await;
            if let Some(pinned) = self.waiting.take() {
                self.not_before = Instant::now() + INTERVAL;
                let upload = upload(
                    self.objects.clone(),
                    place(self.job, self.attempt, &pinned.sha256),
                    pinned,
                );
                self.under_way.spawn(upload);
            }
        }
    }

    fn ended(&mut self, done: Result<Uploaded, (Pinned, ObjectsError)>) -> UploadOutcome {
        match done {
            Ok(uploaded) => {
                self.pause = PAUSE.0;
                UploadOutcome::Stored(uploaded)
            }
            Err((pinned, error)) => {
                let step = pinned.step;
                self.not_before = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(PAUSE.1);
                // A newer one that waits meanwhile takes its place.
                self.waiting.get_or_insert(pinned);
                UploadOutcome::Failed {
                    step,
                    why: error.to_string(),
                }
            }
        }
    }
}

async fn upload(
    objects: Objects,
    artifact: String,
    pinned: Pinned,
) -> Result<Uploaded, (Pinned, ObjectsError)> {
    match stored(&objects, &artifact, &pinned).await {
        Ok(stored) => {
            fail::fail_point!("job.checkpoint_stored");
            let unreferenced = objects.unreferenced(&stored);
            let file = |file: StoredFile| ModelFile {
                name: file.name,
                sha256: file.sha256,
                bytes: file.bytes,
            };
            let checkpoint = StoredCheckpoint {
                step: pinned.step,
                artifact,
                sha256: pinned.sha256.clone(),
                files: stored.into_iter().map(file).collect(),
            };
            Ok(Uploaded {
                checkpoint,
                unreferenced,
            })
        }
        Err(error) => Err((pinned, error)),
    }
}

/// Links the files where the store is on their file system, else copies them.
async fn stored(objects: &Objects, artifact: &str, pinned: &Pinned) -> Result<Vec<StoredFile>, ObjectsError> {
    let prefix = Key::recorded(artifact)?;
    let (mut entries, list) = manifest::entries(pinned.folder()).map_err(|what| ObjectsError::Store {
        operation: "store a checkpoint",
        what,
    })?;
    // Last, so that a checkpoint is complete where its list is.
    entries.push(list);
    let paths: Vec<(String, PathBuf)> = entries
        .iter()
        .map(|entry| (entry.name.clone(), pinned.folder().join(&entry.name)))
        .collect();
    if let Some(keys) = objects.link_dir(&prefix, &paths).await? {
        let linked = keys.into_iter().zip(entries);
        let linked = linked.map(|(key, FileEntry { name, sha256, bytes })| StoredFile {
            name,
            key,
            bytes,
            sha256,
        });
        return Ok(linked.collect());
    }
    let stored = objects.put_dir(&prefix, &paths).await?;
    let differing = stored
        .iter()
        .zip(&entries)
        .find(|(stored, entry)| (stored.bytes, &stored.sha256) != (entry.bytes, &entry.sha256));
    if let Some((differing, _)) = differing {
        let error = ObjectsError::Damaged {
            key: differing.key.to_string(),
            found: differing.sha256.clone(),
        };
        objects.unreferenced(&stored).take_back().await;
        return Err(error);
    }
    Ok(stored)
}
