//! Files of this machine that become objects without being copied, and folders of objects that go.
//!
//! One rule: a linked file is an object at once and whole, and has its name durably when the call ends.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Key, Objects, ObjectsError};

impl Objects {
    /// Stores files below `prefix` as [`put_dir`](Self::put_dir) does, as hard links: their bytes are there once. Only for
    /// files that nobody changes any more. `None`, and nothing is stored, where the store is no folder on their file
    /// system, or that has no links: then they have to be copied. The keys else.
    ///
    /// # Errors
    /// When a file is not there or is none, a name is no key, or the folder cannot be written. What was stored is deleted.
    pub async fn link_dir(
        &self,
        prefix: &Key,
        files: &[(String, PathBuf)],
    ) -> Result<Option<Vec<Key>>, ObjectsError> {
        let Some((store, root)) = &self.local else {
            return Ok(None);
        };
        let (mut keys, mut links) = (Vec::new(), Vec::new());
        for (name, path) in files {
            let key = prefix.join(name)?;
            let target = store
                .path_to_filesystem(&key.0)
                .map_err(|error| ObjectsError::from_store("name an object", &error))?;
            links.push((path.clone(), target));
            keys.push(key);
        }
        let root = root.clone();
        // To its end whoever waits: links are made within moments.
        let linked = tokio::task::spawn_blocking(move || link_all(&root, &links));
        let linked = linked.await.map_err(|error| ObjectsError::Store {
            operation: "link files",
            what: error.to_string(),
        })?;
        Ok(linked?.then_some(keys))
    }

    /// Deletes the objects of these names below `prefix`, and in a folder what is empty then. Those that are not there are
    /// deleted already.
    ///
    /// # Errors
    /// When the store does not answer; the others are deleted all the same.
    pub async fn delete_dir(&self, prefix: &Key, names: &[String]) -> Result<(), ObjectsError> {
        let mut outcome = Ok(());
        for name in names {
            let deleted = match prefix.join(name) {
                Ok(key) => self.delete(&key).await,
                Err(error) => Err(error),
            };
            outcome = outcome.and(deleted);
        }
        if let Some(folder) = self.local_path(prefix) {
            // Those above it are others' too: the first that is not empty ends it.
            let empty = |folder: &&Path| fs::remove_dir(folder).is_ok();
            let depth = prefix.0.parts().count().saturating_sub(1);
            folder.ancestors().take(depth).take_while(empty).for_each(drop);
        }
        outcome
    }
}

/// Links all or none; whether links can be made here.
fn link_all(root: &Path, links: &[(PathBuf, PathBuf)]) -> Result<bool, ObjectsError> {
    for (done, (from, to)) in links.iter().enumerate() {
        let Err(error) = link(from, to) else { continue };
        for (_, to) in &links[..done] {
            remove(to);
        }
        let elsewhere = matches!(
            error.kind(),
            ErrorKind::CrossesDevices
                | ErrorKind::PermissionDenied
                | ErrorKind::TooManyLinks
                | ErrorKind::Unsupported
        );
        return match (elsewhere, error.kind()) {
            (true, _) => Ok(false),
            (false, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Err(ObjectsError::StorageFull),
            (false, _) => Err(unusable(from, error)),
        };
    }
    for (_, to) in links {
        for folder in to
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(root))
        {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| unusable(folder, error))?;
        }
    }
    Ok(true)
}

/// Gives a regular file the name `to` as well, in place of what has it.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let (there, own) = (fs::symlink_metadata(to)?, fs::symlink_metadata(from)?);
            if (there.dev(), there.ino()) != (own.dev(), own.ino()) {
                fs::remove_file(to)?;
                fs::hard_link(from, to)?;
            }
        }
        linked => linked?,
    }
    // A link is made of whatever has the name, also of a symbolic link: what was linked is looked at.
    match fs::symlink_metadata(to)?.is_file() {
        true => Ok(()),
        false => {
            remove(to);
            Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"))
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file that nothing refers to is left in the object store");
    }
}

fn unusable(path: &Path, source: io::Error) -> ObjectsError {
    ObjectsError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use crate::{
        Key,
        testing::{files, store},
    };

    fn inode(path: &std::path::Path) -> u64 {
        std::fs::metadata(path).expect("there").ino()
    }

    /// The bytes are there once, under two names, and deleting the objects leaves the file and no folders.
    #[tokio::test]
    async fn linked_files_take_no_room_and_go_with_their_folders() {
        let (folder, objects) = store();
        let own = folder.path().join("own");
        std::fs::write(&own, b"bytes").expect("written");
        let prefix = Key::checkpoint("job_1/1/abc").expect("a key");
        let wanted = [("one".to_owned(), own.clone()), ("two".to_owned(), own.clone())];
        for _ in 0..2 {
            let keys = objects.link_dir(&prefix, &wanted).await.expect("linked");
            let keys = keys.expect("the same file system");
            let path = objects.local_path(&keys[0]).expect("a folder");
            assert_eq!(inode(&path), inode(&own));
            assert_eq!(objects.size(&keys[1]).await.expect("answered"), Some(5));
        }
        let names = ["one", "two", "never there"].map(str::to_owned);
        objects.delete_dir(&prefix, &names).await.expect("deleted");
        assert_eq!(files(folder.path()), ["own"]);
        assert!(!folder.path().join("checkpoints/job_1").exists());
        assert!(
            folder.path().join("checkpoints").exists(),
            "the part of the store stays"
        );
    }

    /// All or nothing, and no link to a link.
    #[tokio::test]
    async fn of_files_of_which_one_is_none_nothing_is_linked() {
        let (folder, objects) = store();
        let (own, link) = (folder.path().join("own"), folder.path().join("link"));
        std::fs::write(&own, b"bytes").expect("written");
        std::os::unix::fs::symlink(&own, &link).expect("made");
        let prefix = Key::checkpoint("job_1/1/abc").expect("a key");
        for bad in [link, folder.path().join("missing")] {
            let wanted = [("one".to_owned(), own.clone()), ("two".to_owned(), bad)];
            objects.link_dir(&prefix, &wanted).await.expect_err("refused");
            assert_eq!(files(folder.path()), ["link", "own"]);
        }
    }
}
