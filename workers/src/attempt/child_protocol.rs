//! The protocol with the training process: reads its messages and reports them.
//!
//! One rule: its messages are trusted only about its own attempt. Paths must be where the attempt writes, checkpoints
//! are verified, lines and texts are bounded; at most one batch and one checkpoint a second are recorded (JB-5).

use std::{path::Path, time::Duration};

use domain::jobs::{
    job::Checkpoint,
    progress::{Evaluation, Point, Sample},
    report::AttemptReport,
};
use ml::{
    failure::FailureCode,
    files::FileEntry,
    message::{ChildMessage, FinalMetrics, LogLevel},
};
use tokio::time::Instant;

use super::{
    batch::{Pending, cut},
    checkpoints::{CheckpointUploads, Pinned, StoredCheckpoints, UploadOutcome, Uploaded},
    manifest,
    outcome::AttemptOutcome,
    reporter::Reporter,
    stop_request::StopRequest,
};
use crate::{
    child::{lines::Line, process::Child},
    folders::{self, AttemptFolder},
};

/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a process may take to save its state when it is asked to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the newest checkpoint may take into the object store after the process has ended.
const SETTLE: Duration = Duration::from_secs(30);
/// Bytes of an error message at most.
const MESSAGE: usize = 4_000;

/// How a training process ended.
#[derive(Debug)]
pub(super) enum ChildExit {
    /// It is done; these files lie in the attempt's folder for the artefact.
    Completed {
        files: Vec<FileEntry>,
        /// Those of the merged model.
        merged: Option<Vec<FileEntry>>,
        metrics: FinalMetrics,
    },
    /// It has saved its state, as it was asked to.
    Stopped,
    /// It cannot be done.
    Failed { code: FailureCode, message: String },
    /// It exited without a final message.
    SilentExit,
    /// It violated the protocol.
    ProtocolError(&'static str),
    /// It was asked to stop and did not in time.
    Unresponsive,
}

/// See the module.
pub(super) struct ChildProtocol<'a> {
    folder: &'a AttemptFolder,
    child: &'a mut Child,
    reporter: &'a Reporter,
    pending: Pending,
    checkpoint: Option<Checkpoint>,
    uploads: CheckpointUploads,
    /// What the next report says of the object store.
    uploaded: Option<Uploaded>,
    stored: &'a mut StoredCheckpoints,
    told: Instant,
    started: bool,
}

impl<'a> ChildProtocol<'a> {
    /// `pending`: what the worker itself has to say first.
    pub(super) fn new(
        folder: &'a AttemptFolder,
        child: &'a mut Child,
        reporter: &'a Reporter,
        pending: Pending,
        stored: &'a mut StoredCheckpoints,
    ) -> Self {
        Self {
            folder,
            child,
            reporter,
            pending,
            checkpoint: None,
            uploads: CheckpointUploads::new(stored, reporter.attempt()),
            uploaded: None,
            stored,
            told: Instant::now(),
            started: false,
        }
    }

