//! Objects that are being written.
//!
//! One rule: a staged object ends published or gone, also when the future that wrote it is dropped; and none lives
//! longer than [`LONGEST`], so that what is older is nobody's.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::{
    MultipartUpload, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart, path::Path,
};
use tokio::time::Instant;

use super::{Key, Objects, ObjectsError, STAGING};

/// Bytes of one part: the least that S3 takes for any but the last.
const PART: usize = 5 << 20;
/// Parts that S3 takes of one object at most.
const PARTS: u64 = 10_000;
/// Bytes of an object in a bucket at most: some 48 GiB.
const LARGEST: u64 = PARTS * PART as u64;
/// Parts on their way at once, so that memory stays at a few parts.
const PARTS_IN_FLIGHT: usize = 2;
/// How long an object may be written; the sweep passes over what is younger than twice that.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// Bytes a second that a store copies at least.
const COPY_RATE: u64 = 16 << 20;
/// For error texts.
const COMPLETE: &str = "complete an object";
/// The last step of publishing, for error texts.
const NAME: &str = "name an object";

/// What to do where there is an object of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep it, and drop what was staged: for content addresses, where both are the same. One of another size is damaged
    /// and is replaced; one that is so old that the collector might just be taking it is written again.
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
    /// Where it is written: below `staging/`, or its own key, where nothing shows before its end.
    path: Path,
    upload: Upload,
    bytes: u64,
    began: Instant,
}

#[derive(Debug)]
enum Upload {
    /// In a bucket, until a first part is full: a small object is one request.
    Small(Vec<u8>),
    /// In parts.
    Parts(WriteMultipart),
    /// Published or given up.
    Ended,
}

impl Objects {
    /// Begins an object. Nothing of it shows until it is published; dropped, it leaves nothing.
    ///
    /// # Errors
    /// When the store does not answer or is full.
    pub async fn stage(&self) -> Result<Staged, ObjectsError> {
        let name = format!("{STAGING}/{}-{}", self.owner, self.ids.next().simple());
        self.stage_at(Path::from(name)).await
    }

    /// Begins an object whose key is known. In a bucket it is written there at once, and shows when it is whole.
    ///
    /// # Errors
    /// As [`Objects::stage`].
    pub async fn stage_as(&self, key: &Key) -> Result<Staged, ObjectsError> {
        match self.local {
            Some(_) => self.stage().await,
            None => self.stage_at(key.0.clone()).await,
        }
    }

    async fn stage_at(&self, path: Path) -> Result<Staged, ObjectsError> {
        let upload = match self.local {
            Some(_) => Upload::Parts(self.begin(&path).await?),
            None => Upload::Small(Vec::new()),
        };
        Ok(Staged {
            objects: self.clone(),
            path,
            upload,
            bytes: 0,
            began: Instant::now(),
        })
    }

    async fn begin(&self, path: &Path) -> Result<WriteMultipart, ObjectsError> {
        let upload: Box<dyn MultipartUpload> = self
            .call("begin an object", self.store.put_multipart(path))
            .await?;
        Ok(WriteMultipart::new_with_chunk_size(upload, PART))
    }
}

