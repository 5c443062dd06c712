//! The result of a training as a folder: a Hugging Face model or a PEFT adapter, with a model card.
//!
//! Rule: the same inputs and the same seed give the same bytes, so nothing here contains times, machines, IDs or
//! speeds.

mod card;
mod lineage;
pub mod merge;

use std::path::PathBuf;

use self::card::Subject;
pub use self::lineage::Lineage;

use crate::{
    failure::Failure,
    files::{self, FileEntry},
    job::JobFile,
    lora::peft,
    model::folder,
    training::{
        Session,
        trainable::{Trainable, TrainingBackend},
    },
};

/// A finished result.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Its folder.
    pub folder: PathBuf,
    /// Its files in order of name.
    pub files: Vec<FileEntry>,
    /// The folder and the files of the merged model, where the job requests one.
    pub merged: Option<(PathBuf, Vec<FileEntry>)>,
    /// Completed steps.
    pub steps: u32,
    /// Tokens processed.
    pub tokens: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Loss on the held-out data at the first evaluation and at that of the result; `None` without held-out data.
    pub evaluation: Option<(f64, f64)>,
}

/// Writes the result of `session`, completely or not at all, and then the merged model where the job requests one.
///
/// # Errors
/// [`crate::failure::FailureCode::DiskFull`] or an internal failure; for the merged model those of [`merge::write`].
pub fn write<B: TrainingBackend>(
    job: &JobFile,
    session: &Session<B>,
    lineage: &Lineage,
) -> Result<Artifact, Failure> {
    let base = job.base_model_name.as_deref().unwrap_or("base");
    let mut contents = match session.trainable() {
        Trainable::FullModel { config } => folder::encode(config, session.parameters(), session.tokenizer())?,
        Trainable::Lora { config, settings, .. } => {
            peft::encode(config, settings, session.parameters(), base)?
        }
    };
    let card = |subject| {
        card::text(
            subject,
            job,
            session.progress(),
            session.reported_evaluations(),
            lineage,
        )
    };
    let own = card(Subject::Result(session.trainable().config().title()))?;
    contents.insert("README.md".to_owned(), own.into_bytes());
    let folder = job.artifact();
    let files = files::write_folder(&folder, &contents)?;
    let merged = match (session.trainable(), &job.base_model_dir) {
        (Trainable::Lora { config, plan, .. }, Some(base)) if job.spec.outputs.merged => {
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
        evaluation: session
            .reported_evaluations()
            .map(|(first, result)| (first.loss, result.loss)),
    })
}
