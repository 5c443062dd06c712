//! The object store: bytes of datasets and artefacts, in a folder or (later) in a bucket (DS-3).
//!
//! One rule: an object appears whole or not at all. All bytes go to a staging key first and move to their
//! own key when they are complete and durable; what is left in staging after a crash is swept at start.

mod error;
mod read;
mod staging;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::id::Ids;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;

pub use error::ObjectsError;
pub use read::Download;
pub use staging::{Existing, Staged, Stored};

/// How long one call of the store may take. A call moves at most one part of a few MiB.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where unfinished objects live.
const STAGING: &str = "staging";

/// The name of an object: segments parted by `/`, none of them empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Path);

impl Key {
    /// The key of a dataset version: its content address.
    ///
    /// # Errors
    /// When `sha256` is not 64 lower-case hexadecimal digits.
    pub fn dataset(sha256: &str) -> Result<Self, ObjectsError> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if sha256.len() != 64 || !sha256.bytes().all(digits) {
            return Err(ObjectsError::Key {
                key: shortened(sha256),
            });
        }
        Self::parse(&format!("datasets/{sha256}"))
    }

    /// The key of an artefact, or the prefix of a folder of artefacts, such as `job_…/adapter`.
    ///
    /// # Errors
    /// When a segment is empty, `.` or `..`, or holds a character that no store takes.
    pub fn artifact(path: &str) -> Result<Self, ObjectsError> {
        Self::parse(&format!("artifacts/{path}"))
    }

    /// The key of a file below this one.
    ///
    /// # Errors
    /// As [`artifact`](Self::artifact).
    pub fn join(&self, path: &str) -> Result<Self, ObjectsError> {
        Self::parse(&format!("{}/{path}", self.0))
    }

    fn parse(text: &str) -> Result<Self, ObjectsError> {
        let refuse = || ObjectsError::Key { key: shortened(text) };
        // `Path` takes these two, but the local store cannot keep them apart from its own temporary files.
        if text.starts_with('/') || text.ends_with('/') || text.contains('#') {
            return Err(refuse());
        }
        Path::parse(text).map(Self).map_err(|_| refuse())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Opens a regular file to read; a pipe is not waited for.
async fn open_regular(path: &std::path::Path) -> std::io::Result<tokio::fs::File> {
    let mut options = tokio::fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let file = options.open(path).await?;
    match file.metadata().await?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

/// A file of [`Objects::put_dir`] as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name below the prefix.
    pub name: String,
    /// Its key.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// The object store. Clones share it.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The same store where it is a folder of this machine, and the folder.
    local: Option<(Arc<LocalFileSystem>, PathBuf)>,
    ids: Arc<dyn Ids>,
    deadline: Duration,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects")
            .field("store", &self.store.to_string())
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Opens the store at `url`: `file:///folder`, which is created when it is not there.
    ///
    /// # Errors
    /// When the address is of another kind, or the folder cannot be made.
    pub fn open(url: &str, ids: Arc<dyn Ids>) -> Result<Self, ObjectsError> {
        let refuse = |reason: String| ObjectsError::Address { reason };
        let parsed = url::Url::parse(url).map_err(|error| refuse(format!("is no URL ({error})")))?;
        if parsed.scheme() != "file" {
            return Err(refuse(format!("begins with '{}:'", parsed.scheme())));
        }
        let folder = parsed
            .to_file_path()
            .map_err(|()| refuse("names no absolute folder".to_owned()))?;
        std::fs::create_dir_all(&folder)
            .map_err(|error| refuse(format!("cannot be created at {}: {error}", folder.display())))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| refuse(format!("cannot be opened: {error}")))?;
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| refuse(format!("cannot be opened: {error}")))?
            .with_fsync(true);
        let store = Arc::new(store);
        Ok(Self {
            store: Arc::clone(&store) as _,
            local: Some((store, folder)),
            ids,
            deadline: DEADLINE,
        })
    }

    /// The same store with another deadline for each of its calls.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The file of an object, for a process on the same machine; `None` when the store is elsewhere. It need
    /// not exist. Objects never change: read it, and never write to it.
    #[must_use]
    pub fn local_path(&self, key: &Key) -> Option<PathBuf> {
        self.local
            .as_ref()
            .and_then(|(store, _)| store.path_to_filesystem(&key.0).ok())
    }

    /// Begins an object. Nothing of it shows until it is published; dropped, it leaves nothing.
    ///
    /// # Errors
    /// When the store does not answer or is full.
    pub async fn stage(&self) -> Result<Staged, ObjectsError> {
        let path = Path::from(format!("{STAGING}/{}", self.ids.next().simple()));
        let upload = self
            .call("begin an object", self.store.put_multipart(&path))
            .await?;
        Ok(Staged::new(self.clone(), path, upload))
    }

    /// Stores files below `prefix`, each with its name there, and replaces what has that name. All or
    /// nothing: on an error what this call stored is deleted. A path is followed through links: where they may lead is
    /// the caller's to see to. Anything but a regular file is refused without waiting for it.
    ///
    /// # Errors
    /// When a file cannot be read or is none, a name is no key, or the store fails or is full.
    pub async fn put_dir(
        &self,
        prefix: &Key,
        files: &[(String, PathBuf)],
    ) -> Result<Vec<StoredFile>, ObjectsError> {
        let mut stored: Vec<StoredFile> = Vec::with_capacity(files.len());
        for (name, path) in files {
            match self.put_file(prefix, name, path).await {
                Ok(file) => stored.push(file),
                Err(error) => {
                    for file in &stored {
                        if let Err(left) = self.delete(&file.key).await {
                            tracing::warn!(key = %file.key, error = %left, "an artefact could not be taken back");
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(stored)
    }

    async fn put_file(
        &self,
        prefix: &Key,
        name: &str,
        path: &std::path::Path,
    ) -> Result<StoredFile, ObjectsError> {
        use sha2::Digest;
        let unreadable = |source| ObjectsError::File {
            path: path.to_owned(),
            source,
        };
        let key = prefix.join(name)?;
        let mut file = open_regular(path).await.map_err(unreadable)?;
        let mut staged = self.stage().await?;
        let (mut buffer, mut hash, mut bytes) = (vec![0; 256 * 1024], sha2::Sha256::new(), 0_u64);
        loop {
            let read = file.read(&mut buffer).await.map_err(unreadable)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
            staged.write(&buffer[..read]).await?;
        }
        staged.publish(&key, Existing::Replace).await?;
        Ok(StoredFile {
            name: name.to_owned(),
            key,
            bytes,
            sha256: hex::encode(hash.finalize()),
        })
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

    /// Deletes what was staged before `before` and never published, and says how many files that were. Call
    /// it at start: with "now" where one process owns the folder, else with a day ago.
    ///
    /// # Errors
    /// When the folder cannot be read or a file in it not be deleted.
    pub async fn sweep_staging(&self, before: OffsetDateTime) -> Result<u64, ObjectsError> {
        let Some((_, folder)) = &self.local else {
            return Ok(0);
        };
        let folder = folder.join(STAGING);
        let failed = |source| ObjectsError::File {
            path: folder.clone(),
            source,
        };
        let mut entries = match tokio::fs::read_dir(&folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let mut swept = 0;
        // The store's own listing hides files that are still being written; these are the ones to find.
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let metadata = entry.metadata().await.map_err(failed)?;
            let changed: OffsetDateTime = metadata.modified().map_err(failed)?.into();
            if metadata.is_file() && changed < before {
                tokio::fs::remove_file(entry.path()).await.map_err(failed)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// One call of the store, within the deadline, with its error in our words.
    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectsError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(result) => result.map_err(|error| ObjectsError::from_store(operation, error)),
            Err(_) => Err(ObjectsError::Deadline {
                operation,
                seconds: self.deadline.as_secs(),
            }),
        }
    }
}
