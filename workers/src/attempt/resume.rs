//! Finds the state to go on from (JB-4).
//!
//! One rule: a checkpoint is copied into the attempt's own folder first and believed only there, when every
//! byte of the copy has the hash that its manifest gives; so nobody can change it any more.
//!
//! It is taken from this machine where it lies here, else from the object store, so that another machine goes on.
//!
//! What was measured before a recorded checkpoint is recorded too. A newer one that died unrecorded with its worker
//! would leave a gap in the job's history: the steps since are trained again, to the same bits, where that costs less
//! than [`AGAIN`]. Where it costs more, hours of training are worth more than their curve, and the log says so.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use domain::jobs::{checkpoint::StoredCheckpoint, job::Checkpoint};

use super::{
    checkpoints::NotFetched,
    manifest::{MANIFEST, verify},
    outcome::AttemptOutcome,
};
use crate::folders::{self, AttemptFolder};

/// Training that is done again rather than left out of the history.
const AGAIN: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Resumable {
    /// A whole checkpoint in the attempt's own folder, and its step; `None` to start anew.
    pub(super) from: Option<(PathBuf, u32)>,
    /// Whether it comes from the object store.
    pub(super) fetched: bool,
    /// What was not usable, for the log of the job.
    pub(super) warnings: Vec<String>,
}

/// Where a checkpoint lies.
#[derive(Clone, Debug)]
enum Place {
    Here(PathBuf),
    Stored(StoredCheckpoint),
}

/// A checkpoint to try.
#[derive(Clone, Debug)]
struct Candidate {
    step: u32,
    place: Place,
    /// The hash that it must have, where the log has one.
    promised: Option<String>,
}

/// The whole checkpoint to go on from: of all that lie on this machine, the `recorded` one, and those that are `stored`
/// elsewhere, which `fetch` copies to a folder.
///
/// # Errors
/// When the attempt's folder cannot be written, or `fetch` ends the attempt.
pub(super) async fn find<F: Future<Output = Result<(), NotFetched>> + Send>(
    folder: &AttemptFolder,
    recorded: Option<&Checkpoint>,
    stored: &[StoredCheckpoint],
    fetch: impl Fn(StoredCheckpoint, PathBuf) -> F + Send + Sync,
) -> Result<Resumable, AttemptOutcome> {
    let mut found = Resumable::default();
    let known = recorded.map_or(0, |checkpoint| checkpoint.step);
    let (own, told, elsewhere) = (folder.clone(), recorded.cloned(), stored.to_vec());
    let candidates = blocking(move || Ok(candidates(&own, told.as_ref(), &elsewhere))).await?;
    if let Some(missing) = missing(&candidates, folder, recorded) {
        found.warnings.push(missing);
    }
    for candidate in candidates {
        let step = candidate.step;
        let copy = folder.checkpoints().join(format!("step-{step:08}"));
        let fetched = matches!(candidate.place, Place::Stored(_));
        match take(&candidate, &copy, &fetch).await? {
            Ok(()) => {
                found.warnings.extend((step > known).then(|| gap(known, step)));
                (found.from, found.fetched) = (Some((copy, step)), fetched);
                return Ok(found);
            }
            Err(warning) => found.warnings.push(warning),
        }
        let failed = |error| AttemptOutcome::io("remove a damaged checkpoint", &error);
        blocking(move || folders::remove(&copy).map_err(failed)).await?;
    }
    if let Some(Checkpoint { step, .. }) = recorded {
        found.warnings.push(format!(
            "no checkpoint could be used (the last one was of step {step}); the training starts anew"
        ));
    }
    Ok(found)
}

