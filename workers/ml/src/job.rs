//! The job file: what a parent hands to the process that trains.
//!
//! Rule: it names files and folders only; there are no secrets and no addresses in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    data::source::DatasetFile,
    device::Device,
    failure::{Failure, FailureCode},
    spec::TrainingSpec,
};

/// Tells glibc to keep the buffers of a step for the next one instead of giving each back to the system, whose
/// fresh pages cost up to a tenth of a step, and to have them in large pages, whose addresses the processor
/// finds faster (BENCHMARKS.md). Other C libraries do not know the variable.
const KEEP_MEMORY: &str =
    "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296:glibc.malloc.hugetlb=1";

/// A training to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// The job's id; only repeated in messages.
    pub job_id: String,
    /// What to train and how.
    pub spec: TrainingSpec,
    /// The dataset, in order.
    pub dataset_files: Vec<DatasetFile>,
    /// The base model's folder in the Hugging Face layout; demanded for methods lora and full.
    #[serde(default)]
    pub base_model_dir: Option<PathBuf>,
    /// The base model's name in the adapter's configuration and on the model card. Default `base`.
    #[serde(default)]
    pub base_model_name: Option<String>,
    /// The title of the model card. Default `model`.
    #[serde(default)]
    pub model_name: Option<String>,
    /// Where checkpoints (`checkpoints/`) and the results (`artifact/`, `merged/`) are written; made when missing.
    pub work_dir: PathBuf,
    /// The checkpoint to go on from. `None` starts anew and removes the checkpoints in `work_dir`.
    #[serde(default)]
    pub resume_from: Option<PathBuf>,
    /// What is written beside the result.
    #[serde(default)]
    pub outputs: Outputs,
    /// Threads to compute with; `None` is all cores. It takes effect through [`JobFile::environment`].
    #[serde(default)]
    pub threads: Option<u32>,
    /// What to compute on. Default the processor.
    #[serde(default)]
    pub device: Device,
    /// Where a device's compiled kernels are kept for the next process; `None` compiles them anew. Processes may
    /// share it.
    #[serde(default)]
    pub kernels: Option<PathBuf>,
}

/// What is written beside the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outputs {
    /// Method lora: the base model with the adapter merged into it, in [`JobFile::merged`]. Default false.
    pub merged: bool,
}

impl JobFile {
    /// Reads and checks the job file at `path`.
    ///
    /// # Errors
    /// [`FailureCode::SpecInvalid`] when it is none, or with every problem of its specification.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let code = FailureCode::SpecInvalid;
        let bytes = std::fs::read(path).map_err(|error| Failure::io(code, "read", path, &error))?;
        let job: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(code, format!("the job file cannot be read: {error}")))?;
        job.check()?;
        Ok(job)
    }

    /// Everything wrong with this job that shows without reading its files.
    ///
    /// # Errors
    /// [`FailureCode::SpecInvalid`] with every problem.
    pub fn check(&self) -> Result<(), Failure> {
        let problems = self.spec.validate();
        let mut problems: Vec<String> = problems
            .into_iter()
            .map(|problem| format!("{} {}", problem.field, problem.message))
            .collect();
        let needs_base = self.spec.method.needs_base();
        if needs_base && self.base_model_dir.is_none() {
            problems.push("base_model_dir is missing; methods lora and full need a base model".to_owned());
        }
        if !needs_base && self.base_model_dir.is_some() {
            problems.push("base_model_dir belongs to methods lora and full only".to_owned());
        }
        if self.dataset_files.is_empty() {
            problems.push("dataset_files is empty; name at least one file".to_owned());
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(FailureCode::SpecInvalid, problems.join("; ")))
        }
    }

    /// What the parent sets in the environment of the process: the pool of threads is made, and the memory of the
    /// C library managed, before the job file is read.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let threads = self
            .threads
            .map(|threads| ("RAYON_NUM_THREADS", threads.max(1).to_string()));
        threads
            .into_iter()
            .chain([("GLIBC_TUNABLES", KEEP_MEMORY.to_owned())])
            .collect()
    }

    /// Where checkpoints are written.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.work_dir.join("checkpoints")
    }

    /// Where the merged model is written, if it is asked for.
    #[must_use]
    pub fn merged(&self) -> PathBuf {
        self.work_dir.join("merged")
    }

    /// Where the result is written.
    #[must_use]
    pub fn artifact(&self) -> PathBuf {
        self.work_dir.join("artifact")
    }
}
