//! What a worker is made of.
//!
//! One rule: nothing here is read from the environment; the composition root hands it in.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{execute::Ports, jobs::job::KindName};
use objects::{Objects, cache::ObjectCache};
use projections::feed::FeedHub;
use sqlx::PgPool;

use crate::registration::devices::WorkerDevice;

/// The dependencies of a worker. Clones share them.
#[derive(Clone)]
pub struct WorkerParts {
    /// The write path.
    pub ports: Ports,
    /// Read models and leases.
    pub pool: PgPool,
    /// The process's live feed.
    pub feed: FeedHub,
    /// Where datasets and base models come from and results go to.
    pub objects: Objects,
    /// Downloads of datasets and models, where the object store is elsewhere.
    pub cache: Option<ObjectCache>,
    /// See [`WorkerSettings`].
    pub settings: WorkerSettings,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Where jobs have their folders: `<folder>/<job>/<attempt>/`. Workers that share it can go on from each
    /// other's checkpoints. Created when missing.
    pub folder: PathBuf,
    /// Threads that a training computes with; `None` is all cores.
    pub threads: Option<u32>,
    /// The device that it computes on.
    pub place: WorkerDevice,
    /// How long a worker may be silent until it counts as lost. It beats three times as often.
    pub lease: Duration,
    /// The program that trains.
    pub program: PathBuf,
    /// What it is started with; the path of the job file follows.
    pub arguments: Vec<String>,
    /// The version of this build, for the lineage of models.
    pub code_version: String,
    /// Checkpoints of a job that stay in the object store; 0: none are stored there.
    pub checkpoints_kept: u32,
    /// The kinds of jobs that it takes.
    pub kinds: BTreeSet<KindName>,
    /// The folder that models are imported from; `None`: there is none.
    pub models: Option<PathBuf>,
    /// Its labels, besides that of its device; see [`domain::jobs::requirements::is_label`].
    pub labels: BTreeSet<String>,
    /// Bytes of memory that it offers; `None`: all that the machine has.
    pub memory_bytes: Option<u64>,
}

impl WorkerSettings {
    /// Where the compiled kernels of GPUs are kept, for all jobs; see [`ml::job::JobFile::kernels`].
    #[must_use]
    pub fn kernels(&self) -> PathBuf {
        kernels(&self.folder)
    }
}

/// Where workers with the folder `jobs` keep the compiled kernels of GPUs.
#[must_use]
pub fn kernels(jobs: &Path) -> PathBuf {
    jobs.with_file_name("kernels")
}
