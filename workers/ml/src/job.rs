//! The job file, which a parent passes to the training process.
//!
//! Rule: it contains paths of files and folders, but no secrets and no network addresses.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    data::source::DatasetFile,
    device::Device,
    failure::{Failure, FailureCode},
    spec::{TrainingSpec, unknown_fields},
};

/// Makes glibc keep the buffers of a step for the next one, because returning them to the system and getting fresh
/// pages takes up to a tenth of a step, and use huge pages, which reduce TLB misses (BENCHMARKS.md). Other C
/// libraries ignore the variable.
const KEEP_MEMORY: &str =
    "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296:glibc.malloc.hugetlb=1";

/// A training job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// ID of the job, which messages repeat.
    pub job_id: String,
    /// What to train, and how.
    pub spec: TrainingSpec,
    /// The dataset, in order.
    pub dataset_files: Vec<DatasetFile>,
    /// Folder of the base model in the Hugging Face layout; required for the methods lora and full.
    #[serde(default)]
    pub base_model_dir: Option<PathBuf>,
    /// Name of the base model in the adapter's configuration and on the model card. Default `base`.
    #[serde(default)]
    pub base_model_name: Option<String>,
    /// Title of the model card. Default `model`.
    #[serde(default)]
    pub model_name: Option<String>,
    /// Folder for checkpoints (`checkpoints/`) and results (`artifact/`, `merged/`); created if missing.
    pub work_dir: PathBuf,
    /// The checkpoint to resume from. `None` starts a new training and removes the checkpoints in `work_dir`.
    #[serde(default)]
    pub resume_from: Option<PathBuf>,
    /// Number of threads; `None` uses all cores. It takes effect through [`JobFile::environment`].
    #[serde(default)]
    pub threads: Option<u32>,
    /// The device to train on. Default the CPU.
    #[serde(default)]
    pub device: Device,
    /// Cache folder of a device's compiled kernels; `None` compiles them again. Processes can share it.
    #[serde(default)]
    pub kernels: Option<PathBuf>,
}

impl JobFile {
    /// Reads and checks the job file at `path`.
    ///
    /// # Errors
    /// [`FailureCode::SpecInvalid`] when it cannot be parsed, when its specification has fields that this build does not
    /// know (it was written by another), or with every problem of its specification.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let code = FailureCode::SpecInvalid;
        let bytes = crate::files::read(path, code)?;
        let refused = |reason: &str| Failure::new(code, format!("the job file cannot be read: {reason}"));
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| refused(&error.to_string()))?;
        let unknown = unknown_fields(&json["spec"]);
        if !unknown.is_empty() {
            let fields = unknown.join(", ");
            return Err(refused(&format!("this build does not know spec fields {fields}")));
        }
        let job: Self = serde_json::from_value(json).map_err(|error| refused(&error.to_string()))?;
        job.check()?;
        Ok(job)
    }

    /// Checks everything that can be checked without reading the files of the job.
    ///
    /// # Errors
    /// [`FailureCode::SpecInvalid`] with every problem.
    pub fn check(&self) -> Result<(), Failure> {
        let mut problems: Vec<String> = match self.spec.validate() {
            Ok(()) => Vec::new(),
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        };
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

    /// Environment variables that the parent sets: the thread pool and the C library's allocator are configured
    /// before the job file is read.
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

    /// Folder of the checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.work_dir.join("checkpoints")
    }

    /// Folder of the merged model, if it is requested.
    #[must_use]
    pub fn merged(&self) -> PathBuf {
        self.work_dir.join("merged")
    }

    /// Folder of the result.
    #[must_use]
    pub fn artifact(&self) -> PathBuf {
        self.work_dir.join("artifact")
    }
}
