//! Checkpoints in the object store: on their way there, and back to this machine.
//!
//! One rule: what the log names is in the store, whole; what it has released is deleted after that.

mod fetch;
mod pinned;
mod uploads;

use domain::{
    id::JobId,
    jobs::checkpoint::{StoredCheckpoint, superseded},
};
use objects::{Key, Objects};

pub(super) use self::{
    fetch::{NotFetched, fetch},
    pinned::Pinned,
    uploads::{CheckpointUploads, UploadOutcome, Uploaded},
};

/// The checkpoints of a job that the store has, as this attempt knows them.
#[derive(Clone, Debug)]
pub(super) struct StoredCheckpoints {
    pub(super) objects: Objects,
    pub(super) job: JobId,
    /// How many stay; 0: none are stored.
    pub(super) keep: u32,
    /// Oldest first.
    pub(super) known: Vec<StoredCheckpoint>,
}

impl StoredCheckpoints {
    /// After `checkpoint` is recorded: deletes those that were released with that.
    pub(super) fn recorded(&mut self, checkpoint: StoredCheckpoint) {
        if self
            .known
            .iter()
            .any(|known| known.artifact == checkpoint.artifact)
        {
            return;
        }
        self.known.push(checkpoint);
        let released = superseded(&self.known, self.keep).len();
        let released: Vec<_> = self.known.drain(..released).collect();
        self.delete(released);
    }

    /// After all are released: deletes them.
    pub(super) fn all_released(&mut self) {
        let released = std::mem::take(&mut self.known);
        self.delete(released);
    }

    /// In the background: nobody waits for it, and what fails is the collector's to find.
    fn delete(&self, released: Vec<StoredCheckpoint>) {
        if released.is_empty() {
            return;
        }
        let (objects, job) = (self.objects.clone(), self.job);
        drop(tokio::spawn(async move {
            fail::fail_point!("job.checkpoint_released");
            for checkpoint in released {
                let names: Vec<String> = checkpoint.files.iter().map(|file| file.name.clone()).collect();
                let deleted = match Key::recorded(&checkpoint.artifact) {
                    Ok(prefix) => objects.delete_dir(&prefix, &names).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = deleted {
                    let step = checkpoint.step;
                    tracing::warn!(%job, step, %error, "a released checkpoint is left for the collector");
                }
            }
        }));
    }
}
