//! An attempt at an import: it is checked, copied by a task, and recorded.
//!
//! One rule: a file is recorded once it is stored, so that the next attempt need not copy it.

use std::{path::PathBuf, time::Duration};

use domain::{
    jobs::{import::ImportedFile, job::Import, progress::ImportProgress, report::AttemptReport},
    models::model::ModelFile,
};
use futures::TryStreamExt as _;
use objects::{Key, Objects, ObjectsError};
use tokio::time::Instant;

use super::{
    Attempt, artifact::folder_sha256, outcome::AttemptOutcome, reporter::Reporter, stop_request::StopRequest,
};
use crate::{
    folders::AttemptFolder,
    import::{
        copy::{CopyTask, Done},
        plan::Plan,
    },
    settings::WorkerParts,
};

/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// An attempt at an import.
pub(super) struct Importing<'a> {
    pub(super) parts: &'a WorkerParts,
    pub(super) attempt: &'a Attempt,
    pub(super) import: &'a Import,
    pub(super) folder: &'a AttemptFolder,
    pub(super) reporter: &'a Reporter,
}

/// Where an import stores its files. What was stored before a restart lies elsewhere, and whoever deletes it does no
/// harm.
pub(crate) fn place(job: domain::id::JobId, floor: u32) -> String {
    format!("{job}/{floor}")
}

impl Importing<'_> {
    /// From the folder to the recorded model. The task that copies is left in `copying` for the caller, who waits for its
    /// end however this ends.
    pub(super) async fn work(
        &self,
        copying: &mut Option<CopyTask>,
        stop_request: &StopRequest,
    ) -> Result<(), AttemptOutcome> {
        let root = self.parts.settings.models.clone().ok_or_else(|| {
            AttemptOutcome::lost("the worker has no folder of models; set models.folder in its configuration")
        })?;
        let began = Instant::now();
        let plan = tokio::select! {
            biased;
            () = stop_request.asked() => return Err(stop_request.end()),
            plan = self.plan(root.clone()) => plan?,
        };
        self.begin(&plan).await?;
        let place = place(self.attempt.job, self.attempt.floor);
        let prefix =
            Key::artifact(&place).map_err(|error| AttemptOutcome::objects("store the model", &error))?;
        let task = copying.insert(CopyTask::start(self.parts.objects.clone(), prefix, plan.clone()));
        let files = self.follow(task, &plan, stop_request).await?;
        let Some(task) = copying.take() else {
            return Err(AttemptOutcome::lost("there is nothing that copies"));
        };
        match task.ended().await? {
            Done::Stopped => return Err(stop_request.end()),
            Done::All => {}
        }
        self.look_again(root, &plan).await?;
        self.complete(&plan, files, began.elapsed()).await
    }

    async fn plan(&self, root: PathBuf) -> Result<Plan, AttemptOutcome> {
        let (folder, import, recorded) = (
            self.folder.clone(),
            self.import.clone(),
            self.attempt.imported.clone(),
        );
        let plan = move || {
            folder
                .create()
                .map_err(|error| AttemptOutcome::io("make a folder for the job", &error))?;
            Plan::make(&root, &folder.inputs().join("model"), &import, &recorded)
        };
        tokio::task::spawn_blocking(plan).await?
    }

    async fn begin(&self, plan: &Plan) -> Result<(), AttemptOutcome> {
        let stored = plan.files.iter().filter(|file| file.recorded.is_some()).count();
        let started = AttemptReport::Started {
            from_step: count(stored),
            total_steps: count(plan.files.len()),
            trained_parameters: 0,
        };
        self.reporter.report(started).await
    }

    /// Listens to the task until it is done, and reports what it says.
    async fn follow(
        &self,
        task: &mut CopyTask,
        plan: &Plan,
        stop_request: &StopRequest,
    ) -> Result<Vec<ModelFile>, AttemptOutcome> {
        let (mut files, mut fresh, mut stopping) = (Vec::new(), Vec::new(), false);
        let began = Instant::now();
        let mut told = began;
        loop {
            tokio::select! {
                stored = task.next() => match stored {
                    Some(stored) => {
                        files.push(stored.file.clone());
                        if !self.attempt.imported.contains(&stored) {
                            fresh.push(stored);
                        }
                    }
                    None => break,
                },
                () = tokio::time::sleep_until(told + INTERVAL) => {
                    self.tell(std::mem::take(&mut fresh)).await?;
                    self.progress(plan, files.len(), task.bytes(), began).await?;
                    told = Instant::now();
                }
                () = stop_request.asked(), if !stopping => {
                    stopping = true;
                    task.stop();
                }
            }
        }
        self.tell(fresh).await?;
        self.progress(plan, files.len(), task.bytes(), began).await?;
        Ok(files)
    }

    async fn tell(&self, stored: Vec<ImportedFile>) -> Result<(), AttemptOutcome> {
        match stored.is_empty() {
            true => Ok(()),
            false => self.reporter.report(AttemptReport::FilesStored(stored)).await,
        }
    }

    async fn progress(
        &self,
        plan: &Plan,
        files: usize,
        bytes: u64,
        began: Instant,
    ) -> Result<(), AttemptOutcome> {
        let left = plan.bytes.saturating_sub(bytes) as f64;
        let rate = bytes as f64 / began.elapsed().as_secs_f64();
        let eta = left / rate;
        let progress = ImportProgress {
            files: count(files),
            total_files: count(plan.files.len()),
            bytes,
            total_bytes: plan.bytes,
            eta_seconds: eta
                .is_finite()
                .then(|| eta.clamp(0.0, f64::from(u32::MAX)).ceil() as u32),
        };
        self.reporter.import_progress(progress).await
    }

    async fn look_again(&self, root: PathBuf, plan: &Plan) -> Result<(), AttemptOutcome> {
        let (plan, import) = (plan.clone(), self.import.clone());
        tokio::task::spawn_blocking(move || plan.look_again(&root, &import)).await?
    }

    /// Records the model. What is not referred to then is deleted when the job has ended without one.
    async fn complete(
        &self,
        plan: &Plan,
        files: Vec<ModelFile>,
        time: Duration,
    ) -> Result<(), AttemptOutcome> {
        let seconds = time.as_secs_f64();
        let metrics = [
            ("files", files.len().to_string()),
            ("bytes", plan.bytes.to_string()),
            ("seconds", seconds.to_string()),
            ("bytes_per_second", (plan.bytes as f64 / seconds).to_string()),
        ];
        let place = place(self.attempt.job, self.attempt.floor);
        self.reporter
            .report(AttemptReport::Completed {
                artifact: format!("artifacts/{place}"),
                sha256: folder_sha256(&files),
                files,
                merged: None,
                metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
                code_version: self.parts.settings.code_version.clone(),
                worker: self.attempt.worker_name.clone(),
            })
            .await
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Deletes what an import has stored that ended without a model, since it was queued or restarted after attempt `floor`.
///
/// # Errors
/// When the store does not answer; the collector finds what is left.
pub(crate) async fn forget(
    objects: &Objects,
    job: domain::id::JobId,
    floor: u32,
) -> Result<(), ObjectsError> {
    let mut stored = objects.list(&format!("artifacts/{}", place(job, floor)));
    while let Some(object) = stored.try_next().await? {
        objects.delete(&Key::recorded(&object.key)?).await?;
    }
    Ok(())
}
