//! Jobs: the `jobs_job` table.

use std::collections::BTreeMap;

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId, WorkerId},
    jobs::{
        job::{Job, JobEvent, JobState, Order},
        progress::{Progress, ProgressEvent},
        spec::TrainingSpec,
    },
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    history::{History, Moment},
    identity::user::uuid_key,
    paging::{Page, PageRequest, Viewer},
    read_model::{ReadError, ReadModel, Rows, fetch, fetch_one, fetch_page},
    runner::stored,
};

/// A job, as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// Who started it.
    pub owner_id: UserId,
    /// The project of its experiment.
    pub project_id: ProjectId,
    /// Its experiment.
    pub experiment_id: ExperimentId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// What it does.
    pub spec: TrainingSpec,
    /// What it trains on,
    pub dataset_id: DatasetId,
    /// in this version.
    pub dataset_version: i32,
    /// What it starts from,
    pub base_model_id: Option<ModelId>,
    /// in this version.
    pub base_model_version: Option<i32>,
    /// The model that comes of it.
    pub model_id: ModelId,
    /// Number of the latest attempt; 0 before the first.
    pub attempt: i32,
    /// The worker that has it.
    pub worker_id: Option<WorkerId>,
    /// Its name.
    pub worker_name: Option<String>,
    /// Steps done.
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
    pub metrics: BTreeMap<String, String>,
    /// Code of the failure.
    pub failure_code: Option<String>,
    /// What happened.
    pub failure_message: Option<String>,
    /// When it was queued.
    #[serde(with = "time::serde::rfc3339")]
    pub queued_at: OffsetDateTime,
    /// When training first began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// The last event that is folded in.
    pub position: i64,
}

/// The projection.
#[derive(Default)]
pub struct Jobs;

fn whole(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

impl ReadModel for Jobs {
    type Row = JobRow;
    const NAME: &'static str = "jobs.job";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "jobs_job";
    const HISTORY: Option<History> = Some(History::since(2, "jobs_job_history").dense(
        "jobs_job_history_dense",
        &[
            "step",
            "loss",
            "evaluation_loss",
            "tokens_per_second",
            "eta_seconds",
            "checkpoint_step",
            "position",
        ],
    ));
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
                rows.put(key, row);
            }
            other => rows.change(key, |row| row.apply(&other, event.at, stored(event.position))),
        }
        Ok(())
    }
}

impl JobRow {
    /// The row of a job that was just queued.
    #[must_use]
    pub fn queued(order: &Order, at: OffsetDateTime, position: i64) -> Self {
        Self {
            id: order.job,
            owner_id: order.owner,
            project_id: order.project,
            experiment_id: order.experiment,
            name: order.name.clone(),
            state: JobState::Queued,
            spec: order.spec.clone(),
            dataset_id: order.dataset.dataset,
            dataset_version: whole(order.dataset.version),
            base_model_id: order.base.as_ref().map(|base| base.version.model),
            base_model_version: order.base.as_ref().map(|base| whole(base.version.version)),
            model_id: order.model,
            attempt: 0,
            worker_id: None,
            worker_name: None,
            step: 0,
            total_steps: whole(order.spec.parameters.steps),
            loss: None,
            evaluation_loss: None,
            tokens_per_second: None,
            eta_seconds: None,
            checkpoint_step: None,
            metrics: BTreeMap::new(),
            failure_code: None,
            failure_message: None,
            queued_at: at,
            started_at: None,
            ended_at: None,
            position,
        }
    }

    fn end(&mut self, state: JobState, at: OffsetDateTime) {
        self.state = state;
        self.ended_at = Some(at);
        self.eta_seconds = None;
        self.worker_id = None;
    }

