//! Runs the reactors: reads the log for each from its checkpoint, does its effects, tries again what fails, and gives up
//! what fails for long.
//!
//! One process does it at a time, by a lease. An effect that fails is written into `reactor_delivery`, in one transaction
//! with the checkpoint, and the next events do not wait for it. Nothing but ids and reasons is kept: a further try reads the
//! event again. The rule: at least once, and once where nothing crashes.

mod event_loop;
mod ownership;
mod perform;
mod retries;
mod settings;
mod table;

use std::{sync::Arc, time::Duration};

use domain::{
    event_store::{BoxFuture, EventStore, StoreError},
    execute::Ports,
    identity::keys::IdentityKeys,
    notifications::mail::Mailer,
};
use projections::{
    lease::{Held, Lease, REACTORS},
    notifications::delivery,
    read_model::ReadError,
};
use sqlx::PgPool;
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{event_loop::EventLoop, ownership::Ownership, perform::Performer, retries::Retries};
pub use self::{perform::NOT_DUE, settings::Settings};
use super::{AnyReactor, Call, EffectError};

/// Wait before another try after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often the owner says that it is there, and counts what is open.
const SEEN: Duration = Duration::from_secs(10);

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// It is done.
    Done,
    /// It is under way; to be called again soon.
    UnderWay,
}

/// PORT: the parts of the system that effects call. Each call may be repeated at any point.
pub trait Calls: Send + Sync {
    /// Makes the call.
    ///
    /// # Errors
    /// When it failed; it is made again later.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Called, EffectError>>;
}

/// What the reactors are run with.
pub struct Parts {
    /// The write path, and the log.
    pub ports: Ports,
    /// Where checkpoints and deliveries are.
    pub pool: PgPool,
    /// What is made with the secret key of the installation.
    pub keys: Arc<dyn IdentityKeys>,
    /// Where mails go.
    pub mailer: Arc<dyn Mailer>,
    /// What calls reach.
    pub calls: Arc<dyn Calls>,
    /// The reactors.
    pub reactors: Vec<Arc<dyn AnyReactor>>,
    /// Lengths of time.
    pub settings: Settings,
}

/// Why the runner paused.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not answer.
    #[error("a transaction was not done in time")]
    TimedOut,
    /// Another process runs the reactors.
    #[error("another process runs the reactors now")]
    Deposed,
    /// What is open could not be counted.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Gives reactors that were never there their place in the log. To be called before anything is served, so that no event
/// is recorded between the place and the first request.
///
/// # Errors
/// When the log or the database fails.
pub async fn prepare(
    pool: &PgPool,
    store: &dyn EventStore,
    reactors: &[Arc<dyn AnyReactor>],
) -> Result<(), RunError> {
    table::prepare(pool, store, reactors).await
}

/// Runs the reactors until `stop` is cancelled; what is at hand then is brought to its end.
#[must_use]
pub fn start(parts: Parts, stop: CancellationToken) -> JoinHandle<()> {
    let parts = Arc::new(parts);
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            if let Err(error) = follow(&parts, &stop).await {
                tracing::warn!(%error, "the reactors paused, trying again");
                metrics::counter!("reactor_failures_total").increment(1);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(RETRY.min(parts.settings.lease)) => {}
            }
        }
    })
}

/// Waits until nobody runs the reactors, then runs them as long as all goes well.
async fn follow(parts: &Arc<Parts>, stop: &CancellationToken) -> Result<(), RunError> {
    let length = parts.settings.lease;
    let (held, asked) = loop {
        let asked = Instant::now();
        if let Some(held) = Lease::take(&parts.pool, REACTORS, length).await? {
            break (held, asked);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(RETRY.min(length / 2)) => {}
        }
    };
    let ownership = Arc::new(Ownership::new(held.lease(), asked));
    let ended = stop.child_token();
    let mut work = spawned(parts, &ownership, &ended);
    let outcome = own(parts, &ownership, stop).await;
    ended.cancel();
    match &outcome {
        // What is at hand is brought to its end.
        Ok(()) => while work.join_next().await.is_some() {},
        // Nothing more may be begun.
        Err(_) => work.shutdown().await,
    }
    release(parts, &held).await;
    outcome
}

/// Starts the work on each reactor: its new events, and beside them the further tries.
fn spawned(parts: &Arc<Parts>, ownership: &Arc<Ownership>, stop: &CancellationToken) -> JoinSet<()> {
    let mut work = JoinSet::new();
    for reactor in &parts.reactors {
        let performer = Performer {
            parts: parts.clone(),
            reactor: reactor.clone(),
            ownership: ownership.clone(),
        };
        let (name, more) = (reactor.name(), Arc::new(Notify::new()));
        let events = EventLoop {
            performer: performer.clone(),
            more: more.clone(),
            stop: stop.clone(),
        };
        let retries = Retries {
            performer,
            more,
            stop: stop.clone(),
        };
        work.spawn(async move { kept_up(name, &events.stop, || events.follow()).await });
        work.spawn(async move { kept_up(name, &retries.stop, || retries.follow()).await });
    }
    work
}

/// Does `work` until it is stopped, again after each failure.
async fn kept_up<F: Future<Output = Result<(), RunError>>>(
    reactor: &'static str,
    stop: &CancellationToken,
    work: impl Fn() -> F,
) {
    while let Err(error) = work().await {
        tracing::warn!(reactor, %error, "a reactor paused, trying again");
        metrics::counter!("reactor_failures_total").increment(1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Renews the lease until it is stopped; fails when somebody else has it.
async fn own(parts: &Parts, ownership: &Ownership, stop: &CancellationToken) -> Result<(), RunError> {
    let mut seen = None;
    loop {
        if seen.is_none_or(|at: Instant| at.elapsed() >= SEEN) {
            table::seen(&parts.pool).await?;
            count(parts).await?;
            seen = Some(Instant::now());
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(parts.settings.lease / 4) => {}
        }
        let renewed = async {
            let mut connection = parts.pool.acquire().await?;
            ownership.prove(&mut connection).await
        };
        match timeout(parts.settings.lease, renewed).await {
            Ok(Ok(())) => {}
            Ok(Err(RunError::Deposed)) => return Err(RunError::Deposed),
            // Nothing is begun once the lease may have run out, so there is time to try again until then.
            Ok(Err(error)) => {
                ownership.check()?;
                tracing::debug!(%error, "the lease of the reactors was not renewed, trying again");
            }
            Err(_) => ownership.check()?,
        }
    }
}

/// Tells metrics how many deliveries are open.
async fn count(parts: &Parts) -> Result<(), RunError> {
    for reactor in delivery::reactors(&parts.pool).await? {
        for (state, count) in [("waiting", reactor.waiting), ("dead", reactor.dead)] {
            metrics::gauge!("reactor_deliveries", "reactor" => reactor.reactor.clone(), "state" => state)
                .set(count as f64);
        }
    }
    Ok(())
}

/// Lets others have the lease at once.
async fn release(parts: &Parts, held: &Held) {
    let released = timeout(RETRY, held.lease().release(&parts.pool)).await;
    if !matches!(released, Ok(Ok(()))) {
        tracing::debug!("the lease of the reactors runs out by itself");
    }
}
