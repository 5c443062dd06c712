//! Workers: who is there, what they can do, what they do, and telling them to go (WK-2).

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::{
    authz::Action,
    jobs::worker::{DrainWorker, WorkerRefusal},
};
use projections::{
    jobs::worker::{self, ActiveWorker},
    paging::Page,
};

use uuid::Uuid;

use super::{
    context::{app, require, user, viewer},
    errors::read_failed,
    mutation::{MutationCall, payload},
    paging::{Connection, Count, List},
    types::Worker,
    user_error::{UserError, UserErrorCode, UserErrors},
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
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

payload! {
    /// Payload of `drainWorker`.
    WorkerPayload {
        /// The worker; null on error, or if it has gone.
        worker: Worker
    }
}

impl UserErrors for WorkerRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let (path, code) = match self {
            Self::Reason(_) => ("reason", UserErrorCode::Invalid),
            _ => ("workerId", UserErrorCode::NotFound),
        };
        vec![UserError::at(path, self.to_string(), code)]
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
    ) -> Result<Option<WorkerPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let worker = call.id("workerId", &input.worker_id);
        let command = DrainWorker {
            worker,
            at_once: input.at_once,
            reason: input.reason,
        };
        call.finish(worker, &command).await
    }
}
