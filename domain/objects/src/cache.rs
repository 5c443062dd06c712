//! Objects of a store elsewhere as files of this machine: a folder of downloads, bounded in bytes.
//!
//! One rule: a file has its name, which is the SHA-256 of its bytes, only when all of them are there and have that hash;
//! and what somebody uses is not evicted.
//!
//! Several processes may share the folder. Whoever uses a file holds a shared lock on it (`flock`), whoever evicts takes
//! an exclusive one first; a partial file is locked by who writes it, so that what a killed process left is found and
//! removed. The folder has to be on a local file system.

#[cfg(test)]
mod tests;

use std::{
    fs::{File, FileTimes, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use domain::{clock::Clock, id::Ids};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{Key, Objects, ObjectsError, key::is_sha256};

/// The ending of files that are being written.
const PARTIAL: &str = ".part";

/// A folder of downloads. Clones share it.
#[derive(Clone)]
pub struct ObjectCache {
    folder: Arc<Path>,
    limit: u64,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectCache")
            .field("folder", &self.folder)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A file of the cache. While it is held, the file stays.
#[derive(Debug)]
pub struct Cached {
    path: PathBuf,
    _lock: File,
}

impl Cached {
    /// Where the bytes are. Read them only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file that is being written; it is removed with this unless it has got its name.
struct Partial {
    path: PathBuf,
}

impl Drop for Partial {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "a partial download is left");
            }
            _ => {}
        }
    }
}

impl ObjectCache {
    /// The cache in `folder`, which is made when it is missing, with at most `limit` bytes, except that what is in use
    /// stays. Removes what a killed process has not finished. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(
        folder: &Path,
        limit: u64,
        ids: Arc<dyn Ids>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ObjectsError> {
        let failed = |source| unusable(folder, source);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let cache = Self {
            folder: folder.into(),
            limit,
            ids,
            clock,
        };
        cache.remove_partial().map_err(failed)?;
        cache.evict(0).map_err(failed)?;
        Ok(cache)
    }

    /// The object `key`, whose bytes have the hash `sha256`, as a file of this machine. Taken from the cache where it is
    /// there and whole; else downloaded. Two who want the same at once may both download it; one of the files stays.
    ///
    /// # Errors
    /// [`ObjectsError::Damaged`] when the store has other bytes than were recorded; when the store or the disk fails.
    pub async fn get(&self, objects: &Objects, key: &Key, sha256: &str) -> Result<Cached, ObjectsError> {
        if !is_sha256(sha256) {
            return Err(ObjectsError::Key {
                key: sha256.chars().take(128).collect(),
            });
        }
        let (cache, name) = (self.clone(), sha256.to_owned());
        if let Some(found) = blocking(move || cache.find(&name)).await? {
            return Ok(found);
        }
        self.download(objects, key, sha256).await
    }

    /// A file that is there, unless its bytes are not what its name says: then it is removed.
    fn find(&self, sha256: &str) -> Result<Option<Cached>, ObjectsError> {
        let path = self.folder.join(sha256);
        let failed = |source| unusable(&path, source);
        let Some(file) = self.locked(&path).map_err(failed)? else {
            return Ok(None);
        };
        let mut hash = Sha256::new();
        io::copy(&mut &file, &mut HashWriter(&mut hash)).map_err(failed)?;
        if hex::encode(hash.finalize()) != sha256 {
            tracing::warn!(path = %path.display(), "a file of the cache is damaged and is downloaded again");
            std::fs::remove_file(&path).map_err(failed)?;
            return Ok(None);
        }
        let used = FileTimes::new().set_modified(self.now());
        file.set_times(used).map_err(failed)?;
        Ok(Some(Cached { path, _lock: file }))
    }

