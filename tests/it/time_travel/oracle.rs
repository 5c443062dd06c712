//! What should be answered at each position, worked out by replaying the log from its first event.
//!
//! One rule: nothing here knows a read model. Aggregates of the domain and plain bookkeeping are all it uses.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    access::{
        assignment::{AssignmentEvent, Assignments},
        ledger::QuotaLedger,
        quota::{Quota, Quotas},
        role::Role,
    },
    aggregate::{Aggregate, decode},
    event_store::RecordedEvent,
    id::{ExperimentId, JobId, ProjectId, UserId},
    identity::user::User,
    jobs::{
        job::{Job, JobEvent, JobState, RestartFrom},
        progress::{Progress, ProgressEvent},
        schedule::{self, Share, Waiting},
    },
    projects::{
        experiment::{Experiment, ExperimentEvent},
        project::{Project, ProjectEvent},
    },
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{answers::Answers, scenario::Participants};

/// The permissions whose holders are asked for.
pub(super) const PERMISSIONS: [&str; 2] = ["training.create", "roles.grant"];
/// Every state of a job.
pub(super) const STATES: [JobState; 7] = [
    JobState::Queued,
    JobState::Starting,
    JobState::Running,
    JobState::Paused,
    JobState::Completed,
    JobState::Failed,
    JobState::Cancelled,
];

/// A field of the latest attempt at a job; of nothing, when there was none.
fn latest<'a>(row: &'a mut Value, field: &str) -> &'a mut Value {
    let attempts = row["attempts"].as_array_mut().expect("a list");
    &mut attempts.last_mut().expect("an attempt")[field]
}

/// A job leaves its worker, if it has one.
fn over(row: &mut Value, event: &RecordedEvent, state: &str, end: &str, cause: &str) {
    row["state"] = json!(state);
    row["ended_at"] = when(event);
    row["worker_id"] = Value::Null;
    row["eta_seconds"] = Value::Null;
    row["pausing"] = json!(false);
    let attempts = row["attempts"].as_array_mut().expect("a list");
    if let Some(attempt) = attempts
        .last_mut()
        .filter(|attempt| attempt["ended_at"].is_null())
    {
        attempt["ended_at"] = when(event);
        attempt["end"] = json!(end);
        attempt["cause"] = json!(Some(cause).filter(|cause| !cause.is_empty()));
    }
}

/// The world after some event.
#[derive(Default)]
pub(super) struct Replay {
    roles: BTreeMap<String, Role>,
    held: BTreeMap<(UserId, String), Value>,
    users: BTreeMap<UserId, User>,
    ledgers: BTreeMap<UserId, QuotaLedger>,
    projects: BTreeMap<ProjectId, Value>,
    experiments: BTreeMap<ExperimentId, Value>,
    jobs: BTreeMap<JobId, Value>,
}

fn key<K: std::str::FromStr>(event: &RecordedEvent) -> K
where
    K::Err: std::fmt::Debug,
{
    event.stream.key().parse().expect("a stream named by an id")
}

fn evolve<K: Ord, A: Aggregate>(all: &mut BTreeMap<K, A>, key: K, event: &RecordedEvent) {
    all.entry(key)
        .or_default()
        .evolve(&decode(event).expect("decodes"));
}

fn when(event: &RecordedEvent) -> Value {
    event.at.format(&Rfc3339).expect("a time").into()
}

impl Replay {
    /// One event more.
    pub(super) fn step(&mut self, event: &RecordedEvent) {
        match event.stream.category() {
            Role::CATEGORY => evolve(&mut self.roles, event.stream.key().to_owned(), event),
            User::CATEGORY => evolve(&mut self.users, key(event), event),
            QuotaLedger::CATEGORY => evolve(&mut self.ledgers, key(event), event),
            Assignments::CATEGORY => self.assign(event),
            Project::CATEGORY => {
                let ProjectEvent::Created {
                    project,
                    owner,
                    name,
                    description,
                } = decode(event).expect("decodes");
                let row = json!({ "id": project, "owner_id": owner, "name": name, "description": description,
                    "created_at": when(event), "experiments": 0 });
                self.projects.insert(project, row);
            }
            Experiment::CATEGORY => self.experiment(event),
            Job::CATEGORY => self.job(event),
            Progress::CATEGORY => self.progress(event),
            _ => {}
        }
    }

