//! Finds the state to go on from (JB-4).
//!
//! One rule: a checkpoint is copied into the attempt's own folder first and believed only there, when every
//! byte of the copy has the hash that its manifest gives; so nobody can change it any more.
//!
//! What was measured before a recorded checkpoint is recorded too. A newer one that died unrecorded with its worker
//! would leave a gap in the job's history: the steps since are trained again, to the same bits, where that costs less
//! than [`AGAIN`]. Where it costs more, hours of training are worth more than their curve, and the log says so.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use domain::jobs::job::Checkpoint;
use ml::files::{self, FileEntry};

use super::outcome::AttemptOutcome;
use crate::folders::{self, AttemptFolder};

/// The list of a checkpoint's files, among them.
const MANIFEST: &str = "manifest.json";
/// Bytes of a manifest at most.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// Training that is done again rather than left out of the history.
const AGAIN: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Resumable {
    /// A whole checkpoint in the attempt's own folder, and its step; `None` to start anew.
    pub(super) from: Option<(PathBuf, u32)>,
    /// What was not usable, for the log of the job.
    pub(super) warnings: Vec<String>,
}

/// The whole checkpoint to go on from: of all that lie on this machine, and the `recorded` one. Blocks.
///
/// # Errors
/// When the attempt's folder cannot be written.
pub(super) fn find(
    folder: &AttemptFolder,
    recorded: Option<&Checkpoint>,
) -> Result<Resumable, AttemptOutcome> {
    let mut found = Resumable::default();
    let recorded_at = recorded.and_then(|checkpoint| folder.at(&checkpoint.location));
    let known = recorded.map_or(0, |checkpoint| checkpoint.step);
    for candidate in candidates(folder, recorded, recorded_at.as_deref()) {
        let Some(step) = folders::step(&candidate) else {
            continue;
        };
        let promised = recorded.filter(|_| recorded_at.as_ref() == Some(&candidate));
        let copy = folder.checkpoints().join(format!("step-{step:08}"));
        copy_folder(&candidate, &copy).map_err(|error| AttemptOutcome::io("copy a checkpoint", &error))?;
        match check(&copy, step, promised) {
            Ok(()) => {
                found.warnings.extend((step > known).then(|| gap(known, step)));
                found.from = Some((copy, step));
                return Ok(found);
            }
            Err(warning) => found.warnings.push(warning),
        }
        fs::remove_dir_all(&copy)
            .map_err(|error| AttemptOutcome::io("remove a damaged checkpoint", &error))?;
    }
    if let Some(Checkpoint { step, .. }) = recorded {
        found.warnings.push(format!(
            "no checkpoint could be used (the last one was of step {step}); the training starts anew"
        ));
    }
    Ok(found)
}

/// The checkpoints to try, the best first; none to start from the beginning.
fn candidates(
    folder: &AttemptFolder,
    recorded: Option<&Checkpoint>,
    recorded_at: Option<&Path>,
) -> Vec<PathBuf> {
    let known = recorded.map_or(0, |checkpoint| checkpoint.step);
    let (newer, told) = newest_first(folder, recorded_at)
        .into_iter()
        .partition::<Vec<_>, _>(|path| folders::step(path) > Some(known));
    let began = match recorded_at {
        Some(at) => written(at),
        None => folder.began(),
    };
    let cheap = newer
        .first()
        .is_some_and(|newest| again(began, written(newest)) < AGAIN);
    match (cheap, recorded.is_some()) {
        (false, _) => newer.into_iter().chain(told).collect(),
        // What was recorded last, then whatever is newest.
        (true, true) => {
            let (recorded, older) = told
                .into_iter()
                .partition::<Vec<_>, _>(|path| folders::step(path) == Some(known));
            recorded.into_iter().chain(newer).chain(older).collect()
        }
        // From the beginning, on purpose.
        (true, false) => Vec::new(),
    }
}

/// All checkpoints of earlier attempts that lie on this machine, and the recorded one.
fn newest_first(folder: &AttemptFolder, recorded_at: Option<&Path>) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = folder
        .earlier()
        .iter()
        .rev()
        .flat_map(|checkpoints| folders::saved(checkpoints))
        .collect();
    let recorded = recorded_at.map(Path::to_path_buf);
    all.extend(recorded.filter(|at| !all.contains(at)));
    // Stable, so that of two with the same step that of the later attempt comes first.
    all.sort_by_key(|path| std::cmp::Reverse(folders::step(path)));
    all
}

