//! Reading objects.
//!
//! One rule: bytes stream; no object is held in memory.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

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
        match self.call("find an object", self.store.head(&key.0)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(ObjectsError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object, or the `range` of it (a range that reaches over the end is cut there). Each piece
    /// has the store's deadline.
    ///
    /// # Errors
    /// When there is no such object, or the range begins behind its end or is empty.
    pub async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download, ObjectsError> {
        if let Some(range) = &range {
            let size = self
                .size(key)
                .await?
                .ok_or_else(|| ObjectsError::NotFound { key: key.to_string() })?;
            if range.start >= size || range.is_empty() {
                return Err(ObjectsError::Range { size });
            }
        }
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let found = self
            .call("open an object", self.store.get_opts(&key.0, options))
            .await?;
        let (size, range) = (found.meta.size, found.range.clone());
        let deadline = self.deadline;
        Ok(Download {
            size,
            range,
            body: pieces(found.into_stream(), deadline),
        })
    }
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
            Ok(Some(Err(error))) => Some((Err(ObjectsError::from_store(READ, error)), None)),
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