    fn assign(&mut self, event: &RecordedEvent) {
        match decode(event).expect("decodes") {
            AssignmentEvent::Granted { user, role, reason } => {
                let row = json!({ "role": role, "granted_at": when(event), "granted_by": event.meta.actor,
                    "reason": reason });
                self.held.insert((user, role), row);
            }
            AssignmentEvent::Removed { user, role, .. } => {
                self.held.remove(&(user, role));
            }
        }
    }

    fn experiment(&mut self, event: &RecordedEvent) {
        let ExperimentEvent::Created {
            experiment,
            project,
            created_by,
            name,
            description,
        } = decode(event).expect("decodes");
        let row = json!({ "id": experiment, "project_id": project, "created_by": created_by, "name": name,
            "description": description, "created_at": when(event) });
        self.experiments.insert(experiment, row);
        let count = &mut self.projects.get_mut(&project).expect("its project")["experiments"];
        *count = json!(count.as_i64().expect("a number") + 1);
    }

    fn job(&mut self, event: &RecordedEvent) {
        let id = key::<JobId>(event);
        let decoded: JobEvent = decode(event).expect("decodes");
        if let JobEvent::Queued(order) = &decoded {
            let training = order.training().expect("the story trains only");
            let mut row = json!({
                "id": id, "owner_id": order.owner, "kind": "training", "project_id": training.project,
                "experiment_id": training.experiment, "name": order.name, "spec": training.spec,
                "dataset_id": training.dataset.dataset, "dataset_version": training.dataset.version,
                "base_model_id": null, "base_model_version": null, "model_id": order.model,
                "attempt": 0, "worker_id": null, "worker_name": null, "step": 0, "total_steps": 100,
                "loss": null, "evaluation_loss": null, "tokens_per_second": null, "eta_seconds": null,
                "checkpoint_step": null, "metrics": {}, "failure_code": null, "failure_message": null,
                "queued_at": when(event), "waiting_since": when(event), "started_at": null, "ended_at": null, "state": "queued",
                "terms": order.requirements, "priority": order.requirements.priority, "cloned_from": null, "losses": 0,
                "pausing": false, "attempts": [], "worker_milliseconds": 0, "gpu_milliseconds": 0,
                "metered_at": null, "version": 0,
            });
            (row["import"], row["imported_bytes"]) = (Value::Null, Value::Null);
            self.jobs.insert(id, row);
        }
        let row = self.jobs.get_mut(&id).expect("its first event queues it");
        row["position"] = json!(event.position);
        row["version"] = json!(row["version"].as_u64().expect("a number") + 1);
        match decoded {
            JobEvent::Queued(_) => {}
            JobEvent::Leased {
                attempt,
                worker,
                worker_name,
                ..
            } => {
                row["state"] = json!("starting");
                row["attempt"] = json!(attempt);
                row["worker_id"] = json!(worker);
                row["worker_name"] = json!(worker_name);
                let attempt = json!({
                    "number": attempt, "worker": worker_name, "leased_at": when(event), "from_step": null,
                    "ended_at": null, "end": null, "cause": null, "milliseconds": null,
                });
                row["attempts"].as_array_mut().expect("a list").push(attempt);
            }
            JobEvent::Started { from_step, .. } => {
                row["state"] = json!("running");
                row["step"] = json!(from_step);
                if row["started_at"].is_null() {
                    row["started_at"] = when(event);
                }
                *latest(row, "from_step") = json!(from_step);
            }
            JobEvent::CheckpointSaved { checkpoint, .. } => row["checkpoint_step"] = json!(checkpoint.step),
            JobEvent::CheckpointStored { .. }
            | JobEvent::CheckpointsReleased { .. }
            | JobEvent::FilesStored { .. } => {}
            JobEvent::PauseRequested { .. } => row["pausing"] = json!(true),
            JobEvent::Paused { .. } => {
                row["state"] = json!("paused");
                row["waiting_since"] = when(event);
            }
            JobEvent::Resumed { .. } => {
                row["pausing"] = json!(false);
                if row["state"] == "paused" {
                    row["state"] = json!("queued");
                    row["waiting_since"] = when(event);
                }
            }
            JobEvent::Restarted { from, .. } => {
                row["state"] = json!("queued");
                row["queued_at"] = when(event);
                row["waiting_since"] = when(event);
                row["losses"] = json!(0);
                let cleared: &[&str] = match from {
                    RestartFrom::Checkpoint => &[],
                    RestartFrom::Scratch => {
                        &["checkpoint_step", "loss", "evaluation_loss", "tokens_per_second"]
                    }
                };
                for field in ["ended_at", "failure_code", "failure_message"]
                    .iter()
                    .chain(cleared)
                {
                    row[*field] = Value::Null;
                }
                if from == RestartFrom::Scratch {
                    row["step"] = json!(0);
                }
            }
            JobEvent::PriorityChanged { priority } => row["priority"] = json!(priority),
            JobEvent::Metered { milliseconds, .. } => {
                let sum = row["worker_milliseconds"].as_u64().expect("a number") + milliseconds;
                row["worker_milliseconds"] = json!(sum);
                row["metered_at"] = when(event);
                *latest(row, "milliseconds") = json!(milliseconds);
            }
            JobEvent::Interrupted { cause, counts, .. } => {
                let paused = row["pausing"] == true && !counts;
                over(
                    row,
                    event,
                    "queued",
                    if paused { "paused" } else { "interrupted" },
                    &cause,
                );
                row["ended_at"] = Value::Null;
                row["waiting_since"] = when(event);
                row["losses"] = json!(row["losses"].as_u64().expect("a number") + u64::from(counts));
            }
            JobEvent::Completed { metrics, .. } => {
                over(row, event, "completed", "completed", "");
                if let Some(steps) = metrics.get("steps") {
                    row["step"] = json!(steps.parse::<u32>().expect("a number"));
                }
                row["metrics"] = json!(metrics);
            }
            JobEvent::Failed { code, message, .. } => {
                over(row, event, "failed", "failed", &message);
                row["failure_code"] = json!(code);
                row["failure_message"] = json!(message);
            }
            JobEvent::Cancelled { reason, .. } => over(row, event, "cancelled", "cancelled", &reason),
        }
    }