/// Whether the `copy` of the checkpoint of `step` is whole, and what was `promised`.
///
/// # Errors
/// Why it is not used, for the log of the job.
fn check(copy: &Path, step: u32, promised: Option<&Checkpoint>) -> Result<(), String> {
    let sha256 =
        verify(copy).map_err(|reason| format!("the checkpoint of step {step} is damaged: {reason}"))?;
    match promised {
        Some(promised) if promised.sha256 != sha256 => {
            Err(format!("the checkpoint of step {step} is not the recorded one"))
        }
        _ => Ok(()),
    }
}

/// What is missing in the job's history when it goes on from `step` and only `known` was told.
fn gap(known: u32, step: u32) -> String {
    format!(
        "the measurements of the steps from {} to {step} are missing where their worker died before it told them; \
         they are in the checkpoint",
        known + 1
    )
}

/// When the checkpoint at `path` was finished.
fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path.join(MANIFEST))
        .and_then(|found| found.modified())
        .ok()
}

/// How long it took from `began` to `ended`, for ever where that is not known.
fn again(began: Option<SystemTime>, ended: Option<SystemTime>) -> Duration {
    match (began, ended) {
        // A clock that ran backwards: no time.
        (Some(began), Some(ended)) => ended.duration_since(began).unwrap_or_default(),
        _ => Duration::MAX,
    }
}

/// Checks every file of the checkpoint in `folder`; answers with the hash of its manifest, and so of all of
/// it. Blocks.
///
/// # Errors
/// What is missing or not as it was written.
pub(super) fn verify(folder: &Path) -> Result<String, String> {
    let path = folder.join(MANIFEST);
    let manifest = small_files::read_bounded(&path, MANIFEST_LIMIT)
        .map_err(|error| format!("its list of files {}", error.why))?;
    let entries: Vec<FileEntry> =
        serde_json::from_slice(&manifest).map_err(|error| format!("its list of files: {error}"))?;
    if entries.is_empty() {
        return Err("its list of files is empty".to_owned());
    }
    for entry in &entries {
        if !is_plain(&entry.name) {
            return Err("its list of files names places outside of it".to_owned());
        }
        let found = files::describe(&folder.join(&entry.name)).map_err(|failure| failure.to_string())?;
        if &found != entry {
            return Err(format!("{} is not what was written", entry.name));
        }
    }
    Ok(files::sha256(&manifest))
}

