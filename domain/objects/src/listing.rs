//! What lies in the store: listing it, and sweeping what nobody finishes.
//!
//! One rule: what somebody may still be writing is not touched.

use std::{io, path::PathBuf, time::SystemTime};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStore, path::Path};
use time::OffsetDateTime;

use super::{Key, Objects, ObjectsError, STAGING, staging::LONGEST};

/// For error texts.
const LIST: &str = "list objects";

/// An object of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key, as text: what stands there need not be a key of ours.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub written: OffsetDateTime,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Unfinished objects that were deleted.
    pub deleted: u64,
    /// Those that somebody else may still be writing.
    pub kept: u64,
}

impl Objects {
    /// The objects below `datasets`, `artifacts` or `checkpoints`, in no order.
    pub fn list(&self, part: &str) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        self.listed(part)
            .and_then(|meta| async move { described(&meta) })
            .boxed()
    }

    /// Deletes an object if it still is as it was listed; whether it was.
    ///
    /// A store has no deletion on a condition: what is written in the moment between the look and the deletion is
    /// deleted. Delete only what nobody has a reason to write.
    ///
    /// # Errors
    /// When its name is no key of ours, or the store does not answer.
    pub async fn delete_listed(&self, listed: &Listed) -> Result<bool, ObjectsError> {
        let key = Key::recorded(&listed.key)?;
        match self.found(&key.0).await? {
            Some(meta) if described(&meta)? == *listed => self.delete(&key).await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// The store's listing, with the deadline for each item.
    fn listed(&self, part: &str) -> BoxStream<'static, Result<ObjectMeta, ObjectsError>> {
        let items = self.store.list(Some(&Path::from(part)));
        let deadline = self.deadline;
        futures::stream::unfold(Some(items), move |items| async move {
            let mut items = items?;
            match tokio::time::timeout(deadline, items.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(item))) => Some((Ok(item), Some(items))),
                Ok(Some(Err(error))) => Some((Err(ObjectsError::from_store(LIST, &error)), None)),
                Err(_) => {
                    let seconds = deadline.as_secs();
                    let operation = LIST;
                    Some((Err(ObjectsError::Deadline { operation, seconds }), None))
                }
            }
        })
        .boxed()
    }

    /// Deletes what was staged and never published: all that an earlier process of the same owner left, and what
    /// another's left that is older than anybody writes. Call it at start, before anything is staged.
    ///
    /// Parts of uploads to a bucket that were never completed are not listed by the store's interface: a rule of the
    /// bucket that aborts them after two days takes them away (adr 0033).
    ///
    /// # Errors
    /// When the store cannot be listed or an object in it not be deleted.
    pub async fn sweep_staging(&self, now: OffsetDateTime) -> Result<Swept, ObjectsError> {
        let before = now - 2 * LONGEST;
        match &self.local {
            Some((_, folder)) => self.sweep_folder(folder.join(STAGING), before).await,
            None => self.sweep_bucket(before).await,
        }
    }

    /// Whether an object in staging that was last written at `written` is nobody's.
    fn is_left(&self, name: &str, written: OffsetDateTime, before: OffsetDateTime) -> bool {
        let own = name
            .split_once('-')
            .is_some_and(|(owner, _)| owner == &*self.owner);
        own || written < before
    }

    async fn sweep_bucket(&self, before: OffsetDateTime) -> Result<Swept, ObjectsError> {
        let mut swept = Swept::default();
        let mut items = self.listed(STAGING);
        while let Some(item) = items.try_next().await? {
            let name = item.location.filename().unwrap_or_default();
            match self.is_left(name, described(&item)?.written, before) {
                true => {
                    self.delete_path(&item.location).await?;
                    swept.deleted += 1;
                }
                false => swept.kept += 1,
            }
        }
        Ok(swept)
    }

    /// The store's own listing hides files that are still being written; these are the ones to find.
    async fn sweep_folder(&self, folder: PathBuf, before: OffsetDateTime) -> Result<Swept, ObjectsError> {
        let mut swept = Swept::default();
        let failed = |source| ObjectsError::File {
            path: folder.clone(),
            source,
        };
        let mut entries = match tokio::fs::read_dir(&folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            Err(error) => return Err(failed(error)),
        };
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let Some(changed) = file_changed(entry.metadata().await).map_err(failed)? else {
                continue;
            };
            if !self.is_left(&entry.file_name().to_string_lossy(), changed.into(), before) {
                swept.kept += 1;
                continue;
            }
            match tokio::fs::remove_file(entry.path()).await {
                Ok(()) => swept.deleted += 1,
                // Another process swept it, or published it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(swept)
    }

    /// How many unfinished objects there are, of whomever.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn unfinished(&self) -> Result<u64, ObjectsError> {
        let Some((_, folder)) = &self.local else {
            return self
                .listed(STAGING)
                .try_fold(0, |sum, _| async move { Ok(sum + 1) })
                .await;
        };
        let folder = folder.join(STAGING);
        let failed = |source| ObjectsError::File {
            path: folder.clone(),
            source,
        };
        let mut entries = match tokio::fs::read_dir(&folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let mut found = 0;
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let file = file_changed(entry.metadata().await).map_err(failed)?;
            found += u64::from(file.is_some());
        }
        Ok(found)
    }
}

/// When a file was last written; `None` for what is no file, or is gone since it was listed.
fn file_changed(metadata: io::Result<std::fs::Metadata>) -> io::Result<Option<SystemTime>> {
    match metadata {
        Ok(metadata) if metadata.is_file() => metadata.modified().map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn described(meta: &ObjectMeta) -> Result<Listed, ObjectsError> {
    let seconds = meta.last_modified.timestamp();
    let written = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| ObjectsError::Store {
        operation: LIST,
        what: "a time is out of range".to_owned(),
    })?;
    Ok(Listed {
        key: meta.location.to_string(),
        bytes: meta.size,
        written,
    })
}
