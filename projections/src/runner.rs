//! Drives all projections along the log.
//!
//! One process leads at a time (an advisory lock). It reads a page once, and writes every projection's rows
//! and checkpoints in one transaction, so that read models agree with each other and nothing is applied
//! twice or skipped. A projection that meets an event it cannot fold stops there, alone, and says so;
//! it is tried again from time to time, because a newer build may know more.

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, Filter, Page, Position, RecordedEvent, StoreError};
use sqlx::{Acquire, PgConnection, PgPool, Row as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::read_model::{ProjectError, Projector};

/// Events per transaction when much is to be caught up, and when events come in live.
const PAGE: usize = 2_000;
/// Wait before another try after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Deadline of the transaction of one page.
const DEADLINE: Duration = Duration::from_secs(60);
/// Key of the advisory lock that the leading process holds.
const LEADER_LOCK: i64 = 0x616e_6e65_616c_0001;

/// Why the runner paused.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("a page was not written within {} seconds", DEADLINE.as_secs())]
    TimedOut,
    #[error("another process moved the checkpoint of {0}")]
    Overtaken(&'static str),
}

struct Follower {
    projector: Box<dyn Projector>,
    checkpoint: Position,
    stopped: bool,
}

/// How far the read models are.
#[derive(Clone)]
pub struct Progress {
    position: watch::Receiver<Position>,
    pool: PgPool,
}

/// The read models did not get there in time.
#[derive(Debug, thiserror::Error)]
#[error("the read models have not reached position {wanted} in time (they are at {reached}); try again")]
pub struct NotYet {
    /// Where they should be.
    pub wanted: Position,
    /// Where they are.
    pub reached: Position,
}

impl Progress {
    /// The position up to which all read models are folded, as last heard.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Waits until all read models have folded `wanted`.
    ///
    /// # Errors
    /// When that takes longer than `patience`.
    pub async fn reach(&self, wanted: Position, patience: Duration) -> Result<(), NotYet> {
        if self.position() >= wanted {
            return Ok(());
        }
        let mut position = self.position.clone();
        let local = async { position.wait_for(|reached| *reached >= wanted).await.is_ok() };
        tokio::select! {
            true = local => Ok(()),
            true = self.reach_elsewhere(wanted) => Ok(()),
            () = tokio::time::sleep(patience) => Err(NotYet { wanted, reached: self.position() }),
            else => Err(NotYet { wanted, reached: self.position() }),
        }
    }

    /// Asks the table, for when another process leads.
    async fn reach_elsewhere(&self, wanted: Position) -> bool {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stored_minimum(&self.pool)
                .await
                .is_ok_and(|reached| reached >= wanted)
            {
                return true;
            }
        }
    }
}

async fn stored_minimum(pool: &PgPool) -> Result<Position, sqlx::Error> {
    let row = sqlx::query("select coalesce(min(position), 0) from projection_checkpoint")
        .fetch_one(pool)
        .await?;
    Ok(Position(
        u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default(),
    ))
}

/// Starts following the log with `projectors`; ends when `stop` is cancelled.
#[must_use]
pub fn start(
    store: Arc<dyn EventStore>,
    pool: PgPool,
    projectors: Vec<Box<dyn Projector>>,
    stop: CancellationToken,
) -> (Progress, tokio::task::JoinHandle<()>) {
    let (sender, position) = watch::channel(Position::START);
    let followers = projectors
        .into_iter()
        .map(|projector| Follower {
            projector,
            checkpoint: Position::START,
            stopped: false,
        })
        .collect();
    let mut runner = Runner {
        store,
        pool: pool.clone(),
        followers,
        reached: sender,
    };
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = runner.lead() => if let Err(error) = outcome {
                    tracing::warn!(%error, "projections paused, trying again");
                    metrics::counter!("projection_failures_total").increment(1);
                },
            }
            tokio::time::sleep(RETRY).await;
        }
    });
    (Progress { position, pool }, task)
}

struct Runner {
    store: Arc<dyn EventStore>,
    pool: PgPool,
    followers: Vec<Follower>,
    reached: watch::Sender<Position>,
}

