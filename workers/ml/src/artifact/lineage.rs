//! The inputs that a result was made from.

use crate::{
    failure::Failure,
    files,
    job::JobFile,
    spec::{Outputs, TrainingSpec},
};

/// The inputs of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// SHA-256 of each dataset file, in order.
    pub dataset_hashes: Vec<String>,
    /// SHA-256 of the base model ([`crate::model::folder::ModelFolder::sha256`]); `None` from scratch.
    pub base_hash: Option<String>,
}

impl Lineage {
    /// SHA-256 over the lineage, the specification without its outputs and the formats of the dataset files; a checkpoint can be resumed
    /// only with the same fingerprint.
    ///
    /// # Errors
    /// An internal failure when the specification cannot be encoded.
    pub fn fingerprint(&self, job: &JobFile) -> Result<String, Failure> {
        let formats: Vec<_> = job.dataset_files.iter().map(|file| file.format).collect();
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            ..job.spec.clone()
        };
        let inputs = serde_json::to_vec(&(&spec, &self.dataset_hashes, formats, &self.base_hash))
            .map_err(|error| Failure::internal("encode the specification", error))?;
        Ok(files::sha256(&inputs))
    }
}