    fn apply(&mut self, event: &JobEvent, at: OffsetDateTime, position: i64) {
        self.position = position;
        match event {
            JobEvent::Queued(_) => {}
            JobEvent::Leased {
                attempt,
                worker,
                worker_name,
            } => {
                self.state = JobState::Starting;
                self.attempt = whole(*attempt);
                self.worker_id = Some(*worker);
                self.worker_name = Some(worker_name.clone());
            }
            JobEvent::Started {
                from_step,
                total_steps,
                ..
            } => {
                self.state = JobState::Running;
                self.step = whole(*from_step);
                self.total_steps = whole(*total_steps);
                self.started_at = self.started_at.or(Some(at));
            }
            JobEvent::CheckpointSaved { checkpoint, .. } => {
                self.checkpoint_step = Some(whole(checkpoint.step));
            }
            JobEvent::Interrupted { .. } => {
                self.state = JobState::Queued;
                self.worker_id = None;
                self.eta_seconds = None;
            }
            JobEvent::Completed { metrics, .. } => {
                self.end(JobState::Completed, at);
                self.step = self.total_steps;
                self.metrics.clone_from(metrics);
            }
            JobEvent::Failed { code, message, .. } => {
                self.end(JobState::Failed, at);
                self.failure_code = Some(code.clone());
                self.failure_message = Some(message.clone());
            }
            JobEvent::Cancelled { .. } => self.end(JobState::Cancelled, at),
        }
    }

    fn progress(&mut self, event: &ProgressEvent, position: i64) {
        self.position = position;
        let ProgressEvent::Reported { metrics, .. } = event else {
            return;
        };
        self.step = whole(metrics.step);
        self.eta_seconds = metrics.eta_seconds.map(whole);
        if let Some(point) = metrics.points.last() {
            self.loss = Some(point.loss);
            self.tokens_per_second = Some(point.tokens_per_second);
        }
        if let Some(evaluation) = metrics.evaluations.last() {
            self.evaluation_loss = Some(evaluation.loss);
        }
    }
}

/// One job that `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn find(
    pool: &PgPool,
    moment: Moment,
    viewer: Viewer,
    job: JobId,
) -> Result<Option<JobRow>, ReadError> {
    let statement = format!(
        "select to_jsonb(t)::text from {} t where id = $1 and ($2::uuid is null or owner_id = $2)",
        moment.of::<Jobs>()
    );
    let query = moment.query(statement).bind(job.0).bind(viewer.parameter());
    fetch_one(pool, query).await
}

/// The jobs that `viewer` may see, of one experiment or of all, in one state or in any, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    pool: &PgPool,
    moment: Moment,
    viewer: Viewer,
    experiment: Option<ExperimentId>,
    state: Option<JobState>,
    page: &PageRequest,
) -> Result<Page<JobRow>, ReadError> {
    let statement = format!(
        "select to_jsonb(t)::text from {} t where ($1::uuid is null or owner_id = $1) \
         and ($2::uuid is null or experiment_id = $2) and ($3::text is null or state = $3) \
         and ($4::uuid is null or id < $4) order by id desc limit $5",
        moment.of::<Jobs>()
    );
    let state = state.map(serde_json::to_value).transpose()?;
    let query = moment
        .query(statement)
        .bind(viewer.parameter())
        .bind(experiment.map(|experiment| experiment.0))
        .bind(state.as_ref().and_then(serde_json::Value::as_str))
        .bind(page.after_id());
    fetch_page(pool, query, page).await
}

/// The jobs that wait for a worker, the longest waiting first; at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn waiting(pool: &PgPool, limit: u32) -> Result<Vec<JobRow>, ReadError> {
    let query = sqlx::query(
        "select to_jsonb(t)::text from jobs_job t where state = 'queued' order by queued_at, id limit $1",
    );
    fetch(pool, query.bind(i64::from(limit))).await
}

/// The jobs that a worker has or should have; at most 1,000.
///
/// # Errors
/// When the database fails.
pub async fn under_way(pool: &PgPool) -> Result<Vec<JobRow>, ReadError> {
    let query = sqlx::query(
        "select to_jsonb(t)::text from jobs_job t where state in ('starting', 'running') order by id limit 1000",
    );
    fetch(pool, query).await
}

/// How many jobs wait before the given one, of anybody.
///
/// # Errors
/// When the database fails.
pub async fn queue_position(pool: &PgPool, moment: Moment, job: JobId) -> Result<i64, ReadError> {
    // Of all jobs that ever waited, an index of the spans of waiting finds those of that moment.
    let waited = match moment {
        Moment::Now => String::new(),
        Moment::AsOf(at) => format!(
            "and int8range(w.valid_from, w.valid_to) @> {}::bigint",
            stored(at)
        ),
    };
    let jobs = moment.of::<Jobs>();
    let statement = format!(
        "select count(*) from {jobs} w where w.state = 'queued' {waited} \
         and (w.queued_at, w.id) < (select t.queued_at, t.id from {jobs} t where t.id = $1)"
    );
    crate::read_model::count(pool, moment.query(statement).bind(job.0)).await
}
