//! Checkpoints on their way from the object store to this machine.
//!
//! One rule: a checkpoint that is not there or not what was recorded is passed over, and the one before it is tried; a
//! store that does not answer ends the attempt, because it may still have hours of training.

use std::{io, path::Path, time::Duration};

use domain::{jobs::checkpoint::StoredCheckpoint, models::model::ModelFile};
use futures::TryStreamExt as _;
use objects::{Key, Objects, ObjectsError};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, time::Instant};

use crate::attempt::{manifest::is_plain, outcome::AttemptOutcome, reporter::Reporter, retry::RetryBudget};

/// Time between two lines about how far it is.
const TOLD: Duration = Duration::from_secs(10);

/// Why there is no checkpoint.
#[derive(Debug)]
pub(in crate::attempt) enum NotFetched {
    /// It cannot be used: for the log of the job.
    Unusable(String),
    /// The attempt ends.
    Ended(AttemptOutcome),
}

/// One checkpoint on its way.
struct Fetching<'a> {
    objects: &'a Objects,
    reporter: &'a Reporter,
    checkpoint: &'a StoredCheckpoint,
    prefix: Key,
    to: &'a Path,
    done: u64,
    told: Instant,
}

/// Downloads the files of `checkpoint` to the folder `to`, each verified, and tells the job's log how far it is.
///
/// # Errors
/// [`NotFetched`].
pub(in crate::attempt) async fn fetch(
    objects: &Objects,
    reporter: &Reporter,
    checkpoint: &StoredCheckpoint,
    to: &Path,
) -> Result<(), NotFetched> {
    let prefix =
        Key::recorded(&checkpoint.artifact).map_err(|error| NotFetched::Unusable(error.to_string()))?;
    let mut fetching = Fetching {
        objects,
        reporter,
        checkpoint,
        prefix,
        to,
        done: 0,
        told: Instant::now(),
    };
    tokio::fs::create_dir_all(to)
        .await
        .map_err(|error| unwritable(&error))?;
    for file in &checkpoint.files {
        fetching.file(file).await?;
    }
    Ok(())
}

impl Fetching<'_> {
    /// One file, tried again where that may help.
    async fn file(&mut self, file: &ModelFile) -> Result<(), NotFetched> {
        if !is_plain(&file.name) {
            return Err(NotFetched::Unusable("it names files outside of it".to_owned()));
        }
        let key = self.prefix.join(&file.name);
        let key = key.map_err(|error| NotFetched::Unusable(error.to_string()))?;
        let (mut retry, before) = (RetryBudget::default(), self.done);
        loop {
            self.done = before;
            let error = match self.once(&key, file, &self.to.join(&file.name)).await {
                Ok(()) => return Ok(()),
                Err(Broken::Store(error)) => error,
                Err(Broken::Disk(error)) => return Err(unwritable(&error)),
                Err(Broken::Reporting(end)) => return Err(NotFetched::Ended(end)),
            };
            match &error {
                ObjectsError::NotFound { .. } => return Err(NotFetched::Unusable(error.to_string())),
                // Once more: it may have been damaged on its way.
                ObjectsError::Damaged { .. } | ObjectsError::Length { .. } => {
                    let end = AttemptOutcome::lost(error.to_string());
                    if !retry.again(&end).await {
                        return Err(NotFetched::Unusable(error.to_string()));
                    }
                }
                _ => {
                    let end = AttemptOutcome::objects("read a checkpoint", &error);
                    if !retry.again(&end).await {
                        return Err(NotFetched::Ended(end));
                    }
                }
            }
        }
    }

    async fn once(&mut self, key: &Key, file: &ModelFile, path: &Path) -> Result<(), Broken> {
        let mut body = self.objects.read(key, None).await?.body;
        let mut written = tokio::fs::File::create(path).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        while let Some(piece) = body.try_next().await? {
            bytes += piece.len() as u64;
            // No more of it than there can be: a store that lies does not fill the disk.
            if bytes > file.bytes {
                return Err(Broken::Store(length(key, file.bytes, bytes)));
            }
            hash.update(&piece);
            written.write_all(&piece).await?;
            self.done += piece.len() as u64;
            self.tell().await?;
        }
        written.flush().await?;
        if bytes != file.bytes {
            return Err(Broken::Store(length(key, file.bytes, bytes)));
        }
        match hex::encode(hash.finalize()) {
            found if found == file.sha256 => Ok(()),
            found => Err(Broken::Store(ObjectsError::Damaged {
                key: key.to_string(),
                found,
            })),
        }
    }

    /// How far it is, now and then.
    async fn tell(&mut self) -> Result<(), Broken> {
        if self.told.elapsed() < TOLD {
            return Ok(());
        }
        self.told = Instant::now();
        let (step, done, all) = (
            self.checkpoint.step,
            self.done >> 20,
            self.checkpoint.bytes() >> 20,
        );
        let line =
            format!("fetching the checkpoint of step {step} from the object store: {done} of {all} MiB");
        let told = self.reporter.line("info", line).await;
        told.map_err(Broken::Reporting)
    }
}

fn length(key: &Key, expected: u64, found: u64) -> ObjectsError {
    ObjectsError::Length {
        key: key.to_string(),
        expected,
        found,
    }
}

fn unwritable(error: &io::Error) -> NotFetched {
    NotFetched::Ended(AttemptOutcome::io("write a checkpoint", error))
}

/// What broke one try.
enum Broken {
    Store(ObjectsError),
    Disk(io::Error),
    Reporting(AttemptOutcome),
}

impl From<ObjectsError> for Broken {
    fn from(error: ObjectsError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}
