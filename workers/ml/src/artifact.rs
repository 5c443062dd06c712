//! The result of a training as a folder: a Hugging Face model, or a PEFT adapter, and a model card.
//!
//! Rule: the same inputs and the same seed give the same bytes; so nothing here tells times, machines, ids or
//! speeds.

mod card;
pub mod merge;

use std::path::PathBuf;

use card::Subject;

use crate::{
    failure::Failure,
    files::{self, FileEntry},
    job::JobFile,
    lora::peft,
    model::folder,
    training::{
        Session,
        task::{Task, TrainingBackend},
    },
};

/// What a training was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// SHA-256 of each dataset file, in order.
    pub dataset_hashes: Vec<String>,
    /// SHA-256 of the base model ([`folder::ModelFolder::sha256`]); `None` from scratch.
    pub base_hash: Option<String>,
    /// SHA-256 of the base's tokenizer settings where its chat template is used; `None` where it is not.
    pub template_hash: Option<String>,
}

impl Lineage {
    /// SHA-256 over it, the specification and the files' formats: what a checkpoint must share to be resumed.
    ///
    /// # Errors
    /// An internal failure when the specification cannot be encoded.
    pub fn fingerprint(&self, job: &JobFile) -> Result<String, Failure> {
        let formats: Vec<_> = job.dataset_files.iter().map(|file| file.format).collect();
        let inputs = (&job.spec, &self.dataset_hashes, formats, &self.base_hash);
        let inputs = match &self.template_hash {
            None => serde_json::to_vec(&inputs),
            Some(template) => serde_json::to_vec(&(inputs, template)),
        }
        .map_err(|error| Failure::internal("encode the specification", error))?;
        Ok(files::sha256(&inputs))
    }
}

/// A finished result.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Its folder.
    pub folder: PathBuf,
    /// Its files in order of name.
    pub files: Vec<FileEntry>,
    /// The folder and the files of the merged model, where the job asks for one.
    pub merged: Option<(PathBuf, Vec<FileEntry>)>,
    /// Steps done.
    pub steps: u32,
    /// Tokens seen.
    pub tokens: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Loss on the held-out share at the first evaluation and at that of the result; `None` without one.
    pub evaluation: Option<(f64, f64)>,
}

/// Writes the result of `session` into the job's folder, whole or not at all, and after it the merged model where the
/// job asks for one.
///
/// # Errors
/// [`crate::failure::FailureCode::DiskFull`] or an internal failure; for the merged model those of
/// [`merge::write`].
pub fn write<B: TrainingBackend>(
    job: &JobFile,
    session: &Session<B>,
    lineage: &Lineage,
) -> Result<Artifact, Failure> {
    let base = job.base_model_name.as_deref().unwrap_or("base");
    let mut contents = match session.task() {
        Task::Whole { config } => folder::encode(config, session.parameters(), session.tokenizer())?,
        Task::Lora { config, settings, .. } => peft::encode(config, settings, session.parameters(), base)?,
    };
    let card = |subject| card::text(subject, job, session.progress(), session.judged(), lineage);
    let own = card(Subject::Result(session.task().config().title()))?;
    contents.insert("README.md".to_owned(), own.into_bytes());
    let folder = job.artifact();
    let files = files::write_folder(&folder, &contents)?;
    let merged = match (session.task(), &job.base_model_dir) {
        (Task::Lora { config, plan, .. }, Some(base)) if job.outputs.merged => {
            let card = card(Subject::Merged)?;
            let target = job.merged();
            let files = merge::write(base, config, plan, session.parameters(), &card, &target)?;
            Some((target, files))
        }
        _ => None,
    };
    let progress = session.progress();
    Ok(Artifact {
        folder,
        files,
        merged,
        steps: progress.step,
        tokens: progress.tokens,
        loss: progress.loss.unwrap_or(0.0),
        evaluation: session.judged().map(|(first, result)| (first.loss, result.loss)),
    })
}