impl Runner {
    /// Leads as long as all goes well.
    async fn lead(&mut self) -> Result<(), RunError> {
        let mut connection = self.pool.acquire().await?.detach();
        loop {
            let row = sqlx::query("select pg_try_advisory_lock($1)").bind(LEADER_LOCK);
            if row.fetch_one(&mut connection).await?.try_get::<bool, _>(0)? {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        fail::fail_point!("projection.leading");
        self.restore(&mut connection).await?;
        let mut subscription = self.store.subscribe(self.reached(), Filter::all());
        self.publish();
        loop {
            self.start_over(&mut connection).await?;
            let from = self.reached();
            let page = if from < self.store.known_head() || self.behind() {
                self.store.read_all(from, &Filter::all(), PAGE).await?
            } else {
                match tokio::time::timeout(RETRY, subscription.next()).await {
                    Ok(Err(error)) => return Err(error.into()),
                    Ok(Ok(page)) if page.next > from => {}
                    Ok(_) | Err(_) => continue,
                }
                self.store.read_all(from, &Filter::all(), PAGE).await?
            };
            tokio::time::timeout(DEADLINE, self.apply(&mut connection, &page))
                .await
                .map_err(|_| RunError::TimedOut)??;
            self.publish();
        }
    }

    /// Folds anew, in one transaction, what a rebuild was asked for.
    async fn start_over(&mut self, connection: &mut PgConnection) -> Result<(), RunError> {
        for (name, number) in crate::rebuild::waiting(connection).await? {
            let Some(index) = self.followers.iter().position(|one| one.projector.name() == name) else {
                continue;
            };
            let end = self.followers[index].checkpoint;
            let mut transaction = connection.begin().await?;
            let projector = &self.followers[index].projector;
            projector.clear(&mut transaction).await?;
            let mut after = Position::START;
            while after < end {
                let page = self.store.read_all(after, &Filter::all(), PAGE).await?;
                let wanted = |event: &&RecordedEvent| event.position <= end && projector.wants(event);
                let news: Vec<&RecordedEvent> = page.events.iter().filter(wanted).collect();
                projector.apply(&mut transaction, &news).await?;
                after = page.next;
            }
            crate::rebuild::done(&mut transaction, &name, number).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// The position that every projection has reached that is not stopped.
    fn reached(&self) -> Position {
        let going = self.followers.iter().filter(|follower| !follower.stopped);
        going
            .map(|follower| follower.checkpoint)
            .min()
            .unwrap_or_default()
    }

    fn behind(&self) -> bool {
        let positions = || {
            self.followers
                .iter()
                .filter(|follower| !follower.stopped)
                .map(|f| f.checkpoint)
        };
        positions().min() != positions().max()
    }

    fn publish(&self) {
        let all = self
            .followers
            .iter()
            .map(|follower| follower.checkpoint)
            .min()
            .unwrap_or_default();
        self.reached.send_replace(all);
        let lag = self.store.known_head().0.saturating_sub(all.0);
        metrics::gauge!("projection_lag_events").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
    }

    /// Reads the checkpoints; a projection whose fold has changed starts over.
    async fn restore(&mut self, connection: &mut PgConnection) -> Result<(), RunError> {
        for follower in &mut self.followers {
            let (name, version) = (follower.projector.name(), follower.projector.version());
            let row = sqlx::query("select position, version from projection_checkpoint where name = $1")
                .bind(name)
                .fetch_optional(&mut *connection)
                .await?;
            let stored = match row {
                Some(row) if row.try_get::<i32, _>(1)? == version => Some(row.try_get::<i64, _>(0)?),
                Some(_) | None => None,
            };
            let position = match stored {
                Some(position) => position,
                None => {
                    let mut transaction = connection.begin().await?;
                    follower.projector.clear(&mut transaction).await?;
                    sqlx::query(
                        "insert into projection_checkpoint (name, version, position) values ($1, $2, 0) \
                         on conflict (name) do update set version = excluded.version, position = 0",
                    )
                    .bind(name)
                    .bind(version)
                    .execute(&mut *transaction)
                    .await?;
                    transaction.commit().await?;
                    0
                }
            };
            follower.checkpoint = Position(u64::try_from(position).unwrap_or_default());
            follower.stopped = false;
        }
        Ok(())
    }

    /// Folds one page into all read models, in one transaction.
    async fn apply(&mut self, connection: &mut PgConnection, page: &Page) -> Result<(), RunError> {
        let mut transaction = connection.begin().await?;
        fail::fail_point!("projection.before_rows", |_| Err(RunError::Overtaken(
            "projection.before_rows"
        )));
        let mut moved = Vec::new();
        for (index, follower) in self.followers.iter_mut().enumerate() {
            if follower.stopped || follower.checkpoint >= page.next {
                continue;
            }
            let news: Vec<&RecordedEvent> = page
                .events
                .iter()
                .filter(|event| event.position > follower.checkpoint && follower.projector.wants(event))
                .collect();
            if !news.is_empty() {
                let mut savepoint = transaction.begin().await?;
                match follower.projector.apply(&mut savepoint, &news).await {
                    Ok(()) => savepoint.commit().await?,
                    Err(error) => {
                        savepoint.rollback().await?;
                        follower.stopped = true;
                        let (name, at) = (follower.projector.name(), follower.checkpoint);
                        tracing::error!(projection = name, after = at.0, %error, "projection stopped");
                        metrics::gauge!("projection_stopped", "projection" => name).set(1.0);
                        continue;
                    }
                }
            }
            moved.push(index);
        }
        fail::fail_point!("projection.after_rows", |_| Err(RunError::Overtaken(
            "projection.after_rows"
        )));
        self.store_checkpoints(&mut transaction, &moved, page.next)
            .await?;
        fail::fail_point!("projection.before_commit", |_| Err(RunError::Overtaken(
            "projection.before_commit"
        )));
        transaction.commit().await?;
        fail::fail_point!("projection.after_commit", |_| Err(RunError::Overtaken(
            "projection.after_commit"
        )));
        for index in moved {
            self.followers[index].checkpoint = page.next;
        }
        Ok(())
    }

    async fn store_checkpoints(
        &self,
        transaction: &mut PgConnection,
        moved: &[usize],
        next: Position,
    ) -> Result<(), RunError> {
        let names: Vec<&str> = moved
            .iter()
            .map(|index| self.followers[*index].projector.name())
            .collect();
        let from: Vec<i64> = moved
            .iter()
            .map(|index| stored(self.followers[*index].checkpoint))
            .collect();
        let done = sqlx::query(
            "update projection_checkpoint c set position = $3 from unnest($1::text[], $2::bigint[]) as m(name, position) \
             where c.name = m.name and c.position = m.position",
        )
        .bind(&names)
        .bind(&from)
        .bind(stored(next))
        .execute(transaction)
        .await?;
        match done.rows_affected() == moved.len() as u64 {
            true => Ok(()),
            false => Err(RunError::Overtaken(
                moved
                    .first()
                    .map_or("no projection", |index| self.followers[*index].projector.name()),
            )),
        }
    }
}

/// A position as the database keeps it.
pub(crate) fn stored(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
