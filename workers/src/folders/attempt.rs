//! The folder of one attempt: where its inputs, checkpoints, result and output lie.
//!
//! One rule: a place is recorded relative to the folder of jobs, and a recorded place that leads out of it is none.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use domain::id::JobId;

use super::listing::{number, numbered, remove};

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

    /// Checkpoints on their way into the object store.
    pub(crate) fn outgoing(&self) -> PathBuf {
        self.root.join("outgoing")
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
