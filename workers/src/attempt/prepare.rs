//! Gets everything ready that a training needs: its folder, its inputs, the state to go on from, its job file.
//!
//! One rule: the process that trains finds all of it on this machine, whole, before it is started.

use std::{fs, io, io::Write, path::Path};

use domain::jobs::job::Training;
use ml::job::JobFile;
use objects::cache::Cached;

use super::{
    Attempt,
    batch::Pending,
    inputs,
    outcome::AttemptOutcome,
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
    refused: Option<String>,
) -> Result<Prepared, AttemptOutcome> {
    let found = resumable(attempt, folder, refused).await?;
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
    let mut pending = Pending::new(step, training.spec.parameters.steps);
    found
        .warnings
        .into_iter()
        .for_each(|warning| pending.log("warn", warning));
    if job.resume_from.is_some() {
        pending.log("info", format!("going on from the checkpoint of step {step}"));
    }
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

async fn resumable(
    attempt: &Attempt,
    folder: &AttemptFolder,
    refused: Option<String>,
) -> Result<Resumable, AttemptOutcome> {
    let (folder, recorded) = (folder.clone(), attempt.checkpoint.clone());
    let find = move || {
        folder
            .create()
            .map_err(|error| AttemptOutcome::io("make a folder for the job", &error))?;
        match refused {
            None => resume::find(&folder, recorded.as_ref()),
            Some(reason) => Ok(Resumable {
                from: None,
                warnings: vec![format!(
                    "the checkpoint cannot be used ({reason}); the training starts anew"
                )],
            }),
        }
    };
    tokio::task::spawn_blocking(find).await?
}

/// Writes a file that is whole or not there.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}