/// Copies the candidate to `copy` and checks it there; inside, why it is not used, for the log of the job.
async fn take<F: Future<Output = Result<(), NotFetched>> + Send>(
    candidate: &Candidate,
    copy: &Path,
    fetch: &(impl Fn(StoredCheckpoint, PathBuf) -> F + Send + Sync),
) -> Result<Result<(), String>, AttemptOutcome> {
    let step = candidate.step;
    let here = match &candidate.place {
        Place::Here(path) => Some(path.clone()),
        Place::Stored(stored) => match fetch(stored.clone(), copy.to_owned()).await {
            Ok(()) => None,
            Err(NotFetched::Ended(end)) => return Err(end),
            Err(NotFetched::Unusable(why)) => {
                return Ok(Err(format!(
                    "the checkpoint of step {step} cannot be taken from the object store: {why}"
                )));
            }
        },
    };
    let (copy, promised) = (copy.to_owned(), candidate.promised.clone());
    blocking(move || {
        if let Some(here) = here {
            copy_folder(&here, &copy).map_err(|error| AttemptOutcome::io("copy a checkpoint", &error))?;
        }
        Ok(check(&copy, step, promised.as_deref()))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AttemptOutcome> + Send + 'static,
) -> Result<T, AttemptOutcome> {
    tokio::task::spawn_blocking(work).await?
}

/// That the recorded checkpoint lies on another machine alone.
fn missing(
    candidates: &[Candidate],
    folder: &AttemptFolder,
    recorded: Option<&Checkpoint>,
) -> Option<String> {
    let recorded = recorded?;
    let here = folder.at(&recorded.location).is_some_and(|at| at.exists());
    let there = candidates
        .iter()
        .any(|candidate| candidate.promised.as_ref() == Some(&recorded.sha256));
    (!here && !there).then(|| {
        format!(
            "the checkpoint of step {} is on another machine only",
            recorded.step
        )
    })
}

/// The checkpoints to try, the best first; none to start from the beginning.
fn candidates(
    folder: &AttemptFolder,
    recorded: Option<&Checkpoint>,
    stored: &[StoredCheckpoint],
) -> Vec<Candidate> {
    let recorded_at = recorded.and_then(|checkpoint| folder.at(&checkpoint.location));
    let known = recorded.map_or(0, |checkpoint| checkpoint.step);
    let (newer, told) = newest_first(folder, recorded, recorded_at.as_deref(), stored)
        .into_iter()
        .partition::<Vec<_>, _>(|candidate| candidate.step > known);
    let began = match &recorded_at {
        Some(at) => written(at),
        None => folder.began(),
    };
    let cheap = newer.first().is_some_and(|newest| match &newest.place {
        Place::Here(path) => again(began, written(path)) < AGAIN,
        Place::Stored(_) => false,
    });
    match (cheap, recorded.is_some()) {
        (false, _) => newer.into_iter().chain(told).collect(),
        // What was recorded last, then whatever is newest.
        (true, true) => {
            let (recorded, older) = told
                .into_iter()
                .partition::<Vec<_>, _>(|candidate| candidate.step == known);
            recorded.into_iter().chain(newer).chain(older).collect()
        }
        // From the beginning, on purpose.
        (true, false) => Vec::new(),
    }
}

/// All checkpoints of earlier attempts that lie on this machine, the recorded one among them, and then those that are
/// stored.
fn newest_first(
    folder: &AttemptFolder,
    recorded: Option<&Checkpoint>,
    recorded_at: Option<&Path>,
    stored: &[StoredCheckpoint],
) -> Vec<Candidate> {
    let mut here: Vec<PathBuf> = folder
        .earlier()
        .iter()
        .rev()
        .flat_map(|checkpoints| folders::saved(checkpoints))
        .collect();
    let recorded_here = recorded_at.filter(|at| at.exists()).map(Path::to_path_buf);
    here.extend(recorded_here.filter(|at| !here.contains(at)));
    let here = here.into_iter().filter_map(|path| {
        let promised = recorded.filter(|_| recorded_at == Some(path.as_path()));
        Some(Candidate {
            step: folders::step(&path)?,
            promised: promised.map(|promised| promised.sha256.clone()),
            place: Place::Here(path),
        })
    });
    let stored = stored.iter().rev().map(|stored| Candidate {
        step: stored.step,
        promised: Some(stored.sha256.clone()),
        place: Place::Stored(stored.clone()),
    });
    let mut all: Vec<Candidate> = here.chain(stored).collect();
    // Stable, so that of two with the same step that of the later attempt comes first, and one that lies here.
    all.sort_by_key(|candidate| Reverse(candidate.step));
    all
}

/// Whether the `copy` of the checkpoint of `step` is whole, and what was `promised`.
///
/// # Errors
/// Why it is not used, for the log of the job.
fn check(copy: &Path, step: u32, promised: Option<&str>) -> Result<(), String> {
    let sha256 =
        verify(copy).map_err(|reason| format!("the checkpoint of step {step} is damaged: {reason}"))?;
    match promised {
        Some(promised) if promised != sha256 => {
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
