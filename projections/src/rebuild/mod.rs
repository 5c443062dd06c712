//! Rebuilding read models beside the running system: into shadow tables, compared, and swapped in.
//!
//! The rule: the live tables are served and folded all the while; one transaction puts a shadow in place, and
//! before that nothing of it is visible. Whatever ends the process, the next one goes on from the checkpoint.

pub(crate) mod background;
mod compare;
mod pass;
mod requests;
mod shadow;
mod swap;
mod writer;

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, Position, StoreError};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use self::{
    compare::Snapshot,
    pass::{Pass, Running},
};
pub use self::{
    compare::{Comparison, Difference},
    requests::{finished, request},
};
use crate::{
    lease::{Held, Lease, REBUILD},
    read_model::{ProjectError, Projector, unquoted},
    runner::{position, stored},
};

/// Why a rebuild did not come to its end. What is built stays and is gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database failed.
    #[error("database: {}", unquoted(.0))]
    Database(#[from] sqlx::Error),
    /// A row cannot be loaded.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// Another process rebuilds now.
    #[error("another process rebuilds the read models now; this one wrote nothing more")]
    Deposed,
    /// Part of the work ended.
    #[error("the rebuild was interrupted; start it again to go on")]
    Interrupted,
    /// The log ended before the position that it was said to have.
    #[error("the log ends at {0}, before the position that was to be reached")]
    Ended(Position),
    /// An event cannot be folded.
    #[error("{projection} cannot fold the event at position {position}: {reason}")]
    Event {
        /// The projection.
        projection: &'static str,
        /// The event.
        position: Position,
        /// Why.
        reason: String,
    },
}

/// What is to be done with the shadows once they are built.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Compare them with the live tables.
    pub compare: bool,
    /// Put them in place of the live tables; else they are kept, for a later rebuild to go on from.
    pub swap: bool,
    /// Drop what is not swapped in.
    pub discard: bool,
}

/// How much is in memory at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events that are read at a time.
    pub page: usize,
    /// Bytes of rows that one shadow keeps until they are written.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page: 10_000,
            memory: 48 << 20,
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Folding the log.
    Folding,
    /// Making indexes.
    Indexing,
    /// Comparing with the live tables.
    Comparing,
    /// Putting the shadow in place.
    Swapping,
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is being done.
    pub phase: Phase,
    /// The position that is reached.
    pub position: Position,
    /// The position that is to be reached.
    pub goal: Position,
}

/// What came of one projection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// The position up to which it was folded.
    pub position: Position,
    /// Whether it took the live table's place.
    pub swapped: bool,
    /// How it compares to the live table; `None` when it was not compared, or there was nothing to compare to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A connection as the owner of the tables: without the role that may only change rows.
async fn connect(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let options = pool
        .connect_options()
        .as_ref()
        .clone()
        .application_name("anneal rebuild");
    let connecting = PgConnection::connect_with(&options);
    let connected = tokio::time::timeout(Duration::from_secs(10), connecting).await;
    let mut connection = connected.map_err(|_| sqlx::Error::PoolTimedOut)??;
    sqlx::query(
        "select set_config('lock_timeout', '60s', false), set_config('tcp_keepalives_idle', '15', false)",
    )
    .execute(&mut connection)
    .await?;
    Ok(connection)
}

/// The right to rebuild, held until this is dropped or given back.
pub struct Rebuild {
    store: Arc<dyn EventStore>,
    pool: PgPool,
    lease: Lease,
    _held: Held,
    lost: CancellationToken,
    keeper: AbortHandle,
    limits: Limits,
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(pool: PgPool, lease: Lease, lost: CancellationToken) {
    loop {
        tokio::time::sleep(lease.length() / 4).await;
        let renewed = async { lease.renew(&mut *pool.acquire().await?).await };
        match renewed.await {
            Ok(true) => {}
            Ok(false) => return lost.cancel(),
            // The next batch proves the lease anyway.
            Err(error) => tracing::debug!(%error, "the lease of the rebuild was not renewed"),
        }
    }
}

impl Rebuild {
    /// Takes the right to rebuild. `None` while another process has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(
        store: Arc<dyn EventStore>,
        pool: PgPool,
        length: Duration,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Some(held) = Lease::take(&pool, REBUILD, length).await? else {
            return Ok(None);
        };
        let lease = held.lease();
        let lost = CancellationToken::new();
        let keeper = tokio::spawn(keep(pool.clone(), lease, lost.clone())).abort_handle();
        Ok(Some(Self {
            store,
            pool,
            lease,
            _held: held,
            lost,
            keeper,
            limits: Limits::default(),
        }))
    }