    fn progress(&mut self, event: &RecordedEvent) {
        let row = self.jobs.get_mut(&key::<JobId>(event)).expect("its job");
        row["position"] = json!(event.position);
        if let ProgressEvent::Reported { metrics, .. } = decode(event).expect("decodes") {
            row["step"] = json!(metrics.step);
            row["eta_seconds"] = json!(metrics.eta_seconds);
            for point in metrics.points {
                row["loss"] = json!(point.loss);
                row["tokens_per_second"] = json!(point.tokens_per_second);
            }
        }
    }

    fn roles_of(&self, user: UserId) -> impl Iterator<Item = (&str, &Value)> {
        self.held
            .iter()
            .filter(move |((holder, _), _)| *holder == user)
            .map(|((_, role), row)| (role.as_str(), row))
    }

    fn permissions(&self, user: UserId) -> BTreeSet<&str> {
        let defined = |name| self.roles.get(name).and_then(|role| role.definition.as_ref());
        self.roles_of(user)
            .filter_map(|(name, _)| defined(name))
            .flat_map(|role| role.permissions.iter().map(String::as_str))
            .collect()
    }

    fn state(user: &User) -> &'static str {
        match (user.deactivated, user.verified) {
            (true, _) => "deactivated",
            (false, true) => "active",
            (false, false) => "unverified",
        }
    }

    fn rights(&self, id: UserId) -> Value {
        let Some(user) = self.users.get(&id) else {
            return Value::Null;
        };
        let definitions: Vec<_> = self
            .roles_of(id)
            .filter_map(|(name, _)| self.roles.get(name)?.definition.as_ref())
            .collect();
        let may_grant: BTreeSet<_> = definitions.iter().flat_map(|role| &role.may_grant).collect();
        let most = |limit: fn(&Quotas) -> Option<u32>| {
            let limits = || definitions.iter().map(|role| limit(&role.quotas));
            match limits().any(|limit| limit.is_none()) {
                true => None,
                false => Some(limits().flatten().max().unwrap_or(0)),
            }
        };
        let ledger = self.ledgers.get(&id).cloned().unwrap_or_default();
        json!({
            "state": Self::state(user),
            "organization": user.profile.as_ref().and_then(|profile| profile.organization),
            "roles": self.roles_of(id).map(|(_, row)| row).collect::<Vec<_>>(),
            "permissions": self.permissions(id),
            "may_grant": may_grant,
            "quotas": {
                "projects": most(|quotas| quotas.projects),
                "datasets": most(|quotas| quotas.datasets),
                "concurrent_jobs": most(|quotas| quotas.concurrent_jobs),
                "storage_gb": most(|quotas| quotas.storage_gb),
                "gpu_hours": most(|quotas| quotas.gpu_hours),
            },
            "usage": {
                "id": id,
                "projects": ledger.used(Quota::Projects),
                "datasets": ledger.used(Quota::Datasets),
                "concurrent_jobs": ledger.used(Quota::ConcurrentJobs),
                "storage_bytes": ledger.bytes(),
            },
        })
    }

    /// The rows, newest first, that `wanted` accepts.
    fn rows<K: Ord>(all: &BTreeMap<K, Value>, wanted: impl Fn(&Value) -> bool) -> Value {
        all.values().rev().filter(|row| wanted(row)).cloned().collect()
    }

    /// How many jobs go before `job`, as the domain orders them. All of this test happens within a week.
    fn waiting_before(&self, job: JobId) -> Option<usize> {
        let (mut waiting, mut shares) = (Vec::new(), BTreeMap::<UserId, Share>::new());
        for (id, row) in &self.jobs {
            let owner = serde_json::from_value(row["owner_id"].clone()).expect("a user");
            let share = shares.entry(owner).or_default();
            share.running += u32::from(row["state"] == "starting" || row["state"] == "running");
            share.recent += row["worker_milliseconds"].as_u64().expect("a number");
            let time = |field: &str| {
                OffsetDateTime::parse(row[field].as_str().expect("a time"), &Rfc3339).expect("a time")
            };
            if row["state"] == "queued" {
                waiting.push(Waiting {
                    job: *id,
                    owner,
                    priority: serde_json::from_value(row["priority"].clone()).expect("a number"),
                    losses: serde_json::from_value(row["losses"].clone()).expect("a number"),
                    queued_at: time("queued_at"),
                    since: time("waiting_since"),
                });
            }
        }
        schedule::order(&waiting, &shares)
            .iter()
            .position(|one| *one == job)
    }

    /// The right answers to all questions about `participants`.
    pub(super) fn answers(&self, participants: &Participants) -> Answers {
        let mut all = Answers::new();
        let defined = self.roles.values().filter_map(|role| role.definition.as_ref());
        all.insert("roles".to_owned(), json!(defined.collect::<Vec<_>>()));
        all.insert("projects".to_owned(), Self::rows(&self.projects, |_| true));
        all.insert("experiments".to_owned(), Self::rows(&self.experiments, |_| true));
        all.insert("jobs".to_owned(), Self::rows(&self.jobs, |_| true));
        for user in &participants.users {
            all.insert(format!("rights of {user}"), self.rights(*user));
            let owned = |row: &Value| row["owner_id"] == json!(user);
            all.insert(format!("projects of {user}"), Self::rows(&self.projects, owned));
            all.insert(format!("jobs of {user}"), Self::rows(&self.jobs, owned));
        }
        for permission in PERMISSIONS {
            let holds = |(id, user): &(&UserId, &User)| {
                Self::state(user) == "active" && self.permissions(**id).contains(permission)
            };
            let holders = self.users.iter().rev().filter(holds).map(|(id, _)| id);
            all.insert(
                format!("holders of {permission}"),
                json!(holders.collect::<Vec<_>>()),
            );
        }
        for state in STATES {
            let is = |row: &Value| row["state"] == json!(state);
            all.insert(format!("jobs in {state:?}"), Self::rows(&self.jobs, is));
        }
        for job in &participants.jobs {
            let row = self.jobs.get(job);
            all.insert(format!("{job}"), json!(row));
            if row.is_some_and(|row| row["state"] == "queued") {
                all.insert(format!("before {job}"), json!(self.waiting_before(*job)));
            }
        }
        all
    }
}