impl Staged {
    /// Appends bytes. Waits while too many parts are on their way.
    ///
    /// # Errors
    /// When an earlier part failed, or there are more bytes or more time than an object may have; the object can then
    /// only be dropped.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ObjectsError> {
        if self.began.elapsed() > LONGEST {
            return Err(ObjectsError::Deadline {
                operation: "take an object",
                seconds: LONGEST.as_secs(),
            });
        }
        self.bytes += bytes.len() as u64;
        if self.objects.local.is_none() && self.bytes > LARGEST {
            return Err(ObjectsError::TooLarge { limit: LARGEST });
        }
        if let Upload::Small(held) = &mut self.upload {
            held.extend_from_slice(bytes);
            if held.len() < PART {
                return Ok(());
            }
            let held = std::mem::take(held);
            let mut upload = self.objects.begin(&self.path).await?;
            upload.write(&held);
            self.upload = Upload::Parts(upload);
            return Ok(());
        }
        if let Upload::Parts(upload) = &mut self.upload {
            self.objects
                .call("take a part", upload.wait_for_capacity(PARTS_IN_FLIGHT))
                .await?;
            upload.write(bytes);
        }
        Ok(())
    }

    /// Ends the object and moves it to its key. Runs to its end even when the caller is dropped meanwhile,
    /// so that nothing stays halfway. On an error nothing is left.
    ///
    /// # Errors
    /// When a part, the end or the move fails.
    pub async fn publish(mut self, key: &Key, existing: Existing) -> Result<Stored, ObjectsError> {
        let upload = std::mem::replace(&mut self.upload, Upload::Ended);
        let ended = Ended {
            objects: self.objects.clone(),
            path: self.path.clone(),
            key: key.clone(),
            existing,
            bytes: self.bytes,
        };
        let task = tokio::spawn(async move {
            fail::fail_point!("object.before_flush");
            let stored = match upload {
                Upload::Ended => Ok(Stored::AlreadyThere),
                Upload::Small(bytes) => ended.put(bytes).await,
                Upload::Parts(upload) => ended.finish(upload).await,
            };
            if matches!(stored, Ok(Stored::New)) {
                fail::fail_point!("object.named");
            }
            stored
        });
        task.await.unwrap_or_else(|error| {
            Err(ObjectsError::Store {
                operation: COMPLETE,
                what: error.to_string(),
            })
        })
    }

    /// Gives the object up and waits until nothing of it is left.
    ///
    /// # Errors
    /// When the store does not answer; the sweep at the next start then finds what is left.
    pub async fn abort(mut self) -> Result<(), ObjectsError> {
        match std::mem::replace(&mut self.upload, Upload::Ended) {
            Upload::Parts(upload) => self.objects.call("give up an object", upload.abort()).await,
            Upload::Small(_) | Upload::Ended => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Upload::Parts(upload) = std::mem::replace(&mut self.upload, Upload::Ended) else {
            return;
        };
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

/// An object whose bytes are all there.
struct Ended {
    objects: Objects,
    path: Path,
    key: Key,
    existing: Existing,
    bytes: u64,
}

impl Ended {
    /// A small object in a bucket: one request, on the condition that there is none where one is to be kept.
    async fn put(&self, bytes: Vec<u8>) -> Result<Stored, ObjectsError> {
        let mode = match self.existing {
            Existing::Keep => PutMode::Create,
            Existing::Replace => PutMode::Overwrite,
        };
        let payload = PutPayload::from(bytes);
        match self.put_as(payload.clone(), mode).await {
            Ok(()) => Ok(Stored::New),
            Err(ObjectsError::AlreadyThere { .. }) => {
                // What is staged has the store's time.
                self.put_at(&self.path, payload.clone(), PutMode::Overwrite)
                    .await?;
                if self.can_be_kept().await? {
                    return self.gone(Ok(Stored::AlreadyThere)).await;
                }
                let replaced = self.put_as(payload, PutMode::Overwrite).await;
                self.gone(replaced.map(|()| Stored::New)).await
            }
            Err(error) => Err(error),
        }
    }

    async fn put_as(&self, payload: PutPayload, mode: PutMode) -> Result<(), ObjectsError> {
        self.put_at(&self.key.0, payload, mode).await
    }

    async fn put_at(&self, path: &Path, payload: PutPayload, mode: PutMode) -> Result<(), ObjectsError> {
        let (store, options) = (&self.objects.store, PutOptions::from(mode));
        let put = store.put_opts(path, payload, options);
        self.objects.call("store an object", put).await.map(|_| ())
    }

    /// Whether the object of that name can be kept: it has the size that it must have, and is young enough, by the
    /// store's clock, for the collector to pass over it until an event refers to it. Otherwise it is written again.
    async fn can_be_kept(&self) -> Result<bool, ObjectsError> {
        let named = self.objects.found(&self.key.0).await?;
        let Some(named) = named.filter(|named| named.size == self.bytes) else {
            return Ok(false);
        };
        let staged = self.objects.found(&self.path).await?;
        let longest = i64::try_from(LONGEST.as_secs()).unwrap_or(i64::MAX);
        Ok(staged.is_some_and(|staged| (staged.last_modified - named.last_modified).num_seconds() < longest))
    }

    async fn finish(&self, upload: WriteMultipart) -> Result<Stored, ObjectsError> {
        let finished = self
            .objects
            .call_within(self.time_for_all(), COMPLETE, upload.finish())
            .await;
        fail::fail_point!("object.flushed");
        if self.objects.local.is_some() {
            finished?;
            return self.rename().await;
        }
        // The store's own word: it may have ended the object although its answer was lost, or have lost a part of it.
        let found = self.objects.size_at(&self.path).await;
        match (finished, found) {
            (Ok(_), Ok(Some(found))) | (Err(_), Ok(Some(found))) if found == self.bytes => {}
            (Err(error), _) => return Err(error),
            (Ok(_), Err(error)) => return self.gone(Err(error)).await,
            (Ok(_), Ok(found)) => {
                return self
                    .gone(Err(ObjectsError::Length {
                        key: self.key.to_string(),
                        expected: self.bytes,
                        found: found.unwrap_or_default(),
                    }))
                    .await;
            }
        }
        if self.path == self.key.0 {
            return Ok(Stored::New);
        }
        if self.existing == Existing::Keep && self.can_be_kept().await? {
            return self.gone(Ok(Stored::AlreadyThere)).await;
        }
        let copied = self.copy().await.map(|()| Stored::New);
        self.gone(copied).await
    }

    /// In a folder: moves the file to its name.
    async fn rename(&self) -> Result<Stored, ObjectsError> {
        let (objects, store) = (&self.objects, &self.objects.store);
        if self.existing == Existing::Keep {
            let moved = store.rename_if_not_exists(&self.path, &self.key.0);
            match objects.call(NAME, moved).await {
                Ok(()) => return Ok(Stored::New),
                Err(ObjectsError::AlreadyThere { .. }) if self.can_be_kept().await? => {
                    return self.gone(Ok(Stored::AlreadyThere)).await;
                }
                Err(ObjectsError::AlreadyThere { .. }) => {}
                Err(error) => return self.gone(Err(error)).await,
            }
        }
        match objects.call(NAME, store.rename(&self.path, &self.key.0)).await {
            Ok(()) => Ok(Stored::New),
            Err(error) => self.gone(Err(error)).await,
        }
    }

    /// In a bucket: copies the object to its name, by the store itself as far as it does that, else through this process.
    /// The bytes are those of the name, so that two who do it at once write the same.
    async fn copy(&self) -> Result<(), ObjectsError> {
        let objects = &self.objects;
        if self.bytes <= objects.copied_by_store {
            let copy = objects.store.copy(&self.path, &self.key.0);
            return objects.call_within(self.time_for_all(), NAME, copy).await;
        }
        let mut download = objects.read_at(&self.path, None).await?;
        // Dropped on the way, it is given up.
        let mut copy = objects.stage_at(self.key.0.clone()).await?;
        while let Some(piece) = download.body.try_next().await? {
            copy.write(&piece).await?;
        }
        match std::mem::replace(&mut copy.upload, Upload::Ended) {
            Upload::Parts(upload) => {
                let finish = upload.finish();
                objects
                    .call_within(self.time_for_all(), NAME, finish)
                    .await
                    .map(|_| ())
            }
            Upload::Small(bytes) => self.put_as(PutPayload::from(bytes), PutMode::Overwrite).await,
            Upload::Ended => Ok(()),
        }
    }

    /// How long a call may take that moves all bytes.
    fn time_for_all(&self) -> Duration {
        self.objects.deadline + Duration::from_secs(self.bytes / COPY_RATE)
    }

    /// Deletes what was staged, with `outcome` as the result: an object that has its name is there, whatever is left
    /// beside it, and the sweep finds that.
    async fn gone(&self, outcome: Result<Stored, ObjectsError>) -> Result<Stored, ObjectsError> {
        if let Err(error) = self.objects.delete_path(&self.path).await {
            tracing::warn!(%error, "a staged object is left for the sweep at the next start");
        }
        outcome
    }
}
