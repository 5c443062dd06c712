//! What stays on the disk of a job that has ended (JB-3).

use std::{fs, io, path::Path};

use domain::{id::JobId, jobs::job::JobState};

use super::listing::{numbered, remove, saved};

/// The jobs that have a folder here.
pub(crate) fn jobs(folder: &Path) -> io::Result<Vec<JobId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Removes what nobody needs of a job that has ended: everything of a completed one, everything but the
/// newest checkpoint and what the child said of any other. `latest`: the attempt that ended; a later one is of
/// a restarted job, and not touched.
pub(crate) fn tidy(folder: &Path, job: JobId, state: JobState, latest: u32) -> io::Result<()> {
    let root = folder.join(job.to_string());
    if state == JobState::Completed {
        return remove(&root);
    }
    let mut kept = false;
    let ended = numbered(&root)
        .into_iter()
        .filter(|(number, _)| *number <= latest);
    for (_, attempt) in ended.rev() {
        remove(&attempt.join("inputs"))?;
        remove(&attempt.join("artifact"))?;
        remove(&attempt.join("outgoing"))?;
        let checkpoints = attempt.join("checkpoints");
        for checkpoint in saved(&checkpoints).into_iter().rev() {
            match kept {
                true => remove(&checkpoint)?,
                false => kept = true,
            }
        }
    }
    Ok(())
}
