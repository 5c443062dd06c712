//! Writes shadow rows and their checkpoints, while the next page is being folded.
//!
//! The rule: rows and the checkpoint up to which they are complete go into one transaction, which proves the
//! lease; batches are written in the order in which they came, and wait in memory up to a number of bytes.

use std::sync::Arc;

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::AbortHandle,
};

use super::{RebuildError, connect, index};
use crate::{
    lease::Lease,
    position::stored,
    read_model::{Described, Target, Write},
};
use domain::event_store::Position;

/// Bytes of batches that are written or wait at the same time; a larger batch goes alone.
const UNDER_WAY: u32 = 48 << 20;

/// What is written in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// Projections and how far their shadows are complete with these writes.
    pub(super) checkpoints: Vec<(&'static str, Position)>,
}

enum Task {
    /// With its share of [`UNDER_WAY`].
    Write(Batch, OwnedSemaphorePermit),
    /// Answered when everything before is written.
    Settle(oneshot::Sender<()>),
}

/// The writing task; ends when this is dropped.
pub(super) struct Writer {
    tasks: mpsc::UnboundedSender<Task>,
    room: Arc<Semaphore>,
    outcome: Option<oneshot::Receiver<RebuildError>>,
    task: AbortHandle,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Writer {
    /// Connects, and begins to write.
    pub(super) async fn start(
        pool: &PgPool,
        lease: Lease,
        tables: Vec<Described>,
    ) -> Result<Self, RebuildError> {
        let mut connection = connect(pool).await?;
        // A crash of the server loses the newest batches together with their checkpoints.
        sqlx::query("set synchronous_commit = off")
            .execute(&mut connection)
            .await?;
        let (tasks, mut waiting) = mpsc::unbounded_channel();
        let (failed, outcome) = oneshot::channel();
        let work = async move {
            while let Some(task) = waiting.recv().await {
                match task {
                    Task::Write(batch, room) => {
                        if let Err(error) = write(&mut connection, lease, &tables, batch).await {
                            drop(failed.send(error));
                            return;
                        }
                        drop(room);
                    }
                    // Whoever asked may have gone.
                    Task::Settle(answer) => drop(answer.send(())),
                }
            }
        };
        Ok(Self {
            tasks,
            room: Arc::new(Semaphore::new(UNDER_WAY as usize)),
            outcome: Some(outcome),
            task: tokio::spawn(work).abort_handle(),
        })
    }

    async fn why(&mut self) -> RebuildError {
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or(RebuildError::Interrupted),
            None => RebuildError::Interrupted,
        }
    }

    /// Hands over a batch; waits while there is no room for it.
    pub(super) async fn write(&mut self, batch: Batch) -> Result<(), RebuildError> {
        if batch.writes.is_empty() && batch.checkpoints.is_empty() {
            return Ok(());
        }
        let size: usize = batch.writes.iter().map(Write::size).sum();
        let size = u32::try_from(size).unwrap_or(UNDER_WAY).min(UNDER_WAY);
        let room = tokio::select! {
            room = self.room.clone().acquire_many_owned(size) => room.ok(),
            () = self.tasks.closed() => None,
        };
        let sent = room.is_some_and(|room| self.tasks.send(Task::Write(batch, room)).is_ok());
        match sent {
            true => Ok(()),
            false => Err(self.why().await),
        }
    }

    /// Waits until everything is written.
    pub(super) async fn settle(&mut self) -> Result<(), RebuildError> {
        let (answer, answered) = oneshot::channel();
        if self.tasks.send(Task::Settle(answer)).is_ok() && answered.await.is_ok() {
            return Ok(());
        }
        Err(self.why().await)
    }
}

async fn write(
    connection: &mut PgConnection,
    lease: Lease,
    tables: &[Described],
    batch: Batch,
) -> Result<(), RebuildError> {
    let mut transaction = connection.begin().await?;
    apply(&mut transaction, tables, batch.writes).await?;
    move_checkpoints(&mut transaction, lease, &batch.checkpoints).await?;
    transaction.commit().await?;
    Ok(())
}

/// Writes rows, inside the transaction of `connection`.
pub(super) async fn apply(
    connection: &mut PgConnection,
    tables: &[Described],
    writes: Vec<Write>,
) -> Result<(), RebuildError> {
    for write in writes {
        if let Some(wanted) = write.needs_key() {
            let shadow = |known: &&Described| Target::Shadow.name(known.name) == wanted;
            if let Some(known) = tables.iter().find(shadow) {
                index::add_key(&mut *connection, *known).await?;
            }
        }
        write.run(&mut *connection).await?;
    }
    Ok(())
}

/// Proves the lease and moves the checkpoints of shadows.
pub(super) async fn move_checkpoints(
    connection: &mut PgConnection,
    lease: Lease,
    checkpoints: &[(&'static str, Position)],
) -> Result<(), RebuildError> {
    let names: Vec<&str> = checkpoints.iter().map(|(name, _)| *name).collect();
    let positions: Vec<i64> = checkpoints
        .iter()
        .map(|(_, position)| stored(*position))
        .collect();
    sqlx::query(
        "update projection_rebuild r set position = m.position, failure = null, failed_position = null
         from unnest($1::text[], $2::bigint[]) as m(name, position) where r.name = m.name",
    )
    .bind(&names)
    .bind(&positions)
    .execute(&mut *connection)
    .await?;
    match lease.renew(connection).await? {
        true => Ok(()),
        false => Err(RebuildError::Deposed),
    }
}
