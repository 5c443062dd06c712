//! Checkpoints outside of the database: a folder that an administrator of the database does not reach.
//!
//! The rule: `checkpoint` always holds one whole note, the newest; `<date>.notes` holds all of that day, one
//! after another, and is only ever added to.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use small_files::{open_regular_with, read_bounded, read_text};
use time::OffsetDateTime;

use super::{Checkpoint, CheckpointError, Verifier, is_note, notes_in};

/// Name of the file with the newest checkpoint.
pub const LATEST: &str = "checkpoint";
const NOTES: &str = "notes";
/// The longest note that is read, in bytes.
const LONGEST_NOTE: u64 = 64 << 10;
/// The longest file of a day that is read, in bytes: a note every tenth of a second.
const LONGEST_DAY: u64 = 256 << 20;

/// A folder that cannot be used, or a checkpoint in it that does not count.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFolderError {
    /// The file system.
    #[error("{} cannot be used for checkpoints (audit.checkpoint_folder): {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file that cannot be added to.
    #[error(transparent)]
    File(#[from] small_files::ReadError),
    /// A checkpoint that is not of this log.
    #[error("the checkpoint in {path} does not count: {why}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: CheckpointError,
    },
    /// Files that hold no checkpoint that could be read, where one is needed.
    #[error("{0}")]
    Faulty(String),
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointFolderError {
    let path = path.to_owned();
    move |source| CheckpointFolderError::Io { path, source }
}

/// What lies in the folder. Nothing of it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Every note, oldest day first, the newest last.
    pub notes: Vec<String>,
    /// Files that cannot be read or hold no signed note, each in a sentence that names it. They say nothing about the
    /// log.
    pub faulty: Vec<String>,
}

