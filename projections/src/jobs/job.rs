//! Jobs: the `jobs_job` table. Their order while they wait is in [`super::queue`].

mod fold;

use std::collections::BTreeMap;

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId, WorkerId},
    jobs::{
        job::{Import, Job, JobEvent, JobState, KindName},
        progress::{Progress, ProgressEvent},
        requirements::JobRequirements,
        spec::TrainingSpec,
    },
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    history::{AsOf, History},
    identity::user::uuid_key,
    paging::Column,
    position::{stored, version},
    read_model::{ReadError, ReadModel, Row, Rows, Scope, fetch, fetch_json},
};

/// One attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub number: i32,
    /// The worker's name.
    pub worker: String,
    /// When the worker took the job.
    #[serde(with = "time::serde::rfc3339")]
    pub leased_at: OffsetDateTime,
    /// Steps that were done before; `None` until training began.
    pub from_step: Option<i32>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// How: `completed`, `failed`, `cancelled`, `paused` or `interrupted`.
    pub end: Option<String>,
    /// Why, in words.
    pub cause: Option<String>,
    /// Milliseconds on the worker, once metered.
    pub milliseconds: Option<i64>,
}

/// A job, as it stands.
#[derive(Clone, Debug, Row)]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// The user who started it.
    pub owner_id: UserId,
    /// What it does.
    #[column(text)]
    pub kind: KindName,
    /// The project of its experiment; of a training.
    pub project_id: Option<ProjectId>,
    /// Its experiment; of a training.
    pub experiment_id: Option<ExperimentId>,
    /// Its name.
    pub name: String,
    /// Where it stands.
    #[column(text)]
    pub state: JobState,
    /// What it trains; of a training.
    #[column(json)]
    pub spec: Option<TrainingSpec>,
    /// What it imports; of an import.
    #[column(json)]
    pub import: Option<Import>,
    /// Bytes that an import has copied.
    pub imported_bytes: Option<i64>,
    /// What it trains on,
    pub dataset_id: Option<DatasetId>,
    /// in this version.
    pub dataset_version: Option<i32>,
    /// What it starts from,
    pub base_model_id: Option<ModelId>,
    /// in this version.
    pub base_model_version: Option<i32>,
    /// The model that comes of it.
    pub model_id: ModelId,
    /// When and where it may run, as it was ordered.
    #[column(json, name = "terms")]
    pub requirements: JobRequirements,
    /// Its priority now.
    pub priority: i32,
    /// The job that it was made after.
    pub cloned_from: Option<JobId>,
    /// Number of the latest attempt; 0 before the first.
    pub attempt: i32,
    /// How many workers it has lost since it was queued or restarted.
    pub losses: i32,
    /// Whether its worker shall give it back, so that it can be paused.
    pub pausing: bool,
    /// The latest attempts, the newest last; at most a hundred; the log has them all.
    #[column(json)]
    pub attempts: Vec<AttemptRow>,
    /// The worker that has it.
    pub worker_id: Option<WorkerId>,
    /// Its name.
    pub worker_name: Option<String>,
    /// Steps done; of an import: files that are stored.
    pub step: i32,
    /// Steps to do in all.
    pub total_steps: i32,
    /// Latest training loss.
    pub loss: Option<f64>,
    /// Latest evaluation loss.
    pub evaluation_loss: Option<f64>,
    /// Latest speed.
    pub tokens_per_second: Option<f64>,
    /// Estimated seconds to the end.
    pub eta_seconds: Option<i32>,
    /// Steps that the newest checkpoint holds.
    pub checkpoint_step: Option<i32>,
    /// Final metrics.
    #[column(json)]
    pub metrics: BTreeMap<String, String>,
    /// Code of the failure.
    pub failure_code: Option<String>,
    /// What happened.
    pub failure_message: Option<String>,
    /// When it was queued.
    pub queued_at: OffsetDateTime,
    /// When it last came into the queue: queued, resumed, restarted, or back from a worker.
    pub waiting_since: OffsetDateTime,
    /// When training first began.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub ended_at: Option<OffsetDateTime>,
    /// Milliseconds on workers, over all attempts that have ended.
    pub worker_milliseconds: i64,
    /// Milliseconds of them on GPUs.
    pub gpu_milliseconds: i64,
    /// When the last of them were metered.
    pub metered_at: Option<OffsetDateTime>,
    /// How many events are recorded about it; what is only told of its progress does not count.
    pub version: i32,
    /// The last event that is folded in.
    pub position: i64,
}

