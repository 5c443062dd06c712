//! Workers: who is there, what they can do, what they do, and telling them to go (WK-2).

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::{
    authz::Action,
    jobs::worker::{DrainWorker, WorkerRefusal},
};
use projections::jobs::worker;
use uuid::Uuid;

use super::{
    context::{app, require, user, viewer},
    errors::read_failed,
    mutation::{MutationCall, payload},
    paging::{Connection, Count, List, ListOrder, Sort},
    types::{Worker, WorkerFilter, WorkerOrder, page_of_workers},
    user_error::{Problem, UserErrorCode},
};

/// The list of workers; all of it is read, because there are at most 1,000.
const WORKERS: List = List::by_id("workers");

/// Queries about workers.
#[derive(Default)]
pub struct WorkersQuery;

#[Object]
impl WorkersQuery {
    /// Registered workers, including lost ones. Requires `training.read`.
    async fn workers(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all workers if omitted.")] filter: Option<WorkerFilter>,
        #[graphql(desc = "Order; by name if omitted.")] order: Option<WorkerOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Worker>>> {
        user(context)?;
        require(context, Action::TrainingRead, "workers")?;
        let by_name = Sort::by(Some(worker::NAME), None);
        let list = WORKERS.sorted(order.map_or(by_name, ListOrder::sort));
        let request = list.page(first, after.as_deref())?;
        let (viewer, found) = (viewer(context)?, worker::there(&app(context)?.read_models).await);
        let rows = filter
            .unwrap_or_default()
            .of(found.map_err(|error| read_failed(&error))?)?;
        let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let count = Count::with(move || std::future::ready(Ok(total)));
        let page = page_of_workers(rows, &request);
        let connection = list.connect(page, after.as_deref(), count, |(key, value, one)| {
            (List::place(key, value.as_deref()), Worker(one, viewer.clone()))
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

impl Problem for WorkerRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::Reason(_) => ("reason", UserErrorCode::Invalid),
            _ => ("workerId", UserErrorCode::NotFound),
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