    /// With other limits.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Gives the right back.
    ///
    /// # Errors
    /// When the database fails; then others have it once it has run out.
    pub async fn end(self) -> Result<(), sqlx::Error> {
        self.lease.release(&self.pool).await
    }

    /// Rebuilds `projectors` in one pass over the log, going on from where an earlier rebuild ended. May be
    /// dropped at any time. `heard` is told how far it is.
    ///
    /// # Errors
    /// When all of it cannot go on; a single projection that fails is in its [`Outcome`].
    pub async fn run(
        &self,
        projectors: Vec<Arc<dyn Projector>>,
        wish: Wish,
        heard: &(dyn Fn(Step) + Sync),
    ) -> Result<Vec<Outcome>, RebuildError> {
        tokio::select! {
            outcomes = self.work(projectors, wish, heard) => outcomes,
            () = self.lost.cancelled() => Err(RebuildError::Deposed),
        }
    }

    async fn work(
        &self,
        projectors: Vec<Arc<dyn Projector>>,
        wish: Wish,
        heard: &(dyn Fn(Step) + Sync),
    ) -> Result<Vec<Outcome>, RebuildError> {
        let mut connection = connect(&self.pool).await?;
        let mut running = Vec::new();
        for projector in projectors {
            running.push(self.prepare(&mut connection, projector, wish.compare).await?);
        }
        let goal = self.goal(&mut connection, &running, wish.compare).await?;
        let folding = |position| {
            heard(Step {
                phase: Phase::Folding,
                position,
                goal,
            });
        };
        self.pass().run(&mut running, goal, &folding).await?;
        let told = |phase| {
            heard(Step {
                phase,
                position: goal,
                goal,
            });
        };
        told(Phase::Indexing);
        for one in &mut running {
            self.complete(&mut connection, one).await?;
        }
        let mut compared = Vec::new();
        if wish.compare {
            told(Phase::Comparing);
            let mut snapshot = Snapshot::open(&self.pool).await?;
            for one in running {
                compared.push(snapshot.compare(&self.pass(), one).await?);
            }
        } else {
            compared.extend(running.into_iter().map(|one| (one, None)));
        }
        if wish.swap {
            told(Phase::Swapping);
        }
        let mut outcomes = Vec::new();
        for (one, comparison) in compared {
            let outcome = self.conclude(&mut connection, one, comparison, wish).await?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            store: &self.store,
            pool: &self.pool,
            lease: self.lease,
            limits: self.limits,
        }
    }

    /// How far the pass goes: to the head, or, to be compared, not past any live table.
    async fn goal(
        &self,
        connection: &mut PgConnection,
        running: &[Running],
        compare: bool,
    ) -> Result<Position, RebuildError> {
        let head = self.store.head().await?;
        if !compare {
            return Ok(head);
        }
        let names: Vec<&str> = running.iter().map(|one| one.projector.name()).collect();
        let lowest = sqlx::query_scalar::<_, Option<i64>>(
            "select min(position) from projection_checkpoint where name = any($1) and state <> 'building'",
        )
        .bind(names)
        .fetch_one(connection)
        .await?;
        Ok(lowest.map_or(head, |lowest| position(lowest).min(head)))
    }

