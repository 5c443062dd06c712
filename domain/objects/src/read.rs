//! Reading objects.
//!
//! One rule: bytes stream; no object is held in memory.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};

use super::{Key, Objects, ObjectsError};

/// An object, or a range of one, on its way out.
pub struct Download {
    /// The size of the whole object.
    pub size: u64,
    /// The bytes that follow: the whole object, or the range asked for, cut at the object's end.
    pub range: Range<u64>,
    /// The bytes, in pieces.
    pub body: BoxStream<'static, Result<Bytes, ObjectsError>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// The size of an object, or `None` where there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, ObjectsError> {
        self.size_at(&key.0).await
    }

    pub(super) async fn size_at(&self, path: &Path) -> Result<Option<u64>, ObjectsError> {
        Ok(self.found(path).await?.map(|found| found.size))
    }

    pub(super) async fn found(&self, path: &Path) -> Result<Option<ObjectMeta>, ObjectsError> {
        match self.call("find an object", self.store.head(path)).await {
            Ok(found) => Ok(Some(found)),
            Err(ObjectsError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object, or the `range` of it (a range that reaches over the end is cut there). Each piece
    /// has the store's deadline, and the bytes are as many as [`Download::range`] says, or end with an error.
    ///
    /// # Errors
    /// When there is no such object, or the range begins behind its end or is empty.
    pub async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download, ObjectsError> {
        self.read_at(&key.0, range).await
    }

    pub(super) async fn read_at(
        &self,
        path: &Path,
        range: Option<Range<u64>>,
    ) -> Result<Download, ObjectsError> {
        if let Some(range) = &range {
            let size = self.size_at(path).await?.ok_or_else(|| ObjectsError::NotFound {
                key: path.to_string(),
            })?;
            if range.start >= size || range.is_empty() {
                return Err(ObjectsError::Range { size });
            }
        }
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let found = self
            .call("open an object", self.store.get_opts(path, options))
            .await?;
        let (size, range) = (found.meta.size, found.range.clone());
        let body = pieces(found.into_stream(), self.deadline);
        Ok(Download {
            size,
            body: whole(body, path.to_string(), range.end - range.start),
            range,
        })
    }
}

/// The same bytes, with an error where there are fewer or more than `expected`.
fn whole(
    body: BoxStream<'static, Result<Bytes, ObjectsError>>,
    key: String,
    expected: u64,
) -> BoxStream<'static, Result<Bytes, ObjectsError>> {
    futures::stream::unfold(Some((body, 0_u64)), move |state| {
        let key = key.clone();
        async move {
            let (mut body, found) = state?;
            let wrong = |found| ObjectsError::Length { key, expected, found };
            match body.next().await {
                None if found == expected => None,
                None => Some((Err(wrong(found)), None)),
                Some(Err(error)) => Some((Err(error), None)),
                Some(Ok(bytes)) => match found + bytes.len() as u64 {
                    found if found > expected => Some((Err(wrong(found)), None)),
                    found => Some((Ok(bytes), Some((body, found)))),
                },
            }
        }
    })
    .boxed()
}

/// The store's stream with a deadline for each piece; it ends after the first error.
fn pieces(
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    deadline: Duration,
) -> BoxStream<'static, Result<Bytes, ObjectsError>> {
    const READ: &str = "read an object";
    futures::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(deadline, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(ObjectsError::from_store(READ, &error)), None)),
            Err(_) => Some((
                Err(ObjectsError::Deadline {
                    operation: READ,
                    seconds: deadline.as_secs(),
                }),
                None,
            )),
        }
    })
    .boxed()
}
