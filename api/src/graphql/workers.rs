//! Workers: who is there, what they can do, what they do, and telling them to go (WK-2).

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    authz::Action,
    id::WorkerId,
    jobs::worker::{DrainWorker, WorkerRefusal},
};
use projections::{
    jobs::worker::{self, ActiveWorker},
    paging::Page,
};

use super::{
    context::{Outcome, app, require, run, user, viewer, wait_for_position},
    errors::read_failed,
    paging::{Connection, Count, List},
    scalars::Long,
    types::Worker,
    user_error::{UserError, UserErrorCode},
};

/// The list of workers. Its keys are `name/id`; all of it is read, because there are at most 1,000.
const WORKERS: List = List::by_text("workers.name");

fn key(one: &ActiveWorker) -> String {
    format!("{}/{}", one.worker.name, one.worker.id.0)
}

/// Queries about workers.
#[derive(Default)]
pub struct WorkersQuery;

#[Object]
impl WorkersQuery {
    /// Registered workers, including lost ones, by name. Requires `training.read`.
    async fn workers(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Worker>>> {
        user(context)?;
        require(context, Action::TrainingRead, "workers")?;
        let request = WORKERS.page(first, after.as_deref())?;
        let (viewer, found) = (viewer(context)?, worker::there(&app(context)?.pool).await);
        let mut rows = found.map_err(|error| read_failed(&error))?;
        let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        rows.sort_by_cached_key(key);
        rows.retain(|one| request.after.as_ref().is_none_or(|after| key(one) > after.key));
        let page = Page::from_overread(rows, request.first);
        let count = Count::with(move || std::future::ready(Ok(total)));
        let connection = WORKERS.connect(page, after.as_deref(), count, |one| {
            (key(&one), Worker(one, viewer.clone()))
        });
        Ok(Some(connection))
    }
}

/// Drains a worker.
#[derive(InputObject)]
pub struct DrainWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Whether the worker saves and releases its current job instead of finishing it.
    #[graphql(default)]
    pub at_once: bool,
    /// Reason, at most 500 characters; recorded in the log.
    #[graphql(default)]
    pub reason: String,
}

/// Payload of `drainWorker`.
#[derive(SimpleObject)]
pub struct WorkerPayload {
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

impl WorkerPayload {
    fn wrong(path: &str, message: impl Into<String>, code: UserErrorCode) -> Self {
        Self {
            position: None,
            user_errors: vec![UserError::at(path, message, code)],
        }
    }
}

/// Changes of workers.
#[derive(Default)]
pub struct WorkersMutation;

#[Object]
impl WorkersMutation {
    /// Drains a worker: it takes no more jobs and stops when it has none. It returns when its process is restarted.
    /// Requires `system.admin`.
    async fn drain_worker(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The worker, the mode, and the reason.")] input: DrainWorkerInput,
    ) -> Result<WorkerPayload> {
        user(context)?;
        let gone = |message: &str| WorkerPayload::wrong("workerId", message, UserErrorCode::NotFound);
        let Ok(worker) = input.worker_id.parse::<WorkerId>() else {
            require(context, Action::SystemAdmin, "workers")?;
            return Ok(gone("there is no such worker"));
        };
        let command = DrainWorker {
            worker,
            at_once: input.at_once,
            reason: input.reason,
        };
        Ok(match run(context, &command).await? {
            Outcome::Done(position) => {
                wait_for_position(context, position).await?;
                WorkerPayload {
                    position: Some(position.into()),
                    user_errors: Vec::new(),
                }
            }
            Outcome::Refused(refusal @ WorkerRefusal::Reason(_)) => {
                WorkerPayload::wrong("reason", refusal.to_string(), UserErrorCode::Invalid)
            }
            Outcome::Refused(refusal) => gone(&refusal.to_string()),
            Outcome::NotFound => gone("there is no such worker"),
        })
    }
}
