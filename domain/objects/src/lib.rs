//! The object store: bytes of datasets, artefacts and checkpoints, in a folder or in an S3 bucket (DS-3).
//!
//! One rule: an object appears whole or not at all. In a folder all bytes go to a staging key first and move to their
//! own key when they are complete and durable; a bucket shows an object when its upload is completed. What a crash
//! leaves in staging is swept at start, by whom it belongs to ([adr 0033](../../../ops/adr/0033-s3-beside-the-folder.md)).

mod address;
pub mod cache;
mod error;
mod key;
mod linking;
mod listing;
mod put;
mod read;
mod staging;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transport;

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::id::Ids;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};

pub use address::{S3Options, SecretText, StoreAddress};
pub use error::ObjectsError;
pub use key::Key;
pub use listing::{Listed, Swept};
pub use put::{StoredFile, Unreferenced};
pub use read::Download;
pub use staging::{Existing, Staged, Stored};

/// How long one call of the store may take. A call moves at most one part of a few MiB.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where unfinished objects live.
const STAGING: &str = "staging";
/// Bytes that an S3 store copies in one request.
const COPIED_BY_STORE: u64 = 5 << 30;

/// The object store. Clones share it.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The same store where it is a folder of this machine, and the folder.
    local: Option<(Arc<LocalFileSystem>, PathBuf)>,
    address: Arc<StoreAddress>,
    /// Who stages: the beginning of the names of what is being written.
    owner: Arc<str>,
    ids: Arc<dyn Ids>,
    deadline: Duration,
    copied_by_store: u64,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Opens the store at `url`: `file:///folder`, which is created when it is not there.
    ///
    /// # Errors
    /// When the address is of another kind, or the folder cannot be made.
    pub fn open(url: &str, ids: Arc<dyn Ids>) -> Result<Self, ObjectsError> {
        Self::open_with(&StoreAddress::parse(url)?, &S3Options::default(), ids)
    }

    /// Opens the store at `address`. A folder is created when it is not there; a bucket is not asked for yet.
    ///
    /// # Errors
    /// When the folder cannot be made, or the options do not fit.
    pub fn open_with(
        address: &StoreAddress,
        options: &S3Options,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, ObjectsError> {
        let (store, local): (Arc<dyn ObjectStore>, _) = match address {
            StoreAddress::Folder(folder) => {
                let (store, folder) = open_folder(folder)?;
                (Arc::clone(&store) as _, Some((store, folder)))
            }
            StoreAddress::Bucket { bucket, prefix } => (options.open(bucket, prefix)?, None),
        };
        Ok(Self {
            store,
            local,
            address: Arc::new(address.clone()),
            owner: ids.next().simple().to_string().into(),
            ids,
            deadline: DEADLINE,
            copied_by_store: COPIED_BY_STORE,
        })
    }

    /// The same store, staging in the name of `owner`: 32 hexadecimal digits. One living process has it at a time, so
    /// that what an earlier one of it left can be swept at its start. Without this, each opening is an owner of its own.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn staging_as(mut self, owner: &str) -> Result<Self, ObjectsError> {
        if owner.len() != 32 || !owner.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ObjectsError::Key {
                key: owner.chars().take(64).collect(),
            });
        }
        self.owner = owner.to_ascii_lowercase().into();
        Ok(self)
    }

    /// The same store with another deadline for each of its calls.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Where it is, for people.
    #[must_use]
    pub fn address(&self) -> &StoreAddress {
        &self.address
    }

    /// The file of an object, for a process on the same machine; `None` when the store is elsewhere. It need
    /// not exist. Objects never change: read it, and never write to it.
    #[must_use]
    pub fn local_path(&self, key: &Key) -> Option<PathBuf> {
        self.local
            .as_ref()
            .and_then(|(store, _)| store.path_to_filesystem(&key.0).ok())
    }

    /// Deletes an object. One that is not there is deleted already.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delete(&self, key: &Key) -> Result<(), ObjectsError> {
        self.delete_path(&key.0).await
    }

    async fn delete_path(&self, path: &Path) -> Result<(), ObjectsError> {
        match self.call("delete an object", self.store.delete(path)).await {
            Err(ObjectsError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// One call of the store, within the deadline, with its error in our words.
    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectsError> {
        self.call_within(self.deadline, operation, call).await
    }

    async fn call_within<T>(
        &self,
        deadline: Duration,
        operation: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectsError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(result) => result.map_err(|error| ObjectsError::from_store(operation, &error)),
            Err(_) => Err(ObjectsError::Deadline {
                operation,
                seconds: deadline.as_secs(),
            }),
        }
    }
}

/// The store in a folder, which is made when it is missing.
fn open_folder(folder: &std::path::Path) -> Result<(Arc<LocalFileSystem>, PathBuf), ObjectsError> {
    let refuse = |reason: String| ObjectsError::Address { reason };
    std::fs::create_dir_all(folder)
        .map_err(|error| refuse(format!("cannot be created at {}: {error}", folder.display())))?;
    let folder = folder
        .canonicalize()
        .map_err(|error| refuse(format!("cannot be opened: {error}")))?;
    let store = LocalFileSystem::new_with_prefix(&folder)
        .map_err(|error| refuse(format!("cannot be opened: {error}")))?
        .with_fsync(true);
    Ok((Arc::new(store), folder))
}