    /// Whether training began.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// Listens to the end; all that was said is reported then. On `stop_request` the process is asked to save its
    /// state.
    ///
    /// # Errors
    /// When a report is refused: the attempt is over.
    pub(super) async fn follow(&mut self, stop_request: &StopRequest) -> Result<ChildExit, AttemptOutcome> {
        let mut deadline: Option<Instant> = None;
        let last = loop {
            let waits = !self.pending.is_empty() || self.checkpoint.is_some() || self.uploaded.is_some();
            tokio::select! {
                line = self.child.lines.next() => match line {
                    Ok(Line::Text(text)) => if let Some(last) = self.hear(&text).await? {
                        break last;
                    },
                    Ok(Line::TooLong) => break ChildExit::ProtocolError("it wrote a line without an end"),
                    Ok(Line::End) | Err(_) => break ChildExit::SilentExit,
                },
                outcome = self.uploads.next(), if self.uploaded.is_none() => self.ended(outcome),
                () = tokio::time::sleep_until(self.told + INTERVAL), if waits => self.tell().await?,
                () = stop_request.asked(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + DRAIN);
                    self.child.ask_to_stop().await;
                }
                () = until(deadline) => break ChildExit::Unresponsive,
            }
        };
        self.tell().await?;
        // The result takes the place of checkpoints.
        if !matches!(last, ChildExit::Completed { .. }) {
            self.settle().await?;
        }
        Ok(last)
    }

    /// Reports what waits.
    async fn tell(&mut self) -> Result<(), AttemptOutcome> {
        if !self.pending.is_empty() {
            fail::fail_point!("job.before_progress");
            self.reporter.progress(self.pending.take()).await?;
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            fail::fail_point!("job.checkpoint_verified");
            self.reporter
                .report(AttemptReport::Checkpoint(checkpoint))
                .await?;
            fail::fail_point!("job.checkpoint_recorded");
        }
        if let Some(uploaded) = self.uploaded.take() {
            self.record_stored(uploaded).await?;
        }
        self.told = Instant::now();
        Ok(())
    }

    /// What became of an upload goes into the next report.
    fn ended(&mut self, outcome: UploadOutcome) {
        match outcome {
            UploadOutcome::Stored(uploaded) => self.uploaded = Some(uploaded),
            UploadOutcome::Failed { step, why } => self.pending.log(
                "warn",
                format!("the checkpoint of step {step} is on this machine only: {why}; trying again"),
            ),
        }
    }

    /// Records a checkpoint that is in the store. While the report is under way the log may come to refer to it, so
    /// whoever is cancelled then leaves the files to the collector.
    async fn record_stored(&mut self, uploaded: Uploaded) -> Result<(), AttemptOutcome> {
        let files = uploaded.unreferenced.may_be_referred_to();
        let report = AttemptReport::Stored {
            checkpoint: uploaded.checkpoint.clone(),
            keep: self.stored.keep,
        };
        let recorded = self.reporter.report(report).await;
        fail::fail_point!("job.checkpoint_stored_recorded");
        match &recorded {
            Ok(()) => self.stored.recorded(uploaded.checkpoint),
            Err(AttemptOutcome::TakenAway) => files.take_back().await,
            Err(_) => {}
        }
        recorded
    }

    /// The process is gone, and another machine may go on: the newest checkpoint gets some time to be stored.
    async fn settle(&mut self) -> Result<(), AttemptOutcome> {
        let end = Instant::now() + SETTLE;
        while self.uploads.is_busy() {
            self.uploads.hurry();
            let outcome = tokio::time::timeout_at(end, self.uploads.next()).await;
            let failed = !matches!(outcome, Ok(UploadOutcome::Stored(_)));
            match outcome {
                Ok(outcome) => self.ended(outcome),
                Err(_) => self.pending.log(
                    "warn",
                    "the newest checkpoint is on this machine only: the object store is slow",
                ),
            }
            self.tell().await?;
            if failed {
                break;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, text: &[u8]) -> Result<Option<ChildExit>, AttemptOutcome> {
        let Ok(message) = serde_json::from_slice::<ChildMessage>(text) else {
            self.child.output.add(text);
            self.child.output.add(b"\n");
            return Ok(None);
        };
        match message {
            ChildMessage::Started {
                total_steps,
                resumed_step,
                trainable_parameters,
                ..
            } => {
                self.begin(resumed_step, total_steps, trainable_parameters)
                    .await?;
            }
            ChildMessage::Checkpoint { step, dir, sha256 } => self.saved(step, &dir, sha256).await?,
            ChildMessage::Completed {
                artifact_dir,
                files,
                merged,
                metrics,
            } => {
                let own = artifact_dir == self.folder.artifact()
                    && merged.iter().all(|merged| merged.dir == self.folder.merged());
                return Ok(Some(match own {
                    true => ChildExit::Completed {
                        files,
                        merged: merged.map(|merged| merged.files),
                        metrics,
                    },
                    false => ChildExit::ProtocolError("its result does not lie in its own folder"),
                }));
            }
            ChildMessage::Stopped { .. } => return Ok(Some(ChildExit::Stopped)),
            ChildMessage::Failed { code, message } => {
                return Ok(Some(ChildExit::Failed {
                    code,
                    message: cut(message, MESSAGE),
                }));
            }
            other => self.note(other),
        }
        Ok(None)
    }

    async fn begin(
        &mut self,
        from_step: u32,
        total_steps: u32,
        trained_parameters: u64,
    ) -> Result<(), AttemptOutcome> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        self.pending.position(from_step, total_steps);
        self.reporter
            .report(AttemptReport::Started {
                from_step,
                total_steps,
                trained_parameters,
            })
            .await
    }

    /// What goes into the next batch.
    fn note(&mut self, message: ChildMessage) {
        match message {
            ChildMessage::Progress {
                step,
                total_steps,
                eta_seconds,
                memory_bytes,
                gpu,
                points,
                ..
            } => {
                self.pending.position(step, total_steps);
                self.pending.outlook(eta_seconds, memory_bytes, gpu);
                for point in points {
                    self.pending.point(Point {
                        step: point.step,
                        loss: point.loss,
                        learning_rate: point.learning_rate,
                        gradient_norm: point.grad_norm,
                        tokens_per_second: point.tokens_per_second,
                    });
                }
            }
            ChildMessage::Evaluation { step, loss, .. } => self.pending.evaluation(Evaluation { step, loss }),
            ChildMessage::Sample { step, prompt, text } => self.pending.sample(Sample { step, prompt, text }),
            ChildMessage::Log { level, message } => self.pending.log(
                match level {
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                },
                message,
            ),
            _ => {}
        }
    }

    /// Takes a checkpoint if it lies where it should and is whole; the newest waits for the next report.
    async fn saved(&mut self, step: u32, place: &Path, sha256: String) -> Result<(), AttemptOutcome> {
        let own = place.parent() == Some(self.folder.checkpoints().as_path());
        let location = self
            .folder
            .location(place)
            .filter(|_| own && folders::step(place) == Some(step));
        let Some(location) = location else {
            self.pending.log(
                "warn",
                format!("the checkpoint of step {step} does not lie where it should"),
            );
            return Ok(());
        };
        let (owned, wanted) = (place.to_owned(), sha256.clone());
        let outgoing = self.uploads.folder(&self.folder.outgoing());
        let look = move || match outgoing {
            Some(folder) => Pinned::new(&owned, folder, step, &wanted).map(Some),
            None => manifest::verified(&owned, &wanted).map(|()| None),
        };
        match tokio::task::spawn_blocking(look).await? {
            Ok(pinned) => {
                self.checkpoint = Some(Checkpoint {
                    step,
                    location,
                    sha256,
                });
                if let Some(pinned) = pinned {
                    self.uploads.offer(pinned);
                }
            }
            // A fast training has replaced it by a newer one, whose message follows.
            Err(_) if !place.exists() => {}
            Err(reason) => self.pending.log(
                "warn",
                format!("the checkpoint of step {step} is not used: {reason}"),
            ),
        }
        Ok(())
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