    /// The file at `path` with a shared lock; `None` when it is not there, or is just being evicted.
    fn locked(&self, path: &Path) -> io::Result<Option<File>> {
        // To write, because the time of its last use is set through it.
        let opened = File::options().read(true).write(true).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.lock_shared()?;
        // It may have been evicted between the two, and another have taken its name.
        match (std::fs::metadata(path), file.metadata()?) {
            (Ok(there), own) if same(&there, &own) => Ok(Some(file)),
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        }
    }

    async fn download(&self, objects: &Objects, key: &Key, sha256: &str) -> Result<Cached, ObjectsError> {
        let download = objects.read(key, None).await?;
        let (cache, bytes) = (self.clone(), download.size);
        let name = format!("{sha256}-{}{PARTIAL}", self.ids.next().simple());
        let partial = Partial {
            path: self.folder.join(name),
        };
        let path = partial.path.clone();
        let file = blocking(move || {
            let failed = |source| unusable(&path, source);
            cache.evict(bytes).map_err(failed)?;
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path);
            let file = file.map_err(failed)?;
            // Held until it has its name and on, by whoever uses it.
            file.lock_shared().map_err(failed)?;
            Ok(file)
        })
        .await?;
        let failed = |source| unusable(&partial.path, source);
        let mut writer = tokio::fs::File::from_std(file.try_clone().map_err(failed)?);
        let (mut body, mut hash) = (download.body, Sha256::new());
        while let Some(piece) = body.try_next().await? {
            hash.update(&piece);
            writer.write_all(&piece).await.map_err(failed)?;
        }
        writer.flush().await.map_err(failed)?;
        let found = hex::encode(hash.finalize());
        if found != sha256 {
            return Err(ObjectsError::Damaged {
                key: key.to_string(),
                found,
            });
        }
        let (cache, name) = (self.clone(), sha256.to_owned());
        blocking(move || cache.name(&partial, file, &name)).await
    }

    /// Gives a whole file its name, unless another has got it meanwhile: then that one is used, so that all who use these
    /// bytes hold the same file.
    fn name(&self, partial: &Partial, file: File, sha256: &str) -> Result<Cached, ObjectsError> {
        let path = self.folder.join(sha256);
        let failed = |source| unusable(&path, source);
        loop {
            match std::fs::hard_link(&partial.path, &path) {
                Ok(()) => return Ok(Cached { path, _lock: file }),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                Err(_) => {}
            }
            if let Some(file) = self.locked(&path).map_err(failed)? {
                return Ok(Cached { path, _lock: file });
            }
        }
    }

    /// Removes the files that were not used for the longest, until `more` bytes fit. What is in use is passed over.
    fn evict(&self, more: u64) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_unstable_by_key(|(used, ..)| *used);
        let mut total = files
            .iter()
            .fold(more, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
        for (_, bytes, path) in files {
            if total <= self.limit {
                break;
            }
            if path.extension().is_some() || !remove_unused(&path)? {
                continue;
            }
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }

    fn remove_partial(&self) -> io::Result<()> {
        for (.., path) in self.files()? {
            if path.extension().is_some() {
                remove_unused(&path)?;
            }
        }
        Ok(())
    }

    /// The files of the cache with the time of their last use and their size, partial ones among them.
    fn files(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = name.split('-').next().is_some_and(is_sha256);
            match entry.metadata() {
                Ok(file) if file.is_file() && (ours || is_sha256(&name)) => {
                    found.push((file.modified()?, file.len(), entry.path()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn now(&self) -> SystemTime {
        self.clock.now().into()
    }
}

/// Removes a file that nobody has locked; says whether it did.
fn remove_unused(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Another may have evicted it, and a third have downloaded it again.
    match std::fs::metadata(path) {
        Ok(there) if same(&there, &file.metadata()?) => std::fs::remove_file(path).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A hash as something to write to.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unusable(path: &Path, source: io::Error) -> ObjectsError {
    ObjectsError::File {
        path: path.to_owned(),
        source,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectsError> + Send + 'static,
) -> Result<T, ObjectsError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(ObjectsError::Store {
            operation: "use the cache",
            what: error.to_string(),
        })
    })
}
