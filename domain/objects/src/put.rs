//! Files of this machine on their way into the store.
//!
//! One rule: of several files all are stored or none, also when nobody waits for them any more.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::{io::AsyncReadExt, sync::oneshot};

use super::{Existing, Key, Objects, ObjectsError};

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

/// Stored objects that nothing refers to yet: dropped, they are deleted, unless somebody may refer to them.
#[derive(Debug)]
pub struct Unreferenced {
    objects: Objects,
    keys: Vec<Key>,
    deleted_when_dropped: bool,
}

impl Unreferenced {
    /// From here on somebody may refer to them: dropped, they stay.
    #[must_use]
    pub fn may_be_referred_to(mut self) -> Self {
        self.deleted_when_dropped = false;
        self
    }

    /// Deletes them and waits until they are gone.
    pub async fn take_back(mut self) {
        let keys = std::mem::take(&mut self.keys);
        self.objects.take_back(&keys).await;
    }
}

impl Drop for Unreferenced {
    fn drop(&mut self) {
        let (objects, keys) = (self.objects.clone(), std::mem::take(&mut self.keys));
        if keys.is_empty() || !self.deleted_when_dropped {
            return;
        }
        // Without a runtime the process is ending; the collector finds them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { objects.take_back(&keys).await });
        }
    }
}

impl Objects {
    /// Stores files below `prefix`, each with its name there, and replaces what has that name. All or
    /// nothing: on an error, and when the caller is dropped, what this call stored is deleted. A path is followed through
    /// links: where they may lead is the caller's to see to. Anything but a regular file is refused without waiting for
    /// it.
    ///
    /// # Errors
    /// When a file cannot be read or is none, a name is no key, or the store fails or is full.
    pub async fn put_dir(
        &self,
        prefix: &Key,
        files: &[(String, PathBuf)],
    ) -> Result<Vec<StoredFile>, ObjectsError> {
        let (objects, prefix, files) = (self.clone(), prefix.clone(), files.to_vec());
        let (mut sender, receiver) = oneshot::channel();
        // In a task: a file that is being named can neither be given up nor be known to be there.
        tokio::spawn(async move {
            let mut stored = Vec::with_capacity(files.len());
            let outcome = objects.put_files(&prefix, &files, &mut stored, &mut sender).await;
            let keys: Vec<Key> = stored.iter().map(|file: &StoredFile| file.key.clone()).collect();
            let sent = outcome.map(|()| stored);
            if sent.is_err() {
                objects.take_back(&keys).await;
            }
            if sender.send(sent).is_err() {
                objects.take_back(&keys).await;
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(ObjectsError::Store {
                operation: "store files",
                what: "the task that did it broke off".to_owned(),
            })
        })
    }

    /// Stores one file after the other, until the caller is gone.
    async fn put_files<T>(
        &self,
        prefix: &Key,
        files: &[(String, PathBuf)],
        stored: &mut Vec<StoredFile>,
        caller: &mut oneshot::Sender<T>,
    ) -> Result<(), ObjectsError> {
        for (name, path) in files {
            let key = prefix.join(name)?;
            let file = tokio::select! {
                biased;
                () = caller.closed() => return Ok(()),
                file = self.written(&key, path) => file?,
            };
            let (staged, bytes, sha256) = file;
            staged.publish(&key, Existing::Replace).await?;
            let name = name.clone();
            stored.push(StoredFile {
                name,
                key,
                bytes,
                sha256,
            });
        }
        Ok(())
    }

    /// A file with its size and its hash, all but named.
    async fn written(&self, key: &Key, path: &Path) -> Result<(super::Staged, u64, String), ObjectsError> {
        let unreadable = |source| ObjectsError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = open_regular(path).await.map_err(unreadable)?;
        let mut staged = self.stage_as(key).await?;
        let (mut buffer, mut hash, mut bytes) = (vec![0; 256 * 1024], Sha256::new(), 0_u64);
        loop {
            let read = file.read(&mut buffer).await.map_err(unreadable)?;
            if read == 0 {
                return Ok((staged, bytes, hex::encode(hash.finalize())));
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
            staged.write(&buffer[..read]).await?;
        }
    }

    /// Stored files as such that nothing refers to yet.
    #[must_use]
    pub fn unreferenced(&self, files: &[StoredFile]) -> Unreferenced {
        Unreferenced {
            objects: self.clone(),
            keys: files.iter().map(|file| file.key.clone()).collect(),
            deleted_when_dropped: true,
        }
    }

    /// Deletes what nothing refers to; what cannot be deleted is the collector's to find.
    async fn take_back(&self, keys: &[Key]) {
        for key in keys {
            if let Err(error) = self.delete(key).await {
                tracing::warn!(%key, %error, "a file that nothing refers to is left in the object store");
            }
        }
    }
}

/// Opens a regular file to read; a pipe is not waited for.
async fn open_regular(path: &Path) -> std::io::Result<tokio::fs::File> {
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
