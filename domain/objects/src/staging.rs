//! Objects that are being written.
//!
//! One rule: a staged object ends published or gone, also when the future that wrote it is dropped.

use object_store::{MultipartUpload, ObjectStoreExt, WriteMultipart, path::Path};

use super::{Key, Objects, ObjectsError};

/// Bytes of one part: the least that S3 takes for any but the last.
const PART: usize = 5 << 20;
/// Parts on their way at once, so that memory stays at a few parts.
const PARTS_IN_FLIGHT: usize = 2;
/// The last step of publishing, for error texts.
const NAME: &str = "name an object";

/// What to do where there is an object of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep it, and drop what was staged: for content addresses, where both are the same.
    Keep,
    /// Replace it in one step.
    Replace,
}

/// What became of a published object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was written.
    New,
    /// It was there already and was kept.
    AlreadyThere,
}

/// An object that is being written; see [`Objects::stage`].
#[derive(Debug)]
pub struct Staged {
    objects: Objects,
    path: Path,
    /// `None` once published or aborted.
    upload: Option<WriteMultipart>,
}

impl Staged {
    pub(super) fn new(objects: Objects, path: Path, upload: Box<dyn MultipartUpload>) -> Self {
        let upload = WriteMultipart::new_with_chunk_size(upload, PART);
        Self {
            objects,
            path,
            upload: Some(upload),
        }
    }

    /// Appends bytes. Waits while too many parts are on their way.
    ///
    /// # Errors
    /// When an earlier part failed; the object can then only be dropped.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ObjectsError> {
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        self.objects
            .call("take a part", upload.wait_for_capacity(PARTS_IN_FLIGHT))
            .await?;
        upload.write(bytes);
        Ok(())
    }

    /// Ends the object and moves it to its key. Runs to its end even when the caller is dropped meanwhile,
    /// so that nothing stays halfway. On an error nothing is left.
    ///
    /// # Errors
    /// When a part, the end or the move fails.
    pub async fn publish(mut self, key: &Key, existing: Existing) -> Result<Stored, ObjectsError> {
        let Some(upload) = self.upload.take() else {
            return Ok(Stored::AlreadyThere);
        };
        let (objects, path, target) = (self.objects.clone(), self.path.clone(), key.0.clone());
        let task = tokio::spawn(async move {
            fail::fail_point!("object.before_flush");
            objects.call("complete an object", upload.finish()).await?;
            fail::fail_point!("object.flushed");
            let store = &objects.store;
            let moved = match existing {
                Existing::Keep => {
                    objects
                        .call(NAME, store.rename_if_not_exists(&path, &target))
                        .await
                }
                Existing::Replace => objects.call(NAME, store.rename(&path, &target)).await,
            };
            let outcome = match moved {
                Ok(()) => {
                    fail::fail_point!("object.named");
                    return Ok(Stored::New);
                }
                Err(ObjectsError::Store {
                    source: object_store::Error::AlreadyExists { .. },
                    ..
                }) => Ok(Stored::AlreadyThere),
                Err(error) => Err(error),
            };
            objects.delete_path(&path).await?;
            outcome
        });
        task.await.unwrap_or_else(|error| {
            let source = object_store::Error::JoinError { source: error };
            Err(ObjectsError::Store {
                operation: "complete an object",
                source,
            })
        })
    }

    /// Gives the object up and waits until nothing of it is left.
    ///
    /// # Errors
    /// When the store does not answer; the sweep at the next start then finds what is left.
    pub async fn abort(mut self) -> Result<(), ObjectsError> {
        match self.upload.take() {
            Some(upload) => self.objects.call("give up an object", upload.abort()).await,
            None => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        // Without a runtime the process is ending: a folder's file is removed by the upload's own drop.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let objects = self.objects.clone();
        runtime.spawn(async move {
            if let Err(error) = objects.call("give up an object", upload.abort()).await {
                tracing::warn!(%error, "a staged object is left for the sweep at the next start");
            }
        });
    }
}
