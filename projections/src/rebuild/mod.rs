//! Rebuilding read models beside the running system: into shadow tables, compared, and swapped in.
//!
//! The rule: the live tables are served and folded all the while; one transaction puts a shadow in place, and
//! before that nothing of it is visible. Whatever ends the process, the next one goes on from the checkpoint.

pub(crate) mod background;
mod compare;
mod comparison;
mod index;
mod options;
mod pass;
mod requests;
mod shadow;
mod statement;
mod swap;
mod writer;

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, Position};
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use self::{
    compare::Snapshot,
    pass::{Pass, Running},
};
pub use self::{
    comparison::{Comparison, Difference},
    options::{Limits, Outcome, Phase, RebuildError, RebuildOptions, Step},
    requests::{finished, request},
};
use crate::{
    lease::{Held, Lease, REBUILD},
    position::{position, stored},
    read_model::{Projector, Target},
};

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
        options: RebuildOptions,
        heard: &(dyn Fn(Step) + Sync),
    ) -> Result<Vec<Outcome>, RebuildError> {
        tokio::select! {
            outcomes = self.work(projectors, options, heard) => outcomes,
            () = self.lost.cancelled() => Err(RebuildError::Deposed),
        }
    }

    async fn work(
        &self,
        projectors: Vec<Arc<dyn Projector>>,
        options: RebuildOptions,
        heard: &(dyn Fn(Step) + Sync),
    ) -> Result<Vec<Outcome>, RebuildError> {
        let mut connection = connect(&self.pool).await?;
        let mut running = Vec::new();
        for projector in projectors {
            running.push(self.prepare(&mut connection, projector, options.compare).await?);
        }
        let goal = self.goal(&mut connection, &running, options.compare).await?;
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
        self.complete(&mut connection, &mut running).await?;
        let mut compared = Vec::new();
        if options.compare {
            told(Phase::Comparing);
            let mut snapshot = Snapshot::open(&self.pool).await?;
            for one in running {
                compared.push(snapshot.compare(&self.pass(), one).await?);
            }
        } else {
            compared.extend(running.into_iter().map(|one| (one, None)));
        }
        if options.swap {
            told(Phase::Swapping);
        }
        let mut outcomes = Vec::new();
        for (one, comparison) in compared {
            let outcome = self.conclude(&mut connection, one, comparison, options).await?;
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
            builder: projector.builder(Target::Shadow, at == Position::START),
            projector,
            position: at,
            complete,
            // What failed before is tried again.
            failed: None,
        })
    }

    /// Makes the indexes of those that lack them.
    async fn complete(
        &self,
        connection: &mut PgConnection,
        running: &mut [Running],
    ) -> Result<(), RebuildError> {
        let lack = |one: &&mut Running| one.failed.is_none() && !one.complete;
        let mut lacking: Vec<&mut Running> = running.iter_mut().filter(lack).collect();
        let tables = lacking.iter().flat_map(|one| one.projector.tables());
        index::add_all(&self.pool, tables.collect()).await?;
        let names: Vec<&str> = lacking.iter().map(|one| one.projector.name()).collect();
        let mut transaction = connection.begin().await?;
        sqlx::query("update projection_rebuild set complete = true where name = any($1)")
            .bind(names)
            .execute(&mut *transaction)
            .await?;
        if !self.lease.renew(&mut transaction).await? {
            return Err(RebuildError::Deposed);
        }
        transaction.commit().await?;
        lacking.iter_mut().for_each(|one| one.complete = true);
        Ok(())
    }

    /// Swaps, keeps or drops the shadow; notes what failed.
    async fn conclude(
        &self,
        connection: &mut PgConnection,
        running: Running,
        comparison: Option<Comparison>,
        options: RebuildOptions,
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
        } else if options.swap {
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
        if options.discard {
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
