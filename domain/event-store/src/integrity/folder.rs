//! Checkpoints outside of the database: a folder that an administrator of the database does not reach.
//!
//! The rule: `checkpoint` always holds one whole note, the newest; `<date>.notes` holds all of that day, one
//! after another, and is only ever added to.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use time::OffsetDateTime;

use super::{Checkpoint, CheckpointError, Verifier, notes_in};

/// Name of the file with the newest checkpoint.
pub const LATEST: &str = "checkpoint";
const NOTES: &str = "notes";

/// A folder that cannot be used, or a checkpoint in it that does not count.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFolderError {
    /// The file system.
    #[error("{} cannot be used for checkpoints (audit.checkpoint_folder): {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint that is not of this log.
    #[error("the checkpoint in {path} does not count: {why}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        why: CheckpointError,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointFolderError {
    let path = path.to_owned();
    move |source| CheckpointFolderError::Io { path, source }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct CheckpointFolder(PathBuf);

impl CheckpointFolder {
    /// The folder, which is made when the first checkpoint comes.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Makes the folder and sees that files can be made in it, which are removed again.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Io`], which names the folder.
    pub fn prepare(&self) -> Result<(), CheckpointFolderError> {
        fs::create_dir_all(&self.0).map_err(io(&self.0))?;
        // Of this process, so that two of them do not meet.
        let probe = self.0.join(format!(".{LATEST}.{}", std::process::id()));
        fs::File::create(&probe)
            .and_then(|mut file| file.write_all(b"writable\n"))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(io(&self.0))
    }

    /// The newest note as it lies there, unverified; `None` when there is none yet.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Io`].
    pub fn latest_note(&self) -> Result<Option<String>, CheckpointFolderError> {
        let path = self.0.join(LATEST);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(&path)(error)),
        }
    }

    /// The newest checkpoint; `None` when there is none yet.
    ///
    /// # Errors
    /// [`CheckpointFolderError`].
    pub fn latest(&self, verifier: &Verifier) -> Result<Option<Checkpoint>, CheckpointFolderError> {
        let path = self.0.join(LATEST);
        let Some(text) = self.latest_note()? else {
            return Ok(None);
        };
        match Checkpoint::open(&text, verifier) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(why) => Err(CheckpointFolderError::Checkpoint { path, why }),
        }
    }

    /// Adds `checkpoint`, signed `at`. When it returns, it is on the disk.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Io`]; adding it again is harmless.
    pub fn add(&self, checkpoint: &Checkpoint, at: OffsetDateTime) -> Result<(), CheckpointFolderError> {
        fs::create_dir_all(&self.0).map_err(io(&self.0))?;
        let day = self.0.join(format!("{}.{NOTES}", at.date()));
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&day)
            .map_err(io(&day))?;
        // One write, so that two processes never mix their notes. The empty line before keeps a note that a
        // crash cut off apart.
        let note = format!("\n{}\n", checkpoint.note);
        file.write_all(note.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(io(&day))?;
        let (path, staged) = (self.0.join(LATEST), self.0.join(format!(".{LATEST}.new")));
        let mut file = fs::File::create(&staged).map_err(io(&staged))?;
        file.write_all(checkpoint.note.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&staged, &path))
            .map_err(io(&path))
    }

    /// Every note in the folder, oldest day first, the newest checkpoint last. Nothing of them is verified. A
    /// folder that is not there has none.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Io`].
    pub fn notes(&self) -> Result<Vec<String>, CheckpointFolderError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(&self.0)(error)),
        };
        let mut days = Vec::new();
        for entry in entries {
            let path = entry.map_err(io(&self.0))?.path();
            if path.extension().is_some_and(|extension| extension == NOTES) {
                days.push(path);
            }
        }
        days.sort();
        let mut notes = Vec::new();
        for path in days {
            notes.extend(notes_in(&fs::read_to_string(&path).map_err(io(&path))?));
        }
        notes.extend(self.latest_note()?);
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::{CheckpointFolder, CheckpointFolderError};
    use crate::integrity::{Checkpoint, Signer};
    use time::{Duration, OffsetDateTime};

    #[test]
    fn checkpoints_gather_by_day_and_the_newest_is_at_hand() {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::generate("log.example/a").expect("a key");
        let exported = CheckpointFolder::new(folder.path().join("out"));
        assert!(matches!(exported.latest(signer.verifier()), Ok(None)));
        assert_eq!(exported.notes().expect("readable"), Vec::<String>::new());
        let mut notes = Vec::new();
        for day in 0..3 {
            for size in 1..3 {
                let one = Checkpoint::sign(day * 10 + size, [7; 32], &signer).expect("signed");
                let at = OffsetDateTime::UNIX_EPOCH + Duration::days(day.cast_signed());
                exported.add(&one, at).expect("added");
                notes.push(one.note);
            }
        }
        let latest = exported
            .latest(signer.verifier())
            .expect("readable")
            .expect("there");
        assert_eq!(latest.size, 22);
        notes.push(latest.note);
        assert_eq!(exported.notes().expect("readable"), notes);
        let other = Signer::generate("log.example/b").expect("a key");
        let error = exported.latest(other.verifier()).expect_err("another log's");
        assert!(
            matches!(error, CheckpointFolderError::Checkpoint { .. }),
            "{error}"
        );
    }
}