    /// Finds the shadow of an earlier rebuild, or makes one.
    async fn prepare(
        &self,
        connection: &mut PgConnection,
        projector: Arc<dyn Projector>,
        compare: bool,
    ) -> Result<Running, RebuildError> {
        let (name, tables) = (projector.name(), projector.tables());
        let mut transaction = connection.begin().await?;
        let row = sqlx::query(
            "select r.version, r.position, r.complete, coalesce(c.position, 0)
             from projection_rebuild r left join projection_checkpoint c using (name) where name = $1",
        )
        .bind(name)
        .fetch_optional(&mut *transaction)
        .await?;
        let mut place = None;
        if let Some(row) = row {
            let (version, at, live): (i32, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
            let mut fits = version == projector.version() && !(compare && at > live);
            for table in &tables {
                fits = fits && shadow::fits(&mut transaction, *table).await?;
            }
            place = fits.then_some((position(at), row.try_get::<bool, _>(2)?));
        }
        if place.is_none() {
            for table in &tables {
                shadow::create(&mut transaction, *table).await?;
            }
            let request = requests::newest(&mut transaction, name).await?;
            sqlx::query(
                "insert into projection_rebuild (name, version, request) values ($1, $2, $3)
                 on conflict (name) do update set version = excluded.version, request = excluded.request,
                     position = 0, complete = false, started_at = clock_timestamp(),
                     failure = null, failed_position = null",
            )
            .bind(name)
            .bind(projector.version())
            .bind(request)
            .execute(&mut *transaction)
            .await?;
        }
        if !self.lease.renew(&mut transaction).await? {
            return Err(RebuildError::Deposed);
        }
        transaction.commit().await?;
        let (at, complete) = place.unwrap_or_default();
        Ok(Running {
            builder: begin(&mut *connection, projector.as_ref(), at).await?,
            projector,
            position: at,
            complete,
            // What failed before is tried again.
            failed: None,
        })
    }

    /// Makes the indexes.
    async fn complete(
        &self,
        connection: &mut PgConnection,
        running: &mut Running,
    ) -> Result<(), RebuildError> {
        if running.failed.is_some() || running.complete {
            return Ok(());
        }
        for table in running.projector.tables() {
            shadow::add_indexes(&mut *connection, table).await?;
        }
        let mut transaction = connection.begin().await?;
        sqlx::query("update projection_rebuild set complete = true where name = $1")
            .bind(running.projector.name())
            .execute(&mut *transaction)
            .await?;
        if !self.lease.renew(&mut transaction).await? {
            return Err(RebuildError::Deposed);
        }
        transaction.commit().await?;
        running.complete = true;
        Ok(())
    }

    /// Swaps, keeps or drops the shadow; notes what failed.
    async fn conclude(
        &self,
        connection: &mut PgConnection,
        running: Running,
        comparison: Option<Comparison>,
        wish: Wish,
    ) -> Result<Outcome, RebuildError> {
        let name = running.projector.name();
        let mut outcome = Outcome {
            name,
            position: running.position,
            swapped: false,
            comparison,
            failure: None,
        };
        if let Some((at, reason)) = &running.failed {
            tracing::error!(projection = name, position = at.0, error = %reason,
                "a rebuild stopped: it cannot fold this event");
            sqlx::query("update projection_rebuild set failure = $2, failed_position = $3 where name = $1")
                .bind(name)
                .bind(reason.chars().take(500).collect::<String>())
                .bind(stored(*at))
                .execute(&mut *connection)
                .await?;
            outcome.failure = running.failure().map(|failure| failure.to_string());
        } else if wish.swap {
            match swap::swap(&self.pass(), running).await {
                Ok(position) => {
                    outcome.position = position;
                    outcome.swapped = true;
                }
                Err(failure @ RebuildError::Event { .. }) => outcome.failure = Some(failure.to_string()),
                Err(error) => return Err(error),
            }
            return Ok(outcome);
        }
        if wish.discard {
            let mut transaction = connection.begin().await?;
            for table in running.projector.tables() {
                shadow::drop_shadow(&mut transaction, table).await?;
            }
            sqlx::query("delete from projection_rebuild where name = $1")
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            if !self.lease.renew(&mut transaction).await? {
                return Err(RebuildError::Deposed);
            }
            transaction.commit().await?;
        }
        Ok(outcome)
    }
}

/// Begins to fold into the shadow, whose rows are complete up to `at`.
async fn begin(
    connection: &mut PgConnection,
    projector: &dyn Projector,
    at: Position,
) -> Result<Box<dyn crate::read_model::Builder>, RebuildError> {
    let shape = match projector.tables().first() {
        Some(table) => shadow::shape(connection, *table).await?,
        None => Default::default(),
    };
    Ok(projector.builder(shape, at == Position::START))
}