/// Whether `name` is that of a file, without folders.
pub(super) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// Copies the files of a folder; one that vanishes meanwhile is left out, and verification will tell.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        match fs::copy(entry.path(), to.join(entry.file_name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        time::Duration,
    };

    use domain::{id::JobId, jobs::job::Checkpoint};
    use ml::files::{FileEntry, sha256};
    use uuid::Uuid;

    use super::{MANIFEST, find, is_plain, verify};
    use crate::folders::AttemptFolder;

    fn attempt(jobs: &Path, number: u32) -> AttemptFolder {
        let folder = AttemptFolder::new(jobs, JobId(Uuid::from_u128(7)), number);
        folder.create().expect("created");
        folder
    }

    fn save(attempt: &AttemptFolder, step: u32, content: &str) -> (PathBuf, Checkpoint) {
        let path = attempt.checkpoints().join(format!("step-{step:08}"));
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::write(path.join("state.json"), content).expect("written");
        let entry = FileEntry {
            name: "state.json".to_owned(),
            sha256: sha256(content.as_bytes()),
            bytes: content.len() as u64,
        };
        let manifest = serde_json::to_vec(&[entry]).expect("encoded");
        std::fs::write(path.join(MANIFEST), &manifest).expect("written");
        let location = attempt.location(&path).expect("inside");
        let checkpoint = Checkpoint {
            step,
            location,
            sha256: sha256(&manifest),
        };
        (path, checkpoint)
    }

    fn set_back(file: &std::fs::File, seconds: u64) {
        let written = file
            .metadata()
            .and_then(|found| found.modified())
            .expect("a time");
        file.set_modified(written - Duration::from_secs(seconds))
            .expect("set");
    }

    /// As if `checkpoint` had been finished so much earlier.
    fn age(checkpoint: &Path, seconds: u64) {
        let manifest = std::fs::File::options()
            .write(true)
            .open(checkpoint.join(MANIFEST));
        set_back(&manifest.expect("there"), seconds);
    }

    /// JB-4: hours of training are worth more than their curve; damaged is not believed.
    #[test]
    fn a_newer_checkpoint_than_the_log_knows_is_taken_where_it_saves_much() {
        let room = tempfile::tempdir().expect("a folder");
        let (first, second) = (attempt(room.path(), 1), attempt(room.path(), 2));
        let (old, recorded) = save(&first, 10, "ten");
        age(&old, 3_600);
        save(&first, 20, "twenty");
        let (damaged, _) = save(&second, 30, "thirty");
        std::fs::write(damaged.join("state.json"), "thirtY").expect("written");
        let third = attempt(room.path(), 3);
        let found = find(&third, Some(&recorded)).expect("found");
        let (copy, step) = found.from.expect("one is whole");
        assert_eq!(step, 20);
        assert_eq!(copy, third.checkpoints().join("step-00000020"));
        assert!(
            found.warnings[0].contains("step 30 is damaged") && found.warnings[1].contains("from 11 to 20"),
            "{:?}",
            found.warnings
        );
        assert!(!third.checkpoints().join("step-00000030").exists());
        std::fs::write(first.checkpoints().join("step-00000020/state.json"), "late").expect("written");
        verify(&copy).expect("what an older attempt still writes does not reach the copy");
    }

    /// JB-4: the history has no gap: a moment of training is done again from where everything was told.
    #[test]
    fn a_recorded_checkpoint_is_taken_where_a_newer_one_saves_little() {
        let room = tempfile::tempdir().expect("a folder");
        let first = attempt(room.path(), 1);
        save(&first, 5, "five");
        let (old, recorded) = save(&first, 10, "ten");
        age(&old, 30);
        save(&first, 20, "twenty");
        let found = find(&attempt(room.path(), 2), Some(&recorded)).expect("found");
        assert_eq!(found.from.map(|(_, step)| step), Some(10));
        assert_eq!(found.warnings, Vec::<String>::new());
    }

    /// Damaged, it is as good as gone: what is newer counts before what is older.
    #[test]
    fn of_a_damaged_recorded_checkpoint_the_next_newer_one_stands_in() {
        let room = tempfile::tempdir().expect("a folder");
        let first = attempt(room.path(), 1);
        save(&first, 5, "five");
        let (old, recorded) = save(&first, 10, "ten");
        save(&first, 20, "twenty");
        std::fs::write(old.join("state.json"), "teN").expect("written");
        let found = find(&attempt(room.path(), 2), Some(&recorded)).expect("found");
        assert_eq!(found.from.map(|(_, step)| step), Some(20));
        assert!(
            found.warnings[0].contains("step 10 is damaged"),
            "{:?}",
            found.warnings
        );
    }

    /// The same where nothing is recorded yet: the measure is when the first attempt began.
    #[test]
    fn without_a_recorded_checkpoint_a_moment_is_done_again_and_an_hour_is_not() {
        let room = tempfile::tempdir().expect("a folder");
        let first = attempt(room.path(), 1);
        let job = std::fs::File::create(first.job_file()).expect("made");
        let (_, _) = save(&first, 10, "ten");
        let found = find(&attempt(room.path(), 2), None).expect("found");
        assert_eq!((found.from, found.warnings), (None, Vec::new()));
        set_back(&job, 3_600);
        let found = find(&attempt(room.path(), 3), None).expect("found");
        assert_eq!(found.from.map(|(_, step)| step), Some(10));
    }

    #[test]
    fn a_whole_checkpoint_that_is_not_the_recorded_one_is_refused() {
        let room = tempfile::tempdir().expect("a folder");
        let first = attempt(room.path(), 1);
        let (_, mut recorded) = save(&first, 10, "ten");
        recorded.sha256 = sha256(b"another");
        let found = find(&attempt(room.path(), 2), Some(&recorded)).expect("found");
        assert_eq!(found.from, None);
        assert!(
            found
                .warnings
                .iter()
                .any(|warning| warning.contains("starts anew")),
            "{:?}",
            found.warnings
        );
    }

    #[test]
    fn without_any_checkpoint_nothing_is_warned_of() {
        let room = tempfile::tempdir().expect("a folder");
        let found = find(&attempt(room.path(), 1), None).expect("found");
        assert_eq!((found.from, found.warnings), (None, Vec::new()));
    }

    #[test]
    fn names_with_folders_are_not_plain() {
        assert!(is_plain("adapter_model.safetensors"));
        for name in ["", ".", "..", "a/b", "/a", "a/", "../a"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