/// Jobs can be listed by their kind,
pub const KIND: Column = Column::new("kind", "text");
/// their state,
pub const STATE: Column = Column::new("state", "text");
/// their owner,
pub const OWNER: Column = Column::new("owner_id", "uuid");
/// their project,
pub const PROJECT: Column = Column::new("project_id", "uuid");
/// their experiment,
pub const EXPERIMENT: Column = Column::new("experiment_id", "uuid");
/// the dataset that they train on,
pub const DATASET: Column = Column::new("dataset_id", "uuid");
/// the model that they start from,
pub const BASE_MODEL: Column = Column::new("base_model_id", "uuid");
/// the model that comes of them,
pub const MODEL: Column = Column::new("model_id", "uuid");
/// their name,
pub const NAME: Column = Column::new("name", "text");
/// their priority,
pub const PRIORITY: Column = Column::new("priority", "integer");
/// and by when they were queued.
pub const QUEUED: Column = Column::new("queued_at", "timestamptz");

/// The projection.
#[derive(Default)]
pub struct Jobs;

impl ReadModel for Jobs {
    type Row = JobRow;
    const NAME: &'static str = "jobs.job";
    const VERSION: i32 = 6;
    const TABLE: &'static str = "jobs_job";
    const HISTORY: Option<History> = Some(History::since(2, "jobs_job_history").hot_columns(
        "jobs_job_history_dense",
        &[
            "step",
            "loss",
            "evaluation_loss",
            "tokens_per_second",
            "eta_seconds",
            "checkpoint_step",
            "imported_bytes",
            "version",
            "position",
        ],
    ));
    const SCOPE: Scope = Scope::Own {
        owner: "owner_id",
        read: Action::TrainingRead,
    };
    const CATEGORIES: &'static [&'static str] = &[Job::CATEGORY, Progress::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<JobRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        if event.stream.category() == Progress::CATEGORY {
            let progress = decode::<ProgressEvent>(event)?;
            rows.change(key, |row| row.progress(&progress, stored(event.position)));
            return Ok(());
        }
        match decode::<JobEvent>(event)? {
            JobEvent::Queued(order) => {
                let row = JobRow::queued(&order, event.at, stored(event.position));
                rows.put(&key, row);
            }
            other => rows.change(&key, |row| row.apply(&other, event.at, stored(event.position))),
        }
        rows.change(key, |row| row.version = version(event));
        Ok(())
    }
}

/// The jobs that a worker has or should have; at most 1,000.
///
/// # Errors
/// When the database fails.
pub async fn under_way(pool: &PgPool) -> Result<Vec<JobRow>, ReadError> {
    let statement = format!(
        "{} where t.state in ('starting', 'running') order by t.id limit 1000",
        AsOf::Now.select::<Jobs>()
    );
    fetch(pool, AsOf::Now.query(statement)).await
}

#[derive(Deserialize)]
struct Open {
    state: String,
    count: i64,
}

/// How many jobs are in each state that is not an end; zeros included.
///
/// # Errors
/// When the database fails.
pub async fn open(pool: &PgPool) -> Result<Vec<(String, i64)>, ReadError> {
    let query = sqlx::query(
        "select jsonb_build_object('state', s.state, 'count', count(t.id))::text \
         from unnest(array['queued', 'starting', 'running', 'paused']) s (state) \
         left join jobs_job t on t.state = s.state and t.ended_at is null group by s.state",
    );
    let rows: Vec<Open> = fetch_json(pool, query).await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}
