//! Where things are kept: the data folder and the object store.

use std::{
    fs::{OpenOptions, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use domain::id::{Ids, SystemIds};
use event_store::{integrity::CheckpointFolder, kurrentdb::is_kurrentdb};
use futures::TryStreamExt as _;
use objects::{Existing, Key, ObjectsError, StoreAddress};

use super::Check;
use crate::{
    config::Config,
    postgres::{free_bytes, refuse_lost_database, refuse_no_folder},
    system::{checkpoint_folder, models_folder_fault, object_address, objects as open_objects},
};

/// Below this PostgreSQL does not start, in bytes.
const LEAST: u64 = 256 << 20;
/// The most that is read of the file of the lock, in bytes.
const LOCK_LIMIT: u64 = 4_096;
/// Below this a training may run out of room, in bytes.
const ADVISED: u64 = 2 << 30;

/// The folder of exported checkpoints: there or to be made, and writable. `None` where this process exports none.
pub(super) fn checkpoints(config: &Config) -> Option<Check> {
    let name = "checkpoint folder";
    if !config.audit.sign || is_kurrentdb(config.events.url.0.as_deref().unwrap_or_default()) {
        return None;
    }
    let folder = checkpoint_folder(config);
    let fail = |found: String| {
        Check::fail(
            name,
            found,
            "give this user the right to write there, or set audit.checkpoint_folder",
        )
    };
    // The next one that is there decides about one that is still to be made.
    let there = folder.ancestors().find(|folder| folder.exists());
    let Some(there) = there.filter(|there| there.is_dir()) else {
        return Some(fail(format!("{} cannot be made", folder.display())));
    };
    Some(match (probe_file(there), there == folder) {
        (Ok(()), true) => Check::ok(name, format!("{} is writable", folder.display())),
        (Ok(()), false) => Check::ok(
            name,
            format!("{} will be made at the first start", folder.display()),
        ),
        (Err(error), _) => fail(format!("{} is not writable: {error}", there.display())),
    })
}

/// The folder of base models, if one is configured.
pub(super) fn models(config: &Config) -> Option<Check> {
    let name = "models folder";
    let folder = config.models.folder.0.as_ref()?;
    Some(match models_folder_fault(config) {
        None => Check::ok(name, format!("{} can be read", folder.display())),
        Some(fault) => Check::fail(
            name,
            fault,
            "make it, or leave models.folder empty to disable importing",
        ),
    })
}

/// Makes a file in `folder` and removes it.
fn probe_file(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".anneal-doctor-{}", SystemIds.next()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(&probe)
}

/// The data folder: there and writable, with room, and who uses it.
pub(super) fn data_folder(folder: &Path) -> Vec<Check> {
    let name = "data folder";
    if let Err(error) = refuse_no_folder(folder) {
        return vec![Check::fail(name, error.to_string(), "choose another with --data")];
    }
    // The next folder that is there decides about one that is still to be made.
    let Some(there) = folder.ancestors().find(|folder| folder.is_dir()) else {
        return vec![Check::fail(
            name,
            format!("{} cannot be made", folder.display()),
            "choose another with --data",
        )];
    };
    let first = match (probe_file(there), there == folder) {
        (Ok(()), true) => Check::ok(name, format!("{} is writable", folder.display())),
        (Ok(()), false) => Check::ok(
            name,
            format!("{} will be made at the first start", folder.display()),
        ),
        (Err(error), _) => Check::fail(
            name,
            format!("{} is not writable: {error}", there.display()),
            "give this user the right to write there, or choose another folder with --data",
        ),
    };
    let mut checks = vec![first, room(there)];
    if there == folder {
        checks.push(holder(folder));
    }
    checks
}

/// That the embedded database is there where an installation left traces.
pub(super) fn lost_database(config: &Config) -> Option<Check> {
    let embedded = config.database.url.0.is_none();
    let lost = refuse_lost_database(&config.general.data_dir)
        .err()
        .filter(|_| embedded)?;
    let advice = "restore the data folder whole from a backup; `anneal up` makes no empty database beside it";
    Some(Check::fail("database", lost.to_string(), advice))
}

/// Files of exported checkpoints that cannot be read; `None` when there are none.
pub(super) fn exported_checkpoints(config: &Config) -> Option<Check> {
    let name = "exports";
    let folder = CheckpointFolder::new(checkpoint_folder(config));
    let faulty = match folder.contents() {
        Ok(exported) => exported.faulty,
        Err(error) => vec![error.to_string()],
    };
    let advice = "the log is not in question (`anneal audit verify`); while Anneal runs, the newest is written anew from \
                  the database. Put other files back from a copy";
    (!faulty.is_empty()).then(|| Check::warn(name, faulty.join("; "), advice))
}

fn room(folder: &Path) -> Check {
    let name = "free space";
    match free_bytes(folder) {
        Ok(free) => {
            let found = format!("{:.1} GiB", free as f64 / f64::from(1 << 30));
            match free {
                free if free < LEAST => Check::fail(name, found, "PostgreSQL needs 256 MiB; make room"),
                free if free < ADVISED => {
                    Check::warn(name, found, "models and checkpoints need room; make some")
                }
                _ => Check::ok(name, found),
            }
        }
        Err(error) => Check::warn(name, format!("unknown: {error}"), "see that there are a few GiB"),
    }
}

/// Who holds the lock of the folder; looking does not take it from anybody.
fn holder(folder: &Path) -> Check {
    let (name, path) = ("in use by", folder.join("lock"));
    let file = match small_files::open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Check::ok(name, "nobody"),
        Err(error) => {
            let advice = "run this as the user that runs Anneal";
            return Check::warn(name, error.to_string(), advice);
        }
    };
    match file.try_lock_shared() {
        Ok(()) => Check::ok(name, "nobody"),
        Err(TryLockError::WouldBlock) => {
            let pid = small_files::read_text(&path, LOCK_LIMIT).unwrap_or_default();
            Check::ok(name, format!("process {}, a running Anneal", pid.trim()))
        }
        Err(TryLockError::Error(error)) => {
            Check::warn(name, format!("unknown: {error}"), "use a local file system")
        }
    }
}

/// The object store: takes bytes and lets them go again.
pub(super) async fn objects(config: &Config) -> Check {
    let (name, address) = ("object store", object_address(config));
    if let StoreAddress::Folder(folder) = &address
        && !folder.exists()
    {
        return Check::ok(
            name,
            format!("{} will be made at the first start", folder.display()),
        );
    }
    let advice = match address {
        StoreAddress::Folder(_) => "see that the folder is writable and has room, or set objects.url",
        StoreAddress::Bucket { .. } => {
            "see that the server is reachable and the access key may read, write, list and delete in the bucket"
        }
    };
    match probe(config).await {
        Ok(()) => Check::ok(name, format!("{address} takes bytes")),
        Err(error) => Check::fail(name, format!("{address} does not take bytes: {error}"), advice),
    }
}

/// Stores an object, reads and lists it, and deletes it.
async fn probe(config: &Config) -> Result<(), ObjectsError> {
    const SAID: &[u8] = b"anneal doctor";
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let objects = open_objects(config, ids.clone())?.with_deadline(Duration::from_secs(10));
    let key = Key::artifact(&format!("doctor-{}", ids.next().simple()))?;
    let mut staged = objects.stage().await?;
    staged.write(SAID).await?;
    staged.publish(&key, Existing::Replace).await?;
    let outcome = async {
        let read: Vec<_> = objects.read(&key, None).await?.body.try_collect().await?;
        if read.concat() != SAID {
            let (key, found) = (key.to_string(), "another".to_owned());
            return Err(ObjectsError::Damaged { key, found });
        }
        objects.list("artifacts").try_next().await.map(|_| ())
    };
    let outcome = outcome.await;
    objects.delete(&key).await?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::{data_folder, holder};
    use crate::{doctor::Verdict, postgres::DataFolder};

    #[test]
    fn the_holder_is_named_and_keeps_its_lock() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(holder(folder.path()).found, "nobody");
        let held = DataFolder::open(folder.path()).expect("a fresh folder");
        assert!(
            holder(folder.path())
                .found
                .contains(&std::process::id().to_string())
        );
        assert!(DataFolder::open(folder.path()).is_err(), "it is still held");
        drop(held);
        assert_eq!(holder(folder.path()).found, "nobody");
    }

    #[test]
    fn nothing_is_left_behind_by_looking() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checks = data_folder(folder.path());
        assert!(
            checks.iter().all(|check| check.verdict != Verdict::Fail),
            "{checks:?}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