/// What the folder has as its newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest<T> {
    /// `None` while there is none.
    pub found: Option<T>,
    /// What is wrong with the file of the newest, which is then taken from those of the days.
    pub faulty: Option<String>,
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

    /// The note in `checkpoint`; `None` when there is no such file.
    fn latest_note(&self) -> Result<Option<String>, String> {
        let path = self.0.join(LATEST);
        match read_text(&path, LONGEST_NOTE) {
            Ok(text) if is_note(&text) => Ok(Some(text)),
            Ok(_) => Err(format!("{} is cut off, or no signed note", path.display())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The newest note, unverified: of `checkpoint`, or of the days where that is cut off or cannot be read.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Io`].
    pub fn newest_note(&self) -> Result<Newest<String>, CheckpointFolderError> {
        match self.latest_note() {
            Ok(found) => Ok(Newest { found, faulty: None }),
            Err(faulty) => Ok(Newest {
                found: self.of_days(|note| is_note(&note).then_some(note))?,
                faulty: Some(faulty),
            }),
        }
    }

    /// As [`newest_note`](Self::newest_note), verified.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Checkpoint`] when `checkpoint` holds a signed note that is not of this log.
    pub fn newest(&self, verifier: &Verifier) -> Result<Newest<Checkpoint>, CheckpointFolderError> {
        match self.latest_note() {
            Ok(None) => Ok(Newest {
                found: None,
                faulty: None,
            }),
            Ok(Some(note)) => match Checkpoint::open(&note, verifier) {
                Ok(checkpoint) => Ok(Newest {
                    found: Some(checkpoint),
                    faulty: None,
                }),
                Err(why) => {
                    let path = self.0.join(LATEST);
                    Err(CheckpointFolderError::Checkpoint { path, why })
                }
            },
            Err(faulty) => Ok(Newest {
                found: self.of_days(|note| Checkpoint::open(&note, verifier).ok())?,
                faulty: Some(faulty),
            }),
        }
    }

    /// The newest checkpoint; `None` when there is none yet.
    ///
    /// # Errors
    /// [`CheckpointFolderError`]; [`CheckpointFolderError::Faulty`] when its file is cut off or cannot be read.
    pub fn latest(&self, verifier: &Verifier) -> Result<Option<Checkpoint>, CheckpointFolderError> {
        let newest = self.newest(verifier)?;
        match newest.faulty {
            Some(faulty) => Err(CheckpointFolderError::Faulty(faulty)),
            None => Ok(newest.found),
        }
    }

    /// The last of the notes of the newest day that `of` takes.
    fn of_days<T>(&self, of: impl Fn(String) -> Option<T>) -> Result<Option<T>, CheckpointFolderError> {
        for day in self.days()?.iter().rev() {
            // One that cannot be read is told by `contents`.
            let notes = day_notes(day).unwrap_or_default();
            if let Some(found) = notes.into_iter().rev().find_map(&of) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Adds `checkpoint`, signed `at`. When it returns, it is on the disk.
    ///
    /// # Errors
    /// [`CheckpointFolderError`]; adding it again is harmless.
    pub fn add(&self, checkpoint: &Checkpoint, at: OffsetDateTime) -> Result<(), CheckpointFolderError> {
        fs::create_dir_all(&self.0).map_err(io(&self.0))?;
        let day = self.0.join(format!("{}.{NOTES}", at.date()));
        let mut file = open_regular_with(&day, OpenOptions::new().create(true).append(true))?;
        // One write, so that two processes never mix their notes. The empty line before keeps a note that a
        // crash cut off apart.
        let note = format!("\n{}\n", checkpoint.note);
        file.write_all(note.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(io(&day))?;
        let (path, staged) = (self.0.join(LATEST), self.0.join(format!(".{LATEST}.new")));
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&staged)(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&staged)
            .map_err(io(&staged))?;
        file.write_all(checkpoint.note.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&staged, &path))
            .map_err(io(&path))
    }

    /// The files of the days, oldest first. A folder that is not there has none.
    fn days(&self) -> Result<Vec<PathBuf>, CheckpointFolderError> {
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
        Ok(days)
    }

    /// Everything in the folder. Notes inside of a day that a crash cut off are among the notes, and do not verify.
    ///
    /// # Errors
    /// [`CheckpointFolderError::Io`] when the folder cannot be listed.
    pub fn contents(&self) -> Result<Exported, CheckpointFolderError> {
        let mut exported = Exported::default();
        for day in self.days()? {
            match day_notes(&day) {
                Ok(notes) => exported.notes.extend(notes),
                Err(error) => exported.faulty.push(error.to_string()),
            }
        }
        match self.latest_note() {
            Ok(note) => exported.notes.extend(note),
            Err(faulty) => exported.faulty.push(faulty),
        }
        Ok(exported)
    }
}

fn day_notes(day: &Path) -> Result<Vec<String>, small_files::ReadError> {
    let bytes = read_bounded(day, LONGEST_DAY)?;
    // A note that is no text does not verify; those beside it are not lost.
    Ok(notes_in(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::{CheckpointFolder, CheckpointFolderError, Exported, LATEST};
    use crate::integrity::{Checkpoint, Signer};
    use time::{Duration, OffsetDateTime};

    #[test]
    fn checkpoints_gather_by_day_and_the_newest_is_at_hand() {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::generate("log.example/a").expect("a key");
        let exported = CheckpointFolder::new(folder.path().join("out"));
        assert!(matches!(exported.latest(signer.verifier()), Ok(None)));
        assert_eq!(exported.contents().expect("readable"), Exported::default());
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
        let contents = exported.contents().expect("readable");
        assert_eq!((contents.notes, contents.faulty), (notes, Vec::new()));
        let other = Signer::generate("log.example/b").expect("a key");
        let error = exported.latest(other.verifier()).expect_err("another log's");
        assert!(
            matches!(error, CheckpointFolderError::Checkpoint { .. }),
            "{error}"
        );
    }

    /// A named pipe in the place of a file held the whole system for ever; a file that was cut off was taken for a
    /// contradiction of the log.
    #[test]
    fn a_newest_file_that_cannot_be_read_is_named_replaced_and_stood_in_for_by_the_days() {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::generate("log.example/a").expect("a key");
        let exported = CheckpointFolder::new(folder.path().to_owned());
        let one = Checkpoint::sign(7, [7; 32], &signer).expect("signed");
        let at = OffsetDateTime::UNIX_EPOCH;
        exported.add(&one, at).expect("added");
        let path = folder.path().join(LATEST);
        let whole = one.note.clone();
        let cut = |to: usize| std::fs::write(&path, &whole.as_bytes()[..to]).expect("written");
        let pipe = || {
            std::fs::remove_file(&path).expect("removed");
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        };
        let damages: [(&dyn Fn(), &str); 5] = [
            (&|| cut(0), "is cut off"),
            (&|| cut(20), "is cut off"),
            (&|| cut(whole.len() - 1), "is cut off"),
            (&|| std::fs::write(&path, [0xff; 100]).expect("written"), "UTF-8"),
            (&pipe, "a named pipe"),
        ];
        for (damage, why) in damages {
            damage();
            let newest = exported.newest(signer.verifier()).expect("readable");
            assert_eq!(newest.found.as_ref(), Some(&one), "{why}");
            let said = newest.faulty.expect("named");
            assert!(said.contains(why) && said.contains(LATEST), "{said}");
            assert_eq!(
                exported.newest_note().expect("readable").found.as_ref(),
                Some(&whole)
            );
            assert_eq!(
                exported.contents().expect("readable").faulty,
                std::slice::from_ref(&said)
            );
            let error = exported.latest(signer.verifier()).expect_err("it is not there");
            assert_eq!(error.to_string(), said);
            exported.add(&one, at).expect("written anew");
            assert_eq!(
                exported.latest(signer.verifier()).expect("readable").as_ref(),
                Some(&one)
            );
        }
        let day = folder.path().join("1970-01-01.notes");
        std::fs::remove_file(&day).expect("removed");
        nix::unistd::mkfifo(&day, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let error = exported.add(&one, at).expect_err("not a file");
        assert!(error.to_string().contains("a named pipe"), "{error}");
        let faulty = exported.contents().expect("readable").faulty;
        assert!(faulty[0].contains("1970-01-01.notes"), "{faulty:?}");
    }
}
