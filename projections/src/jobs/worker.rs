//! Workers: the `jobs_worker` table, and who of them is alive (WK-2).
//!
//! One rule: what was declared comes from the log; whether a worker is alive comes from its heartbeats, by the
//! database's clock.

use std::collections::BTreeSet;

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::{JobId, UserId, WorkerId},
    jobs::{
        kind::KindName,
        requirements::WorkerCapabilities,
        worker::{Declaration, Worker, WorkerEnd, WorkerEvent},
    },
};
use serde::Deserialize;
use time::OffsetDateTime;

use super::job::Jobs;
use crate::{
    history::AsOf,
    identity::user::uuid_key,
    paging::Column,
    position::{stored, version},
    read_model::{History, ReadError, ReadModel, Row, Rows, Scope, Source, fetch_json},
};

/// A worker, as it declared itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Row)]
pub struct WorkerRow {
    /// The worker.
    pub id: WorkerId,
    /// Its name: host and device.
    pub name: String,
    /// The machine.
    pub host: String,
    /// The device that it computes on.
    pub device: String,
    /// Bytes of memory of that.
    pub memory_bytes: Option<i64>,
    /// The version of Anneal.
    pub code_version: String,
    /// The newest specification that it can run.
    pub engine: i32,
    /// Its labels.
    #[column(json)]
    pub labels: BTreeSet<String>,
    /// The kinds of jobs that it takes.
    #[column(json)]
    pub kinds: BTreeSet<KindName>,
    /// Whether it shall take no more jobs.
    pub draining: bool,
    /// The reason.
    pub drain_reason: Option<String>,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub registered_at: OffsetDateTime,
    /// When it went.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// How it went.
    #[column(text)]
    pub how: Option<WorkerEnd>,
    /// How many events are recorded about it.
    pub version: i32,
    /// The last event that is folded in.
    pub position: i64,
}

impl WorkerRow {
    fn registered(declared: &Declaration, at: OffsetDateTime, position: i64) -> Self {
        Self {
            id: declared.worker,
            name: declared.name.clone(),
            host: declared.host.clone(),
            device: declared.device.clone(),
            memory_bytes: declared
                .memory_bytes
                .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            code_version: declared.code_version.clone(),
            engine: i32::try_from(declared.engine).unwrap_or(i32::MAX),
            labels: declared.labels.clone(),
            kinds: declared.kinds.clone(),
            draining: false,
            drain_reason: None,
            registered_at: at,
            ended_at: None,
            how: None,
            version: 0,
            position,
        }
    }

    /// What decides which jobs it can run.
    #[must_use]
    pub fn capabilities(&self) -> WorkerCapabilities {
        WorkerCapabilities {
            labels: self.labels.clone(),
            memory_bytes: self.memory_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            engine: u32::try_from(self.engine).unwrap_or_default(),
            kinds: self.kinds.clone(),
        }
    }
}

/// Workers are listed by their name.
pub const NAME: Column = Column::new("name", "text");

/// The projection.
#[derive(Default)]
pub struct Workers;

impl ReadModel for Workers {
    type Row = WorkerRow;
    const NAME: &'static str = "jobs.worker";
    const VERSION: i32 = 3;
    const TABLE: &'static str = "jobs_worker";
    const HISTORY: Option<History> = Some(History::since(2, "jobs_worker_history"));
    const SCOPE: Scope = Scope::Permission(Action::TrainingRead);
    const CATEGORIES: &'static [&'static str] = &[Worker::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<WorkerRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        let position = stored(event.position);
        match decode::<WorkerEvent>(event)? {
            WorkerEvent::Registered(declared) => {
                let known = rows.get(&key).map(|row| (row.draining, row.drain_reason.clone()));
                let (draining, drain_reason) = known.unwrap_or_default();
                let row = WorkerRow::registered(&declared, event.at, position);
                rows.put(
                    &key,
                    WorkerRow {
                        draining,
                        drain_reason,
                        ..row
                    },
                );
            }
            WorkerEvent::DrainRequested { reason, .. } => rows.change(&key, |row| {
                row.draining = true;
                row.drain_reason = Some(reason).filter(|reason| !reason.is_empty());
                row.position = position;
            }),
            WorkerEvent::Ended { how } => rows.change(&key, |row| {
                row.ended_at = Some(event.at);
                row.how = Some(how);
                row.position = position;
            }),
        }
        rows.change(key, |row| row.version = version(event));
        Ok(())
    }
}

/// What a worker does at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It waits for a job.
    Idle,
    /// It has one.
    Working,
    /// It takes no more, and goes once it has none.
    Draining,
    /// Its heartbeat stopped.
    Lost,
}

impl WorkerState {
    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Working => "working",
            Self::Draining => "draining",
            Self::Lost => "lost",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Working, Self::Draining, Self::Lost];
}

/// A worker that has not gone.
#[derive(Clone, Debug, Deserialize)]
pub struct ActiveWorker {
    /// What it declared.
    pub worker: WorkerRow,
    /// Whether its heart beats.
    pub alive: bool,
    /// When it last did, by the database's clock.
    #[serde(with = "time::serde::rfc3339::option")]
    pub beat_at: Option<OffsetDateTime>,
    /// Seconds since then; since it came, if it never did.
    pub silent_seconds: f64,
    /// The job that it has.
    pub job: Option<JobId>,
    /// The owner of that.
    pub job_owner: Option<UserId>,
    /// The attempt at it.
    pub attempt: Option<i32>,
    /// Estimated seconds to that job's end.
    pub eta_seconds: Option<i32>,
}

impl ActiveWorker {
    /// What it does.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        match (self.alive, self.worker.draining, self.job) {
            (false, ..) => WorkerState::Lost,
            (true, true, _) => WorkerState::Draining,
            (true, false, Some(_)) => WorkerState::Working,
            (true, false, None) => WorkerState::Idle,
        }
    }

    /// Whether it takes jobs, now or once it is done with one.
    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        matches!(self.state(), WorkerState::Idle | WorkerState::Working)
    }
}

/// The workers that have not gone, lost ones included, by name.
///
/// # Errors
/// When the database fails.
pub async fn there(source: &impl Source) -> Result<Vec<ActiveWorker>, ReadError> {
    let pool = source.serving(&[Workers::NAME, Jobs::NAME])?;
    let statement = "select jsonb_build_object('worker', to_jsonb(w), \
         'alive', coalesce(b.expires_at > now(), false), 'beat_at', b.beat_at, \
         'silent_seconds', extract(epoch from now() - coalesce(b.beat_at, w.registered_at))::double precision, \
         'job', j.id, 'job_owner', j.owner_id, 'attempt', j.attempt, 'eta_seconds', j.eta_seconds)::text \
         from jobs_worker w left join jobs_worker_beat b on b.worker_id = w.id \
         left join lateral (select t.id, t.owner_id, t.attempt, t.eta_seconds from jobs_job t \
             where t.worker_id = w.id and t.state in ('starting', 'running') limit 1) j on true \
         where w.ended_at is null order by w.name, w.id limit 1000";
    fetch_json(pool, AsOf::Now.query(statement.to_owned())).await
}
