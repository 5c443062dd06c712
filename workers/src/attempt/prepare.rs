//! Gets everything ready that a training needs: its folder, its inputs, the state to go on from, its job file.
//!
//! One rule: the process that trains finds all of it on this machine, whole, before it is started.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use domain::jobs::{checkpoint::StoredCheckpoint, job::Training};
use ml::job::JobFile;
use objects::cache::Cached;

use super::{
    Attempt,
    batch::Pending,
    checkpoints::fetch,
    inputs,
    outcome::AttemptOutcome,
    reporter::Reporter,
    resume::{self, Resumable},
};
use crate::{folders::AttemptFolder, settings::WorkerParts};

/// What a training is started with.
pub(super) struct Prepared {
    /// What is written in the job file.
    pub(super) job: JobFile,
    /// Whether it goes on from a checkpoint.
    pub(super) resumed: bool,
    /// What the job's log shall say first.
    pub(super) pending: Pending,
    /// Files of the cache that it reads: they stay while these do.
    pub(super) held: Vec<Cached>,
}

/// Prepares `folder`, anew each time. `refused`: why the training did not take the checkpoint that it was
/// given the last time; then it starts from the beginning.
///
/// # Errors
/// When an input is missing or damaged, or the folder cannot be used.
pub(super) async fn prepare(
    parts: &WorkerParts,
    (attempt, training): (&Attempt, &Training),
    folder: &AttemptFolder,
    reporter: &Reporter,
    refused: Option<String>,
) -> Result<Prepared, AttemptOutcome> {
    let found = resumable(parts, attempt, folder, reporter, refused).await?;
    let sources = inputs::Sources {
        objects: &parts.objects,
        cache: parts.cache.as_ref(),
    };
    let mut held = Vec::new();
    let dataset = inputs::dataset(&sources, folder, &training.dataset, &mut held).await?;
    let base = match &training.base {
        Some(base) => {
            let store = parts.ports.store.as_ref();
            Some(inputs::base(store, &sources, folder, base, &mut held).await?)
        }
        None => None,
    };
    let (base_model_dir, base_model_name) = base.map(|base| (base.folder, base.name)).unzip();
    let step = found.from.as_ref().map_or(0, |(_, step)| *step);
    let job = JobFile {
        job_id: attempt.job.to_string(),
        spec: training.spec.clone(),
        dataset_files: vec![dataset],
        base_model_dir,
        base_model_name,
        model_name: Some(attempt.order.name.clone()),
        work_dir: folder.root().to_owned(),
        resume_from: found.from.map(|(path, _)| path),
        threads: parts.settings.threads,
        device: parts.settings.place.device,
        kernels: Some(parts.settings.kernels()),
    };
    let pending = first_lines(found.warnings, found.fetched, step, &job);
    let text = serde_json::to_vec_pretty(&job)
        .map_err(|error| AttemptOutcome::lost(format!("the job file: {error}")))?;
    write(&folder.job_file(), &text).map_err(|error| AttemptOutcome::io("write the job file", &error))?;
    Ok(Prepared {
        resumed: job.resume_from.is_some(),
        job,
        pending,
        held,
    })
}

/// What the job's log shall say first: what was not usable, and where the training goes on.
fn first_lines(warnings: Vec<String>, fetched: bool, step: u32, job: &JobFile) -> Pending {
    let mut pending = Pending::new(step, job.spec.parameters.steps);
    for warning in warnings {
        pending.log("warn", warning);
    }
    if job.resume_from.is_some() {
        let whence = if fetched {
            ", fetched from the object store"
        } else {
            ""
        };
        pending.log(
            "info",
            format!("going on from the checkpoint of step {step}{whence}"),
        );
    }
    pending
}

async fn resumable(
    parts: &WorkerParts,
    attempt: &Attempt,
    folder: &AttemptFolder,
    reporter: &Reporter,
    refused: Option<String>,
) -> Result<Resumable, AttemptOutcome> {
    let own = folder.clone();
    let created = tokio::task::spawn_blocking(move || own.create()).await?;
    created.map_err(|error| AttemptOutcome::io("make a folder for the job", &error))?;
    if let Some(reason) = refused {
        return Ok(Resumable {
            warnings: vec![format!(
                "the checkpoint cannot be used ({reason}); the training starts anew"
            )],
            ..Resumable::default()
        });
    }
    let fetch = |stored: StoredCheckpoint, to: PathBuf| async move {
        fetch(&parts.objects, reporter, &stored, &to).await
    };
    resume::find(folder, attempt.checkpoint.as_ref(), &attempt.stored, fetch).await
}

/// Writes a file that is whole or not there.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}
