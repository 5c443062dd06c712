//! Where jobs lie on the disk: `<jobs>/<job>/<attempt>/`, a folder of its own for each attempt.
//!
//! One rule: an attempt writes into its own folder only, so that one that should be dead cannot damage
//! what a newer one works with.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use domain::{id::JobId, jobs::job::JobState};

/// What the child is told, in the folder of an attempt.
const JOB_FILE: &str = "job.json";

/// The folder of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct AttemptFolder {
    jobs: PathBuf,
    root: PathBuf,
    floor: u32,
}

impl AttemptFolder {
    pub(crate) fn new(jobs: &Path, job: JobId, attempt: u32) -> Self {
        Self {
            jobs: jobs.to_owned(),
            root: jobs.join(job.to_string()).join(attempt.to_string()),
            floor: 0,
        }
    }

    /// The same, for a job that was restarted from scratch after attempt `floor`: what was saved up to then is
    /// not looked at.
    pub(crate) fn above(self, floor: u32) -> Self {
        Self { floor, ..self }
    }

    /// Makes it, empty.
    pub(crate) fn create(&self) -> io::Result<()> {
        remove(&self.root)?;
        fs::create_dir_all(self.inputs())?;
        fs::create_dir_all(self.checkpoints())
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What was fetched for the attempt.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.root.join("inputs")
    }

    /// Its saved states.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Its result.
    pub(crate) fn artifact(&self) -> PathBuf {
        self.root.join("artifact")
    }

    /// The merged model beside it.
    pub(crate) fn merged(&self) -> PathBuf {
        self.root.join("merged")
    }

    /// What the child is told.
    pub(crate) fn job_file(&self) -> PathBuf {
        self.root.join(JOB_FILE)
    }

    /// What the child says besides its messages.
    pub(crate) fn output(&self) -> PathBuf {
        self.root.join("output.log")
    }

    /// When the first attempt above the floor that has a folder here began to train.
    pub(crate) fn began(&self) -> Option<SystemTime> {
        let first = self.earlier().into_iter().next()?;
        let job_file = first.parent()?.join(JOB_FILE);
        fs::metadata(job_file).and_then(|found| found.modified()).ok()
    }

    /// A place in this attempt as the log records it: relative to the folder of jobs.
    pub(crate) fn location(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.jobs).ok()?;
        relative.to_str().map(str::to_owned)
    }

    /// A recorded place, unless it leads out of the folder of jobs.
    pub(crate) fn at(&self, location: &str) -> Option<PathBuf> {
        let inside = Path::new(location)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.jobs.join(location))
    }

    /// The folders with saved states of all attempts of this job before this one, down to its floor.
    pub(crate) fn earlier(&self) -> Vec<PathBuf> {
        let own = number(&self.root);
        let siblings = self.root.parent().map(numbered).unwrap_or_default();
        let earlier = siblings
            .into_iter()
            .filter(|(attempt, _)| Some(*attempt) < own && *attempt > self.floor);
        earlier.map(|(_, path)| path.join("checkpoints")).collect()
    }
}

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

/// The checkpoints in a folder, oldest first; none when it cannot be read.
pub(crate) fn saved(checkpoints: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(checkpoints)
        .into_iter()
        .filter(|path| step(path).is_some())
        .collect();
    found.sort_unstable();
    found
}

/// The step of a checkpoint, by the name of its folder.
pub(crate) fn step(checkpoint: &Path) -> Option<u32> {
    checkpoint
        .file_name()?
        .to_str()?
        .strip_prefix("step-")?
        .parse()
        .ok()
}

/// The numbered folders in `folder`, lowest first.
fn numbered(folder: &Path) -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = entries(folder)
        .into_iter()
        .filter_map(|path| number(&path).map(|number| (number, path)))
        .collect();
    found.sort_unstable();
    found
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use domain::{id::JobId, jobs::job::JobState};
    use uuid::Uuid;

    use super::{AttemptFolder, jobs, saved, tidy};

    fn job() -> JobId {
        JobId(Uuid::from_u128(7))
    }

    fn save(attempt: &AttemptFolder, step: u32) {
        std::fs::create_dir_all(attempt.checkpoints().join(format!("step-{step:08}"))).expect("a folder");
    }

    /// JB-3: a cancelled job keeps one usable checkpoint, the newest.
    #[test]
    fn of_a_cancelled_job_the_newest_checkpoint_stays() {
        let room = tempfile::tempdir().expect("a folder");
        let attempts = [2, 10].map(|number| AttemptFolder::new(room.path(), job(), number));
        attempts
            .iter()
            .for_each(|attempt| attempt.create().expect("created"));
        save(&attempts[0], 5);
        save(&attempts[1], 6);
        save(&attempts[1], 12);
        tidy(room.path(), job(), JobState::Cancelled, 10).expect("tidied");
        assert_eq!(
            saved(&attempts[0].checkpoints()),
            Vec::<std::path::PathBuf>::new()
        );
        assert_eq!(
            saved(&attempts[1].checkpoints()),
            [attempts[1].checkpoints().join("step-00000012")]
        );
        assert!(!attempts[1].inputs().exists());
    }

    /// JB-3: tidying up after a job that is just being restarted leaves the new attempt alone, and that one goes
    /// on from what was saved, unless it begins from scratch.
    #[test]
    fn a_restarted_attempt_is_left_alone_and_looks_down_to_its_floor() {
        let room = tempfile::tempdir().expect("a folder");
        let [first, second] = [1, 2].map(|number| AttemptFolder::new(room.path(), job(), number));
        first.create().expect("created");
        second.create().expect("created");
        save(&first, 5);
        save(&second, 3);
        tidy(room.path(), job(), JobState::Failed, 1).expect("tidied");
        assert!(second.inputs().exists() && !first.inputs().exists());
        assert_eq!(
            saved(&first.checkpoints()).len() + saved(&second.checkpoints()).len(),
            2
        );
        assert_eq!(second.earlier(), [first.checkpoints()]);
        assert_eq!(second.above(1).earlier(), Vec::<std::path::PathBuf>::new());
    }

    #[test]
    fn nothing_stays_of_a_completed_job() {
        let room = tempfile::tempdir().expect("a folder");
        AttemptFolder::new(room.path(), job(), 1)
            .create()
            .expect("created");
        assert_eq!(jobs(room.path()).expect("listed"), [job()]);
        tidy(room.path(), job(), JobState::Completed, 1).expect("tidied");
        assert_eq!(jobs(room.path()).expect("listed"), []);
    }

    #[test]
    fn a_recorded_place_cannot_lead_out_of_the_folder() {
        let attempt = AttemptFolder::new(std::path::Path::new("/jobs"), job(), 3);
        let inside = attempt.checkpoints().join("step-00000001");
        let location = attempt.location(&inside).expect("inside");
        assert_eq!(attempt.at(&location), Some(inside));
        assert_eq!(attempt.at("../etc"), None);
        assert_eq!(attempt.at("/etc"), None);
    }
}
