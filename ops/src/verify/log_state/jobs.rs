//! What the log says of each job, and which of its events contradict earlier ones.
//!
//! One rule: only the latest attempt of a job reports, and a job ends once.

use std::collections::BTreeSet;

use domain::{
    aggregate::{DecodeError, decode},
    event_store::RecordedEvent,
    jobs::job::JobEvent,
};

use super::{
    super::{Invariant, Report},
    LogState,
};

#[derive(Debug, Default)]
pub(super) struct JobState {
    pub(super) attempt: u32,
    pub(super) under_way: bool,
    pub(super) paused: bool,
    pub(super) completed: bool,
    pub(super) ended: Option<u64>,
    /// Places of checkpoints in the object store.
    stored: BTreeSet<String>,
}

impl LogState {
    pub(super) fn job(&mut self, event: &RecordedEvent, report: &mut Report) -> Result<(), DecodeError> {
        let (key, at) = (event.stream.key().to_owned(), event.position.0);
        let event_data: JobEvent = decode(event)?;
        let may_follow = matches!(
            event_data,
            JobEvent::Restarted { .. } | JobEvent::CheckpointsReleased { .. }
        );
        if !may_follow {
            self.after_end(&key, event, report);
        }
        match event_data {
            JobEvent::Queued(_) => self.queued(&key, at, report),
            JobEvent::Leased { attempt, .. } => self.leased(&key, attempt, at, report),
            JobEvent::Started { attempt, .. }
            | JobEvent::CheckpointSaved { attempt, .. }
            | JobEvent::FilesStored { attempt, .. }
            | JobEvent::PauseRequested { attempt, .. }
            | JobEvent::Metered { attempt, .. } => self.reported(&key, attempt, at, report),
            JobEvent::CheckpointStored { attempt, checkpoint } => {
                self.reported(&key, attempt, at, report);
                self.stored(key, checkpoint.artifact, at, report);
            }
            JobEvent::CheckpointsReleased { artifacts, .. } => self.released(&key, &artifacts, at, report),
            JobEvent::Paused { attempt, .. } => self.paused(&key, attempt, at, report),
            JobEvent::Resumed { .. } => self.jobs.entry(key).or_default().paused = false,
            JobEvent::Restarted { attempt, .. } => self.restarted(&key, attempt, at, report),
            JobEvent::PriorityChanged { .. } => {}
            JobEvent::Interrupted { attempt, .. } => {
                self.reported(&key, attempt, at, report);
                self.jobs.entry(key).or_default().under_way = false;
            }
            JobEvent::Completed { attempt, .. } => {
                self.reported(&key, attempt, at, report);
                self.jobs.entry(key.clone()).or_default().completed = true;
                self.ended(key, at);
            }
            JobEvent::Failed { attempt, .. } | JobEvent::Cancelled { attempt, .. } => {
                self.given_up(key, attempt, at, report);
            }
        }
        Ok(())
    }

    /// Only a restart may follow the end of a job, and the release of its checkpoints.
    fn after_end(&self, key: &str, event: &RecordedEvent, report: &mut Report) {
        if let Some(end) = self.jobs.get(key).and_then(|job| job.ended) {
            let what = format!(
                "job {key} ended at position {end} and goes on at {} with {}",
                event.position.0, event.kind
            );
            report.fault(Invariant::Jobs, what);
        }
    }

    fn queued(&mut self, key: &str, at: u64, report: &mut Report) {
        if self.jobs.insert(key.to_owned(), JobState::default()).is_some() {
            report.fault(
                Invariant::Jobs,
                format!("job {key} is ordered again at position {at}"),
            );
        }
    }

    fn leased(&mut self, key: &str, attempt: u32, at: u64, report: &mut Report) {
        let job = self.jobs.entry(key.to_owned()).or_default();
        if job.paused {
            let what = format!("job {key} is leased at position {at} while it is paused");
            report.fault(Invariant::Jobs, what);
        }
        if job.under_way || attempt != job.attempt + 1 {
            let what = format!(
                "job {key}: attempt {attempt} begins at position {at} after attempt {}, which {}",
                job.attempt,
                if job.under_way {
                    "is under way"
                } else {
                    "has ended"
                },
            );
            report.fault(Invariant::Jobs, what);
        }
        job.attempt = attempt;
        job.under_way = true;
    }

    fn stored(&mut self, key: String, place: String, at: u64, report: &mut Report) {
        let what = format!("job {key} has the checkpoint {place} stored again at position {at}");
        if !self.jobs.entry(key).or_default().stored.insert(place) {
            report.fault(Invariant::Jobs, what);
        }
    }

    fn released(&mut self, key: &str, places: &[String], at: u64, report: &mut Report) {
        let job = self.jobs.entry(key.to_owned()).or_default();
        for place in places {
            if !job.stored.remove(place) {
                let what = format!("job {key} releases {place} at position {at} without having it");
                report.fault(Invariant::Jobs, what);
            }
        }
    }

    fn paused(&mut self, key: &str, attempt: u32, at: u64, report: &mut Report) {
        let job = self.jobs.entry(key.to_owned()).or_default();
        if job.under_way || attempt != job.attempt {
            let what = format!("job {key} is paused at position {at} while a worker has it");
            report.fault(Invariant::Jobs, what);
        }
        job.paused = true;
    }

    fn restarted(&mut self, key: &str, attempt: u32, at: u64, report: &mut Report) {
        let job = self.jobs.entry(key.to_owned()).or_default();
        if job.completed || job.ended.is_none() || attempt != job.attempt {
            let what = format!("job {key} is restarted at position {at} without having failed");
            report.fault(Invariant::Jobs, what);
        }
        (job.ended, job.paused) = (None, false);
    }

    /// Failed or cancelled. Without a worker too: given up after the last attempt, or cancelled while it waited.
    fn given_up(&mut self, key: String, attempt: u32, at: u64, report: &mut Report) {
        let latest = self.jobs.entry(key.clone()).or_default().attempt;
        if attempt > latest || (attempt != 0 && attempt != latest) {
            let what =
                format!("job {key} is ended at position {at} by attempt {attempt}, the latest is {latest}");
            report.fault(Invariant::Jobs, what);
        }
        self.ended(key, at);
    }

    fn ended(&mut self, key: String, at: u64) {
        let job = self.jobs.entry(key).or_default();
        job.under_way = false;
        job.ended = job.ended.or(Some(at));
    }

    /// A report of an attempt: it must be the latest one, and under way.
    pub(super) fn reported(&mut self, job: &str, attempt: u32, at: u64, report: &mut Report) {
        let known = self.jobs.get(job);
        if known.is_some_and(|known| known.under_way && known.attempt == attempt) {
            return;
        }
        let what = format!(
            "job {job}: attempt {attempt} reports at position {at}, the latest attempt is {} and {}",
            known.map_or(0, |known| known.attempt),
            match known {
                Some(known) if known.under_way => "under way",
                _ => "not under way",
            },
        );
        report.fault(Invariant::Jobs, what);
    }
}
