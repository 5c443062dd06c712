//! Events of the product's own kinds, as many as wanted: what the rebuild of all read models folds.
//!
//! The rule: payloads are those of `schema/events`, with other ids in them, so that every read model has rows.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result};
use domain::event_store::StreamId;
use serde_json::Value;

use crate::seed::Line;

/// Jobs that are under way at the same time: their events alternate in the log.
const TOGETHER: u64 = 50;
/// Jobs per user.
const PER_USER: u64 = 10;

/// What happens once per user.
const OF_USERS: [Kind; 4] = [
    Kind("identity.UserRegistered.v1", "identity.user", "usr", 1),
    Kind("identity.EmailVerified.v1", "identity.user", "usr", 1),
    Kind("identity.SessionOpened.v1", "identity.session", "ses", 3),
    Kind("access.RoleGranted.v1", "access.assignments", "usr", 1),
];
/// What happens around one job; its progress comes after its start.
const OF_JOBS: [Kind; 10] = [
    Kind("projects.ProjectCreated.v1", "projects.project", "prj", 4),
    Kind("projects.ExperimentCreated.v1", "projects.experiment", "exp", 5),
    Kind("datasets.DatasetCreated.v1", "datasets.dataset", "dst", 2),
    Kind("datasets.VersionAdded.v1", "datasets.dataset", "dst", 2),
    Kind("models.ModelRegistered.v1", "models.model", "mdl", 3),
    Kind("jobs.JobQueued.v1", "jobs.job", "job", 6),
    Kind("jobs.JobLeased.v1", "jobs.job", "job", 6),
    Kind("jobs.JobStarted.v1", "jobs.job", "job", 6),
    PROGRESS,
    Kind("jobs.JobCompleted.v1", "jobs.job", "job", 6),
];
const PROGRESS: Kind = Kind("jobs.ProgressReported.v1", "jobs.progress", "job", 6);
/// Reports of one job: the most frequent events of the product.
const REPORTS: usize = 8;

/// A recorded payload, the category of its stream, and the prefix and number of the stream's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind(&'static str, &'static str, &'static str, u8);

/// The events, one after the other, without end.
pub(crate) struct Mixed {
    payloads: HashMap<Kind, String>,
    block: u64,
    waiting: std::vec::IntoIter<Line>,
}

impl Mixed {
    /// Reads the payloads.
    pub(crate) fn new() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/events");
        let mut payloads = HashMap::new();
        for kind in OF_USERS.into_iter().chain(OF_JOBS) {
            let path = folder.join(format!("{}.json", kind.0));
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let data: Value = serde_json::from_str(&text)?;
            payloads.insert(kind, data.to_string());
        }
        Ok(Self {
            payloads,
            block: 0,
            waiting: Vec::new().into_iter(),
        })
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Line {
        loop {
            if let Some(line) = self.waiting.next() {
                return line;
            }
            self.waiting = self.block().into_iter();
            self.block += 1;
        }
    }

    /// All events of some jobs and of the users who are new with them.
    fn block(&self) -> Vec<Line> {
        let jobs = self.block * TOGETHER..(self.block + 1) * TOGETHER;
        let (mut lines, mut lengths) = (Vec::new(), HashMap::new());
        for job in jobs.clone().filter(|job| job % PER_USER == 0) {
            for kind in OF_USERS {
                lines.push(self.line(kind, job / PER_USER, &mut lengths));
            }
        }
        for kind in OF_JOBS {
            for _ in 0..if kind == PROGRESS { REPORTS } else { 1 } {
                for job in jobs.clone() {
                    lines.push(self.line(kind, job, &mut lengths));
                }
            }
        }
        lines
    }

    fn line(&self, kind: Kind, number: u64, lengths: &mut HashMap<StreamId, u64>) -> Line {
        let Kind(file, category, prefix, thing) = kind;
        let owner = match prefix {
            "usr" | "ses" => number,
            _ => number / PER_USER,
        };
        // The ids of the payloads differ in their last digits only: room for a number before those.
        let data = self.payloads[&kind]
            .replace("-8000-00000000", &format!("-8000-{number:08x}"))
            .replace(
                &format!("-8000-{number:08x}0001"),
                &format!("-8000-{owner:08x}0001"),
            );
        let key = format!("{prefix}_01920000000070008000{number:08x}{thing:04}");
        let stream = StreamId::new(category, &key);
        let length = lengths.entry(stream.clone()).or_default();
        let revision = *length;
        *length += 1;
        Line {
            stream,
            revision,
            kind: file.split(".v1").next().unwrap_or(file),
            data,
        }
    }
}
